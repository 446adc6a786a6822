#include "unit/unit.h"

#include "base/buf.h"

static void bytes_come_out_as_they_went_in(void **state)
{
    struct buf buf;
    unsigned char next_in = 0, next_out = 0;

    UNUSED(state);
    buf_init(&buf, 100000);
    srand(1);
    for (int round = 0; round < 2000; round++) {
        size_t in = (size_t)rand() % 300, out;
        char piece[300];

        for (size_t i = 0; i < in; i++)
            piece[i] = (char)next_in++;
        assert_true(buf_append(&buf, slice_from(piece, in)));
        out = buf_len(&buf) > 0 ? (size_t)rand() % (buf_len(&buf) + 1) : 0;
        for (size_t i = 0; i < out; i++)
            assert_int_equal((unsigned char)buf_slice(&buf).at[i], next_out++);
        buf_consume(&buf, out);
    }
    buf_clear(&buf);
    assert_int_equal(buf_len(&buf), 0);
}

static void the_ceiling_holds_and_loses_nothing(void **state)
{
    struct buf buf;

    UNUSED(state);
    buf_init(&buf, 10);
    assert_true(buf_append(&buf, SLICE("12345678")));
    assert_false(buf_append(&buf, SLICE("abc")));
    assert_false(buf_printf(&buf, "%d", 123));
    assert_slice_equal(buf_slice(&buf), SLICE("12345678"));
    buf_consume(&buf, 3);
    assert_true(buf_append(&buf, SLICE("abc")));
    assert_slice_equal(buf_slice(&buf), SLICE("45678abc"));
    assert_null(buf_reserve(&buf, SIZE_MAX));
    buf_clear(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(the_ceiling_holds_and_loses_nothing),
    };

    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
