/* A growable byte buffer with a ceiling.  Moved, never shared.  Bytes are appended at the end and
 * consumed from the front. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"
#include "base/slice.h"

struct buf {
    char *data;
    size_t start, end; /* the bytes held are data[start..end) */
    size_t cap;
    size_t max_bytes; /* the ceiling on what is held */
};

void buf_init(struct buf *buf, size_t max_bytes);
/* Frees the memory; the buffer is empty and can be used again. */
void buf_clear(struct buf *buf);

static inline size_t buf_len(const struct buf *buf)
{
    return buf->end - buf->start;
}

static inline struct slice buf_slice(const struct buf *buf)
{
    /* An empty buffer may have no memory, and nothing may be added to a null pointer. */
    return buf->data != NULL ? slice_from(buf->data + buf->start, buf->end - buf->start)
                             : slice_from("", 0);
}

/* Room for size more bytes at the end, or NULL when that would pass the ceiling.
 * buf_commit then takes the first used of them. */
MUST_USE char *buf_reserve(struct buf *buf, size_t size);
void buf_commit(struct buf *buf, size_t used);

/* False, and nothing appended, when the ceiling would be passed. */
MUST_USE bool buf_append(struct buf *buf, struct slice s);
MUST_USE bool buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);

/* Drop the first count bytes. */
void buf_consume(struct buf *buf, size_t count);

#endif
