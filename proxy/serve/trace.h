/* What lets one request be followed through services: its X-Request-Id, and the traceparent of W3C
 * Trace Context (https://www.w3.org/TR/trace-context-1/).  We are no span of a trace: a good
 * traceparent passes unchanged, whoever sent it, as it decides nothing but what is recorded. */
#ifndef SERVE_TRACE_H
#define SERVE_TRACE_H

#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"
#include "http/http_message.h"

#define TRACE_REQUEST_ID_MAX_BYTES 128

/* Makes ids that are unique, not secret.  One per worker; zero is its fresh state. */
struct trace_source {
    uint64_t state[2];
};

/* A client's own id is kept when it is 1 to TRACE_REQUEST_ID_MAX_BYTES letters, digits or one of
 * "-_.:=+/@": nothing that could upset a log or a header. */
bool trace_request_id_is_fine(struct slice id);

/* 32 hex digits, in arena: not all of them 0. */
struct slice trace_make_request_id(struct trace_source *source, struct arena *arena);

/* The trace of a request. */
struct trace {
    struct slice id;   /* 32 hex digits; at == NULL: none */
    struct slice made; /* a traceparent to send; at == NULL: none was made */
    bool is_sent;      /* the request has a good traceparent of its own: the only one */
};

/* Two traceparents count as none, and so does a malformed one.  Where there is none, makes sets id
 * and made; so many of a million have the flag "sampled" (sample_ppm).  Text of what is made in
 * arena. */
void trace_find(struct trace_source *source, const struct http_fields *fields, bool makes,
                uint64_t sample_ppm, struct arena *arena, struct trace *ret_trace);

/* The trace id of a traceparent value, or at == NULL: a malformed one counts as absent. */
struct slice trace_id(struct slice traceparent);

/* Whether a request is one of ppm in a million.  By the trace id's last 56 bits, as samplers of
 * traces do it, else by a hash of the request id: who sees the same ids chooses the same requests,
 * and who chooses more of them those and others. */
bool trace_is_sampled(struct slice id, struct slice request_id, uint64_t ppm);

#endif
