/* Takes a body out of the bytes of a connection: by length, chunked (RFC 9112 section 7.1), or
 * until the connection ends.  Nothing is copied: data are slices of the bytes lent.  However the
 * bytes are split, the data are the same.
 *
 * Strict: a chunk size is 1 to 16 hex digits below 2^63, directly followed by an extension or CR
 * LF; every line ends with CR LF; extensions and trailers are checked and bounded, extensions
 * dropped, as are trailers unless they are asked for. */
#ifndef HTTP_HTTP_BODY_H
#define HTTP_HTTP_BODY_H

#include "http/http_message.h"

struct http_body_decoder {
    uint64_t remaining;      /* of the body, or of the current chunk */
    uint16_t overhead_bytes; /* of chunk extensions and trailers so far */
    uint8_t state;           /* internal to http_body.c */
    uint8_t digit_count;
    bool keeps_trailers; /* set it after http_body_begin to get HTTP_DECODED_TRAILER */
};

/* Bytes of chunk extensions and of trailers, without line ends, that a message may have. */
#define HTTP_MAX_CHUNK_OVERHEAD_BYTES 8192

enum http_decoded {
    HTTP_DECODED_MORE, /* the input is used up */
    HTTP_DECODED_DATA, /* *ret_data has body bytes; call again */
    /* *ret_data has bytes of the trailer section, but for its last line; call again.  They are good
     * only once the body has come to its end. */
    HTTP_DECODED_TRAILER,
    HTTP_DECODED_END, /* the body is complete; the rest of the input is not part of it */
    HTTP_DECODED_BAD  /* the framing is broken */
};

void http_body_begin(struct http_body_decoder *decoder, enum http_body body,
                     uint64_t content_length);
/* Takes bytes off the front of *input. */
MUST_USE enum http_decoded http_body_decode(struct http_body_decoder *decoder, struct slice *input,
                                            struct slice *ret_data);
/* What the end of the stream means: true when it completes the body (HTTP_BODY_UNTIL_CLOSE). */
bool http_body_ends_at_eof(const struct http_body_decoder *decoder);

#endif
