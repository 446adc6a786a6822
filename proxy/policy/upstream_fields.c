#include "policy/upstream_fields.h"

#include "policy/expand.h"
#include "policy/policy.h"
#include "policy/source.h"
#include "policy/suggest.h"
#include "policy/types.h"

#define DAY_MS UINT64_C(86400000)
#define SHORTHAND_NAME "default"

static const char *const balance_choices[] = {"round_robin", "least_connections", NULL};
static const char *const balance_help[] = {"each in turn",
                                           "the one with the fewest requests running", NULL};
static const char *const host_choices[] = {"keep", "rewrite", NULL};
static const char *const host_help[] = {"the `Host` the client sent",
                                        "the host of the address, as its URL has it", NULL};

#define DURATION(key, member, by_default, least, what)                                             \
    {                                                                                              \
        .name = key, .type = &schema_duration_ms, SCHEMA_FIELD(policy_upstream, member),           \
        .default_note = by_default, .min = least, .max = DAY_MS, .help = what                      \
    }
#define COUNT(key, member, least, most, what)                                                      \
    {                                                                                              \
        .name = key, .type = &schema_count, SCHEMA_FIELD(policy_upstream, member),                 \
        .default_note = "as in `upstream_options`", .min = least, .max = most, .help = what        \
    }
#define TLS_FILE(key, member, by_default, what)                                                    \
    {                                                                                              \
        .name = key, .type = &upstream_fields_file, SCHEMA_FIELD(policy_upstream, member),         \
        .default_note = by_default, .help = what                                                   \
    }

static const struct schema_field health_fields[] = {
    {.name = "failures",
     .type = &schema_count,
     SCHEMA_FIELD(policy_upstream, eject_failures),
     .default_text = "3",
     .min = 1,
     .max = 1000000,
     .help = "failures in a row after which an address is left out: connections refused, cut or "
             "silent, and answers that are no HTTP; not statuses"},
    {.name = "eject",
     .type = &schema_duration_ms,
     SCHEMA_FIELD(policy_upstream, eject_ms),
     .default_text = "10s",
     .min = 1,
     .max = DAY_MS,
     .help = "for how long; then one more failure is enough to leave it out again"},
};

static const struct schema_section health_section = {
    .name = "health",
    .title = "upstreams[].health",
    .help = "When an address of several is left out. With all of them out, the one that returns "
            "first is used.",
    .fields = health_fields,
    .field_count = COUNT_OF(health_fields)};

static const struct schema_field tls_fields[] = {
    {.name = "verify",
     .type = &schema_bool,
     SCHEMA_FIELD(policy_upstream, tls_verify),
     .default_text = "true",
     .help = "`false` believes any certificate: encrypted, but to whom is not known"},
    TLS_FILE("ca_file", tls_ca_file, "the system's",
             "PEM file of the authorities that may sign the service's certificate"),
    {.name = "server_name",
     .type = &schema_string,
     SCHEMA_FIELD(policy_upstream, tls_server_name),
     .min = 1,
     .max = 253,
     .default_note = "the host of the address",
     .help = "the name to ask for (SNI) and to find in the certificate",
     .example = "api.example.com"},
    TLS_FILE("certificate", tls_certificate, "none",
             "PEM file with the certificate (and its chain) that Lockkeeper shows to the service"),
    TLS_FILE("key", tls_key, "none", "PEM file with its private key"),
};

static void finish_tls(struct schema *schema, void *record)
{
    struct policy_upstream *upstream = record;

    upstream_fields_open_file(schema, "ca_file", &upstream->tls_ca_file);
    upstream_fields_open_file(schema, "certificate", &upstream->tls_certificate);
    upstream_fields_open_file(schema, "key", &upstream->tls_key);
    if (schema_is_given(schema, "certificate") != schema_is_given(schema, "key"))
        schema_problem(schema, POLICY_ERROR, NULL, "certificate and key go together");
    if (!upstream->tls_verify &&
        (schema_is_given(schema, "ca_file") || schema_is_given(schema, "server_name")))
        schema_problem(schema, POLICY_WARNING, "verify",
                       "nothing is verified, so ca_file has no effect and server_name is only "
                       "asked for");
}

static const struct schema_section tls_section = {
    .name = "upstream_tls",
    .title = "upstreams[].tls",
    .help =
        "How addresses with `https://` are spoken to: TLS 1.2 or 1.3. Files are looked at again "
        "every 10 s.",
    .fields = tls_fields,
    .field_count = COUNT_OF(tls_fields),
    .finish = finish_tls};

static const struct schema_field listen_tls_fields[] = {
    {.name = "certificate",
     .type = &upstream_fields_file,
     SCHEMA_FIELD(policy, settings.tls_certificate),
     .default_note = "must be given",
     .help = "PEM file with the certificate and its chain"},
    {.name = "key",
     .type = &upstream_fields_file,
     SCHEMA_FIELD(policy, settings.tls_key),
     .default_note = "must be given",
     .help = "PEM file with its private key"},
    {.name = "client_ca",
     .type = &upstream_fields_file,
     SCHEMA_FIELD(policy, settings.tls_client_ca),
     .default_note = "clients need no certificate",
     .help = "PEM file of the authorities that must have signed a client's certificate"},
};

static void finish_listen_tls(struct schema *schema, void *record)
{
    struct policy *policy = record;
    struct policy_settings *settings = &policy->settings;

    if (schema->frame->node == NULL)
        return;
    if (!schema_is_given(schema, "certificate") || !schema_is_given(schema, "key"))
        schema_problem(schema, POLICY_ERROR, NULL, "certificate and key must be given");
    upstream_fields_open_file(schema, "certificate", &settings->tls_certificate);
    upstream_fields_open_file(schema, "key", &settings->tls_key);
    upstream_fields_open_file(schema, "client_ca", &settings->tls_client_ca);
}

const struct schema_section upstream_fields_listen_tls = {
    .name = "listen_tls",
    .title = "tls",
    .help = "TLS 1.2 or 1.3 on `listen`. The files are looked at again every 10 s and with each "
            "reload; connections that begin then use the new ones.",
    .fields = listen_tls_fields,
    .field_count = COUNT_OF(listen_tls_fields),
    .finish = finish_listen_tls};

static const struct schema_field upstream_fields[] = {
    {.name = "name",
     .type = &schema_name,
     SCHEMA_FIELD(policy_upstream, name),
     .is_required = true,
     .help = "unique; appears in metrics and logs",
     .example = "stock"},
    {.name = "url",
     .type = &types_upstream,
     SCHEMA_FIELD(policy_upstream, single),
     .is_url = true,
     .default_note = "give `url` or `addresses`",
     .help = "its one address: `http://host:port`, `https://host:port` or `unix:/path`",
     .example = "http://stock:8080"},
    {.name = "addresses",
     .type = &schema_list,
     .item = &types_upstream_item,
     SCHEMA_COUNTED(policy_upstream, addresses, address_count),
     .is_url = true,
     .default_note = "give `url` or `addresses`",
     .help = "its addresses, at most 32; host names are looked up again for new connections, after "
             "30 s at the latest",
     .example = "[http://10.0.0.1:8080, http://10.0.0.2:8080]"},
    {.name = "balance",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_upstream, balance),
     .choices = balance_choices,
     .choice_help = balance_help,
     .default_text = "round_robin",
     .help = "which address a request goes to; a request that could not be sent to one goes to "
             "another"},
    {.name = "host",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_upstream, host),
     .choices = host_choices,
     .choice_help = host_help,
     .default_text = "keep",
     .help = "which `Host` the service sees"},
    DURATION("connect_timeout", connect_timeout_ms, "`timeouts.connect`", 1, "for a connection"),
    DURATION("response_timeout", response_timeout_ms, "`timeouts.response`", 1,
             "from the end of a request to the head of the answer"),
    DURATION("response_body_timeout", response_body_timeout_ms, "`timeouts.response_body`", 1,
             "longest pause within the answer"),
    DURATION("idle_timeout", idle_timeout_ms, "`timeouts.upstream_idle`", 1,
             "how long an unused connection is kept"),
    COUNT("max_connections", max_connections, 1, 65535, "connections to each address, per worker"),
    COUNT("max_waiting", max_waiting, 0, 1000000,
          "requests that wait for a connection to an address, per worker; beyond it 503"),
    DURATION("max_age", max_age_ms, "as in `upstream_options`", 0,
             "after how long a connection takes no further request; 0 is no limit"),
    {.name = "health",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &health_section,
     .help = "when an address is left out"},
    {.name = "tls",
     .type = &schema_section,
     SCHEMA_INLINE,
     .section = &tls_section,
     .help = "how `https://` addresses are spoken to"},
};

/* What is said for the service holds for each that says nothing else. */
static void inherit(const struct policy_settings *settings, struct policy_upstream *upstream)
{
    upstream->connect_timeout_ms = settings->connect_timeout_ms;
    upstream->response_timeout_ms = settings->response_timeout_ms;
    upstream->response_body_timeout_ms = settings->response_body_timeout_ms;
    upstream->idle_timeout_ms = settings->upstream_idle_timeout_ms;
    upstream->max_connections = settings->upstream_max_connections;
    upstream->max_waiting = settings->upstream_max_waiting;
    upstream->max_age_ms = settings->upstream_max_age_ms;
}

/* `upstream: URL` is an upstream like the others, and the first. */
static void take_shorthand(struct types_load *load)
{
    const struct policy_settings *settings = &load->policy->settings;
    struct policy_upstream *upstream;

    if (settings->upstream.url == NULL || load->has_shorthand)
        return;
    load->has_shorthand = true;
    upstream = arena_calloc(&load->policy->arena, 1, sizeof(*upstream));
    upstream->name = SHORTHAND_NAME;
    inherit(settings, upstream);
    upstream->addresses = &settings->upstream;
    upstream->address_count = 1;
    upstream->eject_failures = 3;
    upstream->eject_ms = 10000;
    upstream->tls_verify = true;
    load->upstreams[load->upstream_count++] = upstream;
}

static void begin_upstream(struct schema *schema, const struct yaml_node *node, void *record)
{
    struct types_load *load = schema->owner;
    struct policy_upstream *upstream = record;

    UNUSED(node);
    take_shorthand(load);
    upstream->name = "";
    inherit(&load->policy->settings, upstream);
}

static bool has_tls_settings(const struct policy_upstream *upstream)
{
    return !upstream->tls_verify || upstream->tls_ca_file != NULL ||
           upstream->tls_server_name != NULL || upstream->tls_certificate != NULL;
}

static void check_name(struct schema *schema, const struct policy_upstream *upstream)
{
    struct types_load *load = schema->owner;

    for (size_t i = 0; i < load->upstream_count && upstream->name[0] != '\0'; i++)
        if (strcmp(load->upstreams[i]->name, upstream->name) == 0)
            schema_problem(schema, POLICY_ERROR, "name",
                           i == 0 && load->has_shorthand
                               ? "the name is taken: it stands for the key \"upstream\""
                               : "another upstream has the same name");
}

static void finish_upstream(struct schema *schema, void *record)
{
    struct types_load *load = schema->owner;
    struct policy_upstream *upstream = record;
    bool has_url = schema_is_given(schema, "url"), has_list = schema_is_given(schema, "addresses");
    bool is_any_tls = false;

    if (has_url == has_list)
        schema_problem(schema, POLICY_ERROR, has_list ? "addresses" : NULL,
                       "give either url or addresses");
    else if (has_list && upstream->address_count == 0 && schema_is_sound(schema, "addresses"))
        schema_problem(schema, POLICY_ERROR, "addresses", "the list is empty");
    if (upstream->address_count > POLICY_MAX_ADDRESSES)
        schema_problem(schema, POLICY_ERROR, "addresses", "an upstream has at most %d addresses",
                       POLICY_MAX_ADDRESSES);
    if (has_url && schema_is_sound(schema, "url")) {
        upstream->addresses = &upstream->single;
        upstream->address_count = 1;
    }
    for (size_t i = 0; i < upstream->address_count; i++)
        is_any_tls |= upstream->addresses[i].is_tls;
    if (has_tls_settings(upstream) && !is_any_tls && schema_is_sound(schema, "url") &&
        schema_is_sound(schema, "addresses"))
        schema_problem(schema, POLICY_WARNING, "tls", "has no effect: no address is https://");
    check_name(schema, upstream);
    if (schema->frame->failed != 0)
        load->are_upstreams_broken = true;
    if (load->upstream_count == TYPES_MAX_UPSTREAMS) {
        schema_problem(schema, POLICY_ERROR, NULL, "there may be at most %d upstreams",
                       TYPES_MAX_UPSTREAMS);
        load->are_upstreams_broken = true;
        return;
    }
    upstream->index = (unsigned)load->upstream_count;
    load->upstreams[load->upstream_count++] = upstream;
}

const struct schema_section upstream_fields_section = {
    .name = "upstream",
    .title = "upstreams[]",
    .help = "One service. Routes choose it by name; those that choose none go to `upstream`, or to "
            "the first of this list when there is no `upstream`.",
    .fields = upstream_fields,
    .field_count = COUNT_OF(upstream_fields),
    .record_size = sizeof(struct policy_upstream),
    .begin = begin_upstream,
    .finish = finish_upstream};

static bool read_name(struct schema *schema, const struct schema_field *field, struct slice text,
                      void *ret, struct scalar_fault *fault)
{
    struct types_load *load = schema->owner;
    struct slice words[TYPES_MAX_UPSTREAMS], guess;

    UNUSED(field);
    take_shorthand(load);
    for (size_t i = 0; i < load->upstream_count; i++) {
        words[i] = slice_of(load->upstreams[i]->name);
        if (slice_equal(words[i], text)) {
            memcpy(ret, &load->upstreams[i], sizeof(load->upstreams[i]));
            return true;
        }
    }
    if (load->are_upstreams_broken)
        return true; /* it may be one of those that could not be read */
    guess = suggest_word(text, words, load->upstream_count);
    if (guess.at != NULL)
        return scalar_fail(fault, "is not the name of an upstream", "did you mean \"%.*s\"?",
                           SLICE_ARGS(guess));
    return scalar_fail(fault, "is not the name of an upstream", "%s",
                       load->upstream_count == 0 ? "none has a name; list them under upstreams"
                                                 : "see the list under upstreams");
}

static bool read_file(struct schema *schema, const struct schema_field *field, struct slice text,
                      void *ret, struct scalar_fault *fault)
{
    UNUSED(schema);
    UNUSED(field);
    if (text.len == 0)
        return scalar_fail(fault, "is empty", "%s", "");
    memcpy(ret, &text.at, sizeof(text.at));
    return true;
}

bool upstream_fields_open_file(struct schema *schema, const char *key, const char **path)
{
    const struct yaml_node *node = schema_value(schema, key);
    const char *problem;
    struct slice content;

    if (node == NULL || !schema_is_sound(schema, key))
        return false;
    *path = expand_path(schema->arena, node->mark.source->name, slice_of(*path));
    problem = source_read(schema->scratch, *path, SOURCE_MAX_BYTES, &content);
    if (problem == NULL && memmem(content.at, content.len, "-----BEGIN ", 11) == NULL)
        problem = "is no PEM file";
    if (problem != NULL)
        schema_problem(schema, POLICY_ERROR, key, "the file \"%s\" %s", *path, problem);
    return problem == NULL;
}

void upstream_fields_finish(struct schema *schema, struct policy *policy)
{
    struct types_load *load = schema->owner;
    const struct policy_upstream **all;

    take_shorthand(load);
    all = arena_calloc(&policy->arena, load->upstream_count + 1, sizeof(*all));
    for (size_t i = 0; i < load->upstream_count; i++)
        all[i] = load->upstreams[i];
    policy->upstreams = all;
    policy->upstream_count = load->upstream_count;
}

const struct schema_type upstream_fields_name = {.name = "name",
                                                 .phrase = "the name of an upstream",
                                                 .form = "",
                                                 .kind = YAML_SCALAR,
                                                 .read = read_name,
                                                 .json_pattern = "^[a-z0-9][a-z0-9._-]{0,63}$"};
const struct schema_type upstream_fields_file = {.name = "file",
                                                 .phrase = "the path of a file",
                                                 .form = "",
                                                 .kind = YAML_SCALAR,
                                                 .read = read_file};
