/* Heads as they go on: hop-by-hop fields out, what a proxy has to say in (RFC 9110, section 7.6).
 *
 * To the service: Fencing-Token, Lock-Key, Lock-Mode and Lock-Context are ours to set and are
 * stripped; the verdict has those that go.  A fence behind which the service stands has looked at
 * Fencing-Token, which then goes on.  The forwarding fields in use (X-Forwarded-For, -Proto, -Host,
 * or Forwarded, or both) are kept and extended when the peer is a trusted proxy and replaced when
 * it is not; those not in use never go on, whoever sent them: a proxy that extends the one passes
 * the other as its client wrote it, and services prefer Forwarded.  A name that is one we know but
 * for its underscores never goes on: services that cannot tell them apart would take it for ours.
 * A traceparent goes on when it is good, and tracestate with it.  Max-Forwards counts down; a
 * request with 0 is not for this.  To the client: the RateLimit
 * fields of the verdict follow the service's own. */
#ifndef SERVE_FORWARD_H
#define SERVE_FORWARD_H

#include "base/arena.h"
#include "guard/verdict.h"
#include "http/http_message.h"
#include "policy/policy.h"
#include "serve/trace.h"

/* What guards want told goes in last: see struct verdict. */
struct forward_hop {
    struct slice peer_address; /* at == NULL: not an IP address */
    struct slice request_id;
    struct slice upstream_host; /* Host for HTTP/1.0 clients that sent none */
    struct slice local_address; /* for Forwarded; at == NULL: not an IP address */
    enum policy_forwarding forwarding;
    struct trace trace;
    bool is_peer_trusted, is_tls;
    bool is_fenced;      /* the route's fence has checked Fencing-Token */
    bool passes_upgrade; /* what the client offers in Upgrade is offered to the service */
    const struct verdict *verdict;
};

/* Shallow: *ret points to what head points to; its fields are in arena. */
void forward_request(const struct http_request *head, const struct forward_hop *hop,
                     struct arena *arena, struct http_request *ret);
void forward_response(const struct http_response *head, const struct verdict *verdict,
                      struct slice request_id, struct arena *arena, struct http_response *ret);

#endif
