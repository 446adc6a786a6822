#include "policy/value.h"

int value_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The byte an escape at the start of s stands for, or -1. */
static int escaped_byte(struct slice s)
{
    int high, low;

    if (s.len < 3 || s.at[0] != '%')
        return -1;
    high = value_hex_digit(s.at[1]);
    low = value_hex_digit(s.at[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Cut one decoded byte of a query off *rest. */
static char take_query_byte(struct slice *rest)
{
    int escaped = escaped_byte(*rest);
    char byte = rest->at[0];

    if (escaped >= 0) {
        *rest = slice_skip(*rest, 3);
        return (char)escaped;
    }
    *rest = slice_skip(*rest, 1);
    return byte == '+' ? ' ' : byte;
}

static bool query_name_is(struct slice raw, struct slice name)
{
    size_t at = 0;

    while (raw.len > 0 && at < name.len) {
        if (take_query_byte(&raw) != name.at[at++])
            return false;
    }
    return raw.len == 0 && at == name.len;
}

static struct slice decode_query(struct slice raw, struct arena *arena)
{
    char *text;
    size_t len = 0;

    if (slice_find(raw, '%') == raw.len && slice_find(raw, '+') == raw.len)
        return raw;
    text = arena_reserve(arena, raw.len);
    while (raw.len > 0)
        text[len++] = take_query_byte(&raw);
    arena_commit(arena, len);
    return slice_from(text, len);
}

struct slice value_from_query(struct slice query, struct slice name, struct arena *arena)
{
    struct slice pair;

    while (slice_split(&query, '&', &pair)) {
        size_t equals = slice_find(pair, '=');

        if (pair.len > 0 && query_name_is(slice_head(pair, equals), name))
            return equals < pair.len ? decode_query(slice_skip(pair, equals + 1), arena)
                                     : SLICE("");
    }
    return SLICE_NONE;
}

struct slice value_from_cookie(struct slice cookie, struct slice name)
{
    struct slice pair;

    while (slice_split(&cookie, ';', &pair)) {
        size_t equals = slice_find(pair, '=');

        if (equals < pair.len && slice_equal(slice_trim(slice_head(pair, equals)), name))
            return slice_trim(slice_skip(pair, equals + 1));
    }
    return SLICE_NONE;
}

struct slice value_from_path(struct slice capture, struct arena *arena)
{
    char *text;
    size_t len = 0;

    if (slice_find(capture, '%') == capture.len)
        return capture;
    text = arena_reserve(arena, capture.len);
    while (capture.len > 0) {
        int byte = escaped_byte(capture);
        bool is_kept = byte < 0 || byte == '/' || byte == '%';

        text[len++] = is_kept ? capture.at[0] : (char)byte;
        capture = slice_skip(capture, is_kept ? 1 : 3);
    }
    arena_commit(arena, len);
    return slice_from(text, len);
}
