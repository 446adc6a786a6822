/* `lockkeeper explain`: what would happen to a request, without a server and without a store; and
 * what a running process says to it, when it is asked. */
#ifndef APP_EXPLAIN_H
#define APP_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct explain_request {
    const char *const *paths; /* policies */
    size_t path_count;
    const char *request_line;   /* "METHOD TARGET" */
    const char *const *headers; /* "name: value" */
    size_t header_count;
    const char *client; /* the peer's address; NULL: 127.0.0.1 */
    bool is_live;       /* ask the process of the policies' admin port */
    const char *admin;  /* or of this one */
};

/* An exit code of app/cli.h. */
int explain_run(const struct explain_request *request, FILE *out);

#endif
