/* The text of one policy file, and places in it. */
#ifndef POLICY_SOURCE_H
#define POLICY_SOURCE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/slice.h"

/* The largest policy file we read. */
#define SOURCE_MAX_BYTES ((size_t)1024 * 1024)

struct source {
    const char *name; /* as the user named it */
    struct slice text;
    unsigned order; /* place among the files of one load; problems are sorted by it */
};

/* Lines and columns count from 1, columns in characters.  line == 0: the file as a whole. */
struct source_mark {
    const struct source *source;
    unsigned line, column, width;
};

/* The text of a line without its line break; empty when there is no such line. */
struct slice source_line(const struct source *source, unsigned line);

/* The place of a byte of the text, one column wide. */
struct source_mark source_mark_at(const struct source *source, size_t offset);

/* Read a regular file of at most max_bytes into arena.  NULL, or what went wrong (in arena). */
MUST_USE const char *source_read(struct arena *arena, const char *path, size_t max_bytes,
                                 struct slice *ret_text);

#endif
