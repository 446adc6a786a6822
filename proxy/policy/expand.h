/* ${NAME}, ${NAME:-default} and ${file:PATH} inside values.  "$${" stands for "${". */
#ifndef POLICY_EXPAND_H
#define POLICY_EXPAND_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/slice.h"

/* Bounds one value after expansion, and each file it names. */
#define EXPAND_MAX_BYTES ((size_t)64 * 1024)

struct expand_fault {
    size_t offset, len; /* the expansion that failed */
    char message[256];  /* never holds what a variable or file holds */
};

struct expand_file {
    const char *path;
    const struct expand_file *next;
};

struct expand_result {
    struct slice text;               /* a terminated copy in arena */
    bool is_expanded;                /* something came from outside */
    const struct expand_file *files; /* that were read; in arena */
};

/* Files are found relative to the folder of policy_file.  A variable that is not set (or is empty,
 * where there is a default) takes its default; without one it is a fault. */
MUST_USE bool expand_text(struct arena *arena, const char *policy_file, struct slice text,
                          struct expand_result *ret_result, struct expand_fault *ret_fault);

/* path as seen from the folder of policy_file; in arena. */
const char *expand_path(struct arena *arena, const char *policy_file, struct slice path);

#endif
