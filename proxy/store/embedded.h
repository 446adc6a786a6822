/* The embedded engine: runs our scripts in this process, over a keyspace in memory, with the
 * replies that Redis would give.  One per process, shared by all workers under one lock, so that a
 * limit of 10 is 10 for the process.  embedded_open, embedded_ref and embedded_unref are in
 * store/store.h.
 *
 * Thread-safe, but for the two set functions, which belong right after embedded_open. */
#ifndef STORE_EMBEDDED_H
#define STORE_EMBEDDED_H

#include "base/arena.h"
#include "store/channels.h"
#include "store/commands.h"
#include "store/keyspace.h"
#include "store/reply.h"
#include "store/script.h"

struct embedded;

/* A script and what it is called with. */
struct embedded_call {
    const struct slice *keys;
    size_t key_count;
    const struct slice *args;
    size_t arg_count;
};

/* Runs a script to its end and gives its reply, which is REPLY_ERROR when the script failed.
 *
 * arena is the caller's, and is cleared first: the reply lives in it until the next call with the
 * same arena.  A failed script may have written before it failed only if it is wrong itself: memory
 * that is full is known before it begins. */
void embedded_eval(struct embedded *embedded, enum script_id script,
                   const struct embedded_call *call, struct arena *arena, struct reply *ret_reply);

/* The same for any script text; name is for its error messages.  The compiled text is kept, so this
 * is for a bounded number of different texts: tests and simulation. */
void embedded_eval_text(struct embedded *embedded, const char *name, struct slice text,
                        const struct embedded_call *call, struct arena *arena,
                        struct reply *ret_reply);

void embedded_get_stats(struct embedded *embedded, struct keyspace_stats *ret_stats);

/* Time for tests and simulation instead of the system's; must never go back. */
void embedded_set_clock(struct embedded *embedded, keyspace_clock_fn *clock, void *owner);
/* Where what scripts PUBLISH goes; listeners join it at any time. */
struct channels *embedded_channels(struct embedded *embedded);
/* Another receiver instead.  Called under the lock: it must not call the engine. */
void embedded_set_publish(struct embedded *embedded, command_publish_fn *publish, void *owner);

/* "Lua 5.1" or "LuaJIT 2.1.0-beta3": what the engine was built with. */
const char *embedded_library_version(void);

#endif
