/* Bytes to heads and bodies, strictly.
 *
 * A head is parsed in one piece: http_scan finds its end (and refuses control bytes, bare CR or LF
 * and folded lines on the way), the owner copies it once into the exchange's arena, and
 * http_parse_request or http_parse_response makes it a message whose slices point into that copy.
 * llhttp and our own reading of the lines must agree.
 *
 * However the bytes are split over reads, the result is the same. */
#ifndef HTTP_HTTP_PARSE_H
#define HTTP_HTTP_PARSE_H

#include "base/arena.h"
#include "http/http_message.h"

/* Why a message is refused: X(enumerator, status, reason, text).  Reasons are for counters and logs
 * and in the problem document; in an answer of the service all of them mean 502. */
#define HTTP_FAULTS(X)                                                                             \
    X(NONE, 0, "", "")                                                                             \
    X(SYNTAX, 400, "malformed-head", "the head is not valid HTTP/1.1")                             \
    X(CONTROL_BYTE, 400, "malformed-head", "the head contains a control byte")                     \
    X(LINE_END, 400, "malformed-head", "a line of the head does not end with CR LF")               \
    X(FOLDED_LINE, 400, "malformed-head", "folded header lines are not accepted")                  \
    X(FIELD_NAME, 400, "malformed-head", "a header name is not a token followed by a colon")       \
    X(CONNECTION, 400, "malformed-connection", "Connection names a field that must be forwarded")  \
    X(VERSION, 505, "unsupported-version", "only HTTP/1.1 and HTTP/1.0 are spoken here")           \
    X(METHOD, 501, "unsupported-method", "this method is not implemented")                         \
    X(CONNECT, 501, "unsupported-method", "CONNECT is not implemented")                            \
    X(TARGET, 400, "malformed-target", "the request target is not valid")                          \
    X(TARGET_TOO_LONG, 414, "target-too-long", "the request target is too long")                   \
    X(HEAD_TOO_LARGE, 431, "head-too-large", "the request head is too large")                      \
    X(TOO_MANY_FIELDS, 431, "too-many-fields", "the request has too many header fields")           \
    X(HOST, 400, "malformed-host", "exactly one valid Host field is required")                     \
    X(AUTHORITY, 400, "malformed-host", "the request target and Host differ")                      \
    X(CONTENT_LENGTH, 400, "malformed-framing", "Content-Length is not one whole number")          \
    X(LENGTH_AND_CODING, 400, "malformed-framing",                                                 \
      "Content-Length and Transfer-Encoding exclude each other")                                   \
    X(CODING, 501, "unsupported-coding", "the only transfer coding understood is chunked")         \
    X(CODING_ORDER, 400, "malformed-framing", "chunked must be the last transfer coding, once")    \
    X(CODING_IN_1_0, 400, "malformed-framing", "HTTP/1.0 has no transfer codings")                 \
    X(EXPECTATION, 417, "unsupported-expectation", "the only expectation met is 100-continue")     \
    X(STATUS_LINE, 502, "malformed-head", "the status line is not valid HTTP")

#define HTTP_FAULT_ENUM(id, status, reason, text) HTTP_FAULT_##id,
enum http_fault { HTTP_FAULTS(HTTP_FAULT_ENUM) HTTP_FAULT_COUNT };

unsigned http_fault_status(enum http_fault fault);
const char *http_fault_reason(enum http_fault fault);
const char *http_fault_text(enum http_fault fault);

struct http_limits {
    uint32_t max_header_bytes; /* of the whole head, with its first line and last CR LF */
    uint32_t max_header_count;
    uint32_t max_target_bytes; /* requests */
};

/* How far the bytes of a head have been looked at.  Zero is the start. */
struct http_scan {
    uint32_t at;         /* bytes before this are done with */
    uint32_t line_at;    /* where the current line begins */
    uint32_t start;      /* 2 after an empty line before the request line, else 0 */
    uint32_t line_count; /* lines complete, the first one included */
};

enum http_kind { HTTP_KIND_REQUEST, HTTP_KIND_RESPONSE };

/* bytes: everything that has come of the head (and perhaps beyond), always from the same first byte
 * on.  *ret_head_bytes becomes the length of the head with what stands before it, or 0 when more
 * bytes are needed.  One empty line before a request line is skipped (RFC 9112 section 2.2): the
 * head begins at scan->start. */
MUST_USE enum http_fault http_scan(struct http_scan *scan, enum http_kind kind, struct slice bytes,
                                   const struct http_limits *limits, size_t *ret_head_bytes);

/* head: complete as found by http_scan, in memory that lives as long as the message.  On a fault
 * *ret_request is not touched. */
MUST_USE enum http_fault http_parse_request(struct slice head, const struct http_scan *scan,
                                            struct arena *arena, const struct http_limits *limits,
                                            struct http_request *ret_request);
/* to_head: the answer is to a HEAD request, so it has no body. */
MUST_USE enum http_fault http_parse_response(struct slice head, const struct http_scan *scan,
                                             struct arena *arena, bool to_head,
                                             struct http_response *ret_response);

/* "8.1.0"; static. */
const char *http_parse_library_version(void);

#endif
