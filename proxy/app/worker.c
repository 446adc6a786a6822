#include "app/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "app/certificates.h"
#include "base/arena.h"
#include "base/log.h"
#include "guard/guard.h"
#include "http/http_conn.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/socket.h"
#include "net/stream.h"
#include "serve/peer.h"
#include "serve/request.h"
#include "store/store.h"

#define WORKER_TAG 0x574f524bu /* "WORK" */
#define LOG_FLUSH_MS 100
#define LOG_MAX_BYTES (1u << 20)
#define DRAIN_POLL_MS 10
#define START_POLL_MS 5
#define HEARTBEAT_MS 1000
#define REFUSE_LINGER_MS 1000

struct worker {
    uint32_t tag;
    unsigned index;
    struct worker_shared *shared;
    struct log_context log;
    pthread_t thread;
    bool is_started;
    struct loop *loop;
    struct listener *listener;
    struct store *store;
    struct http_server server;
    struct serve_env env;
    struct certificates *certificates;
    uint64_t log_dropped_count; /* already in the metric */
    uint64_t drain_until_ms;
    uint64_t start_until_ms;
    struct timer flush_timer, drain_timer, heartbeat_timer, start_timer;
    _Atomic uint64_t heartbeat_at_us;
    atomic_bool is_store_ready; /* as of the last heartbeat */
    struct loop_message drain_message, stop_message, accepting_message, stopped_message;
    uint32_t accepted_slot, refused_slot, dropped_slot, workers_slot;
};

struct policy_message {
    struct loop_message message;
    struct worker *worker;
    struct policy *policy;
    struct certificates *certificates;
};

static void on_flush_timer(struct timer *timer)
{
    struct worker *w = CONTAINER_OF(timer, struct worker, flush_timer);
    uint64_t dropped_count;

    log_sink_flush(w->env.access_log);
    dropped_count = log_sink_dropped(w->env.access_log);
    metrics_add(w->env.shard, w->dropped_slot, (int64_t)(dropped_count - w->log_dropped_count));
    w->log_dropped_count = dropped_count;
    /* An idle worker sleeps: the next connection starts the timer again. */
    if (w->server.connection_count > 0 || log_sink_pending_bytes(w->env.access_log) > 0)
        timer_start(w->loop, timer, LOG_FLUSH_MS, on_flush_timer);
}

static void look_at_store(struct worker *w)
{
    atomic_store_explicit(&w->is_store_ready, store_is_ready(w->store), memory_order_relaxed);
}

bool worker_store_is_ready(const struct worker *w)
{
    CHECK_TAG(w, WORKER);
    return atomic_load_explicit(&w->is_store_ready, memory_order_relaxed);
}

static void on_heartbeat(struct timer *timer)
{
    struct worker *w = CONTAINER_OF(timer, struct worker, heartbeat_timer);

    atomic_store_explicit(&w->heartbeat_at_us, loop_clock_us(), memory_order_relaxed);
    look_at_store(w);
    timer_start(w->loop, timer, HEARTBEAT_MS, on_heartbeat);
}

uint64_t worker_heartbeat_age_ms(const struct worker *w)
{
    CHECK_TAG(w, WORKER);
    return (loop_clock_us() - atomic_load_explicit(&w->heartbeat_at_us, memory_order_relaxed)) /
           1000;
}

static void on_refused_stream_end(void *owner, int error)
{
    UNUSED(owner);
    UNUSED(error);
}

static void on_refused_stream_read(void *owner, struct slice data)
{
    UNUSED(owner);
    UNUSED(data);
}

/* Full: say so at once, in a form that a client and its operator can read. */
static void refuse_connection(struct worker *w, struct stream *stream)
{
    static const struct stream_events events = {.on_read = on_refused_stream_read,
                                                .on_end = on_refused_stream_end};
    static const struct slice answer =
        SLICE_INIT("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
                   "Content-Length: 110\r\nRetry-After: 1\r\nCache-Control: "
                   "no-store\r\nConnection: close\r\n\r\n"
                   "{\"type\":\"about:blank\",\"title\":\"Too many connections\",\"status\":503,"
                   "\"reason\":\"max-connections\",\"executed\":\"no\"}\n");

    metrics_add(w->env.shard, w->refused_slot, 1);
    log_warn(&w->log, "connection refused: max_connections reached",
             LOG_UINT("max_connections", w->env.policy->settings.max_connections));
    stream_adopt(stream, &events, w);
    if (stream_write(stream, &answer, 1) == STREAM_DEAD) {
        stream_abort(&stream);
        return;
    }
    stream_close(&stream, REFUSE_LINGER_MS);
}

/* Those of all workers: the kernel does not share them out evenly. */
static uint64_t connection_count(const struct worker *w)
{
    int64_t sum = metrics_sum(w->shared->metrics, w->server.active_slot) +
                  metrics_sum(w->shared->metrics, w->server.idle_slot);

    return sum > 0 ? (uint64_t)sum : 0;
}

static void count_refused(struct worker *w, const char *reason)
{
    metrics_add(w->env.shard, metrics_series1(w->shared->metrics, METRIC_CLIENT_REFUSED, reason),
                1);
}

/* Who may begin, and how.  Openings are bounded like connections, which they are not yet. */
static enum listener_admission on_admit(void *owner, const struct sockaddr *address)
{
    struct worker *w = owner;
    const struct policy_settings *settings = &w->env.policy->settings;
    char text[STREAM_ADDRESS_BYTES];
    struct peer peer;

    CHECK_TAG(w, WORKER);
    if (listener_opening_count(w->listener) >= settings->max_connections) {
        metrics_add(w->env.shard, w->refused_slot, 1);
        log_warn(&w->log, "connection closed: max_connections are at their TLS or PROXY header",
                 LOG_UINT("max_connections", settings->max_connections));
        return LISTENER_CLOSE;
    }
    if (settings->proxy_protocol == POLICY_PROXY_OFF)
        return LISTENER_TAKE;
    socket_address_text(address, text, sizeof(text));
    peer_find(settings, text, false, &peer);
    if (peer.is_trusted)
        return LISTENER_PROXY_HEADER;
    if (settings->proxy_protocol == POLICY_PROXY_TRUSTED)
        return LISTENER_TAKE;
    count_refused(w, "untrusted-proxy");
    log_warn(&w->log, "connection closed: its peer is not one of trusted_proxies",
             LOG_STR("peer", text));
    return LISTENER_CLOSE;
}

static void on_fault(void *owner, const char *reason)
{
    struct worker *w = owner;

    CHECK_TAG(w, WORKER);
    count_refused(w, reason);
}

static void on_accept(void *owner, struct stream *stream)
{
    struct worker *w = owner;

    CHECK_TAG(w, WORKER);
    metrics_add(w->env.shard, w->accepted_slot, 1);
    if (connection_count(w) >= w->env.policy->settings.max_connections) {
        refuse_connection(w, stream);
        return;
    }
    if (w->env.access_log != NULL && !w->flush_timer.is_started)
        timer_start(w->loop, &w->flush_timer, LOG_FLUSH_MS, on_flush_timer);
    http_server_accept(&w->server, stream);
}

static struct store_settings store_settings(const struct policy_settings *s)
{
    return (struct store_settings){
        .url = s->store,
        .timeout_ms = s->store_timeout_ms,
        .connect_timeout_ms = s->store_connect_timeout_ms,
        .max_pending = (uint32_t)s->store_max_pending,
        .breaker_failures = (uint32_t)s->store_breaker_failures,
        .breaker_open_ms = s->store_breaker_open_ms,
        .key_prefix = s->store_key_prefix,
    };
}

static void open_store(struct worker *w, const struct policy_settings *s)
{
    const struct store_settings settings = store_settings(s);

    w->store = store_open(w->loop, &settings, w->shared->embedded, w->shared->metrics, w->env.shard,
                          &w->log);
}

static void open_snapshot(struct worker *w, struct policy *policy,
                          struct certificates *certificates)
{
    w->certificates = certificates_ref(certificates);
    w->env.snapshot = serve_snapshot_open(w->loop, policy, certificates_upstreams(certificates),
                                          w->shared->metrics, w->env.shard, &w->log);
    w->env.policy = w->env.snapshot->policy;
}

static void find_slots(struct worker *w)
{
    struct metrics *m = w->shared->metrics;

    w->accepted_slot = metrics_series0(m, METRIC_CLIENT_ACCEPTED);
    w->refused_slot = metrics_series1(m, METRIC_CLIENT_REFUSED, "max-connections");
    w->dropped_slot = metrics_series0(m, METRIC_ACCESS_LOG_DROPPED);
    w->env.sampled_out_slot = metrics_series0(m, METRIC_ACCESS_LOG_SAMPLED_OUT);
    w->workers_slot = metrics_series0(m, METRIC_WORKERS);
}

static void open_server(struct worker *w)
{
    http_server_init(&w->server, w->loop, &request_events, &w->env);
    w->server.settings = request_conn_settings(w->env.policy);
    w->server.shard = w->env.shard;
    w->server.active_slot =
        metrics_series1(w->shared->metrics, METRIC_CLIENT_CONNECTIONS, "active");
    w->server.idle_slot = metrics_series1(w->shared->metrics, METRIC_CLIENT_CONNECTIONS, "idle");
}

static int open_listener(struct worker *w, const struct policy_settings *settings,
                         struct certificates *certificates, const char *address)
{
    int shared_fd = w->shared->shared_fd;
    const struct listener_options options = {
        .address = address,
        .fd = shared_fd >= 0 ? fcntl(shared_fd, F_DUPFD_CLOEXEC, 3) : -1,
        .reuse_port = w->shared->worker_count > 1,
        .tls = certificates_listener(certificates),
        .handshake_timeout_ms = settings->header_timeout_ms,
        .admit = on_admit,
        .on_fault = on_fault,
    };
    int error;

    if (shared_fd >= 0 && options.fd < 0)
        return -errno;
    error = listener_open(w->loop, &options, on_accept, w, &w->listener);
    /* A path can be bound once only. */
    if (error == 0 && strncmp(address, "unix:", 5) == 0 && shared_fd < 0)
        w->shared->shared_fd = listener_fd(w->listener);
    return error;
}

/* In the order of what needs what; close_parts undoes it in reverse. */
static int open_parts(struct worker *w, struct policy *policy, struct certificates *certificates,
                      const char *listen_address)
{
    int error = loop_open(&w->loop);

    if (error != 0)
        return error;
    error = open_listener(w, &policy->settings, certificates, listen_address);
    if (error != 0) {
        loop_close(&w->loop);
        return error;
    }
    w->env.loop = w->loop;
    w->env.metrics = w->shared->metrics;
    w->env.shard = metrics_shard(w->shared->metrics, w->index);
    w->env.log = &w->log;
    list_init(&w->env.detached);
    if (policy->settings.access_log != POLICY_LOG_OFF)
        w->env.access_log = log_sink_open(1, LOG_MAX_BYTES);
    find_slots(w);
    open_snapshot(w, policy, certificates);
    open_store(w, &policy->settings);
    w->env.guards = guard_worker_open(w->loop, w->store, w->env.shard, &w->log);
    guard_worker_set_fences(w->env.guards, w->shared->fences);
    guard_worker_set_policy(w->env.guards, w->env.policy);
    open_server(w);
    metrics_set(w->env.shard, w->workers_slot, 1);
    return 0;
}

static void close_parts(struct worker *w)
{
    timer_stop(w->loop, &w->flush_timer);
    timer_stop(w->loop, &w->heartbeat_timer);
    timer_stop(w->loop, &w->drain_timer);
    timer_stop(w->loop, &w->start_timer);
    if (w->listener != NULL)
        listener_close(&w->listener);
    request_end_detached(&w->env);
    http_server_close(&w->server);
    guard_worker_close(&w->env.guards);
    store_close(&w->store);
    metrics_set(w->env.shard, w->workers_slot, 0);
    if (w->env.access_log != NULL)
        log_sink_close(&w->env.access_log);
    w->env.policy = NULL;
    serve_snapshot_unref(&w->env.snapshot);
    certificates_unref(&w->certificates);
    loop_close(&w->loop);
}

int worker_open(struct worker_shared *shared, unsigned index, struct policy *policy,
                struct certificates *certificates, const char *listen_address,
                struct worker **ret_worker)
{
    struct worker *w = mem_calloc(1, sizeof(*w));
    int error;

    w->tag = WORKER_TAG;
    w->index = index;
    w->shared = shared;
    w->log = (struct log_context){NULL, LOG_UINT("worker", index)};
    error = open_parts(w, policy, certificates, listen_address);
    if (error != 0) {
        free(w);
        return error;
    }
    *ret_worker = w;
    return 0;
}

uint16_t worker_port(const struct worker *w)
{
    CHECK_TAG(w, WORKER);
    return listener_port(w->listener);
}

static void on_stopped_message(struct loop *loop, struct loop_message *message)
{
    struct worker *w = CONTAINER_OF(message, struct worker, stopped_message);

    UNUSED(loop);
    w->shared->on_stopped(w->shared->owner);
}

static void on_accepting_message(struct loop *loop, struct loop_message *message)
{
    struct worker *w = CONTAINER_OF(message, struct worker, accepting_message);

    UNUSED(loop);
    w->shared->on_accepting(w->shared->owner);
}

/* The first requests should not be decided without the store only because they came first. */
static void on_start_timer(struct timer *timer)
{
    struct worker *w = CONTAINER_OF(timer, struct worker, start_timer);

    if (w->drain_until_ms > 0) /* stopping already */
        return;
    if (!store_is_ready(w->store) && loop_now_ms(w->loop) < w->start_until_ms) {
        timer_start(w->loop, timer, START_POLL_MS, on_start_timer);
        return;
    }
    look_at_store(w);
    listener_resume(w->listener);
    w->accepting_message.run = on_accepting_message;
    loop_post(w->shared->main_loop, &w->accepting_message);
}

static void *worker_main(void *argument)
{
    struct worker *w = argument;

    on_heartbeat(&w->heartbeat_timer);
    listener_pause(w->listener);
    w->start_until_ms = loop_now_ms(w->loop) + w->env.policy->settings.store_connect_timeout_ms;
    on_start_timer(&w->start_timer);
    loop_run(w->loop);
    close_parts(w);
    w->stopped_message.run = on_stopped_message;
    loop_post(w->shared->main_loop, &w->stopped_message);
    return NULL;
}

void worker_start(struct worker *w)
{
    CHECK_TAG(w, WORKER);
    CHECK(!w->is_started);
    atomic_store(&w->heartbeat_at_us, loop_clock_us());
    CHECK(pthread_create(&w->thread, NULL, worker_main, w) == 0);
    w->is_started = true;
}

static void on_drain_timer(struct timer *timer)
{
    struct worker *w = CONTAINER_OF(timer, struct worker, drain_timer);
    uint64_t now_ms = loop_now_ms(w->loop);

    if (listener_opening_count(w->listener) == 0 && w->server.connection_count == 0 &&
        w->env.active_requests == 0 && guard_worker_is_idle(w->env.guards)) {
        loop_stop(w->loop);
        return;
    }
    if (now_ms >= w->drain_until_ms) {
        log_warn(&w->log, "drain_timeout is over: cutting what still runs",
                 LOG_UINT("connections", w->server.connection_count),
                 LOG_UINT("requests", w->env.active_requests));
        loop_stop(w->loop);
        return;
    }
    timer_start(w->loop, timer, DRAIN_POLL_MS, on_drain_timer);
}

static void on_stop_message(struct loop *loop, struct loop_message *message)
{
    struct worker *w = CONTAINER_OF(message, struct worker, stop_message);

    listener_accept_waiting(w->listener);
    listener_stop(w->listener);
    http_server_drain(&w->server);
    guard_worker_drain(w->env.guards);
    w->drain_until_ms = loop_now_ms(loop) + w->env.policy->settings.drain_timeout_ms;
    on_drain_timer(&w->drain_timer);
}

void worker_stop(struct worker *w)
{
    CHECK_TAG(w, WORKER);
    w->stop_message.run = on_stop_message;
    loop_post(w->loop, &w->stop_message);
}

static void on_drain_message(struct loop *loop, struct loop_message *message)
{
    struct worker *w = CONTAINER_OF(message, struct worker, drain_message);

    UNUSED(loop);
    http_server_drain(&w->server);
}

void worker_drain(struct worker *w)
{
    CHECK_TAG(w, WORKER);
    w->drain_message.run = on_drain_message;
    loop_post(w->loop, &w->drain_message);
}

void worker_post(struct worker *w, struct loop_message *message)
{
    CHECK_TAG(w, WORKER);
    loop_post(w->loop, message);
}

struct guard_worker *worker_guards(const struct worker *w)
{
    CHECK_TAG(w, WORKER);
    return w->env.guards;
}

struct store *worker_store(const struct worker *w)
{
    CHECK_TAG(w, WORKER);
    return w->store;
}

static void on_policy_drop(struct loop *loop, struct loop_message *message)
{
    struct policy_message *m = CONTAINER_OF(message, struct policy_message, message);

    UNUSED(loop);
    policy_unref(&m->policy);
    certificates_unref(&m->certificates);
    free(m);
}

static void on_policy_message(struct loop *loop, struct loop_message *message)
{
    struct policy_message *m = CONTAINER_OF(message, struct policy_message, message);
    struct worker *w = m->worker;
    struct serve_snapshot *old = w->env.snapshot;
    struct certificates *old_certificates = w->certificates;
    const struct store_settings store = store_settings(&m->policy->settings);

    open_snapshot(w, m->policy, m->certificates);
    store_set_bounds(w->store, &store);
    guard_worker_set_policy(w->env.guards, w->env.policy);
    w->server.settings = request_conn_settings(w->env.policy);
    if (w->listener != NULL)
        listener_set_timeout(w->listener, w->env.policy->settings.header_timeout_ms);
    if (w->listener != NULL && certificates_listener(w->certificates) != NULL)
        listener_set_tls(w->listener, certificates_listener(w->certificates));
    serve_snapshot_unref(&old);
    certificates_unref(&old_certificates);
    on_policy_drop(loop, message);
}

void worker_set_policy(struct worker *w, struct policy *policy, struct certificates *certificates)
{
    struct policy_message *m = mem_calloc(1, sizeof(*m));

    CHECK_TAG(w, WORKER);
    m->message.run = on_policy_message;
    m->message.on_drop = on_policy_drop;
    m->worker = w;
    m->policy = policy_ref(policy);
    m->certificates = certificates_ref(certificates);
    loop_post(w->loop, &m->message);
}

void worker_close(struct worker **worker)
{
    struct worker *w = TAKE(worker);

    CHECK_TAG(w, WORKER);
    if (w->is_started)
        CHECK(pthread_join(w->thread, NULL) == 0);
    else
        close_parts(w);
    w->tag = 0;
    free(w);
}
