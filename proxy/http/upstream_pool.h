/* Exchanges with one service over a pool of kept-alive connections (one pool per worker and
 * upstream).  An exchange takes an idle connection, or opens one, or waits for one, each within
 * bounds and deadlines.
 *
 * An exchange that fails before any byte of the answer came on a connection that had been idle in
 * the pool is repeated once on a fresh connection by the pool itself, if its method is idempotent
 * and it has no body, or its body was not yet asked for by on_connected (RFC 9110 section 9.2.2,
 * RFC 9112 section 9.3.1).  on_connected comes once all the same.
 *
 * All callbacks come from the loop.  on_head, on_body and on_end of one read come one after the
 * other without a return to the loop, so that what they write goes out together.  After on_end or
 * on_fail the exchange is gone; its connection is free for upstream_begin already. */
#ifndef HTTP_UPSTREAM_POOL_H
#define HTTP_UPSTREAM_POOL_H

#include "base/arena.h"
#include "base/log.h"
#include "base/metrics.h"
#include "http/http_message.h"
#include "net/stream.h"

struct upstream_pool;
struct upstream_exchange;

#define UPSTREAM_FAILURES(X)                                                                       \
    X(UNREACHABLE, "upstream-unreachable", 502, false, "could not connect to the service")         \
    X(CONNECT_TIMEOUT, "upstream-connect-timeout", 504, false,                                     \
      "connecting to the service took too long")                                                   \
    X(BUSY, "upstream-busy", 503, false, "too many requests wait for a connection to the service") \
    X(CLOSED, "upstream-closed", 502, true, "the service closed the connection without an answer") \
    X(BAD_ANSWER, "upstream-bad-answer", 502, true, "the service's answer is not valid HTTP")      \
    X(TIMEOUT, "upstream-timeout", 504, true, "the service did not answer in time")                \
    X(CUT, "upstream-cut", 502, true, "the service closed the connection within its answer")

/* was_sent: true when the service may have seen the request (executed: unknown). */
#define UPSTREAM_FAILURE_ENUM(id, reason, status, was_sent, text) UPSTREAM_##id,
enum upstream_failure { UPSTREAM_FAILURES(UPSTREAM_FAILURE_ENUM) UPSTREAM_FAILURE_COUNT };
const char *upstream_failure_reason(enum upstream_failure failure);
const char *upstream_failure_text(enum upstream_failure failure);
unsigned upstream_failure_status(enum upstream_failure failure);
bool upstream_failure_was_sent(enum upstream_failure failure);

struct upstream_events {
    /* The head would go to a connection now, and did not at once in upstream_begin.  False: it does
     * not go; the owner has given up the exchange, or asks for it with upstream_resume.  May be
     * NULL: it goes. */
    bool (*may_send)(void *owner);
    /* The head went to a connection.  A request with a body should start sending it now.  The
     * answer may begin, and even end, before the request does; then the connection is not used
     * again. */
    void (*on_connected)(void *owner);
    void (*on_interim)(void *owner, const struct http_response *head); /* 1xx but 101 */
    /* A 101 that takes up what the request offered (head->upgrade of both): from here on the
     * exchange is a tunnel.  on_body brings the service's bytes as they are, upstream_send_body
     * sends the client's, upstream_send_end ends that side; no timeout runs any more.  May be NULL
     * when nothing is ever offered, as may on_half_close. */
    void (*on_switch)(void *owner, const struct http_response *head);
    /* The service has ended its side of a tunnel.  upstream_finish when both have ended. */
    void (*on_half_close)(void *owner);
    /* The final head; slices live in the exchange's arena. */
    void (*on_head)(void *owner, const struct http_response *head);
    void (*on_body)(void *owner, struct slice data);
    /* Bytes of the trailer section, split anywhere, with keeps_trailers; good once on_end comes.
     * May be NULL without. */
    void (*on_trailer)(void *owner, struct slice piece);
    void (*on_drain)(void *owner); /* after STREAM_FULL */
    /* Complete, or failed (also after on_head): the exchange is gone, forget the pointer. */
    void (*on_end)(void *owner);
    void (*on_fail)(void *owner, enum upstream_failure failure);
};

struct upstream_settings {
    const char *name;
    const char *host; /* name, address literal, or "unix:/path" */
    uint16_t port;
    struct tls_context *tls; /* NULL: plain; a reference is taken */
    const char *server_name; /* for SNI and the certificate; NULL: host */
    const char *host_field;  /* the Host that requests go with; NULL: their own */
    uint64_t connect_timeout_ms, response_timeout_ms, body_timeout_ms, idle_timeout_ms;
    uint64_t max_age_ms; /* of a connection, looked at between exchanges; 0: no limit */
    uint32_t max_connections, max_waiting;
    uint32_t max_header_bytes, max_header_count;
    bool keeps_trailers;
};

struct upstream_pool *upstream_pool_open(struct loop *loop,
                                         const struct upstream_settings *settings,
                                         struct metrics *metrics, struct metrics_shard *shard,
                                         const struct log_context *log);
/* Closes idle connections at once and the rest when their exchanges end; no new exchange may begin.
 * The memory lives until the last exchange has ended. */
void upstream_pool_close(struct upstream_pool **pool);

/* head (rewritten for the service, with framing fields removed: head->body says the framing) and
 * all it points to must live in arena until the exchange is gone.  Never calls back before it
 * returns, but tries to write the head at once when a connection is idle. */
struct upstream_exchange *upstream_begin(struct upstream_pool *pool,
                                         const struct http_request *head, struct arena *arena,
                                         const struct upstream_events *events, void *owner);
/* Body bytes; chunked by the connection when head->body is HTTP_BODY_CHUNKED.  Only after
 * on_connected. */
enum stream_status upstream_send_body(struct upstream_exchange *exchange, struct slice data);
/* The end of a chunked body with these fields behind it; upstream_send_end follows. */
void upstream_send_trailers(struct upstream_exchange *exchange, const struct http_field *fields,
                            size_t count);
void upstream_send_end(struct upstream_exchange *exchange);
/* Backpressure from the client.  Bytes already read (at most one read buffer) still come. */
void upstream_read_stop(struct upstream_exchange *exchange);
void upstream_read_start(struct upstream_exchange *exchange);
/* After may_send said false: it is asked again.  Legal at any time. */
void upstream_resume(struct upstream_exchange *exchange);
/* Give up: the connection is closed (the service may still be at work), that of a tunnel with a
 * reset.  *exchange becomes NULL. */
void upstream_cancel(struct upstream_exchange **exchange);
/* Both sides of a tunnel have ended: what is pending still goes out.  *exchange becomes NULL. */
void upstream_finish(struct upstream_exchange **exchange);
/* "127.0.0.1:3000", once connected; else "". */
const char *upstream_exchange_address(const struct upstream_exchange *exchange);

#endif
