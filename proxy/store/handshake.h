/* What is said on a new connection before it may be used, and what the answers mean.  Everything
 * goes out at once, so that a handshake costs one round trip. */
#ifndef STORE_HANDSHAKE_H
#define STORE_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/log.h"
#include "store/redis_url.h"
#include "store/reply.h"
#include "store/script.h"

/* X(enumerator, name for logs) */
#define HANDSHAKE_STEPS(X)                                                                         \
    X(AUTH, "AUTH")                                                                                \
    X(SELECT, "SELECT")                                                                            \
    X(SETNAME, "CLIENT SETNAME")                                                                   \
    X(INFO_SERVER, "INFO server")                                                                  \
    X(INFO_MEMORY, "INFO memory")                                                                  \
    X(SCRIPT_LOAD, "SCRIPT LOAD")                                                                  \
    X(SUBSCRIBE, "SUBSCRIBE")

#define HANDSHAKE_STEP_ENUM(id, name) HANDSHAKE_##id,
enum handshake_step { HANDSHAKE_STEPS(HANDSHAKE_STEP_ENUM) HANDSHAKE_STEP_COUNT };

#define HANDSHAKE_MAX_COMMANDS (HANDSHAKE_STEP_COUNT + SCRIPT_COUNT)

typedef const struct script *handshake_script_getter(enum script_id id);

/* What the server has told; lives as long as the configured store, so that a change is noticed. */
struct handshake {
    char run_id[64];          /* "" = not known */
    char eviction_policy[32]; /* "" = not known */
    bool is_cluster;          /* a node of one */
    bool was_asked;           /* the warnings about rights have been given */
    enum reply_error error;   /* why the last one failed */
};

/* For script calls: append the commands to out; ret_steps gets one entry per command.  Gives their
 * number. */
size_t handshake_write(const struct redis_url *url, handshake_script_getter *get_script,
                       struct buf *out, enum handshake_step ret_steps[HANDSHAKE_MAX_COMMANDS]);
/* The same for messages: log in and subscribe, with no right needed beyond that. */
size_t handshake_write_subscribe(const struct redis_url *url, struct slice channel, struct buf *out,
                                 enum handshake_step ret_steps[HANDSHAKE_MAX_COMMANDS]);

/* Take the answer to one step.  False when the connection cannot be used; handshake->error says
 * why. */
MUST_USE bool handshake_take(struct handshake *handshake, enum handshake_step step,
                             const struct reply *reply, const struct log_context *log);

const char *handshake_step_name(enum handshake_step step);

#endif
