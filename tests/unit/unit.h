/* What every unit test includes: cmocka, and its prerequisites. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/slice.h"

#define assert_slice_equal(actual, expected)                                                       \
    do {                                                                                           \
        struct slice actual_ = (actual), expected_ = (expected);                                   \
        if (!slice_equal(actual_, expected_))                                                      \
            fail_msg("\"%.*s\" is not \"%.*s\"", SLICE_ARGS(actual_), SLICE_ARGS(expected_));      \
    } while (0)

/* TEST_SCALE is a percentage of the usual number of rounds; sanitizers get a fifth of it. */
static inline uint64_t rounds(uint64_t usual)
{
    const char *scale = getenv("TEST_SCALE");
#ifdef __SANITIZE_ADDRESS__
    usual = usual / 5 + 1;
#endif
    uint64_t count = scale != NULL ? usual * strtoull(scale, NULL, 10) / 100 : usual;

    return count > 0 ? count : 1;
}

#endif
