/* Keys, times to live, the memory bound and the ordered set; what commands reply is compared with
 * Redis in test_differential.c. */
#include "unit.h"

#include <stdio.h>
#include <time.h>

#include "store/commands.h"

static uint64_t now_us;
static struct keyspace *keyspace;
static struct arena arena;
static struct command_context context;

static uint64_t fake_clock(void *owner)
{
    UNUSED(owner);
    return now_us;
}

static void open_keyspace(size_t max_bytes)
{
    now_us = 1000000000000;
    keyspace = keyspace_open(max_bytes);
    keyspace_set_clock(keyspace, fake_clock, NULL);
    arena_init(&arena, NULL);
    context = (struct command_context){.keyspace = keyspace, .arena = &arena};
}

static void close_keyspace(void)
{
    keyspace_close(&keyspace);
    assert_null(keyspace);
    arena_clear(&arena);
}

/* One script with one command; its fields are cut at spaces. */
static struct reply run(const char *command)
{
    struct slice rest = slice_of(command), word, args[16];
    struct reply reply;
    size_t count = 0;

    arena_clear(&arena);
    keyspace_begin(keyspace);
    context.has_written = false;
    while (slice_split(&rest, ' ', &word))
        args[count++] = arena_copy(&arena, word);
    command_run(&context, args, count, &reply);
    return reply;
}

static int64_t run_integer(const char *command)
{
    struct reply reply = run(command);

    if (reply.type != REPLY_INTEGER)
        fail_msg("%s: %d %.*s", command, reply.type, SLICE_ARGS(reply.text));
    return reply.integer;
}

static struct keyspace_stats stats(void)
{
    struct keyspace_stats now;

    keyspace_get_stats(keyspace, &now);
    return now;
}

static void keys_expire(void **state)
{
    UNUSED(state);
    open_keyspace(1 << 20);
    assert_int_equal(run("SET k v PX 100").type, REPLY_STATUS);
    assert_int_equal(run_integer("PTTL k"), 100);
    now_us += 100999;
    assert_int_equal(run_integer("EXISTS k"), 1); /* to the end of its last millisecond */
    now_us += 1;
    assert_int_equal(run_integer("EXISTS k"), 0);
    assert_int_equal(run("GET k").type, REPLY_NIL);
    assert_int_equal(run_integer("PTTL k"), -2);
    assert_int_equal(stats().keys, 0);
    assert_int_equal(stats().expired_count, 1);
    /* A plain SET takes the time to live away, KEEPTTL and INCRBY do not. */
    run("SET k 1 PX 100");
    run("INCRBY k 1");
    run("SET k 2 KEEPTTL");
    assert_int_equal(run_integer("PTTL k"), 100);
    run("SET k 3");
    assert_int_equal(run_integer("PTTL k"), -1);
    close_keyspace();
}

/* Nobody asks for the keys again; all the same they go, a few with each script. */
static void expired_keys_are_removed_without_being_asked_for(void **state)
{
    char command[64];

    UNUSED(state);
    open_keyspace(1 << 20);
    for (int i = 0; i < 1000; i++) {
        snprintf(command, sizeof command, "SET key%d v PX %d", i, 1 + (i * 7919) % 1000);
        run(command);
    }
    assert_int_equal(stats().keys, 1000);
    now_us += 501 * 1000 + 999;
    for (int i = 0; i < 125; i++)
        keyspace_begin(keyspace);
    assert_int_equal(stats().keys, 500);
    now_us += 500 * 1000;
    for (int i = 0; i < 124; i++)
        keyspace_begin(keyspace);
    assert_int_equal(stats().keys, 4);
    keyspace_begin(keyspace);
    assert_int_equal(stats().keys, 0);
    close_keyspace();
}

static void a_full_keyspace_refuses_what_would_grow_it(void **state)
{
    char command[64];
    struct reply reply = {0};
    int i;

    UNUSED(state);
    open_keyspace(20000);
    for (i = 0; i < 1000; i++) {
        snprintf(command, sizeof command, "SET key%d v PX %d", i, i < 10 ? 1000 : 100000);
        reply = run(command);
        if (reply.type == REPLY_ERROR)
            break;
    }
    assert_slice_equal(reply.text,
                       SLICE("OOM command not allowed when used memory > 'maxmemory'."));
    assert_true(i > 20 && i < 1000);
    assert_true(stats().bytes > 20000 && stats().bytes < 40000);
    assert_true(stats().full_count > 0);
    /* What reads or makes room still runs; a script that has begun to write goes on. */
    assert_int_equal(run("GET key1").type, REPLY_STRING);
    assert_int_equal(run("ZADD z 1 a").type, REPLY_ERROR);
    context.has_written = true;
    command_run(&context, (struct slice[]){SLICE("SET"), SLICE("more"), SLICE("v")}, 3, &reply);
    assert_int_equal(reply.type, REPLY_STATUS);
    assert_int_equal(run_integer("DEL more"), 1);
    /* Expired keys make room, all of them at once. */
    now_us += 2000000;
    assert_int_equal(run("SET after v PX 100").type, REPLY_STATUS);
    close_keyspace();
}

/* Everything that is added is given back: accounts end where they began. */
static void accounts_balance(void **state)
{
    static const char *const commands[] = {"SET k 0123456789012345678901234567890123456789",
                                           "SET k v",
                                           "INCRBY n 5",
                                           "HSET h a 1 b 2",
                                           "HSET h a longer-than-before",
                                           "HDEL h b",
                                           "ZADD z 1 a 2 b 3 c",
                                           "ZADD z 9 a",
                                           "ZREMRANGEBYSCORE z 2 3",
                                           "SET z now-a-string",
                                           "SET h now-a-string PX 50"};
    size_t empty_bytes, i;

    UNUSED(state);
    open_keyspace(1 << 20);
    run("SET k v PX 1");
    run("DEL k");
    empty_bytes = stats().bytes; /* the tables */
    for (int n = 0; n < 3; n++) {
        for (i = 0; i < COUNT_OF(commands); i++)
            assert_int_not_equal(run(commands[i]).type, REPLY_ERROR);
        assert_true(stats().bytes > empty_bytes + 300);
        assert_int_equal(run_integer("DEL k n z h"), 4);
        assert_int_equal(stats().bytes, empty_bytes);
    }
    close_keyspace();
}

/* Ranks and ranges of a set of some thousand members against a plain array. */
static void the_ordered_set_is_in_order(void **state)
{
    enum { COUNT = 3000, SCORES = 500 };
    static bool is_member[COUNT];
    struct zset zset;
    char name[16];
    unsigned seed = 7;

    UNUSED(state);
    zset_init(&zset);
    memset(is_member, 0, sizeof is_member);
    for (int n = 0; n < 20000; n++) {
        unsigned which = (unsigned)rand_r(&seed) % COUNT;
        struct slice member = slice_from(name, (size_t)snprintf(name, sizeof name, "m%05u", which));

        /* The score follows from the member, so that the order is known. */
        if (is_member[which])
            zset_remove(&zset, zset_find(&zset, member));
        else
            zset_add(&zset, member, which % SCORES);
        is_member[which] = !is_member[which];
    }
    size_t rank = 0;
    for (unsigned score = 0; score < SCORES; score++) {
        struct zset_bound bound = {score, false};

        assert_int_equal(zset_count_before_min(&zset, bound), rank);
        for (unsigned which = score; which < COUNT; which += SCORES) {
            struct zset_member *at;

            if (!is_member[which])
                continue;
            snprintf(name, sizeof name, "m%05u", which);
            at = zset_at_rank(&zset, rank);
            assert_slice_equal(at->node.key, slice_of(name));
            assert_int_equal(zset_rank(&zset, at), rank);
            rank++;
        }
        assert_int_equal(zset_count_up_to_max(&zset, bound), rank);
    }
    assert_int_equal(zset_count(&zset), rank);
    assert_null(zset_at_rank(&zset, rank));
    zset_clear(&zset);
    assert_int_equal(zset_bytes(&zset), 0);
}

static int64_t note_message(void *owner, struct slice channel, struct slice message)
{
    snprintf(owner, 64, "%.*s=%.*s", SLICE_ARGS(channel), SLICE_ARGS(message));
    return 3;
}

static void messages_reach_the_listener(void **state)
{
    char heard[64] = "";

    UNUSED(state);
    open_keyspace(1 << 20);
    assert_int_equal(run_integer("PUBLISH channel hello"), 0);
    context.publish = note_message;
    context.publish_owner = heard;
    assert_int_equal(run_integer("PUBLISH channel hello"), 3);
    assert_string_equal(heard, "channel=hello");
    close_keyspace();
}

/* The system's clock: near the truth, and never going back. */
static void the_system_clock_goes_forward(void **state)
{
    struct keyspace *real = keyspace_open(1 << 20);
    uint64_t last = keyspace_now_us(real);

    UNUSED(state);
    assert_true(last / 1000000 - (uint64_t)time(NULL) + 1 <= 2);
    for (int i = 0; i < 1000; i++) {
        keyspace_begin(real);
        assert_true(keyspace_now_us(real) >= last);
        last = keyspace_now_us(real);
    }
    keyspace_close(&real);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_expire),
        cmocka_unit_test(expired_keys_are_removed_without_being_asked_for),
        cmocka_unit_test(a_full_keyspace_refuses_what_would_grow_it),
        cmocka_unit_test(accounts_balance),
        cmocka_unit_test(the_ordered_set_is_in_order),
        cmocka_unit_test(messages_reach_the_listener),
        cmocka_unit_test(the_system_clock_goes_forward),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
