#include "store/pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

#define MIN_SLOTS 64u
#define MIN_BYTES ((size_t)8 * 1024)

void pipeline_init(struct pipeline *pipeline)
{
    *pipeline = (struct pipeline){0};
}

void pipeline_clear(struct pipeline *pipeline)
{
    free(pipeline->slots);
    free(pipeline->bytes);
    pipeline_init(pipeline);
}

static void move_bytes(struct pipeline *pipeline, char *to)
{
    size_t held = pipeline->bytes_end - pipeline->bytes_start;

    if (held > 0)
        memmove(to, pipeline->bytes + pipeline->bytes_start, held);
    pipeline->bytes_start = 0;
    pipeline->bytes_end = held;
}

char *pipeline_reserve(struct pipeline *pipeline, size_t size)
{
    size_t held = pipeline->bytes_end - pipeline->bytes_start, cap = pipeline->bytes_cap;
    char *bytes;

    if (size > PIPELINE_MAX_BYTES || held > PIPELINE_MAX_BYTES - size)
        return NULL;
    if (cap > 0 && cap - pipeline->bytes_end >= size)
        return pipeline->bytes + pipeline->bytes_end;
    if (cap > 0 &&
        held + size <= cap / 2) { /* moving pays: it gains at least as much room as it moves */
        move_bytes(pipeline, pipeline->bytes);
        return pipeline->bytes + pipeline->bytes_end;
    }
    cap = cap > 0 ? cap : MIN_BYTES;
    while (cap / 2 < held + size)
        cap *= 2;
    bytes = mem_alloc(cap);
    move_bytes(pipeline, bytes);
    free(pipeline->bytes);
    pipeline->bytes = bytes;
    pipeline->bytes_cap = cap;
    return bytes + pipeline->bytes_end;
}

static void grow_slots(struct pipeline *pipeline)
{
    uint32_t cap = pipeline->slot_cap > 0 ? pipeline->slot_cap * 2 : MIN_SLOTS;
    struct pipeline_slot *slots = mem_calloc(cap, sizeof(*slots));

    CHECK(cap > pipeline->slot_cap);
    for (uint32_t at = pipeline->first; at != pipeline->end; at++)
        slots[at & (cap - 1)] = pipeline->slots[at & (pipeline->slot_cap - 1)];
    free(pipeline->slots);
    pipeline->slots = slots;
    pipeline->slot_cap = cap;
}

uint32_t pipeline_push(struct pipeline *pipeline, const struct pipeline_slot *slot)
{
    CHECK(slot->payload_bytes <= pipeline->bytes_cap - pipeline->bytes_end);
    if (pipeline_count(pipeline) == pipeline->slot_cap)
        grow_slots(pipeline);
    pipeline->bytes_end += slot->payload_bytes;
    pipeline->slots[pipeline->end & (pipeline->slot_cap - 1)] = *slot;
    return pipeline->end++;
}

struct pipeline_slot *pipeline_at(struct pipeline *pipeline, uint32_t sequence)
{
    CHECK(sequence - pipeline->first < pipeline_count(pipeline));
    return &pipeline->slots[sequence & (pipeline->slot_cap - 1)];
}

struct pipeline_slot *pipeline_first(struct pipeline *pipeline)
{
    return pipeline_count(pipeline) > 0 ? pipeline_at(pipeline, pipeline->first) : NULL;
}

struct slice pipeline_first_payload(const struct pipeline *pipeline)
{
    CHECK(pipeline_count(pipeline) > 0);
    return slice_from(pipeline->bytes + pipeline->bytes_start,
                      pipeline->slots[pipeline->first & (pipeline->slot_cap - 1)].payload_bytes);
}

void pipeline_pop(struct pipeline *pipeline)
{
    CHECK(pipeline_count(pipeline) > 0);
    pipeline->bytes_start += pipeline_first(pipeline)->payload_bytes;
    pipeline->first++;
    if (pipeline->bytes_start == pipeline->bytes_end)
        pipeline->bytes_start = pipeline->bytes_end = 0;
}
