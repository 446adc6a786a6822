/* Floors, and requests with older tokens that must leave first, over threads. */
#include "unit/unit.h"

#include <pthread.h>
#include <stdio.h>

#include "guard/fence.h"

struct guest {
    struct fence_pass pass;
    unsigned revoked_count, clear_count;
    bool leaves; /* when it is told to */
};

static void on_revoked(struct fence_pass *pass)
{
    struct guest *guest = CONTAINER_OF(pass, struct guest, pass);

    guest->revoked_count++;
    if (guest->leaves)
        fence_leave(pass);
}

static void on_clear(struct fence_pass *pass)
{
    CONTAINER_OF(pass, struct guest, pass)->clear_count++;
}

static enum fence_entry enter(struct fence_table *table, struct loop *loop, struct guest *guest,
                              const char *key, uint64_t token)
{
    *guest = (struct guest){.pass = {.loop = loop, .on_revoked = on_revoked, .on_clear = on_clear}};
    return fence_enter(table, slice_of(key), token, true, &guest->pass);
}

static void turn(struct loop *loop)
{
    for (int i = 0; i < 5; i++)
        loop_turn(loop);
}

static void test_floor(void **state)
{
    struct fence_table *table = fence_table_open(10);
    struct loop *loop;
    struct guest guest;

    (void)state;
    assert_int_equal(loop_open(&loop), 0);
    assert_int_equal(enter(table, loop, &guest, "a", 5), FENCE_CLEAR);
    fence_leave(&guest.pass);
    fence_leave(&guest.pass);
    assert_int_equal(enter(table, loop, &guest, "a", 4), FENCE_STALE);
    fence_leave(&guest.pass);
    assert_int_equal(enter(table, loop, &guest, "a", 5), FENCE_CLEAR);
    fence_leave(&guest.pass);
    assert_int_equal(enter(table, loop, &guest, "b", 1), FENCE_CLEAR);
    fence_leave(&guest.pass);
    assert_int_equal(fence_floor(table, SLICE("a")), 5);
    assert_int_equal(fence_floor(table, SLICE("c")), 0);
    loop_close(&loop);
    fence_table_unref(&table);
}

static void test_older_ones_leave_first(void **state)
{
    struct fence_table *table = fence_table_open(10);
    struct guest old, same, other, new, newest;
    struct loop *loop;

    (void)state;
    assert_int_equal(loop_open(&loop), 0);
    assert_int_equal(enter(table, loop, &old, "a", 2), FENCE_CLEAR);
    assert_int_equal(enter(table, loop, &same, "a", 2), FENCE_CLEAR);
    assert_int_equal(enter(table, loop, &other, "b", 2), FENCE_CLEAR);
    old.leaves = true;
    assert_int_equal(enter(table, loop, &new, "a", 4), FENCE_WAIT);
    turn(loop);
    assert_int_equal(old.revoked_count, 1);
    assert_int_equal(same.revoked_count, 1);
    assert_int_equal(other.revoked_count, 0);
    assert_int_equal(new.clear_count, 0);
    /* The one that waits is older than the newest. */
    new.leaves = true;
    assert_int_equal(enter(table, loop, &newest, "a", 6), FENCE_WAIT);
    turn(loop);
    assert_int_equal(new.revoked_count, 1);
    assert_int_equal(newest.clear_count, 0);
    fence_leave(&same.pass);
    turn(loop);
    assert_int_equal(newest.clear_count, 1);
    assert_int_equal(new.clear_count, 0);
    fence_leave(&newest.pass);
    fence_leave(&other.pass);
    loop_close(&loop);
    fence_table_unref(&table);
}

/* Odd tokens are of several who hold a lock together. */
static void test_several_have_no_order(void **state)
{
    struct fence_table *table = fence_table_open(10);
    struct guest writer, old, new, guest;
    struct loop *loop;

    (void)state;
    assert_int_equal(loop_open(&loop), 0);
    assert_int_equal(enter(table, loop, &writer, "a", 4), FENCE_CLEAR);
    writer.leaves = true;
    assert_int_equal(enter(table, loop, &new, "a", 7), FENCE_WAIT);
    turn(loop);
    assert_int_equal(writer.revoked_count, 1);
    assert_int_equal(new.clear_count, 1);
    assert_int_equal(enter(table, loop, &old, "a", 5), FENCE_CLEAR);
    assert_int_equal(enter(table, loop, &guest, "a", 3), FENCE_STALE);
    assert_int_equal(enter(table, loop, &guest, "a", 6), FENCE_STALE);
    turn(loop);
    assert_int_equal(new.revoked_count + old.revoked_count, 0);
    new.leaves = old.leaves = true;
    assert_int_equal(enter(table, loop, &writer, "a", 8), FENCE_WAIT);
    turn(loop);
    assert_int_equal(new.revoked_count + old.revoked_count, 2);
    assert_int_equal(writer.clear_count, 1);
    assert_int_equal(enter(table, loop, &guest, "a", 7), FENCE_STALE);
    fence_leave(&writer.pass);
    loop_close(&loop);
    fence_table_unref(&table);
}

static void test_leaving_before_messages_come(void **state)
{
    struct fence_table *table = fence_table_open(10);
    struct guest old, new;
    struct loop *loop;

    (void)state;
    assert_int_equal(loop_open(&loop), 0);
    assert_int_equal(enter(table, loop, &old, "a", 1), FENCE_CLEAR);
    assert_int_equal(enter(table, loop, &new, "a", 2), FENCE_WAIT);
    fence_leave(&old.pass);
    fence_leave(&new.pass);
    turn(loop);
    assert_int_equal(old.revoked_count + new.clear_count, 0);
    assert_int_equal(enter(table, loop, &old, "a", 2), FENCE_CLEAR);
    assert_int_equal(enter(table, loop, &new, "a", 3), FENCE_WAIT);
    fence_leave(&new.pass);
    fence_leave(&old.pass);
    /* Messages that are still under way when the loop ends are dropped. */
    loop_close(&loop);
    fence_table_unref(&table);
}

static void test_unused_keys_make_room(void **state)
{
    struct fence_table *table = fence_table_open(3);
    struct guest inside, guest;
    struct loop *loop;
    char key[16];

    (void)state;
    assert_int_equal(loop_open(&loop), 0);
    assert_int_equal(enter(table, loop, &inside, "k0", 1), FENCE_CLEAR);
    for (int i = 1; i < 10; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(enter(table, loop, &guest, key, 1), FENCE_CLEAR);
        fence_leave(&guest.pass);
        assert_true(fence_key_count(table) <= 3);
    }
    assert_int_equal(fence_floor(table, SLICE("k0")), 1);
    assert_int_equal(fence_floor(table, SLICE("k1")), 0);
    assert_int_equal(fence_floor(table, SLICE("k9")), 1);
    fence_leave(&inside.pass);
    loop_close(&loop);
    fence_table_unref(&table);
}

#define ROUNDS 2000

/* Each thread passes again and again with the next token; nobody is inside beside a newer one. */
struct contest {
    struct fence_table *table;
    _Atomic uint64_t *next_token, *newest_inside;
    unsigned passed_count, wait_count;
};

static void *compete(void *argument)
{
    struct contest *contest = argument;
    struct loop *loop;

    assert_int_equal(loop_open(&loop), 0);
    for (int i = 0; i < ROUNDS; i++) {
        struct guest guest;
        uint64_t token = atomic_fetch_add(contest->next_token, 2);
        enum fence_entry entry = enter(contest->table, loop, &guest, "k", token);

        guest.leaves = true;
        while (entry == FENCE_WAIT && guest.clear_count == 0 && guest.revoked_count == 0) {
            contest->wait_count++;
            loop_turn(loop);
        }
        if (guest.revoked_count == 0 && entry != FENCE_STALE) {
            /* Older ones are out: none can come back. */
            uint64_t seen = atomic_exchange(contest->newest_inside, token);

            if (seen < token)
                contest->passed_count++;
            else
                CHECK(atomic_load(&guest.pass.is_revoked));
        }
        fence_leave(&guest.pass);
    }
    turn(loop);
    loop_close(&loop);
    return NULL;
}

static void test_threads(void **state)
{
    _Atomic uint64_t next_token = 2, newest_inside = 0;
    struct fence_table *table = fence_table_open(10);
    struct contest contests[4];
    pthread_t threads[4];
    unsigned passed_count = 0;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        contests[i] = (struct contest){table, &next_token, &newest_inside, 0, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, compete, &contests[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        passed_count += contests[i].passed_count;
    }
    assert_true(passed_count > 0);
    assert_int_equal(fence_key_count(table), 1);
    fence_table_unref(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_older_ones_leave_first),
        cmocka_unit_test(test_several_have_no_order),
        cmocka_unit_test(test_leaving_before_messages_come),
        cmocka_unit_test(test_unused_keys_make_room),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
