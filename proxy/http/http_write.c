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

/* What was written from from on is text of one line: no control byte but tab is in it.  A part with
 * a line end in it is a bug of whoever made it. */
static void check_text(const char *from, const char *end)
{
    CHECK(control_is_absent(from, (size_t)(end - from)));
}

static bool lies_in(struct slice part, struct slice whole)
{
    uintptr_t offset = (uintptr_t)part.at - (uintptr_t)whole.at;

    return offset <= whole.len && part.len <= whole.len - offset;
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

/* Whether there was a Date.  Parsed fields have been looked through when they came; those that were
 * made since are here. */
static bool put_fields(struct out *out, const struct http_fields *fields)
{
    bool has_date = false;

    for (size_t i = 0; i < fields->count; i++) {
        const struct http_field *field = &fields->items[i];
        const char *from = out->at;

        if (is_ours(field))
            continue;
        put_field(out, field->name, field->value);
        if (!lies_in(field->name, fields->scanned) || !lies_in(field->value, fields->scanned))
            check_text(from, out->at - 2);
        has_date |= field->id == HTTP_FIELD_DATE;
    }
    return has_date;
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

static void put_connection(struct out *out, struct slice options)
{
    put_field(out, SLICE("Connection"), options);
}

static void put_upgrade(struct out *out, struct slice protocols)
{
    const char *from = out->at;

    put_field(out, SLICE("Upgrade"), protocols);
    check_text(from, out->at - 2);
}

/* "Connection: upgrade, TE", "Upgrade: " and "TE: trailers", each with its line end. */
#define HOP_BYTES 64

/* What is between us and the service alone. */
static void put_hop(struct out *out, const struct http_request *head)
{
    if (head->upgrade.at != NULL)
        put_upgrade(out, head->upgrade);
    if (head->asks_trailers)
        put_field(out, SLICE("TE"), SLICE("trailers"));
    put_connection(out, head->upgrade.at == NULL ? SLICE("TE")
                        : head->asks_trailers    ? SLICE("upgrade, TE")
                                                 : SLICE("upgrade"));
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
    bool has_hop = head->upgrade.at != NULL || head->asks_trailers;
    char *start = arena_reserve(arena, has_hop ? room + HOP_BYTES + head->upgrade.len : room);
    struct out out = {start};

    CHECK(head->body != HTTP_BODY_UNTIL_CLOSE);
    put(&out, head->method);
    put(&out, SLICE(" "));
    put(&out, head->path);
    if (head->query.at != NULL) {
        put(&out, SLICE("?"));
        put(&out, head->query);
    }
    check_text(start, out.at);
    put(&out, SLICE(" HTTP/1.1\r\n"));
    put_fields(&out, &head->fields);
    put_framing(&out, framing, head->body == HTTP_BODY_LENGTH ? head->content_length : 0);
    if (has_hop)
        put_hop(&out, head);
    put(&out, SLICE("\r\n"));
    arena_commit(arena, (size_t)(out.at - start));
    return slice_from(start, (size_t)(out.at - start));
}

static void put_status_line(struct out *out, const struct http_response *head)
{
    put(out, SLICE("HTTP/1.1 "));
    put_number(out, head->status);
    put(out, SLICE(" "));
    put(out, head->reason);
    if (!lies_in(head->reason, head->fields.scanned))
        check_text(out->at - head->reason.len, out->at);
    put(out, SLICE("\r\n"));
}

struct slice http_write_response(struct arena *arena, const struct http_response *head,
                                 const struct http_write_framing *framing)
{
    size_t room = head->reason.len + fields_bytes(&head->fields) + framing->date.len + 160;
    bool has_hop = head->upgrade.at != NULL;
    char *start = arena_reserve(arena, has_hop ? room + HOP_BYTES + head->upgrade.len : room);
    struct out out = {start};
    bool has_date;

    CHECK(head->status >= 100 && head->status <= 999);
    put_status_line(&out, head);
    has_date = put_fields(&out, &head->fields);
    if (framing->date.at != NULL && !has_date)
        put_field(&out, SLICE("Date"), framing->date);
    put_framing(&out, framing->body, framing->content_length);
    if (has_hop) {
        put_connection(&out, SLICE("upgrade"));
        put_upgrade(&out, head->upgrade);
    }
    if (framing->close || framing->keep_alive)
        put_field(&out, SLICE("Connection"), framing->close ? SLICE("close") : SLICE("keep-alive"));
    put(&out, SLICE("\r\n"));
    arena_commit(arena, (size_t)(out.at - start));
    return slice_from(start, (size_t)(out.at - start));
}

struct slice http_write_trailers(struct arena *arena, const struct http_field *fields, size_t count)
{
    size_t room = 8;
    char *start;
    struct out out;

    for (size_t i = 0; i < count; i++)
        room += fields[i].name.len + fields[i].value.len + 4;
    out.at = start = arena_reserve(arena, room);
    put(&out, SLICE("0\r\n"));
    for (size_t i = 0; i < count; i++) {
        const char *from = out.at;

        put_field(&out, fields[i].name, fields[i].value);
        check_text(from, out.at - 2);
    }
    put(&out, SLICE("\r\n"));
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
