/* The main thread runs a loop of its own for signals, the read-only port and reloads; each worker
 * has its own thread.  SIGTERM and SIGINT drain and exit 0, a second one exits at once; SIGHUP
 * reloads. */
#include "app/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "app/admin.h"
#include "app/certificates.h"
#include "app/cpus.h"
#include "app/version.h"
#include "app/worker.h"
#include "base/arena.h"
#include "base/log.h"
#include "guard/fence.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/stream.h"
#include "policy/policy.h"
#include "store/embedded.h"
#include "store/store.h"

#define SERVER_TAG 0x53525652u /* "SRVR" */
#define ADDRESS_BYTES 300
#define STUCK_AFTER_MS 10000
#define CERTIFICATES_MS 10000

struct server {
    uint32_t tag;
    struct loop *loop;
    const char *const *paths;
    size_t path_count;
    struct policy *policy;
    struct metrics *metrics;
    struct embedded *embedded;
    struct fence_table *fences;
    struct certificates *certificates;
    struct timer certificates_timer;
    struct admin *admin;
    struct worker_shared shared;
    struct worker **workers;
    unsigned worker_count, open_count, accepting_count, stopped_count;
    bool is_draining;
    char listen_address[ADDRESS_BYTES]; /* with the port that was bound */
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

static struct policy *load(const struct server *s)
{
    struct policy_problems problems;
    struct policy *policy;

    policy_problems_init(&problems);
    policy = policy_load(s->paths, s->path_count, &problems);
    if (isatty(2) == 1)
        policy_problems_print(&problems, stderr, getenv("NO_COLOR") == NULL);
    else
        log_problems(&problems);
    policy_problems_clear(&problems);
    return policy;
}

static const char *why_not_live(void *owner)
{
    const struct server *s = owner;

    CHECK_TAG(s, SERVER);
    for (unsigned i = 0; i < s->open_count; i++)
        if (!s->is_draining && worker_heartbeat_age_ms(s->workers[i]) > STUCK_AFTER_MS)
            return "a worker is stuck";
    return NULL;
}

static const char *why_not_ready(void *owner)
{
    const struct server *s = owner;

    CHECK_TAG(s, SERVER);
    if (s->accepting_count < s->worker_count)
        return "starting";
    return s->is_draining ? "draining" : NULL;
}

/* Say where it went wrong and what could be done. */
static void complain_listen(const char *key, const char *address, int error)
{
    log_error(NULL, "cannot listen", LOG_STR("key", key), LOG_STR("address", address),
              LOG_STR("error", strerror(-error)),
              LOG_STR("hint", error == -EADDRINUSE ? "another process uses this port"
                              : error == -EACCES   ? "ports below 1024 need CAP_NET_BIND_SERVICE"
                                                   : NULL));
}

static void on_probe_accept(void *owner, struct stream *stream)
{
    UNUSED(owner);
    stream_abort(&stream);
}

/* "127.0.0.1:0" becomes "127.0.0.1:34567". */
static void make_definite(const char *address, uint16_t port, char *ret_address)
{
    const char *colon = strrchr(address, ':');

    if (strncmp(address, "unix:", 5) == 0 || colon == NULL)
        snprintf(ret_address, ADDRESS_BYTES, "%s", address);
    else
        snprintf(ret_address, ADDRESS_BYTES, "%.*s:%u", (int)(colon - address), address, port);
}

/* SO_REUSEPORT would let another process of ours share the port without a word, and each would see
 * half of the requests. */
static bool is_port_free(struct server *s)
{
    const struct listener_options options = {.address = s->policy->settings.listen, .fd = -1};
    struct listener *probe;
    int error = listener_open(s->loop, &options, on_probe_accept, s, &probe);

    if (error != 0) {
        complain_listen("listen", s->policy->settings.listen, error);
        return false;
    }
    listener_close(&probe);
    return true;
}

static bool open_workers(struct server *s)
{
    if (s->worker_count > 1 && !is_port_free(s))
        return false;
    snprintf(s->listen_address, sizeof(s->listen_address), "%s", s->policy->settings.listen);
    s->workers = mem_calloc(s->worker_count, sizeof(*s->workers));
    for (; s->open_count < s->worker_count; s->open_count++) {
        int error = worker_open(&s->shared, s->open_count + 1, s->policy, s->certificates,
                                s->listen_address, &s->workers[s->open_count]);

        if (error != 0) {
            complain_listen("listen", s->listen_address, error);
            return false;
        }
        make_definite(s->policy->settings.listen, worker_port(s->workers[0]), s->listen_address);
    }
    return true;
}

static bool open_admin(struct server *s)
{
    const struct admin_source source = {.metrics = s->metrics,
                                        .embedded = s->embedded,
                                        .why_not_live = why_not_live,
                                        .why_not_ready = why_not_ready,
                                        .owner = s};
    int error;

    if (strcmp(s->policy->settings.metrics, "off") == 0)
        return true;
    error = admin_open(s->loop, s->policy->settings.metrics, &source, &s->admin);
    if (error != 0)
        complain_listen("metrics", s->policy->settings.metrics, error);
    return error == 0;
}

static void record_load(struct server *s, bool is_first, bool is_good)
{
    struct metrics_shard *shard = metrics_shard(s->metrics, 0);

    if (!is_first)
        metrics_add(
            shard,
            metrics_series1(s->metrics, METRIC_CONFIG_RELOADS, is_good ? "success" : "failure"), 1);
    metrics_set(shard, metrics_series0(s->metrics, METRIC_CONFIG_LAST_RELOAD_OK), is_good);
    if (is_good)
        metrics_set(shard, metrics_series0(s->metrics, METRIC_CONFIG_LAST_RELOAD_TIME),
                    (int64_t)(loop_wall_clock_us() / 1000000));
}

static void record_build(struct server *s)
{
    const char *const versions[] = {LOCKKEEPER_VERSION, version_libuv(), embedded_library_version(),
                                    version_openssl()};

    metrics_set(metrics_shard(s->metrics, 0),
                metrics_series(s->metrics, METRIC_BUILD_INFO, versions), 1);
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
           : a->workers != b->workers                               ? "workers"
           : text_differs(a->store, b->store)                       ? "store"
           : text_differs(a->store_key_prefix, b->store_key_prefix) ? "store_options.key_prefix"
           : (a->tls_certificate == NULL) != (b->tls_certificate == NULL)           ? "tls"
           : (a->access_log == POLICY_LOG_OFF) != (b->access_log == POLICY_LOG_OFF) ? "access_log"
                                                                                    : NULL;
}

/* Workers get what the server has from now on. */
static void publish(struct server *s, struct policy *policy, struct certificates *certificates)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_set_policy(s->workers[i], policy, certificates);
    policy_unref(&s->policy);
    certificates_unref(&s->certificates);
    s->policy = policy;
    s->certificates = certificates;
}

static void complain_reload(const char *why, const char *key)
{
    log_error(NULL, "reload failed: the policies in force stay", LOG_STR("why", why),
              LOG_STR("key", key));
}

static void reload(struct server *s)
{
    struct policy *policy = load(s);
    struct certificates *certificates = NULL;
    const char *key =
        policy != NULL ? needs_restart(&s->policy->settings, &policy->settings) : NULL;

    if (policy != NULL && key == NULL)
        certificates = certificates_open(policy);
    record_load(s, false, certificates != NULL);
    if (certificates == NULL) {
        complain_reload(
            key != NULL ? "this key can only change with a restart" : "see the errors above", key);
        if (policy != NULL)
            policy_unref(&policy);
        return;
    }
    policy_bind_metrics(policy, s->metrics);
    log_set_level(policy->settings.log_level);
    publish(s, policy, certificates);
    log_info(NULL, "policies reloaded", LOG_STR("hash", policy->hash_hex),
             LOG_UINT("routes", policy->route_count));
}

/* Renewed files of the same policies.  One that cannot be used (yet: the key may come after the
 * certificate) leaves what is in use. */
static void on_certificates_timer(struct timer *timer)
{
    struct server *s = CONTAINER_OF(timer, struct server, certificates_timer);
    struct certificates *certificates;

    CHECK_TAG(s, SERVER);
    timer_start(s->loop, timer, CERTIFICATES_MS, on_certificates_timer);
    if (s->is_draining || !certificates_have_changed(s->certificates))
        return;
    certificates = certificates_open(s->policy);
    if (certificates == NULL)
        return;
    publish(s, policy_ref(s->policy), certificates);
    log_info(NULL, "certificates reloaded", LOG_STR("hash", s->policy->hash_hex));
}

static void on_reload_signal(void *owner, int signum)
{
    struct server *s = owner;

    UNUSED(signum);
    CHECK_TAG(s, SERVER);
    if (!s->is_draining)
        reload(s);
}

static void on_stop_signal(void *owner, int signum)
{
    struct server *s = owner;

    CHECK_TAG(s, SERVER);
    if (s->is_draining) {
        log_warn(NULL, "second signal: leaving at once", LOG_INT("signal", signum));
        _exit(128 + signum);
    }
    s->is_draining = true;
    metrics_set(metrics_shard(s->metrics, 0), metrics_series0(s->metrics, METRIC_DRAINING), 1);
    log_info(NULL, "draining", LOG_INT("signal", signum),
             LOG_UINT("drain_timeout_ms", s->policy->settings.drain_timeout_ms));
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_drain(s->workers[i]);
}

static void announce(struct server *s)
{
    char metrics_address[ADDRESS_BYTES] = "off";
    struct log_field fields[] = {
        LOG_STR("version", LOCKKEEPER_VERSION),     LOG_STR("listen", s->listen_address),
        LOG_STR("metrics", metrics_address),        LOG_UINT("workers", s->worker_count),
        LOG_UINT("routes", s->policy->route_count), LOG_UINT("limits", s->policy->limit_count),
        LOG_STR("hash", s->policy->hash_hex),       {LOG_FIELD_END, NULL, {NULL}}};

    if (s->admin != NULL)
        make_definite(s->policy->settings.metrics, admin_port(s->admin), metrics_address);
    log_write(LOG_INFO, NULL, "ready", fields);
}

/* Ready means that requests are taken, and decided by the store if it can be reached. */
static void on_worker_accepting(void *owner)
{
    struct server *s = owner;

    CHECK_TAG(s, SERVER);
    if (++s->accepting_count == s->worker_count)
        announce(s);
}

static void on_worker_stopped(void *owner)
{
    struct server *s = owner;

    CHECK_TAG(s, SERVER);
    if (++s->stopped_count == s->worker_count)
        loop_stop(s->loop);
}

static bool watch_signals(struct server *s)
{
    signal(SIGPIPE, SIG_IGN);
    return loop_on_signal(s->loop, SIGTERM, on_stop_signal, s) == 0 &&
           loop_on_signal(s->loop, SIGINT, on_stop_signal, s) == 0 &&
           loop_on_signal(s->loop, SIGHUP, on_reload_signal, s) == 0;
}

static bool start(struct server *s)
{
    CHECK(loop_open(&s->loop) == 0);
    s->policy = load(s);
    if (s->policy == NULL)
        return false;
    log_set_level(s->policy->settings.log_level);
    s->worker_count =
        s->policy->settings.workers > 0 ? s->policy->settings.workers : cpus_allowed();
    s->metrics = metrics_open(s->worker_count);
    policy_bind_metrics(s->policy, s->metrics);
    record_load(s, true, true);
    record_build(s);
    s->embedded = embedded_open(s->policy->settings.embedded_max_bytes);
    s->fences = fence_table_open(FENCE_MAX_KEYS);
    s->shared = (struct worker_shared){.metrics = s->metrics,
                                       .embedded = s->embedded,
                                       .fences = s->fences,
                                       .main_loop = s->loop,
                                       .on_accepting = on_worker_accepting,
                                       .on_stopped = on_worker_stopped,
                                       .owner = s,
                                       .worker_count = s->worker_count};
    s->certificates = certificates_open(s->policy);
    if (s->certificates == NULL)
        return false;
    timer_start(s->loop, &s->certificates_timer, CERTIFICATES_MS, on_certificates_timer);
    return watch_signals(s) && open_workers(s) && open_admin(s);
}

static void stop(struct server *s)
{
    for (unsigned i = 0; i < s->open_count; i++)
        worker_close(&s->workers[i]);
    free(s->workers);
    if (s->admin != NULL)
        admin_close(&s->admin);
    if (s->loop != NULL) {
        (void)!loop_on_signal(s->loop, SIGTERM, NULL, NULL);
        (void)!loop_on_signal(s->loop, SIGINT, NULL, NULL);
        (void)!loop_on_signal(s->loop, SIGHUP, NULL, NULL);
        timer_stop(s->loop, &s->certificates_timer);
        loop_close(&s->loop);
    }
    if (s->fences != NULL)
        fence_table_unref(&s->fences);
    if (s->embedded != NULL)
        embedded_unref(&s->embedded);
    if (s->certificates != NULL)
        certificates_unref(&s->certificates);
    if (s->policy != NULL)
        policy_unref(&s->policy);
    if (s->metrics != NULL)
        metrics_close(&s->metrics);
}

int server_run(const char *const *paths, size_t path_count)
{
    struct server s = {.tag = SERVER_TAG, .paths = paths, .path_count = path_count};
    bool is_started = start(&s);

    if (is_started) {
        for (unsigned i = 0; i < s.worker_count; i++)
            worker_start(s.workers[i]);
        loop_run(s.loop);
        log_info(NULL, "stopped", LOG_UINT("workers", s.stopped_count));
    }
    stop(&s);
    return is_started ? 0 : 1;
}
