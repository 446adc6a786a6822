/* A server with one raw client, and a handler scripted by the path of each request. */
#ifndef TESTS_HTTP_CONN_FIXTURE_H
#define TESTS_HTTP_CONN_FIXTURE_H

#include "raw_peer.h"

#include "base/buf.h"
#include "http/http_conn.h"
#include "net/listener.h"

struct fixture;

/* What the handler keeps of one exchange; in the connection's arena. */
struct exchange {
    struct fixture *f;
    struct http_conn *conn;
    const struct http_request *request;
};

struct fixture {
    struct loop *loop;
    struct listener *listener;
    struct http_server server;
    struct raw_peer peer;
    struct exchange *last; /* the newest exchange, until it ends */
    struct buf body;       /* of the newest exchange */
    unsigned request_count, body_end_count, gone_count, refused_count, half_close_count,
        drain_count, early_count;
    enum http_gone gone;
    unsigned refused_status;
    char paths[512]; /* of all requests, in order */
    char zeros[1024 * 1024];
};

static enum stream_status send_answer_head(struct exchange *x, unsigned status, enum http_body body,
                                           uint64_t length)
{
    struct http_response head = {
        .status = status,
        .reason = slice_of(http_status_phrase(status)),
        .body = body,
        .content_length = length,
    };

    return http_conn_send_head(x->conn, &head);
}

static void answer(struct exchange *x, unsigned status, struct slice body)
{
    struct fixture *f = x->f;

    send_answer_head(x, status, body.len > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE, body.len);
    http_conn_send_body(x->conn, body);
    http_conn_send_end(x->conn);
    f->last = NULL;
}

static void cut(struct exchange *x)
{
    x->f->last = NULL;
    http_conn_cut(x->conn);
}

static bool path_is(const struct exchange *x, const char *path)
{
    return slice_equal(x->request->path, slice_of(path));
}

static void *on_request(void *env, struct http_conn *conn, const struct http_request *head)
{
    struct fixture *f = env;
    struct exchange *x = arena_calloc(http_conn_arena(conn), 1, sizeof(*x));

    *x = (struct exchange){f, conn, head};
    f->last = x;
    f->request_count++;
    buf_clear(&f->body);
    snprintf(f->paths + strlen(f->paths), sizeof(f->paths) - strlen(f->paths), "%.*s ",
             SLICE_ARGS(head->path));
    if (path_is(x, "/now"))
        answer(x, 200, SLICE("now"));
    else if (path_is(x, "/big"))
        answer(x, 200, slice_from(f->zeros, sizeof(f->zeros)));
    else if (path_is(x, "/empty"))
        answer(x, 204, SLICE(""));
    else if (path_is(x, "/echo"))
        http_conn_body_start(conn);
    else if (path_is(x, "/cut"))
        cut(x);
    return x;
}

static void on_body(void *exchange, struct slice data)
{
    struct exchange *x = exchange;

    assert_true(data.len > 0);
    assert_true(buf_append(&x->f->body, data));
}

static void on_body_end(void *exchange)
{
    struct exchange *x = exchange;

    x->f->body_end_count++;
    if (path_is(x, "/echo"))
        answer(x, 200, buf_slice(&x->f->body));
}

static void on_drain(void *exchange)
{
    ((struct exchange *)exchange)->f->drain_count++;
}

static void on_gone(void *exchange, enum http_gone why)
{
    struct exchange *x = exchange;

    x->f->gone_count++;
    x->f->gone = why;
    x->f->last = NULL;
}

static void on_refused(void *env, struct http_conn *conn, unsigned status, const char *reason)
{
    struct fixture *f = env;

    assert_non_null(http_conn_stream(conn));
    assert_non_null(reason);
    f->refused_count++;
    f->refused_status = status;
}

static void on_half_close(void *exchange)
{
    ((struct exchange *)exchange)->f->half_close_count++;
}

static void on_body_early(void *exchange)
{
    struct exchange *x = exchange;

    x->f->early_count++;
    if (path_is(x, "/early"))
        http_conn_body_start(x->conn);
}

static const struct http_conn_events events = {
    .on_request = on_request,
    .on_body = on_body,
    .on_body_end = on_body_end,
    .on_drain = on_drain,
    .on_gone = on_gone,
    .on_refused = on_refused,
    .on_half_close = on_half_close,
    .on_body_early = on_body_early,
};

static void on_accept(void *owner, struct stream *stream)
{
    struct fixture *f = owner;

    http_server_accept(&f->server, stream);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct listener_options options = {.address = "127.0.0.1:0", .fd = -1};

    buf_init(&f->body, 64 * 1024 * 1024);
    assert_int_equal(loop_open(&f->loop), 0);
    http_server_init(&f->server, f->loop, &events, f);
    f->server.settings = (struct http_conn_settings){
        .header_timeout_ms = 60000,
        .body_timeout_ms = 60000,
        .idle_timeout_ms = 60000,
        .write_timeout_ms = 60000,
        .max_header_bytes = 2048,
        .max_header_count = 20,
        .max_target_bytes = 512,
        .max_body_bytes = 32 * 1024 * 1024,
    };
    assert_int_equal(listener_open(f->loop, &options, on_accept, f, &f->listener), 0);
    *state = f;
    return 0;
}

/* Nothing may be left: loop_close checks the handles, the sanitizers the memory. */
static int teardown(void **state)
{
    struct fixture *f = *state;

    listener_close(&f->listener);
    http_server_close(&f->server);
    assert_int_equal(f->server.connection_count, 0);
    raw_peer_close(&f->peer);
    buf_clear(&f->body);
    loop_close(&f->loop);
    free(f);
    return 0;
}

#define WAIT(f, condition) RAW_PEER_WAIT((f)->loop, raw_peer_poll(&(f)->peer), condition)
#define TURN(f) RAW_PEER_TURN((f)->loop, raw_peer_poll(&(f)->peer))

static void say(struct fixture *f, const char *text)
{
    if (f->peer.fd <= 0)
        raw_peer_connect(&f->peer, listener_port(f->listener));
    raw_peer_send(&f->peer, slice_of(text));
}

#define REQUEST(line, fields) line " HTTP/1.1\r\nHost: a\r\n" fields "\r\n"

#endif
