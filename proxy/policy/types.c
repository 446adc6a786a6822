#include "policy/types.h"

#include <ctype.h>
#include <stdio.h>
#include <sys/un.h>

#include "base/url.h"
#include "policy/router.h"

static bool store_text(struct slice text, void *ret)
{
    memcpy(ret, &text.at, sizeof(text.at));
    return true;
}

static bool read_listen(struct schema *schema, const struct schema_field *field, struct slice text,
                        void *ret, struct scalar_fault *fault)
{
    UNUSED(schema);
    if (field->word != NULL && slice_equal(text, slice_of(field->word)))
        return store_text(text, ret);
    return scalar_read_listen(text, fault) && store_text(text, ret);
}

/* Whoever reaches it may change the process: nobody but programs of this machine. */
static bool read_admin(struct schema *schema, const struct schema_field *field, struct slice text,
                       void *ret, struct scalar_fault *fault)
{
    if (!read_listen(schema, field, text, ret, fault))
        return false;
    return slice_equal(text, slice_of(field->word)) || slice_starts_with(text, SLICE("unix:")) ||
           slice_starts_with(text, SLICE("127.")) || slice_starts_with(text, SLICE("[::1]:")) ||
           scalar_fail(fault, "could be reached from other machines",
                       "admin takes 127.0.0.1:PORT, [::1]:PORT or unix:/path; to reach it from "
                       "elsewhere use kubectl exec, kubectl port-forward or ssh");
}

static bool is_unix_path(struct slice path)
{
    return path.len > 1 && path.at[0] == '/' &&
           path.len < sizeof(((struct sockaddr_un *)0)->sun_path);
}

static const char store_verdict[] = "is not a store";

static bool check_redis_url(const struct url *url, struct scalar_fault *fault)
{
    struct slice db = url->path.len > 0 ? slice_skip(url->path, 1) : url->path;
    uint64_t number;

    if (db.len > 0 && (!slice_to_uint64(db, &number) || number > 65535))
        return scalar_fail(fault, store_verdict,
                           "after the host may follow only the number of a database, like /0");
    return true;
}

/* unix://[[user]:password@]/path[?db=N] */
static bool check_unix_store(struct slice text, struct scalar_fault *fault)
{
    struct slice rest = slice_skip(text, SLICE("unix://").len);
    size_t slash = slice_find(rest, '/');
    struct slice path = slice_skip(rest, slash), query;
    size_t question = slice_find(path, '?');
    uint64_t number;

    if ((slash > 0 && rest.at[slash - 1] != '@') || !is_unix_path(slice_head(path, question)))
        return scalar_fail(fault, store_verdict,
                           "a unix socket needs an absolute path, as in unix:///run/redis.sock");
    query = slice_skip(path, question);
    if (query.len > 0 && (!slice_starts_with(query, SLICE("?db=")) ||
                          !slice_to_uint64(slice_skip(query, 4), &number) || number > 65535))
        return scalar_fail(fault, store_verdict,
                           "after the path of a unix socket may follow only the number of a "
                           "database, like ?db=3");
    return true;
}

/* Messages never repeat the URL: it may hold a password. */
static bool read_store(struct schema *schema, const struct schema_field *field, struct slice text,
                       void *ret, struct scalar_fault *fault)
{
    const char *problem;
    struct url url;

    UNUSED(field);
    if (slice_equal(text, SLICE("embedded")))
        return store_text(text, ret);
    if (slice_starts_with(text, SLICE("unix://")))
        return check_unix_store(text, fault) && store_text(text, ret);
    problem = url_parse(schema->scratch, text, &url);
    if (problem == NULL && !slice_equal(url.scheme, SLICE("redis")) &&
        !slice_equal(url.scheme, SLICE("rediss")))
        return scalar_fail(fault, store_verdict,
                           "unknown scheme; there are embedded, redis://host:port, "
                           "rediss://host:port and unix:///path");
    if (problem != NULL && slice_find(text, ':') == text.len)
        return scalar_fail(fault, store_verdict,
                           "write embedded, redis://host:port or unix:///path");
    if (problem != NULL)
        return scalar_fail(fault, store_verdict, "%s", problem);
    return check_redis_url(&url, fault) && store_text(text, ret);
}

static const char upstream_verdict[] = "is not a service's address";

static bool read_unix_upstream(struct slice text, struct policy_address *upstream,
                               struct scalar_fault *fault)
{
    struct slice path = slice_skip(text, SLICE("unix:").len);

    if (slice_starts_with(path, SLICE("///")))
        path = slice_skip(path, 2);
    if (!is_unix_path(path) || path.at[1] == '/')
        return scalar_fail(fault, upstream_verdict,
                           "a unix socket needs an absolute path of at most 107 bytes, as in "
                           "unix:/run/app.sock");
    upstream->url = text.at;
    return true;
}

/* Without the port that goes without saying. */
static const char *host_field(struct arena *arena, const struct url *url)
{
    bool is_ipv6 = slice_find(url->host, ':') < url->host.len;
    struct slice host = is_ipv6 ? arena_printf(arena, "[%.*s]", SLICE_ARGS(url->host)) : url->host;

    if (url->port == 0 || url->port == (slice_equal(url->scheme, SLICE("https")) ? 443 : 80))
        return arena_copy(arena, host).at;
    return arena_printf(arena, "%.*s:%u", SLICE_ARGS(host), url->port).at;
}

static bool read_upstream(struct schema *schema, const struct schema_field *field,
                          struct slice text, void *ret, struct scalar_fault *fault)
{
    struct policy_address upstream = {.url = text.at};
    const char *problem;
    struct url url;

    UNUSED(field);
    if (slice_starts_with(text, SLICE("unix:"))) {
        struct slice path = slice_skip(text, 5);

        if (!read_unix_upstream(text, &upstream, fault))
            return false;
        if (slice_starts_with(path, SLICE("///")))
            path = slice_skip(path, 2);
        upstream.host = arena_printf(schema->arena, "unix:%.*s", SLICE_ARGS(path)).at;
        upstream.host_field = "localhost";
        memcpy(ret, &upstream, sizeof(upstream));
        return true;
    }
    problem = url_parse(schema->scratch, text, &url);
    if (problem != NULL)
        return scalar_fail(fault, upstream_verdict, "%s", problem);
    upstream.is_tls = slice_equal(url.scheme, SLICE("https"));
    if (!upstream.is_tls && !slice_equal(url.scheme, SLICE("http")))
        return scalar_fail(fault, upstream_verdict,
                           "write it as http://host:port, https://host:port or unix:/path");
    if (url.user.at != NULL)
        return scalar_fail(fault, upstream_verdict, "it cannot hold a user name");
    if (url.path.len > 1)
        return scalar_fail(fault, upstream_verdict,
                           "a path cannot follow the host: requests go to the "
                           "service under the path they came with");
    upstream.host = arena_copy(schema->arena, url.host).at;
    upstream.port = url.port != 0 ? url.port : upstream.is_tls ? 443 : 80;
    upstream.host_field = host_field(schema->arena, &url);
    memcpy(ret, &upstream, sizeof(upstream));
    return true;
}

static bool read_rate(struct schema *schema, const struct schema_field *field, struct slice text,
                      void *ret, struct scalar_fault *fault)
{
    static const enum policy_period periods[] = {[SCALAR_EXACT] = POLICY_PERIOD_US,
                                                 [SCALAR_MONTH] = POLICY_PERIOD_MONTH,
                                                 [SCALAR_YEAR] = POLICY_PERIOD_YEAR};
    struct policy_rate *rate = ret;
    struct scalar_rate read;

    UNUSED(schema);
    UNUSED(field);
    if (!scalar_read_rate(text, &read, fault))
        return false;
    *rate = (struct policy_rate){read.count, read.period_us, periods[read.calendar]};
    return true;
}

/* A mistake in the path or in the jwt section is reported once, not again by each key that builds
 * on it. */
static bool builds_on_broken(const struct types_load *load, struct slice text)
{
    return (load->is_path_broken && memmem(text.at, text.len, "{path.", 6) != NULL) ||
           (load->is_jwt_broken && memmem(text.at, text.len, "{jwt.", 5) != NULL);
}

static bool compile_template(struct schema *schema, struct slice text, const char *verdict,
                             const struct template **ret_template, struct scalar_fault *fault)
{
    struct types_load *load = schema->owner;
    struct template_error error;
    struct template *template;

    if (builds_on_broken(load, text))
        return true;
    template = template_compile(schema->arena, text, load->path_param_names,
                                load->route->path_param_count, load->verifier, &error);
    if (template != NULL) {
        *ret_template = template;
        return true;
    }
    scalar_fail(fault, verdict, "%s", error.message);
    fault->offset = error.offset;
    fault->len = error.offset < text.len ? 1 : 0;
    return false;
}

static bool read_template(struct schema *schema, const struct schema_field *field,
                          struct slice text, void *ret, struct scalar_fault *fault)
{
    UNUSED(field);
    return compile_template(schema, text, "is not a key", ret, fault);
}

/* A number, or a template that renders to one. */
static bool read_cost(struct schema *schema, const struct schema_field *field, struct slice text,
                      void *ret, struct scalar_fault *fault)
{
    static const char verdict[] = "is not a cost";
    struct policy_limit *limit = ret;

    UNUSED(field);
    if (slice_find(text, '{') < text.len) {
        if (!compile_template(schema, text, verdict, &limit->cost_template, fault))
            return false;
        if (limit->cost_template != NULL && template_is_constant(limit->cost_template))
            return scalar_fail(fault, verdict, "it is neither a whole number nor a variable");
        return true;
    }
    if (!scalar_read_count(text, &limit->cost, fault))
        return scalar_fail(fault, verdict,
                           "write a whole number, or a variable like {header.x-cost}");
    if (limit->cost == 0)
        return scalar_fail(fault, verdict, "it is at least 1");
    return limit->cost <= 1000000000 || scalar_fail(fault, "is too large", "at most 1000000000");
}

static bool read_utc_offset(struct schema *schema, const struct schema_field *field,
                            struct slice text, void *ret, struct scalar_fault *fault)
{
    UNUSED(schema);
    UNUSED(field);
    return scalar_read_utc_offset(text, ret, fault);
}

static bool read_path(struct schema *schema, const struct schema_field *field, struct slice text,
                      void *ret, struct scalar_fault *fault)
{
    struct types_load *load = schema->owner;
    struct policy_route *route = load->route;
    struct slice *names = arena_calloc(schema->arena, FACTS_MAX_PATH_PARAMS, sizeof(*names));
    size_t offset = 0;
    const char *problem =
        router_check_path(schema->scratch, text, names, &route->path_param_count, &offset);

    UNUSED(field);
    load->is_path_broken = problem != NULL;
    if (problem != NULL) {
        route->path_param_count = 0;
        scalar_fail(fault, "is not a path to match", "%s", problem);
        fault->offset = offset;
        fault->len = offset < text.len ? 1 : 0;
        return false;
    }
    load->path_param_names = names;
    route->path_param_names = names;
    memcpy(ret, &text, sizeof(text));
    return true;
}

static bool is_host_byte(char byte)
{
    return isalnum((unsigned char)byte) || byte == '-' || byte == '.' || byte == '_' || byte == ':';
}

static bool check_host(struct slice host, struct scalar_fault *fault)
{
    static const char verdict[] = "is not a host to match";
    struct slice name = slice_starts_with(host, SLICE("*.")) ? slice_skip(host, 2) : host;
    size_t colons = 0;

    if (memmem(host.at, host.len, "//", 2) != NULL)
        return scalar_fail(fault, verdict, "write only the host, without scheme and path");
    if (slice_equal(host, SLICE("*")))
        return scalar_fail(fault, verdict, "leave the key out to match every host");
    if (name.len == 0 || name.len > 253)
        return scalar_fail(fault, verdict, "a host has 1 to 253 characters");
    if (name.at[0] == '[')
        return scalar_fail(fault, verdict, "an IPv6 address stands here without brackets");
    for (size_t i = 0; i < name.len; i++) {
        if (name.at[i] == '*')
            return scalar_fail(fault, verdict,
                               "\"*.\" may stand only at the beginning, as in "
                               "*.example.com");
        if (!is_host_byte(name.at[i]))
            return scalar_fail(fault, verdict, "it has a character that hosts cannot have");
        colons += name.at[i] == ':';
    }
    if (colons == 1)
        return scalar_fail(fault, verdict, "write it without the port; every port matches");
    if (name.at[0] == '.' || name.at[name.len - 1] == '.')
        return scalar_fail(fault, verdict, "it cannot begin or end with a dot");
    return true;
}

static bool read_host_item(struct schema *schema, const struct schema_field *field,
                           struct slice text, void *ret, struct scalar_fault *fault)
{
    char *lower = arena_alloc(schema->arena, text.len + 1);
    struct slice host = slice_from(lower, text.len);

    UNUSED(field);
    if (!check_host(text, fault))
        return false;
    for (size_t i = 0; i < text.len; i++)
        lower[i] = (char)tolower((unsigned char)text.at[i]);
    lower[text.len] = '\0';
    memcpy(ret, &host, sizeof(host));
    return true;
}

/* One host is a list of one. */
static bool read_host(struct schema *schema, const struct schema_field *field, struct slice text,
                      void *ret, struct scalar_fault *fault)
{
    struct slice *item = arena_calloc(schema->arena, 1, sizeof(*item));
    size_t count = 1;

    if (!read_host_item(schema, field, text, item, fault))
        return false;
    memcpy(ret, &item, sizeof(item));
    memcpy((char *)ret - field->offset + field->count_offset, &count, sizeof(count));
    return true;
}

static bool is_token(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!isalnum((unsigned char)text.at[i]) && strchr("!#$%&'*+-.^_`|~", text.at[i]) == NULL)
            return false;
    return text.len > 0;
}

static bool read_method_item(struct schema *schema, const struct schema_field *field,
                             struct slice text, void *ret, struct scalar_fault *fault)
{
    static const char verdict[] = "is not a method";
    char upper[33];

    UNUSED(schema);
    UNUSED(field);
    if (!is_token(text) || text.len > 32)
        return scalar_fail(fault, verdict, "write it like GET or POST");
    for (size_t i = 0; i < text.len; i++)
        upper[i] = (char)toupper((unsigned char)text.at[i]);
    upper[text.len] = '\0';
    if (memcmp(upper, text.at, text.len) != 0)
        return scalar_fail(fault, verdict,
                           "upper and lower case differ in methods (did you mean "
                           "\"%s\"?)",
                           upper);
    memcpy(ret, &text, sizeof(text));
    return true;
}

static bool read_cidr_item(struct schema *schema, const struct schema_field *field,
                           struct slice text, void *ret, struct scalar_fault *fault)
{
    struct policy_cidr *cidr = ret;

    UNUSED(schema);
    UNUSED(field);
    return scalar_read_cidr(text, &cidr->network, &cidr->prefix_bits, fault);
}

static bool read_header_value(struct schema *schema, const struct schema_field *field,
                              const char *suffix, const struct yaml_node *node,
                              struct policy_header_match *match)
{
    const char *text;

    if (node->kind == YAML_SCALAR && node->is_plain && slice_equal(node->text, SLICE("true"))) {
        match->value = SLICE_NONE;
        return true;
    }
    if (node->kind == YAML_SCALAR && node->is_plain && slice_equal(node->text, SLICE("false"))) {
        schema_node_problem(
            schema, field, suffix, node,
            "absence cannot be matched; give true (present) or a value (in quotes if "
            "it is the word \"false\")");
        return false;
    }
    if (!schema_read_scalar(schema, field, &schema_string, suffix, node, &text))
        return false;
    match->value = slice_of(text);
    return true;
}

static bool bind_header_matches(struct schema *schema, const struct schema_field *field,
                                const struct yaml_node *node, void *record)
{
    struct policy_header_match *items =
        arena_calloc(schema->arena, node->count + 1, sizeof(*items));
    struct policy_route *route = record;
    bool is_good = true;

    for (struct yaml_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct policy_header_match *match = &items[route->header_count];
        struct slice name = entry->key->text;
        const char *suffix = arena_printf(schema->scratch, ".%.*s", SLICE_ARGS(name)).at;
        char *lower = arena_alloc(schema->arena, name.len);

        for (size_t i = 0; i < name.len; i++)
            lower[i] = (char)tolower((unsigned char)name.at[i]);
        match->name = slice_from(lower, name.len);
        if (!is_token(name)) {
            schema_node_problem(schema, field, suffix, entry->key,
                                "this is not the name of a header");
            is_good = false;
        } else if (read_header_value(schema, field, suffix, entry->value, match)) {
            route->header_count++;
        } else {
            is_good = false;
        }
    }
    route->headers = items;
    return is_good;
}

static bool bind_jwt(struct schema *schema, const struct schema_field *field,
                     const struct yaml_node *node, void *record)
{
    struct types_load *load = schema->owner;

    UNUSED(record);
    load->is_jwt_broken = !schema_bind_apart(schema, field, node, &load->jwt);
    return !load->is_jwt_broken;
}

const struct schema_type types_listen = {.name = "address",
                                         .phrase = "an address to listen on",
                                         .form = "like 0.0.0.0:8080",
                                         .kind = YAML_SCALAR,
                                         .read = read_listen,
                                         .json_pattern = "^.*:[0-9]+$|^unix:/.+$"};
const struct schema_type types_admin = {.name = "address",
                                        .phrase = "a loopback address",
                                        .form = "like 127.0.0.1:9103",
                                        .kind = YAML_SCALAR,
                                        .read = read_admin,
                                        .json_pattern =
                                            "^(127\\.[0-9.]+|\\[::1\\]):[0-9]+$|^unix:/.+$"};
const struct schema_type types_store = {.name = "store",
                                        .phrase = "a store",
                                        .form = "like embedded or redis://host:6379",
                                        .kind = YAML_SCALAR,
                                        .read = read_store,
                                        .json_pattern = "^(embedded$|rediss?://|unix://)"};
const struct schema_type types_upstream = {.name = "URL",
                                           .phrase = "a service's address",
                                           .form = "like http://127.0.0.1:3000",
                                           .kind = YAML_SCALAR,
                                           .read = read_upstream,
                                           .json_pattern = "^(https?://|unix:/)"};
const struct schema_type types_upstream_item = {.name = "URL",
                                                .phrase = "a service's address",
                                                .form = "like http://10.0.0.1:3000",
                                                .kind = YAML_SCALAR,
                                                .read = read_upstream,
                                                .json_pattern = "^(https?://|unix:/)",
                                                .item_size = sizeof(struct policy_address)};
const struct schema_type types_rate = {.name = "rate",
                                       .phrase = "a rate",
                                       .form = "like 10/minute or 5/10s",
                                       .kind = YAML_SCALAR,
                                       .read = read_rate,
                                       .json_pattern =
                                           "^0*[1-9][0-9]*/(month|year|[0-9]*" SCHEMA_TIME_UNIT
                                           "([0-9]+" SCHEMA_TIME_UNIT ")*)$"};
const struct schema_type types_template = {.name = "template",
                                           .phrase = "a key",
                                           .form = "like {header.x-user-id}",
                                           .kind = YAML_SCALAR,
                                           .read = read_template};
const struct schema_type types_cost = {.name = "number or template",
                                       .phrase = "a cost",
                                       .form = "like 5 or {header.x-cost}",
                                       .kind = YAML_SCALAR,
                                       .read = read_cost,
                                       .json_type = "integer",
                                       .json_pattern = "^[0-9]+$|\\{"};
const struct schema_type types_utc_offset = {.name = "offset",
                                             .phrase = "an offset from UTC",
                                             .form = "like +02:00",
                                             .kind = YAML_SCALAR,
                                             .read = read_utc_offset,
                                             .json_pattern = "^([+-][0-9]{2}:[0-9]{2}|Z|z)$"};
const struct schema_type types_path = {.name = "path template",
                                       .phrase = "a path",
                                       .form = "like /stock/{sku}",
                                       .kind = YAML_SCALAR,
                                       .read = read_path,
                                       .json_pattern = "^(/|\\*$)"};
const struct schema_type types_host = {.name = "host",
                                       .phrase = "a host",
                                       .form = "like api.example.com",
                                       .kind = YAML_SCALAR,
                                       .read = read_host};
const struct schema_type types_host_item = {.name = "host",
                                            .phrase = "a host",
                                            .form = "like api.example.com",
                                            .kind = YAML_SCALAR,
                                            .read = read_host_item,
                                            .item_size = sizeof(struct slice)};
const struct schema_type types_method_item = {.name = "method",
                                              .phrase = "a method",
                                              .form = "like GET",
                                              .kind = YAML_SCALAR,
                                              .read = read_method_item,
                                              .json_pattern = "^[^a-z]+$",
                                              .item_size = sizeof(struct slice)};
const struct schema_type types_cidr_item = {.name = "network",
                                            .phrase = "an address or network",
                                            .form = "like 10.0.0.0/8",
                                            .kind = YAML_SCALAR,
                                            .read = read_cidr_item,
                                            .json_pattern = "^[0-9a-fA-F:.]+(/[0-9]+)?$",
                                            .item_size = sizeof(struct policy_cidr)};
const struct schema_type types_header_matches = {.name = "section",
                                                 .phrase = "a section of header names",
                                                 .form = "like {x-canary: true}",
                                                 .kind = YAML_MAPPING,
                                                 .bind = bind_header_matches};
const struct schema_type types_jwt = {.name = "section",
                                      .phrase = "a section of keys",
                                      .form = "",
                                      .kind = YAML_MAPPING,
                                      .bind = bind_jwt};
