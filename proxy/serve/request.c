/*   on_request --> match --> guard --> send --> relay --> release --> finish
 *                    |         | ^      |        | ^        | ^         ^
 *                    |         v |      |        v |        v |         |
 *                    |       (wait)     |      (wait)     (wait)        |
 *                    +---------+--------+--------+- refuse -+-----------+
 *
 * What waits is resumed by running its step again: guard by its verdict, relay by the end of the
 * exchange, release by the lock's.  A client that goes away takes any step to its end at once
 * (on_gone), but for a request that holds a lock and is at work: that one goes on without it. */
#include "serve/request.h"

#include "policy/router.h"
#include "serve/forward.h"
#include "serve/problem_json.h"
#include "serve/request_private.h"

const struct verdict request_no_verdict = {.kind = VERDICT_ALLOW};

static struct slice find_header(const void *request, struct slice lowercase_name)
{
    return http_fields_find(&((const struct http_request *)request)->fields, lowercase_name);
}

static struct slice find_header_at(const void *request, struct slice lowercase_name, size_t number)
{
    const struct http_request *head = request;

    return http_fields_find_at(&head->fields, lowercase_name, number);
}

/* ---- refusing ---- */

void request_refuse(struct request *r, const struct verdict *refusal)
{
    r->refusal = refusal;
    r->reason = refusal->reason;
    r->at = AT_refuse;
}

/* A refusal that no guard made.  Fields a guard wants told go with it. */
static void refuse_with(struct request *r, unsigned status, const char *reason,
                        enum verdict_executed executed, const char *detail)
{
    struct verdict *refusal = arena_alloc(r->arena, sizeof(*refusal));

    *refusal = *(r->verdict != NULL ? r->verdict : &request_no_verdict);
    refusal->kind = VERDICT_REFUSE;
    refusal->status = status;
    refusal->reason = reason;
    refusal->type = "about:blank";
    refusal->title = http_status_phrase(status);
    refusal->executed = executed;
    refusal->detail = slice_of(detail);
    refusal->violated_count = 0;
    refusal->has_retry_after = status == 503;
    refusal->retry_after_s = 1;
    request_refuse(r, refusal);
}

static void refuse_failed(struct request *r)
{
    enum upstream_failure failure = r->failure;

    refuse_with(r, upstream_failure_status(failure), upstream_failure_reason(failure),
                upstream_failure_was_sent(failure) ? VERDICT_EXECUTED_UNKNOWN : VERDICT_EXECUTED_NO,
                upstream_failure_text(failure));
}

/* ---- steps ---- */

/* TRACE and OPTIONS that say so go no further (RFC 9110 section 7.6.2).  True: answered here. */
static bool ends_here(struct request *r)
{
    struct http_response answer = {.status = 200, .reason = SLICE("OK"), .body = HTTP_BODY_LENGTH};
    uint64_t left;

    if (!http_max_forwards(r->head, &left)) {
        refuse_with(r, 400, "malformed-max-forwards", VERDICT_EXECUTED_NO,
                    "Max-Forwards is not one number");
        return true;
    }
    if (left > 0)
        return false;
    if (slice_equal(r->head->method, SLICE("TRACE"))) {
        refuse_with(r, 501, "unsupported-method", VERDICT_EXECUTED_NO,
                    "the request ends here, where TRACE is not implemented");
        return true;
    }
    r->at = AT_finish;
    r->status = answer.status;
    http_conn_send_head(r->conn, &answer);
    return true;
}

static enum step_next step_match(struct request *r)
{
    const struct http_request *head = r->head;
    struct facts *facts = &r->facts;

    facts->method = head->method;
    facts->scheme = stream_is_tls(http_conn_stream(r->conn)) ? SLICE("https") : SLICE("http");
    facts->host = head->host;
    facts->query = head->query.at != NULL ? head->query : SLICE("");
    facts->client_ip = facts->route = SLICE_NONE;
    facts->path_param_count = 0;
    facts->header = find_header;
    facts->header_at = find_header_at;
    facts->request = head;
    facts->now_s = r->policy->jwt != NULL ? loop_wall_clock_us() / 1000000 : 0;
    facts->jwt_seen = &r->jwt_claims;
    if (ends_here(r))
        return STEP_NEXT;
    if (!router_normalise_path(r->arena, head->path, &facts->path)) {
        refuse_with(r, 400, "malformed-path", VERDICT_EXECUTED_NO,
                    "the path cannot be understood in only one way");
        return STEP_NEXT;
    }
    if (r->policy->settings.escaped_slashes == POLICY_SLASHES_REFUSE &&
        router_has_escaped_slash(facts->path)) {
        refuse_with(r, 400, "escaped-slash", VERDICT_EXECUTED_NO,
                    "the path has an escaped slash or backslash, which services read differently");
        return STEP_NEXT;
    }
    r->route = router_match(r->policy->router, facts);
    r->at = AT_guard;
    if (r->route == NULL) {
        r->route = r->policy->unmatched;
        if (r->policy->settings.on_no_route == POLICY_NO_ROUTE_REFUSE)
            refuse_with(r, 404, "no-route", VERDICT_EXECUTED_NO, "no route matches this request");
    }
    facts->route = slice_of(r->route->name);
    return STEP_NEXT;
}

static void on_verdict(void *owner, const struct verdict *verdict)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    r->verdict = verdict;
    request_run(r);
}

static enum step_next step_guard(struct request *r)
{
    struct guard_request asked = {.policy = r->policy,
                                  .route = r->route,
                                  .facts = &r->facts,
                                  .arena = r->arena,
                                  .on_verdict = on_verdict,
                                  .on_judged = request_on_judged,
                                  .on_finished = request_on_finished,
                                  .owner = r,
                                  .request_id = r->request_id,
                                  .is_peer_trusted = r->peer.is_trusted};

    if (r->verdict == NULL) {
        if (r->route->limit_count > 0 || r->route->lock != NULL || r->route->fence != NULL) {
            peer_find_client(&r->peer, &r->policy->settings, &r->head->fields, r->arena);
            r->facts.client_ip = r->peer.client_key;
        }
        r->verdict = guard_begin(r->env->guards, &asked, &r->guard);
    }
    if (r->verdict == NULL)
        return STEP_WAIT;
    r->at = AT_send;
    if (r->guard != NULL && guard_is_holding(r->guard)) {
        r->is_guarded = true;
        gate_init(&r->gate);
    }
    if (r->verdict->kind == VERDICT_REFUSE)
        request_refuse(r, r->verdict);
    return STEP_NEXT;
}

/* Between the verdict and here nothing has waited, but the machine may have. */
static bool may_send(struct request *r)
{
    enum guard_check check = request_look(r);

    if (check == GUARD_STOP)
        request_stop(r);
    return check == GUARD_GO_ON;
}

static bool is_fenced(const struct policy_route *route)
{
    return route->fence != NULL &&
           (route->lock == NULL || route->lock->fencing == POLICY_FENCING_OFF);
}

/* A system call for the first request of a connection; who does not need it does not pay it. */
static struct slice local_address(const struct request *r)
{
    struct slice text;

    if (r->policy->settings.forwarding == POLICY_FORWARDING_X_FORWARDED)
        return SLICE_NONE;
    text = slice_of(stream_local_address(http_conn_stream(r->conn)));
    return slice_equal(text, SLICE("unix")) || slice_equal(text, SLICE("unknown")) ? SLICE_NONE
                                                                                   : text;
}

static enum step_next step_send(struct request *r)
{
    const struct policy_upstream *upstream = r->route->upstream;
    struct forward_hop hop = {.peer_address = r->peer.address,
                              .request_id = r->request_id,
                              .upstream_host = slice_of(upstream->addresses[0].host_field),
                              .local_address = local_address(r),
                              .forwarding = r->policy->settings.forwarding,
                              .trace = r->trace,
                              .is_peer_trusted = r->peer.is_trusted,
                              .is_fenced = is_fenced(r->route),
                              .passes_upgrade = r->route->upgrade == POLICY_UPGRADE_FORWARD,
                              .verdict = r->verdict,
                              .is_tls = stream_is_tls(http_conn_stream(r->conn))};
    struct http_request *head;

    if (r->is_guarded && !may_send(r))
        return r->at == AT_send ? STEP_WAIT : STEP_NEXT;
    head = arena_alloc(r->arena, sizeof(*head));
    forward_request(r->head, &hop, r->arena, head);
    if (r->policy->settings.trailer_count > 0) {
        head->asks_trailers = trailers_are_wanted(r->head);
        if (head->body == HTTP_BODY_CHUNKED)
            trailers_announce(&head->fields, &r->policy->settings, r->arena);
    }
    if (request_is_logged(r))
        r->sent_at_us = loop_clock_us();
    r->at = AT_relay;
    relay_begin(&r->relay, upstream_group_begin(r->snapshot->upstreams[upstream->index], head,
                                                r->arena, &request_service_events, r));
    return STEP_NEXT;
}

static enum step_next step_relay(struct request *r)
{
    if (r->service_end == SERVICE_OPEN || r->gate.is_paused)
        return STEP_WAIT;
    r->at = AT_release;
    return STEP_NEXT;
}

/* The lock is given back before the client can see the end, unless the service may be at work. */
static enum step_next step_release(struct request *r)
{
    if (r->is_guarded && !r->is_released &&
        (r->service_end == SERVICE_ENDED || !request_was_forwarded(r))) {
        switch (guard_finish(r->guard)) {
        case GUARD_HOLD_ON:
            return STEP_WAIT;
        case GUARD_STOP:
            request_stop(r);
            return STEP_NEXT;
        case GUARD_GO_ON:
            break;
        }
    }
    r->at = AT_finish;
    if (r->is_guarded)
        request_flush_gate(r);
    if (r->service_end == SERVICE_FAILED && !r->is_head_sent)
        refuse_failed(r);
    return STEP_NEXT;
}

static enum step_next step_refuse(struct request *r)
{
    struct http_response head;
    struct slice body;

    r->at = AT_finish;
    if (r->relay.conn == NULL)
        return STEP_NEXT;
    problem_json_write(r->refusal, r->request_id, r->arena, &head, &body);
    r->status = head.status;
    http_conn_send_head(r->conn, &head);
    http_conn_send_body(r->conn, body);
    return STEP_NEXT;
}

/* What came behind the answer, for a client that takes it. */
static void send_trailers(struct request *r)
{
    struct http_field *fields;
    size_t count;

    if (r->relay.conn == NULL || r->refusal != NULL || !trailers_are_wanted(r->head))
        return;
    count = trailers_allowed(r->answer_trailers, &r->policy->settings, r->arena, &fields);
    if (count > 0)
        http_conn_send_trailers(r->conn, fields, count);
}

static enum step_next step_finish(struct request *r)
{
    struct http_conn *conn = r->conn;
    bool is_cut = (r->service_end == SERVICE_FAILED || r->is_stopped) && r->refusal == NULL;
    bool is_detached = r->is_detached;

    if (r->answer_trailers != NULL && !is_cut)
        send_trailers(r);
    request_settle(r);
    /* The connection may go on to its next request: r is no more. */
    if (is_detached)
        http_conn_drop(conn);
    else if (is_cut)
        http_conn_cut(conn);
    else
        http_conn_send_end(conn);
    return STEP_DONE;
}

#define STEP_RUN(step, bound) [AT_##step] = step_##step,
static enum step_next (*const step_runs[AT_COUNT])(struct request *) = {REQUEST_STEPS(STEP_RUN)};

/* Does nothing more with the request once a step says DONE. */
void request_run(struct request *r)
{
    enum step_next next;

    CHECK(!r->running);
    r->running = true;
    do
        next = step_runs[r->at](r);
    while (next == STEP_NEXT);
    if (next == STEP_WAIT)
        r->running = false;
}

/* ---- the client's events ---- */

static struct slice request_id(struct serve_env *env, const struct http_request *head,
                               struct arena *arena)
{
    struct slice given = http_fields_get(&head->fields, HTTP_FIELD_X_REQUEST_ID);

    return trace_request_id_is_fine(given) ? given : trace_make_request_id(&env->trace, arena);
}

static void *on_request(void *owner, struct http_conn *conn, const struct http_request *head)
{
    struct serve_env *env = owner;
    struct arena *arena = http_conn_arena(conn);
    struct request *r = arena_alloc(arena, sizeof(*r));

    /* The facts are filled in where they are found; the rest begins as zero. */
    memset(r, 0, offsetof(struct request, facts));
    r->tag = REQUEST_TAG;
    r->env = env;
    r->conn = conn;
    r->arena = arena;
    r->head = head;
    r->snapshot = serve_snapshot_ref(env->snapshot);
    r->policy = env->policy;
    list_node_init(&r->node);
    r->route = r->policy->unmatched;
    r->upstream_us = ACCESS_LOG_NONE;
    r->request_id = request_id(env, head, arena);
    trace_find(&env->trace, &head->fields, env->policy->settings.trace == POLICY_TRACE_MAKE,
               env->policy->settings.trace_sample_ppm, arena, &r->trace);
    relay_init(&r->relay, env->loop, conn, head);
    env->active_requests++;
    peer_find(&r->policy->settings, stream_peer_address(http_conn_stream(conn)),
              stream_is_peer_hidden(http_conn_stream(conn)), &r->peer);
    request_run(r);
    return r;
}

static void on_client_body(void *exchange, struct slice data)
{
    struct request *r = exchange;

    CHECK_TAG(r, REQUEST);
    if (r->relay.tunnel != NULL)
        request_count_tunnel_bytes(r, POLICY_TO_SERVICE, data.len);
    if (r->is_guarded && request_look(r) != GUARD_GO_ON) {
        /* The connection is stopped, so this is all there is; a stopped request wants none of it.
         */
        if (r->gate.is_paused && !buf_append(&r->gate.upload, data))
            UNREACHED();
        return;
    }
    relay_on_client_body(&r->relay, data);
}

static void on_client_trailer(void *exchange, struct slice piece)
{
    struct request *r = exchange;

    CHECK_TAG(r, REQUEST);
    trailers_add(&r->upload_trailers, piece, r->arena);
}

static void on_client_body_end(void *exchange)
{
    struct request *r = exchange;

    CHECK_TAG(r, REQUEST);
    if (r->gate.is_paused)
        r->gate.has_upload_end = true;
    else
        request_end_upload(r);
    request_end_tunnel(r);
}

static void on_client_body_early(void *exchange)
{
    struct request *r = exchange;

    CHECK_TAG(r, REQUEST);
    relay_on_client_body_early(&r->relay);
}

static void on_client_drain(void *exchange)
{
    struct request *r = exchange;

    CHECK_TAG(r, REQUEST);
    relay_on_client_drain(&r->relay);
}

/* What the connection says of it.  Statuses are those it has answered with if no head was out. */
static const struct {
    const char *reason;
    unsigned status;
} gone[] = {
    [HTTP_GONE_CLIENT] = {"client-gone", 0},
    [HTTP_GONE_TIMEOUT] = {"client-timeout", 408},
    [HTTP_GONE_MALFORMED] = {"malformed-body", 400},
    [HTTP_GONE_TOO_LARGE] = {"body-too-large", 413},
    [HTTP_GONE_SHUTDOWN] = {"shutdown", 0},
};

/* The service works on, with what the guards hold, and nobody to tell.  A request that it has not
 * got as a whole cannot be finished, and a tunnel has two ends. */
static bool may_detach(const struct request *r, enum http_gone why)
{
    return why != HTTP_GONE_SHUTDOWN && r->at == AT_relay && r->relay.tunnel == NULL &&
           request_was_forwarded(r) &&
           (r->relay.upload == RELAY_NONE || r->relay.upload == RELAY_DONE) &&
           r->route->on_client_abort == POLICY_CLIENT_ABORT_FINISH;
}

static void detach(struct request *r)
{
    http_conn_keep(r->conn);
    r->is_detached = true;
    /* The stream's text goes with the stream. */
    peer_find_client(&r->peer, &r->policy->settings, &r->head->fields, r->arena);
    r->peer.client_address = arena_copy(r->arena, r->peer.client_address);
    list_append(&r->env->detached, &r->node);
    if (r->relay.exchange != NULL && !r->gate.is_paused)
        upstream_read_start(r->relay.exchange);
}

void request_end_detached(struct serve_env *env)
{
    struct list_node *node;

    while ((node = list_first(&env->detached)) != NULL) {
        struct request *r = CONTAINER_OF(node, struct request, node);
        struct http_conn *conn = r->conn;

        CHECK_TAG(r, REQUEST);
        request_settle(r);
        http_conn_drop(conn);
    }
}

static void on_client_gone(void *exchange, enum http_gone why)
{
    struct request *r = exchange;

    CHECK_TAG(r, REQUEST);
    CHECK(!r->running);
    r->reason = gone[why].reason;
    if (!r->is_head_sent)
        r->status = gone[why].status;
    r->relay.conn = NULL;
    if (may_detach(r, why))
        detach(r);
    else
        request_settle(r);
}

/* Who waits for a lock and closes has gone: others are in the queue.  So has who closes while it is
 * held, or while the service works, when on_client_abort says so. */
static bool has_gone_by_closing(const struct request *r)
{
    const struct policy_route *route = r->route;

    if (route->lock == NULL)
        return route->on_client_abort == POLICY_CLIENT_ABORT_ON_CLOSE;
    return r->at == AT_guard ||
           (r->is_guarded && route->lock->on_client_abort == POLICY_CLIENT_ABORT_ABORT);
}

static void on_client_half_close(void *exchange)
{
    struct request *r = exchange;
    struct http_conn *conn = r->conn;

    CHECK_TAG(r, REQUEST);
    if (!has_gone_by_closing(r))
        return;
    r->reason = gone[HTTP_GONE_CLIENT].reason;
    request_settle(r);
    http_conn_cut(conn);
}

static void on_refused(void *owner, struct http_conn *conn, unsigned status, const char *reason)
{
    struct serve_env *env = owner;
    const struct policy_route *route = env->policy->unmatched;
    struct access_log_entry entry = {.status = status, .reason = reason};

    if (status == 0)
        return;
    metrics_add(env->shard, route->request_slots[status / 100 < 6 ? status / 100 : 0], 1);
    metrics_add(env->shard, request_refusal_slot(env, route->name, reason), 1);
    if (env->access_log == NULL || env->policy->settings.access_log == POLICY_LOG_OFF)
        return;
    entry.wall_us = loop_wall_clock_us();
    entry.route = route->name;
    entry.upstream_us = entry.store_us = ACCESS_LOG_NONE;
    entry.received_bytes = http_conn_received_bytes(conn);
    entry.sent_bytes = http_conn_sent_bytes(conn);
    entry.duration_us = ACCESS_LOG_NONE;
    entry.client_ip = slice_of(stream_peer_address(http_conn_stream(conn)));
    access_log_write(env->access_log, &env->clock, &entry);
}

const struct http_conn_events request_events = {
    .on_request = on_request,
    .on_body = on_client_body,
    .on_trailer = on_client_trailer,
    .on_body_end = on_client_body_end,
    .on_drain = on_client_drain,
    .on_gone = on_client_gone,
    .on_refused = on_refused,
    .on_half_close = on_client_half_close,
    .on_body_early = on_client_body_early,
};

struct http_conn_settings request_conn_settings(const struct policy *policy)
{
    const struct policy_settings *settings = &policy->settings;

    return (struct http_conn_settings){
        .header_timeout_ms = settings->header_timeout_ms,
        .body_timeout_ms = settings->body_timeout_ms,
        .idle_timeout_ms = settings->idle_timeout_ms,
        .write_timeout_ms = settings->write_timeout_ms,
        .max_header_bytes = (uint32_t)settings->max_header_bytes,
        .max_header_count = (uint32_t)settings->max_header_count,
        .max_target_bytes = (uint32_t)settings->max_target_bytes,
        .max_body_bytes = settings->max_body_bytes,
        .keeps_trailers = settings->trailer_count > 0,
    };
}
