/* URLs as our configuration uses them: scheme://[user[:password]@]host[:port][/path], and
 * unix:///path.  RFC 3986 without fragments and queries. */
#ifndef BASE_URL_H
#define BASE_URL_H

#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

struct url {
    struct slice scheme;   /* lower case */
    struct slice user;     /* percent-decoded; at == NULL when absent */
    struct slice password; /* percent-decoded; at == NULL when absent */
    struct slice host;     /* without brackets; empty for unix */
    uint16_t port;         /* 0 when absent */
    struct slice path;     /* with its leading slash; empty when absent */
};

/* NULL and *ret_url (in arena), or a sentence that says what is wrong (static). */
MUST_USE const char *url_parse(struct arena *arena, struct slice text, struct url *ret_url);

#endif
