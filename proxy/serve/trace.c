#include "serve/trace.h"

#include <sys/random.h>

#define TRACEPARENT_BYTES 55

static bool is_id_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || (byte != '\0' && strchr("-_.:=+/@", byte) != NULL);
}

bool trace_request_id_is_fine(struct slice id)
{
    if (id.len == 0 || id.len > TRACE_REQUEST_ID_MAX_BYTES)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!is_id_byte(id.at[i]))
            return false;
    return true;
}

/* xoroshiro128+: two additions and some shifts; its state begins with what the kernel gives. */
static uint64_t next_random(struct trace_source *source)
{
    uint64_t a, b, sum;

    if ((source->state[0] | source->state[1]) == 0)
        CHECK(getrandom(source->state, sizeof(source->state), 0) == (ssize_t)sizeof(source->state));
    a = source->state[0];
    b = source->state[1];
    sum = a + b;
    b ^= a;
    source->state[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
    source->state[1] = b << 37 | b >> 27;
    return sum;
}

/* Eight hex digits at once: each digit of bits in a byte of its own, then '0' or 'a' - 10 added. */
static void put_hex(char *out, uint32_t bits)
{
    uint64_t digits = bits, letters;

    digits = (digits << 16 | digits) & UINT64_C(0x0000ffff0000ffff);
    digits = (digits << 8 | digits) & UINT64_C(0x00ff00ff00ff00ff);
    digits = (digits << 4 | digits) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    letters = (digits + UINT64_C(0x0606060606060606)) >> 4 & UINT64_C(0x0101010101010101);
    digits += UINT64_C(0x3030303030303030) + letters * ('a' - '0' - 10);
    memcpy(out, &digits, sizeof(digits));
}

/* hex digits, a multiple of 16; not all of them 0. */
static void put_random(struct trace_source *source, char *out, size_t digits)
{
    for (size_t at = 0; at < digits; at += 16) {
        uint64_t bits = next_random(source);

        while (bits == 0)
            bits = next_random(source);
        put_hex(out + at, (uint32_t)bits);
        put_hex(out + at + 8, (uint32_t)(bits >> 32));
    }
}

struct slice trace_make_request_id(struct trace_source *source, struct arena *arena)
{
    char *text = arena_alloc(arena, 32);

    put_random(source, text, 32);
    return slice_from(text, 32);
}

static bool is_hex(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.at[i] >= '0' && s.at[i] <= '9') || (s.at[i] >= 'a' && s.at[i] <= 'f')))
            return false;
    return true;
}

static bool is_all_zero(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] != '0')
            return false;
    return true;
}

/* version "-" trace-id "-" parent-id "-" flags; later versions may be longer. */
struct slice trace_id(struct slice traceparent)
{
    struct slice version, id, parent, flags;

    if (traceparent.len < 55 || traceparent.at[2] != '-' || traceparent.at[35] != '-' ||
        traceparent.at[52] != '-')
        return SLICE_NONE;
    version = slice_head(traceparent, 2);
    id = slice_from(traceparent.at + 3, 32);
    parent = slice_from(traceparent.at + 36, 16);
    flags = slice_from(traceparent.at + 53, 2);
    if (!is_hex(version) || !is_hex(id) || !is_hex(parent) || !is_hex(flags))
        return SLICE_NONE;
    if (slice_equal(version, SLICE("ff")) || is_all_zero(id) || is_all_zero(parent))
        return SLICE_NONE;
    if (slice_equal(version, SLICE("00")) ? traceparent.len != 55
                                          : traceparent.len > 55 && traceparent.at[55] != '-')
        return SLICE_NONE;
    return id;
}

void trace_find(struct trace_source *source, const struct http_fields *fields, bool makes,
                uint64_t sample_ppm, struct arena *arena, struct trace *ret)
{
    size_t first = fields->first[HTTP_FIELD_TRACEPARENT], count = 0;
    char *text;

    *ret = (struct trace){.id = SLICE_NONE, .made = SLICE_NONE};
    for (size_t i = first; i > 0 && i <= fields->count; i++)
        count += fields->items[i - 1].id == HTTP_FIELD_TRACEPARENT;
    if (count == 1)
        ret->id = trace_id(fields->items[first - 1].value);
    ret->is_sent = ret->id.at != NULL;
    if (ret->is_sent || !makes)
        return;
    text = arena_alloc(arena, TRACEPARENT_BYTES);
    memcpy(text, "00-", 3);
    put_random(source, text + 3, 32);
    text[35] = '-';
    put_random(source, text + 36, 16);
    ret->id = slice_from(text + 3, 32);
    memcpy(text + 52, trace_is_sampled(ret->id, SLICE(""), sample_ppm) ? "-01" : "-00", 3);
    ret->made = slice_from(text, TRACEPARENT_BYTES);
}

/* FNV-1a, then mixed so that each bit counts. */
static uint64_t hash_text(struct slice text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.at[i]) * UINT64_C(0x100000001b3);
    hash = (hash ^ hash >> 33) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 33;
}

bool trace_is_sampled(struct slice id, struct slice request_id, uint64_t ppm)
{
    uint64_t bits = 0; /* 40 of them */

    if (id.at == NULL) {
        bits = hash_text(request_id) >> 24;
    } else {
        CHECK(id.len == 32);
        for (size_t i = 18; i < 28; i++) {
            unsigned char digit = (unsigned char)id.at[i];

            bits = bits << 4 | (uint64_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
        }
    }
    /* The highest are taken. */
    return bits * 1000000 >> 40 >= 1000000 - ppm;
}
