/* `lockkeeper explain --live`: what the limits and locks of the request would say to it now, asked
 * of a running process by its admin port.  Nothing is charged and nothing is taken. */
#ifndef APP_EXPLAIN_LIVE_H
#define APP_EXPLAIN_LIVE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "guard/limit.h"
#include "guard/lock_plan.h"

struct explain_live {
    const char *address; /* NULL: nobody is asked, and all calls below do nothing */
    FILE *out;
    struct arena *arena;
    const char *problem;    /* why the process could not be asked; NULL: it could */
    const char *refused_by; /* the first enforced limit that would refuse */
    bool is_never;          /* not even later */
    uint64_t retry_after_ms;
    bool is_lock_taken;
    bool is_fenced;  /* its token is compared then, and not before */
    bool is_unknown; /* a limit or a lock could not be asked */
};

/* Whether it is there, and has the policies of this hash. */
void explain_live_begin(struct explain_live *live, const char *hash_hex);
void explain_live_limit(struct explain_live *live, const struct limit_question *question);
void explain_live_lock(struct explain_live *live, const struct lock_plan *plan);
/* What all of that comes to. */
void explain_live_end(struct explain_live *live, const struct lock_plan *plan);

#endif
