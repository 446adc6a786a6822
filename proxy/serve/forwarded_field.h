/* Writes the Forwarded field (RFC 7239): the hops before, and an element for our own. */
#ifndef SERVE_FORWARDED_FIELD_H
#define SERVE_FORWARDED_FIELD_H

#include "base/arena.h"
#include "http/http_message.h"

struct forward_hop;

/* The value, in arena; at == NULL: there is nothing to say.
 *
 * The hops before are those of Forwarded when that alone is in use: the values that are
 * well-formed, up to the right-most that is not; when X-Forwarded-For is in use too, they are made
 * from it (the last 32 of them).  Only a trusted peer's are taken. */
struct slice forwarded_field_make(const struct http_request *head, const struct forward_hop *hop,
                                  struct arena *arena);

#endif
