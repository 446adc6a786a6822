/* Lock-Context: what a chain of calls holds, told from hop to hop, so that a nested call passes a
 * lock of its own chain instead of waiting for it.
 *
 * The field is BASE64URL(payload) "." BASE64URL(HMAC-SHA256 of what is before the dot).  The
 * payload's first line is "1 DEPTH"; each further line is a hold: "ID TOKEN LEASE_US DELAY_US KEY".
 * A context proves nothing about now: who believes one asks the store whether the hold is still
 * there. */
#ifndef GUARD_LOCK_CONTEXT_H
#define GUARD_LOCK_CONTEXT_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"

#define LOCK_CONTEXT_MAX_HOLDS 32u
/* Longer fields are neither made nor read. */
#define LOCK_CONTEXT_MAX_BYTES 6144u

struct lock_context_hold {
    struct slice id; /* of the acquisition; begins with its mode, x or s */
    struct slice key;
    uint64_t token, lease_us, delay_us;
};

struct lock_context {
    uint64_t depth; /* calls with a lock in the chain so far */
    struct lock_context_hold holds[LOCK_CONTEXT_MAX_HOLDS];
    size_t hold_count;
};

/* False: not signed with this secret, or not a context.  Memory from arena. */
MUST_USE bool lock_context_read(struct slice field, struct slice secret, struct arena *arena,
                                struct lock_context *ret_context);
/* at == NULL when it would be too long. */
struct slice lock_context_write(const struct lock_context *context, struct slice secret,
                                struct arena *arena);
/* The chain's hold of key, or NULL. */
const struct lock_context_hold *lock_context_find(const struct lock_context *context,
                                                  struct slice key);
/* Whether key comes before one the chain holds: to wait for it might close a circle. */
bool lock_context_is_out_of_order(const struct lock_context *context, struct slice key);

#endif
