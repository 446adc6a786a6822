/* Upgrade (RFC 9110 section 7.8): what of a client's offer goes on to the service, and whether the
 * service's 101 takes up what was offered.
 *
 * Never handed on: protocols that carry HTTP requests themselves (h2c, HTTP, TLS).  Behind such an
 * upgrade a client could send requests that nobody here would see. */
#ifndef HTTP_UPGRADE_H
#define HTTP_UPGRADE_H

#include "http/http_message.h"

/* The protocols that may be offered to the service, as one list; at == NULL: none.  HTTP/1.0
 * clients and requests with a body (which would have to come to its end first) offer nothing, nor
 * does a list that is not well formed. */
struct slice upgrade_offer(const struct http_request *request, struct arena *arena);

/* What a 101 switches to, as one list; at == NULL: it may not be, as it does not say so, or was not
 * offered. */
struct slice upgrade_taken(const struct http_response *head, struct slice offer,
                           struct arena *arena);

/* What a 426 asks for (RFC 9110 section 15.5.22), as far as it may be offered. */
struct slice upgrade_required(const struct http_response *head, struct arena *arena);

#endif
