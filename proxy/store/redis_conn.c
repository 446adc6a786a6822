/* Life of a connection, and of a call on it:
 *
 *   backing_off -> resolving -> connecting -> handshaking -> ready
 *        ^_____________|____________|______________|__________|     (lost: back off, fail calls)
 *
 *   redis_conn_eval --> [stream's out buffer] --> kernel --> Redis --> on_read --> on_done
 *          |                  one write per tick                         |
 *          +--> pipeline: first [slot][slot][slot][slot] end  <----------+ pops in order
 *                               |           |
 *               call, or NULL when its owner has left or its deadline has passed
 *
 * What happens to calls is in redis_calls.c; this file connects, shakes hands, backs off, and
 * decides that a silent server is dead.  A connection for messages lives the same life with other
 * events: it is ready once it is subscribed, and its pipeline holds nothing but the PINGs that find
 * out whether a server that publishes nothing is still there. */
#include "store/redis_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/arena.h"
#include "net/resolve.h"
#include "net/stream.h"
#include "net/tls.h"
#include "store/redis_calls.h"

#define REDIS_CONN_TAG 0x5243434eu /* RCCN */

#define BACKOFF_MIN_MS 50u
#define BACKOFF_MAX_MS 1000u
/* A connection that lasted this long starts its back-off anew. */
#define STABLE_MS 1000u
#define MAX_ADDRESSES 8u
/* Our scripts answer with a handful of numbers, INFO with some KiB. */
#define MAX_REPLY_BYTES ((size_t)256 * 1024)
/* Bytes Redis has not taken yet; beyond, it is not keeping up. */
#define MAX_UNSENT_BYTES ((size_t)4 * 1024 * 1024)
#define MAX_HANDSHAKE_BYTES ((size_t)4 * 1024 * 1024)
/* A dead server that owes no reply is found out after this and the time to give it up. */
#define PING_MS 2000u
/* A timer that is this late tells that the loop was stalled, and replies may wait in the socket. */
#define STALL_MS 5u

struct redis_conn {
    uint32_t tag;
    enum redis_conn_state state;
    struct loop *loop;
    struct redis_conn_settings settings;
    const struct redis_conn_events *events;
    void *owner;
    struct log_context log;
    struct arena arena; /* the url and the channel */
    struct redis_url url;

    struct resolve_request *resolving;
    union resolve_address addresses[MAX_ADDRESSES];
    size_t address_count, address_at;
    struct stream *stream;
    struct reply_reader *reader;
    struct handshake handshake;
    uint32_t handshake_left;
    struct timer stage_timer; /* bounds backing_off and handshaking */
    uint32_t attempt_count;   /* since the last stable connection */
    uint64_t ready_at_ms;

    struct redis_calls calls;
    struct timer call_timer; /* the oldest call's deadline, or the time to give the server up */
    struct timer ping_timer;
    uint64_t heard_at_ms;
    bool has_grace; /* the call timer was late, and replies get one more look */

    const char *trouble; /* why there is no connection, as logged last; NULL when there is */
    int trouble_code;
};

#define REDIS_CONN_STATE_NAME(id, name) name,
static const char *const state_names[] = {REDIS_CONN_STATES(REDIS_CONN_STATE_NAME)};

#define BIT(state) (1u << REDIS_CONN_##state)
static const unsigned next_states[REDIS_CONN_STATE_COUNT] = {
    [REDIS_CONN_BACKING_OFF] = BIT(RESOLVING),
    [REDIS_CONN_RESOLVING] = BIT(CONNECTING) | BIT(BACKING_OFF),
    [REDIS_CONN_CONNECTING] = BIT(HANDSHAKING) | BIT(BACKING_OFF),
    [REDIS_CONN_HANDSHAKING] = BIT(READY) | BIT(BACKING_OFF),
    [REDIS_CONN_READY] = BIT(BACKING_OFF),
};

static void set_state(struct redis_conn *conn, enum redis_conn_state state)
{
    CHECK((next_states[conn->state] & (1u << state)) != 0);
    log_debug(&conn->log, "store connection changes", LOG_STR("from", state_names[conn->state]),
              LOG_STR("to", state_names[state]));
    conn->state = state;
}

static bool is_for_messages(const struct redis_conn *conn)
{
    return conn->settings.channel.len > 0;
}

/* Why there is no connection, once per change: an outage is two lines, not one per attempt. */
static void log_trouble(struct redis_conn *conn, enum log_level level, const char *what, int code,
                        const char *detail)
{
    if (conn->trouble != NULL && strcmp(conn->trouble, what) == 0 && conn->trouble_code == code)
        return;
    conn->trouble = what;
    conn->trouble_code = code;
    if (detail == NULL && code < 0)
        detail = strerrordesc_np(-code);
    LOG_AT(level, &conn->log, what, LOG_STR("reason", detail), LOG_INT("code", code));
}

/* --- deadlines --- */

static uint64_t give_up_after_ms(const struct redis_conn *conn)
{
    uint64_t timeouts_ms = 10 * conn->settings.timeout_ms;

    return timeouts_ms > 1000 ? timeouts_ms : 1000;
}

/* When a server that leaves the oldest command without an answer, and says nothing else either, is
 * taken for dead. */
static uint64_t give_up_at_ms(struct redis_conn *conn)
{
    uint64_t since_ms = pipeline_first(&conn->calls.pipeline)->sent_at_ms;

    if (conn->heard_at_ms > since_ms)
        since_ms = conn->heard_at_ms;
    return since_ms + give_up_after_ms(conn);
}

static void lose_connection(struct redis_conn *conn);
static void on_call_timer(struct timer *timer);

static void start_call_timer(struct redis_conn *conn, uint64_t now_ms)
{
    uint64_t at_ms, deadline_ms = redis_calls_deadline_ms(&conn->calls);

    if (conn->state != REDIS_CONN_READY || redis_conn_in_flight(conn) == 0)
        return;
    at_ms = give_up_at_ms(conn);
    if (deadline_ms < at_ms)
        at_ms = deadline_ms;
    timer_start(conn->loop, &conn->call_timer, at_ms > now_ms ? at_ms - now_ms : 0, on_call_timer);
}

static void on_call_timer(struct timer *timer)
{
    struct redis_conn *conn = CONTAINER_OF(timer, struct redis_conn, call_timer);
    uint64_t now_ms = loop_now_ms(conn->loop);

    CHECK_TAG(conn, REDIS_CONN);
    if (!conn->has_grace && now_ms >= timer->at_ms + STALL_MS) {
        conn->has_grace = true;
        timer_start(conn->loop, timer, 1, on_call_timer);
        return;
    }
    conn->has_grace = false;
    redis_calls_expire(&conn->calls, now_ms);
    if (redis_conn_in_flight(conn) > 0 && give_up_at_ms(conn) <= now_ms) {
        log_trouble(conn, LOG_WARN, "store does not answer", 0, "no reply for too long");
        lose_connection(conn);
        return;
    }
    start_call_timer(conn, now_ms);
}

/* --- losing the connection --- */

static uint64_t backoff_ms(uint32_t attempt_count)
{
    uint64_t delay_ms = BACKOFF_MAX_MS;
    uint32_t dice = 0;

    if (attempt_count < 5) /* 50, 100, 200, 400, 800 */
        delay_ms = (uint64_t)BACKOFF_MIN_MS << attempt_count;
    if (getrandom(&dice, sizeof(dice), GRND_NONBLOCK) != (ssize_t)sizeof(dice))
        dice = 0;
    return delay_ms / 2 + dice % (delay_ms / 2 + 1);
}

static void on_backoff_over(struct timer *timer);

static void close_connection(struct redis_conn *conn, uint64_t linger_ms)
{
    if (conn->resolving != NULL)
        resolve_cancel(&conn->resolving);
    if (conn->stream != NULL)
        stream_close(&conn->stream, linger_ms);
    if (conn->reader != NULL)
        reply_reader_close(&conn->reader);
    timer_stop(conn->loop, &conn->stage_timer);
    timer_stop(conn->loop, &conn->call_timer);
    timer_stop(conn->loop, &conn->ping_timer);
    conn->has_grace = false;
}

static void lose_connection(struct redis_conn *conn)
{
    bool was_ready = conn->state == REDIS_CONN_READY;
    uint64_t handed_bytes = redis_calls_detach(&conn->calls);

    if (was_ready && loop_now_ms(conn->loop) - conn->ready_at_ms >= STABLE_MS)
        conn->attempt_count = 0;
    close_connection(conn, 0);
    set_state(conn, REDIS_CONN_BACKING_OFF);
    timer_start(conn->loop, &conn->stage_timer, backoff_ms(conn->attempt_count++), on_backoff_over);
    redis_calls_fail(&conn->calls, handed_bytes);
    if (was_ready)
        conn->events->on_lost(conn->owner);
}

/* --- commands of our own --- */

static void send_own(struct redis_conn *conn, const struct pipeline_slot *slots, size_t count,
                     struct slice bytes)
{
    for (size_t i = 0; i < count; i++)
        pipeline_push(&conn->calls.pipeline, &slots[i]);
    if (stream_write(conn->stream, &bytes, 1) != STREAM_DEAD)
        conn->calls.written_bytes += bytes.len;
}

/* One at a time: a second question tells nothing that the first does not. */
static void on_ping_timer(struct timer *timer)
{
    struct redis_conn *conn = CONTAINER_OF(timer, struct redis_conn, ping_timer);
    uint64_t now_ms = loop_now_ms(conn->loop);
    const struct pipeline_slot slot = {.kind = PIPELINE_IGNORED, .sent_at_ms = now_ms};

    CHECK_TAG(conn, REDIS_CONN);
    timer_start(conn->loop, timer, PING_MS, on_ping_timer);
    if (redis_conn_in_flight(conn) > 0)
        return;
    send_own(conn, &slot, 1, SLICE("*1\r\n$4\r\nPING\r\n"));
    start_call_timer(conn, now_ms);
}

/* --- handshake --- */

static void on_handshake_late(struct timer *timer)
{
    struct redis_conn *conn = CONTAINER_OF(timer, struct redis_conn, stage_timer);

    CHECK_TAG(conn, REDIS_CONN);
    log_trouble(conn, LOG_WARN, "store does not answer", 1, "no answer to the handshake in time");
    lose_connection(conn);
}

static void start_handshake(struct redis_conn *conn)
{
    enum handshake_step steps[HANDSHAKE_MAX_COMMANDS];
    struct pipeline_slot slots[HANDSHAKE_MAX_COMMANDS];
    struct buf out;
    size_t count;

    set_state(conn, REDIS_CONN_HANDSHAKING);
    conn->reader = reply_reader_open(loop_arena_pool(conn->loop), MAX_REPLY_BYTES);
    redis_calls_attach(&conn->calls, conn->stream);
    buf_init(&out, MAX_HANDSHAKE_BYTES);
    count = is_for_messages(conn)
                ? handshake_write_subscribe(&conn->url, conn->settings.channel, &out, steps)
                : handshake_write(&conn->url, conn->settings.get_script, &out, steps);
    for (size_t i = 0; i < count; i++)
        slots[i] = (struct pipeline_slot){.kind = PIPELINE_HANDSHAKE,
                                          .detail = (uint16_t)steps[i],
                                          .sent_at_ms = loop_now_ms(conn->loop)};
    conn->handshake_left = (uint32_t)count;
    send_own(conn, slots, count, buf_slice(&out));
    buf_clear(&out); /* it may hold the password */
    timer_start(conn->loop, &conn->stage_timer, conn->settings.connect_timeout_ms,
                on_handshake_late);
}

static void become_ready(struct redis_conn *conn)
{
    timer_stop(conn->loop, &conn->stage_timer);
    set_state(conn, REDIS_CONN_READY);
    conn->ready_at_ms = loop_now_ms(conn->loop);
    conn->trouble = NULL;
    if (is_for_messages(conn)) {
        log_info(&conn->log, "store subscribed");
        timer_start(conn->loop, &conn->ping_timer, PING_MS, on_ping_timer);
    } else {
        log_info(&conn->log, "store connected", LOG_STR("run_id", conn->handshake.run_id));
    }
    conn->events->on_ready(conn->owner);
}

/* False when the connection has been lost over it. */
static bool take_handshake_reply(struct redis_conn *conn, const struct reply *reply)
{
    enum handshake_step step = (enum handshake_step)pipeline_first(&conn->calls.pipeline)->detail;

    pipeline_pop(&conn->calls.pipeline);
    if (!handshake_take(&conn->handshake, step, reply, &conn->log)) {
        log_trouble(conn, LOG_ERROR, "store refuses the connection", (int)conn->handshake.error,
                    reply_error_text(conn->handshake.error));
        lose_connection(conn);
        return false;
    }
    if (--conn->handshake_left == 0)
        become_ready(conn);
    return true;
}

/* --- the stream's events --- */

/* False when the connection has been lost over it. */
static bool lose_to_protocol(struct redis_conn *conn, const char *detail)
{
    log_trouble(conn, LOG_ERROR, "store breaks the protocol", 0, detail);
    lose_connection(conn);
    return false;
}

/* What comes unasked: an array that begins with its kind. */
static bool is_push(const struct reply *reply, struct slice kind, size_t element_count)
{
    return reply->type == REPLY_ARRAY && reply->element_count == element_count &&
           reply->elements[0].type == REPLY_STRING && slice_equal(reply->elements[0].text, kind);
}

/* Between two subscriptions nothing flows, and who waits for messages must know: an end of the
 * subscription that the server tells is an end of the connection. */
static bool take_push(struct redis_conn *conn, const struct reply *reply)
{
    if (is_push(reply, SLICE("message"), 3)) {
        if (!slice_equal(reply->elements[1].text, conn->settings.channel))
            return true;
        conn->calls.is_calling_back = true;
        conn->events->on_message(conn->owner, reply->elements[2].text);
        conn->calls.is_calling_back = false;
        return true;
    }
    if (pipeline_count(&conn->calls.pipeline) == 0 || is_push(reply, SLICE("unsubscribe"), 3))
        return lose_to_protocol(conn, "a push that is no message");
    pipeline_pop(&conn->calls.pipeline); /* a PING is answered, be it with an error */
    return true;
}

static bool take_reply(struct redis_conn *conn, const struct reply *reply)
{
    const struct pipeline_slot *slot = pipeline_first(&conn->calls.pipeline);
    bool was_late;

    if (slot != NULL && slot->kind == PIPELINE_HANDSHAKE)
        return take_handshake_reply(conn, reply);
    if (is_for_messages(conn))
        return take_push(conn, reply);
    if (slot == NULL)
        return lose_to_protocol(conn, "a reply nobody asked for");
    was_late = slot->call == NULL;
    redis_calls_take(&conn->calls, reply, conn->heard_at_ms);
    if (was_late && redis_conn_in_flight(conn) == 0)
        conn->events->on_caught_up(conn->owner);
    return true;
}

static void on_read(void *owner, struct slice data)
{
    struct redis_conn *conn = owner;
    const struct reply *reply;
    enum reply_progress progress;

    CHECK_TAG(conn, REDIS_CONN);
    conn->heard_at_ms = loop_now_ms(conn->loop);
    while ((progress = reply_reader_next(conn->reader, &data, &reply)) == REPLY_ONE)
        if (!take_reply(conn, reply))
            return;
    if (progress == REPLY_BROKEN)
        lose_to_protocol(conn, reply_reader_error(conn->reader));
}

static void on_end(void *owner, int error)
{
    struct redis_conn *conn = owner;

    CHECK_TAG(conn, REDIS_CONN);
    log_trouble(conn, LOG_WARN,
                conn->state == REDIS_CONN_READY ? "store connection lost"
                                                : "store closed the connection in the handshake",
                error, error == 0 ? "closed by the store" : NULL);
    lose_connection(conn);
}

static void on_connect(void *owner, int error);

static const struct stream_events stream_events = {
    .on_connect = on_connect,
    .on_read = on_read,
    .on_end = on_end,
};

static void connect_next(struct redis_conn *conn)
{
    conn->stream = stream_connect(conn->loop, &conn->addresses[conn->address_at++].any,
                                  conn->settings.connect_timeout_ms, conn->settings.tls,
                                  conn->url.is_tls ? conn->url.host : NULL, &stream_events, conn);
}

static void on_connect(void *owner, int error)
{
    struct redis_conn *conn = owner;

    CHECK_TAG(conn, REDIS_CONN);
    CHECK(conn->state == REDIS_CONN_CONNECTING);
    if (error == 0) {
        stream_set_flush(conn->stream, STREAM_FLUSH_TICK);
        start_handshake(conn);
        return;
    }
    if (conn->address_at < conn->address_count) {
        stream_close(&conn->stream, 0);
        connect_next(conn);
        return;
    }
    log_trouble(conn, LOG_WARN, "store cannot be reached", error,
                conn->url.is_tls && error == -EPROTO
                    ? "no TLS there, or a certificate that is not trusted for this name"
                    : NULL);
    lose_connection(conn);
}

static void on_resolved(void *owner, int error, const union resolve_address *addresses,
                        size_t count)
{
    struct redis_conn *conn = owner;

    CHECK_TAG(conn, REDIS_CONN);
    conn->resolving = NULL;
    if (error != 0) {
        log_trouble(conn, LOG_WARN, "store's host name cannot be resolved", error, NULL);
        lose_connection(conn);
        return;
    }
    conn->address_count = count < MAX_ADDRESSES ? count : MAX_ADDRESSES;
    memcpy(conn->addresses, addresses, conn->address_count * sizeof(*addresses));
    conn->address_at = 0;
    set_state(conn, REDIS_CONN_CONNECTING);
    connect_next(conn);
}

static void start_connecting(struct redis_conn *conn)
{
    set_state(conn, REDIS_CONN_RESOLVING);
    if (conn->url.is_tls && conn->settings.tls == NULL) { /* never in the clear */
        log_trouble(conn, LOG_ERROR, "store cannot be reached", 0, "TLS is not available");
        lose_connection(conn);
        return;
    }
    conn->resolving = resolve_start(conn->loop, conn->url.host, conn->url.port,
                                    conn->settings.connect_timeout_ms, on_resolved, conn);
}

static void on_backoff_over(struct timer *timer)
{
    struct redis_conn *conn = CONTAINER_OF(timer, struct redis_conn, stage_timer);

    CHECK_TAG(conn, REDIS_CONN);
    start_connecting(conn);
}

/* --- what others call --- */

void redis_conn_set_bounds(struct redis_conn *conn, const struct redis_conn_settings *settings)
{
    CHECK_TAG(conn, REDIS_CONN);
    CHECK(settings->timeout_ms > 0 && settings->connect_timeout_ms > 0);
    conn->settings.timeout_ms = settings->timeout_ms;
    conn->settings.connect_timeout_ms = settings->connect_timeout_ms;
    conn->settings.max_pending = settings->max_pending;
}

struct redis_conn *redis_conn_open(struct loop *loop, const struct redis_conn_settings *settings,
                                   const struct redis_conn_events *events, void *owner,
                                   const struct log_context *log)
{
    struct redis_conn *conn = mem_calloc(1, sizeof(*conn));
    const char *error;

    conn->tag = REDIS_CONN_TAG;
    conn->loop = loop;
    conn->settings = *settings;
    redis_conn_set_bounds(conn, settings);
    conn->settings.url = NULL; /* the copy is conn->url */
    if (settings->tls != NULL)
        conn->settings.tls = tls_context_ref(settings->tls);
    conn->events = events;
    conn->owner = owner;
    arena_init(&conn->arena, NULL);
    conn->settings.channel = arena_copy(&conn->arena, settings->channel);
    error = redis_url_parse(&conn->arena, slice_of(settings->url), &conn->url);
    CHECK(error == NULL && (conn->url.is_tls || settings->tls == NULL));
    conn->log = (struct log_context){
        log,
        LOG_SLICE("store", conn->url.port == 0 ? slice_of(conn->url.host)
                                               : arena_printf(&conn->arena, "%s:%u", conn->url.host,
                                                              (unsigned)conn->url.port))};
    redis_calls_init(&conn->calls, settings->get_script, events->on_done, owner, &conn->log);
    start_connecting(conn);
    return conn;
}

void redis_conn_close(struct redis_conn **place, uint64_t linger_ms)
{
    struct redis_conn *conn = TAKE(place);

    CHECK_TAG(conn, REDIS_CONN);
    CHECK(!conn->calls.is_calling_back);
    close_connection(conn, linger_ms);
    redis_calls_clear(&conn->calls);
    if (conn->settings.tls != NULL)
        tls_context_unref(&conn->settings.tls);
    arena_clear(&conn->arena);
    conn->tag = 0;
    free(conn);
}

enum store_result redis_conn_eval(struct redis_conn *conn, struct store_call *call)
{
    uint64_t now_ms;

    CHECK_TAG(conn, REDIS_CONN);
    CHECK(!is_for_messages(conn));
    now_ms = loop_now_ms(conn->loop);
    if (conn->state != REDIS_CONN_READY ||
        redis_conn_in_flight(conn) >= conn->settings.max_pending ||
        stream_pending_bytes(conn->stream) > MAX_UNSENT_BYTES ||
        !redis_calls_send(&conn->calls, call, now_ms, conn->settings.timeout_ms))
        return STORE_NOT_SENT;
    /* After a call has expired the timer waits for the server to be given up, which may be later.
     */
    if (!conn->call_timer.is_started || conn->call_timer.at_ms > now_ms + conn->settings.timeout_ms)
        start_call_timer(conn, now_ms);
    return STORE_PENDING;
}

void redis_conn_cancel(struct redis_conn *conn, struct store_call *call)
{
    CHECK_TAG(conn, REDIS_CONN);
    redis_calls_cancel(&conn->calls, call);
}

enum redis_conn_state redis_conn_state(const struct redis_conn *conn)
{
    CHECK_TAG(conn, REDIS_CONN);
    return conn->state;
}

bool redis_conn_is_ready(const struct redis_conn *conn)
{
    CHECK_TAG(conn, REDIS_CONN);
    return conn->state == REDIS_CONN_READY;
}

uint32_t redis_conn_in_flight(const struct redis_conn *conn)
{
    CHECK_TAG(conn, REDIS_CONN);
    return pipeline_count(&conn->calls.pipeline);
}

uint32_t redis_conn_waiting(const struct redis_conn *conn)
{
    uint32_t count = 0;

    CHECK_TAG(conn, REDIS_CONN);
    LIST_EACH (&conn->calls.waiting, node)
        count++;
    return count;
}

bool redis_conn_is_sharded(const struct redis_conn *conn)
{
    CHECK_TAG(conn, REDIS_CONN);
    return conn->handshake.is_cluster || conn->calls.has_crossed_slots;
}

const char *redis_conn_run_id(const struct redis_conn *conn)
{
    CHECK_TAG(conn, REDIS_CONN);
    return conn->handshake.run_id;
}
