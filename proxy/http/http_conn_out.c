/* What the handler calls: answers with their framing, the request body's flow, facts. */
#include <time.h>

#include "http/http_conn_private.h"
#include "http/http_write.h"

/* A request body up to this size that nobody read is drained to keep the connection. */
#define MAX_DRAINED_BYTES (64u * 1024)

static struct slice current_date(struct http_server *server)
{
    uint64_t now_ms = loop_now_ms(server->loop), wall_ms;
    struct tm utc;
    time_t second;

    if (now_ms >= server->date_until_ms) {
        wall_ms = loop_wall_clock_us() / 1000;
        second = (time_t)(wall_ms / 1000);
        gmtime_r(&second, &utc);
        strftime(server->date, sizeof(server->date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
        server->date_until_ms = now_ms + 1000 - wall_ms % 1000;
    }
    return slice_of(server->date);
}

static uint64_t progress_bytes(const struct http_conn *conn)
{
    return conn->written_bytes - stream_pending_bytes(conn->stream);
}

static void on_write_timer(struct timer *timer)
{
    struct http_conn *conn = CONTAINER_OF(timer, struct http_conn, write_timer);
    uint64_t progress;

    CHECK_TAG(conn, HTTP_CONN);
    progress = progress_bytes(conn);
    if (progress != conn->progress_bytes) {
        conn->progress_bytes = progress;
        timer_start(conn->server->loop, &conn->write_timer, conn->settings.write_timeout_ms,
                    on_write_timer);
        return;
    }
    if (conn->state == HTTP_CONN_EXCHANGE)
        http_conn_tell_gone(conn, HTTP_GONE_TIMEOUT);
    http_conn_abort(conn);
}

enum stream_status http_conn_write(struct http_conn *conn, const struct slice *parts, size_t count)
{
    enum stream_status status;
    size_t bytes = 0;

    if (conn->is_broken)
        return STREAM_DEAD;
    for (size_t i = 0; i < count; i++)
        bytes += parts[i].len;
    status = stream_write(conn->stream, parts, count);
    if (status == STREAM_DEAD) {
        conn->is_broken = true;
        return status;
    }
    conn->written_bytes += bytes;
    conn->sent_bytes += bytes;
    if (status == STREAM_FULL && !conn->wants_drain) {
        conn->wants_drain = true;
        if (conn->state == HTTP_CONN_TUNNEL)
            return status;
        conn->progress_bytes = progress_bytes(conn);
        timer_start(conn->server->loop, &conn->write_timer, conn->settings.write_timeout_ms,
                    on_write_timer);
    }
    return status;
}

/* Content-Length of the answer to a HEAD or conditional request, which says what a GET would give.
 */
static bool find_length(const struct http_response *head, uint64_t *ret_length)
{
    for (size_t i = 0; i < head->fields.count; i++)
        if (head->fields.items[i].id == HTTP_FIELD_CONTENT_LENGTH)
            return slice_to_uint64(head->fields.items[i].value, ret_length);
    return false;
}

/* Framing fields of an answer without body. */
static void frame_without_body(const struct http_conn *conn, const struct http_response *head,
                               struct http_write_framing *framing)
{
    uint64_t length = 0;

    framing->body = HTTP_BODY_NONE;
    if (head->status == 204)
        return;
    if (head->body == HTTP_BODY_LENGTH)
        length = head->content_length;
    else if (head->body != HTTP_BODY_NONE)
        return;
    else if (conn->drops_body && !find_length(head, &length))
        return;
    framing->body = HTTP_BODY_LENGTH;
    framing->content_length = length;
}

static void frame_with_body(const struct http_conn *conn, const struct http_response *head,
                            struct http_write_framing *framing)
{
    framing->body = head->body;
    framing->content_length = head->content_length;
    if (head->body != HTTP_BODY_LENGTH)
        framing->body = conn->request->minor > 0 ? HTTP_BODY_CHUNKED : HTTP_BODY_UNTIL_CLOSE;
}

/* A body that will not be read keeps the connection only if it is sure to be small, and to come. */
static bool leaves_body(const struct http_conn *conn)
{
    if (conn->body_done)
        return false;
    if (conn->request->expects_continue && !conn->continue_sent && conn->body_bytes == 0 &&
        buf_len(&conn->held) == 0)
        return true;
    return !conn->body_started && conn->request->body == HTTP_BODY_LENGTH &&
           conn->request->content_length > MAX_DRAINED_BYTES;
}

enum stream_status http_conn_send_head(struct http_conn *conn, const struct http_response *head)
{
    struct http_write_framing framing = {.body = HTTP_BODY_NONE};
    struct slice bytes;

    CHECK_TAG(conn, HTTP_CONN);
    CHECK(conn->state == HTTP_CONN_EXCHANGE && !conn->head_sent && head->status >= 200);
    conn->drops_body = conn->request->is_head || head->status == 204 || head->status == 304;
    if (conn->drops_body || head->body == HTTP_BODY_NONE)
        frame_without_body(conn, head, &framing);
    else
        frame_with_body(conn, head, &framing);
    conn->answer_body = (uint8_t)(conn->drops_body ? HTTP_BODY_NONE : framing.body);
    conn->answer_remaining = framing.content_length;
    conn->closes_after = conn->request->wants_close || conn->server->is_draining ||
                         framing.body == HTTP_BODY_UNTIL_CLOSE || leaves_body(conn);
    framing.close = conn->closes_after;
    framing.keep_alive = !conn->closes_after && conn->request->minor == 0;
    framing.date = current_date(conn->server);
    bytes = http_write_response(&conn->arena, head, &framing);
    conn->head_sent = true;
    return http_conn_write(conn, &bytes, 1);
}

enum stream_status http_conn_send_body(struct http_conn *conn, struct slice data)
{
    char size_line[HTTP_CHUNK_SIZE_BYTES];
    struct slice parts[3] = {SLICE_NONE, data, SLICE_INIT("\r\n")};

    CHECK_TAG(conn, HTTP_CONN);
    CHECK(http_conn_is_handled(conn) && conn->head_sent);
    if (conn->drops_body || data.len == 0)
        return conn->is_broken ? STREAM_DEAD : STREAM_OK;
    if (conn->answer_body == HTTP_BODY_CHUNKED) {
        parts[0] = http_write_chunk_size(size_line, data.len);
        return http_conn_write(conn, parts, 3);
    }
    if (conn->answer_body != HTTP_BODY_UNTIL_CLOSE) {
        CHECK(data.len <= conn->answer_remaining);
        conn->answer_remaining -= data.len;
    }
    return http_conn_write(conn, &data, 1);
}

void http_conn_send_trailers(struct http_conn *conn, const struct http_field *fields, size_t count)
{
    struct slice bytes;

    CHECK_TAG(conn, HTTP_CONN);
    CHECK(conn->state == HTTP_CONN_EXCHANGE && conn->head_sent);
    if (conn->answer_body != HTTP_BODY_CHUNKED || conn->drops_body)
        return;
    bytes = http_write_trailers(&conn->arena, fields, count);
    conn->answer_body = HTTP_BODY_NONE;
    http_conn_write(conn, &bytes, 1);
}

void http_conn_send_end(struct http_conn *conn)
{
    static const struct slice last_chunk = SLICE_INIT("0\r\n\r\n");

    CHECK_TAG(conn, HTTP_CONN);
    CHECK(http_conn_is_handled(conn) && conn->head_sent);
    CHECK(conn->answer_body != HTTP_BODY_LENGTH || conn->answer_remaining == 0);
    if (conn->answer_body == HTTP_BODY_CHUNKED)
        http_conn_write(conn, &last_chunk, 1);
    conn->exchange = NULL;
    http_conn_set_state(conn, HTTP_CONN_ENDED);
    http_conn_wake(conn);
}

void http_conn_cut_stream(struct http_conn *conn)
{
    /* An answer that is delimited by the end of the connection would look complete; any other is
     * visibly short or not there at all, and what is already on its way may arrive. */
    if (conn->head_sent && conn->answer_body == HTTP_BODY_UNTIL_CLOSE)
        http_conn_abort(conn);
    else
        http_conn_finish(conn);
}

void http_conn_cut(struct http_conn *conn)
{
    CHECK_TAG(conn, HTTP_CONN);
    CHECK(http_conn_is_handled(conn));
    conn->exchange = NULL;
    http_conn_cut_stream(conn);
}

void http_conn_send_interim(struct http_conn *conn, const struct http_response *head)
{
    struct http_write_framing framing = {.body = HTTP_BODY_NONE};
    struct slice bytes;

    CHECK_TAG(conn, HTTP_CONN);
    CHECK(conn->state == HTTP_CONN_EXCHANGE && head->status >= 100 && head->status < 200 &&
          head->status != 101);
    if (conn->head_sent || conn->request->minor == 0)
        return;
    if (head->status == 100) {
        if (!conn->request->expects_continue || conn->continue_sent)
            return;
        conn->continue_sent = true;
    }
    bytes = http_write_response(&conn->arena, head, &framing);
    http_conn_write(conn, &bytes, 1);
}

void http_conn_write_refusal(struct http_conn *conn, unsigned status, const char *reason,
                             const char *detail)
{
    struct http_field type = {.name = SLICE("Content-Type"),
                              .value = SLICE("application/problem+json")};
    struct http_response head = {
        .status = status,
        .reason = slice_of(http_status_phrase(status)),
        .fields = {.items = &type, .count = 1},
    };
    struct http_write_framing framing = {.body = HTTP_BODY_LENGTH, .close = true};
    struct slice parts[2];

    parts[1] = http_write_problem(&conn->arena, status, reason, detail);
    framing.content_length = parts[1].len;
    framing.date = current_date(conn->server);
    parts[0] = http_write_response(&conn->arena, &head, &framing);
    http_conn_write(conn, parts, conn->request != NULL && conn->request->is_head ? 1 : 2);
}

struct arena *http_conn_arena(struct http_conn *conn)
{
    return &conn->arena;
}

struct stream *http_conn_stream(struct http_conn *conn)
{
    return conn->stream;
}

uint64_t http_conn_request_at_us(const struct http_conn *conn)
{
    return conn->request_at_us;
}

uint64_t http_conn_request_number(const struct http_conn *conn)
{
    return conn->request_number;
}

uint64_t http_conn_sent_bytes(const struct http_conn *conn)
{
    return conn->sent_bytes;
}

uint64_t http_conn_received_bytes(const struct http_conn *conn)
{
    return conn->received_bytes;
}

void http_conn_keep(struct http_conn *conn)
{
    CHECK_TAG(conn, HTTP_CONN);
    CHECK(conn->state == HTTP_CONN_ENDED);
    conn->is_kept = true;
}

void http_conn_drop(struct http_conn *conn)
{
    CHECK_TAG(conn, HTTP_CONN);
    CHECK(conn->is_kept && conn->state == HTTP_CONN_CLOSED);
    conn->is_kept = false;
    loop_defer(conn->server->loop, &conn->task);
}

bool http_conn_head_is_sent(const struct http_conn *conn)
{
    return conn->head_sent;
}

bool http_conn_peer_closed(const struct http_conn *conn)
{
    return conn->peer_closed;
}

/* The client waits for 100 Continue if it has sent nothing of the body by itself. */
static void send_continue(struct http_conn *conn)
{
    static const struct slice line = SLICE_INIT("HTTP/1.1 100 Continue\r\n\r\n");

    if (!conn->request->expects_continue || conn->continue_sent || conn->head_sent ||
        conn->body_bytes > 0 || buf_len(&conn->held) > 0)
        return;
    conn->continue_sent = true;
    http_conn_write(conn, &line, 1);
}

void http_conn_tell_body_early(struct http_conn *conn)
{
    const struct http_conn_events *events = conn->server->events;

    conn->continue_sent = true;
    if (events->on_body_early != NULL)
        events->on_body_early(conn->exchange);
}

void http_conn_body_start(struct http_conn *conn)
{
    CHECK_TAG(conn, HTTP_CONN);
    if (!http_conn_is_handled(conn) || conn->body_done)
        return;
    send_continue(conn);
    conn->body_started = true;
    conn->body_stopped = false;
    if (conn->state == HTTP_CONN_EXCHANGE)
        http_conn_start_timer(conn, conn->settings.body_timeout_ms);
    http_conn_update_reading(conn);
    if (buf_len(&conn->held) > 0 || conn->peer_closed)
        http_conn_wake(conn);
}

void http_conn_body_stop(struct http_conn *conn)
{
    CHECK_TAG(conn, HTTP_CONN);
    if (!http_conn_is_handled(conn) || conn->body_done)
        return;
    conn->body_stopped = true;
    http_conn_update_reading(conn);
}
