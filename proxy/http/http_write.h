/* Serialise heads; canned answers. */
#ifndef HTTP_HTTP_WRITE_H
#define HTTP_HTTP_WRITE_H

#include "base/arena.h"
#include "http/http_message.h"

/* Both write into arena memory and never copy raw bytes of the original message: each part is
 * written from what was parsed, so no CR, LF or NUL can come from outside. */
struct slice http_write_request(struct arena *arena, const struct http_request *head);

struct http_write_framing {
    enum http_body body;
    uint64_t content_length;
    bool close; /* add Connection: close */
    bool keep_alive; /* add Connection: keep-alive (HTTP/1.0 clients) */
    struct slice date; /* IMF-fixdate, or at == NULL to add none */
};
struct slice http_write_response(struct arena *arena, const struct http_response *head,
                                 const struct http_write_framing *framing);

#endif
