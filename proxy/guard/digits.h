/* Decimal digits into a caller's buffer: the hot path formats a dozen numbers per request and does
 * not go through printf for them. */
#ifndef GUARD_DIGITS_H
#define GUARD_DIGITS_H

#include <stdint.h>
#include <string.h>

#include "base/slice.h"

/* Room for any uint64_t. */
#define DIGITS_MAX_BYTES 20

/* Writes value at out and gives the end of what was written; no terminator. */
static inline char *digits_put(char *out, uint64_t value)
{
    char text[DIGITS_MAX_BYTES];
    size_t at = sizeof(text);

    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    memcpy(out, text + at, sizeof(text) - at);
    return out + (sizeof(text) - at);
}

/* The same for a piece of text. */
static inline char *digits_put_slice(char *out, struct slice text)
{
    if (text.len > 0)
        memcpy(out, text.at, text.len);
    return out + text.len;
}

#endif
