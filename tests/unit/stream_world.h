/* Both ends of a connection on loopback and what each has seen, for the tests of streams. */
#ifndef TESTS_STREAM_WORLD_H
#define TESTS_STREAM_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <uv.h>

#include "base/arena.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/resolve.h"
#include "net/stream.h"

/* A test that is not done by then has hung. */
#define GUARD_MS 20000u

struct world;

/* One end of a connection and what it has seen. */
struct end {
    struct world *world;
    struct stream *stream;
    bool is_connected, is_reading_stopped, close_in_read, close_in_end, close_in_connect,
        close_in_drain, stop_in_read, echo;
    int connect_error, end_error;
    unsigned read_calls, end_calls, drain_calls, connect_calls;
    uint64_t read_bytes, read_hash;
    char text[256];                     /* the first bytes read */
    uint64_t to_send_bytes, sent_bytes; /* a generator that respects STREAM_FULL */
};

struct world {
    struct loop *loop;
    struct listener *listener;
    struct end client, server;
    struct timer guard;
    bool is_over;
    union resolve_address address;
    unsigned accept_count;
};

static inline uint64_t hash_more(uint64_t hash, struct slice data)
{
    for (size_t i = 0; i < data.len; i++)
        hash = (hash ^ (unsigned char)data.at[i]) * 0x100000001b3u;
    return hash;
}

static inline void generate(struct end *end)
{
    char piece[30000];

    while (end->stream != NULL && end->sent_bytes < end->to_send_bytes) {
        uint64_t left = end->to_send_bytes - end->sent_bytes;
        /* Odd sizes, small and big, so that both ways of writing are used. */
        size_t len = (size_t)(end->sent_bytes * 7919 % sizeof(piece)) + 1;
        struct slice parts[2];
        enum stream_status status;

        if (len > left)
            len = (size_t)left;
        for (size_t i = 0; i < len; i++)
            piece[i] = (char)((end->sent_bytes + i) * 2654435761u >> 13);
        parts[0] = slice_from(piece, len / 3);
        parts[1] = slice_from(piece + len / 3, len - len / 3);
        status = stream_write(end->stream, parts, 2);
        assert_int_not_equal(status, STREAM_DEAD);
        end->sent_bytes += len;
        if (status == STREAM_FULL)
            return;
    }
    if (end->stream != NULL && end->to_send_bytes > 0)
        stream_shutdown(end->stream);
}

static inline void on_connect(void *owner, int error)
{
    struct end *end = owner;

    end->connect_calls++;
    end->connect_error = error;
    end->is_connected = error == 0;
    if (end->close_in_connect)
        stream_close(&end->stream, 0);
    else if (error == 0)
        generate(end);
}

static inline void on_read(void *owner, struct slice data)
{
    struct end *end = owner;

    assert_true(data.len > 0);
    end->read_calls++;
    for (size_t i = 0; i < data.len && end->read_bytes + i < sizeof(end->text) - 1; i++)
        end->text[end->read_bytes + i] = data.at[i];
    end->read_bytes += data.len;
    end->read_hash = hash_more(end->read_hash, data);
    if (end->echo)
        assert_int_not_equal(stream_write(end->stream, &data, 1), STREAM_DEAD);
    if (end->stop_in_read)
        stream_read_stop(end->stream);
    if (end->close_in_read)
        stream_close(&end->stream, 0);
}

static inline void on_end(void *owner, int error)
{
    struct end *end = owner;

    end->end_calls++;
    end->end_error = error;
    if (end->close_in_end)
        stream_close(&end->stream, 0);
}

static inline void on_drain(void *owner)
{
    struct end *end = owner;

    end->drain_calls++;
    assert_int_equal(stream_pending_bytes(end->stream), 0);
    if (end->close_in_drain)
        stream_close(&end->stream, 0);
    else
        generate(end);
}

static const struct stream_events events = {on_connect, on_read, on_end, on_drain};

static inline void on_accept(void *owner, struct stream *accepted)
{
    struct world *w = owner;

    w->accept_count++;
    if (w->server.stream != NULL) {
        stream_close(&accepted, 0);
        return;
    }
    w->server.stream = accepted;
    stream_adopt(accepted, &events, &w->server);
    if (w->server.is_reading_stopped)
        stream_read_stop(accepted);
    generate(&w->server);
}

static inline void on_guard(struct timer *timer)
{
    UNUSED(timer);
    fail_msg("the test has hung");
}

static inline void open_listener(struct world *w, const char *address)
{
    struct listener_options options = {.address = address, .fd = -1};

    assert_int_equal(listener_open(w->loop, &options, on_accept, w, &w->listener), 0);
    if (strncmp(address, "unix:", 5) == 0)
        assert_true(resolve_literal(address, 0, &w->address));
    else
        assert_true(resolve_literal("127.0.0.1", listener_port(w->listener), &w->address));
}

static inline void open_world(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->client.world = w->server.world = w;
    assert_int_equal(loop_open(&w->loop), 0);
    timer_start(w->loop, &w->guard, GUARD_MS, on_guard);
    open_listener(w, "127.0.0.1:0");
}

static inline void connect_client(struct world *w)
{
    w->client.stream =
        stream_connect(w->loop, &w->address.any, 5000, NULL, NULL, &events, &w->client);
}

static inline void close_world(struct world *w)
{
    if (w->client.stream != NULL)
        stream_close(&w->client.stream, 0);
    if (w->server.stream != NULL)
        stream_close(&w->server.stream, 0);
    if (w->listener != NULL)
        listener_close(&w->listener);
    timer_stop(w->loop, &w->guard);
    loop_close(&w->loop);
}

/* Turn the loop until the condition holds. */
#define RUN_UNTIL(w, condition)                                                                    \
    do {                                                                                           \
        while (!(condition))                                                                       \
            loop_turn((w)->loop);                                                                  \
    } while (0)

static inline void run_until_connected(struct world *w)
{
    connect_client(w);
    RUN_UNTIL(w, w->client.connect_calls > 0 && w->server.stream != NULL);
    assert_int_equal(w->client.connect_error, 0);
}

static inline void write_text(struct end *end, const char *text)
{
    struct slice data = slice_of(text);

    assert_int_equal(stream_write(end->stream, &data, 1), STREAM_OK);
}

#endif
