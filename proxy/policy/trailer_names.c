#include "policy/trailer_names.h"

#include "policy/lock_fields.h"

static const struct {
    const char *what;
    struct slice names[18];
} kinds[] = {
    {"frames a message",
     {SLICE_INIT("content-length"), SLICE_INIT("transfer-encoding"), SLICE_INIT("trailer")}},
    {"belongs to one hop",
     {SLICE_INIT("connection"), SLICE_INIT("keep-alive"), SLICE_INIT("proxy-connection"),
      SLICE_INIT("te"), SLICE_INIT("upgrade"), SLICE_INIT("http2-settings")}},
    {"routes a message",
     {SLICE_INIT("host"), SLICE_INIT("max-forwards"), SLICE_INIT("via"), SLICE_INIT("forwarded"),
      SLICE_INIT("x-forwarded-for"), SLICE_INIT("x-forwarded-proto"),
      SLICE_INIT("x-forwarded-host"), SLICE_INIT("x-real-ip")}},
    {"says who somebody is",
     {SLICE_INIT("authorization"), SLICE_INIT("authentication-info"), SLICE_INIT("cookie"),
      SLICE_INIT("proxy-authenticate"), SLICE_INIT("proxy-authentication-info"),
      SLICE_INIT("proxy-authorization"), SLICE_INIT("set-cookie"), SLICE_INIT("www-authenticate")}},
    {"says how to take a message",
     {SLICE_INIT("age"), SLICE_INIT("cache-control"), SLICE_INIT("date"), SLICE_INIT("expect"),
      SLICE_INIT("expires"), SLICE_INIT("if-match"), SLICE_INIT("if-modified-since"),
      SLICE_INIT("if-none-match"), SLICE_INIT("if-range"), SLICE_INIT("if-unmodified-since"),
      SLICE_INIT("location"), SLICE_INIT("pragma"), SLICE_INIT("prefer"), SLICE_INIT("range"),
      SLICE_INIT("retry-after"), SLICE_INIT("vary"), SLICE_INIT("warning")}},
    {"describes the content",
     {SLICE_INIT("content-encoding"), SLICE_INIT("content-range"), SLICE_INIT("content-type")}},
    {"is Lockkeeper's to say",
     {SLICE_INIT("fencing-token"), SLICE_INIT("idempotency-key"), SLICE_INIT("lock-context"),
      SLICE_INIT("lock-key"), SLICE_INIT("lock-mode"), SLICE_INIT("lock-status"),
      SLICE_INIT("ratelimit"), SLICE_INIT("ratelimit-policy"), SLICE_INIT("traceparent"),
      SLICE_INIT("tracestate"), SLICE_INIT("x-ratelimit-limit"),
      SLICE_INIT("x-ratelimit-remaining"), SLICE_INIT("x-ratelimit-reset"),
      SLICE_INIT("x-request-id")}},
};

static bool read_name(struct schema *schema, const struct schema_field *field, struct slice text,
                      void *ret, struct scalar_fault *fault)
{
    struct slice name;

    if (!lock_fields_header.read(schema, field, text, &name, fault))
        return false;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        for (size_t j = 0; kinds[i].names[j].at != NULL; j++)
            if (slice_equal(kinds[i].names[j], name))
                return scalar_fail(fault, "may not come behind a body", "this field %s",
                                   kinds[i].what);
    memcpy(ret, &name, sizeof(name));
    return true;
}

const struct schema_type trailer_names_item = {.name = "header",
                                               .phrase = "the name of a field",
                                               .form = "like x-checksum",
                                               .kind = YAML_SCALAR,
                                               .read = read_name,
                                               .item_size = sizeof(struct slice)};
