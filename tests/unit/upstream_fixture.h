/* A pool, a raw service for it, and clients that note what they are told. */
#ifndef TESTS_UPSTREAM_FIXTURE_H
#define TESTS_UPSTREAM_FIXTURE_H

#include "raw_peer.h"

#include "base/buf.h"
#include "http/upstream_pool.h"

#define MAX_PEERS 8

struct fixture {
    struct loop *loop;
    struct metrics *metrics;
    struct log_context log;
    struct upstream_pool *pool;
    int listen_fd;
    uint16_t port;
    struct raw_peer peers[MAX_PEERS]; /* connections of the pool, in the order they came */
    size_t peer_count;
};

struct client {
    struct fixture *f;
    struct upstream_exchange *exchange; /* NULL once it is gone */
    struct arena arena;
    struct http_request request;
    struct http_field host;
    unsigned connected_count, interim_count, head_count, end_count, fail_count, drain_count,
        switch_count, half_close_count, asked_count;
    unsigned status;
    enum upstream_failure failure;
    struct buf body;
    bool cancels_on_head, begins_again, forbids, cancels_when_asked;
};

static void begin(struct client *c, struct fixture *f, const char *method, enum http_body body,
                  uint64_t length);

static bool may_send(void *owner)
{
    struct client *c = owner;

    c->asked_count++;
    if (c->cancels_when_asked)
        upstream_cancel(&c->exchange);
    return !c->forbids && !c->cancels_when_asked;
}

static void on_connected(void *owner)
{
    struct client *c = owner;

    c->connected_count++;
    assert_true(strncmp(upstream_exchange_address(c->exchange), "127.0.0.1:", 10) == 0);
}

static void on_interim(void *owner, const struct http_response *head)
{
    struct client *c = owner;

    c->interim_count++;
    c->status = head->status;
}

static void on_head(void *owner, const struct http_response *head)
{
    struct client *c = owner;

    c->head_count++;
    c->status = head->status;
    if (c->cancels_on_head)
        upstream_cancel(&c->exchange);
}

static void on_switch(void *owner, const struct http_response *head)
{
    struct client *c = owner;

    c->switch_count++;
    assert_slice_equal(head->upgrade, SLICE("x"));
}

static void on_half_close(void *owner)
{
    ((struct client *)owner)->half_close_count++;
}

static void on_body(void *owner, struct slice data)
{
    struct client *c = owner;

    assert_non_null(c->exchange);
    assert_true(buf_append(&c->body, data));
}

static void on_drain(void *owner)
{
    ((struct client *)owner)->drain_count++;
}

static void on_end(void *owner)
{
    struct client *c = owner;

    c->end_count++;
    c->exchange = NULL;
    arena_clear(&c->arena);
    if (c->begins_again) {
        c->begins_again = false;
        begin(c, c->f, "GET", HTTP_BODY_NONE, 0);
    }
}

static void on_fail(void *owner, enum upstream_failure failure)
{
    struct client *c = owner;

    c->fail_count++;
    c->failure = failure;
    c->exchange = NULL;
    arena_clear(&c->arena);
}

static const struct upstream_events events = {
    .may_send = may_send,
    .on_connected = on_connected,
    .on_interim = on_interim,
    .on_switch = on_switch,
    .on_half_close = on_half_close,
    .on_head = on_head,
    .on_body = on_body,
    .on_drain = on_drain,
    .on_end = on_end,
    .on_fail = on_fail,
};

static void begin(struct client *c, struct fixture *f, const char *method, enum http_body body,
                  uint64_t length)
{
    if (c->f == NULL) {
        arena_init(&c->arena, loop_arena_pool(f->loop));
        buf_init(&c->body, 64 * 1024 * 1024);
    }
    c->f = f;
    c->host = (struct http_field){SLICE("Host"), SLICE("a"), HTTP_FIELD_HOST, false};
    c->request = (struct http_request){
        .method = slice_of(method),
        .path = SLICE("/x"),
        .fields = {.items = &c->host, .count = 1},
        .body = body,
        .content_length = length,
        .minor = 1,
        .is_idempotent = http_method_is_idempotent(slice_of(method)),
        .is_head = strcmp(method, "HEAD") == 0,
    };
    c->exchange = upstream_begin(f->pool, &c->request, &c->arena, &events, c);
}

static void get(struct client *c, struct fixture *f)
{
    begin(c, f, "GET", HTTP_BODY_NONE, 0);
}

/* Give up what still runs. */
static void client_end(struct client *c)
{
    if (c->exchange != NULL)
        upstream_cancel(&c->exchange);
    arena_clear(&c->arena);
    buf_clear(&c->body);
}

static void poll_service(struct fixture *f)
{
    int fd = f->listen_fd < 0 ? -1 : accept(f->listen_fd, NULL, NULL);

    if (fd >= 0) {
        assert_true(f->peer_count < MAX_PEERS);
        raw_peer_take(&f->peers[f->peer_count++], fd);
    }
    for (size_t i = 0; i < f->peer_count; i++)
        raw_peer_poll(&f->peers[i]);
}

#define WAIT(f, condition) RAW_PEER_WAIT((f)->loop, poll_service(f), condition)
#define TURN(f) RAW_PEER_TURN((f)->loop, poll_service(f))

static struct upstream_settings default_settings(const struct fixture *f)
{
    return (struct upstream_settings){
        .name = "default",
        .host = "127.0.0.1",
        .port = f->port,
        .connect_timeout_ms = 60000,
        .response_timeout_ms = 60000,
        .body_timeout_ms = 60000,
        .idle_timeout_ms = 60000,
        .max_connections = 4,
        .max_waiting = 1,
        .max_header_bytes = 1024,
        .max_header_count = 20,
    };
}

static void open_pool(struct fixture *f, const struct upstream_settings *settings)
{
    if (f->pool != NULL)
        upstream_pool_close(&f->pool);
    f->pool =
        upstream_pool_open(f->loop, settings, f->metrics, metrics_shard(f->metrics, 1), &f->log);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct upstream_settings settings;

    log_set_level(LOG_ERROR); /* unreachable services are announced below */
    f->log.field = LOG_STR("test", "upstream_pool");
    assert_int_equal(loop_open(&f->loop), 0);
    f->metrics = metrics_open(1);
    f->listen_fd = raw_peer_listen(&f->port);
    settings = default_settings(f);
    open_pool(f, &settings);
    *state = f;
    return 0;
}

/* All gauges of the pool are back at zero, and loop_close finds no handle. */
static int teardown(void **state)
{
    static const char *const states[] = {"connecting", "idle", "active"};
    struct fixture *f = *state;

    upstream_pool_close(&f->pool);
    for (size_t i = 0; i < COUNT_OF(states); i++)
        assert_int_equal(
            metrics_read(f->metrics, metrics_series2(f->metrics, METRIC_UPSTREAM_CONNECTIONS,
                                                     "default", states[i])),
            0);
    assert_int_equal(
        metrics_read(f->metrics, metrics_series1(f->metrics, METRIC_UPSTREAM_WAITING, "default")),
        0);
    for (size_t i = 0; i < f->peer_count; i++)
        raw_peer_close(&f->peers[i]);
    if (f->listen_fd >= 0)
        close(f->listen_fd);
    loop_close(&f->loop);
    metrics_close(&f->metrics);
    free(f);
    return 0;
}

static int64_t retries(struct fixture *f)
{
    return metrics_read(f->metrics,
                        metrics_series1(f->metrics, METRIC_UPSTREAM_RETRIES, "default"));
}

/* The service reads a request and answers. */
static void serve(struct fixture *f, size_t peer, const char *text)
{
    WAIT(f, f->peer_count > peer && raw_peer_has(&f->peers[peer], "\r\n\r\n"));
    raw_peer_forget_input(&f->peers[peer]);
    raw_peer_send(&f->peers[peer], slice_of(text));
}

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

#endif
