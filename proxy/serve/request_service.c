#include "serve/request_private.h"

#include "http/upgrade.h"
#include "serve/forward.h"

/* ---- guarded requests ---- */

/* Whether the service may have seen something of the request. */
bool request_was_forwarded(const struct request *r)
{
    if (r->service_end == SERVICE_FAILED)
        return upstream_failure_was_sent(r->failure);
    return r->is_connected || r->is_forwarded || r->service_end == SERVICE_ENDED ||
           (r->relay.exchange != NULL && upstream_exchange_address(r->relay.exchange)[0] != '\0');
}

void request_give_up_service(struct request *r)
{
    r->is_forwarded = request_was_forwarded(r);
    relay_stop(&r->relay);
}

/* The guards say that nothing more may be forwarded. */
void request_stop(struct request *r)
{
    const struct verdict *why = guard_stopped(r->guard);

    request_give_up_service(r);
    r->is_stopped = true;
    r->gate.is_paused = false;
    if (!r->is_head_sent) {
        request_refuse(r, why);
        return;
    }
    r->reason = why->reason;
    r->at = AT_finish;
}

static void pause_relay(struct request *r)
{
    r->gate.is_paused = true;
    if (r->relay.exchange != NULL)
        upstream_read_stop(r->relay.exchange);
    if (r->relay.conn != NULL && r->relay.upload == RELAY_FLOWING)
        http_conn_body_stop(r->relay.conn);
}

/* May a piece be forwarded now?  When it may never be, the request has been stopped and is over. */
enum guard_check request_look(struct request *r)
{
    enum guard_check check;

    if (r->gate.is_paused)
        return GUARD_HOLD_ON;
    check = guard_check(r->guard);
    if (check == GUARD_HOLD_ON) {
        pause_relay(r);
    } else if (check == GUARD_STOP && !r->running) {
        request_stop(r);
        request_run(r);
    }
    return check;
}

/* What was held goes to the client. */
void request_flush_gate(struct request *r)
{
    struct buf *body = &r->gate.body;

    if (r->gate.head != NULL)
        request_send_head(r, TAKE(&r->gate.head));
    if (buf_len(body) > 0)
        relay_send_body(&r->relay, buf_slice(body));
    buf_clear(body);
    if (r->gate.has_service_end) {
        r->gate.has_service_end = false;
        relay_on_service_half_close(&r->relay);
    }
}

void request_end_upload(struct request *r)
{
    struct http_field *fields;
    size_t count = 0;

    if (r->upload_trailers != NULL && r->relay.upload == RELAY_FLOWING && r->relay.exchange != NULL)
        count = trailers_allowed(r->upload_trailers, &r->policy->settings, r->arena, &fields);
    if (count > 0)
        upstream_send_trailers(r->relay.exchange, fields, count);
    relay_on_client_body_end(&r->relay);
}

static void resume_upload(struct request *r)
{
    struct buf *upload = &r->gate.upload;

    if (buf_len(upload) > 0)
        relay_on_client_body(&r->relay, buf_slice(upload));
    buf_clear(upload);
    if (r->gate.has_upload_end)
        request_end_upload(r);
    else if (r->relay.conn != NULL && r->relay.upload == RELAY_FLOWING)
        http_conn_body_start(r->relay.conn);
}

void request_on_judged(void *owner, bool may_go_on)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    CHECK(!r->running);
    if (!may_go_on) {
        request_stop(r);
    } else if (r->gate.is_paused) {
        r->gate.is_paused = false;
        if (r->relay.exchange != NULL) {
            request_flush_gate(r);
            upstream_read_start(r->relay.exchange);
        }
        resume_upload(r);
        request_finish_tunnel(r);
        if (r->relay.exchange != NULL)
            upstream_resume(r->relay.exchange);
        if (r->tag != REQUEST_TAG) /* it was looked at once more, and ended */
            return;
    }
    request_run(r);
}

void request_on_finished(void *owner, bool may_go_on)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    r->is_released = true;
    if (!may_go_on)
        request_stop(r);
    request_run(r);
}

/* ---- the service's events ---- */

/* The request has waited for its connection: what was held when it began may be lost. */
static bool may_send(void *owner)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    return !r->is_guarded || request_look(r) == GUARD_GO_ON;
}

static void on_service_connected(void *owner)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    r->is_connected = true;
    if (r->is_guarded)
        guard_note_forwarded(r->guard);
    relay_on_connected(&r->relay);
}

static void on_service_interim(void *owner, const struct http_response *head)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    if (!r->gate.is_paused)
        relay_on_interim(&r->relay, head);
}

/* What few answers have.  True: it has been sent. */
static bool send_special_head(struct request *r, const struct http_response *head,
                              struct http_response *answer)
{
    const struct policy_settings *settings = &r->policy->settings;

    if (head->status == 101) {
        request_open_tunnel(r, answer);
        return true;
    }
    if (head->status == 426 && r->route->upgrade == POLICY_UPGRADE_FORWARD)
        answer->upgrade = upgrade_required(head, r->arena);
    if (settings->trailer_count > 0 && head->body == HTTP_BODY_CHUNKED &&
        trailers_are_wanted(r->head))
        trailers_announce(&answer->fields, settings, r->arena);
    return false;
}

void request_send_head(struct request *r, const struct http_response *head)
{
    struct http_response answer;

    r->is_head_sent = true;
    if (!r->is_detached)
        r->status = head->status;
    forward_response(head, r->verdict, r->request_id, r->arena, &answer);
    if ((head->status == 101 || head->status == 426 || r->policy->settings.trailer_count > 0) &&
        send_special_head(r, head, &answer))
        return;
    relay_send_head(&r->relay, &answer);
}

void request_note_answer(struct request *r)
{
    if (!request_is_logged(r))
        return;
    r->upstream_us = loop_clock_us() - r->sent_at_us;
    r->upstream_address =
        arena_copy(r->arena, slice_of(upstream_exchange_address(r->relay.exchange)));
}

static void on_service_head(void *owner, const struct http_response *head)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    request_note_answer(r);
    if (r->is_guarded &&
        (request_look(r) == GUARD_STOP || !gate_take_head(&r->gate, head, r->head->is_head)))
        return;
    request_send_head(r, head);
}

static void on_service_body(void *owner, struct slice data)
{
    struct request *r = owner;

    if (r->relay.tunnel != NULL)
        request_count_tunnel_bytes(r, POLICY_TO_CLIENT, data.len);
    if (r->is_guarded) {
        if (request_look(r) == GUARD_STOP)
            return;
        data = gate_take_body(&r->gate, data);
        if (data.len == 0)
            return;
    }
    relay_on_service_body(&r->relay, data);
}

static void on_service_trailer(void *owner, struct slice piece)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    trailers_add(&r->answer_trailers, piece, r->arena);
}

static void on_service_drain(void *owner)
{
    struct request *r = owner;

    relay_on_service_drain(&r->relay);
}

static void on_service_end(void *owner)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    relay_forget_service(&r->relay);
    r->service_end = SERVICE_ENDED;
    request_run(r);
}

static void on_service_fail(void *owner, enum upstream_failure failure)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    relay_forget_service(&r->relay);
    r->service_end = SERVICE_FAILED;
    r->failure = failure;
    r->reason = upstream_failure_reason(failure);
    request_run(r);
}

const struct upstream_events request_service_events = {
    .may_send = may_send,
    .on_connected = on_service_connected,
    .on_interim = on_service_interim,
    .on_switch = request_on_switch,
    .on_half_close = request_on_half_close,
    .on_head = on_service_head,
    .on_body = on_service_body,
    .on_trailer = on_service_trailer,
    .on_drain = on_service_drain,
    .on_end = on_service_end,
    .on_fail = on_service_fail,
};
