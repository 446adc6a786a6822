/* What Lockkeeper takes from the hop before it and tells the service: PROXY headers, forwarding
 * fields, traces, escaped slashes; and what of it the access log keeps. */
#ifndef POLICY_EDGE_FIELDS_H
#define POLICY_EDGE_FIELDS_H

#include "policy/schema.h"

/* Each list in the order of its enum. */
extern const char *const edge_fields_proxy_choices[], *const edge_fields_proxy_help[];
extern const char *const edge_fields_slash_choices[], *const edge_fields_slash_help[];

/* `forwarding` and `access_log_options`, in the policy's settings. */
extern const struct schema_section edge_fields_forwarding, edge_fields_access_log;

#endif
