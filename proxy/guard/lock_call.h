/* The calls of the lock scripts: their keys and arguments, and what their replies say.  The scripts
 * decide; the contract is in lua/README.md. */
#ifndef GUARD_LOCK_CALL_H
#define GUARD_LOCK_CALL_H

#include "base/arena.h"
#include "guard/limit.h"
#include "store/store_call.h"

/* A waiter not heard of for so long is dead. */
#define LOCK_CALL_HEARTBEAT_US UINT64_C(2000000)
/* Entries that one renewal takes. */
#define LOCK_CALL_MAX_RENEWALS 100u
/* Keys of the store for each lock, in the order h, q, r. */
#define LOCK_CALL_KEYS 3u

/* What stays the same in all calls about one acquisition. */
struct lock_terms {
    struct slice id;          /* begins with the mode, x or s */
    const struct slice *keys; /* LOCK_CALL_KEYS for each lock; sorted by lock */
    size_t lock_count;
    char intent; /* w: take or wait; s: shadow */
    uint64_t permits, lease_us, grant_us, delay_us, queue_max;
};

/* What changes from one admit to the next. */
struct lock_place {
    uint64_t wait_us;
    uint64_t place, wait_until_us; /* of the first answer QUEUED; 0 before it */
    struct slice channel;
};

enum lock_standing {
    LOCK_STANDING_DENIED = -3, /* by a limit */
    LOCK_STANDING_FULL = -2,
    LOCK_STANDING_BUSY = -1,
    LOCK_STANDING_QUEUED = 0,
    LOCK_STANDING_HELD = 1
};

struct lock_answer {
    enum lock_standing standing;
    uint64_t token, place, rank, again_us, wait_until_us;
    struct limit_grant limits;
};

/* PREFIX:lock:{KEY}:h, :q and :r for a lock; shadow locks have names of their own, so that they are
 * in nobody's way. */
void lock_call_keys(struct slice prefix, struct slice key, bool is_shadow, struct arena *arena,
                    struct slice ret_keys[LOCK_CALL_KEYS]);

/* Each fills in all of call but its callback; memory from arena until the call is made. */
void lock_call_admit(struct store_call *call, const struct limit_question *questions,
                     size_t question_count, const struct lock_terms *terms,
                     const struct lock_place *place, struct arena *arena);
/* count entries in all: one for each lock of each of terms. */
void lock_call_renew(struct store_call *call, const struct lock_terms *const *terms,
                     size_t terms_count, struct arena *arena);
void lock_call_release(struct store_call *call, const struct lock_terms *terms, uint64_t token,
                       struct arena *arena);
void lock_call_fence(struct store_call *call, struct slice records_key, uint64_t token, bool raises,
                     struct arena *arena);

/* False: the reply is not what the script promises. */
MUST_USE bool lock_call_read_admit(const struct reply *reply, size_t question_count,
                                   struct lock_answer *ret_answer);
enum lock_renewed { LOCK_RENEWED_GONE = -1, LOCK_RENEWED_WAITING = 0, LOCK_RENEWED_HELD = 1 };
/* Of the lock_count entries from first on, the worst. */
MUST_USE bool lock_call_read_renew(const struct reply *reply, size_t first, size_t lock_count,
                                   enum lock_renewed *ret_renewed, uint64_t *ret_token);
/* 2, 1, 0, -1 or -2: see the contract. */
MUST_USE bool lock_call_read_release(const struct reply *reply, int *ret_verdict);

enum lock_fenced { LOCK_FENCED_INVALID = -1, LOCK_FENCED_STALE = 0, LOCK_FENCED_PASS = 1 };
MUST_USE bool lock_call_read_fence(const struct reply *reply, enum lock_fenced *ret_fenced);

#endif
