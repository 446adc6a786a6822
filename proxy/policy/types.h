/* The field types that only policies have. */
#ifndef POLICY_TYPES_H
#define POLICY_TYPES_H

#include "base/buf.h"
#include "policy/jwt.h"
#include "policy/policy.h"
#include "policy/schema.h"

#define TYPES_MAX_UPSTREAMS 64

/* What the jwt section binds to. */
struct types_jwt_record {
    bool verify;
    enum jwt_algorithm algorithm;
    const char *secret, *public_key_file, *issuer, *audience;
    uint64_t leeway_ms;
};

/* Where a route stands, for what is found out when all are read. */
struct types_route_place {
    struct source_mark mark;
    const char *where;
};

/* One load: the owner of the schema that binds the tables. */
struct types_load {
    struct policy *policy;
    struct buf digest; /* all that the snapshot's hash covers */
    struct types_jwt_record jwt;
    struct jwt_verifier *verifier;
    bool is_jwt_broken;
    struct policy_upstream *upstreams[TYPES_MAX_UPSTREAMS]; /* so far; none past the bound */
    size_t upstream_count;
    bool has_shorthand, are_upstreams_broken;
    struct types_route_place *route_places;
    unsigned route_cap, limit_count;
    /* Of the route being read. */
    struct policy_route *route;
    struct slice *path_param_names; /* room for FACTS_MAX_PATH_PARAMS */
    bool is_path_broken;
    unsigned route_limit_count;
};

extern const struct schema_type types_listen, types_admin, types_store, types_upstream,
    types_upstream_item, types_rate, types_template, types_cost, types_utc_offset, types_path,
    types_host, types_host_item, types_method_item, types_header_matches, types_cidr_item,
    types_jwt;

#endif
