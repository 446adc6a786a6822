/* What has been sent on a connection and not been answered yet, in order, with the bytes that would
 * be needed to send a script call once more. */
#ifndef STORE_PIPELINE_H
#define STORE_PIPELINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/slice.h"

struct store_call;

/* Payload bytes held at once, over all calls in flight. */
#define PIPELINE_MAX_BYTES ((size_t)2 * 1024 * 1024)

enum pipeline_kind {
    PIPELINE_CALL,      /* a script call; its owner may have given up on it */
    PIPELINE_HANDSHAKE, /* detail says which step */
    PIPELINE_IGNORED    /* whatever the answer is */
};

struct pipeline_slot {
    struct store_call *call; /* NULL: nobody waits for the answer (any more) */
    uint64_t sent_at_ms;
    uint64_t ends_at; /* how many bytes had been written to the connection with it */
    uint32_t payload_bytes;
    uint32_t part_count; /* of the whole command */
    uint16_t detail;     /* script, or step of the handshake */
    uint8_t kind;
    uint8_t resend_count;
};

struct pipeline {
    struct pipeline_slot *slots; /* ring; its size is a power of two */
    uint32_t slot_cap;
    uint32_t first, end; /* sequence numbers; they wrap around */
    char *bytes;         /* payloads of the slots first..end, in order */
    size_t bytes_start, bytes_end, bytes_cap;
};

void pipeline_init(struct pipeline *pipeline);
/* Forgets everything and frees the memory. */
void pipeline_clear(struct pipeline *pipeline);

static inline uint32_t pipeline_count(const struct pipeline *pipeline)
{
    return pipeline->end - pipeline->first;
}

/* Room for the payload of the next slot, or NULL when that passes the bound.  Moves the payloads
 * that are held. */
MUST_USE char *pipeline_reserve(struct pipeline *pipeline, size_t size);
/* slot->payload_bytes of the room reserved last become its payload.  Gives its sequence number. */
uint32_t pipeline_push(struct pipeline *pipeline, const struct pipeline_slot *slot);

/* Lent until the next push or pop. */
struct pipeline_slot *pipeline_at(struct pipeline *pipeline, uint32_t sequence);
/* The oldest; NULL when empty. */
struct pipeline_slot *pipeline_first(struct pipeline *pipeline);
struct slice pipeline_first_payload(const struct pipeline *pipeline);
void pipeline_pop(struct pipeline *pipeline);

#endif
