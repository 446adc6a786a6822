/* Bytes that wait for a socket, in fixed chunks.  Chunks come from a pool that the loop owns, and
 * go back as soon as they are empty, so that an idle stream holds none and a steady load allocates
 * nothing. */
#ifndef NET_OUT_QUEUE_H
#define NET_OUT_QUEUE_H

#include <stdint.h>
#include <sys/uio.h>

#include "base/slice.h"

/* One chunk with its head is 16 KiB; what it holds fits into one TLS record. */
#define OUT_CHUNK_BYTES (16u * 1024)
#define OUT_POOL_MAX_FREE 32u

struct out_chunk {
    struct out_chunk *next;
    uint32_t start, end; /* the bytes held are data[start..end) */
    char data[];
};

#define OUT_CHUNK_DATA_BYTES (OUT_CHUNK_BYTES - sizeof(struct out_chunk))

struct out_pool {
    struct out_chunk *free;
    unsigned free_count;
};

struct out_queue {
    struct out_chunk *first, *last;
    size_t bytes;
};

void out_pool_clear(struct out_pool *pool);

void out_queue_append(struct out_queue *queue, struct out_pool *pool, struct slice data);
/* The first bytes of the queue as a vector; gives the number of parts. */
unsigned out_queue_vector(const struct out_queue *queue, struct iovec *parts, unsigned max_parts);
/* The bytes of the first chunk; empty when there is none. */
struct slice out_queue_first(const struct out_queue *queue);
void out_queue_consume(struct out_queue *queue, struct out_pool *pool, size_t count);
void out_queue_clear(struct out_queue *queue, struct out_pool *pool);

#endif
