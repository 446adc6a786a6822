/* Writes commands in the Redis protocol, into memory the caller has reserved. */
#ifndef STORE_RESP_H
#define STORE_RESP_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* Enough for "*<count>\r\n" or "$<length>\r\n". */
#define RESP_HEADER_BYTES ((size_t)24)

/* Upper bound of what resp_put_bulk writes for a string of len bytes. */
static inline size_t resp_bulk_room(size_t len)
{
    return RESP_HEADER_BYTES + len + 2;
}

/* Each writes at to and gives the place behind what it wrote. */
char *resp_put_header(char *to, char mark, uint64_t count);
char *resp_put_bulk(char *to, struct slice text);
/* A number as a bulk string. */
char *resp_put_bulk_uint(char *to, uint64_t value);

#endif
