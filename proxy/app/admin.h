/* The read-only port: /metrics, /live, /ready.  Runs on the main loop, so that a busy or stuck
 * worker cannot hide. */
#ifndef APP_ADMIN_H
#define APP_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

struct admin;
struct embedded;
struct loop;
struct metrics;

struct admin_source {
    struct metrics *metrics;
    struct embedded *embedded;
    /* NULL when all is well, else why not, in a word or two.  Called on the main loop. */
    const char *(*why_not_live)(void *owner);
    const char *(*why_not_ready)(void *owner);
    void *owner;
};

/* 0, or a libuv error code of the listener.  source is copied. */
MUST_USE int admin_open(struct loop *loop, const char *address, const struct admin_source *source,
                        struct admin **ret_admin);
uint16_t admin_port(const struct admin *admin);
void admin_close(struct admin **admin);

#endif
