/* The wait preference of a client: "Prefer: wait=5" (RFC 7240, section 4.3). */
#ifndef GUARD_PREFER_H
#define GUARD_PREFER_H

#include <stdint.h>

#include "base/slice.h"

/* The seconds of the first wait preference in the field's value. */
bool prefer_wait_s(struct slice value, uint64_t *ret_wait_s);

#endif
