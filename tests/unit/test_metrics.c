#include "unit/unit.h"

#include <pthread.h>
#include <stdio.h>

#include "base/metrics.h"

static const char *page(struct metrics *metrics, enum metrics_format format, struct buf *out)
{
    buf_init(out, 1 << 20);
    assert_true(metrics_text(metrics, format, out));
    assert_true(buf_append(out, slice_from("", 1)));
    return buf_slice(out).at;
}

static void a_series_has_one_slot_and_sums_its_shards(void **state)
{
    struct metrics *metrics = metrics_open(2);
    uint32_t slot = metrics_series2(metrics, METRIC_HTTP_REQUESTS, "a", "2xx");
    struct buf out;
    const char *text;

    UNUSED(state);
    assert_int_equal(metrics_series2(metrics, METRIC_HTTP_REQUESTS, "a", "2xx"), slot);
    assert_int_not_equal(metrics_series2(metrics, METRIC_HTTP_REQUESTS, "b", "2xx"), slot);
    metrics_add(metrics_shard(metrics, 1), slot, 3);
    metrics_add(metrics_shard(metrics, 2), slot, 4);
    metrics_add(metrics_shard(metrics, 0), slot, -1);
    assert_int_equal(metrics_read(metrics, slot), 6);
    assert_int_equal(metrics_sum(metrics, slot), 6);
    text = page(metrics, METRICS_PROMETHEUS, &out);
    assert_non_null(strstr(text, "# TYPE lockkeeper_http_requests_total counter\n"));
    assert_non_null(strstr(text, "\nlockkeeper_http_requests_total{route=\"a\",code=\"2xx\"} 6\n"));
    assert_non_null(strstr(text, "\nlockkeeper_http_requests_total{route=\"b\",code=\"2xx\"} 0\n"));
    assert_non_null(strstr(text, "\nlockkeeper_draining 0\n"));
    assert_null(strstr(text, "# EOF"));
    buf_clear(&out);
    text = page(metrics, METRICS_OPENMETRICS, &out);
    assert_non_null(strstr(text, "# TYPE lockkeeper_http_requests counter\n"));
    assert_non_null(strstr(text, "\n# EOF\n"));
    buf_clear(&out);
    metrics_close(&metrics);
    assert_null(metrics);
}

static void a_histogram_counts_cumulatively(void **state)
{
    struct metrics *metrics = metrics_open(1);
    uint32_t slot = metrics_series0(metrics, METRIC_STORE_DURATION);
    struct metrics_shard *shard = metrics_shard(metrics, 1);
    struct buf out;
    const char *text;

    UNUSED(state);
    metrics_observe_us(shard, slot, 100);
    metrics_observe_us(shard, slot, 101);
    metrics_observe_us(shard, slot, 3600000000u);
    assert_int_equal(metrics_read(metrics, slot), 3);
    text = page(metrics, METRICS_PROMETHEUS, &out);
    assert_non_null(
        strstr(text, "lockkeeper_store_call_duration_seconds_bucket{le=\"0.0001\"} 1\n"));
    assert_non_null(
        strstr(text, "lockkeeper_store_call_duration_seconds_bucket{le=\"0.00025\"} 2\n"));
    assert_non_null(strstr(text, "lockkeeper_store_call_duration_seconds_bucket{le=\"60\"} 2\n"));
    assert_non_null(strstr(text, "lockkeeper_store_call_duration_seconds_bucket{le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(text, "lockkeeper_store_call_duration_seconds_sum 3600.000201\n"));
    assert_non_null(strstr(text, "lockkeeper_store_call_duration_seconds_count 3\n"));
    buf_clear(&out);
    metrics_close(&metrics);
}

static void label_values_are_escaped_and_a_small_page_is_refused(void **state)
{
    struct metrics *metrics = metrics_open(1);
    struct buf out;

    UNUSED(state);
    metrics_series1(metrics, METRIC_HTTP_DURATION, "a\"b\\c\nd");
    assert_non_null(
        strstr(page(metrics, METRICS_PROMETHEUS, &out), "{route=\"a\\\"b\\\\c\\nd\"} 0"));
    buf_clear(&out);
    buf_init(&out, 100);
    assert_false(metrics_text(metrics, METRICS_PROMETHEUS, &out));
    buf_clear(&out);
    metrics_close(&metrics);
}

static void *count_while_series_are_added(void *shard)
{
    for (int i = 0; i < 100000; i++)
        metrics_add(shard, 0, 1);
    return NULL;
}

static void series_can_be_added_while_workers_count(void **state)
{
    struct metrics *metrics = metrics_open(2);
    pthread_t threads[2];

    UNUSED(state);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_while_series_are_added,
                                        metrics_shard(metrics, i + 1)),
                         0);
    for (int i = 0; i < 2000; i++) {
        char route[32];

        snprintf(route, sizeof(route), "route-%d", i);
        metrics_series1(metrics, METRIC_HTTP_DURATION, route);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metrics_read(metrics, 0), 200000);
    metrics_close(&metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_series_has_one_slot_and_sums_its_shards),
        cmocka_unit_test(a_histogram_counts_cumulatively),
        cmocka_unit_test(label_values_are_escaped_and_a_small_page_is_refused),
        cmocka_unit_test(series_can_be_added_while_workers_count),
    };

    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
