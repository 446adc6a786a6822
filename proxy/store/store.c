/* Chooses the engine, and keeps what is common to both: results, metrics, the breaker.
 *
 * The breaker stands only in front of Redis; what the embedded engine answers is final and at hand.
 * It counts UNKNOWN and NOT_SENT.  REFUSED does not count: an answer came in time, so nobody waits
 * in vain, and that is all the breaker is for. */
#include "store/store.h"

#include <stdlib.h>

#include "base/arena.h"
#include "net/tls.h"
#include "store/breaker.h"
#include "store/embedded.h"
#include "store/messages.h"
#include "store/presence.h"
#include "store/redis_conn.h"
#include "store/redis_url.h"
#include "store/refusal.h"

#define STORE_TAG 0x53544f52u /* STOR */

/* How long a closing store tries to send what it still has to say. */
#define LINGER_MS 200u
#define DEFAULT_KEY_PREFIX "lk"

struct store {
    uint32_t tag;
    struct loop *loop;
    struct store_settings settings;
    struct log_context log;
    struct embedded *embedded;
    struct arena local_arena; /* the last reply of the embedded engine */
    struct refusal local_refusal;

    struct redis_conn *redis; /* NULL: the embedded engine is the store */
    struct breaker breaker;
    struct store_call *probe; /* decides whether the breaker closes; NULL: none on its way */
    struct presence presence;
    struct redis_conn_settings redis_settings; /* with a copy of the url, and our TLS context */
    bool was_connected;

    struct messages messages;

    struct metrics_shard *shard;
    uint32_t calls_slots[SCRIPT_COUNT][STORE_RESULT_COUNT];
    uint32_t duration_slot, connections_slot, reconnects_slot, pending_slot, breaker_open_slot;
    uint32_t local_calls_slot;
};

#define STORE_RESULT_NAME(id, name, text) name,
static const char *const result_names[] = {STORE_RESULTS(STORE_RESULT_NAME)};
#define STORE_RESULT_TEXT(id, name, text) text,
static const char *const result_texts[] = {STORE_RESULTS(STORE_RESULT_TEXT)};

const char *store_result_name(enum store_result result)
{
    CHECK(result < STORE_RESULT_COUNT);
    return result_names[result];
}

const char *store_result_text(enum store_result result)
{
    CHECK(result < STORE_RESULT_COUNT);
    return result_texts[result];
}

static void count_result(struct store *store, enum script_id script, enum store_result result)
{
    metrics_add(store->shard, store->calls_slots[script][result], 1);
}

/* --- the breaker --- */

/* Metric and log follow every change of the breaker, whatever caused it. */
static void note_breaker(struct store *store, enum breaker_state before)
{
    enum breaker_state after = store->breaker.state;

    if ((before == BREAKER_CLOSED) == (after == BREAKER_CLOSED))
        return;
    if (after == BREAKER_CLOSED) {
        metrics_add(store->shard, store->breaker_open_slot, -1);
        log_info(&store->log, "store breaker closed");
    } else {
        metrics_add(store->shard, store->breaker_open_slot, 1);
        log_warn(&store->log, "store breaker opened",
                 LOG_UINT("failures", store->breaker.failure_count));
    }
}

static void tell_breaker(struct store *store, bool is_probe, enum store_result result)
{
    enum breaker_state before = store->breaker.state;

    if (result == STORE_OK || result == STORE_REFUSED)
        breaker_succeeded(&store->breaker);
    else
        breaker_failed(&store->breaker, is_probe, loop_now_ms(store->loop));
    note_breaker(store, before);
}

/* --- what the connection tells --- */

static void on_done(void *owner, struct store_call *call, enum store_result result,
                    const struct reply *reply)
{
    struct store *store = owner;
    bool is_probe = store->probe == call;

    CHECK_TAG(store, STORE);
    if (is_probe)
        store->probe = NULL;
    metrics_add(store->shard, store->pending_slot, -1);
    metrics_observe_us(store->shard, store->duration_slot, loop_clock_us() - call->sent_at_us);
    count_result(store, call->script, result);
    tell_breaker(store, is_probe, result);
    call->on_reply(call, result, reply);
}

static void on_ready(void *owner)
{
    struct store *store = owner;
    enum breaker_state before = store->breaker.state;

    CHECK_TAG(store, STORE);
    metrics_add(store->shard, store->connections_slot, 1);
    if (store->was_connected)
        metrics_add(store->shard, store->reconnects_slot, 1);
    store->was_connected = true;
    breaker_succeeded(&store->breaker);
    note_breaker(store, before);
    presence_start(&store->presence);
}

static void on_lost(void *owner)
{
    struct store *store = owner;

    CHECK_TAG(store, STORE);
    metrics_add(store->shard, store->connections_slot, -1);
    presence_stop(&store->presence);
}

static void on_caught_up(void *owner)
{
    struct store *store = owner;

    CHECK_TAG(store, STORE);
    breaker_hurry(&store->breaker, loop_now_ms(store->loop));
}

static const struct redis_conn_events conn_events = {
    .on_ready = on_ready,
    .on_lost = on_lost,
    .on_done = on_done,
    .on_caught_up = on_caught_up,
};

/* --- calls --- */

static enum store_result send_to_redis(struct store *store, struct store_call *call)
{
    enum store_result result;

    call->store = store;
    call->sent_at_us = loop_clock_us();
    result = redis_conn_eval(store->redis, call);
    if (result == STORE_PENDING)
        metrics_add(store->shard, store->pending_slot, 1);
    else
        count_result(store, call->script, result);
    return result;
}

/* The beat of a sidecar passes the breaker: it is few, and finds out whether the store is back. */
static enum store_result send_presence(void *owner, struct store_call *call)
{
    struct store *store = owner;

    CHECK_TAG(store, STORE);
    return send_to_redis(store, call);
}

static enum store_result eval_redis(struct store *store, struct store_call *call)
{
    enum breaker_answer answer = breaker_ask(&store->breaker, loop_now_ms(store->loop));
    bool is_probe = answer == BREAKER_PROBE;
    enum store_result result;

    if (answer == BREAKER_STOP) {
        count_result(store, call->script, STORE_NOT_SENT);
        return STORE_NOT_SENT;
    }
    result = send_to_redis(store, call);
    if (result != STORE_PENDING)
        tell_breaker(store, is_probe, result);
    else if (is_probe)
        store->probe = call;
    return result;
}

static enum store_result eval_embedded(struct store *store, struct store_call *call,
                                       struct reply *ret_reply)
{
    uint64_t started_at_us = loop_clock_us();
    enum store_result result = STORE_OK;
    struct reply reply;

    CHECK(!call->is_pending);
    embedded_eval(
        store->embedded, call->script,
        &(const struct embedded_call){call->keys, call->key_count, call->args, call->arg_count},
        &store->local_arena, &reply);
    if (reply.type == REPLY_ERROR) {
        refusal_note(&store->local_refusal, reply.text, loop_now_ms(store->loop), &store->log);
        result = STORE_REFUSED;
    } else {
        *ret_reply = reply;
    }
    metrics_observe_us(store->shard, store->duration_slot, loop_clock_us() - started_at_us);
    count_result(store, call->script, result);
    return result;
}

enum store_result store_eval(struct store *store, struct store_call *call, struct reply *ret_reply)
{
    CHECK_TAG(store, STORE);
    return store->redis != NULL ? eval_redis(store, call) : eval_embedded(store, call, ret_reply);
}

enum store_result store_eval_local(struct store *store, struct store_call *call,
                                   struct reply *ret_reply)
{
    CHECK_TAG(store, STORE);
    metrics_add(store->shard, store->local_calls_slot, 1);
    return eval_embedded(store, call, ret_reply);
}

void store_cancel(struct store_call *call)
{
    struct store *store = call->store;

    if (!call->is_pending)
        return;
    CHECK_TAG(store, STORE);
    redis_conn_cancel(store->redis, call);
    metrics_add(store->shard, store->pending_slot, -1);
    if (store->probe != call)
        return;
    store->probe = NULL;
    breaker_probe_gone(&store->breaker, loop_now_ms(store->loop));
}

/* --- messages --- */

struct slice store_channel(const struct store *store)
{
    CHECK_TAG(store, STORE);
    return slice_of(store->messages.channel);
}

void store_listen(struct store *store, store_message_cb *on_message, store_gap_cb *on_gap,
                  void *owner)
{
    CHECK_TAG(store, STORE);
    messages_set_owner(&store->messages, on_message, on_gap, owner);
    if (store->redis != NULL)
        messages_listen_redis(&store->messages, &store->redis_settings);
    else
        messages_listen_embedded(&store->messages, embedded_channels(store->embedded));
}

bool store_is_listening(const struct store *store)
{
    CHECK_TAG(store, STORE);
    return messages_flow(&store->messages);
}

/* --- open and close --- */

static void open_metrics(struct store *store, struct metrics *metrics)
{
    for (unsigned id = 0; id < SCRIPT_COUNT; id++)
        for (unsigned result = 0; result < STORE_PENDING; result++)
            store->calls_slots[id][result] =
                metrics_series2(metrics, METRIC_STORE_CALLS, script_get((enum script_id)id)->name,
                                result_names[result]);
    store->duration_slot = metrics_series0(metrics, METRIC_STORE_DURATION);
    store->connections_slot = metrics_series0(metrics, METRIC_STORE_CONNECTIONS);
    store->reconnects_slot = metrics_series0(metrics, METRIC_STORE_RECONNECTS);
    store->pending_slot = metrics_series0(metrics, METRIC_STORE_PENDING);
    store->breaker_open_slot = metrics_series0(metrics, METRIC_STORE_BREAKER_OPEN);
    store->local_calls_slot = metrics_series0(metrics, METRIC_STORE_LOCAL_CALLS);
}

/* Without ca_file the system's authorities decide whom to trust (SSL_CERT_FILE names others). */
static struct tls_context *open_tls(struct store *store)
{
    const struct tls_options options = {.ca_file = store->settings.ca_file};
    struct tls_context *tls;
    char error[256];

    if (!slice_starts_with(slice_of(store->settings.url), SLICE("rediss:")))
        return NULL;
    if (store->settings.tls != NULL)
        return tls_context_ref(store->settings.tls);
    tls = tls_context_open(&options, error, sizeof(error));
    if (tls == NULL)
        log_error(&store->log, "store cannot use TLS", LOG_STR("reason", error));
    return tls;
}

static void set_redis_bounds(struct redis_conn_settings *redis,
                             const struct store_settings *settings)
{
    redis->timeout_ms = settings->timeout_ms;
    redis->connect_timeout_ms = settings->connect_timeout_ms;
    redis->max_pending = settings->max_pending;
}

void store_set_bounds(struct store *store, const struct store_settings *settings)
{
    CHECK_TAG(store, STORE);
    if (store->redis == NULL)
        return;
    set_redis_bounds(&store->redis_settings, settings);
    redis_conn_set_bounds(store->redis, &store->redis_settings);
    messages_set_bounds(&store->messages, &store->redis_settings);
    breaker_set(&store->breaker, settings->breaker_failures, settings->breaker_open_ms);
}

static void open_redis(struct store *store, const char *key_prefix)
{
    store->redis_settings = (struct redis_conn_settings){
        .url = mem_strdup(store->settings.url),
        .tls = open_tls(store),
        .get_script = script_get,
    };
    set_redis_bounds(&store->redis_settings, &store->settings);
    breaker_init(&store->breaker, store->settings.breaker_failures,
                 store->settings.breaker_open_ms);
    presence_init(&store->presence, store->loop, key_prefix, send_presence, store);
    store->redis =
        redis_conn_open(store->loop, &store->redis_settings, &conn_events, store, &store->log);
}

static bool is_embedded_url(struct slice url)
{
    return slice_equal(url, SLICE("embedded"));
}

struct store *store_open(struct loop *loop, const struct store_settings *settings,
                         struct embedded *embedded, struct metrics *metrics,
                         struct metrics_shard *shard, const struct log_context *log)
{
    struct store *store = mem_calloc(1, sizeof(*store));
    const char *key_prefix =
        settings->key_prefix != NULL ? settings->key_prefix : DEFAULT_KEY_PREFIX;

    CHECK(store_check_url(slice_of(settings->url)) == NULL);
    store->tag = STORE_TAG;
    store->loop = loop;
    store->settings = *settings;
    store->log = (struct log_context){log, LOG_STR("module", "store")};
    store->embedded = embedded_ref(embedded);
    arena_init(&store->local_arena, loop_arena_pool(loop));
    store->shard = shard;
    open_metrics(store, metrics);
    messages_init(&store->messages, loop, key_prefix, metrics, shard, &store->log);
    if (!is_embedded_url(slice_of(settings->url)))
        open_redis(store, key_prefix);
    /* The caller's; copied where needed. */
    store->settings.url = store->settings.key_prefix = store->settings.ca_file = NULL;
    store->settings.tls = NULL;
    return store;
}

/* What the gauges have gained through this store goes with it. */
static void close_redis(struct store *store)
{
    bool is_ready = redis_conn_is_ready(store->redis);

    presence_stop(&store->presence);
    store_cancel(&store->presence.call);
    if (is_ready) {
        metrics_add(store->shard, store->connections_slot, -1);
        presence_leave(&store->presence);
        store_cancel(&store->presence.call);
    }
    presence_clear(&store->presence);
    if (store->breaker.state != BREAKER_CLOSED)
        metrics_add(store->shard, store->breaker_open_slot, -1);
    metrics_add(store->shard, store->pending_slot, -(int64_t)redis_conn_waiting(store->redis));
    redis_conn_close(&store->redis, is_ready ? LINGER_MS : 0);
    if (store->redis_settings.tls != NULL)
        tls_context_unref(&store->redis_settings.tls);
    free((char *)(uintptr_t)TAKE(&store->redis_settings.url));
}

void store_close(struct store **place)
{
    struct store *store = TAKE(place);

    CHECK_TAG(store, STORE);
    messages_clear(&store->messages);
    if (store->redis != NULL)
        close_redis(store);
    arena_clear(&store->local_arena);
    embedded_unref(&store->embedded);
    store->tag = 0;
    free(store);
}

/* --- questions --- */

const char *store_check_url(struct slice url)
{
    struct redis_url redis_url;
    struct arena arena;
    const char *error;

    if (is_embedded_url(url))
        return NULL;
    arena_init(&arena, NULL);
    error = redis_url_parse(&arena, url, &redis_url);
    arena_clear(&arena);
    return error;
}

bool store_is_embedded(const struct store *store)
{
    CHECK_TAG(store, STORE);
    return store->redis == NULL;
}

bool store_is_ready(const struct store *store)
{
    CHECK_TAG(store, STORE);
    return store->redis == NULL ||
           (redis_conn_is_ready(store->redis) && store->breaker.state == BREAKER_CLOSED);
}

bool store_is_sharded(const struct store *store)
{
    CHECK_TAG(store, STORE);
    return store->redis != NULL && redis_conn_is_sharded(store->redis);
}

unsigned store_known_sidecars(const struct store *store)
{
    CHECK_TAG(store, STORE);
    return store->redis != NULL ? store->presence.known_count : 1;
}
