/* Key templates: "stock:{path.sku}" compiled once, rendered from facts without heap memory.
 *
 * Variables: {client.ip} {header.NAME} {cookie.NAME} {query.NAME} {path.NAME} {method} {host}
 * {route} {jwt.CLAIM}.  "{{" and "}}" are literal braces. */
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

/* path_param_names: what {path.X} may name.  The template lives in arena.  NULL on error. */
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

/* Longest rendered value; longer ones, and values with bytes outside the printable ASCII set, are
 * replaced part by part with "~" and the first 16 bytes of their SHA-256 in hex, so that a client
 * cannot blow up keys and no two values collide. */
#define TEMPLATE_VALUE_MAX_BYTES 128

/* Memory from arena.  TEMPLATE_MISSING: ret_missing names the first variable that has no value. */
MUST_USE enum template_result template_render(const struct template *template,
                                              const struct facts *facts, struct arena *arena,
                                              struct slice *ret_value, struct slice *ret_missing);
#endif
