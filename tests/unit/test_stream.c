/* Streams that work: bytes both ways, half-close, backpressure, closing in every callback. */
#include <netinet/tcp.h>
#include <unistd.h>

#include "net/stream_private.h"
#include "unit/stream_world.h"

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

static int int_option(const struct stream *stream, int level, int name)
{
    int value = 0;
    socklen_t size = sizeof(value);

    assert_int_equal(getsockopt(stream->fd, level, name, &value, &size), 0);
    return value;
}

/* A peer that vanished without a word is found out in 60 s and six probes, on both sides. */
static void test_keep_alive(void **state)
{
    struct world w;

    UNUSED(state);
    open_world(&w);
    run_until_connected(&w);
    for (size_t i = 0; i < 2; i++) {
        const struct stream *s = i == 0 ? w.client.stream : w.server.stream;

        assert_int_equal(int_option(s, SOL_SOCKET, SO_KEEPALIVE), 1);
        assert_int_equal(int_option(s, IPPROTO_TCP, TCP_KEEPIDLE), 60);
        assert_int_equal(int_option(s, IPPROTO_TCP, TCP_KEEPINTVL), 10);
        assert_int_equal(int_option(s, IPPROTO_TCP, TCP_KEEPCNT), 6);
        assert_int_equal(int_option(s, IPPROTO_TCP, TCP_NODELAY), 1);
    }
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
    while (status != STREAM_DEAD && writes++ < 128)
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
        RUN_UNTIL(&w,
                  (which == 0 || which == 3) ? w.client.stream == NULL : w.server.stream == NULL);
        for (int i = 0; i < 5; i++)
            loop_turn(w.loop);
        assert_true(which != 1 || w.server.read_calls == 1);
        assert_true(which != 1 || w.server.end_calls == 0);
        close_world(&w);
    }
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
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_write_before_connect),
        cmocka_unit_test(test_write_from_timer_and_tick_flush),
        cmocka_unit_test(test_half_close_both_ways),
        cmocka_unit_test(test_bulk_is_intact),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_stop_in_read_holds_the_rest),
        cmocka_unit_test(test_pending_bound_breaks),
        cmocka_unit_test(test_close_inside_each_callback),
        cmocka_unit_test(test_change_of_owner),
        cmocka_unit_test(test_unix_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
