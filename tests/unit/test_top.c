/* What `lockkeeper top` makes of two readings, and how it draws them. */
#include "unit/unit.h"

#include <jansson.h>
#include <stdio.h>

#include "app/top_screen.h"
#include "app/top_view.h"

static const char page_before[] =
    "# HELP lockkeeper_http_requests_total Requests.\n"
    "# TYPE lockkeeper_http_requests_total counter\n"
    "process_start_time_seconds 1700000000.5\n"
    "lockkeeper_workers 2\n"
    "lockkeeper_http_requests_total{route=\"a\",code=\"2xx\"} 100\n"
    "lockkeeper_http_requests_total{route=\"b\",code=\"2xx\"} 50\n"
    "lockkeeper_http_requests_total{route=\"a\",code=\"4xx\"} 7\n"
    "lockkeeper_decisions_total{route=\"a\",limit=\"l\",decision=\"limited\"} 7\n"
    "lockkeeper_store_call_duration_seconds_bucket{le=\"0.001\"} 10\n"
    "lockkeeper_store_call_duration_seconds_bucket{le=\"0.01\"} 10\n"
    "lockkeeper_store_call_duration_seconds_bucket{le=\"+Inf\"} 10\n";
static const char page_now[] =
    "process_start_time_seconds 1700000000.5\n"
    "lockkeeper_workers 2\n"
    "lockkeeper_http_requests_total{route=\"a\",code=\"2xx\"} 300\n"
    "lockkeeper_http_requests_total{route=\"b\",code=\"2xx\"} 50\n"
    "lockkeeper_http_requests_total{route=\"a\",code=\"4xx\"} 27\n"
    "lockkeeper_decisions_total{route=\"a\",limit=\"l\",decision=\"limited\"} 27\n"
    "lockkeeper_store_call_duration_seconds_bucket{le=\"0.001\"} 60\n"
    "lockkeeper_store_call_duration_seconds_bucket{le=\"0.01\"} 110\n"
    "lockkeeper_store_call_duration_seconds_bucket{le=\"+Inf\"} 110\n"
    "broken{ 3\nbroken} 4\nbroken\n broken 5\nlockkeeper_workers{\n";

static void close_to(double value, double expected)
{
    if (value < expected * 0.999 - 1e-9 || value > expected * 1.001 + 1e-9)
        fail_msg("%f is not %f", value, expected);
}

static void rates_are_differences(void **state)
{
    struct top_sample before, now;
    struct top_view view = {.address = ""};

    UNUSED(state);
    top_sample_read(slice_of(page_before), 1000000, &before);
    top_sample_read(slice_of(page_now), 3000000, &now);
    top_view_compare(&view, &before, &now);
    close_to(view.interval_s, 2);
    close_to(view.rates[TOP_REQUESTS], 110);
    close_to(view.rates[TOP_ANSWERS_2XX], 100);
    close_to(view.rates[TOP_ANSWERS_4XX], 10);
    close_to(view.rates[TOP_ANSWERS_5XX], 0);
    close_to(view.rates[TOP_DENIED], 10);
    close_to(view.gauges[TOP_WORKERS], 2);
    /* Half of the 100 new calls took up to 1 ms, the others up to 10. */
    close_to(view.store_p50_s, 0.001);
    close_to(view.store_p99_s, 0.001 + 0.009 * 0.98);
    assert_true(view.request_p50_s < 0);
}

static void a_process_that_started_again_counts_from_nothing(void **state)
{
    char page[sizeof(page_before)];
    struct top_sample before, now;
    struct top_view view = {.address = ""};

    UNUSED(state);
    memcpy(page, page_before, sizeof(page_before));
    memcpy(strstr(page, "1700000000.5"), "1800000000.5", 12);
    top_sample_read(slice_of(page_now), 1000000, &before);
    top_sample_read(slice_of(page), 2000000, &now);
    top_view_compare(&view, &before, &now);
    close_to(view.rates[TOP_REQUESTS], 157);
    close_to(view.store_p50_s, 0.0005);
}

static void text_is_safe_to_print(void **state)
{
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    assert_string_equal(top_view_escape(&arena, "stock:42 ~{}"), "stock:42 ~{}");
    assert_string_equal(top_view_escape(&arena, "\x1b]0;x\x07\r\n\x7f"),
                        "\\x1b]0;x\\x07\\x0d\\x0a\\x7f");
    /* Also what is a control in UTF-8, and what would turn the line around. */
    assert_string_equal(top_view_escape(&arena, "\xc2\x9b\xe2\x80\xae"),
                        "\\xc2\\x9b\\xe2\\x80\\xae");
    assert_string_equal(top_view_escape(&arena, NULL), "");
    arena_clear(&arena);
}

static json_t *load(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, 0, &error);

    if (value == NULL)
        fail_msg("%s", error.text);
    return value;
}

static void fill_view(struct top_view *view, struct arena *arena)
{
    json_t *about = load("{\"version\": \"1\\u001b[2J\", \"state\": \"running\"}");
    json_t *limits = load(
        "{\"limits\": [{\"route\": \"r\", \"limit\": \"one\", \"capacity\": 5, \"top\": "
        "{\"period_ms\": 40000, \"requests\": {\"keys\": [{\"key\": \"a\\u001b[31m\", \"count\": "
        "9, \"error\": 2, \"remaining\": 3, \"ms_ago\": 10}]}, \"denied\": {\"keys\": []}, "
        "\"near\": {\"keys\": []}}},"
        "{\"route\": \"r\", \"limit\": \"two\", \"capacity\": 7, \"top\": {\"period_ms\": 40000, "
        "\"requests\": {\"keys\": [{\"key\": null, \"shared\": true, \"count\": 90}, {\"key\": "
        "\"z\", \"count\": 1}]}, \"denied\": {\"keys\": [{\"key\": \"z\", \"count\": 4}]}}},"
        "{\"route\": \"r\", \"limit\": \"three\", \"top\": null}]}");
    json_t *locks = load(
        "{\"held_count\": 3, \"waiting_count\": 1, \"held\": [{\"keys\": [\"k:1\", \"k:2\"], "
        "\"route\": \"r\", \"request_id\": \"id\", \"mode\": \"exclusive\", \"state\": \"held\", "
        "\"held_ms\": 61000, \"lease_left_ms\": 900}], \"waiting\": [{\"keys\": [\"k:1\"], "
        "\"waiting_ms\": 5}]}");

    *view = (struct top_view){.address = "127.0.0.1:9103"};
    top_view_take_about(view, about, arena);
    top_view_take_limits(view, limits, arena);
    top_view_take_locks(view, locks, arena);
    json_decref(about);
    json_decref(limits);
    json_decref(locks);
}

static void answers_become_lists(void **state)
{
    struct top_view view;
    struct arena arena;
    json_t *json;

    UNUSED(state);
    arena_init(&arena, NULL);
    fill_view(&view, &arena);
    assert_string_equal(view.version, "1\\x1b[2J");
    assert_int_equal(view.key_counts[TOP_KIND_BUSY], 3);
    /* Of all limits together, the largest first. */
    assert_string_equal(view.keys[TOP_KIND_BUSY][0].where, "r/two");
    assert_string_equal(view.keys[TOP_KIND_BUSY][0].key, "(without a key)");
    assert_string_equal(view.keys[TOP_KIND_BUSY][1].key, "a\\x1b[31m");
    assert_int_equal(view.keys[TOP_KIND_BUSY][1].error, 2);
    assert_int_equal(view.key_counts[TOP_KIND_DENIED], 1);
    assert_int_equal(view.key_counts[TOP_KIND_NEAR], 0);
    assert_string_equal(view.held[0].keys, "k:1 k:2");
    assert_int_equal(view.held[0].for_ms, 61000);
    assert_int_equal(view.held_count, 3);
    json = top_view_json(&view);
    assert_non_null(json);
    assert_int_equal(json_array_size(json_object_get(json, "busy")), 3);
    json_decref(json);
    arena_clear(&arena);
}

static void answers_that_are_none_change_nothing(void **state)
{
    static const char *const texts[] = {"{}", "[]",
                                        "{\"limits\": 3, \"held\": {}, \"version\": []}",
                                        "{\"limits\": [1, null, {\"top\": {\"denied\": 7}}], "
                                        "\"held\": [null, 4], \"waiting\": [[]]}"};
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct top_view view = {.address = ""};
        json_t *value = load(texts[i]);

        top_view_take_about(&view, value, &arena);
        top_view_take_limits(&view, value, &arena);
        top_view_take_locks(&view, value, &arena);
        assert_int_equal(view.key_counts[TOP_KIND_DENIED], 0);
        json_decref(value);
    }
    arena_clear(&arena);
}

/* Lines of a page, without what colours and places them; CHECKs that nothing else is in it. */
static unsigned check_lines(struct slice page, unsigned columns)
{
    unsigned rows = 0;
    struct slice text;

    while (slice_split(&page, '\n', &text)) {
        unsigned width = 0;

        for (size_t i = 0; i < text.len; i++) {
            if (text.at[i] == '\x1b') {
                while (i < text.len && strchr("HJKm", text.at[i]) == NULL)
                    i++;
                continue;
            }
            if (text.at[i] == '\r')
                continue;
            assert_true(text.at[i] >= ' ' && text.at[i] <= '~');
            width++;
        }
        assert_true(width <= columns);
        rows++;
    }
    return rows;
}

static void it_fits_any_screen(void **state)
{
    struct top_view view;
    struct arena arena;
    struct buf out;

    UNUSED(state);
    arena_init(&arena, NULL);
    fill_view(&view, &arena);
    for (unsigned columns = 0; columns <= 1200; columns += columns < 100 ? 1 : 111) {
        for (unsigned rows = 1; rows < 30; rows++) {
            const struct top_screen screen = {columns, rows, true};

            buf_init(&out, TOP_SCREEN_MAX_BYTES);
            top_screen_draw(&screen, &view, &out);
            assert_true(check_lines(buf_slice(&out), columns < 40 ? 40 : columns) <= rows);
            buf_clear(&out);
        }
    }
    arena_clear(&arena);
}

static void every_list_gets_its_share(void **state)
{
    struct top_key keys[3][50];
    struct top_lock locks[50];
    struct top_view view = {.address = "a", .version = "1", .state = "running", .period_ms = 1};
    const struct top_screen screen = {.columns = 100, .rows = 24};
    struct buf out;
    char *text;

    UNUSED(state);
    for (size_t i = 0; i < 50; i++) {
        for (size_t kind = 0; kind < 3; kind++)
            keys[kind][i] = (struct top_key){.where = "r/l",
                                             .key = kind == 0   ? "denied-one"
                                                    : kind == 1 ? "near-one"
                                                                : "busy-one"};
        locks[i] = (struct top_lock){.keys = "held-one", .route = "r", .request_id = "i"};
    }
    for (size_t kind = 0; kind < 3; kind++) {
        view.keys[kind] = keys[kind];
        view.key_counts[kind] = 50;
    }
    view.held = locks;
    view.held_listed = 50;
    buf_init(&out, TOP_SCREEN_MAX_BYTES);
    top_screen_draw(&screen, &view, &out);
    text = mem_copy_slice(buf_slice(&out));
    assert_non_null(strstr(text, "denied-one"));
    assert_non_null(strstr(text, "near-one"));
    assert_non_null(strstr(text, "busy-one"));
    assert_non_null(strstr(text, "held-one"));
    assert_null(strstr(text, "WAITING"));
    free(text);
    buf_clear(&out);
}

static void no_answer_is_told(void **state)
{
    const struct top_view view = {.address = "127.0.0.1:1", .problem = "Connection refused"};
    const struct top_screen screen = {.columns = 100};
    struct buf out;

    UNUSED(state);
    buf_init(&out, TOP_SCREEN_MAX_BYTES);
    top_screen_draw(&screen, &view, &out);
    assert_slice_equal(buf_slice(&out), SLICE("lockkeeper top: 127.0.0.1:1: Connection refused\n"));
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_differences),
        cmocka_unit_test(a_process_that_started_again_counts_from_nothing),
        cmocka_unit_test(text_is_safe_to_print),
        cmocka_unit_test(answers_become_lists),
        cmocka_unit_test(answers_that_are_none_change_nothing),
        cmocka_unit_test(it_fits_any_screen),
        cmocka_unit_test(every_list_gets_its_share),
        cmocka_unit_test(no_answer_is_told),
    };

    return cmocka_run_group_tests_name("top", tests, NULL, NULL);
}
