#include "unit/unit.h"

#include <stdio.h>

#include "guard/limit_top.h"

#define HALF LIMIT_TOP_HALF_MS
#define NOW (1000 * HALF)

static const char two_limits[] =
    "upstream: http://127.0.0.1:1\n"
    "top_keys: 4\n"
    "routes:\n"
    "  - name: shop\n"
    "    match: {path: /shop}\n"
    "    limits:\n"
    "      - {name: all, rate: 5/second}\n"
    "      - {name: user, key: \"{header.u}\", rate: 5/second, on_missing_key: shared}\n"
    "  - name: other\n"
    "    match: {path: /other}\n"
    "    limits:\n"
    "      - {name: user, key: \"{client.ip}\", rate: 5/second}\n";
static const char one_limit[] =
    "upstream: http://127.0.0.1:1\n"
    "top_keys: 4\n"
    "routes:\n"
    "  - name: new\n"
    "    match: {path: /new}\n"
    "    limits:\n"
    "      - {name: user, key: \"{client.ip}\", rate: 5/second}\n"
    "  - name: shop\n"
    "    match: {path: /shop}\n"
    "    limits:\n"
    "      - {name: user, key: \"{header.u}\", rate: 9/second, on_missing_key: shared}\n";

struct fixture {
    struct limit_tops *tops;
    struct policy *policy;
    struct arena arena;
    struct limit_top_list *lists;
    size_t count;
};

static void load(struct fixture *f, const char *text)
{
    struct policy_problems problems;
    struct policy *policy;

    policy_problems_init(&problems);
    policy = policy_load_text("test.yaml", slice_of(text), &problems);
    policy_problems_clear(&problems);
    assert_non_null(policy);
    limit_tops_set_policy(f->tops, policy);
    if (f->policy != NULL)
        policy_unref(&f->policy);
    f->policy = policy;
}

static int set_up(void **state)
{
    struct fixture *f = mem_calloc(1, sizeof(*f));

    f->tops = limit_tops_open();
    arena_init(&f->arena, NULL);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    limit_tops_close(&f->tops);
    if (f->policy != NULL)
        policy_unref(&f->policy);
    arena_clear(&f->arena);
    free(f);
    return 0;
}

static struct limit_top *top_of(struct fixture *f, size_t route, size_t limit)
{
    return limit_tops_find(f->tops, f->policy, f->policy->routes[route]->limits[limit]);
}

static void note(struct limit_top *top, uint64_t at_ms, const char *tail, bool is_denied,
                 bool is_near)
{
    limit_top_note(top, at_ms,
                   &(struct limit_top_event){.tail = slice_of(tail),
                                             .remaining = at_ms % 1000,
                                             .is_denied = is_denied,
                                             .is_near = is_near});
}

static void read_all(struct fixture *f, uint64_t now_ms)
{
    arena_clear(&f->arena);
    f->count = limit_tops_read(f->tops, SLICE_NONE, SLICE_NONE, now_ms, &f->arena, &f->lists);
}

static uint64_t count_of(struct fixture *f, size_t list, enum limit_top_kind kind, const char *tail)
{
    const struct sketch_sum *sum = &f->lists[list].sums[kind];

    for (size_t i = 0; i < sum->item_count; i++)
        if (slice_equal(sum->items[i].key, slice_of(tail)))
            return sum->items[i].count;
    return 0;
}

static void keys_are_counted_by_kind(void **state)
{
    struct fixture *f = *state;

    load(f, two_limits);
    assert_null(top_of(f, 0, 0)); /* it has no key */
    note(top_of(f, 0, 1), NOW, "{a}", false, false);
    note(top_of(f, 0, 1), NOW + 1, "{a}", false, true);
    note(top_of(f, 0, 1), NOW + 2, "{a}", true, false);
    note(top_of(f, 0, 1), NOW + 3, "{-}shared", false, false);
    note(top_of(f, 1, 0), NOW + 4, "{a}", true, false);
    read_all(f, NOW + 5);
    assert_int_equal(f->count, 2);
    assert_string_equal(f->lists[0].route, "shop");
    assert_string_equal(f->lists[0].limit, "user");
    assert_string_equal(f->lists[1].route, "other");
    assert_int_equal(count_of(f, 0, LIMIT_TOP_REQUESTS, "{a}"), 3);
    assert_int_equal(count_of(f, 0, LIMIT_TOP_DENIED, "{a}"), 1);
    assert_int_equal(count_of(f, 0, LIMIT_TOP_NEAR, "{a}"), 1);
    assert_int_equal(count_of(f, 0, LIMIT_TOP_REQUESTS, "{-}shared"), 1);
    assert_int_equal(f->lists[0].sums[LIMIT_TOP_REQUESTS].total, 4);
    assert_int_equal(count_of(f, 1, LIMIT_TOP_DENIED, "{a}"), 1);
    /* One of them alone. */
    assert_int_equal(
        limit_tops_read(f->tops, SLICE("other"), SLICE("user"), NOW, &f->arena, &f->lists), 1);
    assert_string_equal(f->lists[0].route, "other");
    assert_int_equal(
        limit_tops_read(f->tops, SLICE("other"), SLICE("all"), NOW, &f->arena, &f->lists), 0);
}

static void it_is_about_now(void **state)
{
    struct fixture *f = *state;

    load(f, two_limits);
    note(top_of(f, 0, 1), NOW, "{old}", true, true);
    read_all(f, NOW + HALF - 1);
    assert_int_equal(count_of(f, 0, LIMIT_TOP_REQUESTS, "{old}"), 1);
    /* Nobody has come since, and it is still known for one half. */
    read_all(f, NOW + 2 * HALF - 1);
    assert_int_equal(count_of(f, 0, LIMIT_TOP_DENIED, "{old}"), 1);
    read_all(f, NOW + 2 * HALF);
    assert_int_equal(count_of(f, 0, LIMIT_TOP_DENIED, "{old}"), 0);
    note(top_of(f, 0, 1), NOW + HALF, "{old}", false, false);
    read_all(f, NOW + HALF);
    assert_int_equal(count_of(f, 0, LIMIT_TOP_REQUESTS, "{old}"), 2);
    note(top_of(f, 0, 1), NOW + 2 * HALF, "{new}", false, false);
    read_all(f, NOW + 2 * HALF);
    assert_int_equal(count_of(f, 0, LIMIT_TOP_REQUESTS, "{old}"), 1);
    assert_int_equal(count_of(f, 0, LIMIT_TOP_DENIED, "{old}"), 0);
    /* A reader whose clock is behind sees it all the same. */
    read_all(f, NOW + 2 * HALF - 1);
    assert_int_equal(count_of(f, 0, LIMIT_TOP_REQUESTS, "{new}"), 1);
    /* After a long pause nothing old comes back. */
    note(top_of(f, 0, 1), NOW + 7 * HALF, "{new}", false, false);
    read_all(f, NOW + 7 * HALF);
    assert_int_equal(f->lists[0].sums[LIMIT_TOP_REQUESTS].total, 1);
    assert_int_equal(limit_top_period_ms(NOW + 7), HALF + 7);
}

static void a_reload_keeps_what_stays(void **state)
{
    struct fixture *f = *state;
    struct policy *before;

    load(f, two_limits);
    note(top_of(f, 0, 1), NOW, "{a}", true, false);
    note(top_of(f, 1, 0), NOW, "{b}", true, false);
    before = policy_ref(f->policy);
    load(f, one_limit);
    /* Requests of the old policy have nowhere to write to. */
    assert_null(limit_tops_find(f->tops, before, before->routes[0]->limits[1]));
    policy_unref(&before);
    read_all(f, NOW);
    assert_int_equal(f->count, 2);
    assert_string_equal(f->lists[0].route, "new");
    assert_int_equal(f->lists[0].sums[LIMIT_TOP_REQUESTS].total, 0);
    assert_int_equal(count_of(f, 1, LIMIT_TOP_DENIED, "{a}"), 1);
}

static void the_policy_switches_it_off(void **state)
{
    struct fixture *f = *state;
    char text[sizeof(one_limit)];

    load(f, one_limit);
    note(top_of(f, 1, 0), NOW, "{a}", true, false);
    memcpy(text, one_limit, sizeof(text));
    *strchr(text, '4') = '0';
    load(f, text);
    assert_null(top_of(f, 1, 0));
    read_all(f, NOW);
    assert_int_equal(f->count, 0);
    load(f, one_limit);
    read_all(f, NOW);
    assert_int_equal(f->count, 2);
    assert_int_equal(f->lists[1].sums[LIMIT_TOP_REQUESTS].total, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_are_counted_by_kind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_is_about_now, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reload_keeps_what_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_policy_switches_it_off, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("limit_top", tests, NULL, NULL);
}
