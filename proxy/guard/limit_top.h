/* Whose requests a worker decides: for each limit that has a key, who asked most, who was refused
 * most, and who came near the limit.
 *
 * Time is cut into halves of LIMIT_TOP_HALF_MS by the monotonic clock, at the same places in all
 * workers; what is known covers the running half and the one before, so that a reading is about now
 * and not about the whole life.  Of each half there are up to LIMIT_TOP_KINDS sketches
 * (base/sketch.h), which are made when they are first needed and used again and again.
 *
 * Keys may be personal data: they stay in this memory, and go to nobody but the admin port. */
#ifndef GUARD_LIMIT_TOP_H
#define GUARD_LIMIT_TOP_H

#include "base/arena.h"
#include "base/sketch.h"
#include "policy/policy.h"

#define LIMIT_TOP_HALF_MS UINT64_C(30000)

enum limit_top_kind {
    LIMIT_TOP_REQUESTS, /* all that asked; value: what remained after the last */
    LIMIT_TOP_DENIED,   /* refused, or in shadow mode what would have been; value: the same */
    LIMIT_TOP_NEAR,     /* passed with less than a fifth of the limit left; value: the same */
    LIMIT_TOP_KINDS
};

struct limit_top;  /* of one limit */
struct limit_tops; /* of a worker */

struct limit_tops *limit_tops_open(void);
void limit_tops_close(struct limit_tops **tops);

/* From now on it is about the limits of policy (a reference is taken) and as many keys as its
 * top_keys says.  What is known of a limit whose route and name stay is kept, unless top_keys has
 * changed. */
void limit_tops_set_policy(struct limit_tops *tops, struct policy *policy);

/* For a limit of policy, which may be one from before the last set_policy: then nothing is noted
 * any more, and it is NULL, as for a limit that is not watched.  Not to be kept across a wait. */
struct limit_top *limit_tops_find(const struct limit_tops *tops, const struct policy *policy,
                                  const struct policy_limit *limit);

struct limit_top_event {
    struct slice tail; /* of struct limit_question */
    uint64_t remaining;
    bool is_denied, is_near;
};

void limit_top_note(struct limit_top *top, uint64_t now_ms, const struct limit_top_event *event);

/* What is known at now_ms, which may be another thread's idea of it; from when it is, is for the
 * reader to say: limit_top_period_ms(). */
struct limit_top_list {
    const char *route, *limit; /* in the arena, as everything here */
    struct sketch_sum sums[LIMIT_TOP_KINDS];
};

/* The period that a reading at now_ms covers: LIMIT_TOP_HALF_MS and what has passed of a half. */
uint64_t limit_top_period_ms(uint64_t now_ms);

/* All limits that are watched, or the one of this route and name (limit not NULL); gives their
 * number. */
size_t limit_tops_read(const struct limit_tops *tops, struct slice route, struct slice limit,
                       uint64_t now_ms, struct arena *arena, struct limit_top_list **ret_lists);

#endif
