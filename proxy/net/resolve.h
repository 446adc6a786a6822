/* Host names to socket addresses, asynchronously, with a cache per loop: an answer is good for 30
 * s, and for 5 min when a later lookup fails without saying that the name has no address. */
#ifndef NET_RESOLVE_H
#define NET_RESOLVE_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/check.h"
#include "net/loop.h"

union resolve_address {
    struct sockaddr any;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
    struct sockaddr_un local;
};

struct resolve_request;

/* error 0 and at least one address, or a libuv error code.  addresses are lent. */
typedef void resolve_cb(void *owner, int error, const union resolve_address *addresses,
                        size_t count);

/* host: a name or an address literal (which needs no lookup), or "unix:/path".  The answer comes
 * from the loop later, at most timeout_ms from now (ETIMEDOUT). */
struct resolve_request *resolve_start(struct loop *loop, const char *host, uint16_t port,
                                      uint64_t timeout_ms, resolve_cb *on_resolved, void *owner);
/* *request becomes NULL; no answer comes.  Legal any time before the answer. */
void resolve_cancel(struct resolve_request **request);

/* No address of host could be connected to, so the next resolve_start looks it up again, unless
 * that was done in the last second. */
void resolve_expire(struct loop *loop, const char *host);

/* For literals and unix paths, at once and without a loop: false when host is a name. */
MUST_USE bool resolve_literal(const char *host, uint16_t port, union resolve_address *ret_address);

#endif
