#include "http/http_parse.h"

#include <llhttp.h>

#include "http/control.h"
#include "http/http_target.h"

#define LONGEST_METHOD_BYTES 32u
/* What stands around the target in a request line: method, two spaces, "HTTP/1.1". */
#define AROUND_TARGET_BYTES (LONGEST_METHOD_BYTES + 2 + 8)

static const struct {
    unsigned status;
    const char *reason, *text;
} faults[HTTP_FAULT_COUNT] = {
#define FAULT_ENTRY(id, status, reason, text) {status, reason, text},
    HTTP_FAULTS(FAULT_ENTRY)
#undef FAULT_ENTRY
};

unsigned http_fault_status(enum http_fault fault)
{
    return faults[fault].status;
}

const char *http_fault_reason(enum http_fault fault)
{
    return faults[fault].reason;
}

const char *http_fault_text(enum http_fault fault)
{
    return faults[fault].text;
}

/* --- the end of a head --- */

/* " HTTP/x.y" ends every first line of a request since HTTP/1.0; a line without it is answered at
 * once, as no head will follow it. */
static enum http_fault check_request_line_end(struct slice line)
{
    struct slice rest = line, part;
    size_t parts = 0;

    if (line.len > 9 && memcmp(line.at + line.len - 9, " HTTP/", 6) == 0)
        return HTTP_FAULT_NONE;
    while (slice_split(&rest, ' ', &part))
        parts++;
    return parts == 2 && http_is_token(slice_head(line, slice_find(line, ' '))) ? HTTP_FAULT_VERSION
                                                                                : HTTP_FAULT_SYNTAX;
}

/* The line that begins at scan->line_at ends at line_end; it is not empty. */
static enum http_fault scan_line(struct http_scan *scan, enum http_kind kind, struct slice bytes,
                                 size_t line_end, const struct http_limits *limits)
{
    struct slice line = slice_from(bytes.at + scan->line_at, line_end - scan->line_at);

    if (scan->line_count == 0) {
        if (kind == HTTP_KIND_REQUEST)
            return check_request_line_end(line);
        return HTTP_FAULT_NONE;
    }
    if (line.at[0] == ' ' || line.at[0] == '\t')
        return scan->line_count == 1 ? HTTP_FAULT_FIELD_NAME : HTTP_FAULT_FOLDED_LINE;
    return scan->line_count > limits->max_header_count ? HTTP_FAULT_TOO_MANY_FIELDS
                                                       : HTTP_FAULT_NONE;
}

/* How many bytes may be looked at in the current line; the limit must not depend on how the bytes
 * were split. */
static size_t scan_ceiling(const struct http_scan *scan, enum http_kind kind,
                           const struct http_limits *limits)
{
    size_t ceiling = limits->max_header_bytes;

    if (scan->line_count == 0 && kind == HTTP_KIND_REQUEST &&
        ceiling > limits->max_target_bytes + AROUND_TARGET_BYTES + 2)
        ceiling = limits->max_target_bytes + AROUND_TARGET_BYTES + 2;
    return scan->start + ceiling;
}

static enum http_fault scan_too_long(const struct http_scan *scan, enum http_kind kind)
{
    return scan->line_count == 0 && kind == HTTP_KIND_REQUEST ? HTTP_FAULT_TARGET_TOO_LONG
                                                              : HTTP_FAULT_HEAD_TOO_LARGE;
}

/* A line that was complete at i is looked at as a whole; *ret_is_head_end: it was the empty one. */
static enum http_fault take_line(struct http_scan *scan, enum http_kind kind, struct slice bytes,
                                 size_t i, const struct http_limits *limits, bool *ret_is_head_end)
{
    scan->at = (uint32_t)i + 2;
    if (i > scan->line_at) {
        enum http_fault fault = scan_line(scan, kind, bytes, i, limits);

        if (fault != HTTP_FAULT_NONE)
            return fault;
        scan->line_count++;
    } else if (scan->line_count > 0) {
        *ret_is_head_end = true;
        return HTTP_FAULT_NONE;
    } else if (i == 0 && kind == HTTP_KIND_REQUEST) {
        scan->start = 2;
    } else {
        return HTTP_FAULT_SYNTAX;
    }
    scan->line_at = scan->at;
    return HTTP_FAULT_NONE;
}

/* The lines that follow under the same ceiling. */
static enum http_fault scan_lines(struct http_scan *scan, enum http_kind kind, struct slice bytes,
                                  const struct http_limits *limits, size_t ceiling,
                                  bool *ret_is_done, bool *ret_is_head_end)
{
    size_t end = bytes.len < ceiling ? bytes.len : ceiling, i = scan->at;
    bool is_first = scan->line_count == 0;
    enum http_fault fault;

    do {
        for (i = control_find(bytes.at, i, end); i < end && bytes.at[i] == '\t';)
            i = control_find(bytes.at, i + 1, end);
        scan->at = (uint32_t)i;
        if (i + 1 >= end && (i == end || bytes.at[i] == '\r')) {
            *ret_is_done = true;
            return end == ceiling ? scan_too_long(scan, kind) : HTTP_FAULT_NONE;
        }
        if (bytes.at[i] != '\r')
            return bytes.at[i] == '\n' ? HTTP_FAULT_LINE_END : HTTP_FAULT_CONTROL_BYTE;
        if (bytes.at[i + 1] != '\n')
            return HTTP_FAULT_LINE_END;
        fault = take_line(scan, kind, bytes, i, limits, ret_is_head_end);
        i = scan->at;
    } while (fault == HTTP_FAULT_NONE && !*ret_is_head_end && !is_first);
    return fault;
}

enum http_fault http_scan(struct http_scan *scan, enum http_kind kind, struct slice bytes,
                          const struct http_limits *limits, size_t *ret_head_bytes)
{
    bool is_done = false, is_head_end = false;
    enum http_fault fault;

    do
        fault = scan_lines(scan, kind, bytes, limits, scan_ceiling(scan, kind, limits), &is_done,
                           &is_head_end);
    while (fault == HTTP_FAULT_NONE && !is_done && !is_head_end);
    *ret_head_bytes = is_head_end ? scan->at : 0;
    return fault;
}

/* --- fields, by llhttp --- */

struct field_reader {
    struct http_fields *fields;
    size_t cap;
    bool is_complete;
};

/* The rest of the field comes by http_fields_index. */
static int on_field_name(llhttp_t *parser, const char *at, size_t len)
{
    struct field_reader *reader = parser->data;
    struct http_field *field;

    if (reader->fields->count == reader->cap)
        return -1;
    field = &reader->fields->items[reader->fields->count++];
    field->name = slice_from(at, len);
    field->value = slice_from(at + len, 0);
    return 0;
}

static int on_field_value(llhttp_t *parser, const char *at, size_t len)
{
    struct field_reader *reader = parser->data;

    if (reader->fields->count == 0)
        return -1;
    reader->fields->items[reader->fields->count - 1].value = slice_trim(slice_from(at, len));
    return 0;
}

static int on_head_complete(llhttp_t *parser)
{
    struct field_reader *reader = parser->data;

    reader->is_complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t reader_settings = {
    .on_header_field = on_field_name,
    .on_header_value = on_field_value,
    .on_headers_complete = on_head_complete,
};

static enum http_fault fault_of_llhttp(llhttp_errno_t error)
{
    switch (error) {
    case HPE_INVALID_METHOD:
    case HPE_INVALID_CONSTANT:
        return HTTP_FAULT_METHOD;
    case HPE_INVALID_VERSION:
        return HTTP_FAULT_VERSION;
    case HPE_INVALID_URL:
        return HTTP_FAULT_TARGET;
    case HPE_INVALID_CONTENT_LENGTH:
        return HTTP_FAULT_CONTENT_LENGTH;
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return HTTP_FAULT_LENGTH_AND_CODING;
    case HPE_INVALID_TRANSFER_ENCODING:
        return HTTP_FAULT_CODING_ORDER;
    default:
        return HTTP_FAULT_SYNTAX;
    }
}

/* llhttp as Debian builds it is not in its strict mode: it takes spaces in names and more.  Each
 * line that http_scan saw must be one field with a token directly before its colon. */
static enum http_fault check_fields(const struct http_fields *fields, size_t line_count)
{
    if (fields->count != line_count)
        return HTTP_FAULT_SYNTAX;
    for (size_t i = 0; i < fields->count; i++) {
        const struct http_field *field = &fields->items[i];
        struct slice name = field->name;

        /* The names that have ids are tokens. */
        if (name.at[-1] != '\n' || name.at[name.len] != ':' ||
            (field->id == HTTP_FIELD_OTHER && !http_is_token(name)))
            return HTTP_FAULT_FIELD_NAME;
    }
    return HTTP_FAULT_NONE;
}

static enum http_fault parse_fields(struct slice head, llhttp_type_t type, size_t line_count,
                                    struct arena *arena, struct http_fields *ret_fields)
{
    struct field_reader reader = {.fields = ret_fields, .cap = line_count};
    llhttp_errno_t error;
    llhttp_t parser;

    ret_fields->count = 0;
    ret_fields->items = arena_alloc(arena, line_count * sizeof(*ret_fields->items));
    llhttp_init(&parser, type, &reader_settings);
    parser.data = &reader;
    error = llhttp_execute(&parser, head.at, head.len);
    if (!reader.is_complete)
        return error == HPE_USER ? HTTP_FAULT_SYNTAX : fault_of_llhttp(error);
    http_fields_index(ret_fields);
    ret_fields->scanned = head;
    return check_fields(ret_fields, line_count);
}

/* --- framing --- */

/* The value of the only field with this id; false when there are several. */
static bool get_single(const struct http_fields *fields, enum http_field_id id,
                       struct slice *ret_value)
{
    unsigned first = fields->first[id];

    *ret_value = SLICE_NONE;
    if (first == 0)
        return true;
    *ret_value = fields->items[first - 1].value;
    for (size_t i = first; i < fields->count; i++)
        if (fields->items[i].id == id)
            return false;
    return true;
}

/* What Content-Length and Transfer-Encoding say; HTTP_BODY_UNTIL_CLOSE when they say nothing. */
static enum http_fault parse_framing(const struct http_fields *fields, unsigned minor,
                                     enum http_body *ret_body, uint64_t *ret_content_length)
{
    struct slice length, coding;
    bool one_length = get_single(fields, HTTP_FIELD_CONTENT_LENGTH, &length);
    bool one_coding = get_single(fields, HTTP_FIELD_TRANSFER_ENCODING, &coding);

    *ret_body = HTTP_BODY_UNTIL_CLOSE;
    *ret_content_length = 0;
    if (coding.at != NULL) {
        if (length.at != NULL)
            return HTTP_FAULT_LENGTH_AND_CODING;
        if (minor == 0)
            return HTTP_FAULT_CODING_IN_1_0;
        if (!one_coding || !slice_equal_nocase(coding, SLICE("chunked")))
            return HTTP_FAULT_CODING;
        *ret_body = HTTP_BODY_CHUNKED;
    } else if (length.at != NULL) {
        if (!one_length || !slice_to_uint64(length, ret_content_length) ||
            *ret_content_length > INT64_MAX)
            return HTTP_FAULT_CONTENT_LENGTH;
        *ret_body = HTTP_BODY_LENGTH;
    }
    return HTTP_FAULT_NONE;
}

static bool wants_close(const struct http_fields *fields, unsigned minor)
{
    if (http_fields_has_connection_option(fields, SLICE("close")))
        return true;
    return minor == 0 && !http_fields_has_connection_option(fields, SLICE("keep-alive"));
}

/* One Host (RFC 9112 section 3.2), which an absolute target must repeat. */
static enum http_fault parse_target_and_host(struct http_request *request, struct arena *arena)
{
    struct http_target target;
    struct slice host;

    if (slice_equal(request->method, SLICE("CONNECT")))
        return HTTP_FAULT_CONNECT;
    if (!http_target_parse(request->method, request->target, &target))
        return HTTP_FAULT_TARGET;
    request->path = target.path;
    request->query = target.query;
    request->authority = request->host = SLICE("");
    if (!get_single(&request->fields, HTTP_FIELD_HOST, &host))
        return HTTP_FAULT_HOST;
    if (host.at == NULL && request->minor > 0)
        return HTTP_FAULT_HOST;
    if (host.at != NULL && target.authority.at != NULL &&
        !slice_equal_nocase(target.authority, host))
        return HTTP_FAULT_AUTHORITY;
    if (target.authority.at != NULL)
        request->authority = target.authority;
    else if (host.at != NULL)
        request->authority = host;
    else
        return HTTP_FAULT_NONE;
    return http_authority_parse(request->authority, arena, &request->host) ? HTTP_FAULT_NONE
                                                                           : HTTP_FAULT_HOST;
}

/* --- messages --- */

static enum http_fault parse_version(struct slice version, uint8_t *ret_minor)
{
    if (version.len != 8 || memcmp(version.at, "HTTP/", 5) != 0 || version.at[6] != '.' ||
        version.at[5] < '0' || version.at[5] > '9' || version.at[7] < '0' || version.at[7] > '9')
        return HTTP_FAULT_SYNTAX;
    if (version.at[5] != '1' || version.at[7] > '1')
        return HTTP_FAULT_VERSION;
    *ret_minor = (uint8_t)(version.at[7] - '0');
    return HTTP_FAULT_NONE;
}

/* method SP target SP version, each without spaces. */
static enum http_fault parse_request_line(struct slice line, const struct http_limits *limits,
                                          struct http_request *request)
{
    size_t method_end = slice_find(line, ' '), target_end;
    struct slice rest;
    enum http_fault fault;

    request->method = slice_head(line, method_end);
    if (method_end == line.len || !http_is_token(request->method))
        return HTTP_FAULT_SYNTAX;
    rest = slice_skip(line, method_end + 1);
    target_end = slice_find(rest, ' ');
    request->target = slice_head(rest, target_end);
    if (target_end == rest.len || target_end == 0)
        return HTTP_FAULT_SYNTAX;
    fault = parse_version(slice_skip(rest, target_end + 1), &request->minor);
    if (fault == HTTP_FAULT_NONE && target_end > limits->max_target_bytes)
        return HTTP_FAULT_TARGET_TOO_LONG;
    return fault;
}

static enum http_fault parse_expect(struct http_request *request)
{
    struct slice value;
    bool is_single = get_single(&request->fields, HTTP_FIELD_EXPECT, &value);

    if (value.at == NULL)
        return HTTP_FAULT_NONE;
    if (request->minor == 0) { /* to be ignored, also by who gets it from us as HTTP/1.1 */
        for (size_t i = 0; i < request->fields.count; i++)
            request->fields.items[i].is_dropped |= request->fields.items[i].id == HTTP_FIELD_EXPECT;
        return HTTP_FAULT_NONE;
    }
    if (!is_single || !slice_equal_nocase(value, SLICE("100-continue")))
        return HTTP_FAULT_EXPECTATION;
    request->expects_continue = request->body != HTTP_BODY_NONE;
    return HTTP_FAULT_NONE;
}

static enum http_fault finish_request(struct http_request *request, struct arena *arena)
{
    struct http_fields *fields = &request->fields;
    enum http_fault fault =
        parse_framing(fields, request->minor, &request->body, &request->content_length);

    if (fault == HTTP_FAULT_NONE)
        fault = parse_target_and_host(request, arena);
    if (fault == HTTP_FAULT_NONE && !http_fields_drop_nominated(fields))
        fault = HTTP_FAULT_CONNECTION;
    if (fault != HTTP_FAULT_NONE)
        return fault;
    if (request->body == HTTP_BODY_UNTIL_CLOSE ||
        (request->body == HTTP_BODY_LENGTH && request->content_length == 0))
        request->body = HTTP_BODY_NONE;
    request->is_head = slice_equal(request->method, SLICE("HEAD"));
    request->is_idempotent = http_method_is_idempotent(request->method);
    request->wants_close = wants_close(fields, request->minor);
    request->wants_upgrade = fields->first[HTTP_FIELD_UPGRADE] > 0 &&
                             http_fields_has_connection_option(fields, SLICE("upgrade"));
    return parse_expect(request);
}

static struct slice first_line(struct slice head)
{
    return slice_head(head, slice_find(head, '\r'));
}

enum http_fault http_parse_request(struct slice head, const struct http_scan *scan,
                                   struct arena *arena, const struct http_limits *limits,
                                   struct http_request *ret_request)
{
    struct http_request request = {.body = HTTP_BODY_NONE};
    enum http_fault fault;

    CHECK(scan->line_count > 0);
    fault = parse_request_line(first_line(head), limits, &request);
    if (fault == HTTP_FAULT_NONE)
        fault = parse_fields(head, HTTP_REQUEST, scan->line_count - 1, arena, &request.fields);
    if (fault == HTTP_FAULT_NONE)
        fault = finish_request(&request, arena);
    if (fault == HTTP_FAULT_NONE)
        *ret_request = request;
    return fault;
}

/* version SP 3DIGIT [SP reason]; the space before an empty reason may be missing, as many services
 * leave it out. */
static enum http_fault parse_status_line(struct slice line, struct http_response *response)
{
    unsigned status = 0;
    enum http_fault fault;

    if (line.len < 12 || line.at[8] != ' ' || (line.len > 12 && line.at[12] != ' '))
        return HTTP_FAULT_STATUS_LINE;
    fault = parse_version(slice_head(line, 8), &response->minor);
    if (fault != HTTP_FAULT_NONE)
        return fault;
    for (size_t i = 9; i < 12; i++) {
        if (line.at[i] < '0' || line.at[i] > '9')
            return HTTP_FAULT_STATUS_LINE;
        status = status * 10 + (unsigned)(line.at[i] - '0');
    }
    if (status < 100 || status > 599)
        return HTTP_FAULT_STATUS_LINE;
    response->status = status;
    response->reason = line.len > 13 ? slice_skip(line, 13) : SLICE("");
    return HTTP_FAULT_NONE;
}

enum http_fault http_parse_response(struct slice head, const struct http_scan *scan,
                                    struct arena *arena, bool to_head,
                                    struct http_response *ret_response)
{
    struct http_response response = {.status = 0};
    struct http_fields *fields = &response.fields;
    enum http_fault fault;

    CHECK(scan->line_count > 0);
    fault = parse_status_line(first_line(head), &response);
    if (fault == HTTP_FAULT_NONE)
        fault = parse_fields(head, HTTP_RESPONSE, scan->line_count - 1, arena, fields);
    if (fault == HTTP_FAULT_NONE)
        fault = parse_framing(fields, response.minor, &response.body, &response.content_length);
    if (fault != HTTP_FAULT_NONE)
        return fault;
    http_fields_drop_nominated(fields);
    if (to_head || response.status < 200 || response.status == 204 || response.status == 304 ||
        (response.body == HTTP_BODY_LENGTH && response.content_length == 0))
        response.body = HTTP_BODY_NONE;
    response.wants_close = wants_close(fields, response.minor);
    *ret_response = response;
    return HTTP_FAULT_NONE;
}

const char *http_parse_library_version(void)
{
    return TEXT_OF(LLHTTP_VERSION_MAJOR) "." TEXT_OF(LLHTTP_VERSION_MINOR) "." TEXT_OF(
        LLHTTP_VERSION_PATCH);
}
