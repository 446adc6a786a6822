#include "unit/unit.h"

#include "base/arena.h"

static void allocations_are_aligned_and_apart(void **state)
{
    struct arena arena;
    char *places[200];

    UNUSED(state);
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        places[i] = arena_alloc(&arena, i);
        assert_int_equal((uintptr_t)places[i] % 16, 0);
        memset(places[i], (int)i, i);
    }
    for (size_t i = 0; i < COUNT_OF(places); i++)
        for (size_t at = 0; at < i; at++)
            assert_int_equal((unsigned char)places[i][at], i);
    arena_clear(&arena);
    assert_null(arena.blocks);
}

static void a_steady_load_allocates_nothing(void **state)
{
    struct arena_pool pool;
    struct arena arena;
    struct arena_block *first;

    UNUSED(state);
    arena_pool_init(&pool, 4);
    arena_init(&arena, &pool);
    arena_alloc(&arena, 100);
    first = arena.blocks;
    for (int i = 0; i < 1000; i++) {
        arena_clear(&arena);
        assert_int_equal(pool.free_count, 1);
        arena_alloc(&arena, 100);
        assert_ptr_equal(arena.blocks, first);
        assert_int_equal(pool.free_count, 0);
    }
    arena_clear(&arena);
    arena_pool_clear(&pool);
    assert_int_equal(pool.free_count, 0);
}

static void the_pool_keeps_no_more_than_its_bound(void **state)
{
    struct arena_pool pool;
    struct arena arena;

    UNUSED(state);
    arena_pool_init(&pool, 2);
    arena_init(&arena, &pool);
    for (int i = 0; i < 10; i++)
        arena_alloc(&arena, 3000);
    arena_alloc(&arena, 100000); /* an odd block, never pooled */
    arena_clear(&arena);
    assert_int_equal(pool.free_count, 2);
    arena_pool_clear(&pool);
}

static void reserve_then_commit_takes_what_was_used(void **state)
{
    struct arena arena;
    char *room, *next;

    UNUSED(state);
    arena_init(&arena, NULL);
    room = arena_reserve(&arena, 1000);
    arena_commit(&arena, 3);
    next = arena_alloc(&arena, 1);
    assert_ptr_equal(next, room + 16);
    assert_slice_equal(arena_copy(&arena, SLICE("abc")), SLICE("abc"));
    assert_slice_equal(arena_printf(&arena, "%d-%s", 7, "x"), SLICE("7-x"));
    assert_int_equal(((char *)arena_calloc(&arena, 10, 10))[99], 0);
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_aligned_and_apart),
        cmocka_unit_test(a_steady_load_allocates_nothing),
        cmocka_unit_test(the_pool_keeps_no_more_than_its_bound),
        cmocka_unit_test(reserve_then_commit_takes_what_was_used),
    };

    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
