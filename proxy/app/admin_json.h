/* What the endpoints of the admin port share in making JSON and reading what they are asked. */
#ifndef APP_ADMIN_JSON_H
#define APP_ADMIN_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/slice.h"

struct port_exchange;

/* Text of any bytes: those that are no UTF-8 become "\xHH". */
json_t *admin_json_text(struct slice text);
/* Microseconds as milliseconds, rounded up. */
json_t *admin_json_ms(uint64_t us);

/* ?count=N, from 0 to max; by_default without it.  False: the exchange has been refused. */
bool admin_json_count(struct port_exchange *exchange, uint64_t by_default, uint64_t max,
                      uint64_t *ret_count);
/* ?name=true or false; absent is false.  False: the exchange has been refused. */
bool admin_json_flag(struct port_exchange *exchange, struct slice name, bool *ret_flag);

#endif
