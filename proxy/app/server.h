/* The running process: workers, the operators' ports, signals; start and stop order. */
#ifndef APP_SERVER_H
#define APP_SERVER_H

#include "base/check.h"

#include <stddef.h>

/* Runs until a signal ends it.  0 = ended well, 1 = bad policies or nothing could be started (said
 * on stderr). */
MUST_USE int server_run(const char *const *paths, size_t path_count);

#endif
