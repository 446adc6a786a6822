/* The client side of one connection: parses requests, hands them to serve one at a time (pipelined
 * ones wait their turn in the connection's own small buffer), writes the answers.
 *
 * A client that ends its side (half-close) after a complete request is still answered, unless the
 * handler decides otherwise in on_half_close; in the middle of a head or body it is gone.
 *
 * After on_request the exchange belongs to the handler until it calls http_conn_send_end() or
 * http_conn_cut(), or until on_gone() was called (after which it makes no more calls for it).  Only
 * one exchange runs at a time; its arena is cleared when it ends.
 *
 * http_conn_switch() turns an exchange into a tunnel, with which the connection ends. */
#ifndef HTTP_HTTP_CONN_H
#define HTTP_HTTP_CONN_H

#include "base/arena.h"
#include "base/list.h"
#include "base/log.h"
#include "base/metrics.h"
#include "http/http_message.h"
#include "net/stream.h"

struct http_conn;

enum http_gone {
    HTTP_GONE_CLIENT,    /* the client closed or reset the connection */
    HTTP_GONE_TIMEOUT,   /* the body made no progress, or the client did not take the answer */
    HTTP_GONE_MALFORMED, /* the body's framing is broken */
    HTTP_GONE_TOO_LARGE, /* a chunked body passed max_body_bytes */
    HTTP_GONE_SHUTDOWN   /* the worker ends now */
};

struct http_conn_events {
    /* A head has come; gives the handler's object for this exchange (not NULL).  The handler may
     * answer from inside this call. */
    void *(*on_request)(void *env, struct http_conn *conn, const struct http_request *head);
    /* Body bytes (de-chunked), only after http_conn_body_start and while not stopped. */
    void (*on_body)(void *exchange, struct slice data);
    /* Bytes of the body's trailer section, split anywhere, with keeps_trailers; good once the body
     * is complete.  May be NULL without. */
    void (*on_trailer)(void *exchange, struct slice piece);
    /* The body is complete; not called for HTTP_BODY_NONE. */
    void (*on_body_end)(void *exchange);
    /* Pending output fell to nothing after STREAM_FULL. */
    void (*on_drain)(void *exchange);
    /* The exchange cannot be finished.  For TIMEOUT, MALFORMED and TOO_LARGE the connection has
     * answered 408, 400 or 413 by itself if no head had been sent. */
    void (*on_gone)(void *exchange, enum http_gone why);
    /* A request was answered by the connection itself (malformed head, too large, too slow), or a
     * connection ended in the middle of a head (status 0): for logs and counters.  Reasons are
     * static.  May be NULL. */
    void (*on_refused)(void *env, struct http_conn *conn, unsigned status, const char *reason);
    /* The client has half-closed the connection: it will send nothing more, and may or may not
     * still read.  The exchange goes on (the connection closes after the answer) unless the handler
     * cuts it here.  Not noticed while reading is stopped.  May be NULL. */
    void (*on_half_close)(void *exchange);
    /* The client has sent some of its body although it may wait for 100 Continue, and before
     * http_conn_body_start: it does not wait.  Once for a request.  May be NULL. */
    void (*on_body_early)(void *exchange);
};

struct http_conn_settings { /* from the policy snapshot; copied at the start of each request */
    uint64_t header_timeout_ms, body_timeout_ms, idle_timeout_ms, write_timeout_ms;
    uint32_t max_header_bytes, max_header_count, max_target_bytes;
    bool keeps_trailers;
    uint64_t max_body_bytes; /* 0 = no limit; a larger Content-Length is answered 413 */
};

/* One per worker: what its connections share. */
struct http_server {
    struct loop *loop;
    struct http_conn_settings settings;
    const struct http_conn_events *events;
    void *env;
    struct metrics_shard *shard;
    uint32_t active_slot, idle_slot; /* gauges */
    struct list active, idle;        /* connections; http_conn.c moves them */
    size_t connection_count;
    bool is_draining; /* every answer says Connection: close; idle connections are closed */
    /* private */
    struct list dead; /* closed connections whose memory goes at the end of the tick */
    uint64_t date_until_ms;
    char date[32];
};

/* settings, shard and slots are the caller's to set afterwards; shard may stay NULL. */
void http_server_init(struct http_server *server, struct loop *loop,
                      const struct http_conn_events *events, void *env);
/* Take an accepted stream; the server owns it from here. */
void http_server_accept(struct http_server *server, struct stream *stream);
/* From now on close after each answer; close idle connections at once, and those that have not had
 * their first request within a second. */
void http_server_drain(struct http_server *server);
/* Cut the connection that has waited longest without a request, to make room; false: all have one.
 * Not from inside a callback of one of the server's connections. */
MUST_USE bool http_server_shed(struct http_server *server);
/* End everything now: on_gone(HTTP_GONE_SHUTDOWN) for each running exchange.  Not from inside a
 * callback of one of the server's connections. */
void http_server_close(struct http_server *server);

struct arena *http_conn_arena(struct http_conn *conn);
struct stream *http_conn_stream(struct http_conn *conn);
/* When the first byte of the current request came (loop_clock_us). */
uint64_t http_conn_request_at_us(const struct http_conn *conn);
/* Number of the request on its connection, from 1. */
uint64_t http_conn_request_number(const struct http_conn *conn);

/* Let body bytes come (sends 100 Continue first when the client expects it and nothing has been
 * answered yet), stop them, let them come again. */
void http_conn_body_start(struct http_conn *conn);
void http_conn_body_stop(struct http_conn *conn);

/* A 101 with head->upgrade, for a request without body that offered it: from here on on_body brings
 * the client's bytes as they are, those that came right behind the request first, on_body_end the
 * end of its side, and http_conn_send_body sends bytes as they are.  No timeout of the connection
 * runs any more.  http_conn_send_end when both sides have ended; http_conn_cut resets. */
enum stream_status http_conn_switch(struct http_conn *conn, const struct http_response *head);
/* The service has ended its side of a tunnel: so does the connection, once all is sent. */
void http_conn_send_shut(struct http_conn *conn);

/* 1xx other than 101, passed on as it is. */
void http_conn_send_interim(struct http_conn *conn, const struct http_response *head);

/* The final head: status, reason, fields that are not is_dropped; the connection adds framing
 * (Content-Length, or chunked for 1.1, or close for 1.0), Connection and Date as needed.
 * head->body and content_length say what body will follow; HEAD, 204 and 304 send none. */
enum stream_status http_conn_send_head(struct http_conn *conn, const struct http_response *head);
enum stream_status http_conn_send_body(struct http_conn *conn, struct slice data);
/* The end of the answer's body with these fields behind it, when it is chunked; else they are
 * dropped.  http_conn_send_end follows. */
void http_conn_send_trailers(struct http_conn *conn, const struct http_field *fields, size_t count);
/* The answer is complete.  The exchange is over: the handler's object must be gone or go now.  A
 * request body that is still unread is drained within bounds, or the connection is closed. */
void http_conn_send_end(struct http_conn *conn);
/* The answer cannot be completed: cut the connection so that the client can tell. */
void http_conn_cut(struct http_conn *conn);
/* Bytes of head and body written for the current answer, for the access log. */
uint64_t http_conn_sent_bytes(const struct http_conn *conn);
uint64_t http_conn_received_bytes(const struct http_conn *conn);
/* Inside on_gone: the memory of the connection and of the exchange stays until http_conn_drop, for
 * a handler that has work to finish without its client.  Drop it before http_server_close. */
void http_conn_keep(struct http_conn *conn);
void http_conn_drop(struct http_conn *conn);
bool http_conn_head_is_sent(const struct http_conn *conn);
/* The client has half-closed: see on_half_close. */
bool http_conn_peer_closed(const struct http_conn *conn);

#endif
