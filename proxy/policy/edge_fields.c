#include "policy/edge_fields.h"

#include "policy/policy.h"

const char *const edge_fields_proxy_choices[] = {"off", "trusted", "require", NULL};
const char *const edge_fields_proxy_help[] = {
    "none; such a header is a malformed request", "those of `trusted_proxies`, and no others",
    "those of `trusted_proxies`; all others are closed", NULL};

const char *const edge_fields_slash_choices[] = {"keep", "refuse", NULL};
const char *const edge_fields_slash_help[] = {
    "it separates nothing: for services that take it as a part of a segment",
    "answer 400: for services that decode before they route, and so see another path", NULL};

static const char *const forwarding_choices[] = {"x_forwarded", "forwarded", "both", NULL};
static const char *const forwarding_help[] = {
    "`X-Forwarded-For`, `-Proto` and `-Host`", "`Forwarded` (RFC 7239)",
    "both; what comes in is believed of `X-Forwarded-*`, and `Forwarded` is made from it", NULL};
static const char *const trace_choices[] = {"pass", "make", NULL};
static const char *const trace_help[] = {
    "a good one passes with its `tracestate`; there is none without",
    "the same, and a request without a good one gets one", NULL};

static bool read_share(struct schema *schema, const struct schema_field *field, struct slice text,
                       void *ret, struct scalar_fault *fault)
{
    UNUSED(schema);
    UNUSED(field);
    return scalar_read_ratio(text, ret, fault);
}

static const struct schema_type share = {.name = "share",
                                         .phrase = "a share",
                                         .form = "like 1/100 or 0.01",
                                         .kind = YAML_SCALAR,
                                         .read = read_share,
                                         .json_type = "number",
                                         .json_pattern =
                                             "^([0-9]+/0*[1-9][0-9]*|[01](\\.[0-9]{1,6})?)$"};

static const struct schema_field forwarding_fields[] = {
    {.name = "headers",
     .type = &schema_enum,
     SCHEMA_FIELD(policy, settings.forwarding),
     .choices = forwarding_choices,
     .choice_help = forwarding_help,
     .default_text = "x_forwarded",
     .help = "which fields name the client to the service"},
    {.name = "trace",
     .type = &schema_enum,
     SCHEMA_FIELD(policy, settings.trace),
     .choices = trace_choices,
     .choice_help = trace_help,
     .default_text = "pass",
     .help = "what becomes of `traceparent` (W3C Trace Context)"},
    {.name = "trace_sample",
     .type = &share,
     SCHEMA_FIELD(policy, settings.trace_sample_ppm),
     .default_text = "1",
     .help = "`make`: for how many of the traces made the flag says that they are sampled"},
};

const struct schema_section edge_fields_forwarding = {
    .name = "forwarding",
    .title = "forwarding",
    .help = "What the service is told of the hops before it.",
    .fields = forwarding_fields,
    .field_count = COUNT_OF(forwarding_fields)};

static const struct schema_field access_log_fields[] = {
    {.name = "sample",
     .type = &share,
     SCHEMA_FIELD(policy, settings.access_log_sample_ppm),
     .default_text = "1",
     .help = "how many of the good and quick requests have a line"},
    {.name = "slow",
     .type = &schema_duration_ms,
     SCHEMA_FIELD(policy, settings.access_log_slow_ms),
     .default_text = "1s",
     .min = 1,
     .max = UINT64_C(86400000),
     .help = "a request that takes as long always has a line"},
};

const struct schema_section edge_fields_access_log = {
    .name = "access_log_options",
    .title = "access_log_options",
    .help =
        "Which lines `access_log: all` leaves out. Requests that were refused or failed, and slow "
        "ones, are never left out.",
    .fields = access_log_fields,
    .field_count = COUNT_OF(access_log_fields)};
