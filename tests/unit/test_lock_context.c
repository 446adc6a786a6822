/* Contexts that were made are read as they were; nothing else is. */
#include "unit/unit.h"

#include "guard/lock_context.h"

#define SECRET SLICE("a secret of at least thirty-two bytes")

static struct lock_context sample(void)
{
    struct lock_context context = {.depth = 2, .hold_count = 2};

    context.holds[0] = (struct lock_context_hold){.id = SLICE("xAbc-1"),
                                                  .key = SLICE("stock:42 of \"b\""),
                                                  .token = 86412345678901,
                                                  .lease_us = 10000000,
                                                  .delay_us = 0};
    context.holds[1] = (struct lock_context_hold){
        .id = SLICE("sAbc-2"), .key = SLICE(""), .token = 1, .lease_us = 200000, .delay_us = 5};
    return context;
}

static void test_round_trip(void **state)
{
    struct lock_context made = sample(), read;
    struct arena arena;
    struct slice field;

    (void)state;
    arena_init(&arena, NULL);
    field = lock_context_write(&made, SECRET, &arena);
    assert_true(lock_context_read(field, SECRET, &arena, &read));
    assert_int_equal(read.depth, 2);
    assert_int_equal(read.hold_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_slice_equal(read.holds[i].id, made.holds[i].id);
        assert_slice_equal(read.holds[i].key, made.holds[i].key);
        assert_int_equal(read.holds[i].token, made.holds[i].token);
        assert_int_equal(read.holds[i].lease_us, made.holds[i].lease_us);
        assert_int_equal(read.holds[i].delay_us, made.holds[i].delay_us);
    }
    /* It goes into a field as it is. */
    for (size_t i = 0; i < field.len; i++)
        assert_non_null(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.",
                               field.at[i]));
    arena_clear(&arena);
}

static void test_every_changed_byte_is_noticed(void **state)
{
    struct lock_context made = sample(), read;
    struct arena arena;
    struct slice field;

    (void)state;
    arena_init(&arena, NULL);
    field = lock_context_write(&made, SECRET, &arena);
    for (size_t i = 0; i < field.len; i++) {
        char *changed = (char *)(uintptr_t)arena_copy(&arena, field).at;

        for (unsigned bit = 0; bit < 8; bit++) {
            changed[i] = (char)(field.at[i] ^ 1 << bit);
            assert_false(lock_context_read(slice_from(changed, field.len), SECRET, &arena, &read));
        }
        assert_false(lock_context_read(slice_head(field, i), SECRET, &arena, &read));
        assert_false(lock_context_read(slice_skip(field, i + 1), SECRET, &arena, &read));
    }
    assert_false(lock_context_read(field, SLICE("another secret"), &arena, &read));
    assert_false(lock_context_read(SLICE(""), SECRET, &arena, &read));
    arena_clear(&arena);
}

static void test_too_long_is_not_made(void **state)
{
    struct lock_context made = {.depth = 1, .hold_count = LOCK_CONTEXT_MAX_HOLDS};
    struct arena arena;
    char key[300];

    (void)state;
    arena_init(&arena, NULL);
    memset(key, 'k', sizeof(key));
    for (size_t i = 0; i < LOCK_CONTEXT_MAX_HOLDS; i++)
        made.holds[i] =
            (struct lock_context_hold){.id = SLICE("x1"), .key = slice_from(key, sizeof(key))};
    assert_null(lock_context_write(&made, SECRET, &arena).at);
    made.hold_count = 3;
    assert_non_null(lock_context_write(&made, SECRET, &arena).at);
    arena_clear(&arena);
}

static void test_order(void **state)
{
    struct lock_context context = {.hold_count = 2};

    (void)state;
    context.holds[0].key = SLICE("b");
    context.holds[1].key = SLICE("d");
    assert_true(lock_context_is_out_of_order(&context, SLICE("a")));
    assert_true(lock_context_is_out_of_order(&context, SLICE("c")));
    assert_true(lock_context_is_out_of_order(&context, SLICE("")));
    assert_false(lock_context_is_out_of_order(&context, SLICE("da")));
    assert_false(lock_context_is_out_of_order(&context, SLICE("e")));
    assert_ptr_equal(lock_context_find(&context, SLICE("d")), &context.holds[1]);
    assert_null(lock_context_find(&context, SLICE("c")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_changed_byte_is_noticed),
        cmocka_unit_test(test_too_long_is_not_made),
        cmocka_unit_test(test_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
