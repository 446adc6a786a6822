/* Every metric of the process: one table of families, per-worker shards, Prometheus text.
 *
 * A series is a family with label values; values come from configuration only.  metrics_series()
 * finds or adds one (any thread) and gives its slot; a worker adds to its own shard without locks;
 * a scrape sums the shards.  Series are never removed, so a reload keeps its counters. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"

/*      enumerator            name (without lockkeeper_)            type       labels          help
 */
#define METRICS_FAMILIES(X)                                                                        \
    X(HTTP_REQUESTS, "http_requests_total", COUNTER, "route,code",                                 \
      "Requests answered, by route and status class.")                                             \
    X(HTTP_DURATION, "http_request_duration_seconds", HISTOGRAM, "route",                          \
      "Time from the request head to the last byte of the answer, or to a 101.")                   \
    X(TUNNELS, "tunnels", GAUGE, "route", "Tunnels that are open: connections after a 101.")       \
    X(TUNNEL_BYTES, "tunnel_bytes_total", COUNTER, "route,way",                                    \
      "Bytes that went through tunnels, by way: to_service, to_client.")                           \
    X(ADMISSION_DURATION, "admission_duration_seconds", HISTOGRAM, "route",                        \
      "Time spent deciding whether a request may pass.")                                           \
    X(DECISIONS, "decisions_total", COUNTER, "route,limit,decision",                               \
      "What each limit decided: allowed, limited, shadow_limited, skipped, missing_key, "          \
      "error_allowed, error_denied, local_allowed, local_limited.")                                \
    X(NEAR_LIMIT, "near_limit_total", COUNTER, "route,limit",                                      \
      "Requests admitted with less than a fifth of the limit left.")                               \
    X(LIMIT_KEYS_FORGOTTEN, "limit_keys_forgotten_total", COUNTER, "route,limit",                  \
      "Keys whose state an operator has made a limit forget.")                                     \
    X(REFUSALS, "refusals_total", COUNTER, "route,reason",                                         \
      "Requests Lockkeeper answered by itself, by reason.")                                        \
    X(LOCK_ACQUIRES, "lock_acquires_total", COUNTER, "route,outcome",                              \
      "What became of requests at their lock: acquired, waited, reentered, conflict, "             \
      "wait_timeout, queue_full, deadlock_avoided, client_gone, drained, limited, missing_key, "   \
      "skipped, store_denied, bypassed, shadow_conflict.")                                         \
    X(LOCK_ENDS, "lock_ends_total", COUNTER, "route,verdict",                                      \
      "How holds of a lock ended: held, untaken (lapsed, nobody took it), taken (lapsed and "      \
      "taken "                                                                                     \
      "by another), unknown, left (to lapse, as the service may still be at work), max_hold.")     \
    X(LOCK_WAIT, "lock_wait_seconds", HISTOGRAM, "route",                                          \
      "Time from asking for a lock to the answer, for requests that had to wait.")                 \
    X(LOCK_HOLD, "lock_hold_seconds", HISTOGRAM, "route", "Time a lock was held by a request.")    \
    X(LOCK_WAITING, "lock_waiting_requests", GAUGE, "route", "Requests that wait for their lock.") \
    X(LOCK_HELD, "lock_held", GAUGE, "route", "Locks that requests hold now.")                     \
    X(LOCK_RENEWALS, "lock_renewals_total", COUNTER, "result",                                     \
      "Renewals of locks and of places in queues: held, waiting, gone, failed.")                   \
    X(LOCK_HANDOVERS, "lock_handovers_total", COUNTER, "by",                                       \
      "Waiting requests that got their lock, by what told them: message, timer.")                  \
    X(LOCK_BREAKS, "lock_breaks_total", COUNTER, "", "Locks broken by an operator.")               \
    X(FENCE_CHECKS, "fence_checks_total", COUNTER, "route,outcome",                                \
      "Fencing tokens checked: passed, unfenced (none, and none required), stale, missing, "       \
      "invalid, missing_key, store_denied, bypassed.")                                             \
    X(FENCE_REVOKED, "fence_revoked_total", COUNTER, "route",                                      \
      "Requests aborted because one with a newer fencing token came.")                             \
    X(UPSTREAM_FAILURES, "upstream_failures_total", COUNTER, "upstream,reason",                    \
      "Exchanges with a service that failed: upstream-unreachable, -connect-timeout, -busy, "      \
      "-closed, -bad-answer, -timeout, -cut.")                                                     \
    X(UPSTREAM_RETRIES, "upstream_retries_total", COUNTER, "upstream",                             \
      "Exchanges repeated because a pooled connection had gone stale.")                            \
    X(UPSTREAM_EJECTIONS, "upstream_ejections_total", COUNTER, "upstream",                         \
      "Times an address of an upstream was left out because it failed.")                           \
    X(UPSTREAM_CONNECTIONS, "upstream_connections", GAUGE, "upstream,state",                       \
      "Connections to the service: connecting, idle, active.")                                     \
    X(UPSTREAM_WAITING, "upstream_waiting_requests", GAUGE, "upstream",                            \
      "Requests waiting for a connection to the service.")                                         \
    X(CLIENT_CONNECTIONS, "client_connections", GAUGE, "state",                                    \
      "Client connections: active, idle.")                                                         \
    X(CLIENT_ACCEPTED, "client_accepted_total", COUNTER, "", "Client connections accepted.")       \
    X(CLIENT_REFUSED, "client_refused_total", COUNTER, "reason",                                   \
      "Client connections refused before their first request: max-connections, untrusted-proxy, "  \
      "proxy-header-malformed, -missing, -checksum, -too-long, -incomplete, -timeout, "            \
      "tls-handshake, tls-timeout.")                                                               \
    X(STORE_CALLS, "store_calls_total", COUNTER, "script,result",                                  \
      "Script calls by result: ok, not_sent, unknown, refused.")                                   \
    X(STORE_DURATION, "store_call_duration_seconds", HISTOGRAM, "",                                \
      "Time from handing a script call to the store to its reply.")                                \
    X(STORE_CONNECTIONS, "store_connections", GAUGE, "",                                           \
      "Connections to Redis that are ready: equal to lockkeeper_workers when all is well, 0 with " \
      "the embedded store.")                                                                       \
    X(STORE_RECONNECTS, "store_reconnects_total", COUNTER, "",                                     \
      "Times a lost store connection was made again.")                                             \
    X(STORE_PENDING, "store_pending_calls", GAUGE, "", "Script calls that wait for a reply.")      \
    X(STORE_BREAKER_OPEN, "store_breaker_open", GAUGE, "",                                         \
      "Workers whose circuit breaker to the store is open.")                                       \
    X(STORE_SUBSCRIPTIONS, "store_subscriptions", GAUGE, "",                                       \
      "Workers to which messages of the store flow; equal to lockkeeper_workers when locks are "   \
      "in "                                                                                        \
      "use and all is well.")                                                                      \
    X(STORE_MESSAGES, "store_messages_total", COUNTER, "",                                         \
      "Messages received from the store: locks handed over.")                                      \
    X(STORE_GAPS, "store_message_gaps_total", COUNTER, "",                                         \
      "Times messages may have been lost, as the subscription was lost or made.")                  \
    X(STORE_LOCAL_CALLS, "store_local_calls_total", COUNTER, "",                                   \
      "Calls decided by the embedded engine because the store failed (on_store_failure: local).")  \
    X(EMBEDDED_KEYS, "embedded_keys", GAUGE, "", "Keys in the embedded store.")                    \
    X(EMBEDDED_BYTES, "embedded_bytes", GAUGE, "", "Memory the embedded store uses for keys.")     \
    X(EMBEDDED_FULL, "embedded_full_total", COUNTER, "",                                           \
      "Script calls refused because the embedded store was full.")                                 \
    X(ACCESS_LOG_DROPPED, "access_log_dropped_total", COUNTER, "",                                 \
      "Access log lines dropped because the log could not keep up.")                               \
    X(ACCESS_LOG_SAMPLED_OUT, "access_log_sampled_out_total", COUNTER, "",                         \
      "Requests without an access log line, as access_log_options.sample has it.")                 \
    X(WORKERS, "workers", GAUGE, "", "Worker threads.")                                            \
    X(DRAINING, "draining", GAUGE, "", "1 while the process drains.")                              \
    X(CONFIG_RELOADS, "config_reloads_total", COUNTER, "result",                                   \
      "Policy loads after the first, by result: success, failure.")                                \
    X(CONFIG_LAST_RELOAD_OK, "config_last_reload_successful", GAUGE, "",                           \
      "1 if the newest policy load succeeded.")                                                    \
    X(CONFIG_LAST_RELOAD_TIME, "config_last_reload_success_timestamp_seconds", GAUGE, "",          \
      "When policies were last loaded with success.")                                              \
    X(BUILD_INFO, "build_info", GAUGE, "version,libuv,lua,openssl",                                \
      "1, with the versions of this build.")

#define METRICS_ENUM(id, name, type, labels, help) METRIC_##id,
enum metric { METRICS_FAMILIES(METRICS_ENUM) METRIC_COUNT };

struct metrics;
struct metrics_shard;

/* Shard 0 belongs to the main thread, 1 to worker_count to the workers. */
struct metrics *metrics_open(unsigned worker_count);
void metrics_close(struct metrics **metrics);
struct metrics_shard *metrics_shard(struct metrics *metrics, unsigned index);

/* The slot of the series of family with these label values, in the order of the family's labels;
 * values are copied.  Thread-safe.  A fresh series starts at 0 and is shown at once. */
uint32_t metrics_series(struct metrics *metrics, enum metric family, const char *const *values);

/* For families without labels and with one label. */
uint32_t metrics_series0(struct metrics *metrics, enum metric family);
uint32_t metrics_series1(struct metrics *metrics, enum metric family, const char *value);
uint32_t metrics_series2(struct metrics *metrics, enum metric family, const char *value0,
                         const char *value1);

/* Only the shard's own thread calls these.  Gauges are summed over shards: add and subtract. */
void metrics_add(struct metrics_shard *shard, uint32_t slot, int64_t amount);
void metrics_set(struct metrics_shard *shard, uint32_t slot, int64_t value);
/* Histograms; base unit seconds, recorded in microseconds. */
void metrics_observe_us(struct metrics_shard *shard, uint32_t slot, uint64_t value_us);

/* The sum over shards of a counter or gauge, as it is just now, without a lock.  Any thread. */
int64_t metrics_sum(struct metrics *metrics, uint32_t slot);
/* The same of any series (histograms: the count).  Any thread. */
int64_t metrics_read(struct metrics *metrics, uint32_t slot);

enum metrics_format { METRICS_PROMETHEUS, METRICS_OPENMETRICS };

/* Append the whole page.  False when out's ceiling was reached. */
MUST_USE bool metrics_text(struct metrics *metrics, enum metrics_format format, struct buf *out);

#endif
