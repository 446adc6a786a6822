#include "unit/unit.h"

#include <stdio.h>

#include "base/map.h"

/* The first vectors of the SipHash-2-4 reference: key 00..0f, input 00, 01, ... of each length. */
static void siphash_gives_the_reference_vectors(void **state)
{
    static const uint64_t expected[] = {
        0x726fdb47dd0e0e31u, 0x74f839c593dc67fdu, 0x0d6c8009d9a94f5au, 0x85676696d7fb7e2du,
        0xcf2794e0277187b7u, 0x18765564cd99a68du, 0xcbc9466e58fee3ceu, 0xab0200f58b01d137u,
        0x93f5f5799a932462u, 0x9e0082df0ba9e4b0u, 0x7a5dbbc594ddb9f3u, 0xf4b32f46226bada7u,
        0x751e8fbc860ee5fbu, 0x14ea5627c0843d90u, 0xf723ca908e7af2eeu, 0xa129ca6149be45e5u};
    char input[16];

    UNUSED(state);
    for (size_t len = 0; len < COUNT_OF(expected); len++) {
        input[len] = (char)len;
        assert_true(map_siphash(slice_from(input, len), 0x0706050403020100u, 0x0f0e0d0c0b0a0908u) ==
                    expected[len]);
    }
}

/* Against the simplest model there is: an array indexed by the key's number. */
static void a_random_history_agrees_with_an_array(void **state)
{
    static int values[500];
    const int *model[500] = {NULL};
    struct map map;

    UNUSED(state);
    map_init(&map);
    srand(2);
    for (int step = 0; step < 50000; step++) {
        int number = rand() % 500;
        char key[16];
        size_t len = (size_t)snprintf(key, sizeof(key), "key-%d", number), live_count = 0;

        if (rand() % 3 == 0) {
            assert_ptr_equal(map_remove(&map, slice_from(key, len)), model[number]);
            model[number] = NULL;
        } else {
            int *value = &values[rand() % 500];

            assert_ptr_equal(map_set(&map, slice_from(key, len), value), model[number]);
            model[number] = value;
        }
        assert_ptr_equal(map_get(&map, slice_from(key, len)), model[number]);
        for (int i = 0; step % 1000 == 0 && i < 500; i++)
            live_count += model[i] != NULL;
        if (step % 1000 == 0)
            assert_int_equal(map_count(&map), live_count);
    }
    map_clear(&map);
}

static void walking_keeps_insertion_order(void **state)
{
    struct map map;
    size_t at = 0, seen_count = 0;
    struct slice key;
    void *value;
    char names[3][2] = {"c", "a", "b"};

    UNUSED(state);
    map_init(&map);
    for (int i = 0; i < 3; i++)
        map_set(&map, slice_of(names[i]), names[i]);
    map_remove(&map, SLICE("a"));
    while (map_next(&map, &at, &key, &value)) {
        assert_slice_equal(key, seen_count == 0 ? SLICE("c") : SLICE("b"));
        seen_count++;
    }
    assert_int_equal(seen_count, 2);
    map_clear(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_gives_the_reference_vectors),
        cmocka_unit_test(a_random_history_agrees_with_an_array),
        cmocka_unit_test(walking_keeps_insertion_order),
    };

    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
