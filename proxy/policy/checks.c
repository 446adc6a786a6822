#include "policy/checks.h"

#include <stdio.h>

#include "base/map.h"
#include "policy/expand.h"
#include "policy/router.h"
#include "policy/types.h"
#include "policy/upstream_fields.h"

#define MAX_ROUTES 5000
#define MAX_LOG_COUNT 100000
/* So that every time the scripts compute stays an exact number. */
#define MAX_REFILL_US (5 * SCALAR_YEAR_US)

void checks_begin_route(struct schema *schema, const struct yaml_node *node, void *record)
{
    struct types_load *load = schema->owner;
    struct policy *policy = load->policy;
    struct policy_route *route = record;

    if (load->route_cap == policy->route_count) {
        load->route_cap = load->route_cap > 0 ? load->route_cap * 2 : 16;
        load->route_places =
            mem_realloc(load->route_places, load->route_cap * sizeof(*load->route_places));
    }
    route->index = (unsigned)policy->route_count++;
    load->route_places[route->index] = (struct types_route_place){
        node->mark, arena_printf(schema->scratch, "routes[%u]", schema->frame->index).at};
    route->file = arena_copy(schema->arena, slice_of(node->mark.source->name)).at;
    route->line = node->mark.line;
    route->ratelimit_headers = policy->settings.ratelimit_headers;
    route->upgrade = policy->settings.upgrade;
    route->on_client_abort = POLICY_CLIENT_ABORT_ABORT;
    route->name = "";
    load->route = route;
    load->is_path_broken = false;
    load->path_param_names = NULL;
    load->route_limit_count = 0;
}

void checks_begin_limit(struct schema *schema, const struct yaml_node *node, void *record)
{
    struct types_load *load = schema->owner;
    struct policy_limit *limit = record;

    UNUSED(node);
    limit->name = "";
    limit->route = load->route;
    limit->index = load->limit_count++;
}

static const char *const algorithm_names[] = {"token_bucket", "sliding_window", "sliding_log",
                                              "fixed_window"};

static void check_algorithm(struct schema *schema, const struct policy_limit *limit)
{
    const char *algorithm = algorithm_names[limit->algorithm];
    bool is_calendar =
        limit->algorithm == POLICY_FIXED_WINDOW && limit->align == POLICY_ALIGN_CALENDAR;

    if (schema_is_given(schema, "burst") && limit->algorithm != POLICY_TOKEN_BUCKET)
        schema_problem(schema, POLICY_ERROR, "burst", "only token_bucket has a burst; this is a %s",
                       algorithm);
    if (schema_is_given(schema, "align") && limit->algorithm != POLICY_FIXED_WINDOW)
        schema_problem(schema, POLICY_ERROR, "align",
                       "only fixed_window can be aligned; this is a %s", algorithm);
    if (schema_is_given(schema, "utc_offset") && !is_calendar && schema_is_sound(schema, "align"))
        schema_problem(schema, POLICY_ERROR, "utc_offset",
                       "only a fixed_window with align: calendar has a local time");
    if (limit->rate.period != POLICY_PERIOD_US && !is_calendar && schema_is_sound(schema, "align"))
        schema_problem(schema, POLICY_ERROR, "rate",
                       "a %s has no fixed length: it needs algorithm: fixed_window%s",
                       limit->rate.period == POLICY_PERIOD_MONTH ? "month" : "year",
                       limit->algorithm == POLICY_FIXED_WINDOW ? " with align: calendar" : "");
    if (limit->algorithm == POLICY_SLIDING_LOG && limit->rate.count > MAX_LOG_COUNT)
        schema_problem(schema, POLICY_ERROR, "rate",
                       "sliding_log remembers every request: at most %d per period (sliding_window "
                       "and token_bucket have no such bound)",
                       MAX_LOG_COUNT);
}

static void check_capacity(struct schema *schema, const struct policy_limit *limit)
{
    bool is_bucket = limit->algorithm == POLICY_TOKEN_BUCKET;
    uint64_t capacity = is_bucket ? limit->burst : limit->rate.count;

    if (limit->cost_template == NULL && limit->cost > capacity)
        schema_problem(schema, POLICY_ERROR, "cost",
                       "a request costs %ju, but the %s is only %ju: none can ever pass",
                       (uintmax_t)limit->cost, is_bucket ? "burst" : "rate's count",
                       (uintmax_t)capacity);
    if (is_bucket && (double)limit->burst * (double)limit->rate.period_us >
                         (double)limit->rate.count * (double)MAX_REFILL_US)
        schema_problem(schema, POLICY_ERROR, schema_is_given(schema, "burst") ? "burst" : "rate",
                       "at this rate the burst would take more than five years to refill");
}

/* A cost may lack its value, or have one that is no number: both count as missing. */
static void check_missing(struct schema *schema, const struct policy_limit *limit)
{
    static const char choices[] = "say on_missing_key: skip (no limit for it), deny (refuse it) or "
                                  "shared (one budget for all such)";
    bool may_lack_key = limit->key != NULL && template_can_miss(limit->key);
    bool may_lack_cost = limit->cost_template != NULL;
    bool is_given = schema_is_given(schema, "on_missing_key");

    if (may_lack_key && !is_given)
        schema_problem(schema, POLICY_ERROR, "key", "a request may lack what this names: %s",
                       choices);
    else if (may_lack_cost && !is_given)
        schema_problem(schema, POLICY_ERROR, "cost", "a request may give no number here: %s",
                       choices);
    /* A key that could not be compiled says nothing. */
    if (!may_lack_key && !may_lack_cost && is_given && schema_is_sound(schema, "cost") &&
        (limit->key != NULL || !schema_is_given(schema, "key")))
        schema_problem(schema, POLICY_WARNING, "on_missing_key",
                       "has no effect: the key can never be missing");
}

static void check_limit_name(struct schema *schema, const struct policy_limit *limit)
{
    const struct yaml_entry *entry = schema->frame->parent->node != NULL
                                         ? yaml_find(schema->frame->parent->node, SLICE("limits"))
                                         : NULL;
    const struct yaml_node *name = schema_value(schema, "name");

    if (entry == NULL || name == NULL || limit->name[0] == '\0')
        return;
    for (entry = entry->value->first; entry != NULL && entry->value != schema->frame->node;
         entry = entry->next) {
        const struct yaml_entry *other =
            entry->value->kind == YAML_MAPPING ? yaml_find(entry->value, SLICE("name")) : NULL;

        if (other == NULL || !slice_equal(other->value->text, name->text))
            continue;
        schema_problem(schema, POLICY_ERROR, "name",
                       "another limit of this route has the same name (line %u, column %u)",
                       other->value->mark.line, other->value->mark.column);
        return;
    }
}

void checks_limit(struct schema *schema, void *record)
{
    struct types_load *load = schema->owner;
    struct policy_limit *limit = record;

    if (!schema_is_given(schema, "algorithm"))
        limit->algorithm =
            schema_is_given(schema, "burst") ? POLICY_TOKEN_BUCKET : POLICY_SLIDING_WINDOW;
    if (!schema_is_given(schema, "burst"))
        limit->burst = limit->rate.count;
    check_limit_name(schema, limit);
    if (++load->route_limit_count == POLICY_MAX_LIMITS_PER_ROUTE + 1)
        schema_problem(schema, POLICY_ERROR, NULL, "a route has at most %d limits",
                       POLICY_MAX_LIMITS_PER_ROUTE);
    check_missing(schema, limit);
    if (!schema_is_sound(schema, "algorithm") || !schema_is_sound(schema, "rate"))
        return;
    check_algorithm(schema, limit);
    if (schema_is_sound(schema, "burst") && schema_is_sound(schema, "cost"))
        check_capacity(schema, limit);
}

static void check_repeated(struct schema *schema, const char *key, const struct slice *items,
                           size_t count)
{
    for (size_t i = 1; i < count; i++)
        for (size_t j = 0; j < i && i < 256; j++)
            if (slice_equal(items[i], items[j])) {
                schema_problem(schema, POLICY_WARNING, key, "item %zu repeats item %zu", i, j);
                break;
            }
}

void checks_match(struct schema *schema, void *record)
{
    const struct policy_route *route = record;
    static const char *const lists[] = {"hosts", "methods"};

    if (schema_is_given(schema, "host") && schema_is_given(schema, "hosts"))
        schema_problem(schema, POLICY_ERROR, "hosts", "give either host or hosts");
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        const struct yaml_node *list = schema_value(schema, lists[i]);

        if (list != NULL && list->kind == YAML_SEQUENCE && list->count == 0)
            schema_problem(schema, POLICY_ERROR, lists[i],
                           "an empty list matches nothing; leave the key out to match everything");
    }
    check_repeated(schema, "hosts", route->hosts, route->host_count);
    check_repeated(schema, "methods", route->methods, route->method_count);
}

void checks_route(struct schema *schema, void *record)
{
    struct types_load *load = schema->owner;
    struct policy_route *route = record;

    load->route = NULL;
    load->path_param_names = NULL;
    if (slice_equal(slice_of(route->name), SLICE(CHECKS_UNMATCHED_NAME)))
        schema_problem(schema, POLICY_ERROR, "name",
                       "the name is taken: it stands for requests that match no route");
    if (schema_is_given(schema, "ratelimit_headers") && !schema_is_given(schema, "limits"))
        schema_problem(schema, POLICY_WARNING, "ratelimit_headers",
                       "has no effect: the route has no limits");
    if (route->lock != NULL && schema_is_given(schema, "on_client_abort"))
        schema_problem(schema, POLICY_ERROR, "on_client_abort",
                       "a route with a lock says it in there: lock.on_client_abort");
    if (route->lock != NULL)
        route->on_client_abort = route->lock->on_client_abort;
}

static const char *read_key_file(struct schema *schema, const struct types_jwt_record *jwt,
                                 struct slice *ret_pem)
{
    const struct yaml_node *node = schema_value(schema, "public_key_file");
    const char *path =
        expand_path(schema->arena, node->mark.source->name, slice_of(jwt->public_key_file));
    const char *problem = source_read(schema->scratch, path, EXPAND_MAX_BYTES, ret_pem);

    if (problem != NULL)
        return arena_printf(schema->scratch, "the file \"%s\" %s", path, problem).at;
    if (schema->on_expanded != NULL)
        schema->on_expanded(schema->owner, *ret_pem);
    if (schema->on_file != NULL)
        schema->on_file(schema->owner, path);
    return NULL;
}

static bool check_jwt_source(struct schema *schema, const struct types_jwt_record *jwt)
{
    bool has_secret = schema_is_given(schema, "secret");
    bool has_key = schema_is_given(schema, "public_key_file");
    int given = (has_secret ? 1 : 0) + (has_key ? 1 : 0) + (jwt->verify ? 0 : 1);

    if (given != 1) {
        schema_problem(schema, POLICY_ERROR, NULL,
                       "give exactly one of secret, public_key_file and verify: false%s",
                       given == 0 ? "" : "; more than one is given");
        return false;
    }
    if (schema_is_given(schema, "algorithm") && jwt->verify &&
        (jwt->algorithm == JWT_HS256) != has_secret) {
        schema_problem(schema, POLICY_ERROR, "algorithm",
                       has_secret ? "a secret is for hs256; rs256 and es256 take a public_key_file"
                                  : "hs256 takes a secret; a public key is for rs256 or es256");
        return false;
    }
    return true;
}

void checks_jwt(struct schema *schema, void *record)
{
    struct types_load *load = schema->owner;
    struct types_jwt_record *jwt = record;
    bool has_key = schema_is_given(schema, "public_key_file");
    struct jwt_settings settings = {.verify = jwt->verify};
    const char *problem = NULL;

    if (schema->frame->failed != 0 || !check_jwt_source(schema, jwt))
        return;
    if (!schema_is_given(schema, "algorithm"))
        jwt->algorithm = has_key ? JWT_RS256 : JWT_HS256;
    settings.algorithm = jwt->algorithm;
    settings.leeway_s = jwt->leeway_ms / 1000;
    settings.secret = slice_of(jwt->secret);
    settings.issuer = slice_of(jwt->issuer);
    settings.audience = slice_of(jwt->audience);
    if (has_key)
        problem = read_key_file(schema, jwt, &settings.public_key_pem);
    if (problem == NULL)
        problem = jwt_verifier_open(&settings, &load->verifier);
    if (problem != NULL)
        schema_problem(schema, POLICY_ERROR,
                       has_key       ? "public_key_file"
                       : jwt->verify ? "secret"
                                     : NULL,
                       "%s", problem);
}

static void report_route(struct schema *schema, const struct policy_route *route,
                         enum policy_severity severity, const char *message,
                         const struct policy_route *other)
{
    struct types_load *load = schema->owner;
    struct problems_place place = {load->route_places[route->index].mark,
                                   load->route_places[route->index].where, false};
    const struct source_mark *mark = &load->route_places[other->index].mark;

    policy_problems_add(schema->problems, severity, &place, "%s at %s:%u:%u", message,
                        mark->source->name, mark->line, mark->column);
}

static void check_route_names(struct schema *schema, const struct policy *policy)
{
    struct map names;

    map_init(&names);
    for (size_t i = 0; i < policy->route_count; i++) {
        const struct policy_route *route = policy->routes[i];
        void *other;

        if (route->name[0] == '\0')
            continue;
        other = map_get(&names, slice_of(route->name));
        if (other != NULL)
            report_route(schema, route, POLICY_ERROR,
                         "the name of this route is already used by the route", other);
        else
            map_set(&names, slice_of(route->name), (void *)(uintptr_t)route);
    }
    map_clear(&names);
}

/* The first route above that leaves nothing for this one. */
static void check_reachable(struct schema *schema, const struct policy *policy, size_t at)
{
    const struct policy_route *route = policy->routes[at];

    for (size_t i = 0; i < at; i++) {
        const struct policy_route *above = policy->routes[i];

        if (!router_shadows(above, route))
            continue;
        if (router_shadows(route, above))
            report_route(
                schema, route, POLICY_ERROR,
                "this route can never be reached: it matches the same requests as the route",
                above);
        else
            report_route(schema, route, POLICY_WARNING,
                         "this route can never be reached: all it matches is taken by the route",
                         above);
        return;
    }
}

static void check_different(struct schema *schema, const char *first, const char *second,
                            const char *first_address, const char *second_address)
{
    if (schema_is_sound(schema, first) && schema_is_sound(schema, second) &&
        strcmp(first_address, second_address) == 0 && strcmp(first_address, "off") != 0 &&
        !slice_ends_with(slice_of(first_address), SLICE(":0")))
        schema_problem(schema, POLICY_ERROR, schema_is_given(schema, second) ? second : first,
                       "%s and %s need different addresses", first, second);
}

static void check_addresses(struct schema *schema, const struct policy_settings *settings)
{
    const struct policy_address *upstream = &settings->upstream;
    struct slice listen = slice_of(settings->listen);
    char port[8];

    check_different(schema, "listen", "metrics", settings->listen, settings->metrics);
    check_different(schema, "listen", "admin", settings->listen, settings->admin);
    check_different(schema, "metrics", "admin", settings->metrics, settings->admin);
    if (!schema_is_sound(schema, "listen") || upstream->url == NULL)
        return;
    snprintf(port, sizeof(port), ":%u", upstream->port);
    if ((upstream->port != 0 && slice_ends_with(listen, slice_of(port)) &&
         (strcmp(upstream->host, "localhost") == 0 || strcmp(upstream->host, "::1") == 0 ||
          strncmp(upstream->host, "127.", 4) == 0)) ||
        slice_equal(listen, slice_of(upstream->host)))
        schema_problem(
            schema, POLICY_WARNING, "upstream",
            "this is where Lockkeeper itself listens: requests would go round in a loop");
}

static void check_trusted(struct schema *schema, const struct policy_settings *settings)
{
    for (size_t i = 0; i < settings->trusted_proxy_count; i++) {
        const struct policy_cidr *cidr = &settings->trusted_proxies[i];

        if (cidr->prefix_bits == 0 ||
            (cidr->prefix_bits == 96 && cidr->network.s6_addr[10] == 0xFF))
            schema_problem(schema, POLICY_WARNING, "trusted_proxies",
                           "item %zu trusts everybody: any client can then choose its own address",
                           i);
    }
}

static void check_proxy_protocol(struct schema *schema, const struct policy_settings *settings)
{
    if (settings->proxy_protocol != POLICY_PROXY_OFF && settings->trusted_proxy_count == 0 &&
        schema_is_sound(schema, "trusted_proxies"))
        schema_problem(schema, POLICY_ERROR, "proxy_protocol",
                       "needs trusted_proxies: only their PROXY headers are believed");
}

/* What is given, and can have no effect. */
static void check_edge(struct schema *schema, const struct policy_settings *settings)
{
    if (settings->trace != POLICY_TRACE_MAKE && settings->trace_sample_ppm != 1000000)
        schema_problem(schema, POLICY_WARNING, "forwarding",
                       "trace_sample has no effect: only trace: make makes traces");
    if (settings->access_log != POLICY_LOG_ALL && schema_is_given(schema, "access_log_options"))
        schema_problem(schema, POLICY_WARNING, "access_log_options",
                       "has no effect: access_log is not \"all\"");
}

static void check_escaped_slashes(struct schema *schema, const struct policy *policy)
{
    if (policy->settings.escaped_slashes == POLICY_SLASHES_KEEP)
        return;
    for (size_t i = 0; i < policy->route_count; i++)
        if (policy->routes[i]->path.len > 0 && router_has_escaped_slash(policy->routes[i]->path))
            schema_problem(schema, POLICY_WARNING, "escaped_slashes",
                           "the route \"%s\" can never be reached: its path has an escaped slash",
                           policy->routes[i]->name);
}

static void check_some_upstream(struct schema *schema)
{
    const struct yaml_node *list = schema_value(schema, "upstreams");

    if (schema_is_misspelt(schema, "upstream") || schema_is_misspelt(schema, "upstreams") ||
        schema->is_partial)
        return;
    if (list != NULL && list->kind == YAML_SEQUENCE && list->count == 0)
        schema_problem(schema, POLICY_ERROR, "upstreams", "the list is empty");
    else if (list == NULL && !schema_is_given(schema, "upstream"))
        schema_problem(schema, POLICY_ERROR, NULL,
                       "the key \"upstream\" is missing (the service: `http://host:port`), or "
                       "\"upstreams\", a list of services");
}

void checks_policy(struct schema *schema, void *record)
{
    struct policy *policy = record;

    upstream_fields_finish(schema, policy);
    check_some_upstream(schema);
    check_addresses(schema, &policy->settings);
    check_trusted(schema, &policy->settings);
    check_proxy_protocol(schema, &policy->settings);
    check_edge(schema, &policy->settings);
    if (policy->route_count > MAX_ROUTES) {
        schema_problem(schema, POLICY_ERROR, "routes", "too many routes: at most %d", MAX_ROUTES);
        return;
    }
    if (policy->route_count == 0 && schema_is_sound(schema, "routes"))
        schema_problem(schema, POLICY_WARNING, schema_is_given(schema, "routes") ? "routes" : NULL,
                       "there are no routes: every request passes without limits");
    check_route_names(schema, policy);
    /* Paths that were refused may not be given to the router. */
    if (!schema_is_sound(schema, "routes"))
        return;
    check_escaped_slashes(schema, policy);
    for (size_t i = 1; i < policy->route_count; i++)
        check_reachable(schema, policy, i);
}
