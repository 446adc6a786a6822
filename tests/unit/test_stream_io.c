/* Streams in trouble: refused, timed out, reset, cut off, left unread, closed with output pending.
 * The peer is a bare socket that the test holds. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "unit/stream_world.h"

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
    w.client.stream = stream_connect(w.loop, &address.any, 150, NULL, NULL, &events, &w.client);
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
    w->client.stream = stream_connect(w->loop, &address.any, 5000, NULL, NULL, &events, &w->client);
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

/* The peer reads all that is to be had and gives the error that ended it, 0 for a clean end. */
static int read_to_the_end(struct world *w, int fd)
{
    char buffer[65536];
    ssize_t count;

    do {
        loop_turn(w->loop);
        count = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    } while (count > 0 || (count < 0 && errno == EAGAIN));
    return count == 0 ? 0 : errno;
}

/* A message that ends with the connection would look whole. */
static void close_with_output_left(uint64_t linger_ms)
{
    const size_t size = 8u * 1024 * 1024;
    struct world w;
    int fd;
    char *piece = mem_calloc(1, size);
    struct slice data = slice_from(piece, size);

    open_world(&w);
    fd = connect_to_bare(&w);
    assert_int_equal(stream_write(w.client.stream, &data, 1), STREAM_FULL);
    free(piece);
    listener_close(&w.listener);
    timer_stop(w.loop, &w.guard);
    stream_close(&w.client.stream, linger_ms);
    while (loop_turn(w.loop))
        continue;
    assert_int_equal(read_to_the_end(&w, fd), ECONNRESET);
    close(fd);
    close_world(&w);
}

static void test_close_that_drops_output_resets(void **state)
{
    UNUSED(state);
    close_with_output_left(0);
    close_with_output_left(50);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_connect_without_descriptor),
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_reset_is_an_error),
        cmocka_unit_test(test_reset_is_noticed_while_reading_is_stopped),
        cmocka_unit_test(test_answer_before_reset_is_read),
        cmocka_unit_test(test_lingering_close_keeps_the_answer),
        cmocka_unit_test(test_linger_ends_at_its_deadline),
        cmocka_unit_test(test_close_that_drops_output_resets),
        cmocka_unit_test(test_abort_resets),
        cmocka_unit_test(test_stopped_stream_does_not_spin),
        cmocka_unit_test(test_urgent_data_is_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
