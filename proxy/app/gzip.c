#include "app/gzip.h"

#include <zlib.h>

#define GZIP_WINDOW_BITS (15 + 16) /* 16: with gzip's head and trailer */
#define MEMORY_LEVEL 8

/* "q=0", "q=0.", "q=0.000": not acceptable. */
static bool is_refusal(struct slice parameter)
{
    if (parameter.len < 3 || (parameter.at[0] != 'q' && parameter.at[0] != 'Q') ||
        parameter.at[1] != '=')
        return false;
    for (size_t i = 2; i < parameter.len; i++)
        if (parameter.at[i] != '0' && parameter.at[i] != '.')
            return false;
    return true;
}

bool gzip_is_accepted(struct slice accept_encoding)
{
    bool by_star = false;
    struct slice coding;

    while (slice_split(&accept_encoding, ',', &coding)) {
        size_t semicolon = slice_find(coding, ';');
        struct slice name = slice_trim(slice_head(coding, semicolon));
        bool is_accepted =
            semicolon == coding.len || !is_refusal(slice_trim(slice_skip(coding, semicolon + 1)));

        if (slice_equal_nocase(name, SLICE("gzip")) || slice_equal_nocase(name, SLICE("x-gzip")))
            return is_accepted;
        if (slice_equal(name, SLICE("*")))
            by_star = is_accepted;
    }
    return by_star;
}

bool gzip_append(struct buf *out, struct slice text)
{
    z_stream stream = {.zalloc = Z_NULL};
    size_t bound;
    char *room;

    CHECK(deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW_BITS, MEMORY_LEVEL,
                       Z_DEFAULT_STRATEGY) == Z_OK);
    bound = deflateBound(&stream, text.len);
    room = buf_reserve(out, bound);
    if (room != NULL) {
        stream.next_in = (Bytef *)(uintptr_t)text.at;
        stream.avail_in = (uInt)text.len;
        stream.next_out = (Bytef *)room;
        stream.avail_out = (uInt)bound;
        CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
        buf_commit(out, bound - stream.avail_out);
    }
    CHECK(deflateEnd(&stream) == Z_OK || room == NULL);
    return room != NULL;
}

const char *gzip_library_version(void)
{
    return zlibVersion();
}
