/* Trailer sections (RFC 9110 section 6.5, RFC 9112 section 7.1.2): the fields of the policy's list
 * go on, all others are dropped.  They are written from what was read, as heads are.
 *
 * To clients they go only when these say `TE: trailers`: others may drop them, or take them for
 * something else (RFC 9110 section 6.5.1).  Services are not asked. */
#ifndef SERVE_TRAILERS_H
#define SERVE_TRAILERS_H

#include "base/arena.h"
#include "http/http_message.h"
#include "policy/policy.h"

/* The trailer section of one message, as its lines come; a few KiB at most (http_body.h). */
struct trailers {
    char *text;
    size_t len, cap;
};

/* piece may end anywhere.  *trailers is made when it is NULL. */
void trailers_add(struct trailers **trailers, struct slice piece, struct arena *arena);

/* Those that may go on; the count, with *ret_fields in arena. */
size_t trailers_allowed(const struct trailers *trailers, const struct policy_settings *settings,
                        struct arena *arena, struct http_field **ret_fields);

/* Whether the client takes trailers. */
bool trailers_are_wanted(const struct http_request *head);

/* Lets a Trailer field go on with the names that may; fields are a copy for the next hop. */
void trailers_announce(struct http_fields *fields, const struct policy_settings *settings,
                       struct arena *arena);

#endif
