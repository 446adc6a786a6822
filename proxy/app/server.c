/* The main thread runs a loop of its own for signals, the operators' ports and reloads; each
 * worker has its own thread.  SIGTERM and SIGINT stop it in peace, exit 0, a second one exits at
 * once; SIGHUP reloads. */
#include "app/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "app/admin.h"
#include "app/cpus.h"
#include "app/metrics_port.h"
#include "app/notify.h"
#include "app/passed_socket.h"
#include "app/reload.h"
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

/* In this order; a state is never left for an earlier one. */
enum server_state {
    SERVER_STARTING, /* not every worker takes requests yet */
    SERVER_RUNNING,
    SERVER_DRAINING, /* not ready, connections close after their answers; serving until it stops */
    SERVER_STOPPING  /* accepts no more, and ends when what runs is over */
};

static const char *const state_names[] = {"starting", "running", "draining", "stopping"};

struct server {
    uint32_t tag;
    struct loop *loop;
    enum server_state state;
    bool was_store_reached; /* by every worker at once */
    struct reload *reload;
    struct metrics *metrics;
    struct embedded *embedded;
    struct fence_table *fences;
    struct metrics_port *metrics_port;
    struct admin *admin;
    struct worker_shared shared;
    struct worker **workers;
    unsigned worker_count, open_count, accepting_count, stopped_count;
    struct notify *notify;
    int passed_fd;                      /* or -1 */
    char listen_address[ADDRESS_BYTES]; /* with the port that was bound */
};

static void set_state(struct server *s, enum server_state state)
{
    CHECK(state > s->state);
    s->state = state;
    if (state >= SERVER_DRAINING)
        metrics_set(metrics_shard(s->metrics, 0), metrics_series0(s->metrics, METRIC_DRAINING), 1);
}

static const struct policy_settings *settings_of(const struct server *s)
{
    return &reload_policy(s->reload)->settings;
}

static const char *state_name(void *owner)
{
    const struct server *s = owner;

    CHECK_TAG(s, SERVER);
    return state_names[s->state];
}

static const char *why_not_live(void *owner)
{
    const struct server *s = owner;

    CHECK_TAG(s, SERVER);
    for (unsigned i = 0; i < s->open_count; i++)
        if (s->state != SERVER_STOPPING && worker_heartbeat_age_ms(s->workers[i]) > STUCK_AFTER_MS)
            return "a worker is stuck";
    return NULL;
}

static const char *why_not_ready(void *owner)
{
    struct server *s = owner;
    enum policy_ready_store wants = settings_of(s)->ready_requires_store;
    bool is_reached = true;

    CHECK_TAG(s, SERVER);
    if (s->state != SERVER_RUNNING)
        return state_names[s->state];
    for (unsigned i = 0; i < s->worker_count && is_reached; i++)
        is_reached = worker_store_is_ready(s->workers[i]);
    s->was_store_reached |= is_reached;
    if (wants == POLICY_READY_ALWAYS ? is_reached
                                     : wants == POLICY_READY_NEVER || s->was_store_reached)
        return NULL;
    return "the store is not reached";
}

static const char *hint_for(const char *key, const char *address, int error)
{
    bool is_unix = strncmp(address, "unix:", 5) == 0;

    switch (error) {
    case -EADDRINUSE:
        return is_unix ? "another process listens there, or it is a file and no socket"
               : strcmp(key, "listen") == 0
                   ? "another process uses this port"
                   : "another process uses this port, perhaps another Lockkeeper of this pod or "
                     "host: give each its own address, or `off`";
    case -EADDRNOTAVAIL:
        return "this host or pod has no such address: 0.0.0.0 is all that it has";
    case -EACCES:
        return is_unix ? "this user may not make a file in that folder"
                       : "ports below 1024 need CAP_NET_BIND_SERVICE";
    case -ENOENT:
        return is_unix ? "the folder is not there" : NULL;
    default:
        return NULL;
    }
}

/* Say where it went wrong and what could be done. */
static void complain_listen(const char *key, const char *address, int error)
{
    log_error(NULL, "cannot listen", LOG_STR("key", key), LOG_STR("address", address),
              LOG_STR("error", strerror(-error)), LOG_STR("hint", hint_for(key, address, error)));
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
    const struct listener_options options = {.address = settings_of(s)->listen, .fd = -1};
    struct listener *probe;
    int error = listener_open(s->loop, &options, on_probe_accept, s, &probe);

    if (error != 0) {
        complain_listen("listen", settings_of(s)->listen, error);
        return false;
    }
    listener_close(&probe);
    return true;
}

static bool open_workers(struct server *s)
{
    if (s->passed_fd < 0) {
        if (s->worker_count > 1 && !is_port_free(s))
            return false;
        snprintf(s->listen_address, sizeof(s->listen_address), "%s", settings_of(s)->listen);
    }
    s->workers = mem_calloc(s->worker_count, sizeof(*s->workers));
    for (; s->open_count < s->worker_count; s->open_count++) {
        int error = worker_open(&s->shared, s->open_count + 1, reload_policy(s->reload),
                                reload_certificates(s->reload), s->listen_address,
                                &s->workers[s->open_count]);

        if (error != 0) {
            complain_listen("listen", s->listen_address, error);
            return false;
        }
        if (s->passed_fd < 0)
            make_definite(settings_of(s)->listen, worker_port(s->workers[0]), s->listen_address);
    }
    return true;
}

static void record_build(struct server *s)
{
    const char *const versions[] = {LOCKKEEPER_VERSION, version_libuv(), embedded_library_version(),
                                    version_openssl()};

    metrics_set(metrics_shard(s->metrics, 0),
                metrics_series(s->metrics, METRIC_BUILD_INFO, versions), 1);
}

/* Workers get what is in force from now on. */
static void on_change(void *owner, struct policy *policy, struct certificates *certificates)
{
    struct server *s = owner;

    CHECK_TAG(s, SERVER);
    embedded_set_max_bytes(s->embedded, policy->settings.embedded_max_bytes);
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_set_policy(s->workers[i], policy, certificates);
}

static void on_reload_signal(void *owner, int signum)
{
    struct server *s = owner;
    struct policy_problems problems;
    struct reload_result result;

    UNUSED(signum);
    CHECK_TAG(s, SERVER);
    if (s->state == SERVER_STOPPING)
        return;
    policy_problems_init(&problems);
    reload_now(s->reload, &problems, &result);
    policy_problems_clear(&problems);
}

static void drain(void *owner)
{
    struct server *s = owner;

    CHECK_TAG(s, SERVER);
    if (s->state >= SERVER_DRAINING)
        return;
    set_state(s, SERVER_DRAINING);
    log_info(NULL, "draining: not ready any more, and serving until it is told to stop");
    notify_status(s->notify, "draining: serving until it is told to stop");
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_drain(s->workers[i]);
}

static void on_stop_signal(void *owner, int signum)
{
    struct server *s = owner;

    CHECK_TAG(s, SERVER);
    if (s->state == SERVER_STOPPING) {
        log_warn(NULL, "second signal: leaving at once", LOG_INT("signal", signum));
        _exit(128 + signum);
    }
    set_state(s, SERVER_STOPPING);
    log_info(NULL, "stopping", LOG_INT("signal", signum),
             LOG_UINT("drain_timeout_ms", settings_of(s)->drain_timeout_ms));
    notify_stopping(s->notify);
    reload_publish_to(s->reload, NULL, NULL);
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_stop(s->workers[i]);
}

static bool open_metrics_port(struct server *s)
{
    const struct metrics_port_source source = {.metrics = s->metrics,
                                               .embedded = s->embedded,
                                               .why_not_live = why_not_live,
                                               .why_not_ready = why_not_ready,
                                               .owner = s};
    const char *address = settings_of(s)->metrics;
    int error;

    if (strcmp(address, "off") == 0)
        return true;
    error = metrics_port_open(s->loop, address, &source, &s->metrics_port);
    if (error != 0)
        complain_listen("metrics", address, error);
    return error == 0;
}

static bool open_admin(struct server *s)
{
    const struct admin_source source = {.metrics = s->metrics,
                                        .embedded = s->embedded,
                                        .reload = s->reload,
                                        .workers = s->workers,
                                        .worker_count = s->worker_count,
                                        .state = state_name,
                                        .drain = drain,
                                        .owner = s};
    const char *address = settings_of(s)->admin;
    int error;

    if (strcmp(address, "off") == 0)
        return true;
    error = admin_open(s->loop, address, &source, &s->admin);
    if (error != 0)
        complain_listen("admin", address, error);
    return error == 0;
}

static void announce(struct server *s)
{
    const struct policy *policy = reload_policy(s->reload);
    char metrics_address[ADDRESS_BYTES] = "off", admin_address[ADDRESS_BYTES] = "off";
    struct log_field fields[] = {LOG_STR("version", LOCKKEEPER_VERSION),
                                 LOG_STR("listen", s->listen_address),
                                 LOG_STR("metrics", metrics_address),
                                 LOG_STR("admin", admin_address),
                                 LOG_UINT("workers", s->worker_count),
                                 LOG_UINT("routes", policy->route_count),
                                 LOG_UINT("limits", policy->limit_count),
                                 LOG_STR("hash", policy->hash_hex),
                                 {LOG_FIELD_END, NULL, {NULL}}};

    if (s->metrics_port != NULL)
        make_definite(policy->settings.metrics, metrics_port_number(s->metrics_port),
                      metrics_address);
    if (s->admin != NULL)
        make_definite(policy->settings.admin, admin_port(s->admin), admin_address);
    log_write(LOG_INFO, NULL, "ready", fields);
    if (s->state != SERVER_STOPPING)
        reload_tell(s->reload, s->notify);
}

/* Ready means that requests are taken, and decided by the store if it can be reached. */
static void on_worker_accepting(void *owner)
{
    struct server *s = owner;

    CHECK_TAG(s, SERVER);
    if (++s->accepting_count < s->worker_count)
        return;
    if (s->state == SERVER_STARTING)
        set_state(s, SERVER_RUNNING);
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

static bool take_passed_socket(struct server *s)
{
    const char *problem =
        passed_socket_take(&s->passed_fd, s->listen_address, sizeof(s->listen_address));

    if (problem != NULL)
        log_error(NULL, "cannot listen", LOG_STR("key", "listen"), LOG_STR("error", problem));
    else if (s->passed_fd >= 0)
        log_info(NULL, "listening on the socket that was passed, in place of `listen`",
                 LOG_STR("address", s->listen_address));
    return problem == NULL;
}

/* The soft limit is 1024 on most machines, for the sake of select(), which nobody uses here. */
static void raise_descriptor_limit(const struct policy_settings *settings)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < settings->max_connections)
        log_warn(NULL, "there are fewer file descriptors than max_connections",
                 LOG_UINT("descriptors", limit.rlim_cur),
                 LOG_UINT("max_connections", settings->max_connections),
                 LOG_STR("hint", "raise the hard limit (ulimit -n, LimitNOFILE), or lower "
                                 "max_connections: without descriptors probes fail, too"));
}

static bool start(struct server *s, const char *const *paths, size_t path_count)
{
    if (!take_passed_socket(s))
        return false;
    CHECK(loop_open(&s->loop) == 0);
    s->notify = notify_open(s->loop, why_not_live, s);
    s->reload = reload_open(s->loop, paths, path_count);
    if (s->reload == NULL)
        return false;
    raise_descriptor_limit(settings_of(s));
    s->worker_count = settings_of(s)->workers > 0 ? settings_of(s)->workers : cpus_allowed();
    s->metrics = metrics_open(s->worker_count);
    record_build(s);
    if (!reload_start(s->reload, s->metrics))
        return false;
    s->embedded = embedded_open(settings_of(s)->embedded_max_bytes);
    s->fences = fence_table_open(FENCE_MAX_KEYS);
    s->shared = (struct worker_shared){.metrics = s->metrics,
                                       .embedded = s->embedded,
                                       .fences = s->fences,
                                       .main_loop = s->loop,
                                       .on_accepting = on_worker_accepting,
                                       .on_stopped = on_worker_stopped,
                                       .owner = s,
                                       .worker_count = s->worker_count,
                                       .shared_fd = s->passed_fd};
    if (!watch_signals(s) || !open_workers(s) || !open_metrics_port(s) || !open_admin(s))
        return false;
    reload_publish_to(s->reload, on_change, s);
    return true;
}

static void stop(struct server *s)
{
    for (unsigned i = 0; i < s->open_count; i++)
        worker_close(&s->workers[i]);
    free(s->workers);
    if (s->metrics_port != NULL)
        metrics_port_close(&s->metrics_port);
    if (s->admin != NULL)
        admin_close(&s->admin);
    if (s->reload != NULL)
        reload_close(&s->reload);
    if (s->passed_fd >= 0)
        close(s->passed_fd);
    if (s->notify != NULL)
        notify_close(&s->notify);
    if (s->loop != NULL) {
        (void)!loop_on_signal(s->loop, SIGTERM, NULL, NULL);
        (void)!loop_on_signal(s->loop, SIGINT, NULL, NULL);
        (void)!loop_on_signal(s->loop, SIGHUP, NULL, NULL);
        loop_close(&s->loop);
    }
    if (s->fences != NULL)
        fence_table_unref(&s->fences);
    if (s->embedded != NULL)
        embedded_unref(&s->embedded);
    if (s->metrics != NULL)
        metrics_close(&s->metrics);
}

int server_run(const char *const *paths, size_t path_count)
{
    struct server s = {.tag = SERVER_TAG, .passed_fd = -1};
    bool is_started = start(&s, paths, path_count);

    if (is_started) {
        for (unsigned i = 0; i < s.worker_count; i++)
            worker_start(s.workers[i]);
        loop_run(s.loop);
        log_info(NULL, "stopped", LOG_UINT("workers", s.stopped_count));
    }
    stop(&s);
    return is_started ? 0 : 1;
}
