#include "unit/unit.h"

#include "app/cpus.h"

static void a_quota_is_rounded_up_and_none_means_no_limit(void **state)
{
    UNUSED(state);
    assert_int_equal(cpus_from_quota(10000, 100000), 1);
    assert_int_equal(cpus_from_quota(100000, 100000), 1);
    assert_int_equal(cpus_from_quota(150000, 100000), 2);
    assert_int_equal(cpus_from_quota(400000, 100000), 4);
    assert_int_equal(cpus_from_quota(-1, 100000), 0);
    assert_int_equal(cpus_from_quota(0, 0), 0);
}

static void there_is_always_at_least_one(void **state)
{
    UNUSED(state);
    assert_in_range(cpus_allowed(), 1, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quota_is_rounded_up_and_none_means_no_limit),
        cmocka_unit_test(there_is_always_at_least_one),
    };

    return cmocka_run_group_tests_name("cpus", tests, NULL, NULL);
}
