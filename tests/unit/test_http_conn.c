/* The client side over real loopback connections: a raw client talks, a handler scripted by the
 * path of each request answers. */
#include "http_conn_fixture.h"

static void connection_is_kept(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 1; i <= 3; i++) {
        say(f, REQUEST("GET /now", ""));
        WAIT(f, raw_peer_has(&f->peer, "\r\n\r\nnow"));
        assert_true(raw_peer_has(&f->peer, "HTTP/1.1 200 OK\r\n"));
        assert_true(raw_peer_has(&f->peer, "Content-Length: 3\r\n"));
        assert_true(raw_peer_has(&f->peer, "Date: "));
        assert_false(raw_peer_has(&f->peer, "Connection:"));
        raw_peer_forget_input(&f->peer);
        WAIT(f, !list_is_empty(&f->server.idle));
    }
    assert_int_equal(f->request_count, 3);
    assert_int_equal(f->server.connection_count, 1);
}

static void close_is_honoured(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("GET /now", "Connection: close\r\n"));
    WAIT(f, f->peer.has_ended);
    assert_true(raw_peer_has(&f->peer, "Connection: close\r\n"));
    assert_true(raw_peer_has(&f->peer, "\r\n\r\nnow"));
    assert_false(f->peer.is_reset);
}

static void http_1_0_keeps_alive_on_request_only(void **state)
{
    struct fixture *f = *state;

    say(f, "GET /now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    WAIT(f, raw_peer_has(&f->peer, "\r\n\r\nnow"));
    assert_true(raw_peer_has(&f->peer, "Connection: keep-alive\r\n"));
    say(f, "GET /now HTTP/1.0\r\n\r\n");
    WAIT(f, f->peer.has_ended);
    assert_int_equal(f->request_count, 2);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("GET /wait", "") REQUEST("POST /echo", "Content-Length: 3\r\n") "abc" REQUEST(
               "GET /now", "") "GET /par");
    WAIT(f, f->request_count == 1);
    TURN(f);
    assert_int_equal(f->request_count, 1);
    assert_int_equal(f->peer.in_len, 0);
    answer(f->last, 200, SLICE("first"));
    WAIT(f, raw_peer_has(&f->peer, "\r\n\r\nnow"));
    assert_string_equal(f->paths, "/wait /echo /now ");
    assert_true(strstr(f->peer.in, "first") < strstr(f->peer.in, "abc"));
    raw_peer_forget_input(&f->peer);
    say(f, "tial HTTP/1.1\r\nHost: a\r\n\r\n");
    WAIT(f, f->request_count == 4);
    assert_non_null(strstr(f->paths, "/partial "));
    answer(f->last, 200, SLICE("last"));
    WAIT(f, raw_peer_has(&f->peer, "last"));
}

/* Every way to split the bytes of two requests over two reads gives the same answers. */
static void splits_do_not_matter(void **state)
{
    struct fixture *f = *state;
    static const char text[] = REQUEST(
        "POST /echo", "Transfer-Encoding: chunked\r\n") "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: "
                                                        "1\r\n\r\n" REQUEST("GET /now", "");
    size_t len = sizeof(text) - 1;

    for (size_t i = 1; i < len; i++) {
        raw_peer_connect(&f->peer, listener_port(f->listener));
        f->request_count = 0;
        raw_peer_send(&f->peer, slice_from(text, i));
        TURN(f);
        raw_peer_send(&f->peer, slice_from(text + i, len - i));
        WAIT(f, raw_peer_has(&f->peer, "\r\n\r\nnow"));
        assert_true(raw_peer_has(&f->peer, "\r\n\r\nabcde"));
        assert_int_equal(f->request_count, 2);
        raw_peer_close(&f->peer);
        WAIT(f, f->server.connection_count == 0);
    }
}

static void bodies_wait_until_they_are_wanted(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("POST /wait", "Content-Length: 6\r\n") "abc");
    WAIT(f, f->request_count == 1);
    TURN(f);
    assert_int_equal(buf_len(&f->body), 0);
    http_conn_body_start(f->last->conn);
    assert_int_equal(buf_len(&f->body), 0); /* not from inside the call */
    WAIT(f, buf_len(&f->body) == 3);
    http_conn_body_stop(f->last->conn);
    say(f, "def");
    TURN(f);
    assert_int_equal(buf_len(&f->body), 3);
    http_conn_body_start(f->last->conn);
    WAIT(f, f->body_end_count == 1);
    assert_slice_equal(buf_slice(&f->body), SLICE("abcdef"));
    assert_int_equal(http_conn_received_bytes(f->last->conn),
                     6 + sizeof(REQUEST("POST /wait", "Content-Length: 6\r\n")) - 1);
    answer(f->last, 200, SLICE("ok"));
    WAIT(f, raw_peer_has(&f->peer, "\r\n\r\nok"));
}

static void continue_is_sent_when_the_body_is_wanted(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("POST /wait", "Content-Length: 3\r\nExpect: 100-continue\r\n"));
    WAIT(f, f->request_count == 1);
    TURN(f);
    assert_int_equal(f->peer.in_len, 0);
    http_conn_body_start(f->last->conn);
    WAIT(f, f->peer.in_len > 0);
    assert_string_equal(f->peer.in, "HTTP/1.1 100 Continue\r\n\r\n");
    say(f, "abc");
    WAIT(f, f->body_end_count == 1);
    answer(f->last, 200, SLICE("ok"));
    WAIT(f, raw_peer_has(&f->peer, "\r\n\r\nok"));
    assert_false(raw_peer_has(&f->peer, "Connection: close"));
}

/* Whether the client will send the body is not known then, so the connection cannot go on. */
static void refused_expectation_closes(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("POST /now", "Content-Length: 3\r\nExpect: 100-continue\r\n"));
    WAIT(f, f->peer.has_ended);
    assert_true(raw_peer_has(&f->peer, "Connection: close\r\n"));
    assert_false(raw_peer_has(&f->peer, " 100 "));
}

static void interim_answers_pass(void **state)
{
    struct fixture *f = *state;
    struct http_field link = {.name = SLICE("Link"), .value = SLICE("</a.css>")};
    struct http_response hints = {
        .status = 103, .reason = SLICE("Early Hints"), .fields = {.items = &link, .count = 1}};

    say(f, REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 1);
    http_conn_send_interim(f->last->conn, &hints);
    hints.status = 100; /* nobody expects it */
    http_conn_send_interim(f->last->conn, &hints);
    WAIT(f, f->peer.in_len > 0);
    assert_string_equal(f->peer.in, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    answer(f->last, 200, SLICE("ok"));
    WAIT(f, raw_peer_has(&f->peer, "\r\n\r\nok"));
}

static void answers_without_body(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("HEAD /now", "") REQUEST("GET /empty", "") REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 3);
    answer(f->last, 304, SLICE(""));
    WAIT(f, raw_peer_has(&f->peer, " 304 "));
    assert_true(raw_peer_has(&f->peer, "Content-Length: 3\r\n"));
    assert_int_equal(raw_peer_count(&f->peer, "Content-Length"), 1);
    assert_false(raw_peer_has(&f->peer, "\r\n\r\nnow"));
    say(f, REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 4);
    raw_peer_forget_input(&f->peer);
    answer(f->last, 200, SLICE(""));
    WAIT(f, raw_peer_has(&f->peer, "Content-Length: 0\r\n"));
}

static void unknown_length_is_chunked_for_1_1_and_closed_for_1_0(void **state)
{
    struct fixture *f = *state;

    for (unsigned minor = 1; minor < 2; minor--) {
        say(f, minor == 1 ? REQUEST("GET /wait", "")
                          : "GET /wait HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        WAIT(f, f->last != NULL);
        send_answer_head(f->last, 200, HTTP_BODY_UNTIL_CLOSE, 0);
        http_conn_send_body(f->last->conn, SLICE("hello "));
        http_conn_send_body(f->last->conn, SLICE("0123456789abcdef"));
        http_conn_send_end(f->last->conn);
        f->last = NULL;
        if (minor == 1) {
            WAIT(f, raw_peer_has(&f->peer,
                                 "\r\n\r\n6\r\nhello \r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"));
            assert_true(raw_peer_has(&f->peer, "Transfer-Encoding: chunked\r\n"));
            raw_peer_forget_input(&f->peer);
        }
    }
    WAIT(f, f->peer.has_ended);
    assert_true(raw_peer_has(&f->peer, "\r\n\r\nhello 0123456789abcdef"));
    assert_false(raw_peer_has(&f->peer, "chunked"));
}

static void malformed_requests_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        unsigned status;
        const char *reason;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400, "malformed-host"},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "unsupported-version"},
        {"GET /\r\n", 505, "unsupported-version"},
        {"FROB / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "unsupported-method"},
        {REQUEST("POST /echo", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") "abc", 400,
         "malformed-framing"},
        {REQUEST("POST /echo", "Content-Length: 99999999\r\n"), 413, "body-too-large"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char line[64];

        say(f, cases[i].bytes);
        say(f, REQUEST("GET /now", "")); /* must not be taken for a request */
        WAIT(f, f->peer.has_ended);
        assert_false(f->peer.is_reset);
        snprintf(line, sizeof(line), "HTTP/1.1 %u ", cases[i].status);
        assert_memory_equal(f->peer.in, line, strlen(line));
        snprintf(line, sizeof(line), "\"reason\":\"%s\"", cases[i].reason);
        assert_true(raw_peer_has(&f->peer, line));
        assert_true(raw_peer_has(&f->peer, "\"executed\":\"no\""));
        assert_true(raw_peer_has(&f->peer, "Connection: close\r\n"));
        assert_int_equal(raw_peer_count(&f->peer, "\"executed\""), 1);
        assert_int_equal(f->refused_count, i + 1);
        assert_int_equal(f->refused_status, cases[i].status);
        raw_peer_close(&f->peer);
    }
    assert_int_equal(f->request_count, 0);
}

static void broken_body_framing_is_400(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("POST /echo", "Transfer-Encoding: chunked\r\n") "3\r\nabcd\r\n");
    WAIT(f, f->peer.has_ended);
    assert_memory_equal(f->peer.in, "HTTP/1.1 400 ", 13);
    assert_int_equal(f->gone_count, 1);
    assert_int_equal(f->gone, HTTP_GONE_MALFORMED);
}

static void chunked_body_beyond_the_limit_is_413(void **state)
{
    struct fixture *f = *state;

    f->server.settings.max_body_bytes = 4;
    say(f, REQUEST("POST /echo", "Transfer-Encoding: chunked\r\n") "3\r\nabc\r\n2\r\nde\r\n");
    WAIT(f, f->peer.has_ended);
    assert_memory_equal(f->peer.in, "HTTP/1.1 413 ", 13);
    assert_int_equal(f->gone, HTTP_GONE_TOO_LARGE);
}

static void timeouts(void **state)
{
    struct fixture *f = *state;

    f->server.settings.header_timeout_ms = 20;
    say(f, "GET / HT");
    WAIT(f, f->peer.has_ended);
    assert_memory_equal(f->peer.in, "HTTP/1.1 408 ", 13);
    assert_int_equal(f->refused_status, 408);
    raw_peer_close(&f->peer);

    say(f, "\r\n"); /* no request has begun */
    WAIT(f, f->peer.has_ended);
    assert_int_equal(f->peer.in_len, 0);
    raw_peer_close(&f->peer);

    f->server.settings.body_timeout_ms = 20;
    say(f, REQUEST("POST /echo", "Content-Length: 3\r\n") "a");
    WAIT(f, f->peer.has_ended);
    assert_memory_equal(f->peer.in, "HTTP/1.1 408 ", 13);
    assert_int_equal(f->gone, HTTP_GONE_TIMEOUT);
    raw_peer_close(&f->peer);

    f->server.settings.idle_timeout_ms = 20;
    say(f, REQUEST("GET /now", ""));
    WAIT(f, f->peer.has_ended);
    assert_memory_equal(f->peer.in, "HTTP/1.1 200 ", 13);
    assert_int_equal(raw_peer_count(&f->peer, "HTTP/1.1"), 1);
}

/* None of the timeouts of reading bounds the handler. */
static void a_handler_may_take_its_time(void **state)
{
    struct fixture *f = *state;
    uint64_t until_ms;

    f->server.settings.header_timeout_ms = 5;
    f->server.settings.body_timeout_ms = 5;
    f->server.settings.idle_timeout_ms = 5;
    say(f, REQUEST("POST /wait", "Content-Length: 3\r\n") "abc");
    WAIT(f, f->request_count == 1);
    until_ms = raw_peer_now_ms() + 30;
    WAIT(f, raw_peer_now_ms() > until_ms);
    assert_int_equal(f->gone_count, 0);
    answer(f->last, 200, SLICE("late"));
    WAIT(f, raw_peer_has(&f->peer, "late"));
}

static void clients_that_leave_are_noticed(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 1);
    raw_peer_reset(&f->peer);
    WAIT(f, f->gone_count == 1);
    assert_int_equal(f->gone, HTTP_GONE_CLIENT);
    raw_peer_close(&f->peer);

    say(f, REQUEST("POST /echo", "Content-Length: 3\r\n") "ab");
    WAIT(f, f->request_count == 2);
    raw_peer_end(&f->peer);
    WAIT(f, f->gone_count == 2);
    assert_int_equal(f->gone, HTTP_GONE_CLIENT);
    WAIT(f, f->peer.has_ended);
    raw_peer_close(&f->peer);

    say(f, "GET / HTT");
    TURN(f);
    raw_peer_end(&f->peer);
    WAIT(f, f->refused_count == 1);
    assert_int_equal(f->refused_status, 0);
    WAIT(f, f->server.connection_count == 0);
}

/* Even with a body that nobody has asked for yet. */
static void half_close_is_told_and_answered(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("POST /wait", "Content-Length: 3\r\n") "abc");
    WAIT(f, f->request_count == 1);
    raw_peer_end(&f->peer);
    WAIT(f, f->half_close_count == 1);
    assert_true(http_conn_peer_closed(f->last->conn));
    http_conn_body_start(f->last->conn);
    WAIT(f, f->body_end_count == 1);
    answer(f->last, 200, SLICE("still"));
    WAIT(f, f->peer.has_ended);
    assert_true(raw_peer_has(&f->peer, "\r\n\r\nstill"));
    assert_int_equal(f->gone_count, 0);
}

static void half_close_within_an_unwanted_body_is_gone_later(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("POST /wait", "Content-Length: 4\r\n") "abc");
    WAIT(f, f->request_count == 1);
    raw_peer_end(&f->peer);
    WAIT(f, f->half_close_count == 1);
    http_conn_body_start(f->last->conn);
    WAIT(f, f->gone_count == 1);
    assert_int_equal(f->gone, HTTP_GONE_CLIENT);
}

/* Nobody waits for the rest of a head that cannot come, whenever the end was seen. */
static void half_close_within_the_next_head_ends_the_connection(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("GET /wait", "") "GET /next HT");
    WAIT(f, f->request_count == 1);
    raw_peer_end(&f->peer);
    WAIT(f, f->half_close_count == 1);
    answer(f->last, 200, SLICE("still"));
    WAIT(f, f->peer.has_ended);
    assert_true(raw_peer_has(&f->peer, "\r\n\r\nstill"));
    assert_int_equal(raw_peer_count(&f->peer, "HTTP/1.1 "), 1);
    assert_int_equal(f->refused_count, 1);
    assert_int_equal(f->refused_status, 0);
}

/* As large as a policy may allow; it comes in many pieces. */
static void a_head_of_megabytes_is_held(void **state)
{
    struct fixture *f = *state;
    const size_t size = 4 * sizeof(f->zeros);
    char *value = malloc(size);
    size_t sent = 0;

    f->server.settings.max_header_bytes = 16 * 1024 * 1024;
    memset(value, 'a', size);
    say(f, "GET /now HTTP/1.1\r\nHost: a\r\nX-Long: ");
    while (sent < size) {
        ssize_t count = send(f->peer.fd, value + sent, size - sent, MSG_NOSIGNAL);

        sent += count > 0 ? (size_t)count : 0;
        TURN(f);
    }
    say(f, "\r\n\r\n");
    WAIT(f, raw_peer_has(&f->peer, "\r\n\r\nnow"));
    free(value);
}

static void unread_body_is_drained_within_bounds(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("POST /now", "Content-Length: 6\r\n") "abc");
    WAIT(f, raw_peer_has(&f->peer, "\r\n\r\nnow"));
    assert_false(raw_peer_has(&f->peer, "Connection: close"));
    say(f, "def" REQUEST("GET /now", ""));
    WAIT(f, raw_peer_count(&f->peer, "\r\n\r\nnow") == 2);
    raw_peer_forget_input(&f->peer);
    say(f, REQUEST("POST /now", "Content-Length: 1000000\r\n") "abc");
    WAIT(f, f->peer.has_ended);
    assert_true(raw_peer_has(&f->peer, "Connection: close\r\n"));
    assert_true(raw_peer_has(&f->peer, "\r\n\r\nnow"));
}

/* Who sends requests and takes no answers is not served on and on. */
static void pipelining_without_reading_is_held_up(void **state)
{
    struct fixture *f = *state;

    raw_peer_connect(&f->peer, listener_port(f->listener));
    f->peer.is_lazy = true;
    for (unsigned i = 0; i < 30; i++)
        say(f, REQUEST("GET /big", ""));
    TURN(f);
    assert_in_range(f->request_count, 1, 20);
    f->peer.is_lazy = false;
    WAIT(f, f->request_count == 30);
    WAIT(f, f->peer.in_len > 30 * sizeof(f->zeros));
}

static void backpressure_and_write_timeout(void **state)
{
    struct fixture *f = *state;
    size_t size = 8 * 1024 * 1024;
    struct slice big = slice_from(calloc(1, size), size);
    enum stream_status status = STREAM_OK;

    say(f, REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 1);
    f->peer.is_lazy = true;
    send_answer_head(f->last, 200, HTTP_BODY_LENGTH, size);
    status = http_conn_send_body(f->last->conn, big);
    assert_int_equal(status, STREAM_FULL);
    TURN(f);
    assert_int_equal(f->drain_count, 0);
    f->peer.is_lazy = false;
    WAIT(f, f->drain_count == 1);
    http_conn_send_end(f->last->conn);
    f->last = NULL;
    WAIT(f, f->peer.in_len > size);

    f->server.settings.write_timeout_ms = 30;
    say(f, REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 2);
    f->peer.is_lazy = true;
    send_answer_head(f->last, 200, HTTP_BODY_LENGTH, size);
    http_conn_send_body(f->last->conn, big);
    WAIT(f, f->gone_count == 1);
    assert_int_equal(f->gone, HTTP_GONE_TIMEOUT);
    free((char *)(uintptr_t)big.at);
}

static void cut_answers_are_visibly_short(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 1);
    send_answer_head(f->last, 200, HTTP_BODY_CHUNKED, 0);
    http_conn_send_body(f->last->conn, SLICE("abc"));
    http_conn_cut(f->last->conn);
    f->last = NULL;
    WAIT(f, f->peer.has_ended);
    assert_false(raw_peer_has(&f->peer, "0\r\n\r\n"));
    raw_peer_close(&f->peer);

    say(f, "GET /wait HTTP/1.0\r\n\r\n");
    WAIT(f, f->request_count == 2);
    send_answer_head(f->last, 200, HTTP_BODY_UNTIL_CLOSE, 0);
    http_conn_send_body(f->last->conn, SLICE("abc"));
    TURN(f);
    http_conn_cut(f->last->conn);
    f->last = NULL;
    WAIT(f, f->peer.has_ended);
    assert_true(f->peer.is_reset); /* a clean end would look like a whole answer */
    assert_int_equal(f->gone_count, 0);
}

/* A client that is still reading could not tell either. */
static void answers_cut_by_a_half_close_are_visibly_short(void **state)
{
    struct fixture *f = *state;

    say(f, "POST /wait HTTP/1.0\r\nContent-Length: 5\r\n\r\nab");
    WAIT(f, f->request_count == 1);
    http_conn_body_start(f->last->conn);
    WAIT(f, buf_len(&f->body) == 2);
    send_answer_head(f->last, 200, HTTP_BODY_UNTIL_CLOSE, 0);
    http_conn_send_body(f->last->conn, SLICE("abc"));
    WAIT(f, raw_peer_has(&f->peer, "abc"));
    raw_peer_end(&f->peer);
    WAIT(f, f->gone_count == 1 && f->peer.has_ended);
    assert_true(f->peer.is_reset);
}

static void cuts_without_an_answer_spare_those_before(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("GET /now", "") REQUEST("GET /cut", ""));
    WAIT(f, f->peer.has_ended);
    assert_int_equal(f->request_count, 2);
    assert_true(raw_peer_has(&f->peer, "\r\n\r\nnow"));
    assert_false(f->peer.is_reset);
    raw_peer_close(&f->peer);

    /* Nor does a client that ends its side within its next request. */
    f->peer = (struct raw_peer){.fd = -1};
    say(f, REQUEST("GET /big", "") "GET /next HT");
    f->peer.is_lazy = true;
    WAIT(f, f->request_count == 3);
    raw_peer_end(&f->peer);
    TURN(f);
    f->peer.is_lazy = false;
    WAIT(f, f->peer.has_ended);
    assert_false(f->peer.is_reset);
    assert_true(f->peer.in_len > sizeof(f->zeros));
}

static void draining_closes_idle_ones_and_lets_the_rest_finish(void **state)
{
    struct fixture *f = *state;
    struct raw_peer idle;

    raw_peer_connect(&idle, listener_port(f->listener));
    say(f, REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 1 && f->server.connection_count == 2);
    http_server_drain(&f->server);
    RAW_PEER_WAIT(f->loop, raw_peer_poll(&idle), idle.has_ended);
    assert_int_equal(f->server.connection_count, 1);
    answer(f->last, 200, SLICE("done"));
    WAIT(f, f->peer.has_ended);
    assert_true(raw_peer_has(&f->peer, "Connection: close\r\n"));
    assert_true(raw_peer_has(&f->peer, "\r\n\r\ndone"));
    assert_int_equal(f->server.connection_count, 0);
    raw_peer_close(&idle);
}

static void a_new_connection_has_its_first_request_while_draining(void **state)
{
    struct fixture *f = *state;

    raw_peer_connect(&f->peer, listener_port(f->listener));
    WAIT(f, f->server.connection_count == 1);
    http_server_drain(&f->server);
    say(f, REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 1);
    answer(f->last, 200, SLICE("done"));
    WAIT(f, f->peer.has_ended);
    assert_true(raw_peer_has(&f->peer, "Connection: close\r\n"));
    assert_true(raw_peer_has(&f->peer, "\r\n\r\ndone"));
    assert_false(f->peer.is_reset);
}

static void closing_tells_running_exchanges(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 1);
    http_server_close(&f->server);
    assert_int_equal(f->gone_count, 1);
    assert_int_equal(f->gone, HTTP_GONE_SHUTDOWN);
}

static void a_body_that_comes_unasked_is_told(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("POST /early", "Expect: 100-continue\r\nContent-Length: 6\r\n"));
    WAIT(f, f->request_count == 1);
    TURN(f);
    assert_int_equal(f->early_count, 0);
    say(f, "abc");
    WAIT(f, slice_equal(buf_slice(&f->body), SLICE("abc")));
    say(f, "def");
    WAIT(f, f->body_end_count == 1);
    assert_int_equal(f->early_count, 1);
    assert_int_equal(f->peer.in_len, 0); /* no 100 */
    answer(f->last, 200, SLICE("ok"));
    say(f, REQUEST("POST /wait", "Expect: 100-continue\r\nContent-Length: 3\r\n") "abc");
    WAIT(f, f->early_count == 2);
    http_conn_body_start(f->last->conn);
    WAIT(f, f->body_end_count == 2);
    assert_false(raw_peer_has(&f->peer, "100 Continue"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(connection_is_kept),
        CASE(close_is_honoured),
        CASE(http_1_0_keeps_alive_on_request_only),
        CASE(pipelined_requests_are_answered_in_order),
        CASE(splits_do_not_matter),
        CASE(bodies_wait_until_they_are_wanted),
        CASE(continue_is_sent_when_the_body_is_wanted),
        CASE(refused_expectation_closes),
        CASE(interim_answers_pass),
        CASE(answers_without_body),
        CASE(unknown_length_is_chunked_for_1_1_and_closed_for_1_0),
        CASE(malformed_requests_are_refused),
        CASE(broken_body_framing_is_400),
        CASE(chunked_body_beyond_the_limit_is_413),
        CASE(timeouts),
        CASE(a_handler_may_take_its_time),
        CASE(clients_that_leave_are_noticed),
        CASE(half_close_is_told_and_answered),
        CASE(half_close_within_an_unwanted_body_is_gone_later),
        CASE(half_close_within_the_next_head_ends_the_connection),
        CASE(a_head_of_megabytes_is_held),
        CASE(unread_body_is_drained_within_bounds),
        CASE(pipelining_without_reading_is_held_up),
        CASE(backpressure_and_write_timeout),
        CASE(cut_answers_are_visibly_short),
        CASE(cuts_without_an_answer_spare_those_before),
        CASE(answers_cut_by_a_half_close_are_visibly_short),
        CASE(draining_closes_idle_ones_and_lets_the_rest_finish),
        CASE(a_new_connection_has_its_first_request_while_draining),
        CASE(closing_tells_running_exchanges),
        CASE(a_body_that_comes_unasked_is_told),
    };

    return cmocka_run_group_tests_name("http_conn", tests, NULL, NULL);
}
