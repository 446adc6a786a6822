/* The PROXY header in front of a stream: in any pieces, never a byte too many, in time. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "unit/stream_world.h"

#define V1 "PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n"
#define V2                                                                                         \
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"                                                           \
    "\xcb\x00\x71\x09\x0a\x00\x00\x01\xdc\x04\x01\xbb"
#define V2_LOCAL "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
#define BODY "hello, and\r\nPROXY more"

/* A listener that wants headers, and what it has seen. */
struct fronted {
    struct loop *loop;
    struct listener *listener;
    struct end end;
    struct world world; /* for the end's callbacks */
    enum listener_admission admission;
    unsigned accept_count, fault_count;
    char fault[64];
    int fd; /* the client */
};

static enum listener_admission on_admit(void *owner, const struct sockaddr *peer)
{
    struct fronted *f = owner;

    assert_int_equal(peer->sa_family, AF_INET);
    return f->admission;
}

static void on_fault(void *owner, const char *reason)
{
    struct fronted *f = owner;

    f->fault_count++;
    snprintf(f->fault, sizeof(f->fault), "%s", reason);
}

static void on_fronted(void *owner, struct stream *accepted)
{
    struct fronted *f = owner;

    f->accept_count++;
    f->end.stream = accepted;
    stream_adopt(accepted, &events, &f->end);
}

static void open_fronted(struct fronted *f, enum listener_admission admission, uint64_t timeout_ms)
{
    struct listener_options options = {.address = "127.0.0.1:0",
                                       .fd = -1,
                                       .handshake_timeout_ms = timeout_ms,
                                       .admit = on_admit,
                                       .on_fault = on_fault};
    union resolve_address address;

    memset(f, 0, sizeof(*f));
    f->admission = admission;
    f->end.world = &f->world;
    assert_int_equal(loop_open(&f->loop), 0);
    assert_int_equal(listener_open(f->loop, &options, on_fronted, f, &f->listener), 0);
    assert_true(resolve_literal("127.0.0.1", listener_port(f->listener), &address));
    f->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(f->fd, &address.any, sizeof(address.in4)), 0);
}

static void close_fronted(struct fronted *f)
{
    if (f->end.stream != NULL)
        stream_close(&f->end.stream, 0);
    listener_close(&f->listener);
    close(f->fd);
    loop_close(&f->loop);
}

static void send_bytes(struct fronted *f, struct slice bytes)
{
    assert_int_equal(send(f->fd, bytes.at, bytes.len, MSG_NOSIGNAL), bytes.len);
}

#define TURN_UNTIL(f, condition)                                                                   \
    do {                                                                                           \
        uint64_t until_us_ = loop_clock_us() + GUARD_MS * 1000;                                    \
        while (!(condition)) {                                                                     \
            assert_true(loop_clock_us() < until_us_);                                              \
            loop_turn((f)->loop);                                                                  \
        }                                                                                          \
    } while (0)

static void assert_body(struct fronted *f)
{
    TURN_UNTIL(f, f->end.read_bytes == sizeof(BODY) - 1);
    assert_string_equal(f->end.text, BODY);
}

static void test_header_and_more_at_once(void **state)
{
    struct fronted f;

    UNUSED(state);
    open_fronted(&f, LISTENER_PROXY_HEADER, 10000);
    send_bytes(&f, SLICE(V1 BODY));
    assert_body(&f);
    assert_string_equal(stream_peer_address(f.end.stream), "203.0.113.9");
    assert_int_equal(stream_peer_port(f.end.stream), 56324);
    assert_string_equal(stream_local_address(f.end.stream), "127.0.0.1");
    assert_false(stream_is_peer_hidden(f.end.stream));
    assert_int_equal(listener_opening_count(f.listener), 0);
    close_fronted(&f);
}

/* Cut at every byte; the loop turns in between. */
static void test_header_in_two_pieces(void **state)
{
    static const struct slice headers[] = {SLICE_INIT(V1), SLICE_INIT(V2)};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        for (size_t cut = 1; cut < headers[i].len; cut++) {
            struct fronted f;

            open_fronted(&f, LISTENER_PROXY_HEADER, 10000);
            send_bytes(&f, slice_head(headers[i], cut));
            TURN_UNTIL(&f, listener_opening_count(f.listener) == 1);
            loop_turn(f.loop);
            loop_turn(f.loop);
            assert_int_equal(f.accept_count, 0);
            send_bytes(&f, slice_skip(headers[i], cut));
            send_bytes(&f, SLICE(BODY));
            assert_body(&f);
            assert_string_equal(stream_peer_address(f.end.stream), "203.0.113.9");
            close_fronted(&f);
        }
    }
}

static void test_header_byte_by_byte(void **state)
{
    struct slice all = SLICE(V2 BODY);
    struct fronted f;

    UNUSED(state);
    open_fronted(&f, LISTENER_PROXY_HEADER, 10000);
    for (size_t i = 0; i < all.len; i++) {
        send_bytes(&f, slice_from(all.at + i, 1));
        loop_turn(f.loop);
    }
    assert_body(&f);
    assert_string_equal(stream_peer_address(f.end.stream), "203.0.113.9");
    close_fronted(&f);
}

static void test_local_and_unknown(void **state)
{
    static const struct {
        struct slice header;
        bool is_hidden;
    } cases[] = {{SLICE_INIT(V2_LOCAL), false}, {SLICE_INIT("PROXY UNKNOWN\r\n"), true}};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fronted f;

        open_fronted(&f, LISTENER_PROXY_HEADER, 10000);
        send_bytes(&f, cases[i].header);
        send_bytes(&f, SLICE(BODY));
        assert_body(&f);
        assert_string_equal(stream_peer_address(f.end.stream), "127.0.0.1");
        assert_int_equal(stream_is_peer_hidden(f.end.stream), cases[i].is_hidden);
        close_fronted(&f);
    }
}

static void test_faults(void **state)
{
    static const struct {
        struct slice bytes;
        bool leaves;
        const char *fault; /* NULL: none is told */
    } cases[] = {
        {SLICE_INIT("GET / HTTP/1.1\r\n\r\n"), false, "proxy-header-missing"},
        {SLICE_INIT("PROXY TCP4 1.1.1.1\r\n"), false, "proxy-header-malformed"},
        {SLICE_INIT(V1), false, NULL}, /* good */
        {SLICE_INIT("PROXY TCP4 1.1"), true, "proxy-header-incomplete"},
        {SLICE_INIT("PROXY TCP4 1.1"), false, "proxy-header-timeout"},
        {SLICE_INIT(""), false, "proxy-header-timeout"},
        {SLICE_INIT(""), true, NULL}, /* a look whether the port is open */
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        bool is_slow = cases[i].fault != NULL && strstr(cases[i].fault, "timeout") != NULL;
        struct fronted f;
        char byte;

        open_fronted(&f, LISTENER_PROXY_HEADER, is_slow ? 50 : 10000);
        send_bytes(&f, cases[i].bytes);
        TURN_UNTIL(&f, listener_opening_count(f.listener) == 1 || f.fault_count == 1);
        loop_turn(f.loop);
        if (cases[i].leaves)
            shutdown(f.fd, SHUT_WR);
        TURN_UNTIL(&f, listener_opening_count(f.listener) == 0);
        assert_int_equal(f.fault_count, cases[i].fault != NULL);
        if (cases[i].fault != NULL)
            assert_string_equal(f.fault, cases[i].fault);
        assert_int_equal(f.accept_count, slice_equal(cases[i].bytes, SLICE(V1)));
        if (f.accept_count == 0)
            assert_true(recv(f.fd, &byte, 1, 0) <= 0);
        close_fronted(&f);
    }
}

static void test_admission(void **state)
{
    struct fronted f;
    char byte;

    UNUSED(state);
    /* Without a header its bytes are the connection's own. */
    open_fronted(&f, LISTENER_TAKE, 10000);
    send_bytes(&f, SLICE(V1));
    TURN_UNTIL(&f, f.end.read_bytes == sizeof(V1) - 1);
    assert_string_equal(f.end.text, V1);
    assert_string_equal(stream_peer_address(f.end.stream), "127.0.0.1");
    close_fronted(&f);
    open_fronted(&f, LISTENER_CLOSE, 10000);
    for (int i = 0; i < 5; i++)
        loop_turn(f.loop);
    assert_true(recv(f.fd, &byte, 1, 0) <= 0);
    assert_int_equal(f.accept_count + f.fault_count, 0);
    close_fronted(&f);
}

/* Closing the listener ends what has not begun. */
static void test_close_in_the_middle(void **state)
{
    struct fronted f;

    UNUSED(state);
    open_fronted(&f, LISTENER_PROXY_HEADER, 10000);
    send_bytes(&f, SLICE("PROXY TC"));
    TURN_UNTIL(&f, listener_opening_count(f.listener) == 1);
    loop_turn(f.loop);
    close_fronted(&f);
    assert_int_equal(f.accept_count + f.fault_count, 0);
}

/* Stopped: no more are accepted, and those that have begun are handed over. */
static void test_stop_in_the_middle(void **state)
{
    struct fronted f;
    union resolve_address address;
    int late;

    UNUSED(state);
    open_fronted(&f, LISTENER_PROXY_HEADER, 10000);
    assert_true(resolve_literal("127.0.0.1", listener_port(f.listener), &address));
    send_bytes(&f, SLICE("PROXY TC"));
    TURN_UNTIL(&f, listener_opening_count(f.listener) == 1);
    listener_stop(f.listener);
    listener_pause(f.listener);
    listener_resume(f.listener);
    listener_stop(f.listener);
    late = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(late, &address.any, sizeof(address.in4)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(late);
    loop_turn(f.loop);
    send_bytes(&f, SLICE("P4 203.0.113.9 10.0.0.1 56324 443\r\n" BODY));
    assert_body(&f);
    assert_string_equal(stream_peer_address(f.end.stream), "203.0.113.9");
    assert_int_equal(listener_opening_count(f.listener), 0);
    close_fronted(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_and_more_at_once),
        cmocka_unit_test(test_header_in_two_pieces),
        cmocka_unit_test(test_header_byte_by_byte),
        cmocka_unit_test(test_local_and_unknown),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_admission),
        cmocka_unit_test(test_close_in_the_middle),
        cmocka_unit_test(test_stop_in_the_middle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
