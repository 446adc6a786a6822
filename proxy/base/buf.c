#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"

#define BUF_MIN_BYTES 256u

void buf_init(struct buf *buf, size_t max_bytes)
{
    *buf = (struct buf){.max_bytes = max_bytes};
}

void buf_clear(struct buf *buf)
{
    free(buf->data);
    buf_init(buf, buf->max_bytes);
}

char *buf_reserve(struct buf *buf, size_t size)
{
    size_t held = buf_len(buf), cap;

    if (size > buf->max_bytes || held > buf->max_bytes - size)
        return NULL;
    if (buf->cap - buf->end >= size)
        return buf->data + buf->end;
    if (buf->start > 0) {
        memmove(buf->data, buf->data + buf->start, held);
        buf->start = 0;
        buf->end = held;
    }
    if (buf->cap - buf->end >= size)
        return buf->data + buf->end;
    cap = buf->cap > 0 ? buf->cap : BUF_MIN_BYTES;
    while (cap - held < size)
        cap *= 2;
    buf->data = mem_realloc(buf->data, cap);
    buf->cap = cap;
    return buf->data + buf->end;
}

void buf_commit(struct buf *buf, size_t used)
{
    CHECK(used <= buf->cap - buf->end);
    buf->end += used;
}

bool buf_append(struct buf *buf, struct slice s)
{
    char *room;

    if (s.len == 0)
        return true;
    room = buf_reserve(buf, s.len);
    if (room == NULL)
        return false;
    memcpy(room, s.at, s.len);
    buf->end += s.len;
    return true;
}

bool buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    char *room;
    int len;

    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(len >= 0);
    room = buf_reserve(buf, (size_t)len + 1);
    if (room != NULL) {
        vsnprintf(room, (size_t)len + 1, format, again);
        buf->end += (size_t)len;
    }
    va_end(again);
    return room != NULL;
}

void buf_consume(struct buf *buf, size_t count)
{
    CHECK(count <= buf_len(buf));
    buf->start += count;
    if (buf->start == buf->end)
        buf->start = buf->end = 0;
}
