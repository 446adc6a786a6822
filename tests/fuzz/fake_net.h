/* The network of the state-machine fuzzers: loop.h, stream.h, resolve.h and what http/ needs of
 * tls.h, implemented in memory, so that every order of events is a script and time is a number.
 *
 *   owner -- stream_write --> pending --fake_take--> got       the far end sees got
 *   owner <-- on_read ------- unread <--fake_send--            and fake_end, fake_reset
 *
 * What the contracts of these headers promise is kept, and nothing beyond: bytes are lent in memory
 * of their own that goes when the callback returns, a closed stream's memory goes with the tick,
 * and nobody is called from inside a call.  Include it in one file of a program: what it defines is
 * taken instead of the library's. */
#ifndef TESTS_FAKE_NET_H
#define TESTS_FAKE_NET_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "net/loop.h"
#include "net/resolve.h"
#include "net/stream.h"
#include "net/tls.h"

#define FAKE_STREAM_TAG 0x46616b65u /* Fake */
#define FAKE_HIGH_WATER_BYTES 256u  /* instead of STREAM_HIGH_WATER_BYTES: scripts are short */

struct loop {
    uint64_t now_ms;
    struct list tasks, timers, closed; /* timers: in the order of their starts */
    struct arena_pool arenas;
    size_t stream_count;
    /* The script is told of stream_connect, and of stream_write before it is done.  May be NULL. */
    void (*on_connecting)(void *script, struct stream *stream);
    void (*on_writing)(void *script, struct stream *stream, struct slice first_part);
    void *script;
};

/* The far end of a stream; outlives it. */
struct fake_peer {
    struct stream *stream; /* NULL once its owner has given it up */
    struct buf unread, pending, got;
    struct buf delivered, written; /* all that the owner has read and written */
    bool has_ended, has_reset;     /* what the far end did */
    bool is_end_told;              /* the owner knows of has_ended */
    bool is_ended, is_reset;  /* what the owner did: the far end sees it behind got and pending */
    uint64_t linger_until_ms; /* given up: pending still goes out until then */
};

struct stream {
    uint32_t tag;
    struct loop *loop;
    struct fake_peer *peer;
    const struct stream_events *events;
    void *owner;
    struct list_node node; /* in loop->closed */
    struct timer timer;    /* connecting */
    struct loop_task task; /* tells an error found inside a call */
    bool is_connecting, is_reading, is_full, is_shut, is_error_told;
    int error;
    uint64_t read_bytes, written_bytes;
};

/* --- loop.h --- */

struct fake_timer_ref {
    struct list_node node;
    struct timer *timer;
};

static struct loop *fake_loop; /* the one that is open */

int loop_open(struct loop **ret_loop)
{
    struct loop *loop = mem_calloc(1, sizeof(*loop));

    loop->now_ms = 1000000;
    list_init(&loop->tasks);
    list_init(&loop->timers);
    list_init(&loop->closed);
    arena_pool_init(&loop->arenas, 16);
    *ret_loop = fake_loop = loop;
    return 0;
}

static inline void fake_free_closed(struct loop *loop)
{
    struct list_node *node;

    while ((node = list_pop(&loop->closed)) != NULL) {
        struct stream *s = CONTAINER_OF(node, struct stream, node);

        s->tag = 0;
        loop->stream_count--;
        free(s);
    }
}

/* Deferred work runs, then the tick is over. */
static inline void fake_turn(struct loop *loop)
{
    struct list_node *node;

    while ((node = list_pop(&loop->tasks)) != NULL) {
        struct loop_task *task = CONTAINER_OF(node, struct loop_task, node);

        task->run(task);
    }
    fake_free_closed(loop);
}

void loop_close(struct loop **place)
{
    struct loop *loop = TAKE(place);

    fake_turn(loop);
    CHECK(list_is_empty(&loop->timers) && list_is_empty(&loop->tasks) && loop->stream_count == 0);
    arena_pool_clear(&loop->arenas);
    free(loop);
}

struct arena_pool *loop_arena_pool(struct loop *loop)
{
    return &loop->arenas;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

uint64_t loop_clock_us(void)
{
    return fake_loop->now_ms * 1000;
}

uint64_t loop_boot_clock_us(void)
{
    return fake_loop->now_ms * 1000;
}

uint64_t loop_wall_clock_us(void)
{
    return UINT64_C(1700000000000000);
}

const char *loop_error_text(int error)
{
    UNUSED(error);
    return "an error";
}

static inline struct fake_timer_ref *fake_find_timer(struct loop *loop, const struct timer *timer)
{
    LIST_EACH (&loop->timers, node) {
        struct fake_timer_ref *ref = CONTAINER_OF(node, struct fake_timer_ref, node);

        if (ref->timer == timer)
            return ref;
    }
    UNREACHED();
}

void timer_stop(struct loop *loop, struct timer *timer)
{
    struct fake_timer_ref *ref;

    if (!timer->is_started)
        return;
    ref = fake_find_timer(loop, timer);
    timer->is_started = false;
    list_remove(&ref->node);
    free(ref);
}

void timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ms, timer_cb *on_timer)
{
    struct fake_timer_ref *ref;

    timer_stop(loop, timer);
    ref = mem_calloc(1, sizeof(*ref));
    ref->timer = timer;
    list_node_init(&ref->node);
    list_append(&loop->timers, &ref->node);
    timer->is_started = true;
    timer->at_ms = loop->now_ms + delay_ms;
    timer->on_timer = on_timer;
}

void loop_task_init(struct loop_task *task, loop_task_cb *run)
{
    list_node_init(&task->node);
    task->run = run;
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
    if (!list_is_linked(&task->node))
        list_append(&loop->tasks, &task->node);
}

void loop_undefer(struct loop_task *task)
{
    list_remove(&task->node);
}

void loop_post(struct loop *loop, struct loop_message *message)
{
    UNUSED(loop);
    UNUSED(message);
    UNREACHED(); /* there is one thread */
}

/* The first timer that is due until then, or NULL. */
static inline struct timer *fake_first_timer(struct loop *loop, uint64_t until_ms)
{
    struct timer *first = NULL;

    LIST_EACH (&loop->timers, node) {
        struct timer *timer = CONTAINER_OF(node, struct fake_timer_ref, node)->timer;

        if (timer->at_ms <= until_ms && (first == NULL || timer->at_ms < first->at_ms))
            first = timer;
    }
    return first;
}

/* Time passes, and timers go off one after the other. */
static inline void fake_wait(struct loop *loop, uint64_t ms)
{
    uint64_t until_ms = loop->now_ms + ms;
    struct timer *timer;

    while ((timer = fake_first_timer(loop, until_ms)) != NULL) {
        if (timer->at_ms > loop->now_ms)
            loop->now_ms = timer->at_ms;
        timer_stop(loop, timer);
        timer->on_timer(timer);
        fake_turn(loop);
    }
    loop->now_ms = until_ms;
}

/* --- stream.h, the owner's side --- */

static inline void fake_peer_clear(struct fake_peer *peer)
{
    CHECK(peer->stream == NULL);
    buf_clear(&peer->unread);
    buf_clear(&peer->pending);
    buf_clear(&peer->got);
    buf_clear(&peer->delivered);
    buf_clear(&peer->written);
}

/* Errors that a call came upon. */
static inline void fake_on_task(struct loop_task *task)
{
    struct stream *s = CONTAINER_OF(task, struct stream, task);

    if (s->is_error_told)
        return;
    s->is_error_told = true;
    if (s->is_connecting)
        s->events->on_connect(s->owner, s->error);
    else
        s->events->on_end(s->owner, s->error);
}

static inline struct stream *fake_open(struct loop *loop, struct fake_peer *peer)
{
    struct stream *s = mem_calloc(1, sizeof(*s));

    *peer = (struct fake_peer){.stream = s};
    buf_init(&peer->unread, SIZE_MAX);
    buf_init(&peer->pending, SIZE_MAX);
    buf_init(&peer->got, SIZE_MAX);
    buf_init(&peer->delivered, SIZE_MAX);
    buf_init(&peer->written, SIZE_MAX);
    s->tag = FAKE_STREAM_TAG;
    s->loop = loop;
    s->peer = peer;
    list_node_init(&s->node);
    loop_task_init(&s->task, fake_on_task);
    loop->stream_count++;
    return s;
}

static inline void fake_on_connect_timer(struct timer *timer)
{
    struct stream *s = CONTAINER_OF(timer, struct stream, timer);

    s->is_error_told = true;
    s->events->on_connect(s->owner, -ETIMEDOUT);
}

/* The script gives it a far end at once, and lets it connect later. */
struct stream *stream_connect(struct loop *loop, const struct sockaddr *address,
                              uint64_t timeout_ms, struct tls_context *tls, const char *server_name,
                              const struct stream_events *events, void *owner)
{
    struct stream *s;

    UNUSED(address);
    UNUSED(server_name);
    CHECK(tls == NULL);
    s = fake_open(loop, mem_calloc(1, sizeof(struct fake_peer)));
    s->is_connecting = true;
    s->is_reading = true;
    s->events = events;
    s->owner = owner;
    timer_start(loop, &s->timer, timeout_ms, fake_on_connect_timer);
    loop->on_connecting(loop->script, s);
    return s;
}

void stream_adopt(struct stream *s, const struct stream_events *events, void *owner)
{
    CHECK_TAG(s, FAKE_STREAM);
    CHECK(s->events == NULL);
    s->events = events;
    s->owner = owner;
    s->is_reading = true;
}

void stream_set_owner(struct stream *s, const struct stream_events *events, void *owner)
{
    CHECK_TAG(s, FAKE_STREAM);
    s->events = events;
    s->owner = owner;
}

void stream_set_flush(struct stream *s, enum stream_flush flush)
{
    CHECK_TAG(s, FAKE_STREAM);
    UNUSED(flush);
}

size_t stream_pending_bytes(const struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    return buf_len(&s->peer->pending);
}

enum stream_status stream_write(struct stream *s, const struct slice *parts, size_t part_count)
{
    size_t total = stream_pending_bytes(s);

    CHECK(!s->is_connecting || s->error == 0);
    if (s->error != 0 || s->is_error_told || s->is_shut)
        return STREAM_DEAD;
    for (size_t i = 0; i < part_count; i++)
        total += parts[i].len;
    /* What is above the mark is offered to the kernel at once, which knows better. */
    if (total > FAKE_HIGH_WATER_BYTES && s->peer->has_reset) {
        s->error = -ECONNRESET;
        if (s->is_reading && buf_len(&s->peer->unread) == 0)
            loop_defer(s->loop, &s->task);
        return STREAM_DEAD;
    }
    if (s->loop->on_writing != NULL && part_count > 0)
        s->loop->on_writing(s->loop->script, s, parts[0]);
    for (size_t i = 0; i < part_count; i++) {
        CHECK(buf_append(&s->peer->pending, parts[i]));
        CHECK(buf_append(&s->peer->written, parts[i]));
        s->written_bytes += parts[i].len;
    }
    s->is_full |= total > FAKE_HIGH_WATER_BYTES;
    return total > FAKE_HIGH_WATER_BYTES ? STREAM_FULL : STREAM_OK;
}

void stream_read_stop(struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    s->is_reading = false;
}

void stream_read_start(struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    s->is_reading = true;
}

void stream_shutdown(struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    s->is_shut = true;
    s->peer->is_ended = true;
}

static inline struct fake_peer *fake_give_up(struct stream **place)
{
    struct stream *s = TAKE(place);
    struct fake_peer *peer = s->peer;

    CHECK_TAG(s, FAKE_STREAM);
    timer_stop(s->loop, &s->timer);
    loop_undefer(&s->task);
    s->events = NULL;
    s->owner = NULL;
    peer->stream = NULL;
    s->peer = NULL;
    list_append(&s->loop->closed, &s->node);
    return peer;
}

/* A close that drops output is a reset. */
static inline void fake_drop_output(struct fake_peer *peer)
{
    peer->is_reset |= buf_len(&peer->pending) > 0;
    buf_clear(&peer->pending);
}

void stream_close(struct stream **place, uint64_t linger_ms)
{
    uint64_t now_ms = (*place)->loop->now_ms;
    struct fake_peer *peer = fake_give_up(place);

    peer->is_ended = true;
    peer->linger_until_ms = now_ms + linger_ms;
    if (linger_ms == 0)
        fake_drop_output(peer);
}

void stream_abort(struct stream **place)
{
    struct fake_peer *peer = fake_give_up(place);

    peer->is_reset = true;
    buf_clear(&peer->pending);
}

const char *stream_peer_address(const struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    return "192.0.2.1";
}

uint16_t stream_peer_port(const struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    return 1234;
}

bool stream_is_peer_hidden(const struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    return false;
}

const char *stream_local_address(const struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    return "192.0.2.2";
}

uint16_t stream_local_port(const struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    return 80;
}

bool stream_is_tls(const struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    return false;
}

const char *stream_error_text(const struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    return "";
}

uint64_t stream_read_bytes(const struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    return s->read_bytes;
}

uint64_t stream_written_bytes(const struct stream *s)
{
    CHECK_TAG(s, FAKE_STREAM);
    return s->written_bytes - buf_len(&s->peer->pending);
}

/* --- the far end --- */

static inline void fake_connected(struct fake_peer *peer, int error)
{
    struct stream *s = peer->stream;

    CHECK(s != NULL && s->is_connecting);
    if (s->is_error_told)
        return;
    timer_stop(s->loop, &s->timer);
    s->is_error_told = error != 0;
    s->is_connecting = error != 0;
    s->events->on_connect(s->owner, error);
}

static inline void fake_send(struct fake_peer *peer, struct slice bytes)
{
    if (!peer->has_ended && !peer->has_reset)
        CHECK(buf_append(&peer->unread, bytes));
}

/* One read of at most max bytes, or the news that nothing more comes.  False: nothing to tell. */
static inline bool fake_deliver(struct fake_peer *peer, size_t max)
{
    struct stream *s = peer->stream;
    size_t count = buf_len(&peer->unread);
    char *lent;

    if (s == NULL || s->events == NULL || s->is_connecting || s->is_error_told)
        return false;
    if (count > 0 && !s->is_reading)
        return false;
    if (count > 0) {
        count = count < max ? count : max;
        lent = mem_alloc(count);
        memcpy(lent, buf_slice(&peer->unread).at, count);
        buf_consume(&peer->unread, count);
        CHECK(buf_append(&peer->delivered, slice_from(lent, count)));
        s->read_bytes += count;
        s->events->on_read(s->owner, slice_from(lent, count));
        free(lent);
        return true;
    }
    if (peer->has_reset || s->error != 0) {
        s->is_error_told = true;
        s->error = -ECONNRESET;
        buf_clear(&peer->pending);
        s->events->on_end(s->owner, -ECONNRESET);
        return true;
    }
    if (!peer->has_ended || peer->is_end_told || !s->is_reading)
        return false;
    peer->is_end_told = true;
    s->events->on_end(s->owner, 0);
    return true;
}

/* The far end reads up to max bytes of what was written. */
static inline bool fake_take(struct loop *loop, struct fake_peer *peer, size_t max)
{
    struct stream *s = peer->stream;
    size_t count = buf_len(&peer->pending);

    if (s == NULL && loop->now_ms > peer->linger_until_ms)
        fake_drop_output(peer);
    if (peer->has_reset || buf_len(&peer->pending) == 0)
        return false;
    count = count < max ? count : max;
    CHECK(buf_append(&peer->got, slice_head(buf_slice(&peer->pending), count)));
    buf_consume(&peer->pending, count);
    if (s != NULL && s->is_full && buf_len(&peer->pending) == 0) {
        s->is_full = false;
        if (s->events->on_drain != NULL)
            s->events->on_drain(s->owner);
    }
    return true;
}

/* --- resolve.h and tls.h: literals only, no TLS --- */

bool resolve_literal(const char *host, uint16_t port, union resolve_address *ret_address)
{
    UNUSED(host);
    UNUSED(port);
    *ret_address = (union resolve_address){.any = {.sa_family = AF_INET}};
    return true;
}

struct resolve_request *resolve_start(struct loop *loop, const char *host, uint16_t port,
                                      uint64_t timeout_ms, resolve_cb *on_resolved, void *owner)
{
    UNUSED(loop);
    UNUSED(host);
    UNUSED(port);
    UNUSED(timeout_ms);
    UNUSED(on_resolved);
    UNUSED(owner);
    UNREACHED();
}

void resolve_cancel(struct resolve_request **request)
{
    UNUSED(request);
    UNREACHED();
}

void resolve_expire(struct loop *loop, const char *host)
{
    UNUSED(loop);
    UNUSED(host);
    UNREACHED();
}

struct tls_context *tls_context_open(const struct tls_options *options, char *error,
                                     size_t error_size)
{
    UNUSED(options);
    UNUSED(error);
    UNUSED(error_size);
    UNREACHED();
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    return context;
}

void tls_context_unref(struct tls_context **context)
{
    *context = NULL;
}

#endif
