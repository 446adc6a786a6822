#include "app/remote.h"

#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/ask.h"
#include "app/cli.h"
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

static bool read_duration(const char *text, uint64_t *ret_ms)
{
    struct scalar_fault fault;
    uint64_t us;

    if (!scalar_read_duration(slice_of(text), "s", &us, &fault))
        return false;
    *ret_ms = us / 1000;
    return *ret_ms > 0 && *ret_ms <= MAX_TIMEOUT_MS;
}

/* NULL, or what is wrong with it. */
static const char *read_options(struct remote *r, int argc, char **argv)
{
    int at = 1;

    r->timeout_ms = DEFAULT_TIMEOUT_MS;
    for (; at < argc && argv[at][0] == '-'; at++) {
        bool has_value = at + 1 < argc;

        if (strcmp(argv[at], r->option) == 0 && has_value) {
            r->address = argv[++at];
        } else if (strcmp(argv[at], "--timeout") == 0 && has_value) {
            if (!read_duration(argv[++at], &r->timeout_ms))
                return "--timeout needs a duration, like 5s";
        } else if (strcmp(argv[at], "--wait") == 0 && has_value &&
                   strcmp(r->command, "drain") == 0) {
            if (!read_duration(argv[++at], &r->wait_ms))
                return "--wait needs a duration, like 5s";
        } else if (strcmp(argv[at], "--live") == 0 && strcmp(r->command, "healthcheck") == 0) {
            r->wants_live = true;
        } else {
            return "unknown option, or one without its value";
        }
    }
    r->paths = (const char *const *)&argv[at];
    r->path_count = (size_t)(argc - at);
    return r->address != NULL && r->path_count > 0 ? "give an address or policies, not both" : NULL;
}

/* By the policies, be they good or bad otherwise; else the default. */
static const char *find_address(struct remote *r)
{
    struct policy_ports ports;
    bool is_admin = strcmp(r->option, "--admin") == 0;
    const char *address;

    if (r->address != NULL)
        return r->address;
    policy_find_ports(r->paths, r->path_count, &r->arena, &ports);
    address = is_admin ? ports.admin : ports.metrics;
    if (address != NULL && strcmp(address, "off") != 0)
        return address;
    fprintf(stderr,
            address == NULL ? "lockkeeper %s: the policies do not say where; give %s ADDRESS\n"
                            : "lockkeeper %s: this port is off in the policies (%s)\n",
            r->command,
            address == NULL ? r->option
            : is_admin      ? "admin"
                            : "metrics");
    return NULL;
}

/* True with the answer; else it has been told why there is none. */
static bool ask(struct remote *r, const char *method, const char *target, unsigned *ret_status,
                struct buf *ret_body)
{
    const char *address = find_address(r), *problem;

    if (address == NULL)
        return false;
    problem = ask_port(&(struct ask){address, method, target, r->timeout_ms}, ret_status, ret_body);
    if (problem != NULL)
        fprintf(stderr, "lockkeeper %s: %s: %s\n", r->command, address, problem);
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

static const char *text_of(json_t *answer, const char *key)
{
    const char *text = json_string_value(json_object_get(answer, key));

    return text != NULL ? text : "?";
}

static int ask_admin(struct remote *r, const char *target, const char *good_key)
{
    int code = CLI_FAILED;
    unsigned status;
    struct buf body;
    json_t *answer;

    buf_init(&body, ASK_MAX_ANSWER_BYTES);
    if (ask(r, "POST", target, &status, &body)) {
        answer = json_loadb(buf_slice(&body).at, buf_len(&body), 0, NULL);
        print_problems(answer);
        if (status == 200) {
            printf("%s\n", text_of(answer, good_key));
            code = CLI_OK;
        } else {
            fprintf(stderr, "lockkeeper %s: %s\n", r->command, text_of(answer, "detail"));
        }
        json_decref(answer);
    }
    buf_clear(&body);
    arena_clear(&r->arena);
    return code;
}

static bool begin(struct remote *r, const char *option, int argc, char **argv,
                  const char **ret_usage)
{
    const char *problem;

    *r = (struct remote){.command = argv[0], .option = option};
    arena_init(&r->arena, NULL);
    problem = read_options(r, argc, argv);
    if (problem != NULL)
        *ret_usage = problem;
    return problem == NULL;
}

int remote_drain(int argc, char **argv, const char **ret_usage)
{
    struct remote r;
    int code;

    if (!begin(&r, "--admin", argc, argv, ret_usage))
        return CLI_USAGE;
    code = ask_admin(&r, "/drain", "state");
    fflush(stdout);
    /* Even if nobody was asked: what the hook holds off is the end of the process. */
    if (r.wait_ms > 0)
        (void)poll(NULL, 0, (int)r.wait_ms);
    return code;
}

int remote_reload(int argc, char **argv, const char **ret_usage)
{
    struct remote r;

    return begin(&r, "--admin", argc, argv, ret_usage) ? ask_admin(&r, "/reload", "hash")
                                                       : CLI_USAGE;
}

int remote_healthcheck(int argc, char **argv, const char **ret_usage)
{
    int code = CLI_FAILED;
    struct remote r;
    unsigned status;
    struct buf body;

    if (!begin(&r, "--metrics", argc, argv, ret_usage))
        return CLI_USAGE;
    buf_init(&body, ASK_MAX_ANSWER_BYTES);
    if (ask(&r, "GET", r.wants_live ? "/live" : "/ready", &status, &body)) {
        printf("%.*s", SLICE_ARGS(buf_slice(&body)));
        code = status == 200 ? CLI_OK : CLI_FAILED;
    }
    buf_clear(&body);
    arena_clear(&r.arena);
    return code;
}
