#include "unit/unit.h"

#include "serve/trace.h"

struct id_case {
    const char *text;
    bool is_fine;
};

static const struct id_case id_cases[] = {
    {"a", true},
    {"0af7651916cd43dd8448eb211c80319c", true},
    {"req-1_2.3:4/5+6=@7", true},
    {"", false},
    {"a b", false},
    {"a\"b", false},
    {"a\\b", false},
    {"a,b", false},
    {"a\tb", false},
    {"caf\xc3\xa9", false},
};

static void test_request_ids_of_clients(void **state)
{
    char text[TRACE_REQUEST_ID_MAX_BYTES + 1];

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(id_cases); i++)
        if (trace_request_id_is_fine(slice_of(id_cases[i].text)) != id_cases[i].is_fine)
            fail_msg("\"%s\"", id_cases[i].text);
    assert_false(trace_request_id_is_fine(SLICE_NONE));
    assert_false(trace_request_id_is_fine(slice_from("a\0b", 3)));
    memset(text, 'x', sizeof(text));
    assert_true(trace_request_id_is_fine(slice_from(text, TRACE_REQUEST_ID_MAX_BYTES)));
    assert_false(trace_request_id_is_fine(slice_from(text, TRACE_REQUEST_ID_MAX_BYTES + 1)));
}

static void test_made_request_ids(void **state)
{
    struct trace_source source = {{0, 0}}, other = {{0, 0}};
    bool is_seen[256] = {false};
    struct arena arena;
    struct slice ids[100];

    UNUSED(state);
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        ids[i] = trace_make_request_id(i % 2 == 0 ? &source : &other, &arena);
        assert_int_equal(ids[i].len, 32);
        for (size_t at = 0; at < ids[i].len; at++)
            is_seen[(unsigned char)ids[i].at[at]] = true;
        assert_true(trace_request_id_is_fine(ids[i]));
        for (size_t before = 0; before < i; before++)
            assert_false(slice_equal(ids[before], ids[i]));
    }
    /* All hex digits appear in 3200, and nothing else. */
    for (unsigned byte = 0; byte < 256; byte++)
        assert_int_equal(is_seen[byte], byte != 0 && strchr("0123456789abcdef", (int)byte) != NULL);
    arena_clear(&arena);
}

#define ID "0af7651916cd43dd8448eb211c80319c"

struct traceparent_case {
    const char *text;
    const char *id; /* NULL: malformed */
};

static const struct traceparent_case traceparent_cases[] = {
    {"00-" ID "-b7ad6b7169203331-01", ID},
    {"00-" ID "-b7ad6b7169203331-00", ID},
    {"cc-" ID "-b7ad6b7169203331-01-what-the-future-will-be-like", ID},
    {"cc-" ID "-b7ad6b7169203331-01", ID},
    {"00-" ID "-b7ad6b7169203331-01-more", NULL},
    {"cc-" ID "-b7ad6b7169203331-01.more", NULL},
    {"ff-" ID "-b7ad6b7169203331-01", NULL},
    {"00-00000000000000000000000000000000-b7ad6b7169203331-01", NULL},
    {"00-" ID "-0000000000000000-01", NULL},
    {"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", NULL},
    {"00-" ID "-b7ad6b716920333g-01", NULL},
    {"00-" ID "-b7ad6b7169203331-0", NULL},
    {"00_" ID "-b7ad6b7169203331-01", NULL},
    {"0-" ID "-b7ad6b7169203331-001", NULL},
    {"", NULL},
};

static void test_trace_ids(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(traceparent_cases); i++)
        assert_slice_equal(trace_id(slice_of(traceparent_cases[i].text)),
                           slice_of(traceparent_cases[i].id));
    assert_null(trace_id(SLICE_NONE).at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_ids_of_clients),
        cmocka_unit_test(test_made_request_ids),
        cmocka_unit_test(test_trace_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
