#include "http/upstream_conn.h"

#include <stdio.h>
#include <stdlib.h>

#include "http/http_write.h"
#include "http/upgrade.h"
#include "http/upstream_group.h"

#define MAX_INTERIM_ANSWERS 32

static const struct stream_events conn_events;
static void on_timer(struct timer *timer);

/* --- connecting --- */

static void start_timer(struct upstream_conn *conn, uint64_t delay_ms)
{
    timer_start(conn->pool->loop, &conn->timer, delay_ms, on_timer);
}

static void connect_next(struct upstream_conn *conn)
{
    struct upstream_pool *pool = conn->pool;
    size_t at = (pool->good_address + conn->tries) % pool->address_count;

    conn->tries++;
    conn->stream = stream_connect(pool->loop, &pool->addresses[at].any,
                                  pool->settings.connect_timeout_ms, pool->settings.tls,
                                  pool->settings.tls == NULL  ? NULL
                                  : pool->server_name != NULL ? pool->server_name
                                                              : pool->host,
                                  &conn_events, conn);
}

static void on_resolved(void *owner, int error, const union resolve_address *addresses,
                        size_t count)
{
    struct upstream_conn *conn = owner;
    struct upstream_pool *pool = conn->pool;

    CHECK_TAG(conn, UPSTREAM_CONN);
    upstream_pool_enter(pool);
    conn->lookup = NULL;
    if (error == 0) {
        pool->address_count = count < UPSTREAM_MAX_ADDRESSES ? count : UPSTREAM_MAX_ADDRESSES;
        memcpy(pool->addresses, addresses, pool->address_count * sizeof(*addresses));
        pool->good_address %= pool->address_count;
        connect_next(conn);
    } else {
        upstream_conn_close(conn);
        upstream_pool_unreachable(pool, error);
    }
    upstream_pool_leave(pool);
}

void upstream_conn_open(struct upstream_pool *pool)
{
    struct upstream_conn *conn = mem_calloc(1, sizeof(*conn));

    conn->tag = UPSTREAM_CONN_TAG;
    conn->pool = pool;
    conn->state = UPSTREAM_CONN_DEAD;
    list_node_init(&conn->node);
    buf_init(&conn->held, SIZE_MAX);
    upstream_pool_move(conn, UPSTREAM_CONN_CONNECTING);
    if (pool->is_literal)
        connect_next(conn);
    else
        conn->lookup = resolve_start(pool->loop, pool->host, pool->settings.port,
                                     pool->settings.connect_timeout_ms, on_resolved, conn);
}

void upstream_conn_close(struct upstream_conn *conn)
{
    if (conn->lookup != NULL)
        resolve_cancel(&conn->lookup);
    /* An end that was only cut must not look like one. */
    if (conn->stream != NULL && conn->is_tunnel)
        stream_abort(&conn->stream);
    else if (conn->stream != NULL)
        stream_close(&conn->stream, 0);
    timer_stop(conn->pool->loop, &conn->timer);
    conn->exchange = NULL;
    upstream_pool_move(conn, UPSTREAM_CONN_DEAD);
}

void upstream_conn_free(struct upstream_conn *conn)
{
    CHECK(conn->state == UPSTREAM_CONN_DEAD && conn->stream == NULL && conn->lookup == NULL);
    list_remove(&conn->node);
    buf_clear(&conn->held);
    conn->tag = 0;
    free(conn);
}

static void write_address(struct upstream_conn *conn)
{
    const char *address = stream_peer_address(conn->stream);
    bool is_ipv6 = strchr(address, ':') != NULL;

    if (strncmp(conn->pool->host, "unix:", 5) == 0)
        snprintf(conn->address, sizeof(conn->address), "%s", conn->pool->host);
    else
        snprintf(conn->address, sizeof(conn->address), is_ipv6 ? "[%s]:%u" : "%s:%u", address,
                 (unsigned)stream_peer_port(conn->stream));
}

static void on_connect(void *owner, int error)
{
    struct upstream_conn *conn = owner;
    struct upstream_pool *pool = conn->pool;

    CHECK_TAG(conn, UPSTREAM_CONN);
    upstream_pool_enter(pool);
    if (error == 0) {
        pool->good_address = (pool->good_address + conn->tries - 1u) % pool->address_count;
        write_address(conn);
        conn->opened_at_ms = loop_now_ms(pool->loop);
        upstream_pool_ready(conn);
    } else if (conn->tries < pool->address_count) {
        stream_close(&conn->stream, 0);
        connect_next(conn);
    } else {
        if (!pool->is_literal)
            resolve_expire(pool->loop, pool->host);
        upstream_conn_close(conn);
        upstream_pool_unreachable(pool, error);
    }
    upstream_pool_leave(pool);
}

/* --- the request --- */

void upstream_conn_wait_for_answer(struct upstream_conn *conn)
{
    const struct upstream_settings *settings = &conn->pool->settings;

    if (conn->is_tunnel)
        return;
    start_timer(conn, conn->head_done ? settings->body_timeout_ms : settings->response_timeout_ms);
}

void upstream_conn_wait_idle(struct upstream_conn *conn)
{
    start_timer(conn, conn->pool->settings.idle_timeout_ms);
}

enum stream_status upstream_conn_write(struct upstream_conn *conn, const struct slice *parts,
                                       size_t count)
{
    enum stream_status status = stream_write(conn->stream, parts, count);

    if (status == STREAM_FULL && !conn->wants_drain) {
        conn->wants_drain = true;
        conn->progress_bytes = stream_written_bytes(conn->stream);
    }
    return status;
}

bool upstream_conn_is_old(const struct upstream_conn *conn)
{
    uint64_t max_age_ms = conn->pool->settings.max_age_ms;

    return max_age_ms > 0 && loop_now_ms(conn->pool->loop) - conn->opened_at_ms >= max_age_ms;
}

/* The head, with the Host the service is to see. */
static struct slice write_head(struct upstream_exchange *exchange, const char *host)
{
    struct http_request head = *exchange->head;
    struct http_fields *fields = &head.fields;

    if (host == NULL)
        return http_write_request(exchange->arena, exchange->head);
    fields->items = arena_alloc(exchange->arena, fields->count * sizeof(*fields->items));
    memcpy(fields->items, exchange->head->fields.items, fields->count * sizeof(*fields->items));
    for (size_t i = 0; i < fields->count; i++)
        if (fields->items[i].id == HTTP_FIELD_HOST)
            fields->items[i].value = slice_of(host);
    return http_write_request(exchange->arena, &head);
}

bool upstream_conn_attach(struct upstream_conn *conn, struct upstream_exchange *exchange)
{
    bool was_idle = conn->state == UPSTREAM_CONN_IDLE;

    CHECK(conn->exchange == NULL && exchange->conn == NULL);
    if (exchange->head_bytes.at == NULL)
        exchange->head_bytes = write_head(exchange, conn->pool->host_field);
    conn->wants_drain = false;
    if (upstream_conn_write(conn, &exchange->head_bytes, 1) == STREAM_DEAD) {
        upstream_conn_close(conn);
        return false;
    }
    conn->was_idle = was_idle;
    conn->answer_began = conn->head_done = conn->keeps_alive = false;
    conn->interim_count = 0;
    conn->scan = (struct http_scan){.at = 0};
    conn->exchange = exchange;
    exchange->conn = conn;
    upstream_pool_move(conn, UPSTREAM_CONN_ACTIVE);
    upstream_conn_wait_for_answer(conn);
    return true;
}

/* --- the answer --- */

static void fail(struct upstream_conn *conn, enum upstream_failure failure)
{
    struct upstream_exchange *exchange = conn->exchange;
    bool may_repeat = conn->was_idle && !conn->answer_began;

    upstream_conn_close(conn);
    upstream_pool_fail(exchange, failure, may_repeat);
}

/* The answer is complete; rest is what came after it, which must be nothing. */
static void complete(struct upstream_conn *conn, struct slice rest)
{
    struct upstream_exchange *exchange = conn->exchange;
    bool is_reusable = conn->keeps_alive && exchange->request_done && rest.len == 0 &&
                       !conn->has_ended && !conn->pool->is_closing;

    conn->exchange = NULL;
    exchange->conn = NULL;
    if (exchange->is_read_stopped)
        stream_read_start(conn->stream);
    if (is_reusable)
        upstream_pool_ready(conn);
    else
        upstream_conn_close(conn);
    upstream_pool_complete(exchange);
}

/* A 101 to what was offered opens a tunnel; any other is a bad answer. */
static bool open_tunnel(struct upstream_conn *conn, struct http_response *head)
{
    struct upstream_exchange *exchange = conn->exchange;

    head->upgrade = upgrade_taken(head, exchange->head->upgrade, exchange->arena);
    if (head->upgrade.at == NULL)
        return false;
    conn->is_tunnel = conn->head_done = exchange->is_tunnel = true;
    exchange->request_done = false;
    exchange->remaining = UINT64_MAX;
    http_body_begin(&conn->decoder, HTTP_BODY_UNTIL_CLOSE, 0);
    timer_stop(conn->pool->loop, &conn->timer);
    upstream_group_note(conn->pool, UPSTREAM_FAILURE_COUNT);
    exchange->events->on_switch(exchange->owner, head);
    return true;
}

/* Interim answers are handed on; the last head begins the body.  False when the answer is bad. */
static bool take_head(struct upstream_conn *conn, struct http_response *head)
{
    struct upstream_exchange *exchange = conn->exchange;

    conn->scan = (struct http_scan){.at = 0};
    if (head->status == 101)
        return open_tunnel(conn, head);
    if (head->status < 200) {
        if (++conn->interim_count > MAX_INTERIM_ANSWERS)
            return false;
        upstream_conn_wait_for_answer(conn);
        exchange->events->on_interim(exchange->owner, head);
        return true;
    }
    conn->head_done = true;
    conn->keeps_alive = !head->wants_close && head->body != HTTP_BODY_UNTIL_CLOSE;
    http_body_begin(&conn->decoder, head->body, head->content_length);
    conn->decoder.keeps_trailers = conn->pool->settings.keeps_trailers;
    exchange->events->on_head(exchange->owner, head);
    return true;
}

/* A head, if it has come as a whole; false when nothing more can be done now. */
static bool step_head(struct upstream_conn *conn, struct slice *input)
{
    const struct upstream_settings *settings = &conn->pool->settings;
    struct http_limits limits = {settings->max_header_bytes, settings->max_header_count, 0};
    struct arena *arena = conn->exchange->arena;
    struct http_response *head;
    struct slice bytes;
    size_t head_bytes;

    if (http_scan(&conn->scan, HTTP_KIND_RESPONSE, *input, &limits, &head_bytes) !=
        HTTP_FAULT_NONE) {
        fail(conn, UPSTREAM_BAD_ANSWER);
        return false;
    }
    if (head_bytes == 0)
        return false;
    bytes = arena_copy(arena, slice_head(*input, head_bytes));
    *input = slice_skip(*input, head_bytes);
    head = arena_alloc(arena, sizeof(*head));
    if (http_parse_response(bytes, &conn->scan, arena, conn->exchange->head->is_head, head) !=
            HTTP_FAULT_NONE ||
        !take_head(conn, head)) {
        fail(conn, UPSTREAM_BAD_ANSWER);
        return false;
    }
    return true;
}

static bool step_body(struct upstream_conn *conn, struct slice *input)
{
    struct upstream_exchange *exchange = conn->exchange;
    struct slice data;

    switch (http_body_decode(&conn->decoder, input, &data)) {
    case HTTP_DECODED_DATA:
        exchange->events->on_body(exchange->owner, data);
        return true;
    case HTTP_DECODED_TRAILER:
        exchange->events->on_trailer(exchange->owner, data);
        return true;
    case HTTP_DECODED_END:
        complete(conn, *input);
        return false;
    case HTTP_DECODED_BAD:
        fail(conn, UPSTREAM_BAD_ANSWER);
        return false;
    case HTTP_DECODED_MORE:
        return false;
    }
    UNREACHED();
}

/* Go on with the bytes that came.  The owner may cancel the exchange in any callback, which closes
 * the connection; it stays in memory until the pool is left. */
static void run(struct upstream_conn *conn, struct slice data)
{
    struct upstream_exchange *exchange = conn->exchange;
    bool was_held = buf_len(&conn->held) > 0, goes_on = true;
    struct slice input = data;

    if (was_held) {
        if (!buf_append(&conn->held, data))
            UNREACHED();
        input = buf_slice(&conn->held);
    }
    while (goes_on && conn->exchange == exchange)
        goes_on = conn->head_done ? step_body(conn, &input) : step_head(conn, &input);
    if (conn->exchange != exchange || conn->head_done) {
        buf_clear(&conn->held);
        return;
    }
    if (was_held)
        buf_consume(&conn->held, buf_len(&conn->held) - input.len);
    else if (!buf_append(&conn->held, input))
        UNREACHED();
}

static void on_read(void *owner, struct slice data)
{
    struct upstream_conn *conn = owner;
    struct upstream_pool *pool = conn->pool;

    CHECK_TAG(conn, UPSTREAM_CONN);
    upstream_pool_enter(pool);
    if (conn->state == UPSTREAM_CONN_ACTIVE) {
        conn->answer_began = true;
        if (conn->head_done)
            upstream_conn_wait_for_answer(conn);
        run(conn, data);
    } else { /* nobody asked */
        upstream_conn_close(conn);
        upstream_pool_pump(pool);
    }
    upstream_pool_leave(pool);
}

static void end_in_answer(struct upstream_conn *conn, int error)
{
    if (conn->head_done && error == 0 && http_body_ends_at_eof(&conn->decoder))
        complete(conn, SLICE_NONE);
    else
        fail(conn, conn->answer_began ? UPSTREAM_CUT : UPSTREAM_CLOSED);
}

static void on_end(void *owner, int error)
{
    struct upstream_conn *conn = owner;
    struct upstream_pool *pool = conn->pool;

    CHECK_TAG(conn, UPSTREAM_CONN);
    upstream_pool_enter(pool);
    conn->has_ended = true;
    if (conn->is_tunnel && error == 0) {
        conn->exchange->events->on_half_close(conn->exchange->owner);
    } else if (conn->state == UPSTREAM_CONN_ACTIVE) {
        end_in_answer(conn, error);
    } else {
        upstream_conn_close(conn);
        upstream_pool_pump(pool);
    }
    upstream_pool_leave(pool);
}

static void on_drain(void *owner)
{
    struct upstream_conn *conn = owner;
    struct upstream_pool *pool = conn->pool;

    CHECK_TAG(conn, UPSTREAM_CONN);
    upstream_pool_enter(pool);
    conn->wants_drain = false;
    if (conn->state == UPSTREAM_CONN_ACTIVE) {
        upstream_conn_wait_for_answer(conn);
        /* Who does not know of the connection was not told STREAM_FULL: what filled it was the head. */
        if (conn->exchange->is_connected_told)
            conn->exchange->events->on_drain(conn->exchange->owner);
    }
    upstream_pool_leave(pool);
}

static const struct stream_events conn_events = {
    .on_connect = on_connect,
    .on_read = on_read,
    .on_end = on_end,
    .on_drain = on_drain,
};

/* Whether the silence is the service's: not when the client is slow to send the request, or does
 * not take the answer. */
static bool service_is_late(struct upstream_conn *conn)
{
    uint64_t progress = stream_written_bytes(conn->stream);

    if (conn->wants_drain && progress != conn->progress_bytes) {
        conn->progress_bytes = progress;
        upstream_conn_wait_for_answer(conn);
        return false;
    }
    if (!conn->exchange->request_done && !conn->wants_drain)
        return false;
    return !(conn->head_done && conn->exchange->is_read_stopped);
}

static void on_timer(struct timer *timer)
{
    struct upstream_conn *conn = CONTAINER_OF(timer, struct upstream_conn, timer);
    struct upstream_pool *pool = conn->pool;

    CHECK_TAG(conn, UPSTREAM_CONN);
    upstream_pool_enter(pool);
    if (conn->state == UPSTREAM_CONN_IDLE)
        upstream_conn_close(conn);
    else if (conn->state == UPSTREAM_CONN_ACTIVE && service_is_late(conn))
        fail(conn, UPSTREAM_TIMEOUT);
    upstream_pool_leave(pool);
}
