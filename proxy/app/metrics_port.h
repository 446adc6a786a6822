/* The read-only port: /metrics, /live, /ready. */
#ifndef APP_METRICS_PORT_H
#define APP_METRICS_PORT_H

#include <stdint.h>

#include "base/check.h"

struct embedded;
struct loop;
struct metrics;
struct metrics_port;
struct port_exchange;

struct metrics_port_source {
    struct metrics *metrics;
    struct embedded *embedded;
    /* NULL when all is well, else why not, in a word or two.  Called on the main loop. */
    const char *(*why_not_live)(void *owner);
    const char *(*why_not_ready)(void *owner);
    void *owner;
};

/* 0, or a libuv error code of the listener.  source is copied. */
MUST_USE int metrics_port_open(struct loop *loop, const char *address,
                               const struct metrics_port_source *source,
                               struct metrics_port **ret_port);
uint16_t metrics_port_number(const struct metrics_port *port);
/* The page, for another port that shows it, too. */
void metrics_port_answer_page(struct metrics *metrics, struct embedded *embedded,
                              struct port_exchange *exchange);
void metrics_port_close(struct metrics_port **port);

#endif
