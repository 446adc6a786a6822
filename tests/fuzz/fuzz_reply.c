/* The first byte says in how large pieces the rest arrives. */
#include <stddef.h>
#include <stdint.h>

#include "store/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t sum_of(const struct reply *reply)
{
    int64_t sum = reply->text.len > 0 ? reply->text.at[reply->text.len - 1] : 0;

    for (size_t i = 0; i < reply->element_count; i++)
        sum ^= sum_of(&reply->elements[i]);
    if (reply->type == REPLY_ERROR)
        sum ^= (int64_t)reply_error_class(reply->text);
    return sum ^ reply->integer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reply_reader *reader = reply_reader_open(NULL, 4096);
    size_t piece_len = size > 0 ? 1u + data[0] : 1;
    volatile int64_t sum = 0;

    for (size_t at = 1; at < size; at += piece_len) {
        size_t len = size - at < piece_len ? size - at : piece_len;
        struct slice piece = slice_from((const char *)data + at, len);
        const struct reply *reply;

        while (reply_reader_next(reader, &piece, &reply) == REPLY_ONE)
            sum ^= sum_of(reply);
    }
    (void)sum; /* volatile, so that reading the replies is not optimised away */
    reply_reader_close(&reader);
    return 0;
}
