/*   IDLE ------> HEAD ------> EXCHANGE ------> ENDED --+--> IDLE
 *    |            |              |                     +--> DRAIN (unread body) --> IDLE
 *    |            | refused      | gone, cut           |         |
 *    +------------+--------------+---------------------+---------+--> CLOSED
 *                                |                     |
 *                                +--> TUNNEL (101) ----+
 *
 * All input goes through conn_run(), which steps as far as the bytes and the state allow; what is
 * left over is held.  The handler's calls only change the state and wake the connection, so that no
 * callback comes from inside a call. */
#include "http/http_conn.h"

#include <stdlib.h>

#include "http/http_conn_private.h"

/* More than this is not read ahead of the handler.  Up to it reading goes on even while nothing is
 * wanted, so that a client that leaves is noticed.  With the settings' bound on a head this bounds
 * what is held, to one read. */
#define HELD_STOP_BYTES (16u * 1024)
#define DRAIN_BYTES (64u * 1024)
#define DRAIN_MS 2000
/* How long the stream may go on after us: it sends what is pending and drops what still comes, so
 * that a client that is sending can read our last words before the connection is reset (RFC 9112
 * section 9.6). */
#define LINGER_MS 5000

static const struct stream_events conn_events;
static void on_timer(struct timer *timer);

/* --- states --- */

static bool transition_is_legal(enum http_conn_state from, enum http_conn_state to)
{
    static const uint8_t legal[HTTP_CONN_STATE_COUNT] = {
        [HTTP_CONN_IDLE] = 1 << HTTP_CONN_HEAD,
        [HTTP_CONN_HEAD] = 1 << HTTP_CONN_EXCHANGE,
        [HTTP_CONN_EXCHANGE] = 1 << HTTP_CONN_ENDED | 1 << HTTP_CONN_TUNNEL,
        [HTTP_CONN_TUNNEL] = 1 << HTTP_CONN_ENDED,
        [HTTP_CONN_ENDED] = 1 << HTTP_CONN_IDLE | 1 << HTTP_CONN_DRAIN,
        [HTTP_CONN_DRAIN] = 1 << HTTP_CONN_IDLE,
    };

    return from != HTTP_CONN_CLOSED && (to == HTTP_CONN_CLOSED || (legal[from] & 1 << to) != 0);
}

static void count(struct http_server *server, uint32_t slot, int64_t amount)
{
    if (server->shard != NULL)
        metrics_add(server->shard, slot, amount);
}

void http_conn_set_state(struct http_conn *conn, enum http_conn_state state)
{
    struct http_server *server = conn->server;
    bool was_idle = conn->state == HTTP_CONN_IDLE, is_idle = state == HTTP_CONN_IDLE;

    CHECK(transition_is_legal((enum http_conn_state)conn->state, state));
    conn->state = (uint8_t)state;
    if (state == HTTP_CONN_CLOSED) {
        list_remove(&conn->node);
        list_append(&server->dead, &conn->node);
        server->connection_count--;
        count(server, was_idle ? server->idle_slot : server->active_slot, -1);
    } else if (was_idle != is_idle) {
        list_remove(&conn->node);
        list_append(is_idle ? &server->idle : &server->active, &conn->node);
        count(server, server->idle_slot, is_idle ? 1 : -1);
        count(server, server->active_slot, is_idle ? -1 : 1);
    }
}

static void release_exchange(struct http_conn *conn)
{
    arena_clear(&conn->arena);
    conn->request = NULL;
    conn->exchange = NULL;
}

void http_conn_free(struct http_conn *conn)
{
    CHECK(conn->state == HTTP_CONN_CLOSED && conn->depth == 0 && !conn->is_kept);
    loop_undefer(&conn->task);
    list_remove(&conn->node);
    release_exchange(conn);
    buf_clear(&conn->held);
    conn->tag = 0;
    free(conn);
}

/* The memory stays until the end of the tick: callers up the stack may still look at it, and the
 * handler's object lives in the arena. */
static void forget_stream(struct http_conn *conn)
{
    timer_stop(conn->server->loop, &conn->timer);
    timer_stop(conn->server->loop, &conn->write_timer);
    http_conn_set_state(conn, HTTP_CONN_CLOSED);
    loop_defer(conn->server->loop, &conn->task);
}

void http_conn_close(struct http_conn *conn, uint64_t linger_ms)
{
    forget_stream(conn);
    stream_close(&conn->stream, linger_ms);
}

void http_conn_abort(struct http_conn *conn)
{
    forget_stream(conn);
    stream_abort(&conn->stream);
}

void http_conn_wake(struct http_conn *conn)
{
    if (conn->depth == 0)
        loop_defer(conn->server->loop, &conn->task);
}

void http_conn_update_reading(struct http_conn *conn)
{
    bool wanted = true;

    if (conn->state == HTTP_CONN_CLOSED || conn->peer_closed)
        return;
    if (conn->state >= HTTP_CONN_EXCHANGE && conn->state <= HTTP_CONN_ENDED)
        wanted =
            buf_len(&conn->held) < HELD_STOP_BYTES && !(conn->body_stopped && !conn->body_done);
    if (wanted == conn->is_reading)
        return;
    conn->is_reading = wanted;
    if (wanted)
        stream_read_start(conn->stream);
    else
        stream_read_stop(conn->stream);
}

void http_conn_start_timer(struct http_conn *conn, uint64_t delay_ms)
{
    timer_start(conn->server->loop, &conn->timer, delay_ms, on_timer);
}

/* What is written is still sent; a client slow to take much of it has the time it would have had.
 */
void http_conn_finish(struct http_conn *conn)
{
    uint64_t write_ms = conn->settings.write_timeout_ms;

    http_conn_close(conn, conn->wants_drain && write_ms > LINGER_MS ? write_ms : LINGER_MS);
}

static void tell_refused(struct http_conn *conn, unsigned status, const char *reason)
{
    struct http_server *server = conn->server;

    if (server->events->on_refused != NULL)
        server->events->on_refused(server->env, conn, status, reason);
}

/* Answer a request that no handler has seen. */
static void refuse(struct http_conn *conn, unsigned status, const char *reason, const char *text)
{
    http_conn_write_refusal(conn, status, reason, text);
    tell_refused(conn, status, reason);
    http_conn_finish(conn);
}

void http_conn_tell_gone(struct http_conn *conn, enum http_gone why)
{
    void *exchange = conn->exchange;

    conn->exchange = NULL;
    http_conn_set_state(conn, HTTP_CONN_ENDED);
    conn->server->events->on_gone(exchange, why);
}

struct gone_answer {
    unsigned status;
    const char *reason, *text;
};

/* The exchange ends here, with an answer of ours if none has begun and somebody is there to read.
 */
static void exchange_gone(struct http_conn *conn, enum http_gone why)
{
    static const struct gone_answer answers[] = {
        [HTTP_GONE_CLIENT] = {0, NULL, NULL},
        [HTTP_GONE_TIMEOUT] = {408, "body-timeout", "the request body made no progress"},
        [HTTP_GONE_MALFORMED] = {400, "malformed-framing",
                                 "the request body is not framed validly"},
        [HTTP_GONE_TOO_LARGE] = {413, "body-too-large", "the request body is too large"},
        [HTTP_GONE_SHUTDOWN] = {0, NULL, NULL},
    };
    const struct gone_answer *answer = &answers[why];
    bool answers_now = answer->status > 0 && !conn->head_sent && !conn->is_broken;

    if (answers_now)
        http_conn_write_refusal(conn, answer->status, answer->reason, answer->text);
    http_conn_tell_gone(conn, why);
    if (answers_now)
        http_conn_finish(conn);
    else
        http_conn_cut_stream(conn);
}

/* --- input, step by step: each answers whether there may be more to do --- */

static void begin_head(struct http_conn *conn)
{
    conn->settings = conn->server->settings;
    conn->scan = (struct http_scan){.at = 0};
    conn->request_at_us = loop_clock_us();
    conn->sent_bytes = conn->received_bytes = 0;
    conn->head_is_timed = false;
    http_conn_set_state(conn, HTTP_CONN_HEAD);
}

static bool step_idle(struct http_conn *conn, struct slice *input)
{
    if (input->len > 0) {
        begin_head(conn);
        return true;
    }
    if (conn->peer_closed)
        http_conn_finish(conn);
    return false;
}

static void begin_exchange(struct http_conn *conn, struct http_request *request)
{
    struct http_server *server = conn->server;
    void *exchange;

    conn->request = request;
    conn->request_number++;
    conn->body_started = conn->body_stopped = conn->continue_sent = false;
    conn->head_sent = conn->drops_body = conn->closes_after = false;
    conn->body_done = request->body == HTTP_BODY_NONE;
    conn->body_bytes = 0;
    http_body_begin(&conn->decoder, request->body, request->content_length);
    conn->decoder.keeps_trailers = conn->settings.keeps_trailers;
    http_conn_set_state(conn, HTTP_CONN_EXCHANGE);
    exchange = server->events->on_request(server->env, conn, request);
    CHECK(exchange != NULL);
    if (conn->state == HTTP_CONN_EXCHANGE)
        conn->exchange = exchange;
}

static void refuse_fault(struct http_conn *conn, enum http_fault fault)
{
    refuse(conn, http_fault_status(fault), http_fault_reason(fault), http_fault_text(fault));
}

/* The client has left in the middle of a head. */
static void end_in_head(struct http_conn *conn)
{
    tell_refused(conn, 0, "client-closed");
    http_conn_finish(conn);
}

static bool step_head(struct http_conn *conn, struct slice *input)
{
    struct http_limits limits = {
        .max_header_bytes = conn->settings.max_header_bytes,
        .max_header_count = conn->settings.max_header_count,
        .max_target_bytes = conn->settings.max_target_bytes,
    };
    struct http_request *request;
    struct slice head;
    size_t head_bytes;
    enum http_fault fault;

    fault = http_scan(&conn->scan, HTTP_KIND_REQUEST, *input, &limits, &head_bytes);
    if (fault == HTTP_FAULT_NONE && head_bytes == 0) {
        if (conn->peer_closed)
            end_in_head(conn);
        return false;
    }
    if (fault == HTTP_FAULT_NONE) {
        head = arena_copy(&conn->arena,
                          slice_from(input->at + conn->scan.start, head_bytes - conn->scan.start));
        *input = slice_skip(*input, head_bytes);
        conn->received_bytes = head_bytes;
        request = arena_alloc(&conn->arena, sizeof(*request));
        fault = http_parse_request(head, &conn->scan, &conn->arena, &limits, request);
    }
    if (fault != HTTP_FAULT_NONE)
        refuse_fault(conn, fault);
    else if (conn->settings.max_body_bytes > 0 &&
             request->content_length > conn->settings.max_body_bytes)
        refuse(conn, 413, "body-too-large", "the request body is too large");
    else
        begin_exchange(conn, request);
    return true;
}

static bool body_is_wanted(const struct http_conn *conn)
{
    return !conn->body_done && conn->body_started && !conn->body_stopped;
}

static bool take_body_data(struct http_conn *conn, struct slice data)
{
    uint64_t max_bytes = conn->settings.max_body_bytes;

    conn->body_bytes += data.len;
    conn->received_bytes += data.len;
    if (max_bytes > 0 && conn->body_bytes > max_bytes) {
        exchange_gone(conn, HTTP_GONE_TOO_LARGE);
        return true;
    }
    conn->server->events->on_body(conn->exchange, data);
    return true;
}

static bool step_exchange(struct http_conn *conn, struct slice *input)
{
    struct slice data;

    if (!conn->body_done && input->len > 0 && conn->request->expects_continue &&
        !conn->continue_sent)
        http_conn_tell_body_early(conn);
    if (!body_is_wanted(conn))
        return false;
    switch (http_body_decode(&conn->decoder, input, &data)) {
    case HTTP_DECODED_DATA:
        return take_body_data(conn, data);
    case HTTP_DECODED_TRAILER:
        conn->server->events->on_trailer(conn->exchange, data);
        return true;
    case HTTP_DECODED_END:
        conn->body_done = true;
        conn->server->events->on_body_end(conn->exchange);
        return true;
    case HTTP_DECODED_BAD:
        exchange_gone(conn, HTTP_GONE_MALFORMED);
        return true;
    case HTTP_DECODED_MORE:
        if (conn->peer_closed)
            exchange_gone(conn, HTTP_GONE_CLIENT);
        return false;
    }
    UNREACHED();
}

static bool step_ended(struct http_conn *conn, struct slice *input)
{
    /* A client that sends requests and does not take the answers waits here for on_drain. */
    if (conn->wants_drain && input->len > 0 && !conn->is_broken)
        return false;
    release_exchange(conn);
    if (conn->closes_after || conn->is_broken || conn->server->is_draining) {
        http_conn_finish(conn);
    } else if (conn->body_done) {
        http_conn_set_state(conn, HTTP_CONN_IDLE);
        if (input->len == 0)
            http_conn_start_timer(conn, conn->settings.idle_timeout_ms);
    } else {
        http_conn_set_state(conn, HTTP_CONN_DRAIN);
        conn->body_bytes = 0;
        http_conn_start_timer(conn, DRAIN_MS);
    }
    return true;
}

static bool step_drain(struct http_conn *conn, struct slice *input)
{
    struct slice data;

    switch (http_body_decode(&conn->decoder, input, &data)) {
    case HTTP_DECODED_DATA:
        conn->body_bytes += data.len;
        if (conn->body_bytes > DRAIN_BYTES)
            http_conn_finish(conn);
        return true;
    case HTTP_DECODED_TRAILER:
        return true;
    case HTTP_DECODED_END:
        conn->body_done = true;
        http_conn_set_state(conn, HTTP_CONN_IDLE);
        http_conn_start_timer(conn, conn->settings.idle_timeout_ms);
        return true;
    case HTTP_DECODED_BAD:
        http_conn_finish(conn);
        return true;
    case HTTP_DECODED_MORE:
        if (conn->peer_closed)
            http_conn_finish(conn);
        return false;
    }
    UNREACHED();
}

static bool step(struct http_conn *conn, struct slice *input)
{
    switch ((enum http_conn_state)conn->state) {
    case HTTP_CONN_IDLE:
        return step_idle(conn, input);
    case HTTP_CONN_HEAD:
        return step_head(conn, input);
    case HTTP_CONN_EXCHANGE:
        return step_exchange(conn, input);
    case HTTP_CONN_TUNNEL:
        return http_conn_step_tunnel(conn, input);
    case HTTP_CONN_ENDED:
        return step_ended(conn, input);
    case HTTP_CONN_DRAIN:
        return step_drain(conn, input);
    case HTTP_CONN_CLOSED:
    case HTTP_CONN_STATE_COUNT:
        return false;
    }
    UNREACHED();
}

/* Keep what was not taken, and wait for more in the way the state asks for. */
static void settle(struct http_conn *conn, bool was_held, size_t taken, struct slice rest)
{
    if (was_held) {
        buf_consume(&conn->held, taken);
        if (buf_len(&conn->held) == 0)
            buf_clear(&conn->held);
    } else if (!buf_append(&conn->held, rest)) {
        UNREACHED();
    }
    if (conn->state == HTTP_CONN_HEAD && !conn->head_is_timed) {
        conn->head_is_timed = true;
        http_conn_start_timer(conn, conn->settings.header_timeout_ms);
    } else if (conn->state == HTTP_CONN_EXCHANGE && body_is_wanted(conn)) {
        http_conn_start_timer(conn, conn->settings.body_timeout_ms);
    }
    http_conn_update_reading(conn);
}

/* Go on with what is held and the bytes that came. */
static void conn_run(struct http_conn *conn, struct slice data)
{
    bool was_held = buf_len(&conn->held) > 0;
    struct slice input = data;
    size_t size;

    CHECK(conn->depth == 0);
    if (was_held) {
        if (!buf_append(&conn->held, data))
            UNREACHED();
        input = buf_slice(&conn->held);
    }
    size = input.len;
    conn->depth++;
    while (step(conn, &input))
        continue;
    conn->depth--;
    if (conn->state != HTTP_CONN_CLOSED)
        settle(conn, was_held, size - input.len, input);
}

/* --- callbacks of the stream and the loop --- */

static void on_read(void *owner, struct slice data)
{
    struct http_conn *conn = owner;

    CHECK_TAG(conn, HTTP_CONN);
    conn_run(conn, data);
}

static void end_in_exchange(struct http_conn *conn)
{
    const struct http_conn_events *events = conn->server->events;

    if (conn->is_broken || (!conn->body_done && buf_len(&conn->held) == 0))
        exchange_gone(conn, HTTP_GONE_CLIENT);
    else if (events->on_half_close != NULL)
        events->on_half_close(conn->exchange);
}

static void on_end(void *owner, int error)
{
    struct http_conn *conn = owner;

    CHECK_TAG(conn, HTTP_CONN);
    conn->peer_closed = true;
    conn->is_broken |= error < 0;
    switch ((enum http_conn_state)conn->state) {
    case HTTP_CONN_EXCHANGE:
        end_in_exchange(conn);
        break;
    case HTTP_CONN_TUNNEL:
        if (conn->is_broken) {
            exchange_gone(conn, HTTP_GONE_CLIENT);
            break;
        }
        http_conn_wake(conn);
        break;
    case HTTP_CONN_ENDED:
        http_conn_wake(conn);
        break;
    case HTTP_CONN_HEAD:
        end_in_head(conn);
        break;
    case HTTP_CONN_IDLE:
    case HTTP_CONN_DRAIN:
        http_conn_finish(conn);
        break;
    case HTTP_CONN_CLOSED:
    case HTTP_CONN_STATE_COUNT:
        UNREACHED();
    }
}

static void on_drain(void *owner)
{
    struct http_conn *conn = owner;

    CHECK_TAG(conn, HTTP_CONN);
    conn->wants_drain = false;
    timer_stop(conn->server->loop, &conn->write_timer);
    if (http_conn_is_handled(conn))
        conn->server->events->on_drain(conn->exchange);
    else if (conn->state == HTTP_CONN_ENDED)
        http_conn_wake(conn);
}

static const struct stream_events conn_events = {
    .on_read = on_read,
    .on_end = on_end,
    .on_drain = on_drain,
};

/* An idle connection may still be sending a long answer. */
static void on_idle_timeout(struct http_conn *conn)
{
    uint64_t progress = conn->written_bytes - stream_pending_bytes(conn->stream);

    if (progress == conn->written_bytes || progress == conn->progress_bytes) {
        http_conn_close(conn, 0);
        return;
    }
    conn->progress_bytes = progress;
    http_conn_start_timer(conn, conn->settings.idle_timeout_ms);
}

static void on_timer(struct timer *timer)
{
    struct http_conn *conn = CONTAINER_OF(timer, struct http_conn, timer);

    CHECK_TAG(conn, HTTP_CONN);
    switch ((enum http_conn_state)conn->state) {
    case HTTP_CONN_IDLE:
        on_idle_timeout(conn);
        break;
    case HTTP_CONN_HEAD:
        /* An empty line before a request is not yet the beginning of one. */
        if (buf_len(&conn->held) <= 2 && conn->scan.start == buf_len(&conn->held))
            http_conn_close(conn, 0);
        else
            refuse(conn, 408, "header-timeout", "the request head took too long");
        break;
    case HTTP_CONN_EXCHANGE:
        /* Else the timer is one of before, which nobody had reason to stop. */
        if (body_is_wanted(conn))
            exchange_gone(conn, HTTP_GONE_TIMEOUT);
        break;
    case HTTP_CONN_DRAIN:
        http_conn_finish(conn);
        break;
    case HTTP_CONN_TUNNEL:
    case HTTP_CONN_ENDED:
    case HTTP_CONN_CLOSED:
    case HTTP_CONN_STATE_COUNT:
        break;
    }
}

static void on_task(struct loop_task *task)
{
    struct http_conn *conn = CONTAINER_OF(task, struct http_conn, task);

    CHECK_TAG(conn, HTTP_CONN);
    if (conn->state != HTTP_CONN_CLOSED)
        conn_run(conn, SLICE_NONE);
    else if (!conn->is_kept)
        http_conn_free(conn);
}

void http_conn_open(struct http_server *server, struct stream *stream)
{
    struct http_conn *conn = mem_calloc(1, sizeof(*conn));

    conn->tag = HTTP_CONN_TAG;
    conn->state = HTTP_CONN_IDLE;
    conn->is_reading = true;
    conn->server = server;
    conn->stream = stream;
    conn->settings = server->settings;
    list_node_init(&conn->node);
    list_append(&server->idle, &conn->node);
    loop_task_init(&conn->task, on_task);
    arena_init(&conn->arena, loop_arena_pool(server->loop));
    buf_init(&conn->held, SIZE_MAX);
    server->connection_count++;
    count(server, server->idle_slot, 1);
    http_conn_start_timer(conn, conn->settings.idle_timeout_ms);
    stream_adopt(stream, &conn_events, conn);
}
