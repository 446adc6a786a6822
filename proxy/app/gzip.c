#include "app/gzip.h"

#include <zlib.h>

#include "app/accept.h"

#define GZIP_WINDOW_BITS (15 + 16) /* 16: with gzip's head and trailer */
#define MEMORY_LEVEL 8

bool gzip_is_accepted(struct slice accept_encoding)
{
    struct accept_item coding;
    bool by_star = false;

    while (accept_next(&accept_encoding, &coding)) {
        if (slice_equal_nocase(coding.name, SLICE("gzip")) ||
            slice_equal_nocase(coding.name, SLICE("x-gzip")))
            return coding.weight > 0;
        if (slice_equal(coding.name, SLICE("*")))
            by_star = coding.weight > 0;
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
