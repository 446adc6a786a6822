/* Serialise heads; canned answers. */
#ifndef HTTP_HTTP_WRITE_H
#define HTTP_HTTP_WRITE_H

#include "base/arena.h"
#include "http/http_message.h"

/* Both write into arena memory and never copy raw bytes of the original message: each part is
 * written from what was parsed, so no CR, LF or NUL can come from outside; a part that has one is a
 * bug and aborts.  Fields that are is_dropped, Content-Length, Transfer-Encoding and Connection are
 * left out: framing comes from body and content_length, connection options from the connection, and
 * from upgrade. */

/* In origin form, HTTP/1.1.  Content-Length: 0 when a POST, PUT or PATCH has no body. */
struct slice http_write_request(struct arena *arena, const struct http_request *head);

struct http_write_framing {
    enum http_body body;
    uint64_t content_length;
    bool close;        /* add Connection: close */
    bool keep_alive;   /* add Connection: keep-alive (HTTP/1.0 clients) */
    struct slice date; /* IMF-fixdate, for heads without Date; or at == NULL to add none */
};
struct slice http_write_response(struct arena *arena, const struct http_response *head,
                                 const struct http_write_framing *framing);

/* The last chunk, and the fields behind it. */
struct slice http_write_trailers(struct arena *arena, const struct http_field *fields,
                                 size_t count);

/* "1a4\r\n" in room, which has HTTP_CHUNK_SIZE_BYTES. */
#define HTTP_CHUNK_SIZE_BYTES 18
struct slice http_write_chunk_size(char *room, size_t len);

/* An application/problem+json document (RFC 9457) for a request that was not executed.  reason and
 * detail are our own words: they must need no escaping. */
struct slice http_write_problem(struct arena *arena, unsigned status, const char *reason,
                                const char *detail);

#endif
