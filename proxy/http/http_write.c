#include "http/http_write.h"

#include "http/control.h"

#define LONGEST_NUMBER 20

struct out {
    char *at;
};

static void put(struct out *out, struct slice s)
{
    if (s.len > 0)
        memcpy(out->at, s.at, s.len);
    out->at += s.len;
}

static void put_number(struct out *out, uint64_t number)
{
    char digits[LONGEST_NUMBER];
    size_t i = sizeof(digits);

    do
        digits[--i] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    put(out, slice_from(digits + i, sizeof(digits) - i));
}

static void put_field(struct out *out, struct slice name, struct slice value)
{
    put(out, name);
    put(out, SLICE(": "));
    put(out, value);
    put(out, SLICE("\r\n"));
}

/* Framing and connection fields are the connection's to write, whatever the head says. */
static bool is_ours(const struct http_field *field)
{
    return field->is_dropped || field->id == HTTP_FIELD_CONTENT_LENGTH ||
           field->id == HTTP_FIELD_TRANSFER_ENCODING || field->id == HTTP_FIELD_CONNECTION;
}

static size_t fields_bytes(const struct http_fields *fields)
{
    size_t bytes = 0;

    for (size_t i = 0; i < fields->count; i++)
        bytes += fields->items[i].name.len + fields->items[i].value.len + 4;
    return bytes;
}

struct written {
    size_t line_count;
    bool has_date;
};

static struct written put_fields(struct out *out, const struct http_fields *fields)
{
    struct written written = {0, false};

    for (size_t i = 0; i < fields->count; i++) {
        const struct http_field *field = &fields->items[i];

        if (is_ours(field))
            continue;
        put_field(out, field->name, field->value);
        written.line_count++;
        written.has_date |= field->id == HTTP_FIELD_DATE;
    }
    return written;
}

static void put_framing(struct out *out, enum http_body body, uint64_t content_length)
{
    if (body == HTTP_BODY_CHUNKED) {
        put(out, SLICE("Transfer-Encoding: chunked\r\n"));
    } else if (body == HTTP_BODY_LENGTH) {
        put(out, SLICE("Content-Length: "));
        put_number(out, content_length);
        put(out, SLICE("\r\n"));
    }
}

/* The lines that were meant, and no others: the number of CR LF is right, and there is no other
 * control byte but tab.  A part with a line end in it is a bug of whoever made it. */
static void check_lines(const char *at, const char *end, size_t line_count)
{
    size_t i = 0, len = (size_t)(end - at), line_ends = 0;

    while ((i = control_find(at, i, len)) < len) {
        if (at[i] == '\r') {
            CHECK(len - i >= 2 && at[i + 1] == '\n');
            line_ends++;
            i += 2;
        } else {
            CHECK(at[i] == '\t');
            i++;
        }
    }
    CHECK(line_ends == line_count);
}

/* Whether a service may expect Content-Length: 0 when there is no body (RFC 9110 section 8.6). */
static bool method_expects_body(struct slice method)
{
    return slice_equal(method, SLICE("POST")) || slice_equal(method, SLICE("PUT")) ||
           slice_equal(method, SLICE("PATCH"));
}

struct slice http_write_request(struct arena *arena, const struct http_request *head)
{
    bool has_length = head->body == HTTP_BODY_LENGTH ||
                      (head->body == HTTP_BODY_NONE && method_expects_body(head->method));
    enum http_body framing = has_length ? HTTP_BODY_LENGTH : head->body;
    size_t room =
        head->method.len + head->path.len + head->query.len + fields_bytes(&head->fields) + 80;
    char *start = arena_reserve(arena, room);
    struct out out = {start};
    struct written written;

    CHECK(head->body != HTTP_BODY_UNTIL_CLOSE);
    put(&out, head->method);
    put(&out, SLICE(" "));
    put(&out, head->path);
    if (head->query.at != NULL) {
        put(&out, SLICE("?"));
        put(&out, head->query);
    }
    put(&out, SLICE(" HTTP/1.1\r\n"));
    written = put_fields(&out, &head->fields);
    put_framing(&out, framing, head->body == HTTP_BODY_LENGTH ? head->content_length : 0);
    put(&out, SLICE("\r\n"));
    check_lines(start, out.at, written.line_count + (framing != HTTP_BODY_NONE) + 2);
    arena_commit(arena, (size_t)(out.at - start));
    return slice_from(start, (size_t)(out.at - start));
}

static void put_status_line(struct out *out, const struct http_response *head)
{
    put(out, SLICE("HTTP/1.1 "));
    put_number(out, head->status);
    put(out, SLICE(" "));
    put(out, head->reason);
    put(out, SLICE("\r\n"));
}

struct slice http_write_response(struct arena *arena, const struct http_response *head,
                                 const struct http_write_framing *framing)
{
    size_t room = head->reason.len + fields_bytes(&head->fields) + framing->date.len + 160;
    char *start = arena_reserve(arena, room);
    struct out out = {start};
    struct written written;
    size_t line_count;

    CHECK(head->status >= 100 && head->status <= 999);
    put_status_line(&out, head);
    written = put_fields(&out, &head->fields);
    line_count = written.line_count + 2;
    if (framing->date.at != NULL && !written.has_date) {
        put_field(&out, SLICE("Date"), framing->date);
        line_count++;
    }
    put_framing(&out, framing->body, framing->content_length);
    line_count += framing->body == HTTP_BODY_CHUNKED || framing->body == HTTP_BODY_LENGTH;
    if (framing->close || framing->keep_alive) {
        put_field(&out, SLICE("Connection"),
                  framing->close ? SLICE("close") : SLICE("keep-alive"));
        line_count++;
    }
    put(&out, SLICE("\r\n"));
    check_lines(start, out.at, line_count);
    arena_commit(arena, (size_t)(out.at - start));
    return slice_from(start, (size_t)(out.at - start));
}

struct slice http_write_chunk_size(char *room, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    char *at = room + HTTP_CHUNK_SIZE_BYTES;

    *--at = '\n';
    *--at = '\r';
    do
        *--at = hex[len & 15];
    while ((len >>= 4) > 0);
    return slice_from(at, (size_t)(room + HTTP_CHUNK_SIZE_BYTES - at));
}

struct slice http_write_problem(struct arena *arena, unsigned status, const char *reason,
                                const char *detail)
{
    return arena_printf(
        arena,
        "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"reason\":\"%s\","
        "\"detail\":\"%s\",\"executed\":\"no\"}\n",
        http_status_phrase(status), status, reason, detail);
}
