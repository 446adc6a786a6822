/* After a 101: the connection hands bytes on as they are. */
#include "http/http_conn_private.h"
#include "http/http_write.h"

enum stream_status http_conn_switch(struct http_conn *conn, const struct http_response *head)
{
    struct http_write_framing framing = {.body = HTTP_BODY_NONE};
    struct slice bytes;

    CHECK_TAG(conn, HTTP_CONN);
    CHECK(conn->state == HTTP_CONN_EXCHANGE && !conn->head_sent && conn->body_done);
    CHECK(head->status == 101 && head->upgrade.at != NULL && conn->request->minor > 0);
    http_conn_set_state(conn, HTTP_CONN_TUNNEL);
    bytes = http_write_response(&conn->arena, head, &framing);
    conn->answer_body = HTTP_BODY_UNTIL_CLOSE;
    conn->head_sent = conn->closes_after = true;
    conn->drops_body = conn->body_done = false;
    http_conn_body_start(conn);
    return http_conn_write(conn, &bytes, 1);
}

void http_conn_send_shut(struct http_conn *conn)
{
    CHECK_TAG(conn, HTTP_CONN);
    CHECK(conn->state == HTTP_CONN_TUNNEL);
    stream_shutdown(conn->stream);
}

bool http_conn_step_tunnel(struct http_conn *conn, struct slice *input)
{
    const struct http_conn_events *events = conn->server->events;
    struct slice data = *input;

    if (conn->body_stopped || conn->body_done)
        return false;
    if (data.len > 0) {
        *input = slice_skip(data, data.len);
        conn->received_bytes += data.len;
        events->on_body(conn->exchange, data);
        return true;
    }
    if (!conn->peer_closed)
        return false;
    conn->body_done = true;
    events->on_body_end(conn->exchange);
    return true;
}
