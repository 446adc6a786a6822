/* Host, method, path and headers to a route: compiled from the snapshot; first match in file order
 * wins; the cost does not grow with the number of routes that do not match.
 *
 * Path normalisation (RFC 3986, section 6.2.2; the target itself goes upstream unchanged): percent-
 * encoded unreserved characters are decoded, other escapes get upper-case digits, dot segments are
 * removed, "//" becomes "/".  Refused: a path that does not begin with '/', an escape that is not
 * two hex digits, %00, and encoded slashes or backslashes ("%2F" "%5C" stay as they are and never
 * separate segments). */
#ifndef POLICY_ROUTER_H
#define POLICY_ROUTER_H

#include <stdbool.h>

#include "base/arena.h"
#include "policy/facts.h"
#include "policy/policy.h"

/* In arena.  False: the path is malformed (answer 400).  ret_path may equal path when it was normal
 * already. */
MUST_USE bool router_normalise_path(struct arena *arena, struct slice path, struct slice *ret_path);

struct router *router_compile(struct arena *arena, const struct policy_route *const *routes,
                              size_t route_count);

/* The route, or NULL.  Fills facts->path_params; reads the other facts. */
const struct policy_route *router_match(const struct router *router, struct facts *facts);

/* True when every request b matches is matched by a (so that b, standing after a, is unreachable). */
bool router_shadows(const struct policy_route *a, const struct policy_route *b);

#endif
