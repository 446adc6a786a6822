#include "app/reload.h"

#include <stdlib.h>
#include <unistd.h>

#include "app/certificates.h"
#include "app/notify.h"
#include "app/policy_watch.h"
#include "base/arena.h"
#include "base/log.h"
#include "net/loop.h"
#include "policy/policy.h"

#define RELOAD_TAG 0x524c4f44u /* "RLOD" */
#define CERTIFICATES_MS 10000

struct reload {
    uint32_t tag;
    struct loop *loop;
    const char *const *paths;
    size_t path_count;
    struct policy *policy;
    struct certificates *certificates;
    struct metrics *metrics;
    struct policy_watch *watch;
    bool is_last_good;
    struct notify *notify; /* NULL: not ready yet */
    reload_cb *on_change;  /* NULL: nothing is published (yet) */
    void *owner;
    struct timer certificates_timer;
};

/* The log of a process that nobody watches stays JSON, line by line. */
static void log_problems(const struct policy_problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        const struct policy_problem *p = &problems->items[i];
        const struct log_field fields[] = {
            LOG_STR("file", p->file),       LOG_UINT("line", p->line),
            LOG_UINT("column", p->column),  LOG_STR("where", p->where),
            LOG_STR("message", p->message), {LOG_FIELD_END, NULL, {NULL}}};

        if (p->severity == POLICY_ERROR)
            log_write(LOG_ERROR, NULL, "error in a policy", fields);
        else
            log_write(LOG_WARN, NULL, "warning about a policy", fields);
    }
}

static struct policy *load(const struct reload *r, struct policy_problems *problems)
{
    struct policy *policy = policy_load(r->paths, r->path_count, problems);

    if (isatty(2) == 1)
        policy_problems_print(problems, stderr, getenv("NO_COLOR") == NULL);
    else
        log_problems(problems);
    return policy;
}

static void on_files_changed(void *owner);

/* A file that can never be seen to change is told once, in the log of the start. */
static void warn_of_mounts(const struct policy *policy)
{
    for (size_t i = 0; i < policy->file_count; i++)
        if (policy_watch_is_mount(policy->files[i]))
            log_warn(NULL,
                     "this policy is a mount of its own (a subPath, or one file): what replaces it "
                     "outside will not be seen here; mount its folder",
                     LOG_STR("file", policy->files[i]));
}

struct reload *reload_open(struct loop *loop, const char *const *paths, size_t path_count)
{
    struct reload *r = mem_calloc(1, sizeof(*r));
    struct policy_problems problems;

    r->tag = RELOAD_TAG;
    r->loop = loop;
    r->paths = paths;
    r->path_count = path_count;
    r->watch = policy_watch_open(loop, paths, path_count, on_files_changed, r);
    policy_watch_look(r->watch);
    policy_problems_init(&problems);
    r->policy = load(r, &problems);
    if (r->policy == NULL)
        log_error(NULL, "cannot start: the policies have errors",
                  LOG_UINT("errors", problems.error_count),
                  LOG_STR("hint", "`lockkeeper check` shows them all, the log ten at most"));
    policy_problems_clear(&problems);
    if (r->policy == NULL) {
        policy_watch_close(&r->watch);
        free(r);
        return NULL;
    }
    r->is_last_good = true;
    policy_watch_follow(r->watch, r->policy);
    log_set_level(r->policy->settings.log_level);
    return r;
}

static void record_good(struct reload *r)
{
    struct metrics_shard *shard = metrics_shard(r->metrics, 0);

    metrics_set(shard, metrics_series0(r->metrics, METRIC_CONFIG_LAST_RELOAD_OK), 1);
    metrics_set(shard, metrics_series0(r->metrics, METRIC_CONFIG_LAST_RELOAD_TIME),
                (int64_t)(loop_wall_clock_us() / 1000000));
}

static void count_reload(struct reload *r, bool is_good)
{
    struct metrics_shard *shard = metrics_shard(r->metrics, 0);

    metrics_add(shard,
                metrics_series1(r->metrics, METRIC_CONFIG_RELOADS, is_good ? "success" : "failure"),
                1);
    if (is_good)
        record_good(r);
    else
        metrics_set(shard, metrics_series0(r->metrics, METRIC_CONFIG_LAST_RELOAD_OK), 0);
}

static bool text_differs(const char *a, const char *b)
{
    return strcmp(a, b) != 0;
}

/* What only a start can change; the first such key that differs, or NULL. */
static const char *needs_restart(const struct policy_settings *a, const struct policy_settings *b)
{
    return text_differs(a->listen, b->listen)                       ? "listen"
           : text_differs(a->metrics, b->metrics)                   ? "metrics"
           : text_differs(a->admin, b->admin)                       ? "admin"
           : a->workers != b->workers                               ? "workers"
           : text_differs(a->store, b->store)                       ? "store"
           : text_differs(a->store_key_prefix, b->store_key_prefix) ? "store_options.key_prefix"
           : (a->tls_certificate == NULL) != (b->tls_certificate == NULL)           ? "tls"
           : (a->access_log == POLICY_LOG_OFF) != (b->access_log == POLICY_LOG_OFF) ? "access_log"
                                                                                    : NULL;
}

/* Takes both references. */
static void replace(struct reload *r, struct policy *policy, struct certificates *certificates)
{
    if (r->on_change != NULL)
        r->on_change(r->owner, policy, certificates);
    policy_unref(&r->policy);
    certificates_unref(&r->certificates);
    r->policy = policy;
    r->certificates = certificates;
}

static void fail(struct reload *r, const struct policy_problems *problems,
                 struct reload_result *ret_result, const char *why, const char *detail)
{
    r->is_last_good = false;
    *ret_result =
        (struct reload_result){.hash_hex = r->policy->hash_hex, .why = why, .detail = detail};
    count_reload(r, false);
    log_error(NULL, "reload failed: the policies in force stay", LOG_STR("why", why),
              LOG_STR("detail", detail), LOG_UINT("errors", problems->error_count),
              LOG_STR("hash", r->policy->hash_hex));
}

/* Takes the policy; NULL: it could not be loaded. */
static void apply(struct reload *r, struct policy *policy, struct policy_problems *problems,
                  struct reload_result *ret_result)
{
    struct certificates *certificates;
    const char *key;

    if (policy == NULL) {
        fail(r, problems, ret_result, "bad-policies", "the policies have errors");
        return;
    }
    key = needs_restart(&r->policy->settings, &policy->settings);
    if (key != NULL) {
        char detail[100];

        snprintf(detail, sizeof(detail), "%s can only change with a restart", key);
        policy_unref(&policy);
        /* The caller may keep it. */
        fail(r, problems, ret_result, "needs-restart",
             arena_copy(&problems->arena, slice_of(detail)).at);
        return;
    }
    certificates = certificates_open(policy);
    if (certificates == NULL) {
        policy_unref(&policy);
        fail(r, problems, ret_result, "bad-certificates",
             "a certificate or key cannot be used; the log says which");
        return;
    }
    policy_bind_metrics(policy, r->metrics);
    log_set_level(policy->settings.log_level);
    replace(r, policy, certificates);
    r->is_last_good = true;
    policy_watch_follow(r->watch, policy);
    count_reload(r, true);
    *ret_result = (struct reload_result){.is_good = true, .hash_hex = policy->hash_hex};
    log_info(NULL, "policies reloaded", LOG_STR("hash", policy->hash_hex),
             LOG_UINT("routes", policy->route_count));
}

void reload_tell(struct reload *r, struct notify *notify)
{
    char text[200];

    CHECK_TAG(r, RELOAD);
    r->notify = notify;
    snprintf(text, sizeof(text), "%zu routes of %zu files, %s%s", r->policy->route_count,
             r->policy->file_count, r->policy->hash_hex,
             r->is_last_good ? "" : "; the newest policies have errors, see the log");
    notify_ready(notify, text);
}

void reload_now(struct reload *r, struct policy_problems *problems,
                struct reload_result *ret_result)
{
    CHECK_TAG(r, RELOAD);
    if (r->notify != NULL)
        notify_reloading(r->notify);
    policy_watch_look(r->watch);
    apply(r, load(r, problems), problems, ret_result);
    if (r->notify != NULL)
        reload_tell(r, r->notify);
}

static void on_files_changed(void *owner)
{
    struct reload *r = owner;
    struct policy_problems problems;
    struct reload_result result;
    struct policy *policy;

    CHECK_TAG(r, RELOAD);
    if (r->on_change == NULL || r->policy->settings.reload != POLICY_RELOAD_WATCH)
        return;
    policy_problems_init(&problems);
    policy = load(r, &problems);
    /* Touched, or put back before anybody saw it: nothing to tell. */
    if (policy != NULL && r->is_last_good && strcmp(policy->hash_hex, r->policy->hash_hex) == 0)
        policy_unref(&policy);
    else
        apply(r, policy, &problems, &result);
    /* Nobody waits for this one: what the manager shows is enough. */
    if (r->notify != NULL)
        reload_tell(r, r->notify);
    policy_problems_clear(&problems);
}

/* Renewed files of the same policies.  One that cannot be used (yet: the key may come after the
 * certificate) leaves what is in use. */
static void on_certificates_timer(struct timer *timer)
{
    struct reload *r = CONTAINER_OF(timer, struct reload, certificates_timer);
    struct certificates *certificates;

    CHECK_TAG(r, RELOAD);
    timer_start(r->loop, timer, CERTIFICATES_MS, on_certificates_timer);
    if (!certificates_have_changed(r->certificates))
        return;
    certificates = certificates_open(r->policy);
    if (certificates == NULL)
        return;
    replace(r, policy_ref(r->policy), certificates);
    log_info(NULL, "certificates reloaded", LOG_STR("hash", r->policy->hash_hex));
}

bool reload_start(struct reload *r, struct metrics *metrics)
{
    CHECK_TAG(r, RELOAD);
    r->metrics = metrics;
    policy_bind_metrics(r->policy, metrics);
    record_good(r);
    /* Shown from the start, so that the first one is seen as an increase. */
    (void)metrics_series1(metrics, METRIC_CONFIG_RELOADS, "success");
    (void)metrics_series1(metrics, METRIC_CONFIG_RELOADS, "failure");
    r->certificates = certificates_open(r->policy);
    return r->certificates != NULL;
}

void reload_publish_to(struct reload *r, reload_cb *on_change, void *owner)
{
    CHECK_TAG(r, RELOAD);
    r->on_change = on_change;
    r->owner = owner;
    if (on_change == NULL) {
        r->notify = NULL;
        timer_stop(r->loop, &r->certificates_timer);
        return;
    }
    timer_start(r->loop, &r->certificates_timer, CERTIFICATES_MS, on_certificates_timer);
    if (r->policy->settings.reload == POLICY_RELOAD_WATCH)
        warn_of_mounts(r->policy);
}

struct policy *reload_policy(const struct reload *r)
{
    CHECK_TAG(r, RELOAD);
    return r->policy;
}

struct certificates *reload_certificates(const struct reload *r)
{
    CHECK_TAG(r, RELOAD);
    return r->certificates;
}

void reload_close(struct reload **place)
{
    struct reload *r = TAKE(place);

    CHECK_TAG(r, RELOAD);
    timer_stop(r->loop, &r->certificates_timer);
    policy_watch_close(&r->watch);
    if (r->certificates != NULL)
        certificates_unref(&r->certificates);
    policy_unref(&r->policy);
    r->tag = 0;
    free(r);
}
