/* Channels of the embedded engine between threads, as the workers of one process have them. */
#include "unit/unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "store/embedded.h"
#include "store/store.h"

#define WORKERS 3u
#define MESSAGES 5000u

/* --- one loop: bounds and ends --- */

struct ear {
    unsigned message_count, overflow_count;
    size_t bytes;
};

static void on_message(void *owner, struct slice message)
{
    struct ear *ear = owner;

    ear->message_count++;
    ear->bytes += message.len;
}

static void on_overflow(void *owner)
{
    ((struct ear *)owner)->overflow_count++;
}

static const struct channel_events ear_events = {on_message, on_overflow};

static void what_is_not_taken_is_bounded(void **state)
{
    static char big[256 * 1024];
    struct channels *channels = channels_open();
    struct channel_listener *listener;
    struct ear ear = {0};
    struct loop *loop;
    unsigned fit_count = (unsigned)(CHANNELS_MAX_WAITING_BYTES / (sizeof(big) + 4));

    UNUSED(state);
    assert_int_equal(loop_open(&loop), 0);
    listener = channels_listen(channels, SLICE("ch"), loop, &ear_events, &ear);
    for (unsigned round = 1; round <= 2; round++) {
        for (unsigned i = 0; i < 2 * fit_count; i++)
            assert_int_equal(channels_publish(channels, SLICE("ch"), slice_from(big, sizeof(big))),
                             1);
        /* Would fit, but what comes after a loss is lost, so that the order is kept. */
        assert_int_equal(channels_publish(channels, SLICE("ch"), SLICE("small")), 1);
        assert_int_equal(ear.overflow_count, round - 1);
        loop_turn(loop);
        assert_int_equal(ear.overflow_count, round);
        assert_int_equal(ear.message_count, round * fit_count);
    }
    assert_int_equal(channels_publish(channels, SLICE("ch"), SLICE("")), 1);
    loop_turn(loop);
    assert_int_equal(ear.message_count, 2 * fit_count + 1);
    assert_int_equal(ear.overflow_count, 2);
    channel_listener_close(&listener);
    assert_int_equal(channels_publish(channels, SLICE("ch"), SLICE("late")), 0);
    loop_close(&loop);
    channels_close(&channels);
}

/* The wake-up call is under way when the listener closes; it meets a later turn, or no turn at all.
 */
static void closing_leaves_the_mailbox_in_order(void **state)
{
    UNUSED(state);
    for (int with_turn = 0; with_turn < 2; with_turn++) {
        struct channels *channels = channels_open();
        struct channel_listener *first, *second;
        struct ear ears[2] = {{0}, {0}};
        struct loop *loop;

        assert_int_equal(loop_open(&loop), 0);
        first = channels_listen(channels, SLICE("ch"), loop, &ear_events, &ears[0]);
        second = channels_listen(channels, SLICE("ch"), loop, &ear_events, &ears[1]);
        assert_int_equal(channels_publish(channels, SLICE("ch"), SLICE("message")), 2);
        channel_listener_close(&first);
        assert_null(first);
        if (with_turn)
            loop_turn(loop);
        channel_listener_close(&second);
        channels_close(&channels); /* the engine may go before the loop */
        loop_close(&loop);
        assert_int_equal(ears[0].message_count, 0);
        assert_int_equal(ears[1].message_count, with_turn);
    }
}

/* --- workers: each publishes to all, from scripts, and listens.  A failure on a thread
 * cannot be told to the test runner: it aborts. --- */

struct world {
    struct embedded *embedded;
    struct metrics *metrics;
    pthread_barrier_t barrier;
    atomic_uint done_count; /* workers that have received everything */
    struct worker {
        struct world *world;
        unsigned index;
        pthread_t thread;
        struct loop *loop;
        struct store *store;
        struct arena arena;
        struct timer timer;
        char channel[128];
        unsigned sent_count, next_from[WORKERS], received_count, gap_count, unheard_count;
        bool leaves_early;
        atomic_bool has_left;
    } workers[WORKERS];
};

static int64_t publish(struct worker *worker, const char *channel, const char *message)
{
    const struct slice args[2] = {slice_of(channel), slice_of(message)};
    struct reply reply;

    embedded_eval_text(
        worker->world->embedded, "publish", SLICE("return redis.call('PUBLISH', ARGV[1], ARGV[2])"),
        &(struct embedded_call){.args = args, .arg_count = 2}, &worker->arena, &reply);
    CHECK(reply.type == REPLY_INTEGER);
    return reply.integer;
}

static void on_worker_message(void *owner, struct slice message)
{
    struct worker *worker = owner;
    struct slice from_text;
    uint64_t from, number;

    CHECK(pthread_equal(pthread_self(), worker->thread));
    CHECK(!worker->has_left);
    CHECK(slice_split(&message, ' ', &from_text));
    CHECK(slice_to_uint64(from_text, &from) && slice_to_uint64(message, &number));
    CHECK(from < WORKERS);
    CHECK(number == worker->next_from[from]);
    worker->next_from[from]++;
    if (++worker->received_count == WORKERS * MESSAGES)
        atomic_fetch_add(&worker->world->done_count, 1);
}

static void on_worker_gap(void *owner)
{
    ((struct worker *)owner)->gap_count++;
}

/* The others keep half of their messages for the time when the one that leaves has left. */
static void send_some(struct worker *worker)
{
    const struct worker *leaver = &worker->world->workers[0];
    bool waits = leaver->leaves_early && worker != leaver && !leaver->has_left;
    unsigned limit = waits ? MESSAGES / 2 : MESSAGES;
    char message[32];

    for (unsigned i = 0; i < 50 && worker->sent_count < limit; i++) {
        int len = snprintf(message, sizeof(message), "%u %u", worker->index, worker->sent_count++);

        CHECK(len > 0);
        for (unsigned to = 0; to < WORKERS; to++)
            if (publish(worker, worker->world->workers[to].channel, message) != 1)
                worker->unheard_count++;
    }
}

static void on_worker_timer(struct timer *timer)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, timer);
    unsigned listener_count = WORKERS - worker->world->workers[0].leaves_early;

    if (worker->leaves_early && worker->sent_count >= MESSAGES / 2 && worker->store != NULL) {
        store_close(&worker->store); /* the others go on publishing to it */
        worker->has_left = true;
    }
    send_some(worker);
    if (worker->sent_count == MESSAGES && worker->world->done_count == listener_count)
        loop_stop(worker->loop);
    else
        timer_start(worker->loop, timer, 1, on_worker_timer);
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    struct world *world = worker->world;
    const struct store_settings settings = {.url = "embedded", .timeout_ms = 50, .max_pending = 16};

    worker->thread = pthread_self();
    CHECK(loop_open(&worker->loop) == 0);
    arena_init(&worker->arena, NULL);
    worker->store = store_open(worker->loop, &settings, world->embedded, world->metrics,
                               metrics_shard(world->metrics, worker->index + 1), NULL);
    snprintf(worker->channel, sizeof(worker->channel), "%.*s",
             SLICE_ARGS(store_channel(worker->store)));
    store_listen(worker->store, on_worker_message, on_worker_gap, worker);
    pthread_barrier_wait(&world->barrier);
    timer_start(worker->loop, &worker->timer, 0, on_worker_timer);
    loop_run(worker->loop);
    if (worker->store != NULL)
        store_close(&worker->store);
    loop_close(&worker->loop);
    arena_clear(&worker->arena);
    return NULL;
}

static void run_world(struct world *world, bool one_leaves)
{
    pthread_t threads[WORKERS];

    *world = (struct world){.embedded = embedded_open((size_t)1024 * 1024),
                            .metrics = metrics_open(WORKERS)};
    pthread_barrier_init(&world->barrier, NULL, WORKERS);
    world->workers[0].leaves_early = one_leaves;
    for (unsigned i = 0; i < WORKERS; i++) {
        world->workers[i].world = world;
        world->workers[i].index = i;
        CHECK(pthread_create(&threads[i], NULL, run_worker, &world->workers[i]) == 0);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    pthread_barrier_destroy(&world->barrier);
    metrics_close(&world->metrics);
    embedded_unref(&world->embedded);
}

static void workers_hear_each_other(void **state)
{
    static struct world world;

    UNUSED(state);
    run_world(&world, false);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(world.workers[i].received_count, WORKERS * MESSAGES);
        assert_int_equal(world.workers[i].gap_count, 0);
        assert_int_equal(world.workers[i].unheard_count, 0);
    }
}

static void a_worker_may_leave_while_others_publish(void **state)
{
    static struct world world;

    UNUSED(state);
    run_world(&world, true);
    assert_true(world.workers[0].received_count < WORKERS * MESSAGES);
    for (unsigned i = 1; i < WORKERS; i++) {
        assert_true(world.workers[i].unheard_count >= MESSAGES - MESSAGES / 2);
        assert_int_equal(world.workers[i].received_count, WORKERS * MESSAGES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_taken_is_bounded),
        cmocka_unit_test(closing_leaves_the_mailbox_in_order),
        cmocka_unit_test(workers_hear_each_other),
        cmocka_unit_test(a_worker_may_leave_while_others_publish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
