#include "net/out_queue.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/check.h"

static struct out_chunk *take_chunk(struct out_pool *pool)
{
    struct out_chunk *chunk = pool->free;

    if (chunk != NULL) {
        pool->free = chunk->next;
        pool->free_count--;
    } else {
        chunk = mem_alloc(OUT_CHUNK_BYTES);
    }
    chunk->next = NULL;
    chunk->start = chunk->end = 0;
    return chunk;
}

static void give_chunk(struct out_pool *pool, struct out_chunk *chunk)
{
    if (pool->free_count >= OUT_POOL_MAX_FREE) {
        free(chunk);
        return;
    }
    chunk->next = pool->free;
    pool->free = chunk;
    pool->free_count++;
}

void out_pool_clear(struct out_pool *pool)
{
    while (pool->free != NULL) {
        struct out_chunk *chunk = pool->free;

        pool->free = chunk->next;
        free(chunk);
    }
    pool->free_count = 0;
}

void out_queue_append(struct out_queue *queue, struct out_pool *pool, struct slice data)
{
    queue->bytes += data.len;
    while (data.len > 0) {
        struct out_chunk *last = queue->last;
        size_t count;

        if (last == NULL || last->end == OUT_CHUNK_DATA_BYTES) {
            last = take_chunk(pool);
            if (queue->last != NULL)
                queue->last->next = last;
            else
                queue->first = last;
            queue->last = last;
        }
        count = OUT_CHUNK_DATA_BYTES - last->end;
        if (count > data.len)
            count = data.len;
        memcpy(last->data + last->end, data.at, count);
        last->end += (uint32_t)count;
        data = slice_skip(data, count);
    }
}

unsigned out_queue_vector(const struct out_queue *queue, struct iovec *parts, unsigned max_parts)
{
    unsigned count = 0;

    for (struct out_chunk *chunk = queue->first; chunk != NULL && count < max_parts;
         chunk = chunk->next)
        parts[count++] = (struct iovec){chunk->data + chunk->start, chunk->end - chunk->start};
    return count;
}

struct slice out_queue_first(const struct out_queue *queue)
{
    const struct out_chunk *chunk = queue->first;

    return chunk != NULL ? slice_from(chunk->data + chunk->start, chunk->end - chunk->start)
                         : SLICE_NONE;
}

void out_queue_consume(struct out_queue *queue, struct out_pool *pool, size_t count)
{
    CHECK(count <= queue->bytes);
    queue->bytes -= count;
    while (count > 0) {
        struct out_chunk *chunk = queue->first;
        size_t held = chunk->end - chunk->start;

        if (count < held) {
            chunk->start += (uint32_t)count;
            return;
        }
        count -= held;
        queue->first = chunk->next;
        if (queue->first == NULL)
            queue->last = NULL;
        give_chunk(pool, chunk);
    }
}

void out_queue_clear(struct out_queue *queue, struct out_pool *pool)
{
    out_queue_consume(queue, pool, queue->bytes);
}
