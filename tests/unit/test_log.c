#include "unit/unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"

static int pipe_fds[2];

static int open_pipe(void **state)
{
    UNUSED(state);
    return pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC);
}

static int close_pipe(void **state)
{
    UNUSED(state);
    log_set_fd(2);
    log_set_level(LOG_INFO);
    close(pipe_fds[0]);
    return close(pipe_fds[1]);
}

static json_t *read_line(void)
{
    char text[8192];
    ssize_t len = read(pipe_fds[0], text, sizeof(text));
    json_t *line;

    assert_true(len > 0);
    assert_int_equal(text[len - 1], '\n');
    line = json_loadb(text, (size_t)len, 0, NULL);
    assert_non_null(line);
    return line;
}

static void a_line_has_its_context_and_fields(void **state)
{
    const struct log_context worker = {NULL, LOG_UINT("worker", 3)};
    const struct log_context conn = {&worker, LOG_STR("client", "::1")};
    json_t *line;

    UNUSED(state);
    log_set_fd(pipe_fds[1]);
    log_warn(&conn, "something odd", LOG_INT("delta", -5), LOG_BOOL("again", true),
             LOG_SLICE("text", SLICE("a\"b\\c\n\x01\xff\xc3\xa9")), LOG_STR("none", NULL));
    line = read_line();
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(line, "event")), "something odd");
    assert_int_equal(json_integer_value(json_object_get(line, "worker")), 3);
    assert_string_equal(json_string_value(json_object_get(line, "client")), "::1");
    assert_int_equal(json_integer_value(json_object_get(line, "delta")), -5);
    assert_true(json_is_true(json_object_get(line, "again")));
    assert_true(json_is_null(json_object_get(line, "none")));
    assert_string_equal(json_string_value(json_object_get(line, "text")),
                        "a\"b\\c\n\x01\xef\xbf\xbd\xc3\xa9");
    json_decref(line);
}

static void a_huge_field_is_cut_and_the_line_stays_json(void **state)
{
    static char huge[100000];
    json_t *line;

    UNUSED(state);
    log_set_fd(pipe_fds[1]);
    memset(huge, '"', sizeof(huge) - 1);
    log_error(NULL, "huge", LOG_STR("a", huge), LOG_STR("b", huge));
    line = read_line();
    assert_non_null(json_object_get(line, "a"));
    assert_null(json_object_get(line, "b"));
    json_decref(line);
}

static void the_level_decides_and_repeats_are_counted(void **state)
{
    char text[65536];
    size_t line_count = 0;
    ssize_t len;

    UNUSED(state);
    log_set_fd(pipe_fds[1]);
    log_set_level(LOG_ERROR);
    log_warn(NULL, "quiet");
    assert_true(read(pipe_fds[0], text, sizeof(text)) < 0);
    for (int i = 0; i < 100; i++)
        log_error(NULL, "storm");
    len = read(pipe_fds[0], text, sizeof(text));
    for (ssize_t i = 0; i < len; i++)
        line_count += text[i] == '\n';
    /* Ten a second; the loop may straddle two seconds. */
    assert_in_range(line_count, 10, 20);
}

static void every_level_has_a_name(void **state)
{
    enum log_level level = LOG_INFO;

    UNUSED(state);
    for (int i = LOG_ERROR; i <= LOG_DEBUG; i++) {
        assert_true(log_level_from(slice_of(log_level_name((enum log_level)i)), &level));
        assert_int_equal(level, i);
    }
    assert_false(log_level_from(SLICE("loud"), &level));
}

static void a_sink_keeps_whole_lines_and_counts_what_it_drops(void **state)
{
    struct log_sink *sink = log_sink_open(pipe_fds[1], 20);
    char text[64];

    UNUSED(state);
    log_sink_write(sink, SLICE("0123456789\n"));
    log_sink_write(sink, SLICE("0123456789\n")); /* no room */
    assert_int_equal(log_sink_dropped(sink), 1);
    assert_int_equal(log_sink_pending_bytes(sink), 11);
    assert_true(log_sink_flush(sink));
    assert_int_equal(read(pipe_fds[0], text, sizeof(text)), 11);
    log_sink_write(sink, SLICE("last\n"));
    log_sink_close(&sink);
    assert_null(sink);
    assert_int_equal(read(pipe_fds[0], text, sizeof(text)), 5);
}

static void a_sink_on_a_full_pipe_waits_without_blocking(void **state)
{
    struct log_sink *sink = log_sink_open(pipe_fds[1], 1 << 20);
    static char line[1000], text[1 << 20];
    ssize_t total = 0, len;

    UNUSED(state);
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (int i = 0; i < 200; i++)
        log_sink_write(sink, slice_from(line, sizeof(line)));
    assert_false(log_sink_flush(sink));
    do {
        while ((len = read(pipe_fds[0], text, sizeof(text))) > 0)
            total += len;
    } while (!log_sink_flush(sink));
    while ((len = read(pipe_fds[0], text, sizeof(text))) > 0)
        total += len;
    assert_int_equal(total, 200 * 1000);
    log_sink_close(&sink);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_has_its_context_and_fields, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(a_huge_field_is_cut_and_the_line_stays_json, open_pipe,
                                        close_pipe),
        cmocka_unit_test_setup_teardown(the_level_decides_and_repeats_are_counted, open_pipe,
                                        close_pipe),
        cmocka_unit_test(every_level_has_a_name),
        cmocka_unit_test_setup_teardown(a_sink_keeps_whole_lines_and_counts_what_it_drops,
                                        open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(a_sink_on_a_full_pipe_waits_without_blocking, open_pipe,
                                        close_pipe),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
