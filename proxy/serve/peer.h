/* Who asks: the connection's peer, and the client behind it when the peer is a trusted proxy. */
#ifndef SERVE_PEER_H
#define SERVE_PEER_H

#include "base/arena.h"
#include "http/http_message.h"
#include "policy/policy.h"

struct peer {
    struct slice address; /* as the stream has it; at == NULL: not an IP address (a unix socket) */
    bool is_trusted;      /* one of trusted_proxies, and not hidden */
    bool has_client;      /* the two below are known */
    struct slice client_key;     /* masked as the policy says: {client.ip} */
    struct slice client_address; /* in full, for the access log */
};

/* Costs next to nothing unless there are trusted proxies.  address must live as long as the peer.
 * Hidden: a proxy relays somebody it does not name (stream_is_peer_hidden), whose word is not the
 * proxy's. */
void peer_find(const struct policy_settings *settings, const char *address, bool is_hidden,
               struct peer *ret);
/* The client, once somebody wants to know.  Memory from arena. */
void peer_find_client(struct peer *peer, const struct policy_settings *settings,
                      const struct http_fields *fields, struct arena *arena);

#endif
