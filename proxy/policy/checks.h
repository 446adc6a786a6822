/* What no single key can tell: one function per section of the field tables. */
#ifndef POLICY_CHECKS_H
#define POLICY_CHECKS_H

#include "policy/schema.h"

/* Name of the route that stands for requests without one. */
#define CHECKS_UNMATCHED_NAME "unmatched"

void checks_begin_route(struct schema *schema, const struct yaml_node *node, void *record);
void checks_begin_limit(struct schema *schema, const struct yaml_node *node, void *record);

void checks_jwt(struct schema *schema, void *record);
void checks_match(struct schema *schema, void *record);
void checks_limit(struct schema *schema, void *record);
void checks_route(struct schema *schema, void *record);
void checks_policy(struct schema *schema, void *record);

#endif
