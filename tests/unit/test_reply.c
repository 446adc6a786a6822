#include "unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "store/reply.h"

#define MAX_BYTES ((size_t)64 * 1024)

/* A reply in one line: 42  "text"  +OK  -ERR x  nil  [1, nil]. */
static size_t describe(const struct reply *reply, char *to, size_t size)
{
    size_t at = 0;

    switch (reply->type) {
    case REPLY_NIL:
        return (size_t)snprintf(to, size, "nil");
    case REPLY_INTEGER:
        return (size_t)snprintf(to, size, "%lld", (long long)reply->integer);
    case REPLY_STRING:
        return (size_t)snprintf(to, size, "\"%.*s\"", SLICE_ARGS(reply->text));
    case REPLY_STATUS:
        return (size_t)snprintf(to, size, "+%.*s", SLICE_ARGS(reply->text));
    case REPLY_ERROR:
        return (size_t)snprintf(to, size, "-%.*s", SLICE_ARGS(reply->text));
    case REPLY_ARRAY:
        break;
    }
    at += (size_t)snprintf(to + at, size - at, "[");
    for (size_t i = 0; i < reply->element_count; i++) {
        at += (size_t)snprintf(to + at, size - at, "%s", i > 0 ? ", " : "");
        at += describe(&reply->elements[i], to + at, size - at);
    }
    return at + (size_t)snprintf(to + at, size - at, "]");
}

/* What a reader makes of wire when it comes piece_len bytes at a time: descriptions and how it
 * ended, separated by spaces. */
static void read_all(struct slice wire, size_t piece_len, char *to, size_t size)
{
    struct reply_reader *reader = reply_reader_open(NULL, MAX_BYTES);
    enum reply_progress progress = REPLY_MORE;
    const struct reply *reply;
    size_t at = 0;

    to[0] = '\0';
    while (wire.len > 0 && progress != REPLY_BROKEN) {
        struct slice piece = slice_head(wire, wire.len < piece_len ? wire.len : piece_len);

        wire = slice_skip(wire, piece.len);
        while ((progress = reply_reader_next(reader, &piece, &reply)) == REPLY_ONE) {
            at += describe(reply, to + at, size - at);
            at += (size_t)snprintf(to + at, size - at, " ");
        }
        assert_true(progress == REPLY_BROKEN || piece.len == 0);
    }
    snprintf(to + at, size - at, progress == REPLY_BROKEN ? "broken" : "more");
    if (progress == REPLY_BROKEN)
        assert_true(strlen(reply_reader_error(reader)) > 0);
    reply_reader_close(&reader);
    assert_null(reader);
}

static const struct wire_case {
    const char *wire, *expected;
} wire_cases[] = {
    {"+OK\r\n:42\r\n", "+OK 42 more"},
    {":-9223372036854775808\r\n:9223372036854775807\r\n",
     "-9223372036854775808 9223372036854775807 more"},
    {"$5\r\nhello\r\n$0\r\n\r\n$-1\r\n", "\"hello\" \"\" nil more"},
    {"-NOSCRIPT No matching script.\r\n", "-NOSCRIPT No matching script. more"},
    {"*3\r\n:1\r\n$1\r\na\r\n*2\r\n$-1\r\n+b\r\n", "[1, \"a\", [nil, +b]] more"},
    {"*0\r\n*-1\r\n", "[] nil more"},
    {"$4\r\n\r\n\r\n\r\n", "\"\r\n\r\n\" more"},
    {"*2\r\n:1\r\n", "more"},
    {"$10\r\nhalf", "more"},
    {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:7\r\n", "[[[[[[7]]]]]] more"},
    {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:7\r\n", "broken"},
    {"HTTP/1.1 400 Bad Request\r\n", "broken"},
    {"+OK\r\n!oops\r\n", "+OK broken"},
    {"*2147483647\r\n:1\r\n", "broken"},
    {"*65537\r\n:1\r\n", "broken"},
    {"*-7\r\n", "broken"},
    {"$-7\r\n", "broken"},
    /* More elements than allowed in all, although each array alone is within the bound. */
    {"*3\r\n*40000\r\n", "more"},
    {"*2\r\n*65535\r\n", "broken"},
};

static void replies_are_read_in_any_pieces(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(wire_cases); i++) {
        struct slice wire = slice_of(wire_cases[i].wire);

        for (size_t piece_len = 1; piece_len <= wire.len; piece_len++) {
            char seen[256];

            read_all(wire, piece_len, seen, sizeof(seen));
            assert_string_equal(seen, wire_cases[i].expected);
        }
    }
}

/* Feeds head, then filler until the reader breaks; gives how much it took. */
static size_t bytes_until_broken(const char *head, char filler, size_t limit)
{
    struct reply_reader *reader = reply_reader_open(NULL, MAX_BYTES);
    struct slice data = slice_of(head);
    const struct reply *reply;
    enum reply_progress progress = reply_reader_next(reader, &data, &reply);
    char block[1000];
    size_t fed = 0;

    memset(block, filler, sizeof(block));
    while (progress == REPLY_MORE && fed < limit) {
        data = slice_from(block, sizeof(block));
        progress = reply_reader_next(reader, &data, &reply);
        fed += sizeof(block);
    }
    assert_int_equal(progress, REPLY_BROKEN);
    reply_reader_close(&reader);
    return fed;
}

static void endless_replies_are_cut(void **state)
{
    static const char *const heads[] = {
        "$9223372036854775807\r\n", "$99999999\r\n", "+", "-", "*", ":"};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(heads); i++)
        assert_true(bytes_until_broken(heads[i], '1', 4 * MAX_BYTES) <= MAX_BYTES + 8192);
}

static void many_replies_need_no_more_memory(void **state)
{
    static const char one[] = "*3\r\n:1\r\n$5\r\nhello\r\n$-1\r\n";
    struct reply_reader *reader;
    struct arena_pool pool;
    char wire[sizeof(one) * 1000] = "";
    unsigned count = 0;

    UNUSED(state);
    for (unsigned i = 0; i < 1000; i++)
        memcpy(wire + i * (sizeof(one) - 1), one, sizeof(one));
    arena_pool_init(&pool, 4);
    reader = reply_reader_open(&pool, MAX_BYTES);
    for (unsigned round = 0; round < 10; round++) {
        struct slice data = slice_of(wire);
        const struct reply *reply;

        while (reply_reader_next(reader, &data, &reply) == REPLY_ONE) {
            assert_int_equal(reply->element_count, 3);
            assert_slice_equal(reply->elements[1].text, SLICE("hello"));
            count++;
        }
        assert_true(pool.free_count <= 1);
    }
    assert_int_equal(count, 10000);
    reply_reader_close(&reader);
    arena_pool_clear(&pool);
}

static const struct error_case {
    const char *text;
    enum reply_error error;
} error_cases[] = {
    {"NOSCRIPT No matching script. Please use EVAL.", REPLY_ERROR_NOSCRIPT},
    {"WRONGPASS invalid username-password pair or user is disabled.", REPLY_ERROR_WRONGPASS},
    {"OOM command not allowed when used memory > 'maxmemory'.", REPLY_ERROR_OOM},
    {"ERR Error running script (call to f_1234): @user_script:1: -READONLY You can't write",
     REPLY_ERROR_READONLY},
    {"ERR Error running script (call to f_1234): @user_script:1: user_script:1: no luck",
     REPLY_ERROR_OTHER},
    {"ERR Error running script: -", REPLY_ERROR_OTHER},
    {"ERR DB index is out of range", REPLY_ERROR_DB_RANGE},
    {"ERR max number of clients reached", REPLY_ERROR_MAXCLIENTS},
    {"MOVED 3999 127.0.0.1:6381", REPLY_ERROR_MOVED},
    {"", REPLY_ERROR_OTHER},
    {"NOSCRIP", REPLY_ERROR_OTHER},
};

static void errors_have_classes(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(error_cases); i++) {
        enum reply_error error = reply_error_class(slice_of(error_cases[i].text));

        assert_int_equal(error, error_cases[i].error);
        assert_true(strlen(reply_error_text(error)) > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_are_read_in_any_pieces),
        cmocka_unit_test(endless_replies_are_cut),
        cmocka_unit_test(many_replies_need_no_more_memory),
        cmocka_unit_test(errors_have_classes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
