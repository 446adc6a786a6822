/* What the lock scripts promise (lua/README.md): who holds, who waits, what is charged. */
#include "locks_world.h"

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
        {"x-aaaaaaaa", "x-bbbbbbbb", 1, 1, ADMIT_BUSY},
        {"x-aaaaaaaa", "s-bbbbbbbb", 1, 1, ADMIT_BUSY},
        {"s-aaaaaaaa", "x-bbbbbbbb", 1, 1, ADMIT_BUSY},
        {"s-aaaaaaaa", "s-bbbbbbbb", 1, 1, ADMIT_HELD},
        {"x-aaaaaaaa", "x-bbbbbbbb", 2, 2, ADMIT_HELD},
        {"x-aaaaaaaa", "x-bbbbbbbb", 2, 1, ADMIT_BUSY},
        {"x-aaaaaaaa", "x-bbbbbbbb", 1, 2, ADMIT_BUSY},
        {"s-aaaaaaaa", "x-bbbbbbbb", 1, 9, ADMIT_BUSY},
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

static void who_holds_alone_keeps_those_out_who_would_be_several(void **state)
{
    struct lock_asker alone = asker("x-alonexxx", "k"), a = asker("x-aaaaaaaa", "k");
    struct lock_asker b = asker("x-bbbbbbbb", "k"), late = asker("x-latexxxx", "k");
    int64_t token;

    UNUSED(state);
    a.permits = b.permits = 2;
    token = hold(&alone);
    ASSERT_STATE(&a, ADMIT_QUEUED);
    ASSERT_STATE(&b, ADMIT_QUEUED);
    assert_int_equal(renew(&alone), RENEW_HELD);
    ASSERT_STATE(&a, ADMIT_QUEUED);
    assert_int_equal(world.message_count, 0);
    assert_int_equal(release(&alone, token), RELEASE_HELD);
    /* Now both are in, together, and one who wants it alone waits for both. */
    assert_int_equal(world.message_count, 2);
    ASSERT_STATE(&late, ADMIT_QUEUED);
    release(&a, hold(&a));
    ASSERT_STATE(&late, ADMIT_QUEUED);
    release(&b, hold(&b));
    assert_granted(&late);
    /* Who only looks sees the same. */
    token = hold(&late);
    a = asker("x-peekxxxx", "k");
    a.permits = 2;
    a.intent = "p";
    ASSERT_STATE(&a, ADMIT_BUSY);
    release(&late, token);
    ASSERT_STATE(&a, ADMIT_HELD);
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

static void who_queues_behind_a_grant_asks_when_it_ends(void **state)
{
    struct lock_asker a = asker("x-aaaaaaaa", "k"), b = asker("x-bbbbbbbb", "k");
    struct lock_asker c = asker("x-cccccccc", "k");
    struct lock_admitted got;

    UNUSED(state);
    a.lease_us = SECOND;
    hold(&a);
    assert_int_equal(ask(&b).state, ADMIT_QUEUED);
    world.now_us += SECOND;
    /* The lease has lapsed, and the newcomer is the first to look. */
    got = ask(&c);
    assert_granted(&b);
    assert_int_equal(got.state, ADMIT_QUEUED);
    assert_int_equal(got.rank, 0);
    assert_in_range(got.again_us, GRANT, GRANT + 50 * MS);
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
    /* Past its end it is still its own, as long as nobody has come. */
    world.now_us += 2 * LEASE;
    assert_int_equal(renew(&a), RENEW_HELD);
    world.now_us += LEASE - 1;
    b.wait_us = 0;
    ASSERT_STATE(&b, ADMIT_BUSY);
    world.now_us += 1;
    hold(&b);
    assert_int_equal(renew(&a), RENEW_GONE);
}

static void of_several_locks_all_are_renewed_or_none(void **state)
{
    struct lock_asker both = asker("x-bothaaaa", "k1"), a = asker("x-aaaaaaaa", "k1");

    UNUSED(state);
    both.keys[both.key_count++] = "k2";
    hold(&both);
    world.now_us += 2 * LEASE;
    assert_int_equal(renew(&both), RENEW_HELD);
    world.now_us += LEASE;
    release(&a, hold(&a));
    assert_int_equal(renew(&both), RENEW_GONE);
    a = asker("x-cccccccc", "k2");
    hold(&a);
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
    world.now_us += LEASE + 3 * SECOND - 1;
    assert_int_equal(ask(&b).again_us, 1);
    /* Meanwhile nobody took it. */
    assert_int_equal(renew(&a), RENEW_HELD);
    world.now_us += LEASE + 3 * SECOND - 1;
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
                          " 'lk:lock:{k2}:r')")
                         .integer,
                     0);
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
                          " 'lk:lock:{k}:r')")
                         .integer,
                     0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(modes_keep_each_other_out),
        CASE(permits_are_never_more_than_n),
        CASE(who_holds_alone_keeps_those_out_who_would_be_several),
        CASE(readers_wait_behind_a_waiting_writer),
        CASE(several_locks_are_taken_all_or_none),
        CASE(a_release_grants_the_next_for_a_short_time),
        CASE(a_confirmed_grant_is_a_full_lease),
        CASE(who_queues_behind_a_grant_asks_when_it_ends),
        CASE(the_queue_has_a_bound),
        CASE(a_wait_ends),
        CASE(the_dead_are_passed_over),
        CASE(a_cancel_hands_over_as_a_release_does),
        CASE(a_place_is_kept_when_the_store_forgot_it),
        CASE(a_renewal_never_creates),
        CASE(of_several_locks_all_are_renewed_or_none),
        CASE(a_lapsed_hold_is_judged),
        CASE(full_permits_are_a_loss_for_one_that_lapsed),
        CASE(a_store_that_forgot_says_so),
        CASE(a_lapsed_lock_stays_closed_for_the_delay),
        CASE(a_grant_that_nobody_confirmed_has_no_delay),
        CASE(asking_again_is_the_same_and_charged_once),
        CASE(who_is_refused_is_not_charged),
        CASE(a_limit_that_denies_leaves_the_lock_alone),
        CASE(shadow_and_peek_let_everybody_pass),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
