/* What a policy may know of a request.  serve/ fills it in; router, templates and guards read it.
 * All slices live as long as the request's arena. */
#ifndef POLICY_FACTS_H
#define POLICY_FACTS_H

#include <netinet/in.h>
#include <stdint.h>

#include "base/slice.h"

#define FACTS_MAX_PATH_PARAMS 16

struct jwt_claims;

struct facts {
    struct slice method;    /* as sent, case-sensitive */
    struct slice scheme;    /* "http" or "https" */
    struct slice host;      /* lower case, without port and trailing dot; IPv6 without brackets */
    struct slice path;      /* normalised (policy/router.h), without the query */
    struct slice query;     /* raw, without '?' ; empty when absent */
    struct slice client_ip; /* canonical text of the client's address, masked (ipv6_prefix) */
    struct slice route;     /* name, once routed */
    /* Captures of the matched path template, in the order they stand in it (raw, still encoded as
     * in the normalised path). */
    struct slice path_params[FACTS_MAX_PATH_PARAMS];
    size_t path_param_count;
    /* The first field with this lower-case name, or at == NULL. */
    struct slice (*header)(const void *request, struct slice lowercase_name);
    /* The same for one of several: number 0 is the first.  NULL: only the first is known. */
    struct slice (*header_at)(const void *request, struct slice lowercase_name, size_t number);
    const void *request;
    /* Wall clock, only for the validity of JSON Web Tokens; while it is 0, a token that expires
     * counts as expired. */
    uint64_t now_s;
    /* Where the first look at the request's token is remembered (in the arena it was rendered
     * with), so that it is verified once per request.  NULL: verified each time. */
    const struct jwt_claims **jwt_seen;
};

static inline struct slice facts_header_at(const struct facts *facts, struct slice lowercase_name,
                                           size_t number)
{
    if (facts->header_at != NULL)
        return facts->header_at(facts->request, lowercase_name, number);
    return number == 0 ? facts->header(facts->request, lowercase_name) : SLICE_NONE;
}

#endif
