/* A request's way through Lockkeeper:
 *
 *   on_request --> match --> guard --> send --> relay --> finish --> access log, metrics
 *                    |         |                  |          ^
 *                    +---------+----- refuse -----+----------+
 *                              (problem+json)
 *
 * Each step answers NEXT, WAIT or DONE; every WAIT is bounded by a timer of the module waited for.
 * Every terminal path goes through finish, where guards are ended. */
#ifndef SERVE_REQUEST_H
#define SERVE_REQUEST_H

#include "base/list.h"
#include "base/log.h"
#include "base/metrics.h"
#include "http/http_conn.h"
#include "http/upstream_pool.h"
#include "policy/policy.h"
#include "serve/access_log.h"
#include "serve/snapshot.h"
#include "serve/trace.h"

struct guard_worker;

/* Metric slots of refusals that came before, found without asking the registry again. */
#define REQUEST_REFUSAL_SLOTS 64u
#define REQUEST_ROUTE_NAME_BYTES 40u

struct request_refusal_slot {
    const char *reason; /* static text; NULL = free */
    char route[REQUEST_ROUTE_NAME_BYTES];
    uint32_t slot;
};

/* A worker's surroundings, filled by app/worker.  Everything outlives all requests but policy,
 * which a reload may replace between requests (each request holds a reference to its own). */
struct serve_env {
    struct loop *loop;
    struct serve_snapshot *snapshot;
    struct policy *policy; /* the snapshot's */
    struct guard_worker *guards;
    struct metrics *metrics;
    struct metrics_shard *shard;
    struct log_sink *access_log; /* NULL when off */
    uint32_t sampled_out_slot;   /* METRIC_ACCESS_LOG_SAMPLED_OUT */
    const struct log_context *log;
    size_t active_requests;
    struct list detached; /* requests whose client has gone; init it before the first request */
    /* Private to serve/; zero at the start. */
    struct trace_source trace;
    struct access_log_clock clock;
    struct request_refusal_slot refusals[REQUEST_REFUSAL_SLOTS];
};

/* For http_server_init; env is a struct serve_env. */
extern const struct http_conn_events request_events;

/* Ends the requests that go on without their clients.  Before http_server_close. */
void request_end_detached(struct serve_env *env);

/* The connection settings of a snapshot. */
struct http_conn_settings request_conn_settings(const struct policy *policy);

#endif
