/* What is wrong with a set of policy files: collected in one run, printed in file order. */
#ifndef POLICY_PROBLEMS_H
#define POLICY_PROBLEMS_H

#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "policy/source.h"

enum policy_severity { POLICY_ERROR, POLICY_WARNING };

struct policy_problem {
    enum policy_severity severity;
    const char *file;
    unsigned line, column;   /* from 1; 0 = the file as a whole */
    unsigned width;          /* how many columns the caret marks, at least 1 */
    const char *where;       /* "routes[2].limits[0].rate", or "" */
    const char *message;     /* what is wrong and what would be right */
    const char *source_line; /* the line's text, or NULL */
    unsigned file_order;     /* sorts the files as they were given */
};

/* Problems beyond this many are counted but not kept. */
#define POLICY_MAX_PROBLEMS 1000

struct policy_problems {
    struct policy_problem *items;
    size_t count, cap;
    size_t error_count;
    struct arena arena;
};

void policy_problems_init(struct policy_problems *problems);
void policy_problems_clear(struct policy_problems *problems);
/* file:line:col: error: where: message, the source line, a caret; in colour when is_tty. */
void policy_problems_print(const struct policy_problems *problems, FILE *out, bool is_tty);

/* What is said about one place.  is_secret: the source line is not kept. */
struct problems_place {
    struct source_mark mark;
    const char *where;
    bool is_secret;
};

void policy_problems_add(struct policy_problems *problems, enum policy_severity severity,
                         const struct problems_place *place, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* By file, line and column; problems of one place keep their order. */
void policy_problems_sort(struct policy_problems *problems);

#endif
