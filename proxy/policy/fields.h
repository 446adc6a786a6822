/* Every key of a policy file: one record each.  See schema.h for what a table does. */
#ifndef POLICY_FIELDS_H
#define POLICY_FIELDS_H

#include "policy/schema.h"

/* The whole file; binds to struct policy, owner struct types_load. */
extern const struct schema_section fields_policy;
/* Only the keys that say where operators find the process; binds to struct policy_ports. */
extern const struct schema_section fields_ports;

#endif
