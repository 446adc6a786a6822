/* Messages as guard/ sees them: a store listens to its channel, in Redis or in the embedded engine.
 * Every message carries its number, so that none can be lost, doubled or out of order unseen. */
#include "unit/redis_fixture.h"

#include "store/embedded.h"
#include "store/store.h"

#define MANY 10000u
/* How long the store takes to notice that a server has fallen silent: a PING, and its patience. */
#define NOTICE_MS 3000u
#define SLACK_MS 1500u

struct fixture {
    struct redis_server server;
    struct loop *loop;
    struct metrics *metrics;
    struct embedded *embedded;
    struct arena arena;
    struct store *store;
    unsigned published_count, received_count, gap_count;
    unsigned wanted_count; /* what received_count must become */
    unsigned wanted_gaps;
    bool is_in_call; /* a store_ function is running */
};

/* --- receiving --- */

static void on_message(void *owner, struct slice message)
{
    struct fixture *f = owner;
    uint64_t number;

    assert_false(f->is_in_call);
    assert_true(slice_to_uint64(message, &number));
    assert_int_equal(number, f->received_count);
    f->received_count++;
}

static void on_gap(void *owner)
{
    struct fixture *f = owner;

    assert_false(f->is_in_call);
    f->gap_count++;
}

static bool is_listening(void *context)
{
    return store_is_listening(((struct fixture *)context)->store);
}

static bool is_deaf(void *context)
{
    return !is_listening(context);
}

static bool is_ready(void *context)
{
    return store_is_ready(((struct fixture *)context)->store);
}

static bool has_all(void *context)
{
    const struct fixture *f = context;

    return f->received_count >= f->wanted_count;
}

static bool has_gaps(void *context)
{
    const struct fixture *f = context;

    return f->gap_count >= f->wanted_gaps;
}

static bool is_time(void *context)
{
    return loop_clock_us() > *(const uint64_t *)context;
}

static void run_for_ms(struct fixture *f, uint64_t duration_ms)
{
    uint64_t until_us = loop_clock_us() + duration_ms * 1000;

    assert_true(wait_until(f->loop, is_time, &until_us, duration_ms + 5000));
}

/* --- set up and take down --- */

static struct store *open_store(struct fixture *f, const char *url)
{
    const struct store_settings settings = {.url = url,
                                            .timeout_ms = 50,
                                            .connect_timeout_ms = 500,
                                            .max_pending = 32,
                                            .breaker_failures = 4,
                                            .breaker_open_ms = 300,
                                            .key_prefix = "lkt"};

    return store_open(f->loop, &settings, f->embedded, f->metrics, metrics_shard(f->metrics, 1),
                      NULL);
}

static void listen_to(struct fixture *f)
{
    f->is_in_call = true;
    store_listen(f->store, on_message, on_gap, f);
    f->is_in_call = false;
}

static void fixture_open(struct fixture *f, bool with_redis)
{
    *f = (struct fixture){0};
    if (with_redis)
        redis_open(&f->server, false, NULL, NULL);
    assert_int_equal(loop_open(&f->loop), 0);
    f->metrics = metrics_open(1);
    f->embedded = embedded_open((size_t)1024 * 1024);
    arena_init(&f->arena, NULL);
    f->store = open_store(f, with_redis ? f->server.url : "embedded");
}

static void open_listening(struct fixture *f, bool with_redis)
{
    fixture_open(f, with_redis);
    listen_to(f);
    assert_true(wait_until(f->loop, is_listening, f, 5000));
    assert_int_equal(f->gap_count, with_redis); /* the embedded engine has lost nothing */
    f->gap_count = 0;
}

static int64_t metric(struct fixture *f, enum metric family)
{
    return metrics_read(f->metrics, metrics_series0(f->metrics, family));
}

static void fixture_close(struct fixture *f)
{
    unsigned received_count = f->received_count, gap_count = f->gap_count;

    store_close(&f->store);
    assert_int_equal(metric(f, METRIC_STORE_SUBSCRIPTIONS), 0);
    loop_turn(f->loop);
    loop_close(&f->loop); /* checks that nothing is left open */
    assert_int_equal(f->received_count, received_count);
    assert_int_equal(f->gap_count, gap_count);
    arena_clear(&f->arena);
    embedded_unref(&f->embedded);
    metrics_close(&f->metrics);
    if (f->server.dir[0] != '\0')
        redis_close(&f->server);
}

/* --- publishing --- */

static void publish_redis(struct fixture *f, struct slice channel, unsigned count)
{
    char *commands = malloc((size_t)count * 96), *to = commands, *replies = malloc(count * 8 + 1);

    for (unsigned i = 0; i < count; i++)
        to += sprintf(to, "PUBLISH %.*s %u\r\n", SLICE_ARGS(channel), f->published_count++);
    assert_true(redis_try(&f->server, commands, count, replies, count * 8 + 1));
    free(replies);
    free(commands);
}

/* Gives how many have received the last one. */
static int64_t publish_embedded(struct fixture *f, struct slice channel, unsigned count)
{
    struct reply reply = {0};

    for (unsigned i = 0; i < count; i++) {
        char number[16];
        struct slice args[2] = {channel, SLICE_NONE};

        snprintf(number, sizeof(number), "%u", f->published_count++);
        args[1] = slice_of(number);
        f->is_in_call = true;
        embedded_eval_text(
            f->embedded, "publish", SLICE("return redis.call('PUBLISH', ARGV[1], ARGV[2])"),
            &(struct embedded_call){.args = args, .arg_count = 2}, &f->arena, &reply);
        f->is_in_call = false;
        assert_int_equal(reply.type, REPLY_INTEGER);
    }
    return reply.integer;
}

static void publish(struct fixture *f, unsigned count)
{
    if (store_is_embedded(f->store))
        assert_int_equal(publish_embedded(f, store_channel(f->store), count), 1);
    else
        publish_redis(f, store_channel(f->store), count);
}

static void assert_flows(struct fixture *f, unsigned count)
{
    f->published_count = f->received_count; /* what was published while nobody listened is gone */
    f->wanted_count = f->received_count + count;
    publish(f, count);
    assert_true(wait_until(f->loop, has_all, f, 10000));
}

/* --- the good days --- */

static void many_messages_come_in_order(void **state)
{
    UNUSED(state);
    for (int with_redis = 0; with_redis < 2; with_redis++) {
        struct fixture f;

        open_listening(&f, with_redis);
        assert_flows(&f, MANY);
        run_for_ms(&f, 20); /* none comes twice */
        assert_int_equal(f.received_count, MANY);
        assert_int_equal(f.gap_count, 0);
        assert_int_equal(metric(&f, METRIC_STORE_MESSAGES), MANY);
        assert_int_equal(metric(&f, METRIC_STORE_SUBSCRIPTIONS), 1);
        fixture_close(&f);
    }
}

static void channels_differ_and_keep_apart(void **state)
{
    UNUSED(state);
    for (int with_redis = 0; with_redis < 2; with_redis++) {
        struct fixture f, other;

        open_listening(&f, with_redis);
        other = f;
        other.store = open_store(&f, with_redis ? f.server.url : "embedded");
        assert_false(slice_equal(store_channel(f.store), store_channel(other.store)));
        assert_true(slice_starts_with(store_channel(f.store), SLICE("lkt:ch:")));
        listen_to(&other);
        assert_true(wait_until(f.loop, is_listening, &other, 5000));
        assert_int_equal(metric(&f, METRIC_STORE_SUBSCRIPTIONS), 2);
        assert_flows(&other, 10);
        assert_int_equal(f.received_count, 0);
        assert_flows(&f, 3);
        assert_int_equal(other.received_count, 10);
        store_close(&other.store);
        assert_int_equal(metric(&f, METRIC_STORE_SUBSCRIPTIONS), 1);
        assert_flows(&f, 3);
        fixture_close(&f);
    }
}

static void who_does_not_listen_costs_nothing(void **state)
{
    struct fixture f;
    char reply[512];

    UNUSED(state);
    fixture_open(&f, true);
    assert_true(wait_until(f.loop, is_ready, &f, 5000));
    assert_true(is_deaf(&f));
    assert_true(redis_try(&f.server, "CLIENT LIST TYPE pubsub\r\n", 1, reply, sizeof(reply)));
    assert_string_equal(reply, "$0\r\n");
    fixture_close(&f);
    fixture_open(&f, false);
    assert_true(is_deaf(&f));
    assert_int_equal(publish_embedded(&f, store_channel(f.store), 1), 0);
    assert_int_equal(publish_embedded(&f, SLICE("nobody"), 1), 0);
    listen_to(&f);
    assert_int_equal(publish_embedded(&f, SLICE("nobody"), 1), 0);
    assert_flows(&f, 1);
    fixture_close(&f);
}

/* A message whose handling publishes again: the loop goes on meanwhile, and nothing nests. */
struct echo {
    struct fixture f;
    unsigned left;
};

static void on_echo(void *owner, struct slice message)
{
    struct echo *echo = owner;

    UNUSED(message);
    assert_false(echo->f.is_in_call);
    echo->f.received_count++;
    if (echo->left-- > 0)
        publish_embedded(&echo->f, store_channel(echo->f.store), 1);
}

static void on_no_gap(void *owner)
{
    UNUSED(owner);
    fail_msg("a gap");
}

static void messages_may_lead_to_messages(void **state)
{
    struct echo echo = {.left = 1000};

    UNUSED(state);
    fixture_open(&echo.f, false);
    store_listen(echo.f.store, on_echo, on_no_gap, &echo);
    echo.f.wanted_count = 1001;
    publish_embedded(&echo.f, store_channel(echo.f.store), 1);
    assert_true(wait_until(echo.f.loop, has_all, &echo.f, 5000));
    fixture_close(&echo.f);
}

/* --- the bad days --- */

static void a_killed_subscription_is_made_again(void **state)
{
    struct fixture f;
    uint64_t killed_at_us;

    UNUSED(state);
    open_listening(&f, true);
    assert_flows(&f, 10);
    assert_true(wait_until(f.loop, is_ready, &f, 5000));
    for (unsigned round = 0; round < 3; round++) {
        f.gap_count = 0;
        f.wanted_gaps = 2;
        redis_do(&f.server, "CLIENT KILL TYPE pubsub\r\n");
        killed_at_us = loop_clock_us();
        assert_true(wait_until(f.loop, is_deaf, &f, 1000));
        assert_int_equal(f.gap_count, 1); /* lost */
        assert_int_equal(metric(&f, METRIC_STORE_SUBSCRIPTIONS), 0);
        assert_true(is_ready(&f)); /* calls go on */
        assert_true(wait_until(f.loop, has_gaps, &f, 2000));
        assert_true(is_listening(&f)); /* and made again */
        assert_flows(&f, 10);
        assert_true(loop_clock_us() - killed_at_us < 1000000);
    }
    assert_int_equal(metric(&f, METRIC_STORE_GAPS), 7);
    assert_int_equal(metric(&f, METRIC_STORE_RECONNECTS), 0);
    fixture_close(&f);
}

static void a_restart_is_survived(void **state)
{
    struct fixture f;

    UNUSED(state);
    open_listening(&f, true);
    assert_flows(&f, 10);
    redis_kill(&f.server);
    assert_true(wait_until(f.loop, is_deaf, &f, 1000));
    assert_int_equal(f.gap_count, 1);
    run_for_ms(&f, 200);
    assert_int_equal(f.gap_count, 1); /* attempts that fail are no gaps */
    redis_start(&f.server);
    assert_true(wait_until(f.loop, is_listening, &f, 2000));
    assert_int_equal(f.gap_count, 2);
    assert_flows(&f, 10);
    fixture_close(&f);
}

/* Nothing is sent but the PING, so only it can tell. */
static void a_silent_server_is_noticed(void **state)
{
    struct fixture f;

    UNUSED(state);
    open_listening(&f, true);
    kill(f.server.pid, SIGSTOP);
    assert_true(wait_until(f.loop, is_deaf, &f, NOTICE_MS + SLACK_MS));
    assert_int_equal(f.gap_count, 1);
    kill(f.server.pid, SIGCONT);
    assert_true(wait_until(f.loop, is_listening, &f, 3000));
    assert_flows(&f, 10);
    fixture_close(&f);
}

/* PINGs are answered, and forgotten: an idle subscription lives. */
static void an_idle_subscription_stays(void **state)
{
    struct fixture f;

    UNUSED(state);
    open_listening(&f, true);
    run_for_ms(&f, NOTICE_MS + SLACK_MS);
    assert_int_equal(f.gap_count, 0);
    assert_flows(&f, 10);
    fixture_close(&f);
}

static void rights_decide(void **state)
{
    static const struct {
        const char *user;
        bool is_good;
    } cases[] = {
        {"ACL SETUSER lk on >pw ~* +@all resetchannels &lkt:ch:*\r\n", true},
        {"ACL SETUSER lk on >pw ~* +@all resetchannels &other:*\r\n", false},
        {"ACL SETUSER lk on >pw ~* -@all +eval +evalsha +@sortedset +expire +time\r\n", false},
        /* Without the right to PING: the refusal of it is an answer, too. */
        {"ACL SETUSER lk on >pw ~* +@all -ping resetchannels &lkt:ch:*\r\n", true},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture f;
        char url[160];

        fixture_open(&f, true);
        store_close(&f.store);
        redis_do(&f.server, cases[i].user);
        snprintf(url, sizeof(url), "unix://lk:pw@%s", f.server.socket_path);
        f.store = open_store(&f, url);
        listen_to(&f);
        assert_true(wait_until(f.loop, is_ready, &f, 5000));
        if (cases[i].is_good) {
            assert_true(wait_until(f.loop, is_listening, &f, 5000));
            if (i > 0)
                run_for_ms(&f, NOTICE_MS + SLACK_MS);
            assert_int_equal(f.gap_count, 1);
            assert_flows(&f, 10);
        } else {
            run_for_ms(&f, 300);
            assert_true(is_deaf(&f));
            assert_int_equal(f.gap_count, 0);
        }
        fixture_close(&f);
    }
}

/* In the socket, in the mailbox, in between: what has not come before the end never comes. */
static void closing_with_messages_in_flight_is_clean(void **state)
{
    UNUSED(state);
    for (int with_redis = 0; with_redis < 2; with_redis++) {
        struct fixture f;

        open_listening(&f, with_redis);
        publish(&f, 1000);
        for (unsigned turns = 0; with_redis && turns < 2; turns++)
            loop_turn(f.loop);
        publish(&f, 1000);
        fixture_close(&f);
    }
}

static void closing_is_legal_in_every_state(void **state)
{
    struct redis_server server;

    UNUSED(state);
    redis_open(&server, false, NULL, NULL);
    for (unsigned turns = 0; turns < 12; turns++) {
        struct fixture f;

        fixture_open(&f, false);
        store_close(&f.store);
        f.store = open_store(&f, server.url);
        listen_to(&f);
        for (unsigned i = 0; i < turns; i++)
            loop_turn(f.loop);
        fixture_close(&f);
    }
    redis_close(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_messages_come_in_order),
        cmocka_unit_test(channels_differ_and_keep_apart),
        cmocka_unit_test(who_does_not_listen_costs_nothing),
        cmocka_unit_test(messages_may_lead_to_messages),
        cmocka_unit_test(a_killed_subscription_is_made_again),
        cmocka_unit_test(a_restart_is_survived),
        cmocka_unit_test(a_silent_server_is_noticed),
        cmocka_unit_test(an_idle_subscription_stays),
        cmocka_unit_test(rights_decide),
        cmocka_unit_test(closing_with_messages_in_flight_is_clean),
        cmocka_unit_test(closing_is_legal_in_every_state),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
