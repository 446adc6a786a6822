/* Pumps bodies both ways between a client and the service, with backpressure: a side that is full
 * stops the other until it drains, so that memory does not grow with bodies.
 *
 * The client's body starts to flow once the service's connection has the head.  With Expect: 100-
 * continue it waits for the service's own 100, or for the client to send without one, or
 * RELAY_CONTINUE_MS for services that send none.
 * After a 101 it hands on bytes and the ends of both sides, until both have ended.
 * The pump knows both ends only by their pointers and runs on with either of them gone. */
#ifndef SERVE_RELAY_H
#define SERVE_RELAY_H

#include "http/http_conn.h"
#include "http/upstream_pool.h"
#include "net/loop.h"

#define RELAY_CONTINUE_MS 1000

/* The client's body.  Bounded by the connection's body timeout while it flows, by the pool's
 * deadlines while it is held, by RELAY_CONTINUE_MS while it is asked for. */
#define RELAY_UPLOADS(X)                                                                           \
    X(NONE)    /* there is none, or nobody wants it any more */                                    \
    X(HELD)    /* until the service's connection has the head */                                   \
    X(ASKED)   /* the service has been asked whether it wants it */                                \
    X(FLOWING) /* or through a tunnel */                                                           \
    X(DONE)    /* all of it went to the service */

#define RELAY_UPLOAD_ENUM(id) RELAY_##id,
enum relay_upload { RELAY_UPLOADS(RELAY_UPLOAD_ENUM) RELAY_UPLOAD_COUNT };

struct relay_tunnel;

struct relay {
    struct loop *loop;
    struct http_conn *conn;             /* NULL once the client is gone */
    struct upstream_exchange *exchange; /* NULL before it begins and once it is over */
    struct timer timer;                 /* RELAY_ASKED; of a tunnel: its idle timeout */
    enum relay_upload upload;
    bool expects_continue, is_client_http10;
    struct relay_tunnel *tunnel; /* NULL: it is none */
};

/* In the request's memory. */
struct relay_tunnel {
    uint64_t idle_ms, moved_at_ms;
    bool has_service_ended; /* its side */
    /* No byte has moved either way for idle_ms. */
    void (*on_idle)(struct relay *relay);
};

void relay_init(struct relay *relay, struct loop *loop, struct http_conn *conn,
                const struct http_request *head);
void relay_begin(struct relay *relay, struct upstream_exchange *exchange);

/* From the service's side. */
void relay_on_connected(struct relay *relay);
void relay_on_interim(struct relay *relay, const struct http_response *head);
/* head is ready for the client. */
void relay_send_head(struct relay *relay, const struct http_response *head);
/* The same, when the exchange may be over. */
void relay_send_body(struct relay *relay, struct slice data);
void relay_on_service_body(struct relay *relay, struct slice data);
void relay_on_service_drain(struct relay *relay);
/* head is a 101 for the client, whose connection is there.  tunnel has idle_ms and on_idle. */
void relay_switch(struct relay *relay, const struct http_response *head,
                  struct relay_tunnel *tunnel);
void relay_on_service_half_close(struct relay *relay);

/* From the client's side. */
void relay_on_client_body_early(struct relay *relay);
void relay_on_client_body(struct relay *relay, struct slice data);
void relay_on_client_body_end(struct relay *relay);
void relay_on_client_drain(struct relay *relay);

/* Both sides of a tunnel have ended: relay_finish closes the service's connection. */
static inline bool relay_is_over(const struct relay *relay)
{
    return relay->tunnel != NULL && relay->tunnel->has_service_ended && relay->upload == RELAY_DONE;
}
void relay_finish(struct relay *relay);

/* The service's answer is complete or has failed: the exchange is no more. */
void relay_forget_service(struct relay *relay);
/* Nothing goes on: the exchange, if there is one, is cancelled. */
void relay_stop(struct relay *relay);

#endif
