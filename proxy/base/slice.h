/* A view of bytes somebody else owns: pointer and length, no terminator promised. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"

struct slice {
    const char *at;
    size_t len;
};

#define SLICE(literal) ((struct slice){"" literal, sizeof(literal) - 1})
#define SLICE_INIT(literal)                                                                        \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }
#define SLICE_NONE ((struct slice){NULL, 0})
/* For printf: "%.*s", SLICE_ARGS(s). */
#define SLICE_ARGS(s) ((int)(s).len), ((s).at != NULL ? (s).at : "")

static inline struct slice slice_of(const char *text)
{
    return (struct slice){text, text != NULL ? strlen(text) : 0};
}

static inline struct slice slice_from(const char *at, size_t len)
{
    return (struct slice){at, len};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* ASCII case-insensitive, as header names and host names are. */
static inline bool slice_equal_nocase(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.at, b.at, a.len) == 0);
}

static inline bool slice_starts_with(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.at, prefix.at, prefix.len) == 0);
}

static inline bool slice_ends_with(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len &&
           (suffix.len == 0 || memcmp(s.at + s.len - suffix.len, suffix.at, suffix.len) == 0);
}

static inline struct slice slice_skip(struct slice s, size_t count)
{
    CHECK(count <= s.len);
    return (struct slice){s.at + count, s.len - count};
}

static inline struct slice slice_head(struct slice s, size_t count)
{
    CHECK(count <= s.len);
    return (struct slice){s.at, count};
}

/* Where byte first stands in s, or s.len. */
static inline size_t slice_find(struct slice s, char byte)
{
    const char *found = s.len > 0 ? memchr(s.at, byte, s.len) : NULL;

    return found != NULL ? (size_t)(found - s.at) : s.len;
}

/* Without leading and trailing spaces and tabs (OWS of RFC 9110, section 5.6.3). */
static inline struct slice slice_trim(struct slice s)
{
    while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t'))
        s = slice_skip(s, 1);
    while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Cut the part before the next separator off *rest, without the separator.  False when *rest has
 * nothing left: *rest.at becomes NULL after the last part.  "a,,b" gives "a", "", "b". */
static inline bool slice_split(struct slice *rest, char separator, struct slice *ret_part)
{
    size_t at;

    if (rest->at == NULL)
        return false;
    at = slice_find(*rest, separator);
    *ret_part = slice_head(*rest, at);
    *rest = at < rest->len ? slice_skip(*rest, at + 1) : SLICE_NONE;
    return true;
}

/* Decimal digits only, no sign, no space, no overflow of 64 bits. */
static inline bool slice_to_uint64(struct slice s, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (s.len == 0 || s.len > 20)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.at[i] - '0'), &value))
            return false;
    }
    *ret_value = value;
    return true;
}

#endif
