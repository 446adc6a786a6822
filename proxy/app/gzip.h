/* A page in gzip (RFC 1952), for clients that ask for it. */
#ifndef APP_GZIP_H
#define APP_GZIP_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

/* Whether an Accept-Encoding field takes gzip (RFC 9110, section 12.5.3). */
bool gzip_is_accepted(struct slice accept_encoding);

/* Appends text, compressed with little effort.  False when out's ceiling was reached. */
MUST_USE bool gzip_append(struct buf *out, struct slice text);

/* "1.2.13": of the library in use. */
const char *gzip_library_version(void);

#endif
