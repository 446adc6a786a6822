/* The life of a stream.
 *
 *   stream_connect -> CONNECTING -> HANDSHAKING -> OPEN -------> BROKEN -> CLOSED -> memory reused
 *   listener  -> (PREFACE) -> (HANDSHAKING) -> WAITING -> OPEN -> LINGERING -----> CLOSED
 *
 * A stream is one socket under one uv_poll_t, whatever its kind.  The socket is closed at once with
 * the handle; the memory is used again only after libuv's close callback, so that code that stands
 * behind a call of the owner may still look at the state. */
#include "net/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/stream_private.h"

/* A last resort, for owners that do not heed STREAM_FULL.  The largest head that a policy may allow
 * (16 MiB), with what is added to it and what is said again of it, is far below. */
#define PENDING_MAX_BYTES (64u * 1024 * 1024)

static void on_flush(struct loop_task *task)
{
    stream_io_flush(CONTAINER_OF(task, struct stream, flush_task));
}

/* Things that were found out inside a stream_ function are told here, from the loop. */
static void on_event_due(struct loop_task *task)
{
    struct stream *s = CONTAINER_OF(task, struct stream, event_task);

    switch ((enum stream_state)s->state) {
    case STREAM_CONNECTING:
    case STREAM_PREFACE:
    case STREAM_HANDSHAKING:
        stream_finish_connect(s, s->error);
        break;
    case STREAM_OPEN:
        if (s->error != 0)
            stream_io_settle_error(s);
        else
            stream_io_read(s);
        break;
    case STREAM_LINGERING:
        stream_close_now(s);
        break;
    case STREAM_WAITING: /* its owner will hear when it reads */
    case STREAM_BROKEN:
    case STREAM_CLOSED:
        break;
    }
}

static void reset_now(struct stream *s)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    if (s->fd >= 0)
        (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    stream_close_now(s);
}

static void on_deadline(struct timer *timer)
{
    struct stream *s = CONTAINER_OF(timer, struct stream, timer);

    /* Without a reset, a message that ends with its connection would look whole. */
    if (s->state == STREAM_LINGERING && stream_pending_bytes(s) > 0)
        reset_now(s);
    else if (s->state == STREAM_LINGERING)
        stream_close_now(s);
    else if (s->state == STREAM_PREFACE)
        stream_preface_fail(s, UV_ETIMEDOUT);
    else
        stream_finish_connect(s, UV_ETIMEDOUT);
}

static void free_stream(struct stream *s)
{
    struct loop *loop = s->loop;

    s->tag = 0;
    loop->open_count--;
    loop_give_spare(loop, s);
}

static void on_closed(uv_handle_t *handle)
{
    free_stream(handle->data);
}

static void on_closed_without_socket(struct loop_task *task)
{
    free_stream(CONTAINER_OF(task, struct stream, event_task));
}

void stream_close_now(struct stream *s)
{
    CHECK(s->state != STREAM_CLOSED);
    s->state = STREAM_CLOSED;
    timer_stop(s->loop, &s->timer);
    loop_undefer(&s->flush_task);
    loop_undefer(&s->event_task);
    out_queue_clear(&s->out, &s->loop->out_pool);
    out_queue_clear(&s->plain, &s->loop->out_pool);
    tls_session_close(&s->tls);
    tls_context_unref(&s->tls_wanted);
    free(TAKE(&s->server_name));
    stream_preface_clear(s);
    if (s->fd < 0) {
        loop_task_init(&s->event_task, on_closed_without_socket);
        loop_defer(s->loop, &s->event_task);
        return;
    }
    uv_close((uv_handle_t *)&s->poll, on_closed);
    close(s->fd);
    s->fd = -1;
}

/* fd may be -1, or becomes it when libuv will not have it; then *ret_error says why. */
static struct stream *make_stream(struct loop *loop, int fd, const struct sockaddr *peer,
                                  int *ret_error)
{
    struct stream *s = loop_take_spare(loop, sizeof(*s));
    int error;

    s->tag = STREAM_TAG;
    s->loop = loop;
    s->fd = fd;
    s->is_reading = true;
    loop_task_init(&s->flush_task, on_flush);
    loop_task_init(&s->event_task, on_event_due);
    if (peer->sa_family == AF_INET || peer->sa_family == AF_INET6)
        memcpy(&s->peer, peer, socket_address_len(peer));
    else
        s->peer.any.sa_family = peer->sa_family;
    loop->open_count++;
    loop->owned_count++;
    *ret_error = 0;
    if (fd < 0)
        return s;
    error = uv_poll_init(&loop->uv, &s->poll, fd);
    if (error != 0) {
        close(fd);
        s->fd = -1;
        *ret_error = error;
    } else {
        s->poll.data = s;
    }
    return s;
}

/* Connecting. */

static void start_handshake(struct stream *s)
{
    enum tls_status status;

    s->tls = tls_session_open(s->tls_wanted, s->server_name, stream_io_on_sealed, s);
    tls_context_unref(&s->tls_wanted);
    if (s->tls == NULL) {
        stream_finish_connect(s, UV_EINVAL);
        return;
    }
    s->state = STREAM_HANDSHAKING;
    status = tls_session_handshake(s->tls);
    if (status == TLS_FAILED || status == TLS_END) {
        stream_finish_connect(s, UV_EPROTO);
        return;
    }
    stream_io_send(s);
    stream_io_trim(s);
}

void stream_begin_tls(struct stream *s)
{
    if (s->tls_wanted != NULL)
        start_handshake(s);
    else
        stream_finish_connect(s, 0);
}

static void take_connected(struct stream *s)
{
    int error = socket_take_error(s->fd);

    if (error == 0)
        stream_begin_tls(s);
    else
        stream_finish_connect(s, error);
}

void stream_finish_connect(struct stream *s, int error)
{
    timer_stop(s->loop, &s->timer);
    if (error != 0) {
        s->state = STREAM_BROKEN;
        s->error = error;
        out_queue_clear(&s->out, &s->loop->out_pool);
        out_queue_clear(&s->plain, &s->loop->out_pool);
        if (s->fd >= 0)
            stream_io_unwatch(s);
        s->events->on_connect(s->owner, error);
        return;
    }
    s->state = s->is_accepted ? STREAM_WAITING : STREAM_OPEN;
    s->events->on_connect(s->owner, 0);
    if (s->state != STREAM_OPEN)
        return;
    stream_io_trim(s);
    if (stream_pending_bytes(s) > 0 || s->is_shut_wanted)
        stream_io_mark_dirty(s);
}

static void take_socket_error(struct stream *s)
{
    int error = socket_take_error(s->fd);

    if (s->error == 0)
        s->error = error != 0 ? error : UV_ECONNRESET;
    stream_io_settle_error(s);
}

static void take_open_event(struct stream *s, int status, int events)
{
    bool is_wanted = s->is_reading || s->state == STREAM_HANDSHAKING;

    if (status < 0 && (!is_wanted || s->has_ended)) {
        take_socket_error(s);
        return;
    }
    if ((events & UV_READABLE) != 0) {
        if (is_wanted)
            stream_io_read(s);
        else
            stream_io_trim(s);
    }
    if ((events & UV_WRITABLE) != 0 && s->is_blocked) {
        s->is_blocked = false;
        stream_io_flush(s);
        if (s->state == STREAM_OPEN || s->state == STREAM_HANDSHAKING)
            stream_io_trim(s);
    }
    /* Both directions have ended, or urgent data came, which nobody wants: stop looking. */
    if ((events & UV_PRIORITIZED) != 0 && s->state == STREAM_OPEN) {
        s->is_unwatched = true;
        stream_io_trim(s);
    }
    if (status < 0 && (s->state == STREAM_OPEN || s->state == STREAM_HANDSHAKING))
        stream_io_watch(s);
}

static void take_lingering_event(struct stream *s, int status, int events)
{
    if ((events & UV_WRITABLE) != 0 && s->is_blocked) {
        s->is_blocked = false;
        stream_io_flush(s);
    }
    if (s->state == STREAM_LINGERING && s->error == 0 && (events & UV_READABLE) != 0)
        stream_io_discard(s);
    if (s->state != STREAM_LINGERING)
        return;
    if (s->error != 0 || status < 0)
        stream_close_now(s);
    else if (!s->is_blocked)
        stream_io_trim(s);
}

void stream_on_poll(uv_poll_t *poll, int status, int events)
{
    struct stream *s = poll->data;
    struct loop *loop = s->loop;

    if (status < 0) { /* the socket has an error, and libuv has stopped watching it */
        s->interest = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    switch ((enum stream_state)s->state) {
    case STREAM_CONNECTING:
        take_connected(s);
        break;
    case STREAM_PREFACE:
        stream_preface_read(s);
        break;
    case STREAM_HANDSHAKING:
    case STREAM_OPEN:
        take_open_event(s, status, events);
        break;
    case STREAM_LINGERING:
        take_lingering_event(s, status, events);
        break;
    case STREAM_WAITING:
    case STREAM_BROKEN:
    case STREAM_CLOSED:
        stream_io_unwatch(s);
        break;
    }
    loop_flush_now(loop);
}

static int open_socket(const struct sockaddr *address, int *ret_error)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        *ret_error = -errno;
        return -1;
    }
    socket_set_options(fd, address->sa_family);
    return fd;
}

struct stream *stream_connect(struct loop *loop, const struct sockaddr *address,
                              uint64_t timeout_ms, struct tls_context *tls, const char *server_name,
                              const struct stream_events *events, void *owner)
{
    int error = 0, init_error, fd = open_socket(address, &error);
    struct stream *s = make_stream(loop, fd, address, &init_error);

    CHECK(events != NULL && (tls == NULL || server_name != NULL));
    s->state = STREAM_CONNECTING;
    s->events = events;
    s->owner = owner;
    if (tls != NULL) {
        s->tls_wanted = tls_context_ref(tls);
        s->server_name = mem_strdup(server_name);
    }
    if (error == 0)
        error = init_error;
    if (error == 0 && connect(fd, address, socket_address_len(address)) != 0 &&
        errno != EINPROGRESS)
        error = -errno;
    if (error != 0) {
        s->error = error;
        loop_defer(loop, &s->event_task);
        return s;
    }
    timer_start(loop, &s->timer, timeout_ms, on_deadline);
    stream_io_watch(s);
    return s;
}

/* Accepting. */

struct stream *stream_accept(struct loop *loop, int fd, const struct sockaddr *peer,
                             const struct stream_opening *opening)
{
    int error;
    struct stream *s = make_stream(loop, fd, peer, &error);

    s->is_accepted = true;
    s->error = error;
    s->state = STREAM_WAITING;
    if (opening == NULL)
        return s;
    s->events = opening->events;
    s->owner = opening->owner;
    s->state = STREAM_HANDSHAKING;
    if (error == 0 && opening->has_proxy_header) {
        stream_preface_begin(s);
        s->tls_wanted = opening->tls != NULL ? tls_context_ref(opening->tls) : NULL;
    } else if (error == 0) {
        s->tls = tls_session_open(opening->tls, NULL, stream_io_on_sealed, s);
    }
    if (s->tls == NULL && s->preface == NULL) {
        s->error = error != 0 ? error : UV_ENOMEM;
        loop_defer(loop, &s->event_task);
        return s;
    }
    timer_start(loop, &s->timer, opening->timeout_ms, on_deadline);
    stream_io_watch(s);
    return s;
}

void stream_adopt(struct stream *s, const struct stream_events *events, void *owner)
{
    CHECK_TAG(s, STREAM);
    CHECK(s->state == STREAM_WAITING && events != NULL);
    s->state = STREAM_OPEN;
    s->events = events;
    s->owner = owner;
    if (s->error != 0) {
        loop_defer(s->loop, &s->event_task);
        return;
    }
    stream_io_watch(s);
    if (s->tls != NULL && tls_session_held_bytes(s->tls) > 0)
        loop_defer(s->loop, &s->event_task);
}

void stream_set_owner(struct stream *s, const struct stream_events *events, void *owner)
{
    CHECK_TAG(s, STREAM);
    CHECK(events != NULL);
    s->events = events;
    s->owner = owner;
}

void stream_set_flush(struct stream *s, enum stream_flush flush)
{
    CHECK_TAG(s, STREAM);
    s->flush = (uint8_t)flush;
    if (list_is_linked(&s->flush_task.node)) {
        loop_undefer(&s->flush_task);
        stream_io_mark_dirty(s);
    }
}

/* Writing and reading. */

static bool is_dead(const struct stream *s)
{
    return s->error != 0 || s->is_shut_wanted || s->state == STREAM_WAITING ||
           s->state >= STREAM_BROKEN;
}

enum stream_status stream_write(struct stream *s, const struct slice *parts, size_t part_count)
{
    size_t total = 0;

    CHECK_TAG(s, STREAM);
    if (is_dead(s))
        return STREAM_DEAD;
    for (size_t i = 0; i < part_count; i++)
        total += parts[i].len;
    if (stream_pending_bytes(s) + total > PENDING_MAX_BYTES) {
        stream_io_fail(s, UV_ENOBUFS);
        return STREAM_DEAD;
    }
    stream_io_take(s, parts, part_count, total);
    if (stream_pending_bytes(s) > STREAM_HIGH_WATER_BYTES && !s->is_blocked)
        stream_io_send(s);
    if (s->error != 0)
        return STREAM_DEAD;
    if (stream_pending_bytes(s) > STREAM_HIGH_WATER_BYTES)
        s->is_full = true;
    else if (!s->is_blocked && (stream_pending_bytes(s) > 0 || s->is_full))
        stream_io_mark_dirty(s);
    return stream_pending_bytes(s) > STREAM_HIGH_WATER_BYTES ? STREAM_FULL : STREAM_OK;
}

size_t stream_pending_bytes(const struct stream *s)
{
    return s->out.bytes + s->plain.bytes;
}

void stream_read_stop(struct stream *s)
{
    CHECK_TAG(s, STREAM);
    s->is_reading = false;
}

void stream_read_start(struct stream *s)
{
    CHECK_TAG(s, STREAM);
    if (s->is_reading)
        return;
    s->is_reading = true;
    if (s->state != STREAM_OPEN || s->has_ended)
        return;
    if (s->error == 0)
        stream_io_watch(s);
    if (s->error != 0 || (s->tls != NULL && tls_session_held_bytes(s->tls) > 0))
        loop_defer(s->loop, &s->event_task);
}

void stream_shutdown(struct stream *s)
{
    CHECK_TAG(s, STREAM);
    if (is_dead(s))
        return;
    s->is_shut_wanted = true;
    if (!s->is_blocked)
        stream_io_mark_dirty(s);
}

/* Closing. */

static struct stream *take_from_owner(struct stream **place)
{
    struct stream *s = TAKE(place);

    CHECK_TAG(s, STREAM);
    CHECK(s->state != STREAM_LINGERING && s->state != STREAM_CLOSED);
    s->loop->owned_count--;
    s->events = NULL;
    s->owner = NULL;
    return s;
}

void stream_close(struct stream **place, uint64_t linger_ms)
{
    struct stream *s = take_from_owner(place);

    if (s->state != STREAM_OPEN || s->error != 0) {
        stream_close_now(s);
        return;
    }
    if (linger_ms == 0 && stream_pending_bytes(s) > 0) {
        reset_now(s);
        return;
    }
    if (linger_ms == 0) {
        /* A peer that has it all should see a clean end. */
        if (s->tls != NULL && !s->is_notify_sent) {
            tls_session_shutdown(s->tls);
            stream_io_send(s);
        }
        stream_close_now(s);
        return;
    }
    s->state = STREAM_LINGERING;
    s->is_shut_wanted = true;
    s->is_full = false;
    loop_undefer(&s->event_task);
    timer_start(s->loop, &s->timer, linger_ms, on_deadline);
    stream_io_watch(s);
    if (!s->is_blocked)
        loop_queue(&s->loop->flush_now, &s->flush_task);
}

void stream_abort(struct stream **place)
{
    reset_now(take_from_owner(place));
}

/* Asking. */

const char *stream_peer_address(const struct stream *s)
{
    /* The text is made when it is first asked for, which changes nothing that can be seen. */
    struct stream *cache = (struct stream *)(uintptr_t)s;

    CHECK_TAG(s, STREAM);
    if (s->peer_text[0] == '\0')
        socket_address_text(&s->peer.any, cache->peer_text, sizeof(cache->peer_text));
    return s->peer_text;
}

uint16_t stream_peer_port(const struct stream *s)
{
    return socket_address_port(&s->peer.any);
}

static bool get_local(const struct stream *s, union socket_address *address)
{
    socklen_t size = sizeof(*address);

    memset(address, 0, sizeof(*address));
    return s->fd >= 0 && getsockname(s->fd, &address->any, &size) == 0;
}

const char *stream_local_address(const struct stream *s)
{
    struct stream *cache = (struct stream *)(uintptr_t)s;
    union socket_address local;

    CHECK_TAG(s, STREAM);
    if (s->local_text[0] != '\0')
        return s->local_text;
    if (!get_local(s, &local))
        return "unknown";
    socket_address_text(&local.any, cache->local_text, sizeof(cache->local_text));
    return s->local_text;
}

uint16_t stream_local_port(const struct stream *s)
{
    union socket_address local;

    return get_local(s, &local) ? socket_address_port(&local.any) : 0;
}

bool stream_is_peer_hidden(const struct stream *s)
{
    return s->is_peer_hidden;
}

bool stream_is_tls(const struct stream *s)
{
    return s->tls != NULL || s->tls_wanted != NULL;
}

uint64_t stream_read_bytes(const struct stream *s)
{
    return s->read_bytes;
}

uint64_t stream_written_bytes(const struct stream *s)
{
    size_t pending = s->tls != NULL ? s->plain.bytes : s->out.bytes;

    return s->taken_bytes > pending ? s->taken_bytes - pending : 0;
}

const char *stream_error_text(const struct stream *s)
{
    const char *text = s->tls != NULL ? tls_session_error(s->tls) : "";

    if (text[0] != '\0')
        return text;
    return s->error != 0 ? uv_strerror(s->error) : "";
}
