/* What the lock scripts promise (lua/README.md): tokens, fences, what an operator does, what it
 * costs. */
#include "locks_world.h"

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

static void add_renewal(struct lock_texts *texts, const struct lock_asker *a)
{
    lock_add_key(texts, a->keys[0]);
    lock_add_text(texts, a->id);
    lock_add_number(texts, LEASE);
    lock_add_number(texts, 0);
    lock_add_number(texts, HEARTBEAT);
}

/* Who holds is renewed also when there is no memory for those who wait, in the same call. */
static void a_full_store_renews(void **state)
{
    struct lock_asker holder = asker("x-holderxx", "k"), other = asker("x-otherxxx", "j");
    struct lock_asker waiter = asker("x-waiterxx", "j");
    struct lock_texts texts = {.key_count = 0};
    struct embedded_call call;
    struct reply reply;

    UNUSED(state);
    embedded_unref(&world.embedded);
    world.embedded = embedded_open(1u << 20);
    embedded_set_clock(world.embedded, fake_clock, NULL);
    embedded_set_publish(world.embedded, on_publish, NULL);
    hold(&holder);
    hold(&other);
    ASSERT_STATE(&waiter, ADMIT_QUEUED);
    do
        reply = look("return redis.call('SET', 'fill', string.rep('x', 1100000), 'PX', 3600000)");
    while (reply.type != REPLY_ERROR);
    add_renewal(&texts, &waiter);
    add_renewal(&texts, &holder);
    call = (struct embedded_call){texts.key_slices, 6, texts.arg_slices, texts.arg_count};
    for (int i = 0; i < 10; i++) {
        world.now_us += LEASE / 3;
        run_script(SCRIPT_RENEW, &call, &reply);
        assert_int_equal(reply.type, REPLY_ARRAY);
        assert_int_equal(reply.elements[2].integer, RENEW_HELD);
    }
}

/* Runs a script with redis.call counted. */
static int call_count;

static void run_counted(enum script_id script, const struct embedded_call *call,
                        struct reply *reply)
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
    add_renewal(&renew_texts, &a);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(tokens_only_rise),
        CASE(several_locks_have_one_token_above_all),
        CASE(big_numbers_are_exact),
        CASE(the_fence_knows_stale_and_invented_tokens),
        CASE(readers_have_no_order_at_the_fence),
        CASE(tokens_from_before_the_store_forgot_are_stale),
        CASE(a_forced_release_fences_and_hands_over),
        CASE(what_is_there_is_shown),
        CASE(every_key_goes_by_itself),
        CASE(a_full_store_renews),
        CASE(an_uncontended_lock_is_cheap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
