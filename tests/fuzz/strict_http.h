/* A second reader of HTTP/1.1, written from RFC 9110 and 9112 and the choices that proxy/README.md
 * and the conformance tests name, for fuzzers to compare the first with.  It shares no code with
 * it, only the list of known field names; it wants all bytes in one piece and takes its time.
 *
 * What it takes is what Lockkeeper must take, and what it refuses must be refused: both ways. */
#ifndef TESTS_STRICT_HTTP_H
#define TESTS_STRICT_HTTP_H

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/slice.h"
#include "http/http_message.h"

#define STRICT_MAX_FIELDS 64

enum strict_verdict {
    STRICT_MORE, /* the end of the head has not come */
    STRICT_OK,
    STRICT_BAD /* the head is there and must be refused */
};

enum strict_framing { STRICT_NO_BODY, STRICT_LENGTH, STRICT_CHUNKED, STRICT_TO_END };

struct strict_limits {
    size_t max_head_bytes, max_fields, max_target_bytes;
};

struct strict_field {
    struct slice name, value;
};

struct strict_message {
    struct slice method, target; /* of a request */
    struct slice path, query;    /* what goes on; query without '?', at == NULL: there is none */
    struct slice host;           /* as in the target, else the field */
    unsigned status;             /* of an answer */
    struct slice reason;
    unsigned minor;
    struct strict_field fields[STRICT_MAX_FIELDS];
    size_t field_count;
    enum strict_framing framing;
    uint64_t length;
    bool closes, expects_continue;
    size_t head_end; /* from the first byte given */
};

struct strict_body {
    struct buf data;
    bool is_whole, is_bad;
    bool may_be_bad; /* the input ends within a line, of which the beginning may be wrong already */
    size_t end;      /* of the body, when it is whole */
};

/* --- bytes --- */

static inline bool strict_is_tchar(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static inline bool strict_is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!strict_is_tchar(s.at[i]))
            return false;
    return s.len > 0;
}

static inline bool strict_is_hex(char c)
{
    return c != '\0' && strchr("0123456789abcdefABCDEF", c) != NULL;
}

static inline bool strict_is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

static inline bool strict_has_control(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (strict_is_control(s.at[i]))
            return true;
    return false;
}

static inline struct slice strict_trim(struct slice s)
{
    while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t'))
        s = slice_skip(s, 1);
    while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static inline bool strict_same_name(struct slice a, const char *b)
{
    return a.len == strlen(b) && strncasecmp(a.at, b, a.len) == 0;
}

/* Digits only, at most 20 of them, at most INT64_MAX. */
static inline bool strict_number(struct slice s, uint64_t *ret_number)
{
    uint64_t number = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9' || number > (uint64_t)INT64_MAX / 10)
            return false;
        number = number * 10 + (unsigned)(s.at[i] - '0');
        if (number > (uint64_t)INT64_MAX)
            return false;
    }
    *ret_number = number;
    return s.len > 0 && s.len <= 20;
}

/* --- fields --- */

static inline size_t strict_count(const struct strict_message *m, const char *name)
{
    size_t count = 0;

    for (size_t i = 0; i < m->field_count; i++)
        count += strict_same_name(m->fields[i].name, name);
    return count;
}

/* The first value, or nothing. */
static inline struct slice strict_get(const struct strict_message *m, const char *name)
{
    for (size_t i = 0; i < m->field_count; i++)
        if (strict_same_name(m->fields[i].name, name))
            return m->fields[i].value;
    return SLICE_NONE;
}

/* Calls for each option of Connection; stops when told. */
static inline bool strict_each_option(const struct strict_message *m,
                                      bool (*look)(struct slice option, const void *what),
                                      const void *what)
{
    for (size_t i = 0; i < m->field_count; i++) {
        struct slice rest = m->fields[i].value;

        if (!strict_same_name(m->fields[i].name, "connection"))
            continue;
        for (size_t comma = 0; rest.len > 0; rest = slice_skip(rest, comma)) {
            struct slice option;

            for (comma = 0; comma < rest.len && rest.at[comma] != ',';)
                comma++;
            option = strict_trim(slice_head(rest, comma));
            comma += comma < rest.len;
            if (option.len > 0 && look(option, what))
                return true;
        }
    }
    return false;
}

static inline bool strict_is_option(struct slice option, const void *name)
{
    return strict_same_name(option, name);
}

static inline bool strict_is_same_option(struct slice option, const void *name)
{
    const struct slice *s = name;

    return option.len == s->len && strncasecmp(option.at, s->at, s->len) == 0;
}

/* An option that no client may nominate: no token, or the name of a known end-to-end field. */
static inline bool strict_is_illegal_option(struct slice option, const void *unused)
{
    static const struct {
        const char *name;
        bool is_hop_by_hop;
    } known[] = {
#define STRICT_KNOWN(id, name, hop) {name, hop},
        HTTP_FIELDS(STRICT_KNOWN)
#undef STRICT_KNOWN
    };

    UNUSED(unused);
    if (!strict_is_token(option) || strict_same_name(option, "transfer-encoding"))
        return true;
    for (size_t i = 1; i < COUNT_OF(known); i++)
        if (!known[i].is_hop_by_hop && strict_same_name(option, known[i].name))
            return true;
    return false;
}

/* Whether a field ends here: by its name, or because Connection nominates it. */
static inline bool strict_is_hop_by_hop(const struct strict_message *m, struct slice name)
{
    static const char *const names[] = {
        "connection",        "keep-alive", "proxy-connection",   "te",
        "trailer",           "upgrade",    "proxy-authenticate", "proxy-authorization",
        "transfer-encoding",
    };

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strict_same_name(name, names[i]))
            return true;
    return !strict_is_illegal_option(name, NULL) &&
           strict_each_option(m, strict_is_same_option, &name);
}

/* One line, without its CR LF. */
static inline bool strict_field_line(struct strict_message *m, struct slice line)
{
    size_t colon = 0;
    struct strict_field *field = &m->fields[m->field_count];

    while (colon < line.len && line.at[colon] != ':')
        colon++;
    if (colon == line.len || m->field_count == STRICT_MAX_FIELDS)
        return false;
    field->name = slice_head(line, colon);
    field->value = strict_trim(slice_skip(line, colon + 1));
    m->field_count++;
    /* Stricter than the RFC: llhttp takes spaces behind a length, but no tab. */
    if (strict_same_name(field->name, "content-length") &&
        memchr(field->value.at + field->value.len, '\t',
               (size_t)(line.at + line.len - field->value.at - field->value.len)) != NULL)
        return false;
    return strict_is_token(field->name);
}

static inline bool strict_framing(struct strict_message *m)
{
    size_t lengths = strict_count(m, "content-length");
    size_t codings = strict_count(m, "transfer-encoding");

    m->framing = STRICT_TO_END;
    if (codings > 0) {
        m->framing = STRICT_CHUNKED;
        return lengths == 0 && codings == 1 && m->minor == 1 &&
               strict_same_name(strict_get(m, "transfer-encoding"), "chunked");
    }
    if (lengths == 0)
        return true;
    m->framing = STRICT_LENGTH;
    return lengths == 1 && strict_number(strict_get(m, "content-length"), &m->length);
}

/* The head's length, with what stands before it, or 0. */
static inline size_t strict_find_end(struct slice bytes, size_t from)
{
    for (size_t i = from; i + 4 <= bytes.len; i++)
        if (memcmp(bytes.at + i, "\r\n\r\n", 4) == 0)
            return i + 4;
    return 0;
}

/* First line and fields; false when a line is no line or no field.  head ends with CR LF CR LF. */
static inline bool strict_lines(struct strict_message *m, struct slice head, size_t max_fields,
                                struct slice *ret_first)
{
    size_t count = 0;

    for (size_t at = 0, end; at + 2 < head.len; at = end + 2, count++) {
        struct slice line;

        for (end = at; head.at[end] != '\r' && head.at[end] != '\n';)
            end++;
        line = slice_from(head.at + at, end - at);
        if (head.at[end] != '\r' || head.at[end + 1] != '\n' || strict_has_control(line))
            return false;
        if (count == 0)
            *ret_first = line;
        else if (count > max_fields || !strict_field_line(m, line))
            return false;
    }
    return count > 0;
}

static inline bool strict_version(struct slice s, unsigned *ret_minor)
{
    *ret_minor = s.len == 8 && s.at[7] == '1';
    return s.len == 8 && memcmp(s.at, "HTTP/1.", 7) == 0 && (s.at[7] == '0' || s.at[7] == '1');
}

/* --- requests --- */

static inline bool strict_method_is_known(struct slice method)
{
    static const char *const known[] = {
        "DELETE",     "GET",      "HEAD",        "POST",       "PUT",    "OPTIONS",   "TRACE",
        "COPY",       "LOCK",     "MKCOL",       "MOVE",       "PATCH",  "PROPFIND",  "PROPPATCH",
        "SEARCH",     "UNLOCK",   "BIND",        "REBIND",     "UNBIND", "ACL",       "REPORT",
        "MKACTIVITY", "CHECKOUT", "MERGE",       "M-SEARCH",   "NOTIFY", "SUBSCRIBE", "PURGE",
        "LINK",       "UNLINK",   "UNSUBSCRIBE", "MKCALENDAR", "SOURCE",
    };

    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (slice_equal(method, slice_of(known[i])))
            return true;
    return false;
}

static inline bool strict_path(struct slice path)
{
    for (size_t i = 0; i < path.len; i++) {
        char c = path.at[i];

        if (!strict_is_tchar(c) && (c == '\0' || strchr("(),/:;=@[]{}", c) == NULL))
            return false;
        if (c == '#' || c == '"')
            return false;
        if (c == '%' && (path.len - i < 3 || !strict_is_hex(path.at[i + 1]) ||
                         !strict_is_hex(path.at[i + 2]) || memcmp(path.at + i + 1, "00", 2) == 0))
            return false;
    }
    return true;
}

static inline bool strict_query(struct slice query)
{
    for (size_t i = 0; i < query.len; i++) {
        char c = query.at[i];

        if (c == '#' ||
            (!strict_is_tchar(c) && (c == '\0' || strchr("(),/:;=@[]{}?\\", c) == NULL)))
            return false;
    }
    return true;
}

/* reg-name of letters, digits and -._~ with no empty label, or [IPv6]; perhaps a port,
 * which is not empty. */
static inline bool strict_authority(struct slice s)
{
    size_t end = 0;
    uint64_t port = 0;

    if (s.len > 0 && s.at[0] == '[') {
        char text[INET6_ADDRSTRLEN] = "";
        struct in6_addr address;

        while (end < s.len && s.at[end] != ']')
            end++;
        if (end == s.len || end - 1 >= sizeof(text))
            return false;
        memcpy(text, s.at + 1, end - 1);
        if (strlen(text) != end - 1 || inet_pton(AF_INET6, text, &address) != 1)
            return false;
        end++;
    } else {
        while (end < s.len && s.at[end] != ':') {
            char c = s.at[end];

            if (!(strict_is_tchar(c) && (strchr("-._~", c) != NULL || (c >= '0' && c <= '9') ||
                                         ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))))
                return false;
            if (c == '.' && (end == 0 || s.at[end - 1] == '.'))
                return false;
            end++;
        }
        if (end == 0 || end > 255)
            return false;
    }
    return end == s.len || (s.at[end] == ':' && s.len - end - 1 <= 5 &&
                            strict_number(slice_skip(s, end + 1), &port) && port <= 65535);
}

/* origin-form, absolute-form of http and https, or * of OPTIONS; and what of it goes on. */
static inline bool strict_target(struct strict_message *m)
{
    struct slice rest = m->target;
    bool is_options = slice_equal(m->method, SLICE("OPTIONS"));
    size_t end = 0;

    m->path = SLICE("*");
    if (slice_equal(m->target, SLICE("*")))
        return is_options;
    if (rest.len > 0 && rest.at[0] != '/') {
        size_t scheme = rest.len >= 7 && strncasecmp(rest.at, "http://", 7) == 0    ? 7
                        : rest.len >= 8 && strncasecmp(rest.at, "https://", 8) == 0 ? 8
                                                                                    : 0;

        if (scheme == 0)
            return false;
        rest = slice_skip(rest, scheme);
        while (end < rest.len && rest.at[end] != '/' && rest.at[end] != '?')
            end++;
        m->host = slice_head(rest, end);
        rest = slice_skip(rest, end);
        if (!strict_authority(m->host))
            return false;
    }
    for (end = 0; end < rest.len && rest.at[end] != '?';)
        end++;
    if (end < rest.len)
        m->query = slice_skip(rest, end + 1);
    if (end > 0)
        m->path = slice_head(rest, end);
    else if (!is_options || end < rest.len)
        m->path = SLICE("/");
    return strict_path(m->path) && strict_query(m->query);
}

static inline bool strict_host(struct strict_message *m)
{
    size_t count = strict_count(m, "host");
    struct slice host = strict_get(m, "host");

    if (count > 1 || (count == 0 && m->minor == 1))
        return false;
    if (count == 1 && m->host.at != NULL &&
        (host.len != m->host.len || strncasecmp(host.at, m->host.at, host.len) != 0))
        return false;
    if (m->host.at == NULL)
        m->host = host;
    return m->host.at == NULL || strict_authority(m->host);
}

static inline bool strict_request_line(struct strict_message *m, struct slice line)
{
    size_t first = 0, second;

    while (first < line.len && line.at[first] != ' ')
        first++;
    for (second = first + 1; second < line.len && line.at[second] != ' ';)
        second++;
    if (second >= line.len)
        return false;
    m->method = slice_head(line, first);
    m->target = slice_from(line.at + first + 1, second - first - 1);
    return strict_version(slice_skip(line, second + 1), &m->minor) &&
           strict_method_is_known(m->method) && m->target.len > 0;
}

static inline bool strict_expect(struct strict_message *m)
{
    size_t count = strict_count(m, "expect");

    if (count == 0 || m->minor == 0)
        return true;
    m->expects_continue = m->framing != STRICT_NO_BODY;
    return count == 1 && strict_same_name(strict_get(m, "expect"), "100-continue");
}

/* bytes: from the first after the message before. */
static inline enum strict_verdict strict_request(struct slice bytes,
                                                 const struct strict_limits *limits,
                                                 struct strict_message *ret_message)
{
    size_t start = bytes.len >= 2 && memcmp(bytes.at, "\r\n", 2) == 0 ? 2 : 0;
    size_t end = strict_find_end(bytes, start > 0 ? start - 2 : 0);
    struct strict_message *m = ret_message;
    struct slice line = SLICE_NONE;

    memset(m, 0, sizeof(*m));
    if (end == 0)
        return STRICT_MORE;
    m->head_end = end;
    if (end == start + 2 || end - start > limits->max_head_bytes ||
        !strict_lines(m, slice_from(bytes.at + start, end - start), limits->max_fields, &line) ||
        !strict_request_line(m, line) || m->target.len > limits->max_target_bytes ||
        !strict_target(m) || !strict_host(m) || !strict_framing(m) ||
        strict_each_option(m, strict_is_illegal_option, NULL))
        return STRICT_BAD;
    if (m->framing == STRICT_TO_END || (m->framing == STRICT_LENGTH && m->length == 0))
        m->framing = STRICT_NO_BODY;
    m->closes = strict_each_option(m, strict_is_option, "close") ||
                (m->minor == 0 && !strict_each_option(m, strict_is_option, "keep-alive"));
    return strict_expect(m) ? STRICT_OK : STRICT_BAD;
}

/* --- answers --- */

static inline bool strict_status_line(struct strict_message *m, struct slice line)
{
    uint64_t status = 0;

    if (line.len < 12 || line.at[8] != ' ' || (line.len > 12 && line.at[12] != ' ') ||
        !strict_version(slice_head(line, 8), &m->minor) ||
        !strict_number(slice_from(line.at + 9, 3), &status) || status < 100 || status > 599)
        return false;
    m->status = (unsigned)status;
    m->reason = line.len > 13 ? slice_skip(line, 13) : SLICE("");
    return true;
}

static inline enum strict_verdict strict_response(struct slice bytes,
                                                  const struct strict_limits *limits, bool to_head,
                                                  struct strict_message *ret_message)
{
    size_t end = strict_find_end(bytes, 0);
    struct strict_message *m = ret_message;
    struct slice line = SLICE_NONE;

    memset(m, 0, sizeof(*m));
    if (end == 0)
        return STRICT_MORE;
    m->head_end = end;
    if (end > limits->max_head_bytes ||
        !strict_lines(m, slice_head(bytes, end), limits->max_fields, &line) ||
        !strict_status_line(m, line) || !strict_framing(m))
        return STRICT_BAD;
    if (to_head || m->status < 200 || m->status == 204 || m->status == 304 ||
        (m->framing == STRICT_LENGTH && m->length == 0))
        m->framing = STRICT_NO_BODY;
    m->closes = m->framing == STRICT_TO_END || strict_each_option(m, strict_is_option, "close") ||
                (m->minor == 0 && !strict_each_option(m, strict_is_option, "keep-alive"));
    return STRICT_OK;
}

/* --- bodies --- */

/* One line of the framing between chunks, without its CR LF: 0 more is needed, 1 there it is, -1 it
 * is broken already. */
static inline int strict_body_line(struct slice bytes, size_t *at, struct slice *ret_line)
{
    size_t end = *at;

    while (end < bytes.len && bytes.at[end] != '\r' && !strict_is_control(bytes.at[end]))
        end++;
    *ret_line = slice_from(bytes.at + *at, end - *at);
    if (end < bytes.len && bytes.at[end] != '\r')
        return -1;
    if (end + 1 < bytes.len && bytes.at[end + 1] != '\n')
        return -1;
    *at = end + 2;
    return end + 1 < bytes.len;
}

/* size [ ";" anything ] */
static inline bool strict_chunk_size(struct slice line, uint64_t *ret_size)
{
    uint64_t size = 0;
    size_t i = 0;

    for (; i < line.len && strict_is_hex(line.at[i]); i++) {
        const char *digits = "0123456789abcdef";

        if (i == 16 || size >> 59 != 0)
            return false;
        size = size << 4 | (uint64_t)(strchr(digits, line.at[i] | 0x20) - digits);
    }
    *ret_size = size;
    return i > 0 && (i == line.len || line.at[i] == ';');
}

static inline bool strict_trailer(struct slice line)
{
    struct strict_message m = {.field_count = 0};

    return strict_field_line(&m, line);
}

static inline void strict_read_trailers(struct slice bytes, size_t at, struct strict_body *body)
{
    struct slice line;
    int found;

    while ((found = strict_body_line(bytes, &at, &line)) == 1) {
        if (line.len == 0) {
            body->is_whole = true;
            body->end = at;
            return;
        }
        if (!strict_trailer(line)) {
            body->is_bad = true;
            return;
        }
    }
    body->is_bad = found < 0;
    body->may_be_bad = found == 0;
}

static inline void strict_read_chunks(struct slice bytes, struct strict_body *body)
{
    size_t at = 0;
    struct slice line;
    uint64_t size;
    int found;

    while ((found = strict_body_line(bytes, &at, &line)) == 1) {
        size_t left = bytes.len - at, take;

        if (!strict_chunk_size(line, &size)) {
            body->is_bad = true;
            return;
        }
        if (size == 0) {
            strict_read_trailers(bytes, at, body);
            return;
        }
        take = size < left ? (size_t)size : left;
        CHECK(buf_append(&body->data, slice_from(bytes.at + at, take)));
        at += take;
        if (take < size || at == bytes.len)
            return;
        if (bytes.at[at] != '\r' || (at + 1 < bytes.len && bytes.at[at + 1] != '\n')) {
            body->is_bad = true;
            return;
        }
        at += 2;
        if (at >= bytes.len)
            return;
    }
    body->is_bad = found < 0;
    body->may_be_bad = found == 0;
}

/* bytes: behind the head; is_end: nothing more comes.  Clear with buf_clear(&ret_body->data). */
static inline void strict_read_body(const struct strict_message *m, struct slice bytes, bool is_end,
                                    struct strict_body *ret_body)
{
    struct strict_body *body = ret_body;
    size_t take = 0;

    memset(body, 0, sizeof(*body));
    buf_init(&body->data, SIZE_MAX);
    if (m->framing == STRICT_CHUNKED) {
        strict_read_chunks(bytes, body);
        return;
    }
    if (m->framing == STRICT_LENGTH)
        take = m->length < bytes.len ? (size_t)m->length : bytes.len;
    else if (m->framing == STRICT_TO_END)
        take = bytes.len;
    if (take > 0)
        CHECK(buf_append(&body->data, slice_head(bytes, take)));
    body->end = take;
    body->is_whole = m->framing == STRICT_NO_BODY ||
                     (m->framing == STRICT_LENGTH && take == m->length) ||
                     (m->framing == STRICT_TO_END && is_end);
}

#endif
