#include "unit/unit.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/map.h"
#include "base/sketch.h"

#define MAX_KEYS 20000u

/* Beside every sketch an exact count. */
struct stream {
    struct sketch *sketch;
    uint64_t counts[MAX_KEYS], total;
};

static uint64_t seed;

static uint64_t pick(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

static struct slice name_of(uint64_t number, char text[24])
{
    return slice_from(text, (size_t)snprintf(text, 24, "user-%" PRIu64, number));
}

static uint64_t number_of(struct slice key)
{
    uint64_t number = 0;

    assert_true(slice_to_uint64(slice_skip(key, 5), &number));
    assert_true(number < MAX_KEYS);
    return number;
}

static struct stream *stream_open(size_t entry_count)
{
    struct stream *stream = mem_calloc(1, sizeof(*stream));

    stream->sketch = sketch_open(entry_count);
    return stream;
}

static void stream_close(struct stream *stream)
{
    sketch_close(&stream->sketch);
    free(stream);
}

static void come(struct stream *stream, uint64_t number)
{
    char text[24];

    stream->counts[number]++;
    stream->total++;
    sketch_add(stream->sketch, name_of(number, text), stream->total, number);
}

/* What base/sketch.h promises, for every key there is, of the sum of streams. */
static void check_sum(struct sketch_sum *sum, struct stream *const *streams, size_t stream_count,
                      size_t shown)
{
    static uint64_t counts[MAX_KEYS];
    static bool is_shown[MAX_KEYS];
    uint64_t total = 0, rest, previous = UINT64_MAX;

    memset(is_shown, 0, sizeof(is_shown));
    for (size_t k = 0; k < MAX_KEYS; k++) {
        counts[k] = 0;
        for (size_t i = 0; i < stream_count; i++)
            counts[k] += streams[i]->counts[k];
        total += counts[k];
    }
    assert_int_equal(sum->total, total);
    rest = sketch_sum_rank(sum, shown);
    for (size_t i = 0; i < sum->item_count; i++) {
        const struct sketch_item *item = &sum->items[i];
        uint64_t number = number_of(item->key);

        assert_false(is_shown[number]);
        is_shown[number] = true;
        assert_int_equal(item->key_bytes, item->key.len);
        assert_true(item->count <= previous);
        assert_true(counts[number] <= item->count);
        assert_true(counts[number] >= item->count - item->error);
        assert_int_equal(item->value, number);
        previous = item->count;
    }
    for (size_t k = 0; k < MAX_KEYS; k++)
        if (!is_shown[k])
            assert_true(counts[k] <= rest);
}

static void check(struct stream *stream, size_t shown)
{
    size_t entry_count = sketch_entry_count(stream->sketch);
    struct sketch_sum sum = SKETCH_SUM_INIT;
    struct arena arena;

    arena_init(&arena, NULL);
    sketch_sum_add_sketch(&sum, stream->sketch, &arena);
    /* Whoever came more often than that is watched. */
    for (size_t i = 0; i < sum.item_count; i++)
        assert_true(sum.items[i].error <= stream->total / entry_count);
    for (size_t i = 0; sum.cells != NULL && i < SKETCH_CELLS; i++)
        assert_true(sum.cells[i] <= stream->total / entry_count);
    check_sum(&sum, &stream, 1, shown);
    arena_clear(&arena);
}

/* The number of a key by Zipf's law, by its distribution's inverse. */
static uint64_t zipf(double exponent, uint64_t key_count)
{
    double u = (double)pick(1u << 30) / (1u << 30);

    if (exponent == 1.0)
        return (uint64_t)(pow((double)key_count, u)) - 1;
    return (uint64_t)pow(u * (pow((double)key_count, 1 - exponent) - 1) + 1, 1 / (1 - exponent)) -
           1;
}

static void bounds_hold_on_zipf_streams(void **state)
{
    static const double exponents[] = {0.5, 1.0, 1.3};
    static const size_t sizes[] = {1, 2, 3, 64, 100, 256};

    UNUSED(state);
    seed = 42;
    for (size_t e = 0; e < COUNT_OF(exponents); e++) {
        for (size_t s = 0; s < COUNT_OF(sizes); s++) {
            struct stream *stream = stream_open(sizes[s]);

            for (uint64_t i = 0; i < rounds(100000); i++) {
                come(stream, zipf(exponents[e], 10000));
                if (i % 20011 == 20010)
                    check(stream, 10);
            }
            check(stream, sizes[s]);
            stream_close(stream);
        }
    }
}

/* With a filter of 512 cells and 64 entries the ten largest of a Zipf stream are found, in order,
 * and their error is small. */
static void the_largest_are_found(void **state)
{
    struct stream *stream = stream_open(64);
    struct sketch_sum sum = SKETCH_SUM_INIT;
    struct arena arena;

    UNUSED(state);
    seed = 7;
    arena_init(&arena, NULL);
    for (uint64_t i = 0; i < 200000; i++)
        come(stream, zipf(1.0, 20000));
    sketch_sum_add_sketch(&sum, stream->sketch, &arena);
    (void)sketch_sum_rank(&sum, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(number_of(sum.items[i].key), i);
        assert_true(sum.items[i].error * 20 < sum.items[i].count);
    }
    arena_clear(&arena);
    stream_close(stream);
}

static void every_key_once(struct stream *stream, uint64_t i)
{
    come(stream, i % MAX_KEYS);
}

/* The newest always takes the place of the last one. */
static void a_crowd_and_one_more(struct stream *stream, uint64_t i)
{
    come(stream, i % 2 == 0 ? i / 2 % 256 : 256 + i / 2 % (MAX_KEYS - 256));
}

/* Those that were watched first come again only after everybody else. */
static void waves(struct stream *stream, uint64_t i)
{
    come(stream, i / 500 * 37 % 4000 + i % 100);
}

static void downwards(struct stream *stream, uint64_t i)
{
    come(stream, MAX_KEYS - 1 - i % MAX_KEYS);
}

/* All in one cell: found by the hash, which an attacker does not know. */
static void one_cell(struct stream *stream, uint64_t i)
{
    static uint64_t in_cell[64];
    static size_t count;
    char text[24];

    for (uint64_t k = 0; count < COUNT_OF(in_cell) && k < MAX_KEYS; k++)
        if (map_hash(name_of(k, text)) % SKETCH_CELLS == 3)
            in_cell[count++] = k;
    come(stream, in_cell[i * i % count]);
}

static void bounds_hold_on_adversarial_streams(void **state)
{
    void (*const streams[])(struct stream *, uint64_t) = {every_key_once, a_crowd_and_one_more,
                                                          waves, downwards, one_cell};
    static const size_t sizes[] = {1, 5, 64, 256};

    UNUSED(state);
    for (size_t k = 0; k < COUNT_OF(streams); k++) {
        for (size_t s = 0; s < COUNT_OF(sizes); s++) {
            struct stream *stream = stream_open(sizes[s]);

            for (uint64_t i = 0; i < rounds(100000); i++) {
                streams[k](stream, i);
                if (i % 20011 == 20010)
                    check(stream, sizes[s]);
            }
            check(stream, 3);
            stream_close(stream);
        }
    }
}

static void sums_keep_the_bounds(void **state)
{
    static const size_t sizes[] = {64, 64, 10, 256};
    struct stream *streams[COUNT_OF(sizes)];
    struct sketch_sum sum = SKETCH_SUM_INIT, pair[2] = {SKETCH_SUM_INIT, SKETCH_SUM_INIT};
    struct arena arena;

    UNUSED(state);
    seed = 99;
    arena_init(&arena, NULL);
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        streams[s] = stream_open(sizes[s]);
        /* Each knows other keys best; the last is not full. */
        for (uint64_t i = 0; i < rounds(50000); i++)
            come(streams[s], s == 3 ? zipf(1.0, 200) : (zipf(1.0, 10000) + s * 30) % MAX_KEYS);
        sketch_sum_add_sketch(&sum, streams[s]->sketch, &arena);
        sketch_sum_add_sketch(&pair[s / 2], streams[s]->sketch, &arena);
    }
    check_sum(&sum, streams, COUNT_OF(sizes), 40);
    /* The order and grouping are nothing to the bounds. */
    sketch_sum_add(&pair[0], &pair[1], &arena);
    check_sum(&pair[0], streams, COUNT_OF(sizes), 500);
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        stream_close(streams[s]);
    arena_clear(&arena);
}

static void few_keys_are_counted_exactly(void **state)
{
    struct stream *stream = stream_open(64);
    struct sketch_sum sum = SKETCH_SUM_INIT;
    struct arena arena;

    UNUSED(state);
    seed = 5;
    arena_init(&arena, NULL);
    for (int i = 0; i < 5000; i++)
        come(stream, pick(64));
    sketch_sum_add_sketch(&sum, stream->sketch, &arena);
    assert_int_equal(sketch_sum_rank(&sum, 64), 0);
    assert_int_equal(sum.item_count, 64);
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(sum.items[i].error, 0);
        assert_int_equal(sum.items[i].count, stream->counts[number_of(sum.items[i].key)]);
    }
    arena_clear(&arena);
    sketch_clear(stream->sketch);
    memset(stream->counts, 0, sizeof(stream->counts));
    stream->total = 0;
    come(stream, 3);
    check(stream, 1);
    stream_close(stream);
}

static void long_keys_are_told_apart(void **state)
{
    struct sketch *sketch = sketch_open(4);
    struct sketch_sum sum = SKETCH_SUM_INIT;
    char one[300], other[300];
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    memset(one, 'k', sizeof(one));
    memset(other, 'k', sizeof(other));
    other[299] = 'x';
    for (int i = 0; i < 3; i++)
        sketch_add(sketch, slice_from(one, sizeof(one)), 1, 0);
    sketch_add(sketch, slice_from(other, sizeof(other)), 2, 0);
    sketch_add(sketch, slice_from("", 0), 3, 0);
    sketch_sum_add_sketch(&sum, sketch, &arena);
    assert_int_equal(sketch_sum_rank(&sum, 10), 0);
    assert_int_equal(sum.item_count, 3);
    assert_int_equal(sum.items[0].count, 3);
    assert_slice_equal(sum.items[0].key, slice_from(one, SKETCH_KEY_BYTES));
    assert_int_equal(sum.items[0].key_bytes, 300);
    arena_clear(&arena);
    sketch_close(&sketch);
}

static void the_newest_value_is_remembered(void **state)
{
    struct sketch *old = sketch_open(4), *young = sketch_open(4);
    struct sketch_sum sum = SKETCH_SUM_INIT;
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    sketch_add(young, SLICE("a"), 20, 7);
    sketch_add(young, SLICE("a"), 21, 6);
    sketch_add(old, SLICE("a"), 10, 9);
    sketch_sum_add_sketch(&sum, young, &arena);
    sketch_sum_add_sketch(&sum, old, &arena);
    assert_int_equal(sum.item_count, 1);
    assert_int_equal(sum.items[0].count, 3);
    assert_int_equal(sum.items[0].value, 6);
    assert_int_equal(sum.items[0].at_ms, 21);
    arena_clear(&arena);
    sketch_close(&old);
    sketch_close(&young);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_hold_on_zipf_streams),
        cmocka_unit_test(the_largest_are_found),
        cmocka_unit_test(bounds_hold_on_adversarial_streams),
        cmocka_unit_test(sums_keep_the_bounds),
        cmocka_unit_test(few_keys_are_counted_exactly),
        cmocka_unit_test(long_keys_are_told_apart),
        cmocka_unit_test(the_newest_value_is_remembered),
    };

    return cmocka_run_group_tests_name("sketch", tests, NULL, NULL);
}
