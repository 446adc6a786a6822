/* What the other files of net/ may know of a loop. */
#ifndef NET_LOOP_PRIVATE_H
#define NET_LOOP_PRIVATE_H

#include <stdatomic.h>
#include <uv.h>

#include "net/loop.h"
#include "net/out_queue.h"

#define LOOP_READ_BUFFER_BYTES (64u * 1024)

struct loop_signal;
struct resolve_cache;

struct loop {
    uint32_t tag;
    bool is_running, is_in_timers;
    atomic_bool is_stop_wanted;
    uv_loop_t uv;
    uv_async_t mail;      /* wakes the loop for mailbox and stop; unref'd but in loop_run */
    uv_timer_t alarm;     /* goes off no later than the first timer is due; unref'd */
    uv_prepare_t prepare; /* both end the tick: before waiting (after timers), ... */
    uv_check_t check;     /* ... and after the callbacks of one wait; unref'd */
    uv_idle_t no_wait;    /* active while work is left over for the next turn; unref'd */

    struct timer **heap;
    uint32_t heap_count, heap_cap;
    uint64_t alarm_at_ms; /* UINT64_MAX: not set */

    struct list tasks;      /* loop_defer */
    struct list flush_now;  /* dirty streams flushed after the current read callback */
    struct list flush_tick; /* dirty streams flushed at the end of the tick */
    struct list signals;
    _Atomic(struct loop_message *) mailbox; /* newest first */

    struct arena_pool arenas;
    struct out_pool out_pool;
    char *read_buffer;  /* what a socket gave, LOOP_READ_BUFFER_BYTES */
    char *plain_buffer; /* what TLS made of it; NULL until first used */
    void *spare;        /* stream memory to use again; the first word links */
    unsigned spare_count;

    struct resolve_cache *resolve_cache;
    void (*resolve_cache_close)(struct loop *loop);

    uint32_t owned_count; /* streams and listeners their owners have not closed */
    uint32_t open_count;  /* streams, listeners and lookups whose memory is not free yet */
};

/* Put a dirty stream on one of the flush lists. */
static inline void loop_queue(struct list *list, struct loop_task *task)
{
    if (!list_is_linked(&task->node))
        list_append(list, &task->node);
}

/* Flush what became dirty in the callback that has just returned. */
void loop_flush_now(struct loop *loop);

/* The buffer for decrypted bytes, LOOP_READ_BUFFER_BYTES. */
char *loop_plain_buffer(struct loop *loop);

/* Memory of size bytes for a stream, and back; all calls with the same size. */
void *loop_take_spare(struct loop *loop, size_t size);
void loop_give_spare(struct loop *loop, void *memory);

#endif
