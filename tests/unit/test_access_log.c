#include "unit/unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "serve/access_log.h"

static const struct access_log_entry full = {
    .wall_us = UINT64_C(1763694000123999), /* 2025-11-21T03:00:00.123 */
    .method = SLICE_INIT("GET"),
    .path = SLICE_INIT("/stock/42"),
    .status = 429,
    .route = "stock",
    .decision = "limited",
    .limit = "per-user",
    .reason = "quota-exceeded",
    .duration_us = 1234,
    .upstream_us = 1000,
    .store_us = 200,
    .received_bytes = 100,
    .sent_bytes = UINT64_C(5000000000),
    .client_ip = SLICE_INIT("203.0.113.9"),
    .request_id = SLICE_INIT("abc"),
    .trace_id = SLICE_INIT("0af7651916cd43dd8448eb211c80319c"),
    .user_agent = SLICE_INIT("curl/8"),
    .upstream = SLICE_INIT("127.0.0.1:3000"),
};

static void test_every_field(void **state)
{
    struct access_log_clock clock = {0};
    char line[ACCESS_LOG_LINE_BYTES];

    UNUSED(state);
    assert_slice_equal(
        slice_from(line, access_log_format(&clock, &full, line)),
        SLICE("{\"time\":\"2025-11-21T03:00:00.123Z\",\"method\":\"GET\",\"path\":\"/stock/42\","
              "\"status\":429,\"route\":\"stock\",\"decision\":\"limited\",\"limit\":\"per-user\","
              "\"reason\":\"quota-exceeded\",\"duration_us\":1234,\"upstream_us\":1000,"
              "\"store_us\":200,\"received_bytes\":100,\"sent_bytes\":5000000000,"
              "\"client_ip\":\"203.0.113.9\",\"request_id\":\"abc\","
              "\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\",\"user_agent\":\"curl/8\","
              "\"upstream\":\"127.0.0.1:3000\"}\n"));
}

static void test_what_is_not_known_is_left_out(void **state)
{
    const struct access_log_entry entry = {.wall_us = 0,
                                           .upstream_us = ACCESS_LOG_NONE,
                                           .store_us = ACCESS_LOG_NONE,
                                           .duration_us = ACCESS_LOG_NONE};
    struct access_log_clock clock = {0};
    char line[ACCESS_LOG_LINE_BYTES];

    UNUSED(state);
    assert_slice_equal(slice_from(line, access_log_format(&clock, &entry, line)),
                       SLICE("{\"time\":\"1970-01-01T00:00:00.000Z\",\"status\":0,"
                             "\"received_bytes\":0,\"sent_bytes\":0}\n"));
}

static void test_sample_rates(void **state)
{
    static const struct {
        uint64_t ppm;
        const char *end;
    } rates[] = {{1, ",\"sample_rate\":0.000001}\n"},
                 {10000, ",\"sample_rate\":0.01}\n"},
                 {333333, ",\"sample_rate\":0.333333}\n"},
                 {500000, ",\"sample_rate\":0.5}\n"},
                 {1000000, ",\"sample_rate\":1}\n"}};
    struct access_log_clock clock = {0};
    char line[ACCESS_LOG_LINE_BYTES];

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(rates); i++) {
        struct access_log_entry entry = full;
        struct slice text;

        entry.sample_ppm = rates[i].ppm;
        text = slice_from(line, access_log_format(&clock, &entry, line));
        assert_true(slice_ends_with(text, slice_of(rates[i].end)));
    }
}

static void test_the_clock(void **state)
{
    static const struct {
        uint64_t wall_us;
        const char *text;
    } times[] = {{UINT64_C(1763694000999999), "2025-11-21T03:00:00.999Z"},
                 {UINT64_C(1763694001000000), "2025-11-21T03:00:01.000Z"},
                 {UINT64_C(1763694000500000), "2025-11-21T03:00:00.500Z"},
                 {UINT64_C(1709164799000000), "2024-02-28T23:59:59.000Z"},
                 {UINT64_C(1709164800000000), "2024-02-29T00:00:00.000Z"}};
    struct access_log_clock clock = {0};
    char line[ACCESS_LOG_LINE_BYTES];

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        struct access_log_entry entry = {.wall_us = times[i].wall_us};

        access_log_format(&clock, &entry, line);
        assert_memory_equal(line + 9, times[i].text, 24);
    }
}

/* What clients and services send cannot break the line, nor its length the buffer. */
static void test_values_from_outside(void **state)
{
    static char text[20000], name[20000];
    struct access_log_entry entry = full;
    struct access_log_clock clock = {0};
    char line[ACCESS_LOG_LINE_BYTES];
    struct slice *const values[] = {&entry.method,     &entry.path,     &entry.client_ip,
                                    &entry.request_id, &entry.trace_id, &entry.user_agent,
                                    &entry.upstream};
    json_error_t error;
    json_t *read;
    size_t len;

    UNUSED(state);
    memset(name, '"', sizeof(name) - 1);
    entry.sample_ppm = 333333;
    entry.route = entry.decision = entry.limit = entry.reason = name;
    for (unsigned byte = 0; byte < 256; byte++) {
        memset(text, (int)byte, sizeof(text));
        for (size_t i = 0; i < COUNT_OF(values); i++)
            *values[i] = slice_from(text, byte % 2 == 0 ? sizeof(text) : byte * 9);
        len = access_log_format(&clock, &entry, line);
        assert_true(len < sizeof(line));
        assert_int_equal(line[len - 1], '\n');
        assert_null(memchr(line, '\n', len - 1));
        read = json_loadb(line, len, JSON_ALLOW_NUL, &error);
        if (read == NULL)
            fail_msg("byte %u: %s", byte, error.text);
        assert_int_equal(json_object_size(read), 19);
        json_decref(read);
    }
}

static void test_writing(void **state)
{
    struct access_log_clock clock = {0};
    char expected[ACCESS_LOG_LINE_BYTES], got[ACCESS_LOG_LINE_BYTES];
    size_t len = access_log_format(&clock, &full, expected);
    struct log_sink *sink;
    int pipes[2];

    UNUSED(state);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    sink = log_sink_open(pipes[1], 65536);
    access_log_write(sink, &clock, &full);
    assert_true(log_sink_flush(sink));
    assert_int_equal(read(pipes[0], got, sizeof(got)), (ssize_t)len);
    assert_memory_equal(got, expected, len);
    log_sink_close(&sink);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field),
        cmocka_unit_test(test_sample_rates),
        cmocka_unit_test(test_what_is_not_known_is_left_out),
        cmocka_unit_test(test_the_clock),
        cmocka_unit_test(test_values_from_outside),
        cmocka_unit_test(test_writing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
