/* One connection to one Redis server: it connects in the background, again and again.  It is for
 * one of two things.  Calls: it sends script calls in a pipeline, and every call ends once: with
 * its reply, at its deadline, or when the connection is lost.  Messages: it subscribes to a
 * channel, and is ready while messages flow. */
#ifndef STORE_REDIS_CONN_H
#define STORE_REDIS_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "net/loop.h"
#include "store/handshake.h"
#include "store/redis_url.h"
#include "store/store_call.h"

struct redis_conn;
struct tls_context;

/* X(enumerator, name for logs) */
#define REDIS_CONN_STATES(X)                                                                       \
    X(BACKING_OFF, "backing_off") /* waits before the next attempt */                              \
    X(RESOLVING, "resolving")     /* waits for the name lookup */                                  \
    X(CONNECTING, "connecting")   /* waits for the socket (and TLS) */                             \
    X(HANDSHAKING, "handshaking") /* waits for the answers to the handshake */                     \
    X(READY, "ready")             /* takes calls, or gives messages */

#define REDIS_CONN_STATE_ENUM(id, name) REDIS_CONN_##id,
enum redis_conn_state { REDIS_CONN_STATES(REDIS_CONN_STATE_ENUM) REDIS_CONN_STATE_COUNT };

struct redis_conn_events {
    void (*on_ready)(void *owner);
    /* It was ready and is not any more; all calls have ended. */
    void (*on_lost)(void *owner);
    /* A call that was PENDING has ended.  reply is NULL unless result is STORE_OK. */
    void (*on_done)(void *owner, struct store_call *call, enum store_result result,
                    const struct reply *reply);
    /* Replies nobody waits for any more have come in, and none is outstanding. */
    void (*on_caught_up)(void *owner);
    /* A message was published to the channel; lent for the length of the call.  Messages that were
     * published while the connection was not ready do not come. */
    void (*on_message)(void *owner, struct slice message);
};

struct redis_conn_settings {
    const char *url; /* good for redis_url_parse */
    uint64_t timeout_ms, connect_timeout_ms;
    uint32_t max_pending;
    struct tls_context *tls; /* for rediss://, a reference is taken; NULL otherwise */
    handshake_script_getter *get_script;
    struct slice channel; /* not empty: the connection is for messages, and takes no calls */
};

/* Starts connecting.  No event comes before it returns.  settings are copied with the texts
 * in them. */
struct redis_conn *redis_conn_open(struct loop *loop, const struct redis_conn_settings *settings,
                                   const struct redis_conn_events *events, void *owner,
                                   const struct log_context *log);
/* The two timeouts and max_pending count from now on; what is on its way keeps its deadline, and
 * holds up nobody who has a shorter one. */
void redis_conn_set_bounds(struct redis_conn *conn, const struct redis_conn_settings *settings);
/* No event comes any more, pending calls are forgotten.  What has been written is still sent, for
 * at most linger_ms.  Not from inside an event. */
void redis_conn_close(struct redis_conn **conn, uint64_t linger_ms);

/* STORE_PENDING or STORE_NOT_SENT.  Calls nothing back. */
MUST_USE enum store_result redis_conn_eval(struct redis_conn *conn, struct store_call *call);
/* The call is forgotten; its reply will be dropped. */
void redis_conn_cancel(struct redis_conn *conn, struct store_call *call);

enum redis_conn_state redis_conn_state(const struct redis_conn *conn);
bool redis_conn_is_ready(const struct redis_conn *conn);
/* Commands sent and not answered, whether or not somebody still waits. */
uint32_t redis_conn_in_flight(const struct redis_conn *conn);
/* Calls that are PENDING. */
uint32_t redis_conn_waiting(const struct redis_conn *conn);
/* The server says that it is a node of a cluster, or has refused keys of different slots. */
bool redis_conn_is_sharded(const struct redis_conn *conn);
/* The server's run id, or "" while it is not known. */
const char *redis_conn_run_id(const struct redis_conn *conn);

#endif
