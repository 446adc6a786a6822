/* One request to a port of a running process, from the command line: blocking, with a deadline. */
#ifndef APP_ASK_H
#define APP_ASK_H

#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"

#define ASK_MAX_ANSWER_BYTES ((size_t)64 * 1024 * 1024)

/* What is said of an answer that makes no sense. */
#define ASK_STRANGER "this is no answer of Lockkeeper"

struct ask {
    const char *address; /* "127.0.0.1:9103", "[::1]:9103", ":9102", "unix:/path" */
    const char *method, *target;
    uint64_t timeout_ms; /* for all of it */
};

/* NULL, and the answer's status and body (ret_body: of the caller, initialised); or what went
 * wrong, in a few words (static, or of strerror). */
MUST_USE const char *ask_port(const struct ask *ask, unsigned *ret_status, struct buf *ret_body);

#endif
