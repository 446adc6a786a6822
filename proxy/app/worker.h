/* One worker: a thread with its own loop, store connection, pools, listener and metric shard. */
#ifndef APP_WORKER_H
#define APP_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/metrics.h"
#include "policy/policy.h"

struct certificates;
struct embedded;
struct fence_table;
struct guard_worker;
struct loop;
struct loop_message;
struct store;
struct worker;

/* What the workers of a process share; outlives them. */
struct worker_shared {
    struct metrics *metrics;
    struct embedded *embedded;
    struct fence_table *fences;
    struct loop *main_loop;
    /* On the main loop, once per worker, when it takes requests: its store is connected, or could
     * not be within store_options.connect_timeout. */
    void (*on_accepting)(void *owner);
    /* On the main loop, once per worker, when its last request is over after worker_stop. */
    void (*on_stopped)(void *owner);
    void *owner;
    unsigned worker_count;
    int shared_fd; /* a listening socket for all of them, or -1: each opens its own */
};

/* Opens everything and binds listen_address (the policy's, with the port made definite); no thread
 * runs yet.  index from 1.  Takes its own references to policy and certificates.  0, or a libuv
 * error code of the listener. */
MUST_USE int worker_open(struct worker_shared *shared, unsigned index, struct policy *policy,
                         struct certificates *certificates, const char *listen_address,
                         struct worker **ret_worker);
uint16_t worker_port(const struct worker *worker);
void worker_start(struct worker *worker);

/* From the main thread, once: connections close after their answers, idle ones at once; new ones
 * are still taken. */
void worker_drain(struct worker *worker);

/* From the main thread, once: accept no more, finish what runs within drain_timeout, then stop. */
void worker_stop(struct worker *worker);

/* From the main thread: run a message on the worker's loop (loop_post). */
void worker_post(struct worker *worker, struct loop_message *message);

/* On the worker's own loop alone. */
struct guard_worker *worker_guards(const struct worker *worker);
struct store *worker_store(const struct worker *worker);

/* From the main thread: new requests use policy and certificates, made for it, from now on. */
void worker_set_policy(struct worker *worker, struct policy *policy,
                       struct certificates *certificates);

/* Whether the worker reached its store when it last looked, a second ago at most; any thread. */
bool worker_store_is_ready(const struct worker *worker);

/* Milliseconds since the loop last turned its heartbeat; any thread. */
uint64_t worker_heartbeat_age_ms(const struct worker *worker);

/* After on_stopped, or for a worker that was never started: join the thread and free all. */
void worker_close(struct worker **worker);

#endif
