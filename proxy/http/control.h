/* Finding control bytes fast: every head is looked through once when it comes and once when it is
 * written, so this is among the dearest loops there are. */
#ifndef HTTP_CONTROL_H
#define HTTP_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The bytes of a word below 0x20 or equal to 0x7f have their high bit set; bytes above the lowest
 * such one may have it wrongly. */
static inline uint64_t control_mask(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t del = word ^ (ones * 0x7f);

    return (((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & highs;
}

/* Position of the first byte below 0x20, or 0x7f, from from on; or end. */
static inline size_t control_find(const char *at, size_t from, size_t end)
{
    size_t i = from;

#ifdef __SSE2__
    const __m128i last = _mm_set1_epi8(0x1f), del = _mm_set1_epi8(0x7f);

    for (; end - i >= 16; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(at + i));
        __m128i hits = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(bytes, last), bytes),
                                    _mm_cmpeq_epi8(bytes, del));
        unsigned mask = (unsigned)_mm_movemask_epi8(hits);

        if (mask != 0)
            return i + (size_t)__builtin_ctz(mask);
    }
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (; end - i >= 8; i += 8) {
        uint64_t word, mask;

        memcpy(&word, at + i, sizeof(word));
        mask = control_mask(word);
        if (mask != 0)
            return i + (size_t)__builtin_ctzll(mask) / 8;
    }
    /* The rest, together with what is known to be clean before it. */
    if (i < end && end - from >= 8) {
        uint64_t word, mask;

        memcpy(&word, at + end - 8, sizeof(word));
        mask = control_mask(word);
        return mask != 0 ? end - 8 + (size_t)__builtin_ctzll(mask) / 8 : end;
    }
#endif
    while (i < end && (uint8_t)at[i] >= 0x20 && at[i] != 0x7f)
        i++;
    return i;
}

#ifdef __SSE2__
/* High bits where bytes are control bytes other than tab. */
static inline __m128i control_hits_but_tab(const char *at)
{
    const __m128i last = _mm_set1_epi8(0x1f), del = _mm_set1_epi8(0x7f), tab = _mm_set1_epi8('\t');
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, last), bytes);

    return _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), low),
                        _mm_cmpeq_epi8(bytes, del));
}
#endif

/* Whether no byte is a control byte other than tab. */
static inline bool control_is_absent(const char *at, size_t len)
{
    size_t i = 0;

#ifdef __SSE2__
    if (len >= 16) {
        const char *last = at + len - 16; /* may overlap what is before it */
        __m128i hits = control_hits_but_tab(last);

        for (; at < last; at += 16)
            hits = _mm_or_si128(hits, control_hits_but_tab(at));
        return _mm_movemask_epi8(hits) == 0;
    }
#endif
    for (; i < len; i++)
        if (((uint8_t)at[i] < 0x20 && at[i] != '\t') || at[i] == 0x7f)
            return false;
    return true;
}

#endif
