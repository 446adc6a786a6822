/* What the lock scripts promise (lua/README.md), on the embedded engine with a clock of our own. */
#include "unit.h"

#include "model/lock_calls.h"

#define MS INT64_C(1000)
#define SECOND (1000 * MS)
#define START_US INT64_C(1795000000123457)
#define LEASE (10 * SECOND)
#define GRANT (300 * MS)
#define HEARTBEAT (2 * SECOND)

static struct {
    struct embedded *embedded;
    int64_t now_us;
    struct arena arena;
    char message[128], channel[64]; /* the last */
    int message_count;
} world;

static uint64_t fake_clock(void *owner)
{
    UNUSED(owner);
    return (uint64_t)world.now_us;
}

static int64_t on_publish(void *owner, struct slice channel, struct slice message)
{
    UNUSED(owner);
    snprintf(world.channel, sizeof world.channel, "%.*s", SLICE_ARGS(channel));
    snprintf(world.message, sizeof world.message, "%.*s", SLICE_ARGS(message));
    world.message_count++;
    return 1;
}

static void empty_store(void)
{
    if (world.embedded != NULL)
        embedded_unref(&world.embedded);
    world.embedded = embedded_open(64u << 20);
    embedded_set_clock(world.embedded, fake_clock, NULL);
    embedded_set_publish(world.embedded, on_publish, NULL);
}

static int set_up(void **state)
{
    UNUSED(state);
    world.now_us = START_US;
    world.message_count = 0;
    world.message[0] = '\0';
    empty_store();
    arena_init(&world.arena, NULL);
    return 0;
}

static int tear_down(void **state)
{
    UNUSED(state);
    embedded_unref(&world.embedded);
    arena_clear(&world.arena);
    return 0;
}

static void run_script(enum script_id script, const struct embedded_call *call, struct reply *reply)
{
    embedded_eval(world.embedded, script, call, &world.arena, reply);
}

/* Evaluates a Lua expression on the store. */
static struct reply look(const char *text)
{
    struct embedded_call call = {.key_count = 0};
    struct reply reply;

    embedded_eval_text(world.embedded, "look", slice_of(text), &call, &world.arena, &reply);
    return reply;
}

static struct lock_asker asker(const char *id, const char *key)
{
    return (struct lock_asker){
        .intent = "w", .id = id, .channel = "worker", .keys = {key}, .key_count = 1, .permits = 1,
        .wait_us = 5 * SECOND, .lease_us = LEASE, .grant_us = GRANT, .heartbeat_us = HEARTBEAT,
        .queue_max = 10,
    };
}

static struct lock_admitted ask(struct lock_asker *a)
{
    struct lock_admitted got = lock_admit(run_script, a);

    if (got.state == ADMIT_QUEUED) {
        a->place = got.place;
        a->wait_until_us = got.wait_until_us;
    }
    return got;
}

#define ASSERT_STATE(a, wanted) assert_int_equal(ask(a).state, wanted)

static int64_t hold(struct lock_asker *a)
{
    struct lock_admitted got = ask(a);

    assert_int_equal(got.state, ADMIT_HELD);
    return got.token;
}

static int64_t release(const struct lock_asker *a, int64_t token)
{
    return lock_release(run_script, a, token);
}

static int64_t renew(const struct lock_asker *a)
{
    int64_t token;

    return lock_renew(run_script, a, &token);
}

static void assert_granted(const struct lock_asker *a)
{
    char wanted[64];

    snprintf(wanted, sizeof wanted, "G %s ", a->id);
    assert_int_equal(strncmp(world.message, wanted, strlen(wanted)), 0);
    assert_string_equal(world.channel, a->channel);
}

/* Nothing is held, nobody waits. */
static void assert_idle(const char *key)
{
    char text[160];

    snprintf(text, sizeof text,
             "local n = redis.call('EXISTS', 'lk:lock:{%s}:h', 'lk:lock:{%s}:q')\n"
             "return n", key, key);
    assert_int_equal(look(text).integer, 0);
}

/*
 * Modes
 */

/* Whether b may hold together with a. */
static void modes_keep_each_other_out(void **state)
{
    static const struct {
        const char *a, *b;
        int64_t permits_a, permits_b;
        int64_t wanted;
    } cases[] = {
        {"x-aaaaaaaa", "x-bbbbbbbb", 1, 1, ADMIT_BUSY}, {"x-aaaaaaaa", "s-bbbbbbbb", 1, 1, ADMIT_BUSY},
        {"s-aaaaaaaa", "x-bbbbbbbb", 1, 1, ADMIT_BUSY}, {"s-aaaaaaaa", "s-bbbbbbbb", 1, 1, ADMIT_HELD},
        {"x-aaaaaaaa", "x-bbbbbbbb", 2, 2, ADMIT_HELD}, {"x-aaaaaaaa", "x-bbbbbbbb", 2, 1, ADMIT_BUSY},
        {"x-aaaaaaaa", "x-bbbbbbbb", 1, 2, ADMIT_HELD}, {"s-aaaaaaaa", "x-bbbbbbbb", 1, 9, ADMIT_BUSY},
        {"x-aaaaaaaa", "s-bbbbbbbb", 9, 1, ADMIT_BUSY},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct lock_asker a = asker(cases[i].a, "k"), b = asker(cases[i].b, "k");
        struct lock_admitted got;

        a.permits = cases[i].permits_a;
        b.permits = cases[i].permits_b;
        b.wait_us = 0;
        empty_store();
        hold(&a);
        got = ask(&b);
        assert_int_equal(got.state, cases[i].wanted);
        if (got.state == ADMIT_BUSY)
            assert_int_equal(got.again_us, LEASE);
    }
}

static void permits_are_never_more_than_n(void **state)
{
    static const char *const ids[] = {"x-1aaaaaaa", "x-2aaaaaaa", "x-3aaaaaaa", "x-4aaaaaaa",
                                      "x-5aaaaaaa"};
    struct lock_asker askers[COUNT_OF(ids)];
    int64_t token = 0;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        askers[i] = asker(ids[i], "k");
        askers[i].permits = 3;
        if (i == 0)
            token = hold(&askers[i]);
        else
            ASSERT_STATE(&askers[i], i < 3 ? ADMIT_HELD : ADMIT_QUEUED);
    }
    assert_int_equal(release(&askers[0], token), RELEASE_HELD);
    assert_granted(&askers[3]);
    assert_int_equal(world.message_count, 1);
    assert_int_equal(renew(&askers[3]), RENEW_HELD);
    assert_int_equal(renew(&askers[4]), RENEW_WAITING);
}

static void readers_wait_behind_a_waiting_writer(void **state)
{
    struct lock_asker r1 = asker("s-r1aaaaaa", "k"), w = asker("x-wwaaaaaa", "k");
    struct lock_asker r2 = asker("s-r2aaaaaa", "k"), r3 = asker("s-r3aaaaaa", "k");
    int64_t token;

    UNUSED(state);
    token = hold(&r1);
    ASSERT_STATE(&w, ADMIT_QUEUED);
    ASSERT_STATE(&r2, ADMIT_QUEUED);
    ASSERT_STATE(&r3, ADMIT_QUEUED);
    release(&r1, token);
    assert_granted(&w);
    token = hold(&w);
    assert_int_equal(world.message_count, 1);
    assert_int_equal(release(&w, token), RELEASE_HELD);
    /* Both readers go on together. */
    assert_int_equal(world.message_count, 3);
    assert_int_equal(renew(&r2), RENEW_HELD);
    assert_int_equal(renew(&r3), RENEW_HELD);
}

static void several_locks_are_taken_all_or_none(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k2"), both = asker("x-bothaaaa", "k1");
    struct lock_asker late = asker("x-lateaaaa", "k1");
    int64_t token;

    UNUSED(state);
    both.keys[1] = "k2";
    both.key_count = 2;
    token = hold(&a);
    ASSERT_STATE(&both, ADMIT_QUEUED);
    ASSERT_STATE(&late, ADMIT_QUEUED); /* k1 is free, but it is not its turn */
    ASSERT_STATE(&both, ADMIT_QUEUED);
    release(&a, token);
    assert_string_equal(world.message, "T x-bothaaaa");
    token = hold(&both);
    ASSERT_STATE(&late, ADMIT_QUEUED);
    assert_int_equal(renew(&both), RENEW_HELD);
    assert_int_equal(release(&both, token), RELEASE_HELD);
    assert_granted(&late);
    release(&late, 0);
    assert_idle("k1");
    assert_idle("k2");
}

/*
 * Waiting
 */

static void a_release_grants_the_next_for_a_short_time(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_asker c = asker("x-cccccccc", "k");
    struct lock_admitted got;
    int64_t token;
    char wanted[96];

    UNUSED(state);
    token = hold(&a);
    got = ask(&b);
    assert_int_equal(got.state, ADMIT_QUEUED);
    assert_int_equal(got.rank, 0);
    assert_int_equal(got.wait_until_us, world.now_us + 5 * SECOND);
    assert_int_equal(got.again_us, HEARTBEAT / 3);
    assert_int_equal(ask(&c).rank, 1);
    world.now_us += SECOND;
    assert_int_equal(release(&a, token), RELEASE_HELD);
    snprintf(wanted, sizeof wanted, "G x-bbbbbbbb %" PRId64 " %" PRId64,
             (world.now_us - LOCK_EPOCH_US + 1) / 2 * 2, GRANT);
    assert_string_equal(world.message, wanted);
    /* It does not confirm: the next one gets it, as soon as anybody looks. */
    world.now_us += GRANT - 1;
    assert_int_equal(renew(&c), RENEW_WAITING);
    assert_int_equal(world.message_count, 1);
    world.now_us += 1;
    assert_int_equal(renew(&c), RENEW_WAITING);
    assert_granted(&c);
    assert_int_equal(renew(&c), RENEW_HELD);
    assert_int_equal(renew(&b), RENEW_GONE);
    /* It comes back to its place. */
    got = ask(&b);
    assert_int_equal(got.state, ADMIT_QUEUED);
    assert_int_equal(got.rank, 0);
}

static void a_confirmed_grant_is_a_full_lease(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    int64_t token, granted;

    UNUSED(state);
    for (int by_renew = 0; by_renew < 2; by_renew++) {
        empty_store();
        b.place = 0;
        token = hold(&a);
        ASSERT_STATE(&b, ADMIT_QUEUED);
        release(&a, token);
        if (by_renew)
            assert_int_equal(lock_renew(run_script, &b, &granted), RENEW_HELD);
        else
            granted = hold(&b);
        assert_true(granted > token);
        world.now_us += LEASE - 1;
        assert_int_equal(release(&b, granted), RELEASE_HELD);
        assert_idle("k");
    }
}

static void the_queue_has_a_bound(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_asker c = asker("x-cccccccc", "k"), d = asker("x-dddddddd", "k");

    UNUSED(state);
    d.queue_max = c.queue_max = 2;
    hold(&a);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    ASSERT_STATE(&c, ADMIT_QUEUED);
    ASSERT_STATE(&d, ADMIT_FULL);
    /* The dead do not count, wherever they are in the queue. */
    world.now_us += HEARTBEAT - 1;
    assert_int_equal(renew(&b), RENEW_WAITING);
    world.now_us += 1;
    ASSERT_STATE(&d, ADMIT_QUEUED);
    assert_int_equal(renew(&c), RENEW_GONE);
    /* One that was there before is not refused. */
    ASSERT_STATE(&c, ADMIT_QUEUED);
}

static void a_wait_ends(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_asker c = asker("x-cccccccc", "k");

    UNUSED(state);
    b.wait_us = SECOND;
    hold(&a);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    ASSERT_STATE(&c, ADMIT_QUEUED);
    world.now_us += SECOND;
    ASSERT_STATE(&b, ADMIT_BUSY);
    assert_int_equal(renew(&b), RENEW_GONE);
    assert_int_equal(ask(&c).rank, 0);
}

static void the_dead_are_passed_over(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_asker c = asker("x-cccccccc", "k");
    int64_t token;

    UNUSED(state);
    token = hold(&a);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    world.now_us += SECOND;
    ASSERT_STATE(&c, ADMIT_QUEUED);
    world.now_us += SECOND;
    release(&a, token);
    assert_int_equal(world.message_count, 1);
    assert_granted(&c);
}

static void a_cancel_hands_over_as_a_release_does(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_asker c = asker("x-cccccccc", "k"), r = asker("s-rrrrrrrr", "k");
    int64_t token;

    UNUSED(state);
    token = hold(&a);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    ASSERT_STATE(&c, ADMIT_QUEUED);
    ASSERT_STATE(&r, ADMIT_QUEUED);
    release(&a, token);
    /* b gives up just when it is granted. */
    assert_int_equal(release(&b, 0), RELEASE_NOT_HOLDING);
    assert_granted(&c);
    assert_int_equal(release(&c, 0), RELEASE_NOT_HOLDING);
    assert_granted(&r);
    assert_int_equal(release(&r, 0), RELEASE_NOT_HOLDING);
    assert_int_equal(release(&r, 0), RELEASE_NOT_HOLDING);
    assert_idle("k");
    /* A writer between readers gives up: the readers behind it go on. */
    world.message_count = 0;
    a = asker("s-aaaaaaaa", "k");
    b.place = r.place = 0;
    hold(&a);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    ASSERT_STATE(&r, ADMIT_QUEUED);
    release(&b, 0);
    assert_granted(&r);
}

static void a_place_is_kept_when_the_store_forgot_it(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_asker c = asker("x-cccccccc", "k");
    int64_t token;

    UNUSED(state);
    hold(&a);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    empty_store();
    world.now_us += MS;
    a.id = "x-another1";
    token = hold(&a);
    ASSERT_STATE(&c, ADMIT_QUEUED);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    release(&a, token);
    assert_granted(&b);
}

/*
 * Leases
 */

static void a_renewal_never_creates(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    int64_t token;

    UNUSED(state);
    assert_int_equal(renew(&a), RENEW_GONE);
    assert_idle("k");
    token = hold(&a);
    release(&a, token);
    assert_int_equal(renew(&a), RENEW_GONE);
    assert_idle("k");
    hold(&a);
    world.now_us += LEASE - 1;
    assert_int_equal(renew(&a), RENEW_HELD);
    world.now_us += LEASE;
    assert_int_equal(renew(&a), RENEW_GONE);
    hold(&b);
}

static void a_lapsed_hold_is_judged(void **state)
{
    static const struct {
        const char *id, *other;
        int64_t permits;
        bool is_taken, is_looked_at;
        int64_t wanted;
    } cases[] = {
        {"x-aaaaaaaa", "x-bbbbbbbb", 1, false, false, RELEASE_LAPSED},
        {"x-aaaaaaaa", "x-bbbbbbbb", 1, false, true, RELEASE_LAPSED},
        {"x-aaaaaaaa", "x-bbbbbbbb", 1, true, true, RELEASE_TAKEN},
        {"x-aaaaaaaa", "s-bbbbbbbb", 1, true, true, RELEASE_TAKEN},
        {"s-aaaaaaaa", "x-bbbbbbbb", 1, true, true, RELEASE_TAKEN},
        {"s-aaaaaaaa", "s-bbbbbbbb", 1, true, true, RELEASE_LAPSED},
        {"x-aaaaaaaa", "x-bbbbbbbb", 2, true, true, RELEASE_LAPSED}, /* there is still room */
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct lock_asker a = asker(cases[i].id, "k"), b = asker(cases[i].other, "k");
        int64_t token, other;

        empty_store();
        a.permits = b.permits = cases[i].permits;
        token = hold(&a);
        world.now_us += LEASE;
        if (cases[i].is_looked_at) {
            /* Somebody sees that it lapsed; whether he takes it or not. */
            other = hold(&b);
            if (!cases[i].is_taken) {
                empty_store();
                token = hold(&a);
                world.now_us += LEASE;
                b.id = "x-ccccdddd";
                assert_int_equal(renew(&b), RENEW_GONE);
            } else {
                assert_true(other > token);
            }
        }
        assert_int_equal(release(&a, token), cases[i].wanted);
    }
}

static void full_permits_are_a_loss_for_one_that_lapsed(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_asker c = asker("x-cccccccc", "k");
    int64_t token;

    UNUSED(state);
    a.permits = b.permits = c.permits = 2;
    token = hold(&a);
    world.now_us += LEASE;
    hold(&b);
    release(&c, hold(&c));
    assert_int_equal(release(&a, token), RELEASE_TAKEN);
}

static void a_store_that_forgot_says_so(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    int64_t token, other;

    UNUSED(state);
    token = hold(&a);
    empty_store();
    assert_int_equal(release(&a, token), RELEASE_FORGOTTEN);
    other = hold(&b);
    assert_true(other > token - 1);
    world.now_us += MS;
    empty_store();
    release(&b, hold(&b));
    assert_int_equal(release(&a, token), RELEASE_TAKEN);
}

static void a_lapsed_lock_stays_closed_for_the_delay(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    int64_t token;

    UNUSED(state);
    a.delay_us = b.delay_us = 3 * SECOND;
    b.wait_us = 0;
    token = hold(&a);
    world.now_us += LEASE;
    assert_int_equal(renew(&a), RENEW_GONE);
    world.now_us += 3 * SECOND - 1;
    assert_int_equal(ask(&b).again_us, 1);
    world.now_us += 1;
    release(&b, hold(&b));
    assert_int_equal(release(&a, token), RELEASE_TAKEN);
    /* A release in time, or after it by the holder itself, opens at once. */
    a.id = "x-again111";
    token = hold(&a);
    release(&a, token);
    token = hold(&a);
    world.now_us += LEASE;
    assert_int_equal(release(&a, token), RELEASE_LAPSED);
    hold(&b);
}

static void a_grant_that_nobody_confirmed_has_no_delay(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_asker c = asker("x-cccccccc", "k");
    int64_t token;

    UNUSED(state);
    a.delay_us = b.delay_us = c.delay_us = 3 * SECOND;
    token = hold(&a);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    release(&a, token);
    world.now_us += GRANT;
    hold(&c);
}

/*
 * Once
 */

static void asking_again_is_the_same_and_charged_once(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_admitted first, second;

    UNUSED(state);
    a.limit_key = b.limit_key = "lk:limit";
    a.limit_count = b.limit_count = 2;
    first = ask(&a);
    assert_int_equal(first.state, ADMIT_HELD);
    assert_int_equal(first.granted, 1);
    assert_int_equal(first.remaining, 1);
    world.now_us += MS;
    second = ask(&a);
    assert_memory_equal(&first, &second, sizeof first);
    assert_int_equal(ask(&b).remaining, 0);
    b.place = b.wait_until_us = 0; /* the reply was lost */
    second = ask(&b);
    assert_int_equal(second.state, ADMIT_QUEUED);
    assert_int_equal(second.granted, 1);
    assert_int_equal(second.allowed, 1);
    assert_int_equal(second.remaining, 0);
    /* Forgotten, but it knows its place. */
    world.now_us += HEARTBEAT;
    release(&a, first.token);
    assert_idle("k");
    assert_int_equal(ask(&b).state, ADMIT_HELD);
}

static void who_is_refused_is_not_charged(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_admitted got;

    UNUSED(state);
    b.limit_key = "lk:limit";
    b.limit_count = 1;
    hold(&a);
    b.wait_us = 0;
    got = ask(&b);
    assert_int_equal(got.state, ADMIT_BUSY);
    assert_int_equal(got.granted, 0);
    assert_int_equal(got.allowed, 1);
    assert_int_equal(got.remaining, 1);
    b.wait_us = SECOND;
    b.queue_max = 0;
    got = ask(&b);
    assert_int_equal(got.state, ADMIT_FULL);
    assert_int_equal(got.remaining, 1);
    assert_int_equal(look("return redis.call('EXISTS', 'lk:limit')").integer, 0);
}

static void a_limit_that_denies_leaves_the_lock_alone(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k2");
    struct lock_admitted got;

    UNUSED(state);
    a.limit_key = b.limit_key = "lk:limit";
    a.limit_count = b.limit_count = 1;
    hold(&a);
    got = ask(&b);
    assert_int_equal(got.state, ADMIT_DENIED);
    assert_int_equal(got.granted, 0);
    assert_int_equal(got.allowed, 0);
    assert_int_equal(look("return redis.call('EXISTS', 'lk:lock:{k2}:h', 'lk:lock:{k2}:q',"
                          " 'lk:lock:{k2}:r')").integer, 0);
}

static void shadow_and_peek_let_everybody_pass(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_admitted got;
    int64_t token;

    UNUSED(state);
    b.limit_key = "lk:limit";
    b.limit_count = 9;
    b.intent = "p";
    got = ask(&b);
    assert_int_equal(got.state, ADMIT_HELD);
    assert_int_equal(got.token, 0);
    assert_int_equal(look("return redis.call('EXISTS', 'lk:lock:{k}:h', 'lk:lock:{k}:q',"
                          " 'lk:lock:{k}:r')").integer, 0);
    token = hold(&a);
    got = ask(&b);
    assert_int_equal(got.state, ADMIT_BUSY);
    assert_int_equal(got.remaining, 7);
    b.intent = "s";
    got = ask(&b);
    assert_int_equal(got.state, ADMIT_BUSY);
    assert_int_equal(got.granted, 1);
    assert_int_equal(got.remaining, 6);
    world.now_us += LEASE;
    b.intent = "p";
    ASSERT_STATE(&b, ADMIT_HELD);
    assert_int_equal(release(&a, token), RELEASE_LAPSED); /* the peek changed nothing */
    b.intent = "s";
    hold(&b);
}

/*
 * Tokens
 */

static void tokens_only_rise(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k");
    int64_t token, last = 0;

    UNUSED(state);
    for (int i = 0; i < 50; i++) {
        a.id = i % 2 ? "s-aaaaaaaa" : "x-aaaaaaaa";
        token = hold(&a);
        assert_true(token > last);
        assert_int_equal(token % 2, i % 2); /* shared ones are odd */
        last = token;
        if (i % 5 == 0)
            release(&a, token);
        else if (i % 5 == 1)
            assert_int_equal(lock_break(run_script, "k"), 1);
        else
            world.now_us += LEASE * (i % 3 + 1);
        if (i % 10 == 9) {
            empty_store();
            world.now_us += 100; /* more than the grants since, in us */
        }
    }
}

static void several_locks_have_one_token_above_all(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k1"), both = asker("x-bothaaaa", "k1");
    int64_t token, last = 0;

    UNUSED(state);
    both.keys[1] = "k2";
    both.key_count = 2;
    for (int i = 0; i < 5; i++) {
        last = hold(&a);
        release(&a, last);
    }
    assert_true(last > world.now_us - LOCK_EPOCH_US);
    token = hold(&both);
    assert_int_equal(token, last + 2); /* even, as all of those who hold alone */
    release(&both, token);
    a.keys[0] = "k2";
    assert_int_equal(hold(&a), token + 2);
}

static void big_numbers_are_exact(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_admitted got;
    int64_t token;

    UNUSED(state);
    world.now_us = LOCK_EPOCH_US + INT64_C(999999999999996); /* among the last of 15 digits */
    token = hold(&a);
    assert_int_equal(token, INT64_C(999999999999996));
    got = ask(&b);
    assert_int_equal(got.place, world.now_us);
    assert_int_equal(got.wait_until_us, world.now_us + 5 * SECOND);
    release(&a, token);
    assert_non_null(strstr(world.message, " 999999999999998 300000"));
    assert_int_equal(hold(&b), INT64_C(999999999999998));
    assert_int_equal(lock_fence(run_script, "k", INT64_C(999999999999998), true), FENCE_PASS);
    assert_int_equal(lock_fence(run_script, "k", INT64_C(999999999999996), true), FENCE_STALE);
}

static void the_fence_knows_stale_and_invented_tokens(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    int64_t first, second;

    UNUSED(state);
    assert_int_equal(lock_fence(run_script, "k", 5, true), FENCE_NEVER_ISSUED);
    first = hold(&a);
    world.now_us += LEASE;
    second = hold(&b);
    assert_int_equal(lock_fence(run_script, "k", second + 1, true), FENCE_NEVER_ISSUED);
    assert_int_equal(lock_fence(run_script, "k", 0, true), FENCE_NEVER_ISSUED);
    assert_int_equal(lock_fence(run_script, "k", second, false), FENCE_PASS);
    assert_int_equal(lock_fence(run_script, "k", first, true), FENCE_PASS);
    assert_int_equal(lock_fence(run_script, "k", second, true), FENCE_PASS);
    assert_int_equal(lock_fence(run_script, "k", first, true), FENCE_STALE);
    assert_int_equal(lock_fence(run_script, "k", second, true), FENCE_PASS);
}

static void readers_have_no_order_at_the_fence(void **state)
{
    struct lock_asker w1 = asker("x-w1aaaaaa", "k"), w2 = asker("x-w2aaaaaa", "k");
    struct lock_asker r1 = asker("s-r1aaaaaa", "k"), r2 = asker("s-r2aaaaaa", "k");
    int64_t writer, newer_writer, reader, newer_reader;

    UNUSED(state);
    writer = hold(&w1);
    world.now_us += LEASE;
    reader = hold(&r1);
    newer_reader = hold(&r2);
    assert_true(reader > writer && newer_reader > reader);
    assert_int_equal(lock_fence(run_script, "k", newer_reader, true), FENCE_PASS);
    assert_int_equal(lock_fence(run_script, "k", reader, true), FENCE_PASS);
    assert_int_equal(lock_fence(run_script, "k", writer, true), FENCE_STALE);
    world.now_us += LEASE;
    newer_writer = hold(&w2);
    assert_int_equal(lock_fence(run_script, "k", reader, true), FENCE_PASS);
    assert_int_equal(lock_fence(run_script, "k", newer_writer, true), FENCE_PASS);
    assert_int_equal(lock_fence(run_script, "k", reader, true), FENCE_STALE);
    assert_int_equal(lock_fence(run_script, "k", newer_reader, true), FENCE_STALE);
}

static void tokens_from_before_the_store_forgot_are_stale(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    int64_t token;

    UNUSED(state);
    token = hold(&a);
    empty_store();
    assert_int_equal(lock_fence(run_script, "k", token, true), FENCE_NEVER_ISSUED);
    world.now_us += MS;
    hold(&b);
    assert_int_equal(lock_fence(run_script, "k", token, true), FENCE_STALE);
}

static void a_forced_release_fences_and_hands_over(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    int64_t token;

    UNUSED(state);
    token = hold(&a);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    assert_int_equal(lock_break(run_script, "k"), 1);
    assert_granted(&b);
    assert_int_equal(lock_fence(run_script, "k", token, true), FENCE_STALE);
    assert_int_equal(renew(&a), RENEW_GONE);
    assert_int_equal(release(&a, token), RELEASE_TAKEN);
    assert_int_equal(renew(&b), RENEW_HELD);
    assert_int_equal(lock_break(run_script, "never-used"), 0);
    assert_int_equal(look("return redis.call('EXISTS', 'lk:lock:{never-used}:r')").integer, 0);
}

static void what_is_there_is_shown(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_texts texts = {.key_count = 0};
    struct reply reply;
    int64_t token;

    UNUSED(state);
    token = hold(&a);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    world.now_us += MS;
    lock_add_key(&texts, "k");
    lock_add_number(&texts, 10);
    lock_run(run_script, SCRIPT_LOCK_SHOW, &texts, &reply);
    assert_int_equal(reply.element_count, 6);
    assert_int_equal(reply.elements[0].integer, token);
    assert_int_equal(reply.elements[2].integer, 1);
    assert_int_equal(reply.elements[3].integer, 1);
    assert_slice_equal(reply.elements[4].elements[0].text, slice_of(a.id));
    assert_int_equal(reply.elements[4].elements[1].integer, token);
    assert_int_equal(reply.elements[4].elements[2].integer, LEASE - MS);
    assert_int_equal(reply.elements[4].elements[3].integer, 1);
    assert_slice_equal(reply.elements[5].elements[0].text, slice_of(b.id));
    assert_int_equal(reply.elements[5].elements[1].integer, 5 * SECOND - MS);
    assert_int_equal(reply.elements[5].elements[2].integer, HEARTBEAT - MS);
}

/*
 * Cost and leftovers
 */

static void every_key_goes_by_itself(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct keyspace_stats stats;

    UNUSED(state);
    hold(&a);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    /* The records live on for an hour after every grant, however often they are used. */
    for (int i = 0; i < 300; i++) {
        world.now_us += 7 * LEASE;
        hold(&a);
        a.id = i % 2 ? "x-aaaaaaaa" : "x-cccccccc";
        assert_true(look("return redis.call('PTTL', 'lk:lock:{k}:r')").integer >= 3600000);
        assert_true(look("return redis.call('PTTL', 'lk:lock:{k}:h')").integer >= 3600000);
    }
    world.now_us += 2 * 3600 * SECOND;
    for (int i = 0; i < 3; i++)
        look("return 1");
    embedded_get_stats(world.embedded, &stats);
    assert_int_equal(stats.keys, 0);
}

/* Runs a script with redis.call counted. */
static int call_count;

static void run_counted(enum script_id script, const struct embedded_call *call, struct reply *reply)
{
    static const char counted[] =
        "local calls = 0\n"
        "local redis = {call = function(...) calls = calls + 1 return redis.call(...) end,\n"
        "               pcall = redis.pcall}\n"
        "local function run()\n";
    struct slice text = script_get(script)->text;
    char *whole = arena_alloc(&world.arena, sizeof counted + text.len + 64);
    struct arena kept = world.arena;

    arena_init(&world.arena, NULL);
    snprintf(whole, sizeof counted + text.len + 64, "%s%.*s\nend\nrun()\nreturn calls\n", counted,
             SLICE_ARGS(text));
    embedded_eval_text(world.embedded, "counted", slice_of(whole), call, &world.arena, reply);
    assert_int_equal(reply->type, REPLY_INTEGER);
    call_count = (int)reply->integer;
    arena_clear(&kept);
}

static void an_uncontended_lock_is_cheap(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k");
    struct lock_texts admit = {.key_count = 0}, release_texts = {.key_count = 0};
    struct lock_texts renew_texts = {.key_count = 0};
    struct embedded_call call;
    struct reply reply;

    UNUSED(state);
    release(&a, hold(&a)); /* it was used before: its records are there */
    world.now_us += MS;
    lock_add_admit(&admit, &a);
    call = (struct embedded_call){admit.key_slices, 3, admit.arg_slices, admit.arg_count};
    run_counted(SCRIPT_ADMIT, &call, &reply);
    assert_int_equal(call_count, 7);
    lock_add_key(&renew_texts, "k");
    lock_add_text(&renew_texts, a.id);
    lock_add_number(&renew_texts, LEASE);
    lock_add_number(&renew_texts, 0);
    lock_add_number(&renew_texts, HEARTBEAT);
    call = (struct embedded_call){renew_texts.key_slices, 3, renew_texts.arg_slices, 4};
    run_counted(SCRIPT_RENEW, &call, &reply);
    assert_int_equal(call_count, 6);
    lock_add_key(&release_texts, "k");
    lock_add_text(&release_texts, a.id);
    lock_add_number(&release_texts, world.now_us - LOCK_EPOCH_US);
    lock_add_number(&release_texts, 0);
    lock_add_number(&release_texts, 1);
    call = (struct embedded_call){release_texts.key_slices, 3, release_texts.arg_slices, 4};
    run_counted(SCRIPT_RELEASE, &call, &reply);
    assert_int_equal(call_count, 6);
    assert_idle("k");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(modes_keep_each_other_out),
        CASE(permits_are_never_more_than_n),
        CASE(readers_wait_behind_a_waiting_writer),
        CASE(several_locks_are_taken_all_or_none),
        CASE(a_release_grants_the_next_for_a_short_time),
        CASE(a_confirmed_grant_is_a_full_lease),
        CASE(the_queue_has_a_bound),
        CASE(a_wait_ends),
        CASE(the_dead_are_passed_over),
        CASE(a_cancel_hands_over_as_a_release_does),
        CASE(a_place_is_kept_when_the_store_forgot_it),
        CASE(a_renewal_never_creates),
        CASE(a_lapsed_hold_is_judged),
        CASE(full_permits_are_a_loss_for_one_that_lapsed),
        CASE(a_store_that_forgot_says_so),
        CASE(a_lapsed_lock_stays_closed_for_the_delay),
        CASE(a_grant_that_nobody_confirmed_has_no_delay),
        CASE(asking_again_is_the_same_and_charged_once),
        CASE(who_is_refused_is_not_charged),
        CASE(a_limit_that_denies_leaves_the_lock_alone),
        CASE(shadow_and_peek_let_everybody_pass),
        CASE(tokens_only_rise),
        CASE(several_locks_have_one_token_above_all),
        CASE(big_numbers_are_exact),
        CASE(the_fence_knows_stale_and_invented_tokens),
        CASE(readers_have_no_order_at_the_fence),
        CASE(tokens_from_before_the_store_forgot_are_stale),
        CASE(a_forced_release_fences_and_hands_over),
        CASE(what_is_there_is_shown),
        CASE(every_key_goes_by_itself),
        CASE(an_uncontended_lock_is_cheap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
