#include "app/top_command.h"

#include <string.h>

#include "app/cli.h"
#include "app/cli_options.h"
#include "app/remote.h"
#include "app/top.h"
#include "base/arena.h"
#include "policy/scalar.h"

#define MIN_INTERVAL_MS 100
#define MAX_INTERVAL_MS 3600000

struct command_line {
    struct top_options options;
    const char *const *paths;
    size_t path_count;
};

static bool read_interval(const char *text, uint64_t *ret_interval_ms)
{
    struct scalar_fault fault;
    uint64_t us;

    if (!scalar_read_duration(slice_of(text), "s", &us, &fault))
        return false;
    *ret_interval_ms = us / 1000;
    return *ret_interval_ms >= MIN_INTERVAL_MS && *ret_interval_ms <= MAX_INTERVAL_MS;
}

/* True, or it has been told what is wrong. */
static bool read_options(struct command_line *line, int argc, char **argv)
{
    const char *format = NULL, *interval = NULL, *wrong = NULL;
    const struct cli_option options[] = {
        {.name = "--once", .is_given = &line->options.is_once},
        {.name = "--format", .values = &format},
        {.name = "--admin", .values = &line->options.address},
        {.name = "--interval", .values = &interval},
    };
    char problem[CLI_PROBLEM_BYTES];

    line->paths = (const char *const *)&argv[1];
    if (!cli_options_read(argc, argv, options, COUNT_OF(options), &line->path_count, problem))
        wrong = problem;
    else if (format != NULL && strcmp(format, "json") != 0)
        wrong = "the only format is json";
    else if (interval != NULL && !read_interval(interval, &line->options.interval_ms))
        wrong = "--interval needs a duration from 100ms to 1h, like 2s";
    else if (line->options.address != NULL && line->path_count > 0)
        wrong = "give an address or policies, not both";
    line->options.as_json = format != NULL;
    if (wrong != NULL)
        (void)cli_usage_error(argv[0], wrong);
    return wrong == NULL;
}

int top_command_run(int argc, char **argv)
{
    struct command_line line = {.options = {.interval_ms = 1000}};
    struct arena arena;
    int code = CLI_FAILED;

    if (!read_options(&line, argc, argv))
        return CLI_USAGE;
    arena_init(&arena, NULL);
    if (line.options.address == NULL)
        line.options.address =
            remote_find_address(argv[0], "--admin", line.paths, line.path_count, &arena);
    if (line.options.address != NULL)
        code = top_run(&line.options);
    arena_clear(&arena);
    return code;
}
