/* The commands of Redis that our scripts use, over a keyspace: same replies, same error texts
 * (those a script sees in Redis 7.0).  lua/README.md lists them. */
#ifndef STORE_COMMANDS_H
#define STORE_COMMANDS_H

#include "base/arena.h"
#include "store/keyspace.h"
#include "store/reply.h"

/* Gives the number of receivers. */
typedef int64_t command_publish_fn(void *owner, struct slice channel, struct slice message);

/* What one script's commands share. */
struct command_context {
    struct keyspace *keyspace;
    struct arena *arena;         /* for replies */
    command_publish_fn *publish; /* NULL: nobody listens */
    void *publish_owner;
    bool has_written; /* by this script */
};

/* args[0] is the command's name; every arg is followed by a terminator that is not counted.  What
 * *ret_reply points to lives until the next call, or until arena is cleared. */
void command_run(struct command_context *context, const struct slice *args, size_t arg_count,
                 struct reply *ret_reply);

#endif
