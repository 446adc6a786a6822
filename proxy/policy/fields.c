#include "policy/fields.h"

#include "policy/checks.h"
#include "policy/edge_fields.h"
#include "policy/jwt_fields.h"
#include "policy/lock_fields.h"
#include "policy/policy.h"
#include "policy/trailer_names.h"
#include "policy/types.h"
#include "policy/upstream_fields.h"

#define DAY_MS UINT64_C(86400000)
#define GIB (UINT64_C(1) << 30)

/* Each list in the order of its enum. */
static const char *const header_choices[] = {"draft", "legacy", "off", NULL};
static const char *const header_help[] = {
    "`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11)",
    "`X-RateLimit-Limit`, `X-RateLimit-Remaining`, `X-RateLimit-Reset`", "none", NULL};
static const char *const access_log_choices[] = {"off", "errors", "all", NULL};
static const char *const access_log_help[] = {
    "no access log", "requests that were refused or failed", "every request", NULL};
static const char *const log_level_choices[] = {"error", "warn", "info", "debug", NULL};
static const char *const ready_store_choices[] = {"never", "startup", "always", NULL};
static const char *const ready_store_help[] = {
    "an outage of the store does not take the process out of service",
    "not ready until every worker has reached the store once",
    "not ready while a worker does not reach the store: one outage takes every replica out of "
    "service",
    NULL};
static const char *const reload_choices[] = {"watch", "signal", NULL};
static const char *const reload_help[] = {
    "when their files change, and when somebody asks (SIGHUP, `lockkeeper reload`)",
    "only when somebody asks", NULL};
static const char *const no_route_choices[] = {"forward", "refuse", NULL};
static const char *const no_route_help[] = {"pass it on without limits", "answer 404", NULL};
static const char *const upgrade_choices[] = {"forward", "ignore", NULL};
static const char *const upgrade_help[] = {
    "it goes to the service; when that answers 101, bytes are handed on both ways",
    "the service does not see it, and answers as to any request", NULL};
static const char *const client_abort_choices[] = {"finish", "abort", "abort_on_close", NULL};
static const char *const client_abort_help[] = {
    "the service finishes its work, for nobody",
    "the request to the service is broken off when the client resets the connection; one that has "
    "only ended its side still gets its answer",
    "it is broken off in both cases: most clients that give up only end their side", NULL};
static const char *const algorithm_choices[] = {"token_bucket", "sliding_window", "sliding_log",
                                                "fixed_window", NULL};
static const char *const algorithm_help[] = {
    "refills evenly and allows bursts up to `burst`; long-run rate and burst are exact; one number "
    "per key",
    "the running window plus a weighted share of the one before; two counters per key",
    "never more than the rate's count in any window, exact; remembers every request (count at most "
    "100000)",
    "one counter per window; for quotas per day, month or year", NULL};
static const char *const align_choices[] = {"calendar", "first_hit", NULL};
static const char *const align_help[] = {
    "windows begin where the calendar says: the full minute, midnight, Monday, the 1st",
    "a key's window begins with its first request", NULL};
static const char *const mode_choices[] = {"enforce", "shadow", NULL};
static const char *const mode_help[] = {"requests over the limit are refused",
                                        "the limit counts and reports, and never refuses", NULL};
static const char *const missing_choices[] = {"", "skip", "deny", "shared", NULL};
static const char *const missing_help[] = {"", "the limit is left out for this request",
                                           "the request is refused (400)",
                                           "all such requests share one budget", NULL};
static const char *const failure_choices[] = {"allow", "deny", "local", NULL};
static const char *const failure_help[] = {
    "the limit lets the request pass", "the request is refused (503, not executed)",
    "this process decides alone, with its embedded engine, until the store is back", NULL};

static const struct schema_field limit_fields[] = {
    {.name = "name",
     .type = &schema_name,
     SCHEMA_FIELD(policy_limit, name),
     .is_required = true,
     .help = "unique in its route; appears in metrics, logs and headers",
     .example = "per-user"},
    {.name = "key",
     .type = &types_template,
     SCHEMA_FIELD(policy_limit, key),
     .default_note = "one budget for the whole route",
     .help = "whose budget it is: a template, see [Keys](#keys)",
     .example = "\"{header.x-user-id}\""},
    {.name = "rate",
     .type = &types_rate,
     SCHEMA_FIELD(policy_limit, rate),
     .is_required = true,
     .help = "how many in which period",
     .example = "10/minute"},
    {.name = "burst",
     .type = &schema_count,
     SCHEMA_FIELD(policy_limit, burst),
     .min = 1,
     .max = 1000000000,
     .default_note = "the count of `rate`",
     .help = "`token_bucket`: how many may come at once",
     .example = "20"},
    {.name = "algorithm",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_limit, algorithm),
     .choices = algorithm_choices,
     .choice_help = algorithm_help,
     .default_note = "`token_bucket` with `burst`, else `sliding_window`",
     .help = "how it counts"},
    {.name = "align",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_limit, align),
     .choices = align_choices,
     .choice_help = align_help,
     .default_text = "calendar",
     .help = "`fixed_window`: where windows begin"},
    {.name = "utc_offset",
     .type = &types_utc_offset,
     SCHEMA_FIELD(policy_limit, utc_offset_us),
     .default_text = "+00:00",
     .help = "calendar windows: how far local time is ahead of UTC",
     .example = "\"+02:00\""},
    {.name = "cost",
     .type = &types_cost,
     SCHEMA_INLINE,
     .default_text = "1",
     .min = 1,
     .max = 1000000000,
     .help = "how much of the budget a request takes: a number or a template",
     .example = "\"{header.x-cost}\""},
    {.name = "mode",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_limit, mode),
     .choices = mode_choices,
     .choice_help = mode_help,
     .default_text = "enforce",
     .help = "whether it refuses or only watches"},
    {.name = "on_missing_key",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_limit, on_missing_key),
     .choices = missing_choices,
     .choice_help = missing_help,
     .default_note = "must be given when the key can be missing, or `cost` is a template",
     .help = "what to do with a request that lacks what `key` names, or whose `cost` is no number"},
    {.name = "on_store_failure",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_limit, on_store_failure),
     .choices = failure_choices,
     .choice_help = failure_help,
     .default_text = "local",
     .help = "what to do while the store does not answer"},
};

static const struct schema_section limit_section = {
    .name = "limit",
    .title = "routes[].limits[]",
    .help =
        "One limit. All limits of a route are decided together: if one refuses, none is charged.",
    .fields = limit_fields,
    .field_count = COUNT_OF(limit_fields),
    .record_size = sizeof(struct policy_limit),
    .begin = checks_begin_limit,
    .finish = checks_limit};

static const struct schema_field match_fields[] = {
    {.name = "host",
     .type = &types_host,
     SCHEMA_COUNTED(policy_route, hosts, host_count),
     .default_note = "any",
     .help = "the one host; `*.example.com` is every name below example.com",
     .example = "api.example.com"},
    {.name = "hosts",
     .type = &schema_list,
     .item = &types_host_item,
     SCHEMA_COUNTED(policy_route, hosts, host_count),
     .default_note = "any",
     .help = "several hosts, instead of `host`",
     .example = "[api.example.com, \"*.example.org\"]"},
    {.name = "methods",
     .type = &schema_list,
     .item = &types_method_item,
     SCHEMA_COUNTED(policy_route, methods, method_count),
     .default_note = "any",
     .help = "the methods; GET includes HEAD",
     .example = "[GET, POST]"},
    {.name = "path",
     .type = &types_path,
     SCHEMA_FIELD(policy_route, path),
     .default_note = "any",
     .help = "a path template, see [Matching](#matching)",
     .example = "\"/stock/{sku}\""},
    {.name = "headers",
     .type = &types_header_matches,
     SCHEMA_INLINE,
     .default_note = "any",
     .help = "header names with the value they must have, or `true` for any value",
     .example = "{x-canary: true, x-plan: gold}"},
};

static const struct schema_section match_section = {
    .name = "match",
    .title = "routes[].match",
    .help = "Which requests the route takes; what is not given matches everything.",
    .fields = match_fields,
    .field_count = COUNT_OF(match_fields),
    .finish = checks_match};

static const struct schema_field route_fields[] = {
    {.name = "name",
     .type = &schema_name,
     SCHEMA_FIELD(policy_route, name),
     .is_required = true,
     .help = "unique; appears in metrics, logs and keys",
     .example = "create-order"},
    {.name = "match",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &match_section,
     .default_note = "every request",
     .help = "which requests the route takes"},
    {.name = "upstream",
     .type = &upstream_fields_name,
     SCHEMA_FIELD(policy_route, upstream),
     .default_note = "`upstream` of the file, else the first of `upstreams`",
     .help = "the name of the service its requests go to",
     .example = "stock"},
    {.name = "ratelimit_headers",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_route, ratelimit_headers),
     .choices = header_choices,
     .choice_help = header_help,
     .default_note = "as for the whole file",
     .help = "which headers tell clients about the limits"},
    {.name = "upgrade",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_route, upgrade),
     .choices = upgrade_choices,
     .choice_help = upgrade_help,
     .default_note = "as for the whole file",
     .help = "what becomes of a client's wish to change the protocol, as to WebSocket"},
    {.name = "on_client_abort",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_route, on_client_abort),
     .choices = client_abort_choices,
     .choice_help = client_abort_help,
     .default_note = "`abort`; a route with a `lock` says it in there",
     .help = "what to do when the client leaves while the service works; a service that has not "
             "got the whole body is always broken off"},
    {.name = "limits",
     .type = &schema_sections,
     .section = &limit_section,
     SCHEMA_COUNTED(policy_route, limits, limit_count),
     .default_note = "none",
     .help = "what the route's requests may not exceed, at most 16; without limits a route exempts "
             "its requests from the routes below"},
    {.name = "lock",
     .type = &lock_fields_optional,
     .section = &lock_fields_lock,
     SCHEMA_FIELD(policy_route, lock),
     .default_note = "none",
     .help = "what the route's requests have for themselves while they run"},
    {.name = "fence",
     .type = &lock_fields_optional,
     .section = &lock_fields_fence,
     SCHEMA_FIELD(policy_route, fence),
     .default_note = "none",
     .help = "which fencing tokens the route's requests must have"},
};

static const struct schema_section route_section = {
    .name = "route",
    .title = "routes[]",
    .help = "One kind of request. The first route that matches takes the request, in the order of "
            "the files and of the routes in them.",
    .fields = route_fields,
    .field_count = COUNT_OF(route_fields),
    .record_size = sizeof(struct policy_route),
    .begin = checks_begin_route,
    .finish = checks_route};

#define DURATION(key, member, by_default, least, what)                                             \
    {                                                                                              \
        .name = key, .type = &schema_duration_ms, SCHEMA_FIELD(policy, settings.member),           \
        .default_text = by_default, .min = least, .max = DAY_MS, .help = what                      \
    }
#define COUNT(key, member, by_default, least, most, what)                                          \
    {                                                                                              \
        .name = key, .type = &schema_count, SCHEMA_FIELD(policy, settings.member),                 \
        .default_text = by_default, .min = least, .max = most, .help = what                        \
    }
#define BYTES(key, member, by_default, least, most, what)                                          \
    {                                                                                              \
        .name = key, .type = &schema_bytes, SCHEMA_FIELD(policy, settings.member),                 \
        .default_text = by_default, .min = least, .max = most, .help = what                        \
    }

static const struct schema_field store_fields[] = {
    DURATION("timeout", store_timeout_ms, "50ms", 1,
             "budget of one call; then `on_store_failure` decides"),
    DURATION("connect_timeout", store_connect_timeout_ms, "1s", 1,
             "for a connection and its handshake"),
    COUNT("max_pending", store_max_pending, "10000", 1, 1000000, "calls in flight per worker"),
    COUNT("breaker_failures", store_breaker_failures, "5", 1, 1000000,
          "failures in a row after which the store is left alone"),
    DURATION("breaker_open", store_breaker_open_ms, "1s", 1,
             "for how long, before one call probes it"),
    {.name = "key_prefix",
     .type = &schema_name,
     SCHEMA_FIELD(policy, settings.store_key_prefix),
     .default_text = "lk",
     .help = "begins every key in the store; tells deployments that share one apart"},
    BYTES("embedded_max_bytes", embedded_max_bytes, "16MiB", 1 << 20, 64 * GIB,
          "memory for keys of the embedded engine, per process"),
};

static const struct schema_section store_section = {.name = "store_options",
                                                    .title = "store_options",
                                                    .help = "How the store is used.",
                                                    .fields = store_fields,
                                                    .field_count = COUNT_OF(store_fields)};

static const struct schema_field client_ip_fields[] = {
    COUNT("ipv6_prefix", ipv6_prefix, "64", 1, 128,
          "clients of one IPv6 network of this size count as one"),
    COUNT("ipv4_prefix", ipv4_prefix, "32", 1, 32, "the same for IPv4"),
};

static const struct schema_section client_ip_section = {.name = "client_ip",
                                                        .title = "client_ip",
                                                        .help = "What `{client.ip}` is.",
                                                        .fields = client_ip_fields,
                                                        .field_count = COUNT_OF(client_ip_fields)};

static const struct schema_field timeout_fields[] = {
    DURATION("header", header_timeout_ms, "10s", 1,
             "from the first byte of a request to the end of its head"),
    DURATION("body", body_timeout_ms, "30s", 1, "longest pause within a request body"),
    DURATION("idle", idle_timeout_ms, "75s", 1, "between requests on a client's connection"),
    DURATION("write", write_timeout_ms, "30s", 1,
             "longest pause while a client does not take the answer"),
    DURATION("connect", connect_timeout_ms, "2s", 1, "for a connection to the service"),
    DURATION("response", response_timeout_ms, "60s", 1,
             "from the end of a request to the head of the service's answer"),
    DURATION("response_body", response_body_timeout_ms, "60s", 1,
             "longest pause within the service's answer"),
    DURATION("tunnel", tunnel_timeout_ms, "1h", 1,
             "after a 101: longest time in which no byte moves either way"),
    DURATION("upstream_idle", upstream_idle_timeout_ms, "4s", 1,
             "how long an unused connection to the service is kept; shorter than the service's own "
             "keep-alive timeout (5s in Node.js)"),
};

static const struct schema_section timeouts_section = {.name = "timeouts",
                                                       .title = "timeouts",
                                                       .help = "Every wait ends.",
                                                       .fields = timeout_fields,
                                                       .field_count = COUNT_OF(timeout_fields)};

static const struct schema_field size_fields[] = {
    BYTES("max_header_bytes", max_header_bytes, "16KiB", 256, 16 << 20,
          "all header fields of a request; beyond it 431"),
    COUNT("max_header_count", max_header_count, "100", 1, 10000,
          "header fields of a request; beyond it 431"),
    BYTES("max_target_bytes", max_target_bytes, "8KiB", 16, 1 << 20,
          "path and query of a request; beyond it 414"),
    BYTES("max_body_bytes", max_body_bytes, "0", 0, UINT64_C(1) << 50,
          "body of a request; beyond it 413; 0 is no limit"),
};

static const struct schema_section sizes_section = {.name = "sizes",
                                                    .title = "sizes",
                                                    .help = "What a request may weigh.",
                                                    .fields = size_fields,
                                                    .field_count = COUNT_OF(size_fields)};

static const struct schema_field upstream_fields[] = {
    COUNT("max_connections", upstream_max_connections, "256", 1, 65535,
          "connections to the service, per worker"),
    COUNT("max_waiting", upstream_max_waiting, "1024", 0, 1000000,
          "requests that wait for a connection, per worker; beyond it 503"),
    DURATION("max_age", upstream_max_age_ms, "10m", 0,
             "after how long a connection takes no further request, so that changed addresses of a "
             "name come into use; 0 is no limit"),
};

static const struct schema_section upstream_section = {.name = "upstream_options",
                                                       .title = "upstream_options",
                                                       .help = "How the service is used.",
                                                       .fields = upstream_fields,
                                                       .field_count = COUNT_OF(upstream_fields)};

#define METRICS_FIELD                                                                              \
    .name = "metrics", .type = &types_listen, .word = "off", .default_text = "0.0.0.0:9102",       \
    .help = "where `/metrics`, `/live` and `/ready` are served, or `off`"
#define ADMIN_FIELD                                                                                \
    .name = "admin", .type = &types_admin, .word = "off", .default_text = "127.0.0.1:9103",        \
    .help = "where operators look at the process and change it: a loopback address, "              \
            "`unix:/path`, or `off`",                                                              \
    .example = "unix:/run/lockkeeper/admin.sock"

static const struct schema_field ports_fields[] = {
    {METRICS_FIELD, SCHEMA_FIELD(policy_ports, metrics)},
    {ADMIN_FIELD, SCHEMA_FIELD(policy_ports, admin)},
};

const struct schema_section fields_ports = {.name = "ports",
                                            .title = "Ports",
                                            .help = "",
                                            .fields = ports_fields,
                                            .field_count = COUNT_OF(ports_fields)};

static const struct schema_field policy_fields[] = {
    {.name = "listen",
     .type = &types_listen,
     SCHEMA_FIELD(policy, settings.listen),
     .default_text = "0.0.0.0:8080",
     .help = "where clients connect; `unix:/path` works too"},
    {.name = "tls",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &upstream_fields_listen_tls,
     .default_note = "plain HTTP",
     .help = "TLS for clients"},
    {METRICS_FIELD, SCHEMA_FIELD(policy, settings.metrics)},
    {ADMIN_FIELD, SCHEMA_FIELD(policy, settings.admin)},
    {.name = "workers",
     .type = &schema_count,
     SCHEMA_FIELD(policy, settings.workers),
     .word = "auto",
     .default_text = "auto",
     .min = 1,
     .max = 256,
     .help = "threads; `auto` is one per CPU that the process may use"},
    {.name = "upstream",
     .type = &types_upstream,
     SCHEMA_FIELD(policy, settings.upstream),
     .is_url = true,
     .default_note = "give `upstream` or `upstreams`",
     .help = "the service: `http://host:port`, `https://host:port` or `unix:/path`; as one of "
             "several it has the name `default`",
     .example = "http://127.0.0.1:3000"},
    {.name = "upstream_options",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &upstream_section,
     .help = "how the service is used"},
    {.name = "store",
     .type = &types_store,
     SCHEMA_FIELD(policy, settings.store),
     .is_secret = true,
     .default_text = "embedded",
     .help = "where limits are kept: `embedded` (this process alone), "
             "`redis://[user:password@]host[:port][/db]`, `rediss://…` for TLS, or "
             "`unix:///path[?db=N]`",
     .example = "${REDIS_URL:-embedded}"},
    {.name = "store_options",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &store_section,
     .help = "how the store is used"},
    {.name = "trusted_proxies",
     .type = &schema_list,
     .item = &types_cidr_item,
     SCHEMA_COUNTED(policy, settings.trusted_proxies, settings.trusted_proxy_count),
     .default_note = "none",
     .help = "addresses and networks whose `X-Forwarded-For` or `Forwarded` is believed",
     .example = "[10.0.0.0/8]"},
    {.name = "proxy_protocol",
     .type = &schema_enum,
     SCHEMA_FIELD(policy, settings.proxy_protocol),
     .choices = edge_fields_proxy_choices,
     .choice_help = edge_fields_proxy_help,
     .default_text = "off",
     .help = "which connections must begin with a PROXY header (version 1 or 2)"},
    {.name = "forwarding",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &edge_fields_forwarding,
     .help = "what the service is told of the hops before it"},
    {.name = "client_ip",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &client_ip_section,
     .help = "what `{client.ip}` is"},
    {.name = "jwt",
     .type = &types_jwt,
     SCHEMA_INLINE,
     .section = &jwt_fields_section,
     .default_note = "no `{jwt.CLAIM}`",
     .help = "how bearer tokens are checked"},
    {.name = "lock_context",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &lock_fields_context,
     .default_note = "none",
     .help = "locks across services"},
    {.name = "access_log",
     .type = &schema_enum,
     SCHEMA_FIELD(policy, settings.access_log),
     .choices = access_log_choices,
     .choice_help = access_log_help,
     .default_text = "all",
     .help = "which requests get a line of JSON on standard output"},
    {.name = "access_log_options",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &edge_fields_access_log,
     .help = "which of these lines are left out"},
    {.name = "log_level",
     .type = &schema_enum,
     SCHEMA_FIELD(policy, settings.log_level),
     .choices = log_level_choices,
     .default_text = "info",
     .help = "from which level on the process log speaks"},
    {.name = "reload",
     .type = &schema_enum,
     SCHEMA_FIELD(policy, settings.reload),
     .choices = reload_choices,
     .choice_help = reload_help,
     .default_text = "watch",
     .help = "when the policies are loaded again"},
    {.name = "ready_requires_store",
     .type = &schema_enum,
     SCHEMA_FIELD(policy, settings.ready_requires_store),
     .choices = ready_store_choices,
     .choice_help = ready_store_help,
     .default_text = "never",
     .help = "whether `/ready` needs the store"},
    {.name = "ratelimit_headers",
     .type = &schema_enum,
     SCHEMA_FIELD(policy, settings.ratelimit_headers),
     .choices = header_choices,
     .choice_help = header_help,
     .default_text = "draft",
     .help = "which headers tell clients about the limits"},
    {.name = "on_no_route",
     .type = &schema_enum,
     SCHEMA_FIELD(policy, settings.on_no_route),
     .choices = no_route_choices,
     .choice_help = no_route_help,
     .default_text = "forward",
     .help = "what to do with a request that no route matches"},
    {.name = "escaped_slashes",
     .type = &schema_enum,
     SCHEMA_FIELD(policy, settings.escaped_slashes),
     .choices = edge_fields_slash_choices,
     .choice_help = edge_fields_slash_help,
     .default_text = "keep",
     .help = "what to do with `%2F` and `%5C` (a backslash) in a path"},
    COUNT("top_keys", top_keys, "64", 0, 256,
          "how many keys of each limit are watched, so that the admin port can tell who asks most "
          "and who is refused; 0 watches none. Keys may be personal data"),
    {.name = "upgrade",
     .type = &schema_enum,
     SCHEMA_FIELD(policy, settings.upgrade),
     .choices = upgrade_choices,
     .choice_help = upgrade_help,
     .default_text = "forward",
     .help = "what becomes of a client's wish to change the protocol, as to WebSocket"},
    {.name = "trailers",
     .type = &schema_list,
     .item = &trailer_names_item,
     SCHEMA_COUNTED(policy, settings.trailers, settings.trailer_count),
     .default_note = "none",
     .help = "fields that go on when they come behind a chunked body, both ways",
     .example = "[x-checksum, grpc-status]"},
    DURATION("drain_timeout", drain_timeout_ms, "30s", 0,
             "after SIGTERM, how long running requests may take to end"),
    COUNT("max_connections", max_connections, "4096", 1, 1000000,
          "client connections, per process"),
    {.name = "timeouts",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &timeouts_section,
     .help = "bounds on every wait"},
    {.name = "sizes",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &sizes_section,
     .help = "bounds on every request"},
    {.name = "upstreams",
     .type = &schema_sections,
     .section = &upstream_fields_section,
     SCHEMA_COUNTED(policy, upstreams, upstream_count),
     .default_note = "none",
     .help = "several services, for routes to choose from"},
    {.name = "routes",
     .type = &schema_sections,
     .section = &route_section,
     SCHEMA_COUNTED(policy, routes, route_count),
     .default_note = "none",
     .help = "which requests are limited, and how"},
};

const struct schema_section fields_policy = {
    .name = "policy",
    .title = "Top level",
    .help =
        "Server-wide keys may each stand in one file of a folder only; `routes` may stand in all.",
    .fields = policy_fields,
    .field_count = COUNT_OF(policy_fields),
    .finish = checks_policy};
