#include "app/top_command.h"

#include <stdio.h>
#include <string.h>

#include "app/cli.h"
#include "app/top.h"
#include "base/arena.h"
#include "policy/policy.h"
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

/* NULL, or what is wrong with it. */
static const char *read_options(struct command_line *line, int argc, char **argv)
{
    int at = 1;

    for (; at < argc && argv[at][0] == '-'; at++) {
        bool has_value = at + 1 < argc;

        if (strcmp(argv[at], "--once") == 0)
            line->options.is_once = true;
        else if (strcmp(argv[at], "--format=json") == 0)
            line->options.as_json = true;
        else if (strcmp(argv[at], "--format") == 0 && has_value &&
                 strcmp(argv[at + 1], "json") == 0)
            line->options.as_json = ++at > 0;
        else if (strcmp(argv[at], "--admin") == 0 && has_value)
            line->options.address = argv[++at];
        else if (strcmp(argv[at], "--interval") == 0 && has_value) {
            if (!read_interval(argv[++at], &line->options.interval_ms))
                return "--interval needs a duration from 100ms to 1h, like 2s";
        } else
            return "unknown option, or one without its value";
    }
    line->paths = (const char *const *)&argv[at];
    line->path_count = (size_t)(argc - at);
    return line->options.address != NULL && line->path_count > 0
               ? "give an address or policies, not both"
               : NULL;
}

/* By the policies, be they good or bad otherwise; else the default.  NULL: it cannot be told, which
 * has been said. */
static const char *find_address(const struct command_line *line, struct arena *arena)
{
    struct policy_ports ports;

    if (line->options.address != NULL)
        return line->options.address;
    policy_find_ports(line->paths, line->path_count, arena, &ports);
    if (ports.admin != NULL && strcmp(ports.admin, "off") != 0)
        return ports.admin;
    fputs(ports.admin == NULL
              ? "lockkeeper top: the policies do not say where; give --admin ADDRESS\n"
              : "lockkeeper top: this port is off in the policies (admin)\n",
          stderr);
    return NULL;
}

int top_command_run(int argc, char **argv, const char **ret_usage)
{
    struct command_line line = {.options = {.interval_ms = 1000}};
    struct arena arena;
    int code = CLI_FAILED;

    *ret_usage = read_options(&line, argc, argv);
    if (*ret_usage != NULL)
        return CLI_USAGE;
    arena_init(&arena, NULL);
    line.options.address = find_address(&line, &arena);
    if (line.options.address != NULL)
        code = top_run(&line.options);
    arena_clear(&arena);
    return code;
}
