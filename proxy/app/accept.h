/* Lists of what a client takes: Accept, Accept-Encoding (RFC 9110, section 12.4.2). */
#ifndef APP_ACCEPT_H
#define APP_ACCEPT_H

#include <stdbool.h>

#include "base/check.h"
#include "base/slice.h"

struct accept_item {
    struct slice name; /* "gzip", "text/plain"; its parameters are left out */
    unsigned weight;   /* q in thousandths; 1000 when it is not given, 0: not wanted */
};

/* The next one; false at the end. */
MUST_USE bool accept_next(struct slice *list, struct accept_item *ret_item);

#endif
