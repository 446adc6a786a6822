/* The service side over real loopback connections: a raw service answers by hand. */
#include "upstream_fixture.h"

static void connections_are_used_again(void **state)
{
    struct fixture *f = *state;
    struct client c = {NULL};

    for (unsigned i = 1; i <= 3; i++) {
        get(&c, f);
        assert_int_equal(c.connected_count, i - 1); /* not from inside the call */
        WAIT(f, c.connected_count == i);
        WAIT(f, f->peers[0].in_len > 0);
        assert_string_equal(f->peers[0].in, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        serve(f, 0, OK);
        WAIT(f, c.end_count == i);
        assert_slice_equal(buf_slice(&c.body), SLICE("ok"));
        buf_clear(&c.body);
    }
    assert_int_equal(f->peer_count, 1);
    client_end(&c);
}

static void an_end_may_begin_the_next(void **state)
{
    struct fixture *f = *state;
    struct client c = {.begins_again = true};

    get(&c, f);
    serve(f, 0, OK);
    serve(f, 0, OK);
    WAIT(f, c.end_count == 2);
    assert_int_equal(f->peer_count, 1);
    client_end(&c);
}

struct answer_case {
    const char *name;
    const char *method;
    const char *answer;
    bool closes; /* the service closes after it */
    bool is_good;
    enum upstream_failure failure;
    const char *body;
    bool is_kept; /* the connection is used again */
};

static const struct answer_case answer_cases[] = {
    {"length", "GET", OK, false, true, 0, "ok", true},
    {"chunked", "GET",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;x\r\n!\r\n0\r\nT: "
     "1\r\n\r\n",
     false, true, 0, "ok!", true},
    {"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", false, true, 0, "", true},
    {"304 with length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false,
     true, 0, "", true},
    {"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, true, 0, "", true},
    {"Connection: close", "GET",
     "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false, true, 0, "ok",
     false},
    {"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, true, 0, "ok",
     false},
    {"HTTP/1.0 keep-alive", "GET",
     "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", false, true, 0,
     "ok", true},
    {"until close", "GET", "HTTP/1.1 200 OK\r\n\r\nsome", true, true, 0, "some", false},
    {"more than its length", "GET", OK "HTTP/1.1 200 OK\r\n", false, true, 0, "ok", false},
    {"nothing", "GET", "", true, false, UPSTREAM_CLOSED, "", false},
    {"half a head", "GET", "HTTP/1.1 200 OK\r\nCont", true, false, UPSTREAM_CUT, "", false},
    {"half a body", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", true, false,
     UPSTREAM_CUT, "ok", false},
    {"no last chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
     true, false, UPSTREAM_CUT, "ok", false},
    {"bad chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok0\r\n", false,
     false, UPSTREAM_BAD_ANSWER, "ok", false},
    {"garbage", "GET", "hello\r\n\r\n", false, false, UPSTREAM_BAD_ANSWER, "", false},
    {"length and coding", "GET",
     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", false, false,
     UPSTREAM_BAD_ANSWER, "", false},
    {"101 nobody asked for", "GET",
     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", false, false,
     UPSTREAM_BAD_ANSWER, "", false},
};

static void answers_fare_as_the_rules_say(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT_OF(answer_cases); i++) {
        const struct answer_case *a = &answer_cases[i];
        struct upstream_settings settings = default_settings(f);
        struct client c = {NULL};

        f->peer_count = 0;
        open_pool(f, &settings);
        begin(&c, f, a->method, HTTP_BODY_NONE, 0);
        serve(f, 0, a->answer);
        if (a->closes)
            raw_peer_end(&f->peers[0]);
        WAIT(f, c.end_count + c.fail_count > 0);
        if (c.end_count != a->is_good || (!a->is_good && c.failure != a->failure) ||
            !slice_equal(buf_slice(&c.body), slice_of(a->body)))
            fail_msg("%s: end %u, failure \"%s\", body \"%.*s\"", a->name, c.end_count,
                     upstream_failure_reason(c.failure), SLICE_ARGS(buf_slice(&c.body)));
        TURN(f);
        if (f->peers[0].has_ended == a->is_kept)
            fail_msg("%s: connection kept: %d", a->name, !f->peers[0].has_ended);
        client_end(&c);
        raw_peer_close(&f->peers[0]);
    }
    f->peer_count = 0;
}

/* However an answer is split, it is the same. */
static void splits_do_not_matter(void **state)
{
    static const char text[] = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    struct fixture *f = *state;

    for (size_t i = 1; i < sizeof(text) - 1; i++) {
        struct client c = {NULL};

        get(&c, f);
        WAIT(f, f->peer_count > 0 && f->peers[0].in_len > 0);
        raw_peer_forget_input(&f->peers[0]);
        raw_peer_send(&f->peers[0], slice_from(text, i));
        TURN(f);
        raw_peer_send(&f->peers[0], slice_from(text + i, sizeof(text) - 1 - i));
        WAIT(f, c.end_count == 1);
        assert_int_equal(c.interim_count, 1);
        assert_int_equal(c.head_count, 1);
        assert_slice_equal(buf_slice(&c.body), SLICE("abcde"));
        client_end(&c);
    }
    assert_int_equal(f->peer_count, 1);
}

static void head_too_large_is_a_bad_answer(void **state)
{
    struct fixture *f = *state;
    struct client c = {NULL};
    char text[1200];

    memset(text, 'a', sizeof(text));
    memcpy(text, "HTTP/1.1 200 OK\r\nX: ", 20);
    get(&c, f);
    WAIT(f, f->peer_count == 1);
    raw_peer_send(&f->peers[0], slice_from(text, sizeof(text)));
    WAIT(f, c.fail_count == 1);
    assert_int_equal(c.failure, UPSTREAM_BAD_ANSWER);
    client_end(&c);
}

static void stale_connection_is_repeated_once(void **state)
{
    struct fixture *f = *state;
    struct client c = {NULL};

    get(&c, f);
    serve(f, 0, OK);
    WAIT(f, c.end_count == 1);
    get(&c, f);
    WAIT(f, f->peers[0].in_len > 0);
    raw_peer_end(&f->peers[0]); /* after it read the request: only an idempotent one may go again */
    serve(f, 1, OK);
    WAIT(f, c.end_count == 2);
    assert_int_equal(retries(f), 1);
    assert_int_equal(c.connected_count, 2);
    get(&c, f);
    WAIT(f, f->peers[1].in_len > 0);
    raw_peer_end(&f->peers[1]);
    WAIT(f, f->peer_count == 3 && f->peers[2].in_len > 0);
    raw_peer_end(&f->peers[2]); /* a fresh one: not again */
    WAIT(f, c.fail_count == 1);
    assert_int_equal(c.failure, UPSTREAM_CLOSED);
    assert_int_equal(retries(f), 2);
    client_end(&c);
}

static void other_requests_are_not_repeated(void **state)
{
    struct fixture *f = *state;
    struct client c = {NULL};

    get(&c, f);
    serve(f, 0, OK);
    WAIT(f, c.end_count == 1);
    begin(&c, f, "POST", HTTP_BODY_NONE, 0);
    WAIT(f, f->peers[0].in_len > 0);
    assert_true(raw_peer_has(&f->peers[0], "Content-Length: 0\r\n"));
    raw_peer_end(&f->peers[0]);
    WAIT(f, c.fail_count == 1);
    assert_int_equal(c.failure, UPSTREAM_CLOSED);

    get(&c, f); /* an answer that began */
    serve(f, 1, OK);
    WAIT(f, c.end_count == 2);
    get(&c, f);
    serve(f, 1, "HTTP");
    raw_peer_end(&f->peers[1]);
    WAIT(f, c.fail_count == 2);
    assert_int_equal(c.failure, UPSTREAM_CUT);
    assert_int_equal(retries(f), 0);
    client_end(&c);
}

static void connections_closed_while_idle_are_not_used(void **state)
{
    struct fixture *f = *state;
    struct client c = {NULL};

    get(&c, f);
    serve(f, 0, OK);
    WAIT(f, c.end_count == 1);
    raw_peer_end(&f->peers[0]);
    WAIT(f, f->peers[0].has_ended);
    begin(&c, f, "POST", HTTP_BODY_NONE, 0);
    serve(f, 1, OK);
    WAIT(f, c.end_count == 2);
    raw_peer_send(&f->peers[1], SLICE("HTTP/1.1 408 Request Timeout\r\n\r\n")); /* nobody asked */
    WAIT(f, f->peers[1].has_ended);
    begin(&c, f, "POST", HTTP_BODY_NONE, 0);
    serve(f, 2, OK);
    WAIT(f, c.end_count == 3);
    client_end(&c);
}

static void bodies_are_framed(void **state)
{
    struct fixture *f = *state;
    struct client c = {NULL};

    begin(&c, f, "PUT", HTTP_BODY_CHUNKED, 0);
    WAIT(f, c.connected_count == 1);
    upstream_send_body(c.exchange, SLICE("hello "));
    upstream_send_body(c.exchange, SLICE(""));
    upstream_send_body(c.exchange, SLICE("0123456789abcdef"));
    upstream_send_end(c.exchange);
    WAIT(f, f->peer_count == 1 && raw_peer_has(&f->peers[0], "0\r\n\r\n"));
    assert_string_equal(f->peers[0].in,
                        "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "6\r\nhello \r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
    raw_peer_forget_input(&f->peers[0]);
    raw_peer_send(&f->peers[0], slice_of(OK));
    WAIT(f, c.end_count == 1);
    begin(&c, f, "POST", HTTP_BODY_LENGTH, 4);
    WAIT(f, c.connected_count == 2);
    upstream_send_body(c.exchange, SLICE("ab"));
    upstream_send_body(c.exchange, SLICE("cd"));
    upstream_send_end(c.exchange);
    WAIT(f, raw_peer_has(&f->peers[0], "abcd"));
    assert_string_equal(f->peers[0].in,
                        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd");
    raw_peer_send(&f->peers[0], slice_of(OK));
    WAIT(f, c.end_count == 2);
    assert_int_equal(f->peer_count, 1);
    client_end(&c);
}

/* The answer is handed on; the connection, which still waits for the body, is not used again. */
static void answer_before_the_request_is_complete(void **state)
{
    struct fixture *f = *state;
    struct client c = {NULL};

    begin(&c, f, "POST", HTTP_BODY_LENGTH, 10);
    WAIT(f, c.connected_count == 1);
    upstream_send_body(c.exchange, SLICE("abc"));
    serve(f, 0, OK);
    WAIT(f, c.end_count == 1);
    WAIT(f, f->peers[0].has_ended);
    client_end(&c);
}

static void waiting_is_bounded_and_fair(void **state)
{
    struct fixture *f = *state;
    struct upstream_settings settings = default_settings(f);
    struct client a = {NULL}, b = {NULL}, c = {NULL};

    settings.max_connections = 1;
    open_pool(f, &settings);
    get(&a, f);
    WAIT(f, a.connected_count == 1);
    get(&b, f);
    get(&c, f);
    assert_int_equal(c.fail_count, 0); /* not from inside the call */
    WAIT(f, c.fail_count == 1);
    assert_int_equal(c.failure, UPSTREAM_BUSY);
    TURN(f);
    assert_int_equal(b.connected_count, 0);
    serve(f, 0, OK);
    WAIT(f, a.end_count == 1 && b.connected_count == 1);
    serve(f, 0, OK);
    WAIT(f, b.end_count == 1);
    assert_int_equal(f->peer_count, 1);

    settings.connect_timeout_ms = 20;
    open_pool(f, &settings);
    get(&a, f);
    WAIT(f, a.connected_count == 2);
    get(&b, f);
    WAIT(f, b.fail_count == 1);
    assert_int_equal(b.failure, UPSTREAM_BUSY);
    client_end(&a);
    client_end(&b);
    client_end(&c);
}

static void unreachable_service_fails_all_that_wait(void **state)
{
    struct fixture *f = *state;
    struct client clients[3] = {{NULL}};

    close(f->listen_fd);
    f->listen_fd = -1;
    for (size_t i = 0; i < COUNT_OF(clients); i++)
        get(&clients[i], f);
    for (size_t i = 0; i < COUNT_OF(clients); i++) {
        WAIT(f, clients[i].fail_count == 1);
        assert_int_equal(clients[i].failure, UPSTREAM_UNREACHABLE);
        client_end(&clients[i]);
    }
}

static void names_are_tried_address_by_address(void **state)
{
    struct fixture *f = *state;
    struct upstream_settings settings = default_settings(f);
    struct client c = {NULL};

    settings.host = "localhost"; /* may be ::1 first, where nobody listens */
    open_pool(f, &settings);
    get(&c, f);
    serve(f, 0, OK);
    WAIT(f, c.end_count == 1);
    client_end(&c);
}

static void silence_times_out(void **state)
{
    struct fixture *f = *state;
    struct upstream_settings settings = default_settings(f);
    struct client c = {NULL};
    uint64_t until_ms;

    settings.response_timeout_ms = 20;
    open_pool(f, &settings);
    get(&c, f);
    WAIT(f, c.fail_count == 1);
    assert_int_equal(c.failure, UPSTREAM_TIMEOUT);
    assert_true(upstream_failure_was_sent(c.failure));
    WAIT(f, f->peers[0].has_ended);

    begin(&c, f, "POST", HTTP_BODY_LENGTH, 1); /* not while the client is slow to send */
    until_ms = raw_peer_now_ms() + 60;
    WAIT(f, raw_peer_now_ms() > until_ms);
    assert_int_equal(c.fail_count, 1);
    upstream_send_body(c.exchange, SLICE("x"));
    upstream_send_end(c.exchange);
    WAIT(f, c.fail_count == 2);

    settings.response_timeout_ms = 60000;
    settings.body_timeout_ms = 20;
    open_pool(f, &settings);
    get(&c, f);
    serve(f, 2, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok");
    WAIT(f, c.head_count == 1);
    upstream_read_stop(c.exchange); /* not while we do not read */
    until_ms = raw_peer_now_ms() + 60;
    WAIT(f, raw_peer_now_ms() > until_ms);
    assert_int_equal(c.fail_count, 2);
    upstream_read_start(c.exchange);
    WAIT(f, c.fail_count == 3);
    assert_int_equal(c.failure, UPSTREAM_TIMEOUT);
    client_end(&c);
}

static void idle_connections_are_closed_in_time(void **state)
{
    struct fixture *f = *state;
    struct upstream_settings settings = default_settings(f);
    struct client c = {NULL};

    settings.idle_timeout_ms = 20;
    open_pool(f, &settings);
    get(&c, f);
    serve(f, 0, OK);
    WAIT(f, c.end_count == 1);
    WAIT(f, f->peers[0].has_ended);
    client_end(&c);
}

static void cancel_is_legal_at_any_time(void **state)
{
    struct fixture *f = *state;
    struct client c = {NULL};

    get(&c, f); /* while connecting */
    upstream_cancel(&c.exchange);
    assert_null(c.exchange);
    get(&c, f); /* while the service works */
    WAIT(f, c.connected_count == 1);
    upstream_cancel(&c.exchange);
    c.cancels_on_head = true; /* inside a callback, with body bytes behind it */
    get(&c, f);
    WAIT(f, c.connected_count == 2);
    for (size_t i = 0; i < f->peer_count; i++)
        if (!f->peers[i].has_ended && f->peers[i].fd >= 0)
            (void)send(f->peers[i].fd, OK, strlen(OK), MSG_NOSIGNAL);
    WAIT(f, c.head_count == 1);
    TURN(f);
    assert_int_equal(c.end_count + c.fail_count, 0);
    assert_int_equal(buf_len(&c.body), 0);
    client_end(&c);
}

static void a_closing_pool_lets_exchanges_finish(void **state)
{
    struct fixture *f = *state;
    struct upstream_settings settings = default_settings(f);
    struct client a = {NULL}, b = {NULL};

    get(&a, f);
    WAIT(f, a.connected_count == 1);
    get(&b, f);              /* still connecting */
    open_pool(f, &settings); /* closes the old one */
    serve(f, 0, OK);
    WAIT(f, a.end_count == 1);
    serve(f, 1, OK);
    WAIT(f, b.end_count == 1);
    WAIT(f, f->peers[0].has_ended && f->peers[1].has_ended);
    client_end(&a);
    client_end(&b);
}

static void request_backpressure(void **state)
{
    struct fixture *f = *state;
    struct client c = {NULL};
    size_t size = 8 * 1024 * 1024;
    struct slice big = slice_from(calloc(1, size), size);

    begin(&c, f, "PUT", HTTP_BODY_LENGTH, size);
    WAIT(f, c.connected_count == 1 && f->peer_count == 1);
    f->peers[0].is_lazy = true;
    assert_int_equal(upstream_send_body(c.exchange, big), STREAM_FULL);
    TURN(f);
    assert_int_equal(c.drain_count, 0);
    f->peers[0].is_lazy = false;
    WAIT(f, c.drain_count == 1);
    upstream_send_end(c.exchange);
    WAIT(f, f->peers[0].in_len > size);
    raw_peer_send(&f->peers[0], slice_of(OK));
    WAIT(f, c.end_count == 1);
    client_end(&c);
    free((char *)(uintptr_t)big.at);
}

/* Who has waited is asked before anything of him is sent. */
static void owners_are_asked_after_a_wait(void **state)
{
    struct fixture *f = *state;
    struct upstream_settings settings = default_settings(f);
    struct client a = {NULL}, b = {NULL}, c = {NULL}, d = {NULL};

    settings.max_connections = 1;
    settings.max_waiting = 4;
    open_pool(f, &settings);
    get(&a, f);
    WAIT(f, a.connected_count == 1);
    assert_int_equal(a.asked_count, 1);
    get(&b, f);
    get(&c, f);
    get(&d, f);
    b.forbids = c.cancels_when_asked = true;
    serve(f, 0, OK);
    WAIT(f, a.end_count == 1 && d.connected_count == 1);
    assert_int_equal(b.asked_count + c.asked_count, 2);
    serve(f, 0, OK);
    WAIT(f, d.end_count == 1);
    TURN(f);
    assert_int_equal(f->peers[0].in_len, 0);
    upstream_resume(b.exchange); /* and is not wanted yet, all the same */
    TURN(f);
    assert_int_equal(f->peers[0].in_len, 0);
    b.forbids = false;
    upstream_resume(b.exchange);
    serve(f, 0, OK);
    WAIT(f, b.end_count == 1);
    assert_int_equal(b.asked_count, 3);
    assert_int_equal(c.connected_count + c.fail_count + c.end_count, 0);
    /* At once, as nothing was waited for. */
    get(&a, f);
    assert_int_equal(a.asked_count, 1);
    serve(f, 0, OK);
    WAIT(f, a.end_count == 2);
    client_end(&a);
    client_end(&b);
    client_end(&c);
    client_end(&d);
}

static void an_exchange_put_aside_outlives_a_closing_pool(void **state)
{
    struct fixture *f = *state;
    struct upstream_settings settings = default_settings(f);
    struct client a = {NULL}, b = {NULL};

    a.forbids = b.forbids = true;
    get(&a, f);
    get(&b, f);
    WAIT(f, a.asked_count == 1 && b.asked_count == 1);
    open_pool(f, &settings); /* closes the old one */
    TURN(f);
    a.forbids = false;
    upstream_resume(a.exchange);
    upstream_cancel(&b.exchange);
    WAIT(f, f->peer_count > 0 && raw_peer_has(&f->peers[f->peer_count - 1], "\r\n\r\n"));
    raw_peer_send(&f->peers[f->peer_count - 1], slice_of(OK));
    WAIT(f, a.end_count == 1);
    client_end(&a);
    client_end(&b);
}

#define SWITCH "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"

/* The exchange offers x, and the service takes it up. */
static void open_tunnel(struct client *c, struct fixture *f)
{
    size_t peer = f->peer_count;

    get(c, f);
    c->request.upgrade = SLICE("x");
    serve(f, peer, SWITCH "hello");
    WAIT(f, c->switch_count == 1 && slice_equal(buf_slice(&c->body), SLICE("hello")));
}

static void tunnels_carry_bytes_and_ends(void **state)
{
    struct fixture *f = *state;
    struct upstream_settings settings = default_settings(f);
    struct client a = {NULL}, b = {NULL};

    settings.response_timeout_ms = settings.body_timeout_ms = 20;
    open_pool(f, &settings);
    open_tunnel(&a, f);
    upstream_send_body(a.exchange, SLICE("one"));
    upstream_send_body(a.exchange, SLICE("two"));
    upstream_send_end(a.exchange);
    WAIT(f, f->peers[0].has_ended);
    assert_string_equal(f->peers[0].in, "onetwo");
    /* Silence is no failure. */
    get(&b, f);
    WAIT(f, b.fail_count == 1 && b.failure == UPSTREAM_TIMEOUT);
    assert_int_equal(a.fail_count, 0);
    raw_peer_end(&f->peers[0]);
    WAIT(f, a.half_close_count == 1);
    upstream_finish(&a.exchange);
    assert_int_equal(a.end_count + a.fail_count, 0);
    client_end(&a);
    client_end(&b);
}

static void tunnels_are_cut_with_a_reset(void **state)
{
    struct fixture *f = *state;
    struct client a = {NULL}, b = {NULL};

    open_tunnel(&a, f);
    upstream_cancel(&a.exchange);
    WAIT(f, f->peers[0].has_ended && f->peers[0].is_reset);
    open_tunnel(&b, f);
    raw_peer_reset(&f->peers[1]);
    WAIT(f, b.fail_count == 1 && b.failure == UPSTREAM_CUT);
    client_end(&a);
    client_end(&b);
}

static void switching_unasked_is_a_bad_answer(void **state)
{
    struct fixture *f = *state;
    struct client c = {NULL};

    get(&c, f);
    serve(f, 0, SWITCH);
    WAIT(f, c.fail_count == 1 && c.failure == UPSTREAM_BAD_ANSWER);
    assert_int_equal(c.switch_count, 0);
    client_end(&c);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(connections_are_used_again),
        CASE(an_end_may_begin_the_next),
        CASE(answers_fare_as_the_rules_say),
        CASE(splits_do_not_matter),
        CASE(head_too_large_is_a_bad_answer),
        CASE(stale_connection_is_repeated_once),
        CASE(other_requests_are_not_repeated),
        CASE(connections_closed_while_idle_are_not_used),
        CASE(bodies_are_framed),
        CASE(answer_before_the_request_is_complete),
        CASE(waiting_is_bounded_and_fair),
        CASE(unreachable_service_fails_all_that_wait),
        CASE(names_are_tried_address_by_address),
        CASE(silence_times_out),
        CASE(idle_connections_are_closed_in_time),
        CASE(cancel_is_legal_at_any_time),
        CASE(a_closing_pool_lets_exchanges_finish),
        CASE(request_backpressure),
        CASE(owners_are_asked_after_a_wait),
        CASE(an_exchange_put_aside_outlives_a_closing_pool),
        CASE(tunnels_carry_bytes_and_ends),
        CASE(tunnels_are_cut_with_a_reset),
        CASE(switching_unasked_is_a_bad_answer),
    };

    return cmocka_run_group_tests_name("upstream_pool", tests, NULL, NULL);
}
