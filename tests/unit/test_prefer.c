/* The wait preference, as clients write it. */
#include "unit/unit.h"

#include "guard/prefer.h"

static void test_values(void **state)
{
    static const struct {
        const char *value;
        int64_t wait_s; /* -1: none */
    } cases[] = {
        {"wait=5", 5},
        {"wait=0", 0},
        {"Wait = 7", 7},
        {"respond-async, wait=10", 10},
        {"wait=10, wait=20", 10},
        {"wait=\"12\"", 12},
        {"foo=\"a, wait=3\", wait=4", 4},
        {"foo=\"a\\\", wait=3\", wait=4", 4},
        {"wait=6; x=y", 6},
        {"", -1},
        {"wait", -1},
        {"wait=", -1},
        {"wait=-1", -1},
        {"wait=1.5", -1},
        {"wait=x, wait=3", -1},
        {"awaited=3", -1},
        {"foo=\"wait=3", -1},
        {"foo=\"\\", -1},
        {"wait=99999999999999999999999", -1},
        {",,;=,", -1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint64_t wait_s = 12345;
        bool is_found = prefer_wait_s(slice_of(cases[i].value), &wait_s);

        if (is_found != (cases[i].wait_s >= 0) ||
            wait_s != (is_found ? (uint64_t)cases[i].wait_s : 12345))
            fail_msg("%s: %d %lu", cases[i].value, is_found, (unsigned long)wait_s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
