#include "app/cli.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/cli_options.h"
#include "app/explain.h"
#include "app/problems_json.h"
#include "app/remote.h"
#include "app/server.h"
#include "app/top_command.h"
#include "app/version.h"
#include "base/check.h"
#include "policy/policy.h"

struct command {
    const char *name, *usage, *help;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

static const struct command *find_command(const char *name);
static void print_help(FILE *out);

int cli_usage_error(const char *command, const char *message)
{
    fprintf(stderr, "lockkeeper %s: %s\nusage: lockkeeper %s\n", command, message,
            find_command(command)->usage);
    return CLI_USAGE;
}

/* Policy paths are all that run takes. */
static int run_run(int argc, char **argv)
{
    char problem[CLI_PROBLEM_BYTES];
    size_t path_count;

    if (!cli_options_read(argc, argv, NULL, 0, &path_count, problem))
        return cli_usage_error("run", problem);
    if (path_count == 0)
        return cli_usage_error("run", "name a policy file or a directory of them");
    return server_run((const char *const *)&argv[1], path_count) == 0 ? CLI_OK : CLI_FAILED;
}

static void print_problems_json(const struct policy_problems *problems)
{
    json_t *list = problems_json_list(problems);

    json_dumpf(list, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(list);
}

static void print_verdict(const struct policy *policy, const struct policy_problems *problems)
{
    size_t warning_count = problems->count - problems->error_count;

    if (policy == NULL)
        printf("%zu error%s, %zu warning%s\n", problems->error_count,
               problems->error_count == 1 ? "" : "s", warning_count, warning_count == 1 ? "" : "s");
    else
        printf("ok: %zu file%s, %zu route%s, %zu limit%s, %zu warning%s\n", policy->file_count,
               policy->file_count == 1 ? "" : "s", policy->route_count,
               policy->route_count == 1 ? "" : "s", policy->limit_count,
               policy->limit_count == 1 ? "" : "s", warning_count, warning_count == 1 ? "" : "s");
}

static int check_paths(const char *const *paths, size_t path_count, bool as_json)
{
    struct policy_problems problems;
    struct policy *policy;
    int code;

    policy_problems_init(&problems);
    policy = policy_load(paths, path_count, &problems);
    code = policy != NULL ? CLI_OK : CLI_FAILED;
    if (as_json)
        print_problems_json(&problems);
    else {
        policy_problems_print(&problems, stderr, isatty(2) == 1 && getenv("NO_COLOR") == NULL);
        print_verdict(policy, &problems);
    }
    if (policy != NULL)
        policy_unref(&policy);
    policy_problems_clear(&problems);
    return code;
}

static int run_check(int argc, char **argv)
{
    const char *format = NULL;
    const struct cli_option options[] = {{.name = "--format", .values = &format}};
    char problem[CLI_PROBLEM_BYTES];
    size_t path_count;

    if (!cli_options_read(argc, argv, options, COUNT_OF(options), &path_count, problem))
        return cli_usage_error("check", problem);
    if (format != NULL && strcmp(format, "json") != 0)
        return cli_usage_error("check", "the only format is json");
    if (path_count == 0)
        return cli_usage_error("check", "name a policy file or a directory of them");
    return check_paths((const char *const *)&argv[1], path_count, format != NULL);
}

static int explain_words(struct explain_request *request, const char **headers, int argc,
                         char **argv)
{
    const struct cli_option options[] = {
        {.name = "-H", .values = headers, .value_count = &request->header_count},
        {.name = "--client", .values = &request->client},
        {.name = "--live", .is_given = &request->is_live},
        {.name = "--admin", .values = &request->admin},
    };
    char problem[CLI_PROBLEM_BYTES];
    size_t word_count;

    if (!cli_options_read(argc, argv, options, COUNT_OF(options), &word_count, problem))
        return cli_usage_error("explain", problem);
    if (word_count < 2)
        return cli_usage_error("explain", "name the policies, then one 'METHOD TARGET'");
    request->is_live |= request->admin != NULL;
    request->paths = (const char *const *)&argv[1];
    request->path_count = word_count - 1;
    request->request_line = argv[word_count];
    return explain_run(request, stdout);
}

static int run_explain(int argc, char **argv)
{
    const char **headers = calloc((size_t)argc, sizeof(*headers));
    struct explain_request request = {.headers = headers};
    int code;

    CHECK(headers != NULL);
    code = explain_words(&request, headers, argc, argv);
    free(headers);
    return code;
}

static int run_schema(int argc, char **argv)
{
    UNUSED(argv);
    if (argc > 1)
        return cli_usage_error("schema", "it takes no arguments");
    policy_write_schema(stdout);
    return CLI_OK;
}

static int run_reference(int argc, char **argv)
{
    UNUSED(argv);
    if (argc > 1)
        return cli_usage_error("reference", "it takes no arguments");
    policy_write_reference(stdout);
    return CLI_OK;
}

static int run_version(int argc, char **argv)
{
    UNUSED(argv);
    if (argc > 1)
        return cli_usage_error("version", "it takes no arguments");
    version_print(stdout);
    return CLI_OK;
}

static int run_help(int argc, char **argv)
{
    const struct command *command = argc > 1 ? find_command(argv[1]) : NULL;

    if (argc > 1 && command == NULL) {
        fprintf(stderr, "lockkeeper help: there is no command \"%s\"\n", argv[1]);
        return CLI_USAGE;
    }
    if (command != NULL)
        printf("usage: lockkeeper %s\n\n%s\n", command->usage, command->help);
    else
        print_help(stdout);
    return CLI_OK;
}

#define WHERE_IS(option, by_default)                                                               \
    "It is found at --" option                                                                     \
    " ADDRESS (IP:PORT or unix:/path), or where the policies in PATH say "                         \
    "(even if\nthey have errors), else at " by_default ".  --timeout: 5s."

static const struct command commands[] = {
    {"run", "run PATH...",
     "Run the proxy with the policies in PATH (files, or directories of *.yaml).  Logs go to "
     "stderr, the\n"
     "access log to stdout.  SIGTERM finishes what runs and exits 0; policies are loaded "
     "again\n"
     "when they change, and on SIGHUP.",
     run_run},
    {"check", "check [--format json] PATH...",
     "Report every error and warning in the policies, with file, line and column.  Exits 0 when\n"
     "they can be used, else 1.  `lockkeeper -t PATH...` is the same.",
     run_check},
    {"explain",
     "explain PATH... 'METHOD TARGET' [-H 'name: value']... [--client ADDRESS] [--live] [--admin "
     "ADDRESS]",
     "Show which route a request would take, its keys and limits, and what the store would be "
     "asked.\n"
     "The request has `Host: localhost` and comes from 127.0.0.1 unless -H and --client say "
     "otherwise.\n"
     "--live asks the running process, by the policies' admin port or ADDRESS, what its limits and "
     "locks\n"
     "would say to the request now; nothing is charged or taken.",
     run_explain},
    {"top", "top [--once] [--format json] [--interval DURATION] [--admin ADDRESS | PATH...]",
     "Show a running process as it goes: requests, who is refused or near a limit, locks that are "
     "held and\n"
     "waited for, the store, the service.  It is found by its admin port, which is that of the "
     "policies in\n"
     "PATH, or else 127.0.0.1:9103.  q quits, space reads again at once.  --once prints one page, "
     "and\n"
     "--format json the same for programs.",
     top_command_run},
    {"reload", "reload [--admin ADDRESS] [--timeout DURATION] [PATH...]",
     "Let the running process load its policies again.  Exits 0 with the hash of what is in force, "
     "or "
     "1 with\n"
     "the problems; the policies in force stay then.\n" WHERE_IS("admin", "127.0.0.1:9103"),
     remote_reload},
    {"drain", "drain [--wait DURATION] [--admin ADDRESS] [--timeout DURATION] [PATH...]",
     "Let the running process fail /ready and close connections after their answers.  It goes on "
     "serving, and\n"
     "does not exit: that is for SIGTERM.  For a preStop hook, which --wait makes last: until then "
     "no\n"
     "SIGTERM comes.\n" WHERE_IS("admin", "127.0.0.1:9103"),
     remote_drain},
    {"healthcheck", "healthcheck [--live] [--metrics ADDRESS] [--timeout DURATION] [PATH...]",
     "Ask the running process whether it is ready (--live: alive).  Exits 0 if so, else "
     "1.\n" WHERE_IS("metrics", "127.0.0.1:9102"),
     remote_healthcheck},
    {"schema", "schema", "Print the JSON Schema (draft-07) of a policy file.", run_schema},
    {"reference", "reference", "Print the tables of all policy keys as Markdown.", run_reference},
    {"version", "version", "Print the version and those of the libraries it was built with.",
     run_version},
    {"help", "help [COMMAND]", "Print this, or what a command takes.", run_help},
};

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void print_help(FILE *out)
{
    fputs("Lockkeeper: rate limits and locks in front of an HTTP service.\n\n", out);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(out, "  lockkeeper %s\n", commands[i].usage);
    fputs("\n`lockkeeper help COMMAND` tells more.\n"
          "Exit codes: 0 good, 1 bad policies or failure, 2 wrong usage; of `run` after a second\n"
          "SIGTERM or SIGINT, 128 and the signal's number.\n",
          out);
}

/* Options that people try first are taken for what they mean. */
static const char *command_name(const char *word)
{
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
        return "help";
    if (strcmp(word, "-v") == 0 || strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0)
        return "version";
    if (strcmp(word, "-t") == 0)
        return "check";
    return word;
}

/* Whoever closed one of them would have the next file or socket take its number, and what is meant
 * for a log go there. */
static void open_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", O_RDWR); /* the lowest number that is free: this one */
}

/* What could not be written has failed, whatever else went well. */
static int finish_output(int code)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return code;
    perror("lockkeeper: standard output");
    return code == CLI_OK ? CLI_FAILED : code;
}

int cli_run(int argc, char **argv)
{
    const struct command *command = argc > 1 ? find_command(command_name(argv[1])) : NULL;

    open_standard_files();
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (command == NULL) {
        fprintf(stderr, "lockkeeper: there is no command \"%s\"\n\n", argv[1]);
        print_help(stderr);
        return CLI_USAGE;
    }
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            printf("usage: lockkeeper %s\n\n%s\n", command->usage, command->help);
            return finish_output(CLI_OK);
        }
    }
    return finish_output(command->run(argc - 1, argv + 1));
}
