/* What `lockkeeper top` shows: two readings of the admin port, and what happened in between. */
#ifndef APP_TOP_VIEW_H
#define APP_TOP_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

struct json_t; /* jansson's */

/*  X(enumerator, name in JSON, metric, label it must have, or "") */
#define TOP_COUNTERS(X)                                                                            \
    X(REQUESTS, "requests_per_s", "lockkeeper_http_requests_total", "")                            \
    X(ANSWERS_2XX, "answers_2xx_per_s", "lockkeeper_http_requests_total", "code=\"2xx\"")          \
    X(ANSWERS_4XX, "answers_4xx_per_s", "lockkeeper_http_requests_total", "code=\"4xx\"")          \
    X(ANSWERS_5XX, "answers_5xx_per_s", "lockkeeper_http_requests_total", "code=\"5xx\"")          \
    X(DENIED, "denied_per_s", "lockkeeper_decisions_total", "decision=\"limited\"")                \
    X(DENIED_LOCALLY, "denied_locally_per_s", "lockkeeper_decisions_total",                        \
      "decision=\"local_limited\"")                                                                \
    X(SHADOW_DENIED, "shadow_denied_per_s", "lockkeeper_decisions_total",                          \
      "decision=\"shadow_limited\"")                                                               \
    X(NEAR, "near_limit_per_s", "lockkeeper_near_limit_total", "")                                 \
    X(REFUSALS, "refusals_per_s", "lockkeeper_refusals_total", "")                                 \
    X(LOCKS_TAKEN, "locks_taken_per_s", "lockkeeper_lock_acquires_total", "outcome=\"acquired\"")  \
    X(LOCKS_WAITED, "locks_waited_per_s", "lockkeeper_lock_acquires_total", "outcome=\"waited\"")  \
    X(LOCK_TIMEOUTS, "lock_timeouts_per_s", "lockkeeper_lock_acquires_total",                      \
      "outcome=\"wait_timeout\"")                                                                  \
    X(LOCKS_TAKEN_AWAY, "locks_taken_away_per_s", "lockkeeper_lock_ends_total",                    \
      "verdict=\"taken\"")                                                                         \
    X(STORE_CALLS, "store_calls_per_s", "lockkeeper_store_calls_total", "")                        \
    X(STORE_GOOD, "store_good_calls_per_s", "lockkeeper_store_calls_total", "result=\"ok\"")       \
    X(UPSTREAM_FAILURES, "upstream_failures_per_s", "lockkeeper_upstream_failures_total", "")
#define TOP_COUNTER_ENUM(id, name, metric, label) TOP_##id,
enum top_counter { TOP_COUNTERS(TOP_COUNTER_ENUM) TOP_COUNTER_COUNT };

#define TOP_GAUGES(X)                                                                              \
    X(WORKERS, "workers", "lockkeeper_workers", "")                                                \
    X(CLIENTS, "client_connections", "lockkeeper_client_connections", "")                          \
    X(UPSTREAM_ACTIVE, "upstream_active", "lockkeeper_upstream_connections", "state=\"active\"")   \
    X(UPSTREAM_WAITING, "upstream_waiting", "lockkeeper_upstream_waiting_requests", "")            \
    X(STORE_CONNECTIONS, "store_connections", "lockkeeper_store_connections", "")                  \
    X(STORE_PENDING, "store_pending", "lockkeeper_store_pending_calls", "")                        \
    X(STORE_BREAKERS, "store_breakers_open", "lockkeeper_store_breaker_open", "")                  \
    X(STARTED_AT, "started_at_s", "process_start_time_seconds", "")
#define TOP_GAUGE_ENUM(id, name, metric, label) TOP_##id,
enum top_gauge { TOP_GAUGES(TOP_GAUGE_ENUM) TOP_GAUGE_COUNT };

/* Cumulative, by upper bound in seconds; the last is +Inf. */
#define TOP_MAX_BUCKETS 32
struct top_histogram {
    size_t bucket_count;
    double bounds_s[TOP_MAX_BUCKETS];
    double counts[TOP_MAX_BUCKETS];
};

/* One reading of the metrics. */
struct top_sample {
    uint64_t at_us;
    double counters[TOP_COUNTER_COUNT], gauges[TOP_GAUGE_COUNT];
    struct top_histogram requests, store;
};

/* page: in Prometheus' text format. */
void top_sample_read(struct slice page, uint64_t at_us, struct top_sample *ret_sample);

enum top_kind { TOP_KIND_DENIED, TOP_KIND_NEAR, TOP_KIND_BUSY, TOP_KIND_COUNT };

struct top_key {
    const char *where; /* ROUTE/LIMIT */
    const char *key;
    uint64_t count, error, remaining, capacity, ms_ago;
};

struct top_lock {
    const char *keys, *route, *request_id, *state;
    bool is_shared;
    uint64_t for_ms, left_ms;
};

/* All text is safe to print: what is no printable ASCII has become "\xHH". */
struct top_view {
    const char *address, *version, *state;
    const char *problem; /* NULL: the process has answered */
    double interval_s;   /* 0: nothing to compare with yet */
    double rates[TOP_COUNTER_COUNT], gauges[TOP_GAUGE_COUNT];
    double request_p50_s, request_p99_s, store_p50_s, store_p99_s; /* below 0: no calls */
    uint64_t period_ms;                                            /* that the keys are about */
    struct top_key *keys[TOP_KIND_COUNT];
    size_t key_counts[TOP_KIND_COUNT];
    struct top_lock *held, *waiting;
    size_t held_listed, waiting_listed;
    uint64_t held_count, waiting_count;
};

/* Text for a terminal: a key may hold anything. */
const char *top_view_escape(struct arena *arena, const char *text);

/* What happened between two samples; one of the same process started again counts from 0. */
void top_view_compare(struct top_view *view, const struct top_sample *before,
                      const struct top_sample *now);
/* Answers of /, /limits and /locks.  Memory of arena. */
void top_view_take_about(struct top_view *view, const struct json_t *about, struct arena *arena);
void top_view_take_limits(struct top_view *view, const struct json_t *limits, struct arena *arena);
void top_view_take_locks(struct top_view *view, const struct json_t *locks, struct arena *arena);

/* For programs; the caller's to free. */
struct json_t *top_view_json(const struct top_view *view);

#endif
