/* The first byte says where the bytes of a request are split in two.  A request that is taken must
 * read back from what we send upstream as the same request, with nothing before or behind it. */
#include "http_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_written(struct arena *arena, struct http_request *request)
{
    struct oracle_head head;
    struct http_request again;
    struct slice bytes;

    request->fields.items =
        memcpy(arena_alloc(arena, (request->fields.count + 1) * sizeof(*request->fields.items)),
               request->fields.items, request->fields.count * sizeof(*request->fields.items));
    if (request->fields.first[HTTP_FIELD_HOST] == 0) /* HTTP/1.0; serve/ adds one as well */
        request->fields.items[request->fields.count++] =
            (struct http_field){SLICE("Host"), SLICE("a"), HTTP_FIELD_HOST, false};
    bytes = http_write_request(arena, request);
    head = oracle_scan_both(HTTP_KIND_REQUEST, bytes, bytes.len / 2);
    CHECK(head.fault == HTTP_FAULT_NONE || head.fault == HTTP_FAULT_HEAD_TOO_LARGE ||
          head.fault == HTTP_FAULT_TOO_MANY_FIELDS);
    if (head.fault != HTTP_FAULT_NONE)
        return;
    CHECK(head.head_bytes == bytes.len && head.scan.start == 0);
    CHECK(http_parse_request(bytes, &head.scan, arena, &oracle_limits, &again) == HTTP_FAULT_NONE);
    CHECK(slice_equal(again.method, request->method) && slice_equal(again.path, request->path));
    CHECK(slice_equal(again.query, request->query));
    CHECK((again.query.at == NULL) == (request->query.at == NULL));
    CHECK(again.body == request->body && again.content_length == request->content_length);
    oracle_same_fields(&request->fields, &again.fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_from((const char *)data, size);
    struct http_request request;
    struct oracle_head head;
    struct arena arena;
    size_t split;

    if (size < 2)
        return 0;
    split = data[0];
    bytes = slice_skip(bytes, 1);
    head = oracle_scan_both(HTTP_KIND_REQUEST, bytes, split);
    if (head.fault != HTTP_FAULT_NONE || head.head_bytes == 0)
        return 0;
    arena_init(&arena, NULL);
    if (http_parse_request(arena_copy(&arena, slice_from(bytes.at + head.scan.start,
                                                         head.head_bytes - head.scan.start)),
                           &head.scan, &arena, &oracle_limits, &request) == HTTP_FAULT_NONE) {
        check_written(&arena, &request);
        oracle_body(request.body, request.content_length, slice_skip(bytes, head.head_bytes),
                    split);
    }
    arena_clear(&arena);
    return 0;
}
