/* The port for operators on this machine: what is in force, and the few things that can be asked of
 * a running process.  GET changes nothing.
 *
 * Its endpoints are one table in admin.c.  An endpoint of another file is a port_cb whose owner is
 * a struct admin; admin_source() tells it what it may look at. */
#ifndef APP_ADMIN_H
#define APP_ADMIN_H

#include <stdint.h>

#include "base/check.h"

struct admin;
struct embedded;
struct inquiry;
struct inquiry_kind;
struct json_t; /* jansson's */
struct loop;
struct metrics;
struct port_exchange;
struct reload;
struct worker;

/* What there is to look at, all of it for the life of the port. */
struct admin_source {
    struct metrics *metrics;
    struct embedded *embedded;
    struct reload *reload;
    struct worker *const *workers; /* worker_post() asks them */
    unsigned worker_count;
    /* "starting", "running", "draining", "stopping" */
    const char *(*state)(void *owner);
    void (*drain)(void *owner);
    void *owner;
};

/* 0, or a libuv error code of the listener.  source is copied. */
MUST_USE int admin_open(struct loop *loop, const char *address, const struct admin_source *source,
                        struct admin **ret_admin);
uint16_t admin_port(const struct admin *admin);
void admin_close(struct admin **admin);

/* For endpoints. */
const struct admin_source *admin_source(const struct admin *admin);
/* A question to the workers (app/inquiry.h) whose answer will answer the exchange.  NULL: the
 * exchange has been refused, as the workers are ending or do not answer. */
struct inquiry *admin_inquire(struct admin *admin, const struct inquiry_kind *kind,
                              struct port_exchange *exchange);
/* Answers the exchange with the value, and frees that. */
void admin_answer(struct port_exchange **exchange, unsigned status, struct json_t *value);

#endif
