#include "app/admin.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "app/admin_config.h"
#include "app/admin_limits.h"
#include "app/admin_locks.h"
#include "app/inquiry.h"
#include "app/metrics_port.h"
#include "app/port.h"
#include "app/problems_json.h"
#include "app/reload.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/metrics.h"
#include "policy/policy.h"

#define ADMIN_TAG 0x41444d4eu /* "ADMN" */

struct admin {
    uint32_t tag;
    struct port *port;
    struct admin_source source;
    struct inquiry_list *inquiries;
};

const struct admin_source *admin_source(const struct admin *admin)
{
    CHECK_TAG(admin, ADMIN);
    return &admin->source;
}

struct inquiry *admin_inquire(struct admin *admin, const struct inquiry_kind *kind,
                              struct port_exchange *exchange)
{
    CHECK_TAG(admin, ADMIN);
    /* A worker's loop may be gone at any time then. */
    if (strcmp(admin->source.state(admin->source.owner), "stopping") == 0) {
        port_refuse(&exchange, 503, "stopping", "the process is ending");
        return NULL;
    }
    return inquiry_open(admin->inquiries, kind, exchange);
}

void admin_answer(struct port_exchange **exchange, unsigned status, struct json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2));

    json_decref(value);
    /* Only text that is no UTF-8 cannot be written. */
    if (text == NULL) {
        port_refuse(exchange, 500, "not-utf-8", "the answer holds bytes that are not UTF-8");
        return;
    }
    /* It ends with a line's end, for terminals. */
    port_answer(exchange,
                &(struct port_content){.status = status,
                                       .type = status < 400 ? "application/json"
                                                            : "application/problem+json",
                                       .body = arena_printf(port_arena(*exchange), "%s\n", text)});
    free(text);
}

static void answer_list(void *owner, struct port_exchange *exchange);

static void answer_metrics(void *owner, struct port_exchange *exchange)
{
    struct admin *admin = owner;

    CHECK_TAG(admin, ADMIN);
    metrics_port_answer_page(admin->source.metrics, admin->source.embedded, exchange);
}

static json_t *log_level_json(void)
{
    return json_pack("{s:s}", "level", log_level_name(log_get_level()));
}

static void answer_log_level(void *owner, struct port_exchange *exchange)
{
    UNUSED(owner);
    admin_answer(&exchange, 200, log_level_json());
}

static void set_log_level(void *owner, struct port_exchange *exchange)
{
    struct slice name = port_parameter(exchange, SLICE("level"));
    enum log_level level;

    UNUSED(owner);
    if (!log_level_from(name, &level)) {
        port_refuse(&exchange, 400, "bad-level", "give ?level=error, warn, info or debug");
        return;
    }
    log_set_level(level);
    admin_answer(&exchange, 200, log_level_json());
}

static void run_reload(void *owner, struct port_exchange *exchange)
{
    struct admin *admin = owner;
    struct policy_problems problems;
    struct reload_result result;
    json_t *list;

    CHECK_TAG(admin, ADMIN);
    if (strcmp(admin->source.state(admin->source.owner), "stopping") == 0) {
        port_refuse(&exchange, 409, "stopping", "the process is about to end");
        return;
    }
    policy_problems_init(&problems);
    reload_now(admin->source.reload, &problems, &result);
    list = problems_json_list(&problems);
    if (result.is_good)
        admin_answer(&exchange, 200,
                     json_pack("{s:s, s:i, s:o}", "hash", result.hash_hex, "routes",
                               (int)reload_policy(admin->source.reload)->route_count, "problems",
                               list));
    else
        admin_answer(&exchange, 422,
                     json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:o}", "type", "about:blank",
                               "title", "The policies in force stay", "status", 422, "reason",
                               result.why, "detail", result.detail, "hash", result.hash_hex,
                               "problems", list));
    policy_problems_clear(&problems);
}

static void run_drain(void *owner, struct port_exchange *exchange)
{
    struct admin *admin = owner;

    CHECK_TAG(admin, ADMIN);
    admin->source.drain(admin->source.owner);
    admin_answer(&exchange, 200,
                 json_pack("{s:s}", "state", admin->source.state(admin->source.owner)));
}

static const struct port_endpoint endpoints[] = {
    {"GET", "/", answer_list, "these endpoints, and the state of the process"},
    {"GET", "/config", admin_config_answer,
     "the policies in force, with defaults and without secrets"},
    {"GET", "/routes", admin_config_answer_routes,
     "the routes, in the order in which they are tried, and what they have answered"},
    {"POST", "/reload", run_reload, "load the policies again"},
    {"POST", "/drain", run_drain,
     "fail /ready and close connections after their answers, but go on serving; only a restart "
     "undoes it"},
    {"GET", "/metrics", answer_metrics, "the page of the read-only port"},
    {"GET", "/limits", admin_limits_list,
     "what each limit has decided, and its ?count=10 keys that ask most and are refused most"},
    {"GET", "/limits/", admin_limits_get,
     "/limits/ROUTE/LIMIT?key=VALUE: what it would say to that key now; nothing is charged"},
    {"DELETE", "/limits/", admin_limits_forget,
     "/limits/ROUTE/LIMIT?key=VALUE: forget what that key has used"},
    {"GET", "/locks", admin_locks_list,
     "what requests here hold and wait for; ?key=KEY: who holds that lock and waits for it, "
     "everywhere"},
    {"DELETE", "/locks", admin_locks_break,
     "?key=KEY: break that lock: its holders are out and fenced off, the queue goes on"},
    {"DELETE", "/locks/", admin_locks_break, "/locks/KEY: the same"},
    {"GET", "/log-level", answer_log_level, "from which level on the process log speaks"},
    {"POST", "/log-level", set_log_level,
     "?level=error, warn, info or debug: until the next reload or restart"},
};

static void answer_list(void *owner, struct port_exchange *exchange)
{
    const struct admin *admin = owner;
    json_t *list = json_array();

    CHECK_TAG(admin, ADMIN);
    for (size_t i = 0; i < COUNT_OF(endpoints); i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s}", "method", endpoints[i].method, "path",
                                        endpoints[i].path, "help", endpoints[i].help));
    admin_answer(&exchange, 200,
                 json_pack("{s:s, s:s, s:s, s:o}", "version", LOCKKEEPER_VERSION, "state",
                           admin->source.state(admin->source.owner), "hash",
                           reload_policy(admin->source.reload)->hash_hex, "endpoints", list));
}

int admin_open(struct loop *loop, const char *address, const struct admin_source *source,
               struct admin **ret_admin)
{
    struct admin *admin = mem_calloc(1, sizeof(*admin));
    const struct port_settings settings = {.address = address,
                                           .endpoints = endpoints,
                                           .endpoint_count = COUNT_OF(endpoints),
                                           .owner = admin,
                                           .is_private = true};
    int error = port_open(loop, &settings, &admin->port);

    if (error != 0) {
        free(admin);
        return error;
    }
    admin->tag = ADMIN_TAG;
    admin->source = *source;
    (void)metrics_series0(source->metrics, METRIC_LOCK_BREAKS); /* shown from the start */
    admin->inquiries = inquiry_list_open(loop, source->workers, source->worker_count);
    *ret_admin = admin;
    return 0;
}

uint16_t admin_port(const struct admin *admin)
{
    CHECK_TAG(admin, ADMIN);
    return port_number(admin->port);
}

void admin_close(struct admin **place)
{
    struct admin *admin = TAKE(place);

    CHECK_TAG(admin, ADMIN);
    inquiry_list_close(&admin->inquiries);
    port_close(&admin->port);
    admin->tag = 0;
    free(admin);
}
