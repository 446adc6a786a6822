#include "app/metrics_port.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/accept.h"
#include "app/gzip.h"
#include "app/port.h"
#include "app/process_metrics.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/metrics.h"
#include "http/http_message.h"
#include "store/embedded.h"

#define METRICS_PORT_TAG 0x4d504f52u /* "MPOR" */
#define PAGE_MAX_BYTES (15u << 20)
#define GZIP_MIN_BYTES 1024

struct metrics_port {
    uint32_t tag;
    struct port *port;
    struct metrics_port_source source;
};

static void raise_to(unsigned *weight, unsigned other)
{
    if (other > *weight)
        *weight = other;
}

/* OpenMetrics for those who name it, and do not say that they like the other format better. */
static bool wants_openmetrics(const struct http_request *head)
{
    struct slice accept = http_fields_find(&head->fields, SLICE("accept"));
    unsigned openmetrics = 0, text = 0;
    struct accept_item item;

    while (accept_next(&accept, &item)) {
        if (slice_equal_nocase(item.name, SLICE("application/openmetrics-text")))
            raise_to(&openmetrics, item.weight);
        if (slice_equal_nocase(item.name, SLICE("text/plain")))
            raise_to(&text, item.weight);
    }
    return openmetrics > 0 && openmetrics >= text;
}

/* The engine counts for itself, as it belongs to no worker. */
static void refresh_embedded(struct metrics *metrics, struct embedded *embedded)
{
    struct metrics_shard *shard = metrics_shard(metrics, 0);
    struct keyspace_stats stats;

    embedded_get_stats(embedded, &stats);
    metrics_set(shard, metrics_series0(metrics, METRIC_EMBEDDED_KEYS), (int64_t)stats.keys);
    metrics_set(shard, metrics_series0(metrics, METRIC_EMBEDDED_BYTES), (int64_t)stats.bytes);
    metrics_set(shard, metrics_series0(metrics, METRIC_EMBEDDED_FULL), (int64_t)stats.full_count);
}

/* On the main loop, whose time nobody waits for but other operators: about 2 ms for each MB. */
static void answer_page(struct port_exchange *exchange, struct port_content *content,
                        struct slice text)
{
    struct slice accepted =
        http_fields_find(&port_head(exchange)->fields, SLICE("accept-encoding"));
    struct buf packed;

    buf_init(&packed, PAGE_MAX_BYTES + (1 << 20));
    content->body = text;
    if (text.len >= GZIP_MIN_BYTES && gzip_is_accepted(accepted) && gzip_append(&packed, text)) {
        content->body = buf_slice(&packed);
        content->encoding = "gzip";
    }
    port_answer(&exchange, content);
    buf_clear(&packed);
}

void metrics_port_answer_page(struct metrics *metrics, struct embedded *embedded,
                              struct port_exchange *exchange)
{
    enum metrics_format format =
        wants_openmetrics(port_head(exchange)) ? METRICS_OPENMETRICS : METRICS_PROMETHEUS;
    struct port_content content = {.status = 200};
    struct buf page;

    buf_init(&page, PAGE_MAX_BYTES);
    refresh_embedded(metrics, embedded);
    content.type = format == METRICS_OPENMETRICS
                       ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                       : "text/plain; version=0.0.4; charset=utf-8";
    /* The process's own families go first: OpenMetrics ends with "# EOF". */
    if (process_metrics_text(format, &page) && metrics_text(metrics, format, &page)) {
        answer_page(exchange, &content, buf_slice(&page));
    } else {
        port_refuse(&exchange, 500, "too-large", "the metrics do not fit the page");
    }
    buf_clear(&page);
}

static void answer_metrics(void *owner, struct port_exchange *exchange)
{
    struct metrics_port *port = owner;

    CHECK_TAG(port, METRICS_PORT);
    metrics_port_answer_page(port->source.metrics, port->source.embedded, exchange);
}

/* A line of text: probes are read by people, in the events of a pod. */
static void say(struct port_exchange *exchange, const char *why_not, const char *good)
{
    char text[160];
    int len = snprintf(text, sizeof(text), "%s\n", why_not == NULL ? good : why_not);

    CHECK(len > 0 && (size_t)len < sizeof(text));
    port_answer(&exchange, &(struct port_content){.status = why_not == NULL ? 200 : 503,
                                                  .type = "text/plain; charset=utf-8",
                                                  .body = slice_from(text, (size_t)len)});
}

static void answer_live(void *owner, struct port_exchange *exchange)
{
    struct metrics_port *port = owner;

    CHECK_TAG(port, METRICS_PORT);
    say(exchange, port->source.why_not_live(port->source.owner), "live");
}

static void answer_ready(void *owner, struct port_exchange *exchange)
{
    struct metrics_port *port = owner;

    CHECK_TAG(port, METRICS_PORT);
    say(exchange, port->source.why_not_ready(port->source.owner), "ready");
}

static const struct port_endpoint endpoints[] = {
    {"GET", "/metrics", answer_metrics, "Prometheus text, or OpenMetrics by Accept"},
    {"GET", "/live", answer_live, "503 when a worker is stuck"},
    {"GET", "/ready", answer_ready, "503 until requests are taken, and while draining"},
};

int metrics_port_open(struct loop *loop, const char *address,
                      const struct metrics_port_source *source, struct metrics_port **ret_port)
{
    struct metrics_port *port = mem_calloc(1, sizeof(*port));
    const struct port_settings settings = {.address = address,
                                           .endpoints = endpoints,
                                           .endpoint_count = COUNT_OF(endpoints),
                                           .owner = port};
    int error = port_open(loop, &settings, &port->port);

    if (error != 0) {
        free(port);
        return error;
    }
    port->tag = METRICS_PORT_TAG;
    port->source = *source;
    *ret_port = port;
    return 0;
}

uint16_t metrics_port_number(const struct metrics_port *port)
{
    CHECK_TAG(port, METRICS_PORT);
    return port_number(port->port);
}

void metrics_port_close(struct metrics_port **place)
{
    struct metrics_port *port = TAKE(place);

    CHECK_TAG(port, METRICS_PORT);
    port_close(&port->port);
    port->tag = 0;
    free(port);
}
