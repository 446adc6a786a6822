/* What follows a 101, over real loopback connections. */
#include "http_conn_fixture.h"

static void switch_to_x(struct fixture *f)
{
    struct http_response head = {.status = 101, .reason = SLICE("X"), .upgrade = SLICE("x")};

    assert_int_equal(http_conn_switch(f->last->conn, &head), STREAM_OK);
}

static void tunnels_carry_bytes_and_ends(void **state)
{
    struct fixture *f = *state;

    f->server.settings.body_timeout_ms = 1;
    say(f, REQUEST("GET /wait", "") REQUEST("GET /now", ""));
    WAIT(f, f->request_count == 1);
    switch_to_x(f);
    WAIT(f, raw_peer_has(&f->peer, "101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"));
    WAIT(f, slice_equal(buf_slice(&f->body), SLICE(REQUEST("GET /now", ""))));
    assert_int_equal(f->request_count, 1);
    http_conn_body_stop(f->last->conn);
    say(f, "more");
    TURN(f);
    assert_int_equal(buf_len(&f->body), strlen(REQUEST("GET /now", "")));
    http_conn_body_start(f->last->conn);
    WAIT(f, slice_ends_with(buf_slice(&f->body), SLICE("more")));
    raw_peer_forget_input(&f->peer);
    http_conn_send_body(f->last->conn, SLICE("raw"));
    http_conn_send_shut(f->last->conn);
    WAIT(f, f->peer.has_ended);
    assert_string_equal(f->peer.in, "raw");
    assert_int_equal(f->body_end_count, 0);
    raw_peer_end(&f->peer);
    WAIT(f, f->body_end_count == 1);
    http_conn_send_end(f->last->conn);
    WAIT(f, f->server.connection_count == 0);
    assert_int_equal(f->gone_count, 0);
}

static void a_tunnel_after_a_half_close_has_its_end_behind_it(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("GET /wait", "") "last");
    raw_peer_end(&f->peer);
    WAIT(f, f->half_close_count == 1);
    switch_to_x(f);
    WAIT(f, f->body_end_count == 1);
    assert_slice_equal(buf_slice(&f->body), SLICE("last"));
    http_conn_cut(f->last->conn);
    WAIT(f, f->peer.has_ended && f->peer.is_reset);
}

static void tunnels_are_gone_with_a_reset_and_with_the_server(void **state)
{
    struct fixture *f = *state;

    say(f, REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 1);
    switch_to_x(f);
    WAIT(f, raw_peer_has(&f->peer, "101 X"));
    raw_peer_reset(&f->peer);
    WAIT(f, f->gone_count == 1 && f->gone == HTTP_GONE_CLIENT);
    raw_peer_close(&f->peer);
    say(f, REQUEST("GET /wait", ""));
    WAIT(f, f->request_count == 2);
    switch_to_x(f);
    http_server_close(&f->server);
    assert_int_equal(f->gone_count, 2);
    assert_int_equal(f->gone, HTTP_GONE_SHUTDOWN);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(tunnels_carry_bytes_and_ends),
        CASE(a_tunnel_after_a_half_close_has_its_end_behind_it),
        CASE(tunnels_are_gone_with_a_reset_and_with_the_server),
    };

    return cmocka_run_group_tests_name("http_conn_tunnel", tests, NULL, NULL);
}
