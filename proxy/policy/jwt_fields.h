/* The keys of the section `jwt`. */
#ifndef POLICY_JWT_FIELDS_H
#define POLICY_JWT_FIELDS_H

#include "policy/schema.h"

/* Binds to struct types_jwt_record. */
extern const struct schema_section jwt_fields_section;

#endif
