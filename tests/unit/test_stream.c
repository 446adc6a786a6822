/* Streams on loopback: both ends run in the same loop unless a test needs a bare socket. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

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
    char text[256]; /* the first bytes read */
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

static uint64_t hash_more(uint64_t hash, struct slice data)
{
    for (size_t i = 0; i < data.len; i++)
        hash = (hash ^ (unsigned char)data.at[i]) * 0x100000001b3u;
    return hash;
}

static void generate(struct end *end)
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

static void on_connect(void *owner, int error)
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

static void on_read(void *owner, struct slice data)
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

static void on_end(void *owner, int error)
{
    struct end *end = owner;

    end->end_calls++;
    end->end_error = error;
    if (end->close_in_end)
        stream_close(&end->stream, 0);
}

static void on_drain(void *owner)
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

static void on_accept(void *owner, struct stream *accepted)
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

static void on_guard(struct timer *timer)
{
    UNUSED(timer);
    fail_msg("the test has hung");
}

static void open_listener(struct world *w, const char *address)
{
    struct listener_options options = {.address = address, .fd = -1};

    assert_int_equal(listener_open(w->loop, &options, on_accept, w, &w->listener), 0);
    if (strncmp(address, "unix:", 5) == 0)
        assert_true(resolve_literal(address, 0, &w->address));
    else
        assert_true(resolve_literal("127.0.0.1", listener_port(w->listener), &w->address));
}

static void open_world(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->client.world = w->server.world = w;
    assert_int_equal(loop_open(&w->loop), 0);
    timer_start(w->loop, &w->guard, GUARD_MS, on_guard);
    open_listener(w, "127.0.0.1:0");
}

static void connect_client(struct world *w)
{
    w->client.stream =
        stream_connect(w->loop, &w->address.any, 5000, NULL, NULL, &events, &w->client);
}

static void close_world(struct world *w)
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

static void run_until_connected(struct world *w)
{
    connect_client(w);
    RUN_UNTIL(w, w->client.connect_calls > 0 && w->server.stream != NULL);
    assert_int_equal(w->client.connect_error, 0);
}

static void write_text(struct end *end, const char *text)
{
    struct slice data = slice_of(text);

    assert_int_equal(stream_write(end->stream, &data, 1), STREAM_OK);
}

static void test_echo(void **state)
{
    struct world w;

    UNUSED(state);
    open_world(&w);
    w.server.echo = true;
    run_until_connected(&w);
    write_text(&w.client, "hello ");
    write_text(&w.client, "there");
    assert_int_equal(w.client.read_calls, 0);
    RUN_UNTIL(&w, w.client.read_bytes == 11);
    assert_string_equal(w.client.text, "hello there");
    assert_int_equal(w.server.read_calls, 1); /* two writes, one flush */
    assert_int_equal(stream_read_bytes(w.server.stream), 11);
    assert_int_equal(stream_written_bytes(w.client.stream), 11);
    assert_string_equal(stream_peer_address(w.client.stream), "127.0.0.1");
    assert_int_equal(stream_peer_port(w.client.stream), listener_port(w.listener));
    assert_string_equal(stream_local_address(w.server.stream), "127.0.0.1");
    assert_int_equal(stream_local_port(w.client.stream), stream_peer_port(w.server.stream));
    assert_false(stream_is_tls(w.client.stream));
    close_world(&w);
}

static void test_write_before_connect(void **state)
{
    struct world w;

    UNUSED(state);
    open_world(&w);
    connect_client(&w);
    write_text(&w.client, "early");
    assert_int_equal(w.client.connect_calls, 0);
    RUN_UNTIL(&w, w.server.read_bytes == 5);
    assert_string_equal(w.server.text, "early");
    close_world(&w);
}

/* The write of a timer callback goes out before the loop waits. */
static void on_write_timer(struct timer *timer)
{
    struct world *w = CONTAINER_OF(timer, struct world, guard);

    write_text(&w->client, "from a timer");
}

static void test_write_from_timer_and_tick_flush(void **state)
{
    struct world w;

    UNUSED(state);
    open_world(&w);
    run_until_connected(&w);
    stream_set_flush(w.client.stream, STREAM_FLUSH_TICK);
    timer_start(w.loop, &w.guard, 0, on_write_timer);
    RUN_UNTIL(&w, w.server.read_bytes == 12);
    assert_int_equal(w.server.read_calls, 1);
    close_world(&w);
}

static void test_half_close_both_ways(void **state)
{
    struct world w;

    UNUSED(state);
    open_world(&w);
    run_until_connected(&w);
    write_text(&w.client, "question");
    stream_shutdown(w.client.stream);
    assert_int_equal(stream_write(w.client.stream, &SLICE("no more"), 1), STREAM_DEAD);
    RUN_UNTIL(&w, w.server.end_calls == 1);
    assert_int_equal(w.server.end_error, 0);
    assert_string_equal(w.server.text, "question");
    write_text(&w.server, "answer");
    stream_shutdown(w.server.stream);
    RUN_UNTIL(&w, w.client.end_calls == 1);
    assert_int_equal(w.client.end_error, 0);
    assert_string_equal(w.client.text, "answer");
    for (int i = 0; i < 20; i++)
        loop_turn(w.loop);
    assert_int_equal(w.server.end_calls, 1);
    assert_int_equal(w.client.end_calls, 1);
    close_world(&w);
}

static void test_bulk_is_intact(void **state)
{
    const uint64_t size = 100u * 1024 * 1024;
    struct world w;
    uint64_t hash = 0;

    UNUSED(state);
    open_world(&w);
    w.client.to_send_bytes = size;
    run_until_connected(&w);
    RUN_UNTIL(&w, w.server.end_calls == 1);
    assert_int_equal(w.server.end_error, 0);
    assert_int_equal(w.server.read_bytes, size);
    for (uint64_t i = 0; i < size; i++)
        hash = hash_more(hash, slice_from(&(char){(char)(i * 2654435761u >> 13)}, 1));
    assert_true(hash == w.server.read_hash);
    assert_true(w.client.drain_calls > 0);
    close_world(&w);
}

static void test_backpressure(void **state)
{
    const uint64_t size = 32u * 1024 * 1024;
    struct world w;

    UNUSED(state);
    open_world(&w);
    w.server.is_reading_stopped = true;
    w.client.to_send_bytes = size;
    run_until_connected(&w);
    for (int i = 0; i < 200; i++)
        loop_turn(w.loop);
    assert_int_equal(w.server.read_bytes, 0);
    assert_true(w.client.sent_bytes < size);
    assert_true(stream_pending_bytes(w.client.stream) > STREAM_HIGH_WATER_BYTES);
    assert_true(stream_pending_bytes(w.client.stream) < 2 * STREAM_HIGH_WATER_BYTES);
    stream_read_start(w.server.stream);
    RUN_UNTIL(&w, w.server.end_calls == 1);
    assert_int_equal(w.server.read_bytes, size);
    assert_true(w.client.drain_calls > 1);
    assert_int_equal(stream_pending_bytes(w.client.stream), 0);
    close_world(&w);
}

static void test_stop_in_read_holds_the_rest(void **state)
{
    struct world w;

    UNUSED(state);
    open_world(&w);
    w.server.stop_in_read = true;
    w.client.to_send_bytes = 1024 * 1024;
    run_until_connected(&w);
    while (w.server.end_calls == 0) {
        unsigned calls = w.server.read_calls;

        for (int i = 0; i < 3; i++)
            loop_turn(w.loop);
        assert_true(w.server.read_calls <= calls + 1);
        stream_read_start(w.server.stream);
    }
    assert_int_equal(w.server.read_bytes, 1024 * 1024);
    close_world(&w);
}

static void test_pending_bound_breaks(void **state)
{
    struct world w;
    char *piece = mem_calloc(1, 1024 * 1024);
    struct slice data = slice_from(piece, 1024 * 1024);
    enum stream_status status = STREAM_OK;
    int writes = 0;

    UNUSED(state);
    open_world(&w);
    w.server.is_reading_stopped = true;
    run_until_connected(&w);
    while (status != STREAM_DEAD && writes++ < 64)
        status = stream_write(w.client.stream, &data, 1);
    assert_int_equal(status, STREAM_DEAD);
    assert_int_equal(w.client.end_calls, 0);
    RUN_UNTIL(&w, w.client.end_calls == 1);
    assert_int_equal(w.client.end_error, UV_ENOBUFS);
    free(piece);
    close_world(&w);
}

static void test_close_inside_each_callback(void **state)
{
    UNUSED(state);
    for (int which = 0; which < 4; which++) {
        struct world w;

        open_world(&w);
        w.client.close_in_connect = which == 0;
        w.server.close_in_read = which == 1;
        w.server.close_in_end = which == 2;
        w.client.close_in_drain = which == 3;
        w.client.to_send_bytes = which == 3 ? 32u * 1024 * 1024 : which == 1 ? 300000 : 0;
        connect_client(&w);
        RUN_UNTIL(&w, w.client.connect_calls == 1 && w.accept_count == 1);
        if (which == 2)
            stream_shutdown(w.client.stream);
        RUN_UNTIL(&w, (which == 0 || which == 3) ? w.client.stream == NULL
                                                 : w.server.stream == NULL);
        for (int i = 0; i < 5; i++)
            loop_turn(w.loop);
        assert_true(which != 1 || w.server.read_calls == 1);
        assert_true(which != 1 || w.server.end_calls == 0);
        close_world(&w);
    }
}

static void test_connect_refused(void **state)
{
    struct world w;

    UNUSED(state);
    open_world(&w);
    listener_close(&w.listener);
    connect_client(&w);
    assert_int_equal(w.client.connect_calls, 0);
    RUN_UNTIL(&w, w.client.connect_calls == 1);
    assert_int_equal(w.client.connect_error, UV_ECONNREFUSED);
    assert_int_equal(stream_write(w.client.stream, &SLICE("x"), 1), STREAM_DEAD);
    close_world(&w);
}

static void test_connect_without_descriptor(void **state)
{
    struct world w;
    struct sockaddr odd = {.sa_family = AF_MAX - 1}; /* no such socket can be made */

    UNUSED(state);
    open_world(&w);
    w.client.close_in_connect = true;
    w.client.stream = stream_connect(w.loop, &odd, 1000, NULL, NULL, &events, &w.client);
    assert_int_equal(w.client.connect_calls, 0);
    RUN_UNTIL(&w, w.client.connect_calls == 1);
    assert_int_equal(w.client.connect_error, UV_EAFNOSUPPORT);
    close_world(&w);
}

/* A socket that listens with a full backlog answers nobody. */
static void test_connect_timeout(void **state)
{
    struct world w;
    int listening = socket(AF_INET, SOCK_STREAM, 0), fill[8];
    union resolve_address address;
    socklen_t size = sizeof(address);
    uint64_t started_at_ms;

    UNUSED(state);
    open_world(&w);
    assert_true(resolve_literal("127.0.0.1", 0, &address));
    assert_int_equal(bind(listening, &address.any, sizeof(address.in4)), 0);
    assert_int_equal(listen(listening, 0), 0);
    assert_int_equal(getsockname(listening, &address.any, &size), 0);
    for (size_t i = 0; i < COUNT_OF(fill); i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], &address.any, sizeof(address.in4));
    }
    started_at_ms = loop_now_ms(w.loop);
    w.client.stream =
        stream_connect(w.loop, &address.any, 150, NULL, NULL, &events, &w.client);
    RUN_UNTIL(&w, w.client.connect_calls == 1);
    assert_int_equal(w.client.connect_error, UV_ETIMEDOUT);
    assert_true(loop_now_ms(w.loop) - started_at_ms >= 150);
    assert_true(loop_now_ms(w.loop) - started_at_ms < 2000);
    for (size_t i = 0; i < COUNT_OF(fill); i++)
        close(fill[i]);
    close(listening);
    close_world(&w);
}

static int accept_bare(int listening)
{
    int fd = accept(listening, NULL, NULL);

    assert_true(fd >= 0);
    return fd;
}

/* A bare peer: the test holds its socket. */
static int connect_to_bare(struct world *w)
{
    int listening = socket(AF_INET, SOCK_STREAM, 0), fd;
    union resolve_address address;
    socklen_t size = sizeof(address);

    assert_true(resolve_literal("127.0.0.1", 0, &address));
    assert_int_equal(bind(listening, &address.any, sizeof(address.in4)), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, &address.any, &size), 0);
    w->client.stream =
        stream_connect(w->loop, &address.any, 5000, NULL, NULL, &events, &w->client);
    RUN_UNTIL(w, w->client.connect_calls == 1);
    assert_int_equal(w->client.connect_error, 0);
    fd = accept_bare(listening);
    close(listening);
    return fd;
}

static void reset_bare(int fd)
{
    struct linger reset = {1, 0};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(fd);
}

static void test_reset_is_an_error(void **state)
{
    struct world w;

    UNUSED(state);
    open_world(&w);
    reset_bare(connect_to_bare(&w));
    RUN_UNTIL(&w, w.client.end_calls == 1);
    assert_int_equal(w.client.end_error, UV_ECONNRESET);
    close_world(&w);
}

static void test_reset_is_noticed_while_reading_is_stopped(void **state)
{
    struct world w;
    int fd;

    UNUSED(state);
    open_world(&w);
    fd = connect_to_bare(&w);
    stream_read_stop(w.client.stream);
    /* A byte makes the stream stop watching for bytes; it is read before the peer resets. */
    assert_int_equal(write(fd, "x", 1), 1);
    for (int i = 0; i < 5; i++)
        loop_turn(w.loop);
    assert_int_equal(w.client.read_calls, 0);
    stream_read_start(w.client.stream);
    RUN_UNTIL(&w, w.client.read_bytes == 1);
    stream_read_stop(w.client.stream);
    assert_int_equal(write(fd, "y", 1), 1);
    for (int i = 0; i < 5; i++)
        loop_turn(w.loop);
    reset_bare(fd);
    for (int i = 0; i < 5; i++)
        loop_turn(w.loop);
    assert_int_equal(w.client.end_calls, 0); /* there is a byte still to be read */
    stream_read_start(w.client.stream);
    RUN_UNTIL(&w, w.client.end_calls == 1);
    assert_int_equal(w.client.read_bytes, 2);
    assert_int_equal(w.client.end_error, UV_ECONNRESET);
    close_world(&w);
}

/* What the peer said before it went away is read even when a write finds it gone. */
static void test_answer_before_reset_is_read(void **state)
{
    struct world w;
    char *piece = mem_calloc(1, 60000);
    struct slice data = slice_from(piece, 60000);
    int fd;

    UNUSED(state);
    open_world(&w);
    fd = connect_to_bare(&w);
    assert_int_not_equal(stream_write(w.client.stream, &data, 1), STREAM_DEAD);
    assert_int_equal(write(fd, "413", 3), 3);
    close(fd); /* with unread bytes: a reset follows the answer */
    while (stream_write(w.client.stream, &data, 1) != STREAM_DEAD)
        ;
    RUN_UNTIL(&w, w.client.end_calls == 1);
    assert_string_equal(w.client.text, "413");
    assert_true(w.client.end_error < 0);
    free(piece);
    close_world(&w);
}

/* The peer keeps sending while the answer is on its way: it still gets all of it. */
static void test_lingering_close_keeps_the_answer(void **state)
{
    const size_t size = 2u * 1024 * 1024;
    struct world w;
    int fd;
    size_t got = 0;
    char *piece = mem_calloc(1, size), buffer[65536];
    struct slice data = slice_from(piece, size);

    UNUSED(state);
    open_world(&w);
    fd = connect_to_bare(&w);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_not_equal(stream_write(w.client.stream, &data, 1), STREAM_DEAD);
    stream_close(&w.client.stream, 10000);
    assert_null(w.client.stream);
    for (;;) {
        ssize_t count;

        loop_turn(w.loop);
        if (got < size)
            assert_true(write(fd, "more of the request", 19) > 0 || errno == EAGAIN);
        count = read(fd, buffer, sizeof(buffer));
        if (count == 0)
            break;
        assert_true(count > 0 || errno == EAGAIN);
        got += count > 0 ? (size_t)count : 0;
    }
    assert_int_equal(got, size);
    close(fd);
    free(piece);
    assert_int_equal(w.client.end_calls, 0);
    close_world(&w);
}

static void test_linger_ends_at_its_deadline(void **state)
{
    struct world w;
    int fd;
    uint64_t started_at_ms;

    UNUSED(state);
    open_world(&w);
    fd = connect_to_bare(&w); /* and it never closes */
    timer_stop(w.loop, &w.guard);
    listener_close(&w.listener);
    stream_close(&w.client.stream, 100);
    started_at_ms = loop_now_ms(w.loop);
    while (loop_turn(w.loop))
        assert_true(loop_now_ms(w.loop) - started_at_ms < 5000);
    assert_true(loop_now_ms(w.loop) - started_at_ms >= 100);
    close(fd);
    close_world(&w);
}

static void test_abort_resets(void **state)
{
    struct world w;
    char byte;
    int fd;

    UNUSED(state);
    open_world(&w);
    fd = connect_to_bare(&w);
    write_text(&w.client, "lost");
    stream_abort(&w.client.stream);
    assert_int_equal(read(fd, &byte, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    close(fd);
    close_world(&w);
}

static unsigned turn_count;

static void on_turn(uv_check_t *check)
{
    UNUSED(check);
    turn_count++;
}

static void on_stop(struct timer *timer)
{
    loop_stop(CONTAINER_OF(timer, struct world, guard)->loop);
}

/* How often the loop turns in 50 ms in which nothing happens: a loop that spins does so for
 * thousands of times. */
static unsigned count_idle_turns(struct world *w)
{
    uv_check_t check;

    turn_count = 0;
    uv_check_init(loop_uv(w->loop), &check);
    uv_check_start(&check, on_turn);
    timer_start(w->loop, &w->guard, 50, on_stop);
    loop_run(w->loop);
    timer_start(w->loop, &w->guard, GUARD_MS, on_guard);
    uv_close((uv_handle_t *)&check, NULL);
    loop_turn(w->loop);
    return turn_count;
}

/* Whatever the peer does while nobody reads, the loop must be able to wait. */
static void test_stopped_stream_does_not_spin(void **state)
{
    UNUSED(state);
    for (int which = 0; which < 4; which++) {
        struct world w;
        int fd;

        open_world(&w);
        fd = connect_to_bare(&w);
        stream_read_stop(w.client.stream);
        assert_int_equal(write(fd, "x", 1), 1);
        if (which == 1)
            assert_int_equal(send(fd, "!", 1, MSG_OOB), 1);
        if (which == 2)
            stream_shutdown(w.client.stream);
        if (which >= 2)
            assert_int_equal(shutdown(fd, SHUT_WR), 0);
        if (which == 3)
            stream_read_start(w.client.stream);
        assert_true(count_idle_turns(&w) < 12);
        if (which == 3)
            assert_int_equal(w.client.end_calls, 1);
        stream_read_start(w.client.stream);
        RUN_UNTIL(&w, w.client.read_bytes >= 1);
        close(fd);
        RUN_UNTIL(&w, w.client.end_calls >= 1);
        assert_true(count_idle_turns(&w) < 12);
        close_world(&w);
    }
}

static void test_urgent_data_is_harmless(void **state)
{
    struct world w;
    int fd;

    UNUSED(state);
    open_world(&w);
    fd = connect_to_bare(&w);
    stream_read_stop(w.client.stream);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(send(fd, "!", 1, MSG_OOB), 1);
    for (int i = 0; i < 5; i++)
        loop_turn(w.loop);
    stream_read_start(w.client.stream);
    RUN_UNTIL(&w, w.client.read_bytes >= 1);
    close(fd);
    RUN_UNTIL(&w, w.client.end_calls == 1);
    close_world(&w);
}

static void test_change_of_owner(void **state)
{
    struct world w;
    struct end other = {0};

    UNUSED(state);
    open_world(&w);
    run_until_connected(&w);
    other.world = &w;
    other.stream = w.client.stream;
    stream_set_owner(w.client.stream, &events, &other);
    write_text(&w.server, "to the other");
    RUN_UNTIL(&w, other.read_bytes == 12);
    assert_int_equal(w.client.read_bytes, 0);
    close_world(&w);
}

static void test_unix_socket(void **state)
{
    char address[128];
    struct world w;

    UNUSED(state);
    open_world(&w);
    listener_close(&w.listener);
    snprintf(address, sizeof(address), "unix:/tmp/lk-test-stream-%d.sock", getpid());
    open_listener(&w, address);
    w.server.echo = true;
    run_until_connected(&w);
    write_text(&w.client, "over unix");
    RUN_UNTIL(&w, w.client.read_bytes == 9);
    assert_string_equal(stream_peer_address(w.server.stream), "unix");
    assert_int_equal(stream_peer_port(w.server.stream), 0);
    close_world(&w);
    assert_int_equal(access(address + 5, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_write_before_connect),
        cmocka_unit_test(test_write_from_timer_and_tick_flush),
        cmocka_unit_test(test_half_close_both_ways),
        cmocka_unit_test(test_bulk_is_intact),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_stop_in_read_holds_the_rest),
        cmocka_unit_test(test_pending_bound_breaks),
        cmocka_unit_test(test_close_inside_each_callback),
        cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_connect_without_descriptor),
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_reset_is_an_error),
        cmocka_unit_test(test_reset_is_noticed_while_reading_is_stopped),
        cmocka_unit_test(test_answer_before_reset_is_read),
        cmocka_unit_test(test_lingering_close_keeps_the_answer),
        cmocka_unit_test(test_linger_ends_at_its_deadline),
        cmocka_unit_test(test_abort_resets),
        cmocka_unit_test(test_stopped_stream_does_not_spin),
        cmocka_unit_test(test_urgent_data_is_harmless),
        cmocka_unit_test(test_change_of_owner),
        cmocka_unit_test(test_unix_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
