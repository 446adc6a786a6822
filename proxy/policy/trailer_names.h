/* Which fields may be let through in trailer sections (RFC 9110 section 6.5.1). */
#ifndef POLICY_TRAILER_NAMES_H
#define POLICY_TRAILER_NAMES_H

#include "policy/schema.h"

/* A list item: a name in lower case, none that a head must tell: what frames, routes, authenticates
 * or describes a message, belongs to one hop, or is believed by a proxy. */
extern const struct schema_type trailer_names_item;

#endif
