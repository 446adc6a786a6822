/* The model: an immutable, refcounted snapshot of all policies, built from YAML in one go.
 * Everything in it lives in the snapshot's arena; reading it is thread-safe. */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/metrics.h"
#include "policy/facts.h"
#include "policy/problems.h"
#include "policy/template.h"

struct router;
struct jwt_verifier;

enum policy_algorithm {
    POLICY_TOKEN_BUCKET,
    POLICY_SLIDING_WINDOW,
    POLICY_SLIDING_LOG,
    POLICY_FIXED_WINDOW
};
enum policy_mode { POLICY_ENFORCE, POLICY_SHADOW };
/* When policies are loaded again: also when their files change, or only when somebody asks. */
enum policy_reload { POLICY_RELOAD_WATCH, POLICY_RELOAD_SIGNAL };
/* Whether /ready asks for the store. */
enum policy_ready_store { POLICY_READY_NEVER, POLICY_READY_STARTUP, POLICY_READY_ALWAYS };
/* What to do when a key's variable has no value: leave the limit out, refuse (400), or count all
 * such requests on one shared key. */
enum policy_missing {
    POLICY_MISSING_UNSET,
    POLICY_MISSING_SKIP,
    POLICY_MISSING_DENY,
    POLICY_MISSING_SHARED
};
enum policy_store_failure { POLICY_FAIL_ALLOW, POLICY_FAIL_DENY, POLICY_FAIL_LOCAL };
enum policy_headers { POLICY_HEADERS_DRAFT, POLICY_HEADERS_LEGACY, POLICY_HEADERS_OFF };
enum policy_access_log { POLICY_LOG_OFF, POLICY_LOG_ERRORS, POLICY_LOG_ALL };
enum policy_no_route { POLICY_NO_ROUTE_FORWARD, POLICY_NO_ROUTE_REFUSE };
/* Who must begin a connection with a PROXY header: trusted peers, or every peer, all of them
 * trusted.
 */
enum policy_proxy_protocol { POLICY_PROXY_OFF, POLICY_PROXY_TRUSTED, POLICY_PROXY_REQUIRE };
/* Which fields tell the service, and are believed when they come from a trusted proxy.  Both: what
 * is believed is X-Forwarded-*, and Forwarded is made from it. */
enum policy_forwarding {
    POLICY_FORWARDING_X_FORWARDED,
    POLICY_FORWARDING_FORWARDED,
    POLICY_FORWARDING_BOTH
};
enum policy_trace { POLICY_TRACE_PASS, POLICY_TRACE_MAKE };
enum policy_escaped_slashes { POLICY_SLASHES_KEEP, POLICY_SLASHES_REFUSE };
/* What a client offers in Upgrade. */
enum policy_upgrade { POLICY_UPGRADE_FORWARD, POLICY_UPGRADE_IGNORE };
/* Which way bytes go through a tunnel. */
enum policy_way { POLICY_TO_SERVICE, POLICY_TO_CLIENT, POLICY_WAY_COUNT };
/* Fixed windows start at the first hit, or where the calendar says. */
enum policy_align { POLICY_ALIGN_CALENDAR, POLICY_ALIGN_FIRST_HIT };
enum policy_period { POLICY_PERIOD_US, POLICY_PERIOD_MONTH, POLICY_PERIOD_YEAR };

struct policy_rate {
    uint64_t count;
    uint64_t period_us; /* for month and year: 31 and 366 days, the longest they can be */
    enum policy_period period;
};

#define POLICY_MAX_LIMITS_PER_ROUTE 16

struct policy_limit {
    const char *name; /* unique in its route */
    const struct policy_route *route;
    unsigned index;             /* in the whole snapshot */
    const struct template *key; /* NULL: one key for all requests */
    struct policy_rate rate;
    uint64_t burst; /* token_bucket; = rate.count when not given */
    enum policy_algorithm algorithm;
    enum policy_align align;
    int64_t utc_offset_us;                /* calendar windows */
    uint64_t cost;                        /* when cost_template is NULL */
    const struct template *cost_template; /* must render to a whole number */
    enum policy_mode mode;
    enum policy_missing on_missing_key;
    enum policy_store_failure on_store_failure;
    /* Metric slots (policy_bind_metrics). */
    uint32_t decision_slots[9]; /* by enum policy_decision */
    uint32_t near_limit_slot;
};

#define POLICY_DECISIONS(X)                                                                        \
    X(ALLOWED, "allowed")                                                                          \
    X(LIMITED, "limited")                                                                          \
    X(SHADOW_LIMITED, "shadow_limited")                                                            \
    X(SKIPPED, "skipped")                                                                          \
    X(MISSING_KEY, "missing_key")                                                                  \
    X(ERROR_ALLOWED, "error_allowed")                                                              \
    X(ERROR_DENIED, "error_denied")                                                                \
    X(LOCAL_ALLOWED, "local_allowed") X(LOCAL_LIMITED, "local_limited")
#define POLICY_DECISION_ENUM(id, name) POLICY_DECISION_##id,
enum policy_decision { POLICY_DECISIONS(POLICY_DECISION_ENUM) POLICY_DECISION_COUNT };
const char *policy_decision_name(enum policy_decision decision);

/* How a lock is taken: alone, by readers together, or as the method says (GET and HEAD read). */
enum policy_lock_mode { POLICY_LOCK_EXCLUSIVE, POLICY_LOCK_SHARED, POLICY_LOCK_BY_METHOD };
/* A client that leaves while the service works: let the service finish, or break off (and leave the
 * lock to lapse).  ON_CLOSE, of routes without a lock: so does one that only ends its side. */
enum policy_client_abort {
    POLICY_CLIENT_ABORT_FINISH,
    POLICY_CLIENT_ABORT_ABORT,
    POLICY_CLIENT_ABORT_ON_CLOSE
};
/* A lease lost during the work: break off, or go on and say so. */
enum policy_lost { POLICY_LOST_ABORT, POLICY_LOST_FINISH };
enum policy_conflict { POLICY_CONFLICT_423, POLICY_CONFLICT_409, POLICY_CONFLICT_429 };
enum policy_fencing { POLICY_FENCING_OFF, POLICY_FENCING_INJECT };
/* What clients learn in Lock-Status. */
enum policy_expose { POLICY_EXPOSE_NONE, POLICY_EXPOSE_STATUS, POLICY_EXPOSE_TOKEN };
enum policy_fence_scope { POLICY_FENCE_LOCAL, POLICY_FENCE_SHARED };

/* What became of a request at its lock. */
#define POLICY_LOCK_OUTCOMES(X)                                                                    \
    X(ACQUIRED, "acquired")                                                                        \
    X(WAITED, "waited")                                                                            \
    X(REENTERED, "reentered")                                                                      \
    X(CONFLICT, "conflict")                                                                        \
    X(WAIT_TIMEOUT, "wait_timeout")                                                                \
    X(QUEUE_FULL, "queue_full")                                                                    \
    X(DEADLOCK_AVOIDED, "deadlock_avoided")                                                        \
    X(CLIENT_GONE, "client_gone")                                                                  \
    X(DRAINED, "drained") X(LIMITED, "limited") X(MISSING_KEY, "missing_key")                      \
        X(SKIPPED, "skipped") X(STORE_DENIED, "store_denied") X(BYPASSED, "bypassed")              \
            X(SHADOW_CONFLICT, "shadow_conflict")
#define POLICY_LOCK_OUTCOME_ENUM(id, name) POLICY_LOCK_##id,
enum policy_lock_outcome {
    POLICY_LOCK_OUTCOMES(POLICY_LOCK_OUTCOME_ENUM) POLICY_LOCK_OUTCOME_COUNT
};

/* How a hold ended. */
#define POLICY_LOCK_ENDS(X)                                                                        \
    X(HELD, "held")                                                                                \
    X(UNTAKEN, "untaken")                                                                          \
    X(TAKEN, "taken") X(UNKNOWN, "unknown") X(LEFT, "left") X(MAX_HOLD, "max_hold")
#define POLICY_LOCK_END_ENUM(id, name) POLICY_LOCK_END_##id,
enum policy_lock_end { POLICY_LOCK_ENDS(POLICY_LOCK_END_ENUM) POLICY_LOCK_END_COUNT };

#define POLICY_FENCE_OUTCOMES(X)                                                                   \
    X(PASSED, "passed")                                                                            \
    X(UNFENCED, "unfenced")                                                                        \
    X(STALE, "stale")                                                                              \
    X(MISSING, "missing")                                                                          \
    X(INVALID, "invalid")                                                                          \
    X(MISSING_KEY, "missing_key") X(STORE_DENIED, "store_denied") X(BYPASSED, "bypassed")
#define POLICY_FENCE_OUTCOME_ENUM(id, name) POLICY_FENCE_##id,
enum policy_fence_outcome {
    POLICY_FENCE_OUTCOMES(POLICY_FENCE_OUTCOME_ENUM) POLICY_FENCE_OUTCOME_COUNT
};

#define POLICY_MAX_LOCK_KEYS 8

struct policy_lock {
    const struct template *const *keys;
    size_t key_count;
    enum policy_lock_mode mode;
    uint64_t permits; /* holders at a time, in exclusive mode */
    uint64_t wait_ms; /* 0 = answer at once */
    uint64_t queue_max;
    uint64_t lease_ms;
    uint64_t grant_ms;      /* of a hand-over that is not confirmed yet */
    uint64_t max_hold_ms;   /* 0 = no limit */
    uint64_t lock_delay_ms; /* how long a lapsed lock stays closed */
    enum policy_conflict on_conflict;
    enum policy_client_abort on_client_abort;
    enum policy_lost on_lost;
    enum policy_store_failure on_store_failure; /* allow or deny */
    enum policy_missing on_missing_key;
    bool is_shadow;
    enum policy_fencing fencing;
    enum policy_expose expose;
    /* Metric slots (policy_bind_metrics). */
    uint32_t outcome_slots[POLICY_LOCK_OUTCOME_COUNT];
    uint32_t end_slots[POLICY_LOCK_END_COUNT];
    uint32_t wait_slot, hold_slot, waiting_slot, held_slot;
    uint32_t renewal_slots[4];  /* gone, waiting, held, failed */
    uint32_t handover_slots[2]; /* by message, by timer */
};

struct policy_fence {
    const struct template *key;
    struct slice header; /* lower case */
    bool is_required;
    enum policy_fence_scope scope;
    bool revokes;
    enum policy_missing on_missing_key;
    enum policy_store_failure on_store_failure; /* allow or deny */
    /* Metric slots (policy_bind_metrics). */
    uint32_t outcome_slots[POLICY_FENCE_OUTCOME_COUNT];
    uint32_t revoked_slot;
};

struct policy_header_match {
    struct slice name;  /* lower case */
    struct slice value; /* exact; at == NULL: must be present */
};

struct policy_route {
    const char *name; /* unique in the snapshot */
    unsigned index;
    const char *file; /* where it stands */
    unsigned line;
    const struct slice *hosts; /* lower case; "*.example.com" allowed; none = any */
    size_t host_count;
    const struct slice *methods; /* none = any */
    size_t method_count;
    struct slice path; /* template text; empty = any */
    const struct slice *path_param_names;
    size_t path_param_count;
    const struct policy_header_match *headers;
    size_t header_count;
    const struct policy_limit *const *limits;
    size_t limit_count;
    enum policy_headers ratelimit_headers;
    enum policy_upgrade upgrade;
    enum policy_client_abort on_client_abort; /* that of the lock, when there is one */
    const struct policy_lock *lock;           /* NULL: none */
    const struct policy_fence *fence;         /* NULL: none */
    const struct policy_upstream *upstream;   /* where its requests go */
    /* Metric slots (policy_bind_metrics). */
    uint32_t request_slots[6]; /* [0] 1xx or none, then 1xx..5xx by status / 100 */
    uint32_t duration_slot, admission_slot, tunnels_slot;
    uint32_t tunnel_bytes_slots[POLICY_WAY_COUNT];
};

struct policy_cidr {
    struct in6_addr network; /* IPv4 as v4-mapped */
    unsigned prefix_bits;    /* of 128 */
};

struct policy_address {
    const char *url;        /* as written; NULL: not given */
    const char *host;       /* or "unix:/path" */
    const char *host_field; /* host[:port], as a Host field would have it */
    uint16_t port;
    bool is_tls;
};

#define POLICY_MAX_ADDRESSES 32

enum policy_balance { POLICY_ROUND_ROBIN, POLICY_LEAST_CONNECTIONS };
enum policy_upstream_host { POLICY_HOST_KEEP, POLICY_HOST_REWRITE };

/* A service behind us. */
struct policy_upstream {
    const char *name; /* unique; "default" for the one of the key `upstream` */
    unsigned index;   /* in the snapshot */
    const struct policy_address *addresses;
    size_t address_count;
    struct policy_address single; /* the address when it was given as `url` */
    enum policy_balance balance;
    enum policy_upstream_host host;
    uint64_t connect_timeout_ms, response_timeout_ms, response_body_timeout_ms, idle_timeout_ms;
    uint64_t max_connections, max_waiting; /* per worker and address */
    uint64_t max_age_ms;                   /* of a connection; 0 = no limit */
    uint64_t eject_failures, eject_ms;
    bool tls_verify;
    const char *tls_ca_file, *tls_server_name, *tls_certificate, *tls_key; /* NULL: not given */
};

/* Server-wide settings; each is one record of the field table with its default (policy.c). */
struct policy_settings {
    const char *listen, *metrics, *admin;                  /* the last two may be "off" */
    const char *tls_certificate, *tls_key, *tls_client_ca; /* of the listener; NULL: plain */
    unsigned workers;                                      /* 0 = auto */
    struct policy_address upstream;                        /* url NULL: there are only named ones */
    const char *store;
    uint64_t store_timeout_ms, store_connect_timeout_ms;
    uint64_t store_max_pending, store_breaker_failures, store_breaker_open_ms;
    const char *store_key_prefix;
    uint64_t embedded_max_bytes;
    const struct policy_cidr *trusted_proxies;
    size_t trusted_proxy_count;
    enum policy_proxy_protocol proxy_protocol;
    enum policy_forwarding forwarding;
    enum policy_trace trace;
    uint64_t trace_sample_ppm; /* of the traces made, so many of a million are sampled */
    uint64_t ipv6_prefix, ipv4_prefix;
    enum policy_access_log access_log;
    uint64_t
        access_log_sample_ppm;   /* of good and quick requests, so many of a million have a line */
    uint64_t access_log_slow_ms; /* from then on a request is not quick */
    enum log_level log_level;
    enum policy_reload reload;
    enum policy_ready_store ready_requires_store;
    enum policy_headers ratelimit_headers;
    enum policy_no_route on_no_route;
    enum policy_escaped_slashes escaped_slashes;
    enum policy_upgrade upgrade;
    const struct slice *trailers; /* lower case; those that go on */
    size_t trailer_count;
    /* lock_context: */
    const char *lock_context_secret; /* NULL: no Lock-Context is made or believed */
    uint64_t lock_context_max_depth;
    uint64_t top_keys; /* that are told apart for each limit; 0 = none */
    uint64_t drain_timeout_ms;
    uint64_t max_connections; /* per process */
    /* timeouts: */
    uint64_t header_timeout_ms;        /* first byte of a request to the end of its head */
    uint64_t body_timeout_ms;          /* longest pause within a request body */
    uint64_t idle_timeout_ms;          /* between requests on a kept-alive connection */
    uint64_t write_timeout_ms;         /* longest pause while the client does not take the answer */
    uint64_t connect_timeout_ms;       /* to the service */
    uint64_t response_timeout_ms;      /* end of request to the head of the answer */
    uint64_t response_body_timeout_ms; /* longest pause within the answer's body */
    uint64_t tunnel_timeout_ms;        /* longest pause of both sides of a tunnel */
    uint64_t upstream_idle_timeout_ms; /* pooled connections */
    uint64_t upstream_max_connections; /* per worker */
    uint64_t upstream_max_waiting;     /* requests waiting for a connection, per worker */
    uint64_t upstream_max_age_ms;      /* of a pooled connection; 0 = no limit */
    /* sizes: */
    uint64_t max_header_bytes, max_header_count, max_target_bytes;
    uint64_t max_body_bytes; /* 0 = no limit */
};

/* A file, no policy itself, that values came from: ${file:...}, public_key_file. */
struct policy_input {
    const char *path;
    const struct policy_input *next;
};

struct policy {
    struct policy_settings settings;
    const struct policy_route *const *routes; /* file order */
    size_t route_count;
    size_t limit_count;
    const struct policy_upstream *const *upstreams; /* at least one */
    size_t upstream_count;
    struct router *router;
    const struct jwt_verifier *jwt; /* NULL without a jwt section */
    /* Stands for requests that match no route. */
    const struct policy_route *unmatched;
    /* Text of what was loaded, and a hash over it. */
    const char *const *files;
    const struct slice *texts; /* of the files; may hold secrets */
    size_t file_count;
    char hash_hex[33];
    const struct policy_input *inputs;
    /* private */
    struct arena arena;
    _Atomic int reference_count;
};

/* paths: files and directories (of *.yaml and *.yml, in name order).  Every problem is reported.
 * NULL when there was an error; warnings alone do not fail.  The caller gets one reference. */
struct policy *policy_load(const char *const *paths, size_t path_count,
                           struct policy_problems *problems);
/* The same from memory, for tests and fuzzers. */
struct policy *policy_load_text(const char *file_name, struct slice text,
                                struct policy_problems *problems);

/* Whether an entry of a folder with this name is taken for a policy. */
bool policy_is_file_name(const char *name);

/* Where a process with these policies listens for its operators. */
struct policy_ports {
    const char *metrics, *admin; /* NULL: it cannot be told; may be "off" */
    const char *problem;         /* of the files; NULL: each could be read */
};

/* Also of policies with errors, as long as one file can be read, and without the environment of the
 * process where these two keys do not need it.  No path at all: the defaults.  Texts are in arena.
 */
void policy_find_ports(const char *const *paths, size_t path_count, struct arena *arena,
                       struct policy_ports *ret_ports);

struct policy *policy_ref(struct policy *policy);
void policy_unref(struct policy **policy);

/* What is in force, as JSON in the form of a policy file, without secrets: see effective.h.  False
 * when out's ceiling was reached. */
MUST_USE bool policy_write_effective(const struct policy *policy, struct buf *out);

/* The JSON Schema of policy files (draft-07), and the tables of their keys in Markdown. */
void policy_write_schema(FILE *out);
void policy_write_reference(FILE *out);

/* Give every route and limit its metric series.  Once, before the snapshot is shared. */
void policy_bind_metrics(struct policy *policy, struct metrics *metrics);

/* Fold v4-mapped addresses, cut to the prefix, and write canonical text (ret_text: at least
 * INET6_ADDRSTRLEN + 4 bytes; the prefix length follows when it cuts: "2001:db8::/64"). */
void policy_client_ip_text(const struct policy_settings *settings, const struct in6_addr *address,
                           char *ret_text, size_t text_size);
bool policy_is_trusted(const struct policy_settings *settings, const struct in6_addr *address);
/* "1.2.3.4", "::1", "[::1]:80", "1.2.3.4:80" to an address (v4 as mapped). */
MUST_USE bool policy_parse_ip(struct slice text, struct in6_addr *ret_address);
/* Walks from peer towards the client through trusted hops of X-Forwarded-For, or of Forwarded when
 * that alone is in use (all values, in order).  Malformed hops end the walk at the last good one;
 * of Forwarded nothing is good left of what is malformed (policy/forwarded.h). */
void policy_find_client(const struct policy_settings *settings, const struct in6_addr *peer,
                        const struct slice *values, size_t value_count,
                        struct in6_addr *ret_client);

#endif
