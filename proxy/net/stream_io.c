/* The bytes of a stream.
 *
 * What libuv watches is changed as rarely as possible, as each change costs system calls: a stream
 * whose owner stopped reading is still watched until bytes do come, and starting again before that
 * costs nothing. */
#include <string.h>

#include "net/stream_private.h"

/* From this size on a write is offered to the kernel at once instead of copied. */
#define DIRECT_BYTES (16u * 1024)
/* How much is sealed ahead of the socket. */
#define SEALED_MAX_BYTES (64u * 1024)
/* More than that is not ours: a peer makes TLS answer (KeyUpdate), and takes no answer. */
#define SEALED_LIMIT_BYTES (SEALED_MAX_BYTES + 2 * OUT_CHUNK_BYTES)
#define VECTOR_MAX_PARTS 64u
/* Reads in one go while they fill the buffer; then others have their turn. */
#define READ_MAX_ROUNDS 4

static bool wants_bytes(const struct stream *s)
{
    if (s->state == STREAM_PREFACE || s->state == STREAM_HANDSHAKING ||
        s->state == STREAM_LINGERING)
        return !s->has_ended;
    return s->state == STREAM_OPEN && s->is_reading && !s->has_ended;
}

static bool can_send(const struct stream *s)
{
    return !s->is_blocked && s->error == 0 && !s->is_shut && s->state != STREAM_CONNECTING &&
           s->state != STREAM_BROKEN && s->state != STREAM_CLOSED;
}

/* What is watched. */

static void set_interest(struct stream *s, int interest)
{
    if (interest == s->interest)
        return;
    s->interest = (uint8_t)interest;
    if (interest == 0)
        CHECK(uv_poll_stop(&s->poll) == 0);
    else
        CHECK(uv_poll_start(&s->poll, interest, stream_on_poll) == 0);
}

static int needed_interest(const struct stream *s)
{
    if (s->state == STREAM_CONNECTING)
        return UV_WRITABLE;
    return (wants_bytes(s) ? UV_READABLE : 0) | (s->is_blocked ? UV_WRITABLE : 0);
}

void stream_io_watch(struct stream *s)
{
    int needed = needed_interest(s);

    if ((needed & ~(int)s->interest) != 0)
        set_interest(s, needed | (s->interest & UV_READABLE));
}

void stream_io_trim(struct stream *s)
{
    int needed = needed_interest(s);

    /* No byte is wanted, but a reset of the connection should still be noticed: errors are reported
     * for whatever is watched. */
    if (needed == 0 && !s->is_unwatched)
        needed = UV_PRIORITIZED;
    set_interest(s, needed);
}

void stream_io_unwatch(struct stream *s)
{
    set_interest(s, 0);
}

void stream_io_mark_dirty(struct stream *s)
{
    struct loop *loop = s->loop;

    loop_queue(s->flush == STREAM_FLUSH_TICK ? &loop->flush_tick : &loop->flush_now,
               &s->flush_task);
}

/* Writing. */

void stream_io_fail(struct stream *s, int error)
{
    if (s->error != 0)
        return;
    s->error = error;
    out_queue_clear(&s->out, &s->loop->out_pool);
    out_queue_clear(&s->plain, &s->loop->out_pool);
    s->is_blocked = false;
    loop_defer(s->loop, &s->event_task);
}

void stream_io_on_sealed(void *owner, struct slice sealed)
{
    struct stream *s = owner;

    if (s->error == 0)
        out_queue_append(&s->out, &s->loop->out_pool, sealed);
}

/* The parts without their first skip bytes, after count vector entries; gives the new count. */
static unsigned add_parts(struct iovec *vector, unsigned count, const struct slice *parts,
                          size_t part_count, size_t skip)
{
    for (size_t i = 0; i < part_count && count < VECTOR_MAX_PARTS; i++) {
        size_t skipped = skip < parts[i].len ? skip : parts[i].len;
        struct slice rest = slice_skip(parts[i], skipped);

        skip -= skipped;
        /* sendmsg() only reads through the pointer; its type is older than const. */
        if (rest.len > 0)
            vector[count++] = (struct iovec){(void *)(uintptr_t)rest.at, rest.len};
    }
    return count;
}

static size_t vector_bytes(const struct iovec *vector, unsigned count)
{
    size_t sum = 0;

    for (unsigned i = 0; i < count; i++)
        sum += vector[i].iov_len;
    return sum;
}

/* Offers the queue and the parts to the kernel; gives how many bytes of the parts it took. */
static size_t offer(struct stream *s, const struct slice *parts, size_t part_count)
{
    struct iovec vector[VECTOR_MAX_PARTS];
    size_t taken = 0;

    while (can_send(s)) {
        unsigned count = out_queue_vector(&s->out, vector, VECTOR_MAX_PARTS);
        size_t queued = vector_bytes(vector, count), offered, sent;
        ssize_t result;

        if (queued == s->out.bytes)
            count = add_parts(vector, count, parts, part_count, taken);
        if (count == 0)
            break;
        offered = vector_bytes(vector, count);
        result = socket_send(s->fd, vector, count);
        if (result < 0) {
            stream_io_fail(s, (int)result);
            break;
        }
        sent = (size_t)result;
        s->is_blocked = sent < offered;
        taken += sent > queued ? sent - queued : 0;
        out_queue_consume(&s->out, &s->loop->out_pool, sent < queued ? sent : queued);
    }
    return taken;
}

static bool can_seal(const struct stream *s)
{
    return s->tls != NULL && s->state != STREAM_HANDSHAKING && s->error == 0 &&
           s->out.bytes < SEALED_MAX_BYTES;
}

static void seal_queued(struct stream *s)
{
    while (s->plain.bytes > 0 && can_seal(s)) {
        struct slice first = out_queue_first(&s->plain);

        if (!tls_session_write(s->tls, first)) {
            stream_io_fail(s, UV_EPROTO);
            return;
        }
        out_queue_consume(&s->plain, &s->loop->out_pool, first.len);
    }
}

void stream_io_send(struct stream *s)
{
    do {
        seal_queued(s);
        offer(s, NULL, 0);
    } while (s->plain.bytes > 0 && can_send(s) && can_seal(s));
    if (s->is_blocked)
        stream_io_watch(s);
}

/* A big piece for TLS is sealed from where it is, as far as the socket keeps up. */
static struct slice seal_piece(struct stream *s, struct slice piece)
{
    while (piece.len > 0 && can_send(s) && can_seal(s)) {
        size_t count = piece.len < OUT_CHUNK_DATA_BYTES ? piece.len : OUT_CHUNK_DATA_BYTES;

        if (!tls_session_write(s->tls, slice_head(piece, count))) {
            stream_io_fail(s, UV_EPROTO);
            break;
        }
        piece = slice_skip(piece, count);
        if (s->out.bytes >= SEALED_MAX_BYTES)
            offer(s, NULL, 0);
    }
    return piece;
}

static void take_for_tls(struct stream *s, const struct slice *parts, size_t part_count,
                         bool is_big)
{
    if (is_big)
        stream_io_send(s);
    for (size_t i = 0; i < part_count; i++) {
        struct slice rest = parts[i];

        if (rest.len >= DIRECT_BYTES && s->plain.bytes == 0)
            rest = seal_piece(s, rest);
        if (s->error == 0)
            out_queue_append(&s->plain, &s->loop->out_pool, rest);
    }
    if (is_big)
        stream_io_send(s);
}

void stream_io_take(struct stream *s, const struct slice *parts, size_t part_count, size_t total)
{
    bool is_big = total >= DIRECT_BYTES && can_send(s);
    size_t taken = 0;

    s->taken_bytes += total;
    if (s->tls != NULL || s->tls_wanted != NULL) {
        take_for_tls(s, parts, part_count, is_big);
        return;
    }
    if (is_big)
        taken = offer(s, parts, part_count);
    for (size_t i = 0; i < part_count && s->error == 0; i++) {
        size_t skipped = taken < parts[i].len ? taken : parts[i].len;

        taken -= skipped;
        out_queue_append(&s->out, &s->loop->out_pool, slice_skip(parts[i], skipped));
    }
    if (s->is_blocked)
        stream_io_watch(s);
}

/* All output is with the kernel: say so to the peer, if that is wanted. */
static void shut(struct stream *s)
{
    if (s->tls != NULL && !s->is_notify_sent) {
        s->is_notify_sent = true;
        tls_session_shutdown(s->tls);
        stream_io_send(s);
        if (s->out.bytes > 0)
            return;
    }
    /* Fails only when the peer is gone already, and then reading tells. */
    if (!(s->state == STREAM_LINGERING && s->has_ended))
        (void)shutdown(s->fd, SHUT_WR);
    s->is_shut = true;
}

void stream_io_flush(struct stream *s)
{
    stream_io_send(s);
    if (s->error != 0 || stream_pending_bytes(s) > 0 || s->state < STREAM_OPEN ||
        s->state == STREAM_CLOSED)
        return;
    if (s->is_shut_wanted && !s->is_shut)
        shut(s);
    if (s->state == STREAM_LINGERING) {
        if (s->has_ended && s->is_shut)
            stream_close_now(s);
        return;
    }
    if (s->is_full && s->state == STREAM_OPEN) {
        s->is_full = false;
        if (s->events->on_drain != NULL)
            s->events->on_drain(s->owner);
    }
}

/* Reading. */

/* The peer will send nothing more (error = 0), or the stream is broken. */
static void tell_end(struct stream *s, int error)
{
    s->has_ended = true;
    if (error != 0) {
        s->state = STREAM_BROKEN;
        s->error = error;
        out_queue_clear(&s->out, &s->loop->out_pool);
        out_queue_clear(&s->plain, &s->loop->out_pool);
        stream_io_unwatch(s);
    }
    if (!s->is_end_told || error != 0) {
        s->is_end_told = true;
        s->events->on_end(s->owner, error);
    }
    if (s->state == STREAM_OPEN)
        stream_io_trim(s);
}

/* Send what TLS has to say (an alert most of all) before the stream is given up. */
static void fail_tls(struct stream *s)
{
    offer(s, NULL, 0);
    if (s->state == STREAM_HANDSHAKING)
        stream_finish_connect(s, UV_EPROTO);
    else
        tell_end(s, UV_EPROTO);
}

static void read_plain(struct stream *s)
{
    while (s->state == STREAM_OPEN && wants_bytes(s)) {
        char *plain = loop_plain_buffer(s->loop);
        size_t len = 0;
        enum tls_status status = tls_session_read(s->tls, plain, LOOP_READ_BUFFER_BYTES, &len);

        if (len > 0) {
            s->read_bytes += len;
            s->events->on_read(s->owner, slice_from(plain, len));
        }
        if (s->state == STREAM_OPEN && s->out.bytes > SEALED_LIMIT_BYTES)
            tell_end(s, UV_ENOBUFS);
        if (status == TLS_MORE || s->state != STREAM_OPEN)
            return;
        if (status == TLS_END)
            tell_end(s, s->error);
        else if (status == TLS_FAILED)
            fail_tls(s);
    }
}

static void take_sealed(struct stream *s, struct slice sealed)
{
    tls_session_feed(s->tls, sealed);
    if (s->state == STREAM_HANDSHAKING) {
        enum tls_status status = tls_session_handshake(s->tls);

        if (status == TLS_OK)
            stream_finish_connect(s, 0);
        else if (status != TLS_MORE)
            fail_tls(s);
    }
    read_plain(s);
    if (s->tls == NULL)
        return; /* the owner has closed the stream */
    tls_session_keep(s->tls);
    if (s->out.bytes > 0)
        loop_queue(&s->loop->flush_now, &s->flush_task);
}

static void take_end(struct stream *s)
{
    if (s->state == STREAM_HANDSHAKING)
        stream_finish_connect(s, UV_ECONNRESET);
    else if (s->tls != NULL && s->error == 0)
        tell_end(s, UV_EOF); /* cut off: close_notify has not come */
    else
        tell_end(s, s->error);
}

static void take_read_error(struct stream *s, int error)
{
    if (error == UV_EAGAIN) {
        if (s->error != 0)
            tell_end(s, s->error);
    } else if (s->state == STREAM_HANDSHAKING) {
        stream_finish_connect(s, error);
    } else {
        tell_end(s, s->error != 0 ? s->error : error);
    }
}

void stream_io_read(struct stream *s)
{
    if (s->tls != NULL && wants_bytes(s) && tls_session_held_bytes(s->tls) > 0)
        take_sealed(s, SLICE_NONE);
    for (int round = 0; round < READ_MAX_ROUNDS && wants_bytes(s); round++) {
        char *buffer = s->loop->read_buffer;
        ssize_t count;

        if (s->state == STREAM_LINGERING)
            return; /* the owner has just closed it; discarding goes on with the next event */
        count = socket_receive(s->fd, buffer, LOOP_READ_BUFFER_BYTES);
        if (count < 0) {
            take_read_error(s, (int)count);
            return;
        }
        if (count == 0) {
            take_end(s);
            return;
        }
        if (s->tls != NULL) {
            take_sealed(s, slice_from(buffer, (size_t)count));
        } else {
            s->read_bytes += (size_t)count;
            s->events->on_read(s->owner, slice_from(buffer, (size_t)count));
        }
        /* A short read has emptied the socket; asking once more would be a call for nothing. */
        if ((size_t)count < LOOP_READ_BUFFER_BYTES && s->error == 0)
            return;
    }
    if (s->error != 0 && wants_bytes(s))
        loop_defer(s->loop, &s->event_task);
}

void stream_io_settle_error(struct stream *s)
{
    if (wants_bytes(s)) {
        stream_io_read(s);
        return;
    }
    /* What came before the break is still worth having; read_start will find the end. */
    if (!s->has_ended && (socket_unread_bytes(s->fd) > 0 ||
                          (s->tls != NULL && tls_session_held_bytes(s->tls) > 0))) {
        s->is_unwatched = true;
        stream_io_unwatch(s);
        return;
    }
    tell_end(s, s->error);
}

void stream_io_discard(struct stream *s)
{
    for (int round = 0; round < READ_MAX_ROUNDS && !s->has_ended; round++) {
        ssize_t count = socket_receive(s->fd, s->loop->read_buffer, LOOP_READ_BUFFER_BYTES);

        if (count == UV_EAGAIN)
            return;
        if (count < 0) {
            stream_close_now(s);
            return;
        }
        s->has_ended = count == 0;
    }
    if (!s->has_ended)
        return;
    if (s->is_shut)
        stream_close_now(s);
    else
        stream_io_trim(s);
}
