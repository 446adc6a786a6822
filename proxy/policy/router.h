/* Host, method, path and headers to a route: compiled from the snapshot; the first match in file
 * order wins; the cost does not grow with the number of routes that do not match.  (Routes with the
 * same hosts and the same path, told apart by method or header, are tried one by one.)
 *
 * Path templates: "/orders", "/stock/{sku}", "/files/{name}.json", "/static/{rest...}".
 *  - {name} is one segment, or what stands in it between a literal prefix and suffix; never empty.
 *  - {name...} stands last and takes the rest of the path, slashes included; at least one byte.
 *  - A trailing slash counts: "/orders" does not match "/orders/".
 *  - Literals are case-sensitive and must be written in normal form (router_check_path says how).
 *  - "*" is the target of "OPTIONS *" and nothing else.
 * Methods are case-sensitive; GET includes HEAD, so that HEAD is no way around a limit on GET.
 * Hosts are case-insensitive; "*.example.com" is every name below example.com, at any depth, but
 * not example.com itself.
 *
 * Path normalisation (after RFC 3986, section 6.2.2; the target itself goes upstream unchanged):
 *  - escapes of bytes that may stand in a path as they are (letters, digits, - . _ ~ and
 *    ! $ & ' ( ) * + , ; = : @) are decoded; RFC 3986 wants only the first group decoded, but most
 *    services decode both before they route, and a policy must not be evaded by writing "%40" for
 * "@";
 *  - other escapes get upper-case digits; other printable bytes (" < > [ ] ^ ` { | }) are escaped;
 *  - "//" becomes "/", then dot segments are removed ("%2e" too);
 *  - "%2F" and "%5C" stay as they are and never separate segments; ";" is an ordinary byte.
 * Refused: a path that does not begin with '/' (but "*" alone is fine), an escape that is not two
 * hex digits, %00, a raw backslash, control or non-ASCII byte, '?' and '#'. */
#ifndef POLICY_ROUTER_H
#define POLICY_ROUTER_H

#include <stdbool.h>

#include "base/arena.h"
#include "policy/facts.h"
#include "policy/policy.h"

/* In arena.  False: the path is malformed (answer 400).  ret_path may equal path when it was normal
 * already. */
MUST_USE bool router_normalise_path(struct arena *arena, struct slice path, struct slice *ret_path);

/* Whether a path in normal form has %2F or %5C: what separates segments for a service that decodes
 * before it routes. */
bool router_has_escaped_slash(struct slice normal_path);

/* Check a route's path template and list its parameters in order (ret_names: room for
 * FACTS_MAX_PATH_PARAMS; slices of template_text).  NULL, or what is wrong (in arena or static)
 * with *ret_error_offset into template_text. */
const char *router_check_path(struct arena *arena, struct slice template_text,
                              struct slice *ret_names, size_t *ret_count, size_t *ret_error_offset);

/* The routes' paths have passed router_check_path and are in file order; they outlive the router.
 */
struct router *router_compile(struct arena *arena, const struct policy_route *const *routes,
                              size_t route_count);

/* The route, or NULL.  Fills facts->path_params; reads the other facts. */
const struct policy_route *router_match(const struct router *router, struct facts *facts);

/* True when every request b matches is matched by a (so that b, standing after a, is unreachable).
 * Only says true when it is certain. */
bool router_shadows(const struct policy_route *a, const struct policy_route *b);

#endif
