#include "guard/lock_context.h"

#include <inttypes.h>

#include "base/digest.h"

#define MAC_BYTES 32u
#define MAC_TEXT_BYTES 43u

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* Without padding. */
static struct slice encode(struct slice data, struct arena *arena)
{
    size_t len = (data.len * 4 + 2) / 3;
    char *text = arena_alloc(arena, len + 4), *out = text;

    for (size_t at = 0; at < data.len; at += 3) {
        const unsigned char *in = (const unsigned char *)data.at + at;
        size_t left = data.len - at;
        unsigned bits = (unsigned)in[0] << 16 | (left > 1 ? (unsigned)in[1] << 8 : 0) |
                        (left > 2 ? (unsigned)in[2] : 0);

        for (int shift = 18; shift >= 0; shift -= 6)
            *out++ = letters[bits >> shift & 63];
    }
    return slice_from(text, len);
}

static bool decode(struct slice text, struct arena *arena, struct slice *ret_data)
{
    char *data = arena_alloc(arena, text.len + 1), *out = data;
    unsigned bits = 0, count = 0;

    for (size_t at = 0; at < text.len; at++) {
        const char *letter = text.at[at] != '\0' ? strchr(letters, text.at[at]) : NULL;

        if (letter == NULL)
            return false;
        bits = bits << 6 | (unsigned)(letter - letters);
        count += 6;
        if (count >= 8) {
            count -= 8;
            *out++ = (char)(bits >> count & 0xff);
        }
    }
    *ret_data = slice_from(data, (size_t)(out - data));
    return count < 6 && (bits & ((1u << count) - 1)) == 0;
}

static struct slice sign(struct slice text, struct slice secret, struct arena *arena)
{
    uint8_t mac[MAC_BYTES];

    digest_hmac_sha256(secret, text, mac);
    return encode(slice_from((const char *)mac, sizeof(mac)), arena);
}

/* In a time that does not tell how much of it was right. */
static bool is_same_mac(struct slice a, struct slice b)
{
    unsigned different = 0;

    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        different |= (unsigned)(a.at[i] ^ b.at[i]);
    return different == 0;
}

static bool read_hold(struct slice line, struct lock_context_hold *ret)
{
    struct slice token, lease, delay;

    if (!slice_split(&line, ' ', &ret->id) || !slice_split(&line, ' ', &token) ||
        !slice_split(&line, ' ', &lease) || !slice_split(&line, ' ', &delay) || line.at == NULL)
        return false;
    ret->key = line;
    return ret->id.len > 1 && (ret->id.at[0] == 'x' || ret->id.at[0] == 's') &&
           slice_to_uint64(token, &ret->token) && slice_to_uint64(lease, &ret->lease_us) &&
           slice_to_uint64(delay, &ret->delay_us);
}

static bool read_payload(struct slice payload, struct lock_context *ret)
{
    struct slice line;

    ret->hold_count = 0;
    if (!slice_split(&payload, '\n', &line) || !slice_starts_with(line, SLICE("1 ")) ||
        !slice_to_uint64(slice_skip(line, 2), &ret->depth))
        return false;
    while (slice_split(&payload, '\n', &line)) {
        if (ret->hold_count == LOCK_CONTEXT_MAX_HOLDS ||
            !read_hold(line, &ret->holds[ret->hold_count]))
            return false;
        ret->hold_count++;
    }
    return true;
}

bool lock_context_read(struct slice field, struct slice secret, struct arena *arena,
                       struct lock_context *ret)
{
    struct slice text, mac, payload;

    if (field.len > LOCK_CONTEXT_MAX_BYTES || field.len <= MAC_TEXT_BYTES + 1)
        return false;
    text = slice_head(field, field.len - MAC_TEXT_BYTES - 1);
    mac = slice_skip(field, text.len + 1);
    return field.at[text.len] == '.' && is_same_mac(mac, sign(text, secret, arena)) &&
           decode(text, arena, &payload) && read_payload(payload, ret);
}

struct slice lock_context_write(const struct lock_context *context, struct slice secret,
                                struct arena *arena)
{
    struct slice payload = arena_printf(arena, "1 %" PRIu64, context->depth), text, mac;

    for (size_t i = 0; i < context->hold_count; i++) {
        const struct lock_context_hold *hold = &context->holds[i];

        payload = arena_printf(arena, "%.*s\n%.*s %" PRIu64 " %" PRIu64 " %" PRIu64 " %.*s",
                               SLICE_ARGS(payload), SLICE_ARGS(hold->id), hold->token,
                               hold->lease_us, hold->delay_us, SLICE_ARGS(hold->key));
        if (payload.len > LOCK_CONTEXT_MAX_BYTES * 3 / 4 - MAC_TEXT_BYTES)
            return SLICE_NONE;
    }
    text = encode(payload, arena);
    mac = sign(text, secret, arena);
    return arena_printf(arena, "%.*s.%.*s", SLICE_ARGS(text), SLICE_ARGS(mac));
}

const struct lock_context_hold *lock_context_find(const struct lock_context *context,
                                                  struct slice key)
{
    for (size_t i = 0; i < context->hold_count; i++)
        if (slice_equal(context->holds[i].key, key))
            return &context->holds[i];
    return NULL;
}

static int compare(struct slice a, struct slice b)
{
    int order = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);

    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

bool lock_context_is_out_of_order(const struct lock_context *context, struct slice key)
{
    for (size_t i = 0; i < context->hold_count; i++)
        if (compare(key, context->holds[i].key) < 0)
            return true;
    return false;
}
