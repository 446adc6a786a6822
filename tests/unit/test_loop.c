/* The loop: timers against a simple model, deferred work, mailbox, signals. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "net/loop.h"

#define TIMER_COUNT 200
#define STEP_COUNT 4000

static struct loop *open_loop(void)
{
    struct loop *loop;

    assert_int_equal(loop_open(&loop), 0);
    return loop;
}

/* The model: for each timer whether and when it is due. */
struct modelled {
    struct timer timer;
    bool is_started;
    uint64_t due_at_ms;
    unsigned fired_count;
};

static struct {
    struct loop *loop;
    struct modelled timers[TIMER_COUNT];
    uint64_t last_fired_due_at_ms, fired_in_ms;
    unsigned fired_count;
    uint32_t random;
} model;

static uint32_t next_random(void)
{
    model.random = model.random * 1664525u + 1013904223u;
    return model.random >> 8;
}

static void on_modelled(struct timer *timer)
{
    struct modelled *m = CONTAINER_OF(timer, struct modelled, timer);
    uint64_t now_ms = loop_now_ms(model.loop);

    assert_true(m->is_started);
    assert_false(timer->is_started);
    assert_true(now_ms >= m->due_at_ms);
    /* In one tick they come in the order they are due. */
    if (model.fired_in_ms == now_ms)
        assert_true(m->due_at_ms >= model.last_fired_due_at_ms);
    model.fired_in_ms = now_ms;
    model.last_fired_due_at_ms = m->due_at_ms;
    m->is_started = false;
    m->fired_count++;
    model.fired_count++;
}

static void check_model(void)
{
    uint64_t now_ms = loop_now_ms(model.loop);

    for (size_t i = 0; i < TIMER_COUNT; i++) {
        assert_int_equal(model.timers[i].timer.is_started, model.timers[i].is_started);
        /* A turn updates the clock after it ran its timers, so the newest millisecond is open. */
        assert_true(!model.timers[i].is_started || model.timers[i].due_at_ms + 50 >= now_ms);
    }
}

static void test_timers_against_model(void **state)
{
    UNUSED(state);
    memset(&model, 0, sizeof(model));
    model.loop = open_loop();
    model.random = 12345;
    for (int step = 0; step < STEP_COUNT; step++) {
        struct modelled *m = &model.timers[next_random() % TIMER_COUNT];
        uint64_t delay_ms = next_random() % 40;

        switch (next_random() % 8) {
        case 0:
            timer_stop(model.loop, &m->timer);
            m->is_started = false;
            break;
        case 1:
            loop_turn(model.loop);
            check_model();
            break;
        default:
            timer_start(model.loop, &m->timer, delay_ms, on_modelled);
            m->is_started = true;
            m->due_at_ms = loop_now_ms(model.loop) + delay_ms;
        }
    }
    while (loop_turn(model.loop))
        check_model();
    for (size_t i = 0; i < TIMER_COUNT; i++)
        assert_false(model.timers[i].is_started);
    assert_true(model.fired_count > 50);
    loop_close(&model.loop);
    assert_null(model.loop);
}

static void never(struct timer *timer)
{
    UNUSED(timer);
    fail_msg("a stopped timer was called");
}

static void test_moving_later_keeps_the_place(void **state)
{
    struct loop *loop = open_loop();
    struct timer timers[64];

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(timers); i++) {
        timer_init(&timers[i]);
        timer_start(loop, &timers[i], 1000 + i, never);
    }
    for (size_t i = 0; i < COUNT_OF(timers); i++) {
        uint32_t index = timers[i].heap_index;
        uint64_t heap_at_ms = timers[i].heap_at_ms;

        timer_start(loop, &timers[i], 5000 - i, never);
        assert_int_equal(timers[i].heap_index, index);
        assert_int_equal(timers[i].heap_at_ms, heap_at_ms);
        assert_true(timers[i].at_ms > heap_at_ms);
    }
    for (size_t i = 0; i < COUNT_OF(timers); i++) {
        timer_stop(loop, &timers[i]);
        timer_stop(loop, &timers[i]);
    }
    assert_false(loop_turn(loop));
    loop_close(&loop);
}

/* A timer without delay that starts itself again leaves room for everything else. */
static unsigned again_count;
static struct loop *again_loop;

static void on_again(struct timer *timer)
{
    again_count++;
    timer_start(again_loop, timer, 0, on_again);
}

static void test_self_starting_timer_does_not_starve(void **state)
{
    struct timer timer = {0};

    UNUSED(state);
    again_loop = open_loop();
    again_count = 0;
    timer_start(again_loop, &timer, 0, on_again);
    while (again_count < 3) {
        unsigned before = again_count;

        loop_turn(again_loop);
        assert_true(again_count <= before + 1);
    }
    timer_stop(again_loop, &timer);
    loop_close(&again_loop);
}

/* A callback may stop and start any other timer, due or not. */
static struct timer pair[2];
static struct loop *pair_loop;
static unsigned pair_calls;

static void on_pair(struct timer *timer)
{
    pair_calls++;
    timer_stop(pair_loop, timer == &pair[0] ? &pair[1] : &pair[0]);
}

static void test_timer_stops_another_due_one(void **state)
{
    UNUSED(state);
    pair_loop = open_loop();
    memset(pair, 0, sizeof(pair));
    pair_calls = 0;
    timer_start(pair_loop, &pair[0], 1, on_pair);
    timer_start(pair_loop, &pair[1], 1, on_pair);
    while (loop_turn(pair_loop))
        ;
    assert_int_equal(pair_calls, 1);
    loop_close(&pair_loop);
}

/* Deferred work. */

struct counted_task {
    struct loop_task task;
    struct loop *loop;
    unsigned run_count, again_count;
    struct counted_task *victim; /* undeferred when this one runs */
};

static void run_counted(struct loop_task *task)
{
    struct counted_task *t = CONTAINER_OF(task, struct counted_task, task);

    t->run_count++;
    if (t->victim != NULL)
        loop_undefer(&t->victim->task);
    if (t->again_count > 0) {
        t->again_count--;
        loop_defer(t->loop, task);
    }
}

static void test_deferred_work(void **state)
{
    struct loop *loop = open_loop();
    struct counted_task first = {.loop = loop}, second = {.loop = loop}, third = {.loop = loop};

    UNUSED(state);
    loop_task_init(&first.task, run_counted);
    loop_task_init(&second.task, run_counted);
    loop_task_init(&third.task, run_counted);
    first.victim = &second;
    third.again_count = 1000; /* more than one tick allows: the loop must not wait meanwhile */
    loop_defer(loop, &first.task);
    loop_defer(loop, &first.task);
    loop_defer(loop, &second.task);
    loop_defer(loop, &third.task);
    assert_int_equal(first.run_count, 0);
    assert_true(loop_turn(loop));
    assert_int_equal(first.run_count, 1);
    assert_int_equal(second.run_count, 0);
    assert_true(third.run_count > 1);
    assert_true(third.run_count < 1000);
    while (loop_turn(loop))
        ;
    assert_int_equal(third.run_count, 1001);
    loop_undefer(&third.task);
    loop_close(&loop);
}

/* Mailbox. */

#define POSTER_COUNT 4
#define POST_COUNT 20000

struct note {
    struct loop_message message;
    unsigned poster, number;
};

static struct {
    struct loop *loop;
    unsigned next_number[POSTER_COUNT], count, dropped;
} mail;

static void on_note(struct loop *loop, struct loop_message *message)
{
    struct note *note = CONTAINER_OF(message, struct note, message);

    assert_ptr_equal(loop, mail.loop);
    assert_int_equal(note->number, mail.next_number[note->poster]++);
    free(note);
    if (++mail.count == POSTER_COUNT * POST_COUNT)
        loop_stop(loop);
}

static void on_drop(struct loop *loop, struct loop_message *message)
{
    UNUSED(loop);
    mail.dropped++;
    free(CONTAINER_OF(message, struct note, message));
}

static void post_note(unsigned poster, unsigned number)
{
    struct note *note = mem_calloc(1, sizeof(*note));

    *note = (struct note){{.run = on_note, .on_drop = on_drop}, poster, number};
    loop_post(mail.loop, &note->message);
}

static void *post_many(void *argument)
{
    unsigned poster = (unsigned)(uintptr_t)argument;

    for (unsigned i = 0; i < POST_COUNT; i++)
        post_note(poster, i);
    return NULL;
}

static void test_mailbox_from_many_threads(void **state)
{
    pthread_t threads[POSTER_COUNT];

    UNUSED(state);
    memset(&mail, 0, sizeof(mail));
    mail.loop = open_loop();
    for (uintptr_t i = 0; i < POSTER_COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, (void *)i), 0);
    loop_run(mail.loop);
    for (size_t i = 0; i < POSTER_COUNT; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(mail.count, POSTER_COUNT * POST_COUNT);
    loop_close(&mail.loop);
}

static void test_unread_mail_is_dropped(void **state)
{
    UNUSED(state);
    memset(&mail, 0, sizeof(mail));
    mail.loop = open_loop();
    post_note(0, 0);
    post_note(1, 0);
    loop_close(&mail.loop);
    assert_int_equal(mail.dropped, 2);
    assert_int_equal(mail.count, 0);
}

static void test_stop_before_run(void **state)
{
    struct loop *loop = open_loop();

    UNUSED(state);
    loop_stop(loop);
    loop_run(loop); /* returns at once, and forgets the stop */
    loop_stop(loop);
    loop_run(loop);
    loop_close(&loop);
}

/* Signals. */

static int signals_seen;

static void on_signal(void *owner, int signum)
{
    assert_int_equal(signum, SIGUSR1);
    signals_seen++;
    loop_stop(owner);
}

static void test_signal(void **state)
{
    struct loop *loop = open_loop();

    UNUSED(state);
    assert_int_equal(loop_on_signal(loop, SIGUSR1, on_signal, loop), 0);
    assert_int_equal(loop_on_signal(loop, SIGUSR2, on_signal, loop), 0);
    assert_int_equal(loop_on_signal(loop, SIGUSR2, NULL, NULL), 0);
    assert_int_equal(loop_on_signal(loop, SIGUSR2, NULL, NULL), 0);
    assert_int_not_equal(loop_on_signal(loop, SIGKILL, on_signal, loop), 0);
    while (loop_turn(loop)) /* the handle of SIGUSR2 closes, the others keep nothing alive */
        ;
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    loop_run(loop);
    assert_int_equal(signals_seen, 1);
    loop_close(&loop);
}

static void test_clocks(void **state)
{
    uint64_t clock_us = loop_clock_us(), boot_us = loop_boot_clock_us();

    UNUSED(state);
    assert_true(loop_clock_us() >= clock_us);
    assert_true(loop_boot_clock_us() >= boot_us);
    assert_true(loop_boot_clock_us() + 1000000 > loop_clock_us());
    assert_true(loop_wall_clock_us() > 1700000000ull * 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_against_model),
        cmocka_unit_test(test_moving_later_keeps_the_place),
        cmocka_unit_test(test_self_starting_timer_does_not_starve),
        cmocka_unit_test(test_timer_stops_another_due_one),
        cmocka_unit_test(test_deferred_work),
        cmocka_unit_test(test_mailbox_from_many_threads),
        cmocka_unit_test(test_unread_mail_is_dropped),
        cmocka_unit_test(test_stop_before_run),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_clocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
