#include "unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "store/pipeline.h"

static bool push(struct pipeline *pipeline, uint16_t detail, size_t size)
{
    struct pipeline_slot slot = {.detail = detail, .payload_bytes = (uint32_t)size};
    char *room = pipeline_reserve(pipeline, size + 10);

    if (room == NULL)
        return false;
    memset(room, 'a' + detail % 26, size);
    pipeline_push(pipeline, &slot);
    return true;
}

static void check_first(struct pipeline *pipeline, uint16_t detail, size_t size)
{
    struct slice payload = pipeline_first_payload(pipeline);

    assert_int_equal(pipeline_first(pipeline)->detail, detail);
    assert_int_equal(payload.len, size);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(payload.at[i], 'a' + detail % 26);
}

/* Sizes that repeat with a period prime to that of the fill levels. */
static size_t size_of(unsigned number)
{
    return number * 37 % 301;
}

static void payloads_come_out_as_they_went_in(void **state)
{
    struct pipeline pipeline;
    unsigned in = 0, out = 0;

    UNUSED(state);
    pipeline_init(&pipeline);
    pipeline.first = pipeline.end = UINT32_MAX - 100; /* so that sequence numbers wrap */
    for (unsigned round = 0; round < 2000; round++) {
        unsigned level = round * 13 % 150;

        while (in - out < level) {
            assert_true(push(&pipeline, (uint16_t)in, size_of(in)));
            in++;
        }
        while (in - out > level / 2) {
            check_first(&pipeline, (uint16_t)out, size_of(out));
            pipeline_pop(&pipeline);
            out++;
        }
        assert_int_equal(pipeline_count(&pipeline), in - out);
    }
    assert_true(in > 50000);
    assert_true(pipeline.bytes_cap <= 256 * 1024); /* it does not creep */
    pipeline_clear(&pipeline);
    assert_null(pipeline.bytes);
}

static void bytes_are_bounded(void **state)
{
    struct pipeline pipeline;
    unsigned count = 0;

    UNUSED(state);
    pipeline_init(&pipeline);
    assert_null(pipeline_first(&pipeline));
    assert_null(pipeline_reserve(&pipeline, PIPELINE_MAX_BYTES + 1));
    while (push(&pipeline, (uint16_t)count, 10000))
        count++;
    assert_int_equal(count, (PIPELINE_MAX_BYTES - 10) / 10000);
    for (unsigned i = 0; i < count; i++) {
        check_first(&pipeline, (uint16_t)i, 10000);
        pipeline_pop(&pipeline);
    }
    assert_true(push(&pipeline, 1, 10000));
    pipeline_clear(&pipeline);
}

static void a_place_is_found_by_its_number(void **state)
{
    struct pipeline pipeline;
    uint32_t sequences[500];

    UNUSED(state);
    pipeline_init(&pipeline);
    for (uint16_t i = 0; i < COUNT_OF(sequences); i++) {
        struct pipeline_slot slot = {.detail = i};

        assert_non_null(pipeline_reserve(&pipeline, 0));
        sequences[i] = pipeline_push(&pipeline, &slot);
    }
    for (uint16_t i = 0; i < COUNT_OF(sequences); i++)
        assert_int_equal(pipeline_at(&pipeline, sequences[i])->detail, i);
    pipeline_clear(&pipeline);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads_come_out_as_they_went_in),
        cmocka_unit_test(bytes_are_bounded),
        cmocka_unit_test(a_place_is_found_by_its_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
