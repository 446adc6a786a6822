/* Heads as they go on: hop-by-hop fields out, what a proxy has to say in (RFC 9110, section 7.6).
 *
 * To the service: Fencing-Token, Lock-Key, Lock-Mode and Lock-Context are ours to set and are
 * stripped; the verdict has those that go.  A fence behind which the service stands has looked at
 * Fencing-Token, which then goes on.  X-
 * Forwarded-For, -Proto, -Host and Forwarded are kept (For is extended) when the peer is a trusted
 * proxy and replaced when it is not.  To the client: the RateLimit fields of the verdict follow the
 * service's own. */
#ifndef SERVE_FORWARD_H
#define SERVE_FORWARD_H

#include "base/arena.h"
#include "guard/verdict.h"
#include "http/http_message.h"

/* What guards want told goes in last: see struct verdict. */
struct forward_hop {
    struct slice peer_address; /* at == NULL: not an IP address */
    struct slice request_id;
    struct slice upstream_host; /* Host for HTTP/1.0 clients that sent none */
    bool is_peer_trusted, is_tls;
    bool is_fenced; /* the route's fence has checked Fencing-Token */
    const struct verdict *verdict;
};

/* Shallow: *ret points to what head points to; its fields are in arena. */
void forward_request(const struct http_request *head, const struct forward_hop *hop,
                     struct arena *arena, struct http_request *ret);
void forward_response(const struct http_response *head, const struct verdict *verdict,
                      struct slice request_id, struct arena *arena, struct http_response *ret);

#endif
