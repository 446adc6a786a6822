/* Request targets and authorities, strictly (RFC 9112 section 3.2, RFC 3986). */
#ifndef HTTP_HTTP_TARGET_H
#define HTTP_HTTP_TARGET_H

#include "base/arena.h"
#include "base/slice.h"

struct http_target {
    struct slice path;      /* "*" for OPTIONS of the whole server; "/" when the target has none */
    struct slice query;     /* without '?'; at == NULL when there is no '?' */
    struct slice authority; /* of an absolute form; else at == NULL */
};

/* Origin form, absolute form with http or https, or "*" with OPTIONS.  False for anything else:
 * also for fragments, bytes a URI cannot have (but those browsers send: ^ { | } ` and, in a query,
 * \), and in a path for broken escapes and %00. */
MUST_USE bool http_target_parse(struct slice method, struct slice target,
                                struct http_target *ret_target);

/* host[:port], without user information.  *ret_host is a copy in lower case, without brackets and
 * trailing dot.  Stricter than RFC 3986: a name is made of letters, digits, '-', '.', '_' and '~',
 * without empty labels; brackets hold an IPv6 address; a colon is followed by a port number. */
MUST_USE bool http_authority_parse(struct slice authority, struct arena *arena,
                                   struct slice *ret_host);

#endif
