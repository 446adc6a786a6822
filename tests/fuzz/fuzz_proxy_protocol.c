/* Bytes of a connection.  However they are cut, the parser says the same: MORE for every part of a
 * header, then what it says for good.  A source it names is named again when it is written anew. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "net/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_same(const struct proxy_protocol_header *a, const struct proxy_protocol_header *b)
{
    return a->len == b->len && a->kind == b->kind &&
           memcmp(&a->source, &b->source, sizeof(a->source)) == 0;
}

static void write_anew(const struct proxy_protocol_header *header)
{
    bool is_v4 = header->source.any.sa_family == AF_INET;
    char address[INET6_ADDRSTRLEN], line[108], again[INET6_ADDRSTRLEN];
    struct proxy_protocol_header read;
    const char *reason = NULL;
    uint16_t port = socket_address_port(&header->source.any);
    int len;

    CHECK(is_v4 || header->source.any.sa_family == AF_INET6);
    socket_address_text(&header->source.any, address, sizeof(address));
    if (!is_v4 && strchr(address, ':') == NULL)
        is_v4 = true; /* mapped */
    len = snprintf(line, sizeof(line), "PROXY %s %s %s %u 1\r\n", is_v4 ? "TCP4" : "TCP6", address,
                   is_v4 ? "0.0.0.0" : "::", port);
    CHECK(proxy_protocol_parse(slice_from(line, (size_t)len), &read, &reason) ==
          PROXY_PROTOCOL_DONE);
    socket_address_text(&read.source.any, again, sizeof(again));
    CHECK(strcmp(address, again) == 0 && socket_address_port(&read.source.any) == port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = slice_from((const char *)data, size);
    enum proxy_protocol_status status, before = PROXY_PROTOCOL_MORE;
    struct proxy_protocol_header header, last = {0};
    const char *reason = NULL, *last_reason = NULL;

    if (size > 2 * PROXY_PROTOCOL_MAX_BYTES)
        return 0;
    for (size_t len = 0; len <= size; len += len > 300 ? 37 : 1) {
        /* A copy of exact size, so that reading beyond it is found. */
        char *copy = mem_copy_slice(slice_head(all, len));

        status = proxy_protocol_parse(slice_from(copy, len), &header, &reason);
        if (status == PROXY_PROTOCOL_DONE)
            CHECK(header.len <= len && header.len <= PROXY_PROTOCOL_MAX_BYTES);
        if (status == PROXY_PROTOCOL_BAD)
            CHECK(reason != NULL);
        CHECK(before == PROXY_PROTOCOL_MORE || status == before);
        if (before == PROXY_PROTOCOL_DONE)
            CHECK(is_same(&header, &last));
        if (before == PROXY_PROTOCOL_BAD)
            CHECK(strcmp(reason, last_reason) == 0);
        before = status;
        last = header;
        last_reason = reason;
        free(copy);
    }
    if (before == PROXY_PROTOCOL_DONE && last.kind == PROXY_PROTOCOL_SOURCE)
        write_anew(&last);
    CHECK(before != PROXY_PROTOCOL_MORE || size < PROXY_PROTOCOL_MAX_BYTES);
    return 0;
}
