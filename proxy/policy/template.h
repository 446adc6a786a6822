/* Key templates: "stock:{path.sku}" compiled once, rendered from facts without heap memory.
 *
 * Variables: {client.ip} {header.NAME} {cookie.NAME} {query.NAME} {path.NAME} {method} {host}
 * {route} {jwt.CLAIM}.  "{{" and "}}" are literal braces.
 *
 * {header.X}  the first field of that name.
 * {cookie.X}  the first pair of that name in the Cookie field; quotes are part of the value.
 * {query.X}   the first pair of that name, both sides percent-decoded and "+" a space, so that
 *             "%75ser=1" is "user=1"; "&" separates.  A name without "=" has an empty value.
 * {path.X}    percent-decoded but for %2F and %25, so "a%20b" has one spelling and "a%2Fb" is
 *             never "a/b".
 * {jwt.X}     a string, number or boolean of the bearer token's claims (policy/jwt.h).
 * A value that is there but empty counts as present.
 *
 * Two different tuples of values never render to the same text.  Values of printable ASCII without
 * ":" "{" "}" "|" "~" and up to TEMPLATE_PART_MAX_BYTES stand as they are; others become "~" and
 * the first 16 bytes of their SHA-256 in hex.  So a client can neither blow up a key, nor forge a
 * hash tag, nor make one value run into the next: where the literal between two variables does not
 * keep them apart ("{header.a}{header.b}", "{header.a}-{header.b}"), a "|" is put in. */
#ifndef POLICY_TEMPLATE_H
#define POLICY_TEMPLATE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/slice.h"
#include "policy/facts.h"

struct template;
struct jwt_verifier;

struct template_error {
    size_t offset; /* into the text, where it is wrong */
    char message[160];
};

#define TEMPLATE_MAX_TEXT_BYTES 1024
#define TEMPLATE_MAX_VARIABLES 16
#define TEMPLATE_PART_MAX_BYTES 64

/* path_param_names: what {path.X} may name.  jwt may be NULL: {jwt.X} is then an error; it must
 * outlive the template.  The template lives in arena, text is copied.  NULL on error. */
struct template *template_compile(struct arena *arena, struct slice text,
                                  const struct slice *path_param_names, size_t path_param_count,
                                  const struct jwt_verifier *jwt, struct template_error *ret_error);

/* True when a request may lack what the template names (header, cookie, query, jwt). */
bool template_can_miss(const struct template *template);
bool template_uses_jwt(const struct template *template);
/* No variables at all. */
bool template_is_constant(const struct template *template);
struct slice template_text(const struct template *template);

enum template_result { TEMPLATE_OK, TEMPLATE_MISSING };

/* Memory from arena.  TEMPLATE_MISSING: ret_missing names the first variable that has no value
 * ("header.x-user-id"; lives as long as the template). */
MUST_USE enum template_result template_render(const struct template *template,
                                              const struct facts *facts, struct arena *arena,
                                              struct slice *ret_value, struct slice *ret_missing);
#endif
