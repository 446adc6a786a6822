#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "lockkeeper: bug: %s:%d: CHECK(%s) failed\n", file, line, condition);
    fflush(stderr);
    abort();
}
