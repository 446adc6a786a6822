/*   on_request --> match --> guard --> send --> relay --> finish
 *                    |         | ^      |        | ^        ^
 *                    |         v |      |        v |        |
 *                    |       (wait)     |      (wait)       |
 *                    +---------+--------+--------+- refuse -+
 *
 * What waits is resumed by running its step again: guard by its verdict, relay by the end of the
 * exchange.  A client that goes away takes any step to its end at once (on_gone). */
#include "serve/request.h"

#include "guard/guard.h"
#include "policy/router.h"
#include "serve/forward.h"
#include "serve/peer.h"
#include "serve/problem_json.h"
#include "serve/relay.h"

#define REQUEST_TAG 0x74737152u /* "Rqst" */

enum step_next { STEP_NEXT, STEP_WAIT, STEP_DONE };

/*  X(step, what bounds its waits) */
#define REQUEST_STEPS(X)                                                                           \
    X(match, "never waits")                                                                        \
    X(guard, "the store's deadline for a call")                                                    \
    X(send, "never waits")                                                                         \
    X(relay, "the pool's and the connection's timeouts")                                           \
    X(refuse, "never waits")                                                                       \
    X(finish, "never waits")

#define STEP_ENUM(step, bound) AT_##step,
enum request_step { REQUEST_STEPS(STEP_ENUM) AT_COUNT };

/* How the service's part ended. */
enum service_end { SERVICE_OPEN, SERVICE_ENDED, SERVICE_FAILED };

struct request {
    uint32_t tag;
    enum request_step at;
    bool running;
    bool is_head_sent, is_connected;
    enum service_end service_end;
    enum upstream_failure failure;
    unsigned status;    /* of the answer; 0 = none was given */
    const char *reason; /* why we answered ourselves or gave up, or NULL */
    struct serve_env *env;
    struct http_conn *conn;
    struct arena *arena;
    const struct http_request *head;
    struct policy *policy;
    const struct policy_route *route;
    struct guard *guard;
    const struct verdict *verdict; /* of the guards; NULL until it is known */
    const struct verdict *refusal; /* what is answered instead of the service's answer */
    struct slice request_id;
    struct slice upstream_address;
    uint64_t sent_at_us, upstream_us;
    struct peer peer;
    struct relay relay;
    const struct jwt_claims *jwt_claims; /* of the request's token, once a key has asked for it */
    struct facts facts;
};

static const struct verdict no_verdict = {.kind = VERDICT_ALLOW};

static bool is_logged(const struct request *r)
{
    return r->env->access_log != NULL && r->policy->settings.access_log != POLICY_LOG_OFF;
}

static struct slice find_header(const void *request, struct slice lowercase_name)
{
    return http_fields_find(&((const struct http_request *)request)->fields, lowercase_name);
}

/* ---- refusing ---- */

static void refuse(struct request *r, const struct verdict *refusal)
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

    *refusal = *(r->verdict != NULL ? r->verdict : &no_verdict);
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
    refuse(r, refusal);
}

static void refuse_failed(struct request *r)
{
    enum upstream_failure failure = r->failure;

    refuse_with(r, upstream_failure_status(failure), upstream_failure_reason(failure),
                upstream_failure_was_sent(failure) ? VERDICT_EXECUTED_UNKNOWN : VERDICT_EXECUTED_NO,
                upstream_failure_text(failure));
}

/* ---- the service's events ---- */

static void request_run(struct request *r);

static void on_service_connected(void *owner)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    r->is_connected = true;
    relay_on_connected(&r->relay);
}

static void on_service_interim(void *owner, const struct http_response *head)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    relay_on_interim(&r->relay, head);
}

static void on_service_head(void *owner, const struct http_response *head)
{
    struct request *r = owner;
    struct http_response answer;

    CHECK_TAG(r, REQUEST);
    if (is_logged(r)) {
        r->upstream_us = loop_clock_us() - r->sent_at_us;
        r->upstream_address =
            arena_copy(r->arena, slice_of(upstream_exchange_address(r->relay.exchange)));
    }
    r->is_head_sent = true;
    r->status = head->status;
    forward_response(head, r->verdict, r->request_id, r->arena, &answer);
    relay_send_head(&r->relay, &answer);
}

static void on_service_body(void *owner, struct slice data)
{
    struct request *r = owner;

    relay_on_service_body(&r->relay, data);
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

static const struct upstream_events service_events = {
    .on_connected = on_service_connected,
    .on_interim = on_service_interim,
    .on_head = on_service_head,
    .on_body = on_service_body,
    .on_drain = on_service_drain,
    .on_end = on_service_end,
    .on_fail = on_service_fail,
};

/* ---- settling ---- */

static void settle_guards(struct request *r)
{
    struct guard_outcome outcome = {.status = r->status,
                                    .forwarded = r->is_connected,
                                    .service_finished = r->service_end == SERVICE_ENDED};

    if (r->verdict != NULL && r->guard != NULL)
        metrics_observe_us(r->env->shard, r->route->admission_slot, r->verdict->store_us);
    guard_end(&r->guard, &outcome);
}

static uint32_t refusal_slot(struct serve_env *env, const char *route, const char *reason)
{
    uintptr_t mix = (uintptr_t)reason * 31 + (uintptr_t)route;
    struct request_refusal_slot *known =
        &env->refusals[(mix >> 4 ^ mix >> 10) % REQUEST_REFUSAL_SLOTS];

    /* Names are compared, not their addresses: these change when policies are loaded again. */
    if (known->reason == reason && strcmp(known->route, route) == 0)
        return known->slot;
    if (strlen(route) >= sizeof(known->route))
        return metrics_series2(env->metrics, METRIC_REFUSALS, route, reason);
    known->reason = reason;
    known->slot = metrics_series2(env->metrics, METRIC_REFUSALS, route, reason);
    strcpy(known->route, route);
    return known->slot;
}

static void count_request(struct request *r, uint64_t duration_us)
{
    struct metrics_shard *shard = r->env->shard;

    metrics_add(shard,
                r->route->request_slots[r->status >= 100 && r->status < 600 ? r->status / 100 : 0],
                1);
    metrics_observe_us(shard, r->route->duration_slot, duration_us);
    if (r->refusal != NULL)
        metrics_add(shard, refusal_slot(r->env, r->route->name, r->refusal->reason), 1);
}

static void log_request(struct request *r, uint64_t duration_us)
{
    const struct verdict *verdict = r->verdict != NULL ? r->verdict : &no_verdict;
    struct access_log_entry entry;

    if (!is_logged(r))
        return;
    if (r->policy->settings.access_log == POLICY_LOG_ERRORS && r->status >= 100 &&
        r->status < 400 && r->reason == NULL)
        return;
    peer_find_client(&r->peer, &r->policy->settings, &r->head->fields, r->arena);
    entry = (struct access_log_entry){
        .wall_us = loop_wall_clock_us(),
        .method = r->head->method,
        .path = r->head->path,
        .status = r->status,
        .route = r->route->name,
        .decision = verdict->decision,
        .limit = verdict->limit,
        .reason = r->reason,
        .duration_us = duration_us,
        .upstream_us = r->upstream_us,
        .store_us = verdict->decision != NULL ? verdict->store_us : ACCESS_LOG_NONE,
        .received_bytes = http_conn_received_bytes(r->conn),
        .sent_bytes = http_conn_sent_bytes(r->conn),
        .client_ip = r->peer.client_address,
        .request_id = r->request_id,
        .trace_id = trace_id(http_fields_get(&r->head->fields, HTTP_FIELD_TRACEPARENT)),
        .user_agent = http_fields_get(&r->head->fields, HTTP_FIELD_USER_AGENT),
        .upstream = r->upstream_address,
    };
    access_log_write(r->env->access_log, &r->env->clock, &entry);
}

/* Everything but the connection, which comes after: guards are settled before the client can see
 * the last byte. */
static void settle(struct request *r)
{
    uint64_t duration_us = loop_clock_us() - http_conn_request_at_us(r->conn);

    relay_stop(&r->relay);
    settle_guards(r);
    count_request(r, duration_us);
    log_request(r, duration_us);
    CHECK(r->env->active_requests > 0);
    r->env->active_requests--;
    r->tag = 0;
    policy_unref(&r->policy);
}

/* ---- steps ---- */

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
    facts->request = head;
    facts->now_s = r->policy->jwt != NULL ? loop_wall_clock_us() / 1000000 : 0;
    facts->jwt_seen = &r->jwt_claims;
    if (!router_normalise_path(r->arena, head->path, &facts->path)) {
        refuse_with(r, 400, "malformed-path", VERDICT_EXECUTED_NO,
                    "the path cannot be understood in only one way");
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
                                  .owner = r};

    if (r->verdict == NULL) {
        if (r->route->limit_count > 0) {
            peer_find_client(&r->peer, &r->policy->settings, &r->head->fields, r->arena);
            r->facts.client_ip = r->peer.client_key;
        }
        r->verdict = guard_begin(r->env->guards, &asked, &r->guard);
    }
    if (r->verdict == NULL)
        return STEP_WAIT;
    r->at = AT_send;
    if (r->verdict->kind == VERDICT_REFUSE)
        refuse(r, r->verdict);
    return STEP_NEXT;
}

static enum step_next step_send(struct request *r)
{
    struct forward_hop hop = {.peer_address = r->peer.address,
                              .request_id = r->request_id,
                              .upstream_host = slice_of(r->policy->settings.upstream.host),
                              .is_peer_trusted = r->peer.is_trusted,
                              .is_tls = stream_is_tls(http_conn_stream(r->conn))};
    struct http_request *head = arena_alloc(r->arena, sizeof(*head));

    forward_request(r->head, &hop, r->arena, head);
    if (is_logged(r))
        r->sent_at_us = loop_clock_us();
    r->at = AT_relay;
    relay_begin(&r->relay, upstream_begin(r->env->upstream, head, r->arena, &service_events, r));
    return STEP_NEXT;
}

static enum step_next step_relay(struct request *r)
{
    if (r->service_end == SERVICE_OPEN)
        return STEP_WAIT;
    r->at = AT_finish;
    if (r->service_end == SERVICE_FAILED && !r->is_head_sent)
        refuse_failed(r);
    return STEP_NEXT;
}

static enum step_next step_refuse(struct request *r)
{
    struct http_response head;
    struct slice body;

    problem_json_write(r->refusal, r->request_id, r->arena, &head, &body);
    r->status = head.status;
    http_conn_send_head(r->conn, &head);
    http_conn_send_body(r->conn, body);
    r->at = AT_finish;
    return STEP_NEXT;
}

static enum step_next step_finish(struct request *r)
{
    struct http_conn *conn = r->conn;
    bool is_cut = r->service_end == SERVICE_FAILED && r->refusal == NULL;

    settle(r);
    /* The connection may go on to its next request: r is no more. */
    if (is_cut)
        http_conn_cut(conn);
    else
        http_conn_send_end(conn);
    return STEP_DONE;
}

#define STEP_RUN(step, bound) [AT_##step] = step_##step,
static enum step_next (*const step_runs[AT_COUNT])(struct request *) = {REQUEST_STEPS(STEP_RUN)};

/* Does nothing more with the request once a step says DONE. */
static void request_run(struct request *r)
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
    r->policy = policy_ref(env->policy);
    r->route = r->policy->unmatched;
    r->upstream_us = ACCESS_LOG_NONE;
    r->request_id = request_id(env, head, arena);
    relay_init(&r->relay, env->loop, conn, head);
    env->active_requests++;
    peer_find(&r->policy->settings, stream_peer_address(http_conn_stream(conn)), &r->peer);
    request_run(r);
    return r;
}

static void on_client_body(void *exchange, struct slice data)
{
    struct request *r = exchange;

    CHECK_TAG(r, REQUEST);
    relay_on_client_body(&r->relay, data);
}

static void on_client_body_end(void *exchange)
{
    struct request *r = exchange;

    CHECK_TAG(r, REQUEST);
    relay_on_client_body_end(&r->relay);
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

static void on_client_gone(void *exchange, enum http_gone why)
{
    struct request *r = exchange;

    CHECK_TAG(r, REQUEST);
    CHECK(!r->running);
    r->reason = gone[why].reason;
    if (!r->is_head_sent)
        r->status = gone[why].status;
    r->relay.conn = NULL;
    settle(r);
}

static void on_refused(void *owner, struct http_conn *conn, unsigned status, const char *reason)
{
    struct serve_env *env = owner;
    const struct policy_route *route = env->policy->unmatched;
    struct access_log_entry entry = {.status = status, .reason = reason};

    if (status == 0)
        return;
    metrics_add(env->shard, route->request_slots[status / 100 < 6 ? status / 100 : 0], 1);
    metrics_add(env->shard, refusal_slot(env, route->name, reason), 1);
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
    .on_body_end = on_client_body_end,
    .on_drain = on_client_drain,
    .on_gone = on_client_gone,
    .on_refused = on_refused,
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
    };
}
