/* `lockkeeper top`: a running process as it goes, on a terminal. */
#ifndef APP_TOP_H
#define APP_TOP_H

#include <stdbool.h>
#include <stdint.h>

struct top_options {
    const char *address;  /* of the admin port */
    uint64_t interval_ms; /* between two readings */
    bool is_once;         /* one page to standard output; also when that is no terminal */
    bool as_json;         /* that page for programs */
};

/* An exit code of app/cli.h. */
int top_run(const struct top_options *options);

#endif
