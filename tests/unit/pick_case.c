/* Linked into every unit test: TEST_CASE=NAME in the environment runs only the cases whose name
 * matches (cmocka's wildcards * and ? are allowed). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

__attribute__((constructor)) static void pick_case(void)
{
    const char *wanted = getenv("TEST_CASE");

    if (wanted != NULL && *wanted != '\0')
        cmocka_set_test_filter(wanted);
}
