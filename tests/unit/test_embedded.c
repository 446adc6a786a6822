/* The engine around the scripts: what they can reach, how values become replies, how it stands up
 * to scripts that are wrong and to many threads. */
#include "unit.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "store/embedded.h"
#include "store/store.h"

static struct embedded *embedded;
static struct arena arena;

static int set_up(void **state)
{
    UNUSED(state);
    embedded = embedded_open(1 << 20);
    arena_init(&arena, NULL);
    return 0;
}

static int tear_down(void **state)
{
    UNUSED(state);
    embedded_unref(&embedded);
    assert_null(embedded);
    arena_clear(&arena);
    return 0;
}

static struct reply run(const char *text)
{
    struct slice keys[] = {SLICE("key")}, args[] = {SLICE("one"), SLICE("t\0wo"), SLICE("")};
    struct reply reply;

    embedded_eval_text(embedded, "test", slice_of(text), &(struct embedded_call){keys, 1, args, 3},
                       &arena, &reply);
    return reply;
}

static void values_become_replies(void **state)
{
    static const struct {
        const char *text;
        enum reply_type type;
        int64_t integer;
        struct slice bytes;
    } cases[] = {
        {"return 3", REPLY_INTEGER, 3, {0}},
        {"return 3.99", REPLY_INTEGER, 3, {0}},
        {"return -3.99", REPLY_INTEGER, -3, {0}},
        {"return 9007199254740991", REPLY_INTEGER, 9007199254740991, {0}},
        {"return true", REPLY_INTEGER, 1, {0}},
        {"return false", REPLY_NIL, 0, {0}},
        {"return nil", REPLY_NIL, 0, {0}},
        {"", REPLY_NIL, 0, {0}},
        {"return function() end", REPLY_NIL, 0, {0}},
        {"return ARGV[2]", REPLY_STRING, 0, SLICE_INIT("t\0wo")},
        {"return KEYS[1] .. #KEYS .. #ARGV", REPLY_STRING, 0, SLICE_INIT("key13")},
        {"return {ok = 'fine'}", REPLY_STATUS, 0, SLICE_INIT("fine")},
        {"return redis.status_reply('fine')", REPLY_STATUS, 0, SLICE_INIT("fine")},
        {"return {err = 'BAD thing'}", REPLY_ERROR, 0, SLICE_INIT("BAD thing")},
        {"return redis.error_reply('BAD thing')", REPLY_ERROR, 0, SLICE_INIT("BAD thing")},
        {"return redis.error_reply('-BAD thing')", REPLY_ERROR, 0, SLICE_INIT("BAD thing")},
        {"return redis.error_reply('bad')", REPLY_ERROR, 0, SLICE_INIT("ERR bad")},
        {"return redis.call('SET', 'a', 17)", REPLY_STATUS, 0, SLICE_INIT("OK")},
        {"return redis.call('GET', 'nothing')", REPLY_NIL, 0, {0}},
        {"redis.call('SET', 'a', 2^52 + 1) return redis.call('GET', 'a')", REPLY_STRING, 0,
         SLICE_INIT("4503599627370497")},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct reply reply = run(cases[i].text);

        if (reply.type != cases[i].type || reply.integer != cases[i].integer)
            fail_msg("%s: type %d, integer %" PRId64 ", %.*s", cases[i].text, reply.type,
                     reply.integer, SLICE_ARGS(reply.text));
        assert_slice_equal(reply.text, cases[i].bytes);
    }
}

static void arrays_end_at_the_first_nil(void **state)
{
    struct reply reply = run("return {1, {'a', {2}}, false, {err = 'X y'}, nil, 5}");

    UNUSED(state);
    assert_int_equal(reply.type, REPLY_ARRAY);
    assert_int_equal(reply.element_count, 4);
    assert_int_equal(reply.elements[1].element_count, 2);
    assert_int_equal(reply.elements[1].elements[1].elements[0].integer, 2);
    assert_int_equal(reply.elements[2].type, REPLY_NIL);
    assert_int_equal(reply.elements[3].type, REPLY_ERROR);
    /* A table in itself would have no end. */
    reply = run("local t = {} t[1] = t return t");
    while (reply.type == REPLY_ARRAY)
        reply = reply.elements[0];
    assert_int_equal(reply.type, REPLY_ERROR);
}

static void wrong_scripts_give_errors(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"return (", "ERR Error compiling script"},
        {"\033Lua", "ERR Error compiling script: a script must be text"},
        {"return 1 + nil", "ERR test:1: attempt to perform arithmetic on a nil value"},
        {"\n\nerror('mine')", "ERR test:3: mine"},
        {"error({err = 'MINE own'})", "MINE own"},
        {"error({})", "ERR unknown error"},
        {"x = 1", "ERR test:1: Attempt to modify a readonly table"},
        {"string.format = nil", "ERR test:1: Attempt to modify a readonly table"},
        {"redis.call = nil", "ERR test:1: Attempt to modify a readonly table"},
        {"_G.x = 1", "ERR test:1: Attempt to modify a readonly table"},
        {"return setmetatable(_G, {})", "ERR test:1: cannot change a protected metatable"},
        {"getmetatable('').__index = nil", "ERR test:1: attempt to index a boolean value"},
        {"return unknown", "ERR test:1: Script attempted to access nonexistent global variable"},
        {"return os.time()", "ERR test:1: Script attempted to access nonexistent global"},
        {"return io", "ERR test:1: Script attempted to access nonexistent global"},
        {"return loadstring", "ERR test:1: Script attempted to access nonexistent global"},
        {"return require", "ERR test:1: Script attempted to access nonexistent global"},
        {"return debug", "ERR test:1: Script attempted to access nonexistent global"},
        {"return getfenv", "ERR test:1: Script attempted to access nonexistent global"},
        {"return rawset", "ERR test:1: Script attempted to access nonexistent global"},
        {"return math.random()", "ERR test:1: attempt to call field 'random' (a nil value)"},
        {"redis.call()", "ERR Please specify at least one argument for this redis.call() call"},
        {"redis.call('GET', {})", "ERR Lua redis lib command arguments must be strings or"},
        {"redis.call('FLUSHALL')", "ERR Unknown Redis command called from script"},
        {"redis.call('GET')", "ERR Wrong number of args calling Redis command from script"},
        {"while true do end", "ERR script takes too long"},
        {"while true do pcall(function() while true do end end) end", "ERR script takes too long"},
        {"local function f() return f() + 1 end return f()", "ERR test:1: stack overflow"},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct reply reply = run(cases[i].text);

        if (reply.type != REPLY_ERROR || !slice_starts_with(reply.text, slice_of(cases[i].error)))
            fail_msg("%s: %d \"%.*s\"", cases[i].text, reply.type, SLICE_ARGS(reply.text));
        /* The engine is as before. */
        assert_int_equal(run("return redis.call('EXISTS', KEYS[1])").integer, 0);
    }
}

static void errors_of_commands_can_be_caught(void **state)
{
    UNUSED(state);
    assert_slice_equal(run("redis.call('SET', 'a', 'x')\n"
                           "local ok, failure = pcall(redis.call, 'ZCARD', 'a')\n"
                           "return tostring(ok) .. ' ' .. failure.err")
                           .text,
                       SLICE("false WRONGTYPE Operation against a key holding the wrong kind of "
                             "value"));
    assert_slice_equal(run("return redis.pcall('ZCARD', 'a').err").text,
                       SLICE("WRONGTYPE Operation against a key holding the wrong kind of value"));
    assert_int_equal(run("return redis.pcall('ZCARD', 'a')").type, REPLY_ERROR);
    /* More arguments than usual. */
    assert_int_equal(run("local t = {'ZADD', 'z'}\n"
                         "for i = 1, 500 do t[#t + 1] = i t[#t + 1] = 'm' .. i end\n"
                         "return redis.call(unpack(t))")
                         .integer,
                     500);
}

/* Scripts see one time from begin to end, as text of seconds and microseconds. */
static uint64_t fake_clock(void *owner)
{
    return (*(uint64_t *)owner)++;
}

static void time_stands_still_within_a_script(void **state)
{
    uint64_t now_us = 1795000000000042;
    struct reply reply;

    UNUSED(state);
    embedded_set_clock(embedded, fake_clock, &now_us);
    reply = run("local a, b = redis.call('TIME'), redis.call('TIME')\n"
                "return {a[1], a[2], b[1], b[2]}");
    assert_slice_equal(reply.elements[0].text, SLICE("1795000000"));
    assert_slice_equal(reply.elements[1].text, SLICE("42"));
    assert_slice_equal(reply.elements[3].text, SLICE("42"));
    assert_slice_equal(run("return redis.call('TIME')[2]").text, SLICE("43"));
}

/* A denial for lack of memory leaves nothing half done: the first limit is not charged either. */
static void a_full_engine_refuses_and_changes_nothing(void **state)
{
    static const char *const texts[] = {"2",        "id", "t", "e", "1", "9", "60000000",
                                        "9",        "-",  "0", "f", "e", "1", "9",
                                        "60000000", "0",  "c", "0", "1"};
    struct slice keys[] = {SLICE("a"), SLICE("b")}, args[COUNT_OF(texts)];
    struct embedded_call call = {keys, 2, args, COUNT_OF(args)};
    struct keyspace_stats before, after;
    struct reply reply;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(args); i++)
        args[i] = slice_of(texts[i]);
    assert_int_equal(run("for i = 1, 100000 do redis.call('SET', 'fill' .. i, 'v') end").type,
                     REPLY_NIL);
    embedded_get_stats(embedded, &before);
    assert_true(before.bytes > before.max_bytes);
    embedded_eval(embedded, SCRIPT_LIMITS, &call, &arena, &reply);
    assert_int_equal(reply.type, REPLY_ERROR);
    assert_true(slice_starts_with(reply.text, SLICE("OOM command not allowed when used memory")));
    embedded_get_stats(embedded, &after);
    assert_int_equal(after.keys, before.keys);
    assert_int_equal(after.bytes, before.bytes);
    assert_int_equal(after.full_count, before.full_count + 1);
    embedded_set_max_bytes(embedded, 2 * before.bytes);
    embedded_eval(embedded, SCRIPT_LIMITS, &call, &arena, &reply);
    assert_int_not_equal(reply.type, REPLY_ERROR);
    embedded_get_stats(embedded, &after);
    assert_int_equal(after.max_bytes, 2 * before.bytes);
}

enum { THREADS = 4, CALLS = 500 };

static void *ask_many(void *granted)
{
    static const char *const texts[] = {"1",          "id", "l", "e", "1", "700",
                                        "3600000000", "0",  "-", "0", "1"};
    struct slice keys[] = {SLICE("shared")}, args[COUNT_OF(texts)];
    struct embedded *own = embedded_ref(embedded);
    struct arena replies;
    struct reply reply;

    arena_init(&replies, NULL);
    for (size_t i = 0; i < COUNT_OF(args); i++)
        args[i] = slice_of(texts[i]);
    for (int i = 0; i < CALLS; i++) {
        embedded_eval(own, SCRIPT_LIMITS, &(struct embedded_call){keys, 1, args, COUNT_OF(args)},
                      &replies, &reply);
        CHECK(reply.type == REPLY_ARRAY);
        *(int64_t *)granted += reply.elements[0].integer;
    }
    arena_clear(&replies);
    embedded_unref(&own);
    return NULL;
}

static void a_limit_holds_for_all_threads_together(void **state)
{
    pthread_t threads[THREADS];
    int64_t granted[THREADS] = {0}, total = 0;

    UNUSED(state);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_many, &granted[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        total += granted[i];
    }
    assert_int_equal(total, 700);
}

/* What EVALSHA sends is the digest of what SCRIPT LOAD gets. */
static void scripts_are_embedded_with_their_digests(void **state)
{
    UNUSED(state);
    for (int i = 0; i < SCRIPT_COUNT; i++) {
        const struct script *script = script_get((enum script_id)i);

        assert_true(script->text.len > 100);
        assert_int_equal(strlen(script->text.at), script->text.len);
        assert_int_equal(strspn(script->sha1_hex, "0123456789abcdef"), 40);
        assert_int_equal(strlen(script->sha1_hex), 40);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(values_become_replies),
        CASE(arrays_end_at_the_first_nil),
        CASE(wrong_scripts_give_errors),
        CASE(errors_of_commands_can_be_caught),
        CASE(time_stands_still_within_a_script),
        CASE(a_full_engine_refuses_and_changes_nothing),
        CASE(a_limit_holds_for_all_threads_together),
        CASE(scripts_are_embedded_with_their_digests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
