/* What both HTTP fuzzers ask: is a message the same however its bytes are split, and does what we
 * write of it read back as the same message? */
#ifndef TESTS_HTTP_ORACLE_H
#define TESTS_HTTP_ORACLE_H

#include <stdint.h>

#include "base/buf.h"
#include "http/http_body.h"
#include "http/http_parse.h"
#include "http/http_write.h"

static const struct http_limits oracle_limits = {
    .max_header_bytes = 4096, .max_header_count = 32, .max_target_bytes = 1024};

struct oracle_head {
    struct http_scan scan;
    enum http_fault fault;
    size_t head_bytes;
};

/* The first split bytes, then all. */
static inline struct oracle_head oracle_scan(enum http_kind kind, struct slice bytes, size_t split)
{
    struct oracle_head head = {.fault = HTTP_FAULT_NONE};

    head.fault =
        http_scan(&head.scan, kind, slice_head(bytes, split), &oracle_limits, &head.head_bytes);
    if (head.fault == HTTP_FAULT_NONE && head.head_bytes == 0)
        head.fault = http_scan(&head.scan, kind, bytes, &oracle_limits, &head.head_bytes);
    return head;
}

static inline struct oracle_head oracle_scan_both(enum http_kind kind, struct slice bytes,
                                                  size_t split)
{
    struct oracle_head whole = oracle_scan(kind, bytes, bytes.len);
    struct oracle_head parts = oracle_scan(kind, bytes, split < bytes.len ? split : bytes.len);

    CHECK(whole.fault == parts.fault && whole.head_bytes == parts.head_bytes);
    return whole;
}

/* The fields of a that were to be written are those of b, in order, but for framing. */
static inline void oracle_same_fields(const struct http_fields *a, const struct http_fields *b)
{
    size_t at = 0;

    for (size_t i = 0; i < a->count; i++) {
        const struct http_field *field = &a->items[i];

        if (field->is_dropped || field->id == HTTP_FIELD_CONTENT_LENGTH)
            continue;
        CHECK(at < b->count);
        CHECK(slice_equal(field->name, b->items[at].name));
        CHECK(slice_equal(field->value, b->items[at].value));
        at++;
    }
    for (; at < b->count; at++)
        CHECK(b->items[at].id == HTTP_FIELD_CONTENT_LENGTH ||
              b->items[at].id == HTTP_FIELD_TRANSFER_ENCODING);
}

static inline struct slice oracle_held(const struct buf *buf)
{
    return buf_len(buf) > 0 ? buf_slice(buf) : SLICE("");
}

/* Decodes bytes in two pieces; gives the result and how many bytes were taken. */
static inline enum http_decoded oracle_decode(enum http_body body, uint64_t length,
                                              struct slice bytes, size_t split, struct buf *data,
                                              size_t *ret_taken)
{
    struct http_body_decoder decoder;
    struct slice pieces[2], out;
    enum http_decoded result = HTTP_DECODED_MORE;

    split = split < bytes.len ? split : bytes.len;
    pieces[0] = slice_head(bytes, split);
    pieces[1] = slice_skip(bytes, split);
    *ret_taken = bytes.len;
    http_body_begin(&decoder, body, length);
    for (size_t i = 0; i < 2 && result == HTTP_DECODED_MORE; i++) {
        while ((result = http_body_decode(&decoder, &pieces[i], &out)) == HTTP_DECODED_DATA)
            CHECK(buf_append(data, out));
        *ret_taken = bytes.len - pieces[i].len - (i == 0 ? pieces[1].len : 0);
    }
    return result;
}

/* However split the same; and chunked anew it decodes to the same data. */
static inline void oracle_body(enum http_body body, uint64_t length, struct slice bytes,
                               size_t split)
{
    struct buf whole, parts, wire, again;
    char size_line[HTTP_CHUNK_SIZE_BYTES];
    size_t taken, parts_taken;
    enum http_decoded result;

    buf_init(&whole, SIZE_MAX);
    buf_init(&parts, SIZE_MAX);
    buf_init(&wire, SIZE_MAX);
    buf_init(&again, SIZE_MAX);
    result = oracle_decode(body, length, bytes, bytes.len, &whole, &taken);
    CHECK(result == oracle_decode(body, length, bytes, split, &parts, &parts_taken));
    CHECK(slice_equal(oracle_held(&whole), oracle_held(&parts)));
    CHECK(result == HTTP_DECODED_BAD || taken == parts_taken);
    if (buf_len(&whole) > 0)
        CHECK(buf_append(&wire, http_write_chunk_size(size_line, buf_len(&whole))) &&
              buf_append(&wire, oracle_held(&whole)) && buf_append(&wire, SLICE("\r\n")));
    CHECK(buf_append(&wire, SLICE("0\r\n\r\n")));
    CHECK(oracle_decode(HTTP_BODY_CHUNKED, 0, oracle_held(&wire), split, &again, &taken) ==
          HTTP_DECODED_END);
    CHECK(taken == buf_len(&wire) && slice_equal(oracle_held(&again), oracle_held(&whole)));
    buf_clear(&whole);
    buf_clear(&parts);
    buf_clear(&wire);
    buf_clear(&again);
}

#endif
