/* The options of a command's line: the same rules for all commands. */
#ifndef APP_CLI_OPTIONS_H
#define APP_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"

/* What is wrong fits, cut if need be. */
#define CLI_PROBLEM_BYTES 80

struct cli_option {
    const char *name;    /* "--admin" */
    bool *is_given;      /* of an option without a value, else NULL */
    const char **values; /* where its value goes; the last one given counts, ... */
    size_t *
        value_count; /* ... but when this is set, each has its place: there must be room for argc */
};

/* Options may stand anywhere, as "--name value" or "--name=value"; what stands behind "--" is none.
 * The other words are moved to argv[1] and on.  False: ret_problem says what is wrong. */
MUST_USE bool cli_options_read(int argc, char **argv, const struct cli_option *options,
                               size_t option_count, size_t *ret_word_count,
                               char ret_problem[CLI_PROBLEM_BYTES]);

#endif
