/* Where one Redis server is and how to log in, from its URL:
 *     redis://[[user]:password@]host[:port][/db]      rediss:// the same over TLS
 *     unix://[[user]:password@]/path[?db=N] */
#ifndef STORE_REDIS_URL_H
#define STORE_REDIS_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

#define REDIS_URL_DEFAULT_PORT 6379

struct redis_url {
    const char *host;     /* as resolve_start() takes it: a name, an address, "unix:/path" */
    const char *user;     /* NULL: the server's default user */
    const char *password; /* NULL: no AUTH */
    uint32_t db;
    uint16_t port;
    bool is_tls;
};

/* NULL and *ret_url (in arena), or a sentence that says what is wrong (static). */
MUST_USE const char *redis_url_parse(struct arena *arena, struct slice text,
                                     struct redis_url *ret_url);

#endif
