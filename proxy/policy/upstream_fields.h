/* The services behind Lockkeeper: the tables of `upstreams` and how routes name them. */
#ifndef POLICY_UPSTREAM_FIELDS_H
#define POLICY_UPSTREAM_FIELDS_H

#include "policy/schema.h"

struct policy;

/* An entry of `upstreams`; binds to struct policy_upstream. */
extern const struct schema_section upstream_fields_section;
/* `tls`, for the listener. */
extern const struct schema_section upstream_fields_listen_tls;
/* A route's `upstream`: the name of one.  Binds to its const struct policy_upstream *. */
extern const struct schema_type upstream_fields_name;
/* A file that must be there, relative to the policy file; finish() makes its path whole. */
extern const struct schema_type upstream_fields_file;

/* Puts the folder of the policy file before a path that the section being finished holds, and says
 * so when the file cannot be read.  False when there was a problem or nothing is given. */
bool upstream_fields_open_file(struct schema *schema, const char *key, const char **path);

/* When all is bound: the snapshot gets its upstreams, the one of the key `upstream` first. */
void upstream_fields_finish(struct schema *schema, struct policy *policy);

#endif
