/* A port of the process's own, for its operators: a table of endpoints behind a listener on the
 * main loop, so that a busy or stuck worker cannot hide.  Each request is an exchange, which its
 * endpoint answers at once or later. */
#ifndef APP_PORT_H
#define APP_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"

struct http_request;
struct loop;
struct port;
struct port_exchange;

/* Answers now or later, with exactly one call of port_answer() or port_refuse(). */
typedef void port_cb(void *owner, struct port_exchange *exchange);

struct port_endpoint {
    const char *method; /* "GET", which includes HEAD, "POST", "DELETE" */
    const char *path;   /* "/ready"; or "/locks/": all that is below it, see port_rest */
    port_cb *run;
    const char *help; /* one line, for people who look around */
};

struct port_settings {
    const char *address;
    const struct port_endpoint *endpoints; /* must outlive the port */
    size_t endpoint_count;
    void *owner; /* of run */
    /* For programs of this machine only, which may change things: a unix socket gets mode 0600, and
     * what a browser sends for a page is refused (a Host that is no loopback address, which is DNS
     * rebinding; an Origin, or a Sec-Fetch-Site other than none). */
    bool is_private;
};

struct port_content {
    unsigned status;
    const char *type;
    const char *encoding; /* NULL: none */
    struct slice body;
};

/* 0, or a libuv error code of the listener.  Never calls back before it returns. */
MUST_USE int port_open(struct loop *loop, const struct port_settings *settings,
                       struct port **ret_port);
/* 0 for a unix socket. */
uint16_t port_number(const struct port *port);
void port_close(struct port **port);

/* An exchange and what it gives live until it is answered, whether its client still waits or not.
 */

/* Of the arena of the exchange. */
struct arena *port_arena(struct port_exchange *exchange);
/* What follows the endpoint's path, its escapes decoded; empty where the path is no prefix. */
struct slice port_rest(const struct port_exchange *exchange);
/* The decoded value of the first parameter of that name in the query, or at == NULL. */
struct slice port_parameter(struct port_exchange *exchange, struct slice name);
/* At most PORT_MAX_BODY_BYTES; a larger one is refused before the endpoint is asked. */
#define PORT_MAX_BODY_BYTES 65536
struct slice port_body(const struct port_exchange *exchange);
/* Only inside the endpoint's run. */
const struct http_request *port_head(const struct port_exchange *exchange);

/* An answer that does not come within PORT_ANSWER_MS is answered 504 for the endpoint, whose own
 * answer goes nowhere then; it must come all the same. */
#define PORT_ANSWER_MS 10000
void port_answer(struct port_exchange **exchange, const struct port_content *content);
/* application/problem+json; detail says what could be done.  Both are copied. */
void port_refuse(struct port_exchange **exchange, unsigned status, const char *reason,
                 const char *detail);

#endif
