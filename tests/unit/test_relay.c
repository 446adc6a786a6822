/* Both ends are fakes that record what the pump does to them. */
#include "unit/unit.h"

#include <stdio.h>

#include "serve/relay.h"

static struct {
    char log[400];
    enum stream_status client_status, service_status;
    bool body_comes_at_once; /* body_start finds the whole body waiting */
    struct relay *relay;
} fake;

static void record(const char *what, struct slice data)
{
    size_t len = strlen(fake.log);

    snprintf(fake.log + len, sizeof(fake.log) - len, "%s%s%.*s", len > 0 ? " " : "", what,
             SLICE_ARGS(data));
}

#define CONN ((struct http_conn *)(void *)&fake.client_status)
#define EXCHANGE ((struct upstream_exchange *)(void *)&fake.service_status)

void http_conn_body_start(struct http_conn *conn)
{
    assert_ptr_equal(conn, CONN);
    record("body_start", SLICE(""));
    if (fake.body_comes_at_once) {
        fake.body_comes_at_once = false;
        relay_on_client_body(fake.relay, SLICE("x"));
        relay_on_client_body_end(fake.relay);
    }
}

void http_conn_body_stop(struct http_conn *conn)
{
    assert_ptr_equal(conn, CONN);
    record("body_stop", SLICE(""));
}

void http_conn_send_interim(struct http_conn *conn, const struct http_response *head)
{
    assert_ptr_equal(conn, CONN);
    record("interim", SLICE(""));
    assert_int_not_equal(head->status, 100);
}

enum stream_status http_conn_send_head(struct http_conn *conn, const struct http_response *head)
{
    UNUSED(head);
    assert_ptr_equal(conn, CONN);
    record("head", SLICE(""));
    return fake.client_status;
}

enum stream_status http_conn_send_body(struct http_conn *conn, struct slice data)
{
    assert_ptr_equal(conn, CONN);
    record("down:", data);
    return fake.client_status;
}

enum stream_status http_conn_switch(struct http_conn *conn, const struct http_response *head)
{
    assert_int_equal(head->status, 101);
    assert_ptr_equal(conn, CONN);
    record("switch", SLICE(""));
    return fake.client_status;
}

void http_conn_send_shut(struct http_conn *conn)
{
    assert_ptr_equal(conn, CONN);
    record("down_end", SLICE(""));
}

void upstream_finish(struct upstream_exchange **exchange)
{
    assert_ptr_equal(TAKE(exchange), EXCHANGE);
    record("finish", SLICE(""));
}

enum stream_status upstream_send_body(struct upstream_exchange *exchange, struct slice data)
{
    assert_ptr_equal(exchange, EXCHANGE);
    record("up:", data);
    return fake.service_status;
}

void upstream_send_end(struct upstream_exchange *exchange)
{
    assert_ptr_equal(exchange, EXCHANGE);
    record("up_end", SLICE(""));
}

void upstream_read_stop(struct upstream_exchange *exchange)
{
    assert_ptr_equal(exchange, EXCHANGE);
    record("read_stop", SLICE(""));
}

void upstream_read_start(struct upstream_exchange *exchange)
{
    assert_ptr_equal(exchange, EXCHANGE);
    record("read_start", SLICE(""));
}

void upstream_cancel(struct upstream_exchange **exchange)
{
    assert_ptr_equal(TAKE(exchange), EXCHANGE);
    record("cancel", SLICE(""));
}

struct fixture {
    struct loop *loop;
    struct relay relay;
};

static int set_up(void **state)
{
    struct fixture *f = mem_calloc(1, sizeof(*f));

    memset(&fake, 0, sizeof(fake));
    assert_int_equal(loop_open(&f->loop), 0);
    fake.relay = &f->relay;
    *state = f;
    return 0;
}

/* Closing the loop proves that no timer is left. */
static int tear_down(void **state)
{
    struct fixture *f = *state;

    loop_close(&f->loop);
    free(f);
    return 0;
}

static struct relay *begin(struct fixture *f, enum http_body body, bool expects_continue)
{
    struct http_request head = {.body = body, .expects_continue = expects_continue, .minor = 1};

    relay_init(&f->relay, f->loop, CONN, &head);
    relay_begin(&f->relay, EXCHANGE);
    return &f->relay;
}

static void assert_log(const char *expected)
{
    assert_string_equal(fake.log, expected);
    fake.log[0] = '\0';
}

static const struct http_response ok = {.status = 200}, go_on = {.status = 100},
                                  hints = {.status = 103};

static void test_no_body_up_some_down(void **state)
{
    struct relay *relay = begin(*state, HTTP_BODY_NONE, false);

    relay_on_connected(relay);
    relay_send_head(relay, &ok);
    relay_on_service_body(relay, SLICE("abc"));
    relay_forget_service(relay);
    relay_stop(relay);
    assert_log("head down:abc");
}

static void test_a_body_waits_for_the_connection(void **state)
{
    struct relay *relay = begin(*state, HTTP_BODY_LENGTH, false);

    assert_log("");
    relay_on_connected(relay);
    assert_log("body_start");
    /* The pool may connect again. */
    relay_on_connected(relay);
    relay_on_client_body(relay, SLICE("1"));
    relay_on_client_body(relay, SLICE("2"));
    relay_on_client_body_end(relay);
    assert_log("up:1 up:2 up_end");
    relay_stop(relay);
    assert_log("cancel");
}

static void test_a_full_service_stops_the_client(void **state)
{
    struct relay *relay = begin(*state, HTTP_BODY_CHUNKED, false);

    relay_on_connected(relay);
    fake.service_status = STREAM_FULL;
    relay_on_client_body(relay, SLICE("1"));
    assert_log("body_start up:1 body_stop");
    fake.service_status = STREAM_OK;
    relay_on_service_drain(relay);
    relay_on_client_body_end(relay);
    assert_log("body_start up_end");
    /* It may drain once more when all is said. */
    relay_on_service_drain(relay);
    assert_log("");
    relay_stop(relay);
}

static void test_a_full_client_stops_the_service(void **state)
{
    struct relay *relay = begin(*state, HTTP_BODY_NONE, false);

    fake.client_status = STREAM_FULL;
    relay_send_head(relay, &ok);
    assert_log("head read_stop");
    relay_on_client_drain(relay);
    relay_on_service_body(relay, SLICE("x"));
    assert_log("read_start down:x read_stop");
    /* Drained when the service is done already. */
    relay_forget_service(relay);
    relay_on_client_drain(relay);
    assert_log("");
    relay_stop(relay);
}

static void test_continue_from_the_service(void **state)
{
    struct relay *relay = begin(*state, HTTP_BODY_LENGTH, true);

    relay_on_connected(relay);
    assert_log("");
    fake.body_comes_at_once = true;
    relay_on_interim(relay, &go_on);
    assert_log("body_start up:x up_end");
    relay_on_interim(relay, &go_on);
    relay_stop(relay);
    assert_log("cancel");
}

static void on_patience_over(struct timer *timer)
{
    UNUSED(timer);
    fail_msg("the body was not started");
}

static void test_a_service_that_never_says_continue(void **state)
{
    struct fixture *f = *state;
    struct relay *relay = begin(f, HTTP_BODY_LENGTH, true);
    uint64_t began_us = loop_clock_us();
    struct timer patience;

    timer_init(&patience);
    timer_start(f->loop, &patience, 10 * RELAY_CONTINUE_MS, on_patience_over);
    relay_on_connected(relay);
    while (fake.log[0] == '\0')
        loop_turn(f->loop);
    assert_log("body_start");
    assert_true(loop_clock_us() - began_us >= (RELAY_CONTINUE_MS - 2) * 1000);
    timer_stop(f->loop, &patience);
    relay_stop(relay);
}

static void test_an_answer_instead_of_continue(void **state)
{
    struct relay *relay = begin(*state, HTTP_BODY_LENGTH, true);

    relay_on_connected(relay);
    relay_send_head(relay, &ok);
    assert_log("head");
    assert_int_equal(relay->upload, RELAY_NONE);
    relay_forget_service(relay);
    relay_stop(relay);
    assert_log("");
}

static void test_an_answer_before_the_body_is_complete(void **state)
{
    struct relay *relay = begin(*state, HTTP_BODY_CHUNKED, false);

    relay_on_connected(relay);
    relay_send_head(relay, &ok);
    relay_on_client_body(relay, SLICE("1"));
    relay_on_service_body(relay, SLICE("no"));
    relay_forget_service(relay);
    /* What still comes goes nowhere. */
    relay_on_client_body(relay, SLICE("2"));
    relay_on_client_body_end(relay);
    assert_log("body_start head up:1 down:no");
    relay_stop(relay);
}

static void test_interim_answers(void **state)
{
    struct fixture *f = *state;
    struct relay *relay = begin(f, HTTP_BODY_NONE, false);

    relay_on_interim(relay, &hints);
    /* Nobody asked for this one. */
    relay_on_interim(relay, &go_on);
    assert_log("interim");
    relay->is_client_http10 = true;
    relay_on_interim(relay, &hints);
    assert_log("");
    relay_stop(relay);
}

static void test_the_client_leaves(void **state)
{
    static const bool expectations[] = {false, true};

    for (size_t i = 0; i < COUNT_OF(expectations); i++) {
        struct relay *relay = begin(*state, HTTP_BODY_LENGTH, expectations[i]);

        relay_on_connected(relay);
        fake.log[0] = '\0';
        relay->conn = NULL;
        relay_send_head(relay, &ok);
        relay_on_service_body(relay, SLICE("x"));
        relay_on_service_drain(relay);
        relay_on_interim(relay, &hints);
        assert_log("");
        relay_stop(relay);
        assert_log("cancel");
    }
}

static void test_a_client_that_does_not_wait_for_continue(void **state)
{
    struct relay *relay = begin(*state, HTTP_BODY_LENGTH, true);

    relay_on_client_body_early(relay);
    assert_log("");
    relay_on_connected(relay);
    assert_log("body_start");
    relay_stop(relay);
    relay = begin(*state, HTTP_BODY_LENGTH, true);
    relay_on_connected(relay);
    assert_log("cancel");
    relay_on_client_body_early(relay);
    assert_log("body_start");
    relay_stop(relay);
}

static unsigned idle_count;

static void on_idle(struct relay *relay)
{
    idle_count++;
    relay_stop(relay);
}

static void test_a_tunnel(void **state)
{
    static const struct http_response switching = {.status = 101};
    struct relay_tunnel tunnel = {.idle_ms = 60000, .on_idle = on_idle};
    struct relay *relay = begin(*state, HTTP_BODY_NONE, false);

    relay_on_connected(relay);
    relay_switch(relay, &switching, &tunnel);
    relay_on_client_body(relay, SLICE("a"));
    fake.service_status = STREAM_FULL;
    relay_on_client_body(relay, SLICE("b"));
    relay_on_service_drain(relay);
    fake.client_status = STREAM_FULL;
    relay_send_body(relay, SLICE("c"));
    relay_on_client_drain(relay);
    assert_log("switch up:a up:b body_stop body_start down:c read_stop read_start");
    relay_on_client_body_end(relay);
    assert_false(relay_is_over(relay));
    relay_on_service_half_close(relay);
    assert_true(relay_is_over(relay));
    relay_finish(relay);
    assert_log("up_end down_end finish");
}

static void test_an_idle_tunnel(void **state)
{
    static const struct http_response switching = {.status = 101};
    struct relay_tunnel tunnel = {.idle_ms = 20, .on_idle = on_idle};
    struct fixture *f = *state;
    struct relay *relay = begin(f, HTTP_BODY_NONE, false);

    idle_count = 0;
    relay_switch(relay, &switching, &tunnel);
    while (idle_count == 0)
        loop_turn(f->loop);
    assert_log("switch cancel");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_no_body_up_some_down),
        CASE(test_a_body_waits_for_the_connection),
        CASE(test_a_full_service_stops_the_client),
        CASE(test_a_full_client_stops_the_service),
        CASE(test_continue_from_the_service),
        CASE(test_a_service_that_never_says_continue),
        CASE(test_an_answer_instead_of_continue),
        CASE(test_an_answer_before_the_body_is_complete),
        CASE(test_interim_answers),
        CASE(test_the_client_leaves),
        CASE(test_a_client_that_does_not_wait_for_continue),
        CASE(test_a_tunnel),
        CASE(test_an_idle_tunnel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
