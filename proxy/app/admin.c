#include "app/admin.h"

#include <stdlib.h>
#include <string.h>

#include "app/process_metrics.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/metrics.h"
#include "http/http_conn.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/stream.h"
#include "store/embedded.h"

#define ADMIN_TAG 0x41444d4eu /* "ADMN" */
#define PAGE_MAX_BYTES (15u << 20)
#define ADMIN_MAX_CONNECTIONS 256

struct admin {
    uint32_t tag;
    struct listener *listener;
    struct http_server server;
    struct admin_source source;
    uint32_t keys_slot, bytes_slot, full_slot;
};

struct page {
    unsigned status;
    const char *content_type;
    struct buf text;
    const char *allow; /* NULL: no Allow field */
};

struct endpoint {
    const char *path;
    void (*answer)(struct admin *admin, const struct http_request *head, struct page *page);
};

static void say(struct page *page, unsigned status, const char *text)
{
    page->status = status;
    if (!buf_printf(&page->text, "%s\n", text))
        page->status = 500;
}

static bool wants_openmetrics(const struct http_request *head)
{
    struct slice accept = http_fields_find(&head->fields, SLICE("accept"));

    return accept.len > 0 &&
           memmem(accept.at, accept.len, "application/openmetrics-text", 28) != NULL;
}

/* The engine counts for itself, as it belongs to no worker. */
static void refresh_embedded(struct admin *admin)
{
    struct metrics_shard *shard = metrics_shard(admin->source.metrics, 0);
    struct keyspace_stats stats;

    embedded_get_stats(admin->source.embedded, &stats);
    metrics_set(shard, admin->keys_slot, (int64_t)stats.keys);
    metrics_set(shard, admin->bytes_slot, (int64_t)stats.bytes);
    metrics_set(shard, admin->full_slot, (int64_t)stats.full_count);
}

static void answer_metrics(struct admin *admin, const struct http_request *head, struct page *page)
{
    enum metrics_format format = wants_openmetrics(head) ? METRICS_OPENMETRICS : METRICS_PROMETHEUS;

    refresh_embedded(admin);
    page->content_type = format == METRICS_OPENMETRICS
                             ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                             : "text/plain; version=0.0.4; charset=utf-8";
    /* The process's own families go first: OpenMetrics ends with "# EOF". */
    if (!process_metrics_text(format, &page->text) ||
        !metrics_text(admin->source.metrics, format, &page->text)) {
        buf_clear(&page->text);
        page->content_type = "text/plain; charset=utf-8";
        say(page, 500, "the metrics do not fit the page");
    }
}

static void answer_live(struct admin *admin, const struct http_request *head, struct page *page)
{
    const char *why_not = admin->source.why_not_live(admin->source.owner);

    UNUSED(head);
    say(page, why_not == NULL ? 200 : 503, why_not == NULL ? "live" : why_not);
}

static void answer_ready(struct admin *admin, const struct http_request *head, struct page *page)
{
    const char *why_not = admin->source.why_not_ready(admin->source.owner);

    UNUSED(head);
    say(page, why_not == NULL ? 200 : 503, why_not == NULL ? "ready" : why_not);
}

static const struct endpoint endpoints[] = {
    {"/metrics", answer_metrics}, {"/live", answer_live}, {"/ready", answer_ready}};

static void find_answer(struct admin *admin, const struct http_request *head, struct page *page)
{
    for (size_t i = 0; i < COUNT_OF(endpoints); i++) {
        if (!slice_equal(head->path, slice_of(endpoints[i].path)))
            continue;
        if (!head->is_head && !slice_equal(head->method, SLICE("GET"))) {
            page->allow = "GET, HEAD";
            say(page, 405, "this port is read-only: GET or HEAD");
            return;
        }
        endpoints[i].answer(admin, head, page);
        return;
    }
    say(page, 404, "here are /metrics, /live and /ready");
}

static void set_field(struct http_response *answer, const char *name, const char *value)
{
    answer->fields.items[answer->fields.count++] =
        (struct http_field){.name = slice_of(name), .value = slice_of(value)};
}

/* Every answer is given at once, so an exchange needs no object of its own. */
static void *on_request(void *env, struct http_conn *conn, const struct http_request *head)
{
    struct admin *admin = env;
    struct http_field fields[3];
    struct page page = {.status = 200, .content_type = "text/plain; charset=utf-8"};
    struct http_response answer = {
        .fields = {.items = fields}, .body = HTTP_BODY_LENGTH, .minor = 1};

    CHECK_TAG(admin, ADMIN);
    buf_init(&page.text, PAGE_MAX_BYTES);
    find_answer(admin, head, &page);
    answer.status = page.status;
    answer.reason = slice_of(http_status_phrase(page.status));
    answer.content_length = buf_len(&page.text);
    set_field(&answer, "Content-Type", page.content_type);
    set_field(&answer, "Cache-Control", "no-store");
    if (page.allow != NULL)
        set_field(&answer, "Allow", page.allow);
    if (http_conn_send_head(conn, &answer) != STREAM_DEAD && !head->is_head)
        (void)http_conn_send_body(conn, buf_slice(&page.text));
    http_conn_send_end(conn);
    buf_clear(&page.text);
    return admin;
}

static void on_body(void *exchange, struct slice data)
{
    UNUSED(exchange);
    UNUSED(data);
}

static void on_event(void *exchange)
{
    UNUSED(exchange);
}

static void on_gone(void *exchange, enum http_gone why)
{
    UNUSED(exchange);
    UNUSED(why);
}

static const struct http_conn_events events = {.on_request = on_request,
                                               .on_body = on_body,
                                               .on_body_end = on_event,
                                               .on_drain = on_event,
                                               .on_gone = on_gone};

static void on_accept(void *owner, struct stream *stream)
{
    struct admin *admin = owner;

    CHECK_TAG(admin, ADMIN);
    if (admin->server.connection_count >= ADMIN_MAX_CONNECTIONS)
        stream_abort(&stream);
    else
        http_server_accept(&admin->server, stream);
}

int admin_open(struct loop *loop, const char *address, const struct admin_source *source,
               struct admin **ret_admin)
{
    struct admin *admin = mem_calloc(1, sizeof(*admin));
    const struct listener_options options = {.address = address, .fd = -1};
    int error = listener_open(loop, &options, on_accept, admin, &admin->listener);

    if (error != 0) {
        free(admin);
        return error;
    }
    admin->tag = ADMIN_TAG;
    admin->source = *source;
    admin->keys_slot = metrics_series0(source->metrics, METRIC_EMBEDDED_KEYS);
    admin->bytes_slot = metrics_series0(source->metrics, METRIC_EMBEDDED_BYTES);
    admin->full_slot = metrics_series0(source->metrics, METRIC_EMBEDDED_FULL);
    http_server_init(&admin->server, loop, &events, admin);
    admin->server.settings = (struct http_conn_settings){.header_timeout_ms = 10000,
                                                         .body_timeout_ms = 10000,
                                                         .idle_timeout_ms = 120000,
                                                         .write_timeout_ms = 30000,
                                                         .max_header_bytes = 16384,
                                                         .max_header_count = 64,
                                                         .max_target_bytes = 4096,
                                                         .max_body_bytes = 65536};
    *ret_admin = admin;
    return 0;
}

uint16_t admin_port(const struct admin *admin)
{
    CHECK_TAG(admin, ADMIN);
    return listener_port(admin->listener);
}

void admin_close(struct admin **admin_at)
{
    struct admin *admin = TAKE(admin_at);

    CHECK_TAG(admin, ADMIN);
    listener_close(&admin->listener);
    http_server_close(&admin->server);
    admin->tag = 0;
    free(admin);
}
