#include "app/remote.h"

#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/ask.h"
#include "app/cli.h"
#include "app/cli_options.h"
#include "base/arena.h"
#include "base/buf.h"
#include "policy/policy.h"
#include "policy/scalar.h"

#define DEFAULT_TIMEOUT_MS 5000
#define MAX_TIMEOUT_MS 3600000

/* What the command line says. */
struct remote {
    const char *command;
    const char *option; /* "--admin" or "--metrics" */
    const char *address;
    const char *const *paths;
    size_t path_count;
    uint64_t timeout_ms, wait_ms;
    bool wants_live;
    struct arena arena;
};

static void complain(const struct remote *r, const char *problem, const char *advice)
{
    fprintf(stderr, "lockkeeper %s: %s: %s%s\n", r->command, r->address, problem, advice);
}

static bool read_duration(const char *text, uint64_t *ret_ms)
{
    struct scalar_fault fault;
    uint64_t us;

    if (!scalar_read_duration(slice_of(text), "s", &us, &fault))
        return false;
    *ret_ms = us / 1000;
    return *ret_ms > 0 && *ret_ms <= MAX_TIMEOUT_MS;
}

/* True, or it has been told what is wrong. */
static bool read_options(struct remote *r, int argc, char **argv)
{
    const char *timeout = NULL, *wait = NULL;
    bool is_drain = strcmp(r->command, "drain") == 0;
    const struct cli_option options[] = {
        {.name = r->option, .values = &r->address},
        {.name = "--timeout", .values = &timeout},
        is_drain ? (struct cli_option){.name = "--wait", .values = &wait}
                 : (struct cli_option){.name = "--live", .is_given = &r->wants_live}};
    /* reload has no third one. */
    size_t option_count = COUNT_OF(options) - (strcmp(r->command, "reload") == 0);
    char problem[CLI_PROBLEM_BYTES];
    const char *wrong = NULL;

    r->timeout_ms = DEFAULT_TIMEOUT_MS;
    r->paths = (const char *const *)&argv[1];
    if (!cli_options_read(argc, argv, options, option_count, &r->path_count, problem))
        wrong = problem;
    else if (timeout != NULL && !read_duration(timeout, &r->timeout_ms))
        wrong = "--timeout needs a duration, like 5s";
    else if (wait != NULL && !read_duration(wait, &r->wait_ms))
        wrong = "--wait needs a duration, like 5s";
    else if (r->address != NULL && r->path_count > 0)
        wrong = "give an address or policies, not both";
    if (wrong != NULL)
        (void)cli_usage_error(r->command, wrong);
    return wrong == NULL;
}

const char *remote_find_address(const char *command, const char *option, const char *const *paths,
                                size_t path_count, struct arena *arena)
{
    bool is_admin = strcmp(option, "--admin") == 0;
    struct policy_ports ports;
    const char *address;

    policy_find_ports(paths, path_count, arena, &ports);
    address = is_admin ? ports.admin : ports.metrics;
    if (address != NULL && strcmp(address, "off") != 0)
        return address;
    if (address != NULL)
        fprintf(stderr, "lockkeeper %s: this port is off in the policies (%s)\n", command,
                is_admin ? "admin" : "metrics");
    else
        fprintf(stderr, "lockkeeper %s: %s; else give %s ADDRESS\n", command,
                ports.problem != NULL
                    ? ports.problem
                    : "the policies do not say where: is a variable not set here?",
                option);
    return NULL;
}

/* True with the answer; else it has been told why there is none. */
static bool ask(struct remote *r, const char *method, const char *target, unsigned *ret_status,
                struct buf *ret_body)
{
    bool is_guess = r->address == NULL && r->path_count == 0;
    const char *problem;

    if (r->address == NULL)
        r->address = remote_find_address(r->command, r->option, r->paths, r->path_count, &r->arena);
    if (r->address == NULL)
        return false;
    problem =
        ask_port(&(struct ask){r->address, method, target, r->timeout_ms}, ret_status, ret_body);
    if (problem != NULL)
        complain(r, problem, is_guess ? "; if it is elsewhere, name its policies" : "");
    return problem == NULL;
}

static void print_problems(json_t *answer)
{
    size_t at;
    json_t *problem;

    json_array_foreach(json_object_get(answer, "problems"), at, problem)
    {
        const char *severity = "", *file = "", *where = "", *message = "";
        int line = 0, column = 0;

        if (json_unpack(problem, "{s:s, s:s, s:i, s:i, s:s, s:s}", "severity", &severity, "file",
                        &file, "line", &line, "column", &column, "where", &where, "message",
                        &message) == 0)
            fprintf(stderr, "%s:%d:%d: %s: %s%s%s\n", file, line, column, severity, where,
                    where[0] != '\0' ? ": " : "", message);
    }
}

static int ask_admin(struct remote *r, const char *target, const char *good_key)
{
    int code = CLI_FAILED;
    unsigned status;
    const char *text;
    struct buf body;
    json_t *answer;

    buf_init(&body, ASK_MAX_ANSWER_BYTES);
    if (ask(r, "POST", target, &status, &body)) {
        answer = json_loadb(buf_slice(&body).at, buf_len(&body), 0, NULL);
        text = json_string_value(json_object_get(answer, status == 200 ? good_key : "detail"));
        print_problems(answer);
        if (text == NULL)
            complain(r, ASK_STRANGER, "");
        else if (status == 200)
            printf("%s\n", text);
        else
            fprintf(stderr, "lockkeeper %s: %s\n", r->command, text);
        code = text != NULL && status == 200 ? CLI_OK : CLI_FAILED;
        json_decref(answer);
    }
    buf_clear(&body);
    arena_clear(&r->arena);
    return code;
}

static bool begin(struct remote *r, const char *option, int argc, char **argv)
{
    *r = (struct remote){.command = argv[0], .option = option};
    arena_init(&r->arena, NULL);
    return read_options(r, argc, argv);
}

int remote_drain(int argc, char **argv)
{
    struct remote r;
    int code;

    if (!begin(&r, "--admin", argc, argv))
        return CLI_USAGE;
    code = ask_admin(&r, "/drain", "state");
    fflush(stdout);
    /* Even if nobody was asked: what the hook holds off is the end of the process. */
    if (r.wait_ms > 0)
        (void)poll(NULL, 0, (int)r.wait_ms);
    return code;
}

int remote_reload(int argc, char **argv)
{
    struct remote r;

    return begin(&r, "--admin", argc, argv) ? ask_admin(&r, "/reload", "hash") : CLI_USAGE;
}

int remote_healthcheck(int argc, char **argv)
{
    int code = CLI_FAILED;
    struct remote r;
    unsigned status;
    struct buf body;

    if (!begin(&r, "--metrics", argc, argv))
        return CLI_USAGE;
    buf_init(&body, ASK_MAX_ANSWER_BYTES);
    if (ask(&r, "GET", r.wants_live ? "/live" : "/ready", &status, &body)) {
        bool is_good =
            slice_equal(buf_slice(&body), r.wants_live ? SLICE("live\n") : SLICE("ready\n"));

        if (is_good == (status == 200))
            printf("%.*s", SLICE_ARGS(buf_slice(&body)));
        else
            complain(&r, ASK_STRANGER, "");
        code = is_good && status == 200 ? CLI_OK : CLI_FAILED;
    }
    buf_clear(&body);
    arena_clear(&r.arena);
    return code;
}
