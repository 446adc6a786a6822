/* What the files of the client side share: http_conn.c (states, reading, timers), http_conn_out.c
 * (what the handler calls), http_conn_tunnel.c and http_server.c.  Nobody else includes this. */
#ifndef HTTP_HTTP_CONN_PRIVATE_H
#define HTTP_HTTP_CONN_PRIVATE_H

#include "base/buf.h"
#include "http/http_body.h"
#include "http/http_conn.h"
#include "http/http_parse.h"
#include "net/loop.h"

#define HTTP_CONN_TAG 0x48436e31u /* HCn1 */

#define HTTP_CONN_STATES(X)                                                                        \
    X(IDLE)     /* no byte of a request has come */                                                \
    X(HEAD)     /* some bytes of a head are held */                                                \
    X(EXCHANGE) /* the handler has the request */                                                  \
    X(TUNNEL)   /* after a 101: the handler has the bytes */                                       \
    X(ENDED)    /* the answer is written; the exchange's memory goes at the next step */           \
    X(DRAIN)    /* the rest of the request's body is read and dropped */                           \
    X(CLOSED)   /* the stream is gone; the memory goes at the end of the tick */

#define HTTP_CONN_STATE_ENUM(id) HTTP_CONN_##id,
enum http_conn_state { HTTP_CONN_STATES(HTTP_CONN_STATE_ENUM) HTTP_CONN_STATE_COUNT };

struct http_conn {
    uint32_t tag;
    uint8_t state;       /* enum http_conn_state, set by http_conn_set_state() alone */
    uint8_t depth;       /* > 0 while the connection works through its input */
    uint8_t answer_body; /* enum http_body: how the current answer is framed on the wire */
    bool is_reading : 1;
    bool is_broken : 1;    /* the stream is dead */
    bool peer_closed : 1;  /* end of input seen */
    bool body_started : 1; /* the handler wants the body */
    bool body_stopped : 1; /* but not now */
    bool body_done : 1;    /* the request is complete */
    bool continue_sent : 1;
    bool head_sent : 1;
    bool drops_body : 1;    /* the answer's body is not sent: HEAD, 204, 304 */
    bool closes_after : 1;  /* the connection ends with this exchange */
    bool wants_drain : 1;   /* the handler was told STREAM_FULL */
    bool head_is_timed : 1; /* the header timeout runs */
    bool is_kept : 1;       /* the memory outlives the connection */

    struct http_server *server;
    struct stream *stream;
    struct list_node node; /* in server->idle, active or dead */
    struct timer timer;    /* idle, header, body and drain timeouts: one at a time */
    struct timer write_timer;
    struct loop_task task; /* goes on with held input, or frees a closed connection */
    struct arena arena;    /* of the exchange */
    struct buf held;       /* input that waits: an incomplete head, a body not wanted yet, requests
                              after the current one */
    struct http_scan scan;
    struct http_conn_settings settings;

    struct http_request *request; /* in arena */
    void *exchange;
    struct http_body_decoder decoder;
    uint64_t body_bytes;       /* of the request, so far */
    uint64_t answer_remaining; /* HTTP_BODY_LENGTH */
    uint64_t request_at_us, request_number;
    uint64_t sent_bytes, received_bytes; /* of the current exchange */
    uint64_t written_bytes;              /* given to the stream since the connection began */
    uint64_t progress_bytes;             /* of these, gone to the kernel when last looked at */
};

/* The handler has an exchange or a tunnel. */
static inline bool http_conn_is_handled(const struct http_conn *conn)
{
    return conn->state == HTTP_CONN_EXCHANGE || conn->state == HTTP_CONN_TUNNEL;
}

/* Takes an accepted stream. */
void http_conn_open(struct http_server *server, struct stream *stream);
/* Only when CLOSED. */
void http_conn_free(struct http_conn *conn);
void http_conn_set_state(struct http_conn *conn, enum http_conn_state state);
/* The stream goes now (pending output may still go out for linger_ms), the memory later. */
void http_conn_close(struct http_conn *conn, uint64_t linger_ms);
/* The same once our last words are written: they still go out, and what the client sends is dropped
 * for a while. */
void http_conn_finish(struct http_conn *conn);
/* The same with a reset. */
void http_conn_abort(struct http_conn *conn);
/* The exchange ends without the handler's doing: tell it; the connection must be ended next. */
void http_conn_tell_gone(struct http_conn *conn, enum http_gone why);
/* End the connection so that the client can tell that the answer is not complete. */
void http_conn_cut_stream(struct http_conn *conn);
void http_conn_start_timer(struct http_conn *conn, uint64_t delay_ms);
/* Have the connection go on soon with what it holds, if it is not on the stack already. */
void http_conn_wake(struct http_conn *conn);
void http_conn_update_reading(struct http_conn *conn);
/* Nobody waits for a 100 Continue any more (RFC 9110 section 10.1.1). */
void http_conn_tell_body_early(struct http_conn *conn);
/* Hands on what came through a tunnel, or its end. */
bool http_conn_step_tunnel(struct http_conn *conn, struct slice *input);

enum stream_status http_conn_write(struct http_conn *conn, const struct slice *parts, size_t count);
/* Answer with a problem document and Connection: close. */
void http_conn_write_refusal(struct http_conn *conn, unsigned status, const char *reason,
                             const char *detail);

#endif
