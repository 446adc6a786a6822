#include "guard/quota_fields.h"

#include "guard/digits.h"

/* A structured-field Integer has at most 15 digits (RFC 9651, section 3.3.1). */
#define INTEGER_MAX UINT64_C(999999999999999)

#define US_PER_SECOND 1000000u

uint64_t quota_fields_capacity(const struct policy_limit *limit)
{
    return limit->algorithm == POLICY_TOKEN_BUCKET ? limit->burst : limit->rate.count;
}

/* The window of a bucket is the time it takes to refill from empty. */
static uint64_t window_us(const struct policy_limit *limit)
{
    uint64_t product;
    unsigned __int128 quotient;

    if (limit->algorithm != POLICY_TOKEN_BUCKET || limit->rate.count == 0 ||
        limit->burst == limit->rate.count)
        return limit->rate.period_us;
    if (!__builtin_mul_overflow(limit->rate.period_us, limit->burst, &product))
        return product / limit->rate.count;
    quotient = (unsigned __int128)limit->rate.period_us * limit->burst / limit->rate.count;
    return quotient < UINT64_MAX ? (uint64_t)quotient : UINT64_MAX;
}

static uint64_t window_s(const struct policy_limit *limit)
{
    uint64_t us = window_us(limit), seconds = us / US_PER_SECOND + (us % US_PER_SECOND > 0);

    return seconds > 0 ? seconds : 1;
}

static bool is_told(const struct policy_limit *limit)
{
    return limit->mode == POLICY_ENFORCE;
}

/* A structured-field String: printable ASCII, with '"' and '\' escaped (RFC 9651, section 4.1.6).
 * Anything else in a name would make the whole field invalid, so it becomes '?'. */
static char *put_string(char *out, const char *text)
{
    *out++ = '"';
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;

        if (byte == '"' || byte == '\\')
            *out++ = '\\';
        *out++ = byte >= 0x20 && byte < 0x7f ? (char)byte : '?';
    }
    *out++ = '"';
    return out;
}

static char *put_integer(char *out, uint64_t value)
{
    return digits_put(out, value < INTEGER_MAX ? value : INTEGER_MAX);
}

static size_t item_bytes(const struct policy_limit *limit)
{
    return 2 * strlen(limit->name) + sizeof("\"\";q=;w=, ") + 2 * DIGITS_MAX_BYTES;
}

struct slice quota_fields_policy(const struct policy_route *route, struct arena *arena)
{
    size_t room = 1;
    char *start, *out;

    for (size_t i = 0; i < route->limit_count; i++)
        room += item_bytes(route->limits[i]);
    out = start = arena_reserve(arena, room);
    for (size_t i = 0; i < route->limit_count; i++) {
        const struct policy_limit *limit = route->limits[i];

        if (!is_told(limit))
            continue;
        if (out != start)
            out = digits_put_slice(out, SLICE(", "));
        out = put_string(out, limit->name);
        out = digits_put_slice(out, SLICE(";q="));
        out = put_integer(out, quota_fields_capacity(limit));
        out = digits_put_slice(out, SLICE(";w="));
        out = put_integer(out, window_s(limit));
    }
    arena_commit(arena, (size_t)(out - start));
    return slice_from(start, (size_t)(out - start));
}

struct slice quota_fields_state(const struct quota *quotas, size_t count, struct arena *arena)
{
    size_t room = 1;
    char *start, *out;

    for (size_t i = 0; i < count; i++)
        room += item_bytes(quotas[i].limit);
    out = start = arena_reserve(arena, room);
    for (size_t i = 0; i < count; i++) {
        if (!is_told(quotas[i].limit))
            continue;
        if (out != start)
            out = digits_put_slice(out, SLICE(", "));
        out = put_string(out, quotas[i].limit->name);
        out = digits_put_slice(out, SLICE(";r="));
        out = put_integer(out, quotas[i].available);
        out = digits_put_slice(out, SLICE(";t="));
        out = put_integer(out, quotas[i].window_s);
    }
    arena_commit(arena, (size_t)(out - start));
    return slice_from(start, (size_t)(out - start));
}

static void add_field(struct verdict *verdict, struct slice name, struct slice value)
{
    if (value.len == 0)
        return;
    CHECK(verdict->field_count < VERDICT_MAX_FIELDS);
    verdict->fields[verdict->field_count++] = (struct verdict_field){name, value};
}

static struct slice integer_text(uint64_t value, struct arena *arena)
{
    char *start = arena_reserve(arena, DIGITS_MAX_BYTES);
    size_t len = (size_t)(digits_put(start, value) - start);

    arena_commit(arena, len);
    return slice_from(start, len);
}

/* True when a client should rather know of a than of b: what denied it, then what is emptier for
 * its size. */
static bool is_tighter(const struct quota *a, const struct quota *b)
{
    unsigned __int128 share_a, share_b;

    if (a->is_denied != b->is_denied)
        return a->is_denied;
    if (a->is_denied)
        return a->window_s > b->window_s;
    share_a = (unsigned __int128)a->available * quota_fields_capacity(b->limit);
    share_b = (unsigned __int128)b->available * quota_fields_capacity(a->limit);
    return share_a < share_b;
}

static const struct quota *tightest(const struct quota *quotas, size_t count)
{
    const struct quota *found = NULL;

    for (size_t i = 0; i < count; i++)
        if (is_told(quotas[i].limit) && (found == NULL || is_tighter(&quotas[i], found)))
            found = &quotas[i];
    return found;
}

static void add_legacy(const struct quota *quotas, size_t count, struct arena *arena,
                       struct verdict *verdict)
{
    const struct quota *quota = tightest(quotas, count);

    if (quota == NULL)
        return;
    add_field(verdict, SLICE("X-RateLimit-Limit"),
              integer_text(quota_fields_capacity(quota->limit), arena));
    add_field(verdict, SLICE("X-RateLimit-Remaining"), integer_text(quota->available, arena));
    add_field(verdict, SLICE("X-RateLimit-Reset"), integer_text(quota->window_s, arena));
}

void quota_fields_add(const struct policy_route *route, const struct quota *quotas, size_t count,
                      struct arena *arena, struct verdict *verdict)
{
    if (route->ratelimit_headers == POLICY_HEADERS_DRAFT) {
        add_field(verdict, SLICE("RateLimit-Policy"), quota_fields_policy(route, arena));
        add_field(verdict, SLICE("RateLimit"), quota_fields_state(quotas, count, arena));
    } else if (route->ratelimit_headers == POLICY_HEADERS_LEGACY) {
        add_legacy(quotas, count, arena, verdict);
    }
}
