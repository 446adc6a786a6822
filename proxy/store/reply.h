/* A reply to a script, from either engine. */
#ifndef STORE_REPLY_H
#define STORE_REPLY_H

#include <stdint.h>

#include "base/slice.h"

enum reply_type { REPLY_NIL, REPLY_INTEGER, REPLY_STRING, REPLY_STATUS, REPLY_ERROR, REPLY_ARRAY };

/* All memory belongs to the store and is lent until the next call into it. */
struct reply {
    enum reply_type type;
    int64_t integer;
    struct slice text; /* string, status, error */
    const struct reply *elements;
    size_t element_count;
};

#endif
