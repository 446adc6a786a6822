/* What lets one request be followed through services: its X-Request-Id, and the trace id of a
 * traceparent (https://www.w3.org/TR/trace-context/), which itself passes through unchanged. */
#ifndef SERVE_TRACE_H
#define SERVE_TRACE_H

#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

#define TRACE_REQUEST_ID_MAX_BYTES 128

/* Makes ids that are unique, not secret.  One per worker; zero is its fresh state. */
struct trace_source {
    uint64_t state[2];
};

/* A client's own id is kept when it is 1 to TRACE_REQUEST_ID_MAX_BYTES letters, digits or one of
 * "-_.:=+/@": nothing that could upset a log or a header. */
bool trace_request_id_is_fine(struct slice id);

/* 32 hex digits, in arena. */
struct slice trace_make_request_id(struct trace_source *source, struct arena *arena);

/* The trace id of a traceparent value, or at == NULL: a malformed one counts as absent. */
struct slice trace_id(struct slice traceparent);

#endif
