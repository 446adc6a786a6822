#include "serve/request_private.h"

static void settle_guards(struct request *r)
{
    struct guard_outcome outcome = {.status = r->status,
                                    .forwarded = request_was_forwarded(r),
                                    .service_finished = r->service_end == SERVICE_ENDED};

    if (r->verdict != NULL)
        metrics_observe_us(r->env->shard, r->route->admission_slot, r->verdict->store_us);
    guard_end(&r->guard, &outcome);
}

uint32_t request_refusal_slot(struct serve_env *env, const char *route, const char *reason)
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

static uint64_t age_us(const struct request *r)
{
    return loop_clock_us() - http_conn_request_at_us(r->conn);
}

static void count(struct request *r, uint64_t duration_us)
{
    struct metrics_shard *shard = r->env->shard;

    r->is_counted = true;
    metrics_add(shard,
                r->route->request_slots[r->status >= 100 && r->status < 600 ? r->status / 100 : 0],
                1);
    metrics_observe_us(shard, r->route->duration_slot, duration_us);
    if (r->refusal != NULL)
        metrics_add(shard, request_refusal_slot(r->env, r->route->name, r->refusal->reason), 1);
}

void request_count(struct request *r)
{
    count(r, age_us(r));
}

/* Good and quick requests are sampled; what went wrong, was slow or would have been refused is not.
 */
static bool is_ordinary(const struct request *r, const struct verdict *verdict,
                        uint64_t duration_us)
{
    return r->status >= 100 && r->status < 400 && r->reason == NULL &&
           duration_us < r->policy->settings.access_log_slow_ms * 1000 &&
           (verdict->decision == NULL || strncmp(verdict->decision, "shadow", 6) != 0);
}

static void log_request(struct request *r, uint64_t duration_us)
{
    uint64_t sample_ppm = 0;
    const struct verdict *verdict = r->verdict != NULL ? r->verdict : &request_no_verdict;
    struct access_log_entry entry;

    if (!request_is_logged(r))
        return;
    if (r->policy->settings.access_log == POLICY_LOG_ERRORS && r->status >= 100 &&
        r->status < 400 && r->reason == NULL)
        return;
    if (r->policy->settings.access_log_sample_ppm < 1000000 &&
        is_ordinary(r, verdict, duration_us)) {
        sample_ppm = r->policy->settings.access_log_sample_ppm;
        if (!trace_is_sampled(r->trace.id, r->request_id, sample_ppm)) {
            metrics_add(r->env->shard, r->env->sampled_out_slot, 1);
            return;
        }
    }
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
        .store_us = verdict->decision != NULL || verdict->lock_outcome != NULL ? verdict->store_us
                                                                               : ACCESS_LOG_NONE,
        .lock = verdict->lock_outcome,
        .lock_wait_us = verdict->lock_outcome != NULL ? verdict->lock_wait_us : ACCESS_LOG_NONE,
        .lock_token = verdict->lock_token > 0 ? verdict->lock_token : ACCESS_LOG_NONE,
        .received_bytes = http_conn_received_bytes(r->conn),
        .sent_bytes = http_conn_sent_bytes(r->conn),
        .client_ip = r->peer.client_address,
        .request_id = r->request_id,
        .trace_id = r->trace.id,
        .sample_ppm = sample_ppm,
        .user_agent = http_fields_get(&r->head->fields, HTTP_FIELD_USER_AGENT),
        .upstream = r->upstream_address,
    };
    access_log_write(r->env->access_log, &r->env->clock, &entry);
}

/* Everything but the connection, which comes after: guards are settled before the client can see
 * the last byte. */
void request_settle(struct request *r)
{
    uint64_t duration_us = age_us(r);

    if (r->is_guarded)
        request_give_up_service(r);
    else
        relay_stop(&r->relay);
    if (r->guard != NULL)
        settle_guards(r);
    if (r->is_guarded)
        gate_clear(&r->gate);
    if (!r->is_counted)
        count(r, duration_us);
    if (r->relay.tunnel != NULL)
        metrics_add(r->env->shard, r->route->tunnels_slot, -1);
    log_request(r, duration_us);
    CHECK(r->env->active_requests > 0);
    r->env->active_requests--;
    if (r->is_detached)
        list_remove(&r->node);
    r->tag = 0;
    serve_snapshot_unref(&r->snapshot);
}
