/* The Forwarded field (RFC 7239), read strictly: no spaces around "=" and ";", quoted strings where
 * the grammar wants them, no parameter twice in an element.  What is malformed says nothing, and
 * nor does what stands left of it: a quote that a client left open could swallow what a proxy
 * added. */
#ifndef POLICY_FORWARDED_H
#define POLICY_FORWARDED_H

#include <netinet/in.h>

#include "base/slice.h"

/* What an element says of who came to the proxy that wrote it. */
enum forwarded_for {
    FORWARDED_FOR_NOBODY, /* no for=, "unknown", an obfuscated name, or no node at all */
    FORWARDED_FOR_ADDRESS
};

struct forwarded_element {
    enum forwarded_for kind;
    struct in6_addr address; /* IPv4 as v4-mapped */
};

enum forwarded_status { FORWARDED_ELEMENT, FORWARDED_END, FORWARDED_MALFORMED };

/* The next element of a field's value, from the left; *rest begins as the value and is moved on.
 * Empty members of the list are skipped (RFC 9110, section 5.6.1.2). */
MUST_USE enum forwarded_status forwarded_next(struct slice *rest,
                                              struct forwarded_element *ret_element);

/* Whether the whole value is well-formed. */
MUST_USE bool forwarded_is_fine(struct slice value);

#endif
