#include "serve/relay.h"

static bool upload_may_follow(enum relay_upload from, enum relay_upload to)
{
    static const uint8_t legal[RELAY_UPLOAD_COUNT] = {
        [RELAY_NONE] = 1 << RELAY_FLOWING, /* a tunnel */
        [RELAY_HELD] = 1 << RELAY_ASKED | 1 << RELAY_FLOWING,
        [RELAY_ASKED] = 1 << RELAY_FLOWING,
        [RELAY_FLOWING] = 1 << RELAY_DONE,
    };

    return to == RELAY_NONE || (legal[from] & 1 << to) != 0;
}

static void set_upload(struct relay *relay, enum relay_upload upload)
{
    CHECK(upload_may_follow(relay->upload, upload));
    if (relay->upload == RELAY_ASKED || (relay->tunnel != NULL && upload == RELAY_NONE))
        timer_stop(relay->loop, &relay->timer);
    relay->upload = upload;
}

/* The connection may have the body already, or find it broken: this is the last thing to do. */
static void start_upload(struct relay *relay)
{
    set_upload(relay, RELAY_FLOWING);
    if (relay->conn != NULL)
        http_conn_body_start(relay->conn);
}

static void on_continue_timer(struct timer *timer)
{
    struct relay *relay = CONTAINER_OF(timer, struct relay, timer);

    start_upload(relay);
}

void relay_init(struct relay *relay, struct loop *loop, struct http_conn *conn,
                const struct http_request *head)
{
    *relay = (struct relay){.loop = loop,
                            .conn = conn,
                            .upload = head->body == HTTP_BODY_NONE ? RELAY_NONE : RELAY_HELD,
                            .expects_continue = head->expects_continue,
                            .is_client_http10 = head->minor == 0};
}

void relay_begin(struct relay *relay, struct upstream_exchange *exchange)
{
    CHECK(relay->exchange == NULL);
    relay->exchange = exchange;
}

void relay_on_connected(struct relay *relay)
{
    /* The pool may repeat an exchange on a second connection. */
    if (relay->upload != RELAY_HELD)
        return;
    if (!relay->expects_continue) {
        start_upload(relay);
        return;
    }
    set_upload(relay, RELAY_ASKED);
    timer_start(relay->loop, &relay->timer, RELAY_CONTINUE_MS, on_continue_timer);
}

void relay_on_interim(struct relay *relay, const struct http_response *head)
{
    if (head->status == 100) {
        /* The client's own 100 follows from the start of its body. */
        if (relay->upload == RELAY_ASKED)
            start_upload(relay);
        return;
    }
    /* RFC 9110, section 15.2: a 1.0 client knows no interim answers. */
    if (relay->conn != NULL && !relay->is_client_http10)
        http_conn_send_interim(relay->conn, head);
}

void relay_send_head(struct relay *relay, const struct http_response *head)
{
    /* A service that answers without having asked for the body does not want it. */
    if (relay->upload == RELAY_ASKED)
        set_upload(relay, RELAY_NONE);
    if (relay->conn != NULL && http_conn_send_head(relay->conn, head) == STREAM_FULL &&
        relay->exchange != NULL)
        upstream_read_stop(relay->exchange);
}

/* ---- tunnels ---- */

static void on_idle_timer(struct timer *timer)
{
    struct relay *relay = CONTAINER_OF(timer, struct relay, timer);
    struct relay_tunnel *tunnel = relay->tunnel;
    uint64_t idle_ms = loop_now_ms(relay->loop) - tunnel->moved_at_ms;

    if (idle_ms < tunnel->idle_ms)
        timer_start(relay->loop, timer, tunnel->idle_ms - idle_ms, on_idle_timer);
    else
        tunnel->on_idle(relay);
}

static void note_movement(struct relay *relay)
{
    if (relay->tunnel != NULL)
        relay->tunnel->moved_at_ms = loop_now_ms(relay->loop);
}

void relay_switch(struct relay *relay, const struct http_response *head,
                  struct relay_tunnel *tunnel)
{
    CHECK(relay->conn != NULL && relay->upload == RELAY_NONE);
    set_upload(relay, RELAY_FLOWING);
    relay->tunnel = tunnel;
    note_movement(relay);
    timer_start(relay->loop, &relay->timer, tunnel->idle_ms, on_idle_timer);
    if (http_conn_switch(relay->conn, head) == STREAM_FULL)
        upstream_read_stop(relay->exchange);
}

void relay_on_service_half_close(struct relay *relay)
{
    relay->tunnel->has_service_ended = true;
    http_conn_send_shut(relay->conn);
}

void relay_finish(struct relay *relay)
{
    set_upload(relay, RELAY_NONE);
    upstream_finish(&relay->exchange);
}

/* ---- the answer's body, and what comes through a tunnel ---- */

void relay_send_body(struct relay *relay, struct slice data)
{
    note_movement(relay);
    if (relay->conn != NULL && http_conn_send_body(relay->conn, data) == STREAM_FULL &&
        relay->exchange != NULL)
        upstream_read_stop(relay->exchange);
}

void relay_on_service_body(struct relay *relay, struct slice data)
{
    relay_send_body(relay, data);
}

void relay_on_service_drain(struct relay *relay)
{
    note_movement(relay);
    if (relay->conn != NULL && relay->upload == RELAY_FLOWING)
        http_conn_body_start(relay->conn);
}

void relay_on_client_body_early(struct relay *relay)
{
    relay->expects_continue = false;
    if (relay->upload == RELAY_ASKED)
        start_upload(relay);
}

void relay_on_client_body(struct relay *relay, struct slice data)
{
    if (relay->upload != RELAY_FLOWING || relay->exchange == NULL)
        return;
    note_movement(relay);
    if (upstream_send_body(relay->exchange, data) == STREAM_FULL && relay->conn != NULL)
        http_conn_body_stop(relay->conn);
}

void relay_on_client_body_end(struct relay *relay)
{
    if (relay->upload != RELAY_FLOWING)
        return;
    set_upload(relay, RELAY_DONE);
    if (relay->exchange != NULL)
        upstream_send_end(relay->exchange);
}

void relay_on_client_drain(struct relay *relay)
{
    note_movement(relay);
    if (relay->exchange != NULL)
        upstream_read_start(relay->exchange);
}

void relay_forget_service(struct relay *relay)
{
    relay->exchange = NULL;
    set_upload(relay, RELAY_NONE);
}

void relay_stop(struct relay *relay)
{
    set_upload(relay, RELAY_NONE);
    if (relay->exchange != NULL)
        upstream_cancel(&relay->exchange);
}
