/* Runs a script on keys, somewhere: in Redis or in the embedded engine.  One store per worker; not
 * thread-safe, but all stores of a process share one embedded keyspace.
 *
 * Every call has a deadline.  Nothing is queued without bound: a call that cannot be sent now
 * (disconnected, breaker open, too many pending) fails at once with STORE_NOT_SENT. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/slice.h"
#include "net/loop.h"
#include "store/reply.h"
#include "store/script.h"
#include "store/store_call.h"

struct store;
struct embedded;    /* the process-wide embedded engine */
struct tls_context; /* net/tls.h */

const char *store_result_name(enum store_result result);
const char *store_result_text(enum store_result result);

struct store_settings {
    const char *url;             /* "embedded", or as store/redis_url.h says */
    uint64_t timeout_ms;         /* per call, default 50 */
    uint64_t connect_timeout_ms; /* for each: resolve, connect, handshake */
    uint32_t max_pending;        /* calls in flight per worker */
    uint32_t breaker_failures;   /* consecutive failures that open the breaker */
    uint64_t breaker_open_ms;    /* how long it stays open before one probe */
    const char *key_prefix;      /* of the keys and channels of the store itself; NULL: "lk" */
    const char *ca_file;         /* for rediss://: whom to trust; NULL: the system's authorities */
    /* For rediss://: shared by all workers, the store takes a reference; NULL: it opens its own. */
    struct tls_context *tls;
};

/* The shared engine; thread-safe inside.  max_bytes bounds keys and values; what happens when it is
 * full is said in lua/README.md. */
struct embedded *embedded_open(size_t max_bytes);
/* From the next script on. */
void embedded_set_max_bytes(struct embedded *embedded, size_t max_bytes);
struct embedded *embedded_ref(struct embedded *embedded);
void embedded_unref(struct embedded **embedded);

/* Never fails for a server that is down: it connects in the background.  settings->url must have
 * passed store_check_url.  settings is copied. */
struct store *store_open(struct loop *loop, const struct store_settings *settings,
                         struct embedded *embedded, struct metrics *metrics,
                         struct metrics_shard *shard, const struct log_context *log);
/* Its numbers are those of settings from now on; url and the other texts are not looked at. */
void store_set_bounds(struct store *store, const struct store_settings *settings);
/* Calls still pending end without a callback.  Not from inside a callback of the same store. */
void store_close(struct store **store);

/* NULL, or what is wrong with url (static).  policy checks the same at load time. */
MUST_USE const char *store_check_url(struct slice url);

/* STORE_PENDING: on_reply comes later from the loop, exactly once, unless cancelled.  Any other
 * result: it is final, *ret_reply is set when it is STORE_OK, and no callback comes.  The embedded
 * engine always answers at once. */
MUST_USE enum store_result store_eval(struct store *store, struct store_call *call,
                                      struct reply *ret_reply);
/* Run on the embedded engine whatever the store is; never STORE_PENDING. */
MUST_USE enum store_result store_eval_local(struct store *store, struct store_call *call,
                                            struct reply *ret_reply);
/* No callback comes; the script may run all the same.  Legal for a call that is not pending. */
void store_cancel(struct store_call *call);

bool store_is_embedded(const struct store *store);
/* Connected and the breaker closed (always, for the embedded engine). */
bool store_is_ready(const struct store *store);
/* One call may only have keys of one hash slot: the store is a node of a cluster, or something in
 * front of one that has said so by refusing a call. */
bool store_is_sharded(const struct store *store);
/* How many sidecars are known to share this store (at least 1); "local" divides its limits by it.
 */
unsigned store_known_sidecars(const struct store *store);

/* Messages from scripts: they PUBLISH to the channel that a caller has given them. */

/* owner is that of store_listen.  message is lent for the length of the call. */
typedef void store_message_cb(void *owner, struct slice message);
typedef void store_gap_cb(void *owner);

/* The channel of this store: unique in the world, and lives as long as the store. */
struct slice store_channel(const struct store *store);
/* From now on messages published to store_channel() come to on_message, in their order, from the
 * loop and never from inside a store_ call.  on_gap says that messages may have been lost (the
 * subscription was lost, or made again): ask the store about everything that is waited for.  No
 * connection is made for messages before this call.  At most once per store; store_close ends it.
 * Both callbacks may start and cancel calls, and may not close the store. */
void store_listen(struct store *store, store_message_cb *on_message, store_gap_cb *on_gap,
                  void *owner);
/* True while messages flow; while it is false, who waits must ask more often. */
bool store_is_listening(const struct store *store);

#endif
