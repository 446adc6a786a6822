/* One thread's event loop: time, timers, deferred work, a mailbox other threads can post to,
 * signals.  The only owner of a uv_loop_t; everything here belongs to the loop's own thread but
 * loop_post() and loop_stop(). */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/list.h"

struct loop;
struct timer;
struct uv_loop_s;

/* 0 or a libuv error code. */
MUST_USE int loop_open(struct loop **ret_loop);
/* All streams, listeners and timers must have been closed or stopped; runs the loop until their
 * close callbacks have come, then frees it.  CHECKs that nothing is left open. */
void loop_close(struct loop **loop);

/* Runs until loop_stop().  Legal once per thread at a time. */
void loop_run(struct loop *loop);
/* One turn without waiting (tests); true while anything is alive. */
bool loop_turn(struct loop *loop);
/* From any thread. */
void loop_stop(struct loop *loop);

/* "1.44.2": of the libuv in use. */
const char *loop_library_version(void);

struct uv_loop_s *loop_uv(struct loop *loop); /* for net/ only */
struct arena_pool *loop_arena_pool(struct loop *loop);

/* Monotonic milliseconds, cached at the start of the tick; fit for timers. */
uint64_t loop_now_ms(const struct loop *loop);
/* What a libuv error code, as functions here give it, means in words; static. */
const char *loop_error_text(int error);

/* The clocks, read now.  Boot time counts suspend; wall time is for logs and HTTP dates only. */
uint64_t loop_clock_us(void);
uint64_t loop_boot_clock_us(void);
uint64_t loop_wall_clock_us(void);

/* Timers: a node in the loop's heap.  Zero-initialise it, or timer_init.  Starting a running timer
 * moves it; moving it later is O(1).  Stopping is synchronous and always legal.  The callback finds
 * its owner with CONTAINER_OF; the timer is stopped when it is called. */
typedef void timer_cb(struct timer *timer);

struct timer {
    timer_cb *on_timer;
    uint64_t at_ms;      /* when it is due */
    uint64_t heap_at_ms; /* <= at_ms: where it stands in the heap */
    uint32_t heap_index; /* position + 1; 0 = not in the heap */
    bool is_started;
};

static inline void timer_init(struct timer *timer)
{
    *timer = (struct timer){.on_timer = NULL};
}

/* No delay means the next turn of the loop, and from inside a timer's callback 1 ms. */
void timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ms, timer_cb *on_timer);
void timer_stop(struct loop *loop, struct timer *timer);

/* Deferred work: run later in this tick, after the callback that is running now and before the loop
 * waits again; each once per defer.  Deferred work runs before the streams' flush at the end of the
 * tick, so that what it writes still goes out in this tick.
 * Deferring a pending task changes nothing.  loop_undefer is
 * always legal. */
struct loop_task;
typedef void loop_task_cb(struct loop_task *task);

struct loop_task {
    struct list_node node; /* list_node_init() before the first use */
    loop_task_cb *run;
};

void loop_task_init(struct loop_task *task, loop_task_cb *run);
void loop_defer(struct loop *loop, struct loop_task *task);
void loop_undefer(struct loop_task *task);

/* Mailbox: message is owned by the poster until its run() is called on the loop's thread; messages
 * of one poster arrive in order.  Messages not run when the loop closes are dropped (on_drop, if
 * set, is called by loop_close). */
struct loop_message;
typedef void loop_message_cb(struct loop *loop, struct loop_message *message);

struct loop_message {
    struct loop_message *next;
    loop_message_cb *run;
    loop_message_cb *on_drop;
};

void loop_post(struct loop *loop, struct loop_message *message);

/* Signals, on one loop of the process only.  One callback per signal number; NULL takes it back. */
typedef void loop_signal_cb(void *owner, int signum);
MUST_USE int loop_on_signal(struct loop *loop, int signum, loop_signal_cb *on_signal, void *owner);

#endif
