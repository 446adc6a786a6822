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

struct find_case {
    struct slice values[2];
    const char *id; /* NULL: none, or one is made */
};

static const struct find_case find_cases[] = {
    {{SLICE_INIT("00-" ID "-b7ad6b7169203331-01")}, ID},
    {{SLICE_INIT("00-" ID "-b7ad6b7169203331-0")}, NULL},
    {{SLICE_INIT("00-" ID "-b7ad6b7169203331-01"), SLICE_INIT("00-" ID "-b7ad6b7169203331-01")},
     NULL},
    {{{NULL, 0}}, NULL},
};

static void find_trace(const struct find_case *c, bool makes, uint64_t sample_ppm,
                       struct trace_source *source, struct arena *arena, struct trace *ret)
{
    struct http_field items[4];
    struct http_fields fields = {.items = items};

    items[fields.count++] = (struct http_field){.name = SLICE("Host"), .value = SLICE("a")};
    for (size_t i = 0; i < 2 && c->values[i].at != NULL; i++)
        items[fields.count++] =
            (struct http_field){.name = SLICE("TraceParent"), .value = c->values[i]};
    items[fields.count++] = (struct http_field){.name = SLICE("X"), .value = SLICE("y")};
    http_fields_index(&fields);
    trace_find(source, &fields, makes, sample_ppm, arena, ret);
}

static void test_found_and_made_traces(void **state)
{
    struct trace_source source = {{0, 0}};
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(find_cases); i++) {
        for (int makes = 0; makes < 2; makes++) {
            struct trace trace;

            find_trace(&find_cases[i], makes == 1, 1000000, &source, &arena, &trace);
            assert_int_equal(trace.is_sent, find_cases[i].id != NULL);
            assert_int_equal(trace.made.at != NULL, makes == 1 && find_cases[i].id == NULL);
            if (find_cases[i].id != NULL || makes == 0) {
                assert_slice_equal(trace.id, slice_of(find_cases[i].id));
                continue;
            }
            assert_slice_equal(trace_id(trace.made), trace.id);
            assert_true(slice_ends_with(trace.made, SLICE("-01")));
        }
    }
    arena_clear(&arena);
}

/* Of many, so many as wanted; and those of a smaller share are among those of a larger. */
static void test_sampling(void **state)
{
    static const uint64_t shares[] = {0, 1, 10000, 250000, 1000000};
    struct trace_source source = {{1, 2}};
    unsigned counts[2][COUNT_OF(shares)] = {{0}};
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    for (unsigned i = 0; i < 20000; i++) {
        struct slice request_id = arena_printf(&arena, "req-%u", i);
        struct trace trace;

        find_trace(&find_cases[3], true, 250000, &source, &arena, &trace);
        assert_int_equal(slice_ends_with(trace.made, SLICE("-01")),
                         trace_is_sampled(trace.id, SLICE("any"), 250000));
        for (unsigned by_id = 0; by_id < 2; by_id++) {
            bool before = false;

            for (size_t s = 0; s < COUNT_OF(shares); s++) {
                bool is_in =
                    trace_is_sampled(by_id == 1 ? SLICE_NONE : trace.id, request_id, shares[s]);

                assert_true(is_in || !before);
                before = is_in;
                counts[by_id][s] += is_in;
            }
        }
        arena_clear(&arena);
    }
    for (unsigned by_id = 0; by_id < 2; by_id++) {
        assert_int_equal(counts[by_id][0], 0);
        assert_true(counts[by_id][1] <= 5);
        assert_in_range(counts[by_id][2], 120, 280);
        assert_in_range(counts[by_id][3], 4700, 5300);
        assert_int_equal(counts[by_id][4], 20000);
    }
    /* The last 56 bits decide, and the highest of them are taken. */
    assert_false(trace_is_sampled(SLICE("ffffffffffffffffffffffffffffffff"), SLICE(""), 0));
    assert_true(trace_is_sampled(SLICE("000000000000000000ffffffffffffff"), SLICE(""), 1));
    assert_false(trace_is_sampled(SLICE("ffffffffffffffffff00000000000000"), SLICE(""), 999999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_ids_of_clients),
        cmocka_unit_test(test_made_request_ids),
        cmocka_unit_test(test_trace_ids),
        cmocka_unit_test(test_found_and_made_traces),
        cmocka_unit_test(test_sampling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
