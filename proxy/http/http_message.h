/* Request and response heads as data: parsed by http_parse, written by http_write.
 *
 * Slices point into the arena of the exchange.  RFC 9110 and RFC 9112. */
#ifndef HTTP_HTTP_MESSAGE_H
#define HTTP_HTTP_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

/* Fields the proxy acts on; everything else is HTTP_FIELD_OTHER.  X(enumerator, lower-case name,
 * is_hop_by_hop).  A client that names one of the end-to-end fields of this table in Connection is
 * refused (it would have us strip what policies and the service rely on); in an answer such a
 * nomination is ignored.  Other fields named in Connection are dropped, as RFC 9110 section 7.6.1
 * says. */
#define HTTP_FIELDS(X)                                                                             \
    X(OTHER, "", false)                                                                            \
    X(HOST, "host", false)                                                                         \
    X(CONNECTION, "connection", true)                                                              \
    X(KEEP_ALIVE, "keep-alive", true)                                                              \
    X(PROXY_CONNECTION, "proxy-connection", true)                                                  \
    X(TE, "te", true)                                                                              \
    X(TRAILER, "trailer", true)                                                                    \
    X(TRANSFER_ENCODING, "transfer-encoding", true)                                                \
    X(UPGRADE, "upgrade", true)                                                                    \
    X(HTTP2_SETTINGS, "http2-settings", true)                                                      \
    X(PROXY_AUTHENTICATE, "proxy-authenticate", true)                                              \
    X(PROXY_AUTHORIZATION, "proxy-authorization", true)                                            \
    X(CONTENT_LENGTH, "content-length", false)                                                     \
    X(EXPECT, "expect", false)                                                                     \
    X(DATE, "date", false)                                                                         \
    X(SERVER, "server", false)                                                                     \
    X(VIA, "via", false)                                                                           \
    X(FORWARDED, "forwarded", false)                                                               \
    X(X_FORWARDED_FOR, "x-forwarded-for", false)                                                   \
    X(X_FORWARDED_PROTO, "x-forwarded-proto", false)                                               \
    X(X_FORWARDED_HOST, "x-forwarded-host", false)                                                 \
    X(X_REQUEST_ID, "x-request-id", false)                                                         \
    X(TRACEPARENT, "traceparent", false)                                                           \
    X(TRACESTATE, "tracestate", false)                                                             \
    X(RETRY_AFTER, "retry-after", false)                                                           \
    X(RATELIMIT, "ratelimit", false)                                                               \
    X(RATELIMIT_POLICY, "ratelimit-policy", false)                                                 \
    X(FENCING_TOKEN, "fencing-token", false)                                                       \
    X(LOCK_KEY, "lock-key", false)                                                                 \
    X(LOCK_MODE, "lock-mode", false)                                                               \
    X(LOCK_STATUS, "lock-status", false)                                                           \
    X(LOCK_CONTEXT, "lock-context", false)                                                         \
    X(PREFER, "prefer", false)                                                                     \
    X(IDEMPOTENCY_KEY, "idempotency-key", false)                                                   \
    X(COOKIE, "cookie", false)                                                                     \
    X(AUTHORIZATION, "authorization", false)                                                       \
    X(USER_AGENT, "user-agent", false)

#define HTTP_FIELD_ENUM(id, name, hop) HTTP_FIELD_##id,
enum http_field_id { HTTP_FIELDS(HTTP_FIELD_ENUM) HTTP_FIELD_COUNT };

struct http_field {
    struct slice name; /* as sent */
    struct slice value;
    enum http_field_id id;
    bool is_dropped; /* hop-by-hop, by table or by being named in Connection: not forwarded */
};

struct http_fields {
    struct http_field *items;
    size_t count;
    /* Position + 1 of the first field with each id, 0 = absent. */
    uint16_t first[HTTP_FIELD_COUNT];
    /* The head they were parsed from, by http_scan clean of control bytes within its lines.  Fields
     * that are made later have their text elsewhere.  at == NULL: none was. */
    struct slice scanned;
};

enum http_body { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_UNTIL_CLOSE };

struct http_request {
    struct slice method;
    struct slice target;    /* as sent; goes upstream in origin form */
    struct slice path;      /* raw path of the target, without query; "*" for OPTIONS * */
    struct slice query;     /* without '?'; at == NULL when there is no '?' */
    struct slice authority; /* of an absolute-form target, else the Host field: host[:port] */
    struct slice host;      /* authority without port, lower case, no trailing dot, no brackets */
    struct http_fields fields;
    uint64_t content_length; /* HTTP_BODY_LENGTH */
    enum http_body body;
    uint8_t minor;      /* HTTP/1.minor */
    bool is_idempotent; /* by method, RFC 9110 section 9.2.2 */
    bool is_head;
    bool expects_continue;
    bool wants_close;     /* the connection ends with this exchange */
    bool wants_upgrade;   /* Connection: upgrade, with an Upgrade field */
    bool asks_trailers;   /* the service is told that we take trailers */
    struct slice upgrade; /* what of it goes to the service (upgrade_offer); at == NULL: nothing */
};

struct http_response {
    unsigned status;
    struct slice reason;
    struct http_fields fields;
    uint64_t content_length;
    enum http_body body;
    uint8_t minor;
    bool wants_close;
    struct slice upgrade; /* of a 101: what was switched to */
};

/* The id of a name, whatever its case. */
enum http_field_id http_field_identify(struct slice name);
bool http_field_is_hop_by_hop(enum http_field_id id);
/* The name is one of the table but for underscores where that has hyphens: services that see fields
 * as CGI does (RFC 3875 section 4.1.18) take it for that one. */
bool http_field_is_disguised(struct slice name);
struct slice http_field_name(enum http_field_id id);

/* First value with this id / this lower-case name, or at == NULL. */
struct slice http_fields_get(const struct http_fields *fields, enum http_field_id id);
struct slice http_fields_find(const struct http_fields *fields, struct slice lowercase_name);
/* The value of one of several: number 0 is the first. */
struct slice http_fields_find_at(const struct http_fields *fields, struct slice lowercase_name,
                                 size_t number);

/* Sort fields->items by id into first, set id and the table's part of is_dropped. */
void http_fields_index(struct http_fields *fields);
/* Drop the fields that values of Connection name.  False when one is no token, or names an
 * end-to-end field of the table above (which stays). */
bool http_fields_drop_nominated(struct http_fields *fields);
/* Whether a Connection field has this option (lower case). */
bool http_fields_has_connection_option(const struct http_fields *fields, struct slice option);

bool http_method_is_idempotent(struct slice method);
/* How often a TRACE or OPTIONS request may still be forwarded (RFC 9110 section 7.6.2): UINT64_MAX
 * when it says nothing, or for other methods.  False: what it says is no number. */
MUST_USE bool http_max_forwards(const struct http_request *request, uint64_t *ret_count);
/* All bytes are tchar (RFC 9110 section 5.6.2), and there is at least one. */
bool http_is_token(struct slice s);

/* The standard phrase for a status, or "". */
const char *http_status_phrase(unsigned status);

#endif
