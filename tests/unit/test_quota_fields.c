#include "unit/unit.h"

#include "guard/quota_fields.h"

#define SECOND UINT64_C(1000000)

static const struct policy_limit per_user = {.name = "per-user",
                                             .algorithm = POLICY_TOKEN_BUCKET,
                                             .rate = {10, 60 * SECOND, POLICY_PERIOD_US},
                                             .burst = 20};
static const struct policy_limit daily = {.name = "daily",
                                          .algorithm = POLICY_FIXED_WINDOW,
                                          .rate = {1000, 86400 * SECOND, POLICY_PERIOD_US}};
static const struct policy_limit quick = {
    .name = "quick", .algorithm = POLICY_SLIDING_WINDOW, .rate = {5, 1500000, POLICY_PERIOD_US}};
static const struct policy_limit instant = {.name = "instant",
                                            .algorithm = POLICY_TOKEN_BUCKET,
                                            .rate = {1000000, SECOND, POLICY_PERIOD_US},
                                            .burst = 1};
static const struct policy_limit vast = {
    .name = "vast",
    .algorithm = POLICY_TOKEN_BUCKET,
    .rate = {1000000, 366 * 86400 * SECOND, POLICY_PERIOD_YEAR},
    .burst = UINT64_C(1) << 39};
static const struct policy_limit endless = {.name = "endless",
                                            .algorithm = POLICY_TOKEN_BUCKET,
                                            .rate = {1, 366 * 86400 * SECOND, POLICY_PERIOD_YEAR},
                                            .burst = UINT64_C(1) << 39};
static const struct policy_limit monthly = {.name = "monthly",
                                            .algorithm = POLICY_FIXED_WINDOW,
                                            .rate = {7, 31 * 86400 * SECOND, POLICY_PERIOD_MONTH}};
static const struct policy_limit odd = {.name = "a\"b\\c\xc3\xa9",
                                        .algorithm = POLICY_SLIDING_LOG,
                                        .rate = {UINT64_MAX, SECOND, POLICY_PERIOD_US}};
static const struct policy_limit hidden = {
    .name = "hidden", .mode = POLICY_SHADOW, .rate = {1, SECOND, POLICY_PERIOD_US}};

struct policy_case {
    const struct policy_limit *limits[4];
    const char *expected;
};

static const struct policy_case policy_cases[] = {
    /* A bucket's window is the time to refill it: 20 at 10 a minute. */
    {{&per_user}, "\"per-user\";q=20;w=120"},
    {{&daily}, "\"daily\";q=1000;w=86400"},
    {{&quick}, "\"quick\";q=5;w=2"},
    {{&instant}, "\"instant\";q=1;w=1"},
    {{&monthly}, "\"monthly\";q=7;w=2678400"},
    {{&odd}, "\"a\\\"b\\\\c??\";q=999999999999999;w=1"},
    /* The product of period and burst passes 64 bits; the quotient as well in the second. */
    {{&vast}, "\"vast\";q=549755813888;w=17384598249092"},
    {{&endless}, "\"endless\";q=549755813888;w=18446744073710"},
    {{&hidden}, ""},
    {{&hidden, &per_user, &daily}, "\"per-user\";q=20;w=120, \"daily\";q=1000;w=86400"},
    {{NULL}, ""},
};

static void test_policy_field(void **state)
{
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(policy_cases); i++) {
        struct policy_route route = {.limits = policy_cases[i].limits};

        while (route.limit_count < 4 && policy_cases[i].limits[route.limit_count] != NULL)
            route.limit_count++;
        assert_slice_equal(quota_fields_policy(&route, &arena), slice_of(policy_cases[i].expected));
    }
    arena_clear(&arena);
}

static void test_state_field(void **state)
{
    const struct quota quotas[] = {{&per_user, false, 19, 6},
                                   {&hidden, true, 0, 1},
                                   {&daily, true, 0, 36000},
                                   {&odd, false, UINT64_MAX, 0}};
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    assert_slice_equal(quota_fields_state(quotas, 4, &arena),
                       SLICE("\"per-user\";r=19;t=6, \"daily\";r=0;t=36000, "
                             "\"a\\\"b\\\\c??\";r=999999999999999;t=0"));
    assert_slice_equal(quota_fields_state(quotas, 0, &arena), SLICE(""));
    arena_clear(&arena);
}

static struct slice field_of(const struct verdict *verdict, const char *name)
{
    for (size_t i = 0; i < verdict->field_count; i++)
        if (slice_equal(verdict->fields[i].name, slice_of(name)))
            return verdict->fields[i].value;
    return SLICE_NONE;
}

struct legacy_case {
    struct quota quotas[3];
    size_t count;
    const char *limit, *remaining, *reset;
};

static const struct legacy_case legacy_cases[] = {
    {{{&per_user, false, 19, 6}}, 1, "20", "19", "6"},
    /* 19 of 20 are left here, but only half there. */
    {{{&per_user, false, 19, 6}, {&daily, false, 500, 100}}, 2, "1000", "500", "100"},
    {{{&daily, false, 500, 100}, {&per_user, false, 19, 6}}, 2, "1000", "500", "100"},
    /* What denies comes first; of two, the one that denies longer. */
    {{{&per_user, true, 3, 6}, {&daily, false, 1, 100}}, 2, "20", "3", "6"},
    {{{&per_user, true, 0, 6}, {&daily, true, 0, 100}}, 2, "1000", "0", "100"},
    {{{&hidden, true, 0, 9}, {&per_user, false, 19, 6}}, 2, "20", "19", "6"},
};

static void test_legacy_fields(void **state)
{
    struct policy_route route = {.ratelimit_headers = POLICY_HEADERS_LEGACY};
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(legacy_cases); i++) {
        const struct legacy_case *c = &legacy_cases[i];
        struct verdict verdict = {.field_count = 0};

        quota_fields_add(&route, c->quotas, c->count, &arena, &verdict);
        assert_int_equal(verdict.field_count, 3);
        assert_slice_equal(field_of(&verdict, "X-RateLimit-Limit"), slice_of(c->limit));
        assert_slice_equal(field_of(&verdict, "X-RateLimit-Remaining"), slice_of(c->remaining));
        assert_slice_equal(field_of(&verdict, "X-RateLimit-Reset"), slice_of(c->reset));
    }
    arena_clear(&arena);
}

static void test_which_fields(void **state)
{
    const struct policy_limit *limits[] = {&per_user};
    struct policy_route route = {.limits = limits, .limit_count = 1};
    const struct quota quota = {&per_user, false, 19, 6}, unseen = {&hidden, false, 1, 1};
    struct verdict draft = {.field_count = 0}, off = draft, unknown = draft, shadow = draft;
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    route.ratelimit_headers = POLICY_HEADERS_DRAFT;
    quota_fields_add(&route, &quota, 1, &arena, &draft);
    assert_int_equal(draft.field_count, 2);
    assert_slice_equal(field_of(&draft, "RateLimit-Policy"), SLICE("\"per-user\";q=20;w=120"));
    assert_slice_equal(field_of(&draft, "RateLimit"), SLICE("\"per-user\";r=19;t=6"));
    /* The policy is told even when the quota is not known. */
    quota_fields_add(&route, NULL, 0, &arena, &unknown);
    assert_int_equal(unknown.field_count, 1);
    route.ratelimit_headers = POLICY_HEADERS_OFF;
    quota_fields_add(&route, &quota, 1, &arena, &off);
    assert_int_equal(off.field_count, 0);
    route.ratelimit_headers = POLICY_HEADERS_LEGACY;
    quota_fields_add(&route, &unseen, 1, &arena, &shadow);
    assert_int_equal(shadow.field_count, 0);
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_field),
        cmocka_unit_test(test_state_field),
        cmocka_unit_test(test_legacy_fields),
        cmocka_unit_test(test_which_fields),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
