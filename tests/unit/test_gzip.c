/* gzip: what Accept-Encoding asks for, and that what is written can be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <zlib.h>

#include "app/gzip.h"
#include "base/arena.h"

static void accept_encoding_is_read(void **state)
{
    static const struct {
        const char *field;
        bool is_accepted;
    } cases[] = {
        {"gzip", true},
        {"GZip", true},
        {"x-gzip", true},
        {"deflate, gzip", true},
        {"br;q=1.0, gzip;q=0.5", true},
        {"gzip ; q=1", true},
        {"*", true},
        {"identity, *;q=0.1", true},
        {"", false},
        {"identity", false},
        {"gzipped", false},
        {"gzip;q=0", false},
        {"gzip; q=0.000", false},
        {"gzip;Q=0.0", false},
        {"*;q=0", false},
        {"*, gzip;q=0", false},
        {"gzip;q=0, *", false},
        {"gzip;q=0.001", true},
        {",,gzip,,", true},
        {"deflate", false},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (gzip_is_accepted(slice_of(cases[i].field)) != cases[i].is_accepted)
            fail_msg("Accept-Encoding: %s", cases[i].field);
    assert_false(gzip_is_accepted(SLICE_NONE));
}

static void check_round_trip(size_t len, bool is_random)
{
    char *text = mem_alloc(len + 1), *back = mem_alloc(len + 1);
    z_stream stream = {.zalloc = Z_NULL};
    uint32_t random = 1;
    struct buf out;

    for (size_t i = 0; i < len; i++) {
        random = random * 1664525u + 1013904223u;
        text[i] = is_random ? (char)(random >> 24) : "lockkeeper_decisions_total 1\n"[i % 29];
    }
    buf_init(&out, 4 << 20);
    assert_true(gzip_append(&out, slice_from(text, len)));
    if (!is_random && len > 10000)
        assert_true(buf_len(&out) < len / 20);
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)buf_slice(&out).at;
    stream.avail_in = (uInt)buf_len(&out);
    stream.next_out = (Bytef *)back;
    stream.avail_out = (uInt)len + 1;
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.total_out, len);
    assert_int_equal(stream.avail_in, 0);
    assert_memory_equal(back, text, len);
    inflateEnd(&stream);
    buf_clear(&out);
    free(text);
    free(back);
}

static void what_is_written_can_be_read(void **state)
{
    UNUSED(state);
    for (size_t len = 0; len < 40; len++)
        check_round_trip(len, false);
    check_round_trip(1 << 20, false);
    check_round_trip(1 << 20, true);
}

static void a_ceiling_is_noticed(void **state)
{
    struct buf out;

    UNUSED(state);
    buf_init(&out, 100);
    assert_false(gzip_append(&out, SLICE("a text that is longer than the ceiling would "
                                         "let through, however well it may be compressed, "
                                         "as room is asked for the worst that can be")));
    assert_int_equal(buf_len(&out), 0);
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_encoding_is_read),
        cmocka_unit_test(what_is_written_can_be_read),
        cmocka_unit_test(a_ceiling_is_noticed),
    };

    return cmocka_run_group_tests_name("gzip", tests, NULL, NULL);
}
