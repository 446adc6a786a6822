/* The first byte says where the bytes of an answer are split in two, and whether it answers HEAD.
 * An answer that is taken must read back from what we send to the client as the same answer. */
#include "http_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_written(struct arena *arena, const struct http_response *response)
{
    struct http_write_framing framing = {.body = response->body,
                                         .content_length = response->content_length};
    struct slice bytes = http_write_response(arena, response, &framing);
    struct oracle_head head = oracle_scan_both(HTTP_KIND_RESPONSE, bytes, bytes.len / 2);
    struct http_response again;

    if (head.fault == HTTP_FAULT_HEAD_TOO_LARGE || head.fault == HTTP_FAULT_TOO_MANY_FIELDS)
        return;
    CHECK(head.fault == HTTP_FAULT_NONE && head.head_bytes == bytes.len);
    CHECK(http_parse_response(bytes, &head.scan, arena, response->body == HTTP_BODY_NONE, &again) ==
          HTTP_FAULT_NONE);
    CHECK(again.status == response->status && slice_equal(again.reason, response->reason));
    CHECK(again.body == response->body);
    CHECK(response->body != HTTP_BODY_LENGTH || again.content_length == response->content_length);
    oracle_same_fields(&response->fields, &again.fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_from((const char *)data, size);
    struct http_response response;
    struct oracle_head head;
    struct arena arena;
    size_t split;

    if (size < 2)
        return 0;
    split = data[0];
    bytes = slice_skip(bytes, 1);
    head = oracle_scan_both(HTTP_KIND_RESPONSE, bytes, split);
    if (head.fault != HTTP_FAULT_NONE || head.head_bytes == 0)
        return 0;
    arena_init(&arena, NULL);
    if (http_parse_response(arena_copy(&arena, slice_head(bytes, head.head_bytes)), &head.scan,
                            &arena, split % 4 == 3, &response) == HTTP_FAULT_NONE) {
        check_written(&arena, &response);
        oracle_body(response.body, response.content_length, slice_skip(bytes, head.head_bytes),
                    split);
    }
    arena_clear(&arena);
    return 0;
}
