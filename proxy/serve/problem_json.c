#include "serve/problem_json.h"

#include "base/log.h"
#include "guard/digits.h"

#define DETAIL_MAX_BYTES 512
#define NAME_MAX_BYTES 256
#define FIXED_BYTES 512
/* Content-Type, Cache-Control, Retry-After, X-Request-Id. */
#define OWN_FIELDS 4

static const char *const executed_text[] = {[VERDICT_EXECUTED_NO] = "no",
                                            [VERDICT_EXECUTED_YES] = "yes",
                                            [VERDICT_EXECUTED_UNKNOWN] = "unknown"};

static char *put_text(char *out, struct slice key, const char *value)
{
    out = digits_put_slice(out, key);
    return out + log_json_string(out, NAME_MAX_BYTES, slice_of(value));
}

static char *put_violated(char *out, const struct verdict *verdict)
{
    out = digits_put_slice(out, SLICE(",\"violated-policies\":["));
    for (size_t i = 0; i < verdict->violated_count; i++) {
        if (i > 0)
            *out++ = ',';
        out += log_json_string(out, NAME_MAX_BYTES, slice_of(verdict->violated[i]));
    }
    *out++ = ']';
    return out;
}

static struct slice write_body(const struct verdict *verdict, struct arena *arena)
{
    size_t room = FIXED_BYTES + DETAIL_MAX_BYTES + (4 + verdict->violated_count) * NAME_MAX_BYTES;
    char *start = arena_reserve(arena, room), *out = start;

    out = put_text(out, SLICE("{\"type\":"), verdict->type);
    out = put_text(out, SLICE(",\"title\":"), verdict->title);
    out = digits_put_slice(out, SLICE(",\"status\":"));
    out = digits_put(out, verdict->status);
    out = put_text(out, SLICE(",\"reason\":"), verdict->reason);
    out = put_text(out, SLICE(",\"executed\":"), executed_text[verdict->executed]);
    if (verdict->detail.at != NULL) {
        out = digits_put_slice(out, SLICE(",\"detail\":"));
        out += log_json_string(out, DETAIL_MAX_BYTES, verdict->detail);
    }
    if (verdict->violated_count > 0)
        out = put_violated(out, verdict);
    out = digits_put_slice(out, SLICE("}\n"));
    arena_commit(arena, (size_t)(out - start));
    return slice_from(start, (size_t)(out - start));
}

static struct slice seconds_text(uint64_t seconds, struct arena *arena)
{
    char *start = arena_reserve(arena, DIGITS_MAX_BYTES);
    size_t len = (size_t)(digits_put(start, seconds) - start);

    arena_commit(arena, len);
    return slice_from(start, len);
}

static void add_field(struct http_fields *fields, enum http_field_id id, struct slice name,
                      struct slice value)
{
    fields->items[fields->count++] = (struct http_field){.name = name, .value = value, .id = id};
}

void problem_json_write(const struct verdict *verdict, struct slice request_id, struct arena *arena,
                        struct http_response *ret_head, struct slice *ret_body)
{
    struct http_fields *fields = &ret_head->fields;

    *ret_body = write_body(verdict, arena);
    *ret_head = (struct http_response){.status = verdict->status,
                                       .reason = slice_of(http_status_phrase(verdict->status)),
                                       .content_length = ret_body->len,
                                       .body = HTTP_BODY_LENGTH,
                                       .minor = 1};
    fields->items =
        arena_alloc(arena, (OWN_FIELDS + verdict->field_count) * sizeof(*fields->items));
    add_field(fields, HTTP_FIELD_OTHER, SLICE("Content-Type"), SLICE("application/problem+json"));
    add_field(fields, HTTP_FIELD_OTHER, SLICE("Cache-Control"), SLICE("no-store"));
    if (verdict->has_retry_after)
        add_field(fields, HTTP_FIELD_RETRY_AFTER, SLICE("Retry-After"),
                  seconds_text(verdict->retry_after_s, arena));
    for (size_t i = 0; i < verdict->field_count; i++)
        add_field(fields, HTTP_FIELD_OTHER, verdict->fields[i].name, verdict->fields[i].value);
    if (request_id.at != NULL)
        add_field(fields, HTTP_FIELD_X_REQUEST_ID, SLICE("X-Request-Id"), request_id);
}
