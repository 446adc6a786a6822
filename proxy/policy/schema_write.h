/* What a field table says of itself: a JSON Schema for editors, and the reference for people. */
#ifndef POLICY_SCHEMA_WRITE_H
#define POLICY_SCHEMA_WRITE_H

#include <stdio.h>

#include "policy/schema.h"

/* JSON Schema, draft-07; root is the section of the whole file. */
void schema_write_json(FILE *out, const struct schema_section *root);

/* Markdown: one table of keys per section, root first. */
void schema_write_reference(FILE *out, const struct schema_section *root);

#endif
