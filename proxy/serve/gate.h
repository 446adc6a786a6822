/* Where a guarded request's answer waits: all of it while the guards judge whether the request may
 * go on, and its last bytes until its lock has been given back, so that the client's next request
 * does not meet its own lock.
 *
 * What is held is little: one read of the service's connection, which is stopped meanwhile. */
#ifndef SERVE_GATE_H
#define SERVE_GATE_H

#include "base/buf.h"
#include "http/http_message.h"

struct gate {
    bool is_paused;                   /* nothing passes */
    const struct http_response *head; /* held; as the service sent it */
    uint64_t left_bytes; /* of an answer with a length; UINT64_MAX: it ends otherwise */
    struct buf body;     /* held */
    struct buf upload;   /* of the client, held while paused */
    bool has_upload_end;
    bool has_service_end; /* of a tunnel, held while paused */
};

void gate_init(struct gate *gate);
/* Frees what is held. */
void gate_clear(struct gate *gate);

/* True: head passes now.  False: it is held; what it points to must live as long. */
MUST_USE bool gate_take_head(struct gate *gate, const struct http_response *head,
                             bool is_head_request);
/* The part of data that passes now; the rest is held. */
struct slice gate_take_body(struct gate *gate, struct slice data);

#endif
