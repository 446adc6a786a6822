/* What a set of policies says, with its defaults, for people to look at: JSON in the form of a
 * policy file.  Values stand as they are written, so that nothing shows which an expansion (${...})
 * brought; secrets that are written out, and users and passwords of URLs, are ***. */
#ifndef POLICY_EFFECTIVE_H
#define POLICY_EFFECTIVE_H

#include "base/buf.h"
#include "policy/schema.h"

/* tree: sound, as it was bound to root.  False when out's ceiling was reached. */
MUST_USE bool effective_write(struct buf *out, const struct schema_section *root,
                              const struct yaml_node *tree);

#endif
