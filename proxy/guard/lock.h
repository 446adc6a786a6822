/* One acquisition: of one lock or several, in the life of one request.
 *
 *   ASKING --> WAITING --> ASKING ... --> HELD <--> JUDGING --> LOST
 *     |           |                        |           |         |
 *     +-----------+------- over -----------+-----------+---------+--> RELEASING --> gone
 *
 * The store decides, by its own clock.  What is believed here is only this: the lock is held until
 * (when the call that said so was sent) + lease - a margin, by the clock that counts suspend.  Past
 * that, nothing is forwarded before the store has been asked again. */
#ifndef GUARD_LOCK_H
#define GUARD_LOCK_H

#include "guard/limit.h"
#include "guard/lock_call.h"
#include "guard/lock_worker.h"
#include "policy/policy.h"

struct lock;

enum lock_result {
    LOCK_PENDING,     /* on_decided will come */
    LOCK_HELD,        /* go on */
    LOCK_BUSY,        /* taken, and this request may not wait */
    LOCK_FULL,        /* as many wait as may */
    LOCK_DENIED,      /* a limit denies */
    LOCK_TIMED_OUT,   /* waited in vain */
    LOCK_DRAINED,     /* the worker ends */
    LOCK_STORE_FAILED /* not known; what may have been taken is being given back */
};

enum lock_check {
    LOCK_IS_HELD,
    LOCK_IS_JUDGED, /* wait for on_judged */
    LOCK_IS_LOST
};

struct lock_events {
    void (*on_decided)(void *owner, enum lock_result result);
    /* is_held false: the lock is lost, whether or not lock_check was called; at any time while it
     * is held. */
    void (*on_judged)(void *owner, bool is_held);
    /* The lock has been held for max_hold: it is not renewed any more. */
    void (*on_max_hold)(void *owner);
    void (*on_released)(void *owner, enum policy_lock_end end);
};

/* keys and values of questions are needed until the lock is decided; the rest is copied. */
struct lock_request {
    struct policy *policy; /* a reference is taken */
    const struct policy_lock *lock;
    const struct slice *keys; /* sorted, no two alike; at most POLICY_MAX_LOCK_KEYS */
    size_t key_count;
    bool is_shared;
    uint64_t wait_us;
    const struct limit_question *questions; /* admitted together with the lock */
    size_t question_count;
    const struct lock_events *events;
    void *owner;
    struct slice request_id; /* shown to operators */
};

/* Asks; the answer may be there at once. */
enum lock_result lock_open(struct lock_worker *worker, const struct lock_request *request,
                           struct lock **ret_lock);

/* The store's last answer to the acquisition; complete when it is HELD, BUSY, FULL or DENIED, and
 * after QUEUED. */
const struct lock_answer *lock_last_answer(const struct lock *lock);
bool lock_was_charged(const struct lock *lock); /* an answer has been seen, so limits are known */
bool lock_was_queued(const struct lock *lock);
uint64_t lock_waited_us(const struct lock *lock); /* from asking to the decision */
uint64_t lock_token(const struct lock *lock);
struct slice lock_id(const struct lock *lock); /* of the acquisition */
const struct lock_terms *lock_terms(const struct lock *lock);
bool lock_has_lapsed(const struct lock *lock); /* once at least; nobody had taken it */

/* Before each piece that is forwarded: judges now, by the clock. */
enum lock_check lock_check(struct lock *lock);

/* Gives the lock back, or leaves the queue, and forgets the owner.  A held lock whose service may
 * still be at work is left to lapse instead.  Legal in every state; *lock becomes NULL. */
enum lock_close { LOCK_GIVE_BACK, LOCK_LEAVE };
void lock_close(struct lock **lock, enum lock_close how);

/* Gives a held lock back and waits for the answer: true with *ret_end when it is known already,
 * else on_released comes.  The owner closes the lock afterwards, or earlier when it does not want
 * to wait any longer; the release goes on all the same. */
MUST_USE bool lock_release(struct lock *lock, enum policy_lock_end *ret_end);

#endif
