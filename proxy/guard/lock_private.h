/* What guard/lock.c (one acquisition), guard/lock_hold.c (its hold), guard/lock_worker.c (all of a
 * worker's) and guard/lock_list.c (their listing) share.  Nobody else includes this. */
#ifndef GUARD_LOCK_PRIVATE_H
#define GUARD_LOCK_PRIVATE_H

#include "base/list.h"
#include "base/map.h"
#include "guard/lock.h"
#include "store/store.h"

#define LOCK_TAG 0x6b636f4cu /* "Lock" */
#define LOCK_ID_BYTES 48u

/*  X(state, what bounds it) */
#define LOCK_STATES(X)                                                                             \
    X(ASKING, "the store's deadline for a call")                                                   \
    X(WAITING, "the request's wait")                                                               \
    X(HOLDING, "max_hold, and the lease")                                                          \
    X(JUDGING, "the store's deadline for a call")                                                  \
    X(LOST, "its owner's end")                                                                     \
    X(RELEASING, "the lease")                                                                      \
    X(OVER, "its owner's end")

#define LOCK_STATE_ENUM(id, bound) LOCK_STATE_##id,
enum lock_state { LOCK_STATES(LOCK_STATE_ENUM) LOCK_STATE_COUNT };

struct renewal;

struct lock {
    uint32_t tag;
    enum lock_state state;
    struct lock_worker *worker;
    struct list_node node; /* in worker->locks */
    struct policy *snapshot;
    const struct policy_lock *policy;
    const struct lock_events *events;
    void *owner; /* NULL: nobody wants to know any more */
    struct lock_terms terms;
    struct slice request_id; /* for people */
    struct lock_place place;
    struct lock_answer answer;
    const struct limit_question *questions;
    size_t question_count;
    bool has_answer; /* a reply has been seen, so nothing can be charged twice */
    bool was_queued;
    bool is_hinted;     /* a message came while a call was under way */
    bool is_by_message; /* a message led to the last question */
    bool has_lapsed;    /* past its lease; nobody had taken it when the store was last asked */
    bool is_unsure;     /* a release may have been run without an answer */
    bool is_ended;      /* max_hold is over: not renewed any more */
    bool is_counted_waiting;
    bool may_be_known;        /* the store may know of it */
    bool is_known_unsure;     /* a question was sent and not answered */
    enum policy_lock_end end; /* LOST, and OVER after a release */
    uint64_t token;
    /* loop_boot_clock_us(). */
    uint64_t asked_at_us, sent_at_us, decided_at_us, held_at_us, deadline_at_us;
    uint64_t renew_at_ms;    /* loop_now_ms() */
    struct renewal *renewal; /* under way, or NULL */
    struct timer timer;
    struct store_call call;
    char id[LOCK_ID_BYTES];
    struct slice keys[]; /* of terms; their text follows, and the request's id */
};

struct lock_worker {
    struct loop *loop;
    struct store *store;
    struct metrics_shard *shard;
    const struct log_context *log;
    struct list locks, renewals;
    struct map by_id;     /* id -> lock, those that may be sent messages */
    struct arena scratch; /* keys and arguments of the call being made */
    struct timer tick;
    bool is_draining, is_listening;
    char id_prefix[16];
    uint64_t next_id;
    uint32_t renewal_slots[4];  /* by enum lock_renewed + 1; [3] failed */
    uint32_t handover_slots[2]; /* by message, by timer */
};

/* ---- lock_worker.c, for lock.c ---- */

void lock_worker_add(struct lock_worker *worker, struct lock *lock);
void lock_worker_remove(struct lock_worker *worker, struct lock *lock);
/* The next renewal is due at lock->renew_at_ms. */
void lock_worker_schedule(struct lock_worker *worker, const struct lock *lock);
/* Answers about the lock that are on their way do not concern it any more. */
void lock_worker_drop_renewal(struct lock *lock);
/* Runs a call whose memory is in scratch. */
enum store_result lock_worker_eval(struct lock_worker *worker, struct store_call *call,
                                   struct reply *ret_reply);

/* ---- between lock.c and lock_hold.c ---- */

void lock_set_state(struct lock *lock, enum lock_state state);
void lock_count_waiting(struct lock *lock, bool is_waiting);
/* The store has just said that the lock is held, to a question sent at sent_at_us. */
void lock_extend(struct lock *lock, uint64_t sent_at_us);
void lock_start_hold_timer(struct lock *lock);
/* Asks the store, and tells the owner. */
void lock_judge(struct lock *lock);

/* ---- lock.c, for lock_worker.c ---- */

/* A message says that it may be the lock's turn. */
void lock_hint(struct lock *lock);
/* Messages may have been lost. */
void lock_ask_again(struct lock *lock);
void lock_drain(struct lock *lock);
/* What a renewal sent at sent_at_us said; or that it failed. */
void lock_renew_failed(struct lock *lock);
void lock_renewed(struct lock *lock, enum lock_renewed renewed, uint64_t token,
                  uint64_t sent_at_us);
bool lock_wants_renewal(const struct lock *lock, uint64_t now_ms);
uint64_t lock_renewal_interval_ms(const struct lock *lock);
void lock_free(struct lock *lock);

#endif
