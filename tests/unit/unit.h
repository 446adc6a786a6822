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

#endif
