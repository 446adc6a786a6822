#include "http/upstream_pool.h"

#include <errno.h>
#include <stdlib.h>

#include "http/http_write.h"
#include "http/upstream_conn.h"
#include "http/upstream_group.h"
#include "net/tls.h"

/* How long the last bytes of a tunnel may still go out. */
#define TUNNEL_LINGER_MS 5000

static const struct {
    const char *reason, *text;
    unsigned status;
    bool was_sent;
} failures[UPSTREAM_FAILURE_COUNT] = {
#define FAILURE_ENTRY(id, reason, status, was_sent, text) {reason, text, status, was_sent},
    UPSTREAM_FAILURES(FAILURE_ENTRY)
#undef FAILURE_ENTRY
};

const char *upstream_failure_reason(enum upstream_failure failure)
{
    return failures[failure].reason;
}

const char *upstream_failure_text(enum upstream_failure failure)
{
    return failures[failure].text;
}

unsigned upstream_failure_status(enum upstream_failure failure)
{
    return failures[failure].status;
}

bool upstream_failure_was_sent(enum upstream_failure failure)
{
    return failures[failure].was_sent;
}

static void on_task(struct loop_task *task);
static void on_wait_timer(struct timer *timer);

/* --- the pool's memory --- */

void upstream_pool_enter(struct upstream_pool *pool)
{
    CHECK_TAG(pool, UPSTREAM_POOL);
    pool->depth++;
}

static void pool_free(struct upstream_pool *pool)
{
    pool->tag = 0;
    if (pool->group != NULL)
        upstream_group_forget(pool->group);
    if (pool->settings.tls != NULL)
        tls_context_unref(&pool->settings.tls);
    free(pool->name);
    free(pool->host);
    free(pool->server_name);
    free(pool->host_field);
    free(pool);
}

void upstream_pool_leave(struct upstream_pool *pool)
{
    struct list_node *node;

    if (--pool->depth > 0)
        return;
    while ((node = list_first(&pool->conns[UPSTREAM_CONN_DEAD])) != NULL)
        upstream_conn_free(CONTAINER_OF(node, struct upstream_conn, node));
    if (pool->is_closing && pool->exchange_count == 0) {
        CHECK(pool->counts[UPSTREAM_CONN_IDLE] == 0 && pool->counts[UPSTREAM_CONN_ACTIVE] == 0 &&
              pool->counts[UPSTREAM_CONN_CONNECTING] == 0);
        pool_free(pool);
    }
}

static void count(struct upstream_pool *pool, uint32_t slot, int64_t amount)
{
    if (pool->shard != NULL)
        metrics_add(pool->shard, slot, amount);
}

void upstream_pool_move(struct upstream_conn *conn, enum upstream_conn_state state)
{
    struct upstream_pool *pool = conn->pool;

    if (conn->state != UPSTREAM_CONN_DEAD) {
        pool->counts[conn->state]--;
        count(pool, pool->state_slots[conn->state], -1);
    }
    list_remove(&conn->node);
    conn->state = (uint8_t)state;
    list_prepend(&pool->conns[state], &conn->node); /* idle: last in, first out */
    if (state != UPSTREAM_CONN_DEAD) {
        pool->counts[state]++;
        count(pool, pool->state_slots[state], 1);
    }
}

/* --- who waits for a connection --- */

static void wait(struct upstream_exchange *exchange, bool is_first)
{
    struct upstream_pool *pool = exchange->pool;

    exchange->has_waited = true;
    if (is_first)
        list_prepend(&pool->waiting, &exchange->node);
    else
        list_append(&pool->waiting, &exchange->node);
    pool->waiting_count++;
    count(pool, pool->waiting_slot, 1);
    timer_start(pool->loop, &exchange->timer, pool->settings.connect_timeout_ms, on_wait_timer);
}

static void stop_waiting(struct upstream_exchange *exchange)
{
    struct upstream_pool *pool = exchange->pool;

    if (!list_is_linked(&exchange->node))
        return;
    list_remove(&exchange->node);
    pool->waiting_count--;
    count(pool, pool->waiting_slot, -1);
    timer_stop(pool->loop, &exchange->timer);
}

static bool may_open(const struct upstream_pool *pool)
{
    const size_t *counts = pool->counts;
    size_t total = counts[UPSTREAM_CONN_CONNECTING] + counts[UPSTREAM_CONN_IDLE] +
                   counts[UPSTREAM_CONN_ACTIVE];

    return total < pool->settings.max_connections;
}

/* Idle connections while somebody waits: he is to be repeated on a fresh one, which needs room. */
static bool make_room(struct upstream_pool *pool)
{
    struct list_node *oldest = list_last(&pool->conns[UPSTREAM_CONN_IDLE]);

    if (may_open(pool))
        return true;
    if (oldest == NULL)
        return false;
    upstream_conn_close(CONTAINER_OF(oldest, struct upstream_conn, node));
    return may_open(pool);
}

void upstream_pool_pump(struct upstream_pool *pool)
{
    while (pool->waiting_count > pool->counts[UPSTREAM_CONN_CONNECTING] && make_room(pool))
        upstream_conn_open(pool);
}

/* Connections that connect for nobody would keep a closing pool alive. */
static void close_unwanted(struct upstream_pool *pool)
{
    struct list *idle = &pool->conns[UPSTREAM_CONN_IDLE];
    struct list *connecting = &pool->conns[UPSTREAM_CONN_CONNECTING];

    while (pool->is_closing && !list_is_empty(idle))
        upstream_conn_close(CONTAINER_OF(list_first(idle), struct upstream_conn, node));
    while (pool->is_closing && pool->counts[UPSTREAM_CONN_CONNECTING] > pool->waiting_count)
        upstream_conn_close(CONTAINER_OF(list_first(connecting), struct upstream_conn, node));
}

/* --- ends of exchanges --- */

static void forget(struct upstream_exchange *exchange)
{
    struct upstream_pool *pool = exchange->pool;

    stop_waiting(exchange);
    loop_undefer(&exchange->task);
    exchange->tag = 0;
    pool->exchange_count--;
    close_unwanted(pool);
    upstream_pool_pump(pool);
}

void upstream_pool_complete(struct upstream_exchange *exchange)
{
    const struct upstream_events *events = exchange->events;
    void *owner = exchange->owner;

    upstream_group_note(exchange->pool, UPSTREAM_FAILURE_COUNT);
    forget(exchange);
    events->on_end(owner);
}

static bool is_repeatable(const struct upstream_exchange *exchange)
{
    return exchange->head->is_idempotent && !exchange->is_repeated &&
           (exchange->head->body == HTTP_BODY_NONE || !exchange->is_connected_told);
}

static void start(struct upstream_exchange *exchange);

/* Nothing was sent, so another address of the service may have it. */
static bool move_on(struct upstream_exchange *exchange)
{
    struct upstream_pool *pool = exchange->pool, *next = upstream_group_next(exchange);

    if (next == NULL)
        return false;
    count(pool, pool->retries_slot, 1);
    forget(exchange);
    exchange->tag = UPSTREAM_EXCHANGE_TAG;
    exchange->has_failed = false;
    exchange->has_waited = true;
    exchange->head_bytes = SLICE_NONE;
    exchange->pool = next;
    start(exchange);
    return true;
}

void upstream_pool_fail(struct upstream_exchange *exchange, enum upstream_failure failure,
                        bool may_repeat)
{
    struct upstream_pool *pool = exchange->pool;
    const struct upstream_events *events = exchange->events;
    void *owner = exchange->owner;

    exchange->conn = NULL;
    if (may_repeat && failure == UPSTREAM_CLOSED && is_repeatable(exchange)) {
        exchange->is_repeated = true;
        exchange->is_read_stopped = false;
        count(pool, pool->retries_slot, 1);
        wait(exchange, true);
        upstream_pool_pump(pool);
        return;
    }
    count(pool, pool->failure_slots[failure], 1);
    if (!exchange->is_tunnel) /* how a tunnel ends is between the two ends */
        upstream_group_note(pool, failure);
    if (!upstream_failure_was_sent(failure)) {
        if (move_on(exchange))
            return;
        /* The connection that was tried before may have had the request. */
        if (exchange->is_repeated)
            failure = UPSTREAM_CLOSED;
    }
    forget(exchange);
    events->on_fail(owner, failure);
}

void upstream_pool_unreachable(struct upstream_pool *pool, int error)
{
    struct list_node *first = list_first(&pool->waiting);

    log_warn(pool->log, "service unreachable", LOG_STR("upstream", pool->name),
             LOG_STR("reason", loop_error_text(error)), LOG_INT("error", error));
    if (pool->waiting_count > pool->counts[UPSTREAM_CONN_CONNECTING])
        upstream_pool_fail(CONTAINER_OF(first, struct upstream_exchange, node),
                           error == -ETIMEDOUT ? UPSTREAM_CONNECT_TIMEOUT : UPSTREAM_UNREACHABLE,
                           false);
}

static void on_wait_timer(struct timer *timer)
{
    struct upstream_exchange *exchange = CONTAINER_OF(timer, struct upstream_exchange, timer);
    struct upstream_pool *pool = exchange->pool;
    bool connects = pool->counts[UPSTREAM_CONN_CONNECTING] > 0;

    CHECK_TAG(exchange, UPSTREAM_EXCHANGE);
    upstream_pool_enter(pool);
    upstream_pool_fail(exchange, connects ? UPSTREAM_CONNECT_TIMEOUT : UPSTREAM_BUSY, false);
    upstream_pool_leave(pool);
}

/* --- giving connections to exchanges --- */

static bool give(struct upstream_conn *conn, struct upstream_exchange *exchange)
{
    if (!upstream_conn_attach(conn, exchange))
        return false;
    if (exchange->head->body == HTTP_BODY_NONE)
        exchange->request_done = true;
    if (!exchange->is_connected_told)
        loop_defer(exchange->pool->loop, &exchange->task);
    return true;
}

/* Asks the owner, who may give up the exchange at that: its memory stays until the loop turns.
 * False: it is put aside, or over. */
static bool may_send(struct upstream_exchange *exchange)
{
    const struct upstream_events *events = exchange->events;

    if (events->may_send == NULL || events->may_send(exchange->owner))
        return true;
    if (exchange->tag == UPSTREAM_EXCHANGE_TAG) {
        stop_waiting(exchange);
        exchange->is_aside = true;
    }
    return false;
}

void upstream_pool_ready(struct upstream_conn *conn)
{
    struct upstream_pool *pool = conn->pool;
    struct list_node *first;

    while ((first = list_first(&pool->waiting)) != NULL) {
        struct upstream_exchange *exchange = CONTAINER_OF(first, struct upstream_exchange, node);

        if (may_send(exchange)) {
            if (give(conn, exchange))
                stop_waiting(exchange);
            else
                upstream_pool_pump(pool);
            return;
        }
        if (conn->state == UPSTREAM_CONN_DEAD) /* nobody wanted it any more */
            return;
    }
    if (pool->is_closing) {
        upstream_conn_close(conn);
        return;
    }
    if (upstream_conn_is_old(conn)) {
        upstream_conn_close(conn);
        return;
    }
    upstream_pool_move(conn, UPSTREAM_CONN_IDLE);
    upstream_conn_wait_idle(conn);
}

static bool take_idle(struct upstream_exchange *exchange)
{
    struct list *idle = &exchange->pool->conns[UPSTREAM_CONN_IDLE];
    struct list_node *node;

    while ((node = list_first(idle)) != NULL) {
        struct upstream_conn *conn = CONTAINER_OF(node, struct upstream_conn, node);

        if (upstream_conn_is_old(conn))
            upstream_conn_close(conn);
        else if (give(conn, exchange))
            return true;
    }
    return false;
}

/* What could not be told inside upstream_begin. */
static void on_task(struct loop_task *task)
{
    struct upstream_exchange *exchange = CONTAINER_OF(task, struct upstream_exchange, task);
    struct upstream_pool *pool = exchange->pool;

    CHECK_TAG(exchange, UPSTREAM_EXCHANGE);
    upstream_pool_enter(pool);
    if (exchange->has_failed) {
        upstream_pool_fail(exchange, (enum upstream_failure)exchange->failure, false);
    } else if (exchange->conn != NULL && !exchange->is_connected_told) {
        exchange->is_connected_told = true;
        exchange->events->on_connected(exchange->owner);
    }
    upstream_pool_leave(pool);
}

static void start(struct upstream_exchange *exchange)
{
    struct upstream_pool *pool = exchange->pool;

    upstream_pool_enter(pool);
    CHECK(!pool->is_closing);
    pool->exchange_count++;
    if ((exchange->has_waited && !may_send(exchange)) || take_idle(exchange)) {
        upstream_pool_leave(pool);
        return;
    }
    if (may_open(pool) ||
        pool->waiting_count < pool->counts[UPSTREAM_CONN_CONNECTING] + pool->settings.max_waiting) {
        wait(exchange, false);
        upstream_pool_pump(pool);
    } else {
        exchange->has_failed = true;
        exchange->failure = UPSTREAM_BUSY;
        loop_defer(pool->loop, &exchange->task);
    }
    upstream_pool_leave(pool);
}

struct upstream_exchange *upstream_begin(struct upstream_pool *pool,
                                         const struct http_request *head, struct arena *arena,
                                         const struct upstream_events *events, void *owner)
{
    struct upstream_exchange *exchange = arena_calloc(arena, 1, sizeof(*exchange));

    exchange->tag = UPSTREAM_EXCHANGE_TAG;
    exchange->pool = pool;
    exchange->head = head;
    exchange->arena = arena;
    exchange->events = events;
    exchange->owner = owner;
    exchange->remaining = head->body == HTTP_BODY_LENGTH ? head->content_length : 0;
    list_node_init(&exchange->node);
    loop_task_init(&exchange->task, on_task);
    start(exchange);
    return exchange;
}

/* --- a running exchange --- */

enum stream_status upstream_send_body(struct upstream_exchange *exchange, struct slice data)
{
    char size_line[HTTP_CHUNK_SIZE_BYTES];
    struct slice parts[3] = {SLICE_NONE, data, SLICE_INIT("\r\n")};

    CHECK_TAG(exchange, UPSTREAM_EXCHANGE);
    CHECK(exchange->is_connected_told && exchange->conn != NULL && !exchange->request_done);
    if (data.len == 0)
        return STREAM_OK;
    upstream_conn_wait_for_answer(exchange->conn);
    if (exchange->head->body == HTTP_BODY_CHUNKED) {
        parts[0] = http_write_chunk_size(size_line, data.len);
        return upstream_conn_write(exchange->conn, parts, 3);
    }
    CHECK(data.len <= exchange->remaining);
    exchange->remaining -= data.len;
    return upstream_conn_write(exchange->conn, &data, 1);
}

void upstream_send_trailers(struct upstream_exchange *exchange, const struct http_field *fields,
                            size_t count)
{
    struct slice bytes;

    CHECK_TAG(exchange, UPSTREAM_EXCHANGE);
    CHECK(exchange->is_connected_told && exchange->conn != NULL && !exchange->request_done);
    CHECK(exchange->head->body == HTTP_BODY_CHUNKED);
    bytes = http_write_trailers(exchange->arena, fields, count);
    exchange->is_end_written = true;
    upstream_conn_write(exchange->conn, &bytes, 1);
}

void upstream_send_end(struct upstream_exchange *exchange)
{
    static const struct slice last_chunk = SLICE_INIT("0\r\n\r\n");

    CHECK_TAG(exchange, UPSTREAM_EXCHANGE);
    CHECK(exchange->is_connected_told && exchange->conn != NULL && !exchange->request_done);
    CHECK(exchange->remaining == 0 || exchange->is_tunnel);
    exchange->request_done = true;
    if (exchange->is_tunnel)
        stream_shutdown(exchange->conn->stream);
    else if (exchange->head->body == HTTP_BODY_CHUNKED && !exchange->is_end_written)
        upstream_conn_write(exchange->conn, &last_chunk, 1);
    upstream_conn_wait_for_answer(exchange->conn);
}

void upstream_read_stop(struct upstream_exchange *exchange)
{
    CHECK_TAG(exchange, UPSTREAM_EXCHANGE);
    if (exchange->conn == NULL || exchange->is_read_stopped)
        return;
    exchange->is_read_stopped = true;
    stream_read_stop(exchange->conn->stream);
}

void upstream_read_start(struct upstream_exchange *exchange)
{
    CHECK_TAG(exchange, UPSTREAM_EXCHANGE);
    if (exchange->conn == NULL || !exchange->is_read_stopped)
        return;
    exchange->is_read_stopped = false;
    upstream_conn_wait_for_answer(exchange->conn);
    stream_read_start(exchange->conn->stream);
}

void upstream_resume(struct upstream_exchange *exchange)
{
    struct upstream_pool *pool = exchange->pool;
    struct list_node *idle;

    CHECK_TAG(exchange, UPSTREAM_EXCHANGE);
    if (!exchange->is_aside)
        return;
    exchange->is_aside = false;
    upstream_pool_enter(pool);
    wait(exchange, true);
    idle = list_first(&pool->conns[UPSTREAM_CONN_IDLE]);
    if (idle != NULL)
        upstream_pool_ready(CONTAINER_OF(idle, struct upstream_conn, node));
    else
        upstream_pool_pump(pool);
    upstream_pool_leave(pool);
}

void upstream_cancel(struct upstream_exchange **place)
{
    struct upstream_exchange *exchange = TAKE(place);
    struct upstream_pool *pool;

    CHECK_TAG(exchange, UPSTREAM_EXCHANGE);
    pool = exchange->pool;
    upstream_pool_enter(pool);
    if (exchange->conn != NULL)
        upstream_conn_close(exchange->conn);
    forget(exchange);
    upstream_pool_leave(pool);
}

void upstream_finish(struct upstream_exchange **place)
{
    struct upstream_exchange *exchange = TAKE(place);
    struct upstream_pool *pool;

    CHECK_TAG(exchange, UPSTREAM_EXCHANGE);
    CHECK(exchange->is_tunnel && exchange->conn != NULL);
    pool = exchange->pool;
    upstream_pool_enter(pool);
    stream_close(&exchange->conn->stream, TUNNEL_LINGER_MS);
    upstream_conn_close(exchange->conn);
    forget(exchange);
    upstream_pool_leave(pool);
}

const char *upstream_exchange_address(const struct upstream_exchange *exchange)
{
    CHECK_TAG(exchange, UPSTREAM_EXCHANGE);
    return exchange->conn != NULL ? exchange->conn->address : "";
}

/* --- opening and closing --- */

static void bind_metrics(struct upstream_pool *pool, struct metrics *metrics)
{
    static const char *const states[] = {
#define STATE_NAME(id, name) name,
        UPSTREAM_CONN_STATES(STATE_NAME)
#undef STATE_NAME
    };

    for (size_t i = 0; i < UPSTREAM_CONN_DEAD; i++)
        pool->state_slots[i] =
            metrics_series2(metrics, METRIC_UPSTREAM_CONNECTIONS, pool->name, states[i]);
    for (size_t i = 0; i < UPSTREAM_FAILURE_COUNT; i++)
        pool->failure_slots[i] =
            metrics_series2(metrics, METRIC_UPSTREAM_FAILURES, pool->name, failures[i].reason);
    pool->waiting_slot = metrics_series1(metrics, METRIC_UPSTREAM_WAITING, pool->name);
    pool->retries_slot = metrics_series1(metrics, METRIC_UPSTREAM_RETRIES, pool->name);
}

struct upstream_pool *upstream_pool_open(struct loop *loop,
                                         const struct upstream_settings *settings,
                                         struct metrics *metrics, struct metrics_shard *shard,
                                         const struct log_context *log)
{
    struct upstream_pool *pool = mem_calloc(1, sizeof(*pool));

    CHECK(settings->max_connections > 0);
    pool->tag = UPSTREAM_POOL_TAG;
    pool->loop = loop;
    pool->settings = *settings;
    pool->settings.name = pool->name = mem_strdup(settings->name);
    pool->settings.host = pool->host = mem_strdup(settings->host);
    if (settings->tls != NULL)
        pool->settings.tls = tls_context_ref(settings->tls);
    if (settings->server_name != NULL)
        pool->server_name = mem_strdup(settings->server_name);
    if (settings->host_field != NULL)
        pool->host_field = mem_strdup(settings->host_field);
    pool->log = log;
    list_init(&pool->waiting);
    for (size_t i = 0; i < UPSTREAM_CONN_STATE_COUNT; i++)
        list_init(&pool->conns[i]);
    pool->is_literal = resolve_literal(pool->host, settings->port, &pool->addresses[0]);
    pool->address_count = pool->is_literal ? 1 : 0;
    if (metrics != NULL) {
        pool->shard = shard;
        bind_metrics(pool, metrics);
    }
    return pool;
}

void upstream_pool_close(struct upstream_pool **place)
{
    struct upstream_pool *pool = TAKE(place);

    upstream_pool_enter(pool);
    pool->is_closing = true;
    close_unwanted(pool);
    upstream_pool_leave(pool);
}
