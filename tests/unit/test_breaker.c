#include "unit/unit.h"

#include "base/check.h"
#include "store/breaker.h"

#define OPEN_MS 100u

static void fail_calls(struct breaker *breaker, unsigned count, uint64_t now_ms)
{
    while (count-- > 0)
        breaker_failed(breaker, false, now_ms);
}

static void it_opens_after_failures_in_a_row(void **state)
{
    struct breaker breaker;

    UNUSED(state);
    breaker_init(&breaker, 3, OPEN_MS);
    fail_calls(&breaker, 2, 0);
    breaker_succeeded(&breaker);
    fail_calls(&breaker, 2, 0);
    assert_int_equal(breaker_ask(&breaker, 0), BREAKER_PASS);
    fail_calls(&breaker, 1, 0);
    assert_int_equal(breaker_ask(&breaker, 0), BREAKER_STOP);
    assert_int_equal(breaker_ask(&breaker, OPEN_MS - 1), BREAKER_STOP);
}

static void one_probe_decides(void **state)
{
    struct breaker breaker;

    UNUSED(state);
    breaker_init(&breaker, 1, OPEN_MS);
    fail_calls(&breaker, 1, 0);
    assert_int_equal(breaker_ask(&breaker, OPEN_MS), BREAKER_PROBE);
    assert_int_equal(breaker_ask(&breaker, OPEN_MS + 1), BREAKER_STOP);
    fail_calls(&breaker, 5, OPEN_MS + 1); /* calls of before: they say nothing new */
    assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
    breaker_failed(&breaker, true, OPEN_MS + 2);
    assert_int_equal(breaker_ask(&breaker, 2 * OPEN_MS + 1), BREAKER_STOP);
    assert_int_equal(breaker_ask(&breaker, 2 * OPEN_MS + 2), BREAKER_PROBE);
    breaker_succeeded(&breaker);
    assert_int_equal(breaker_ask(&breaker, 2 * OPEN_MS + 2), BREAKER_PASS);
    assert_int_equal(breaker.failure_count, 0);
}

static void a_lost_probe_is_replaced(void **state)
{
    struct breaker breaker;

    UNUSED(state);
    breaker_init(&breaker, 1, OPEN_MS);
    fail_calls(&breaker, 1, 0);
    assert_int_equal(breaker_ask(&breaker, OPEN_MS), BREAKER_PROBE);
    breaker_probe_gone(&breaker, OPEN_MS + 5);
    assert_int_equal(breaker_ask(&breaker, OPEN_MS + 5), BREAKER_PROBE);
    breaker_succeeded(&breaker);
    breaker_probe_gone(&breaker, OPEN_MS + 6);
    assert_int_equal(breaker.state, BREAKER_CLOSED);
}

static void good_news_shortens_the_wait(void **state)
{
    struct breaker breaker;

    UNUSED(state);
    breaker_init(&breaker, 1, OPEN_MS);
    breaker_hurry(&breaker, 0);
    assert_int_equal(breaker_ask(&breaker, 0), BREAKER_PASS);
    fail_calls(&breaker, 1, 0);
    breaker_hurry(&breaker, 10);
    assert_int_equal(breaker_ask(&breaker, 10), BREAKER_PROBE);
    breaker_hurry(&breaker, 11);
    assert_int_equal(breaker_ask(&breaker, 11), BREAKER_STOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_opens_after_failures_in_a_row),
        cmocka_unit_test(one_probe_decides),
        cmocka_unit_test(a_lost_probe_is_replaced),
        cmocka_unit_test(good_news_shortens_the_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
