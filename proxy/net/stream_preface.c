/* The PROXY header of an accepted stream, read before TLS or any byte of the owner's.
 *
 * Bytes are looked at (MSG_PEEK) before they are taken, so that exactly the header is taken from
 * the socket and what follows it stays there.  What has come of a header that is not complete is
 * kept, as a socket with unread bytes would wake the loop again at once. */
#include <errno.h>
#include <stdlib.h>

#include "net/proxy_protocol.h"
#include "net/stream_private.h"

struct stream_preface {
    struct buf bytes; /* of the header, so far */
    const char *fault;
};

_Static_assert(2 * PROXY_PROTOCOL_MAX_BYTES <= LOOP_READ_BUFFER_BYTES, "a header fits twice");

void stream_preface_begin(struct stream *s)
{
    s->preface = mem_calloc(1, sizeof(*s->preface));
    buf_init(&s->preface->bytes, PROXY_PROTOCOL_MAX_BYTES);
    s->state = STREAM_PREFACE;
}

void stream_preface_clear(struct stream *s)
{
    struct stream_preface *preface = TAKE(&s->preface);

    if (preface == NULL)
        return;
    buf_clear(&preface->bytes);
    free(preface);
}

void stream_preface_fail(struct stream *s, int error)
{
    /* Who leaves without a byte only looked whether the port is open. */
    if (error == UV_ETIMEDOUT)
        s->preface->fault = "proxy-header-timeout";
    else if (buf_len(&s->preface->bytes) > 0)
        s->preface->fault = "proxy-header-incomplete";
    stream_finish_connect(s, error);
}

/* The bytes are known to be there. */
static bool take_bytes(struct stream *s, size_t count)
{
    char scratch[PROXY_PROTOCOL_MAX_BYTES];

    CHECK(count <= sizeof(scratch));
    return socket_receive(s->fd, scratch, count) == (ssize_t)count;
}

static void take_header(struct stream *s, const struct proxy_protocol_header *header)
{
    s->is_peer_hidden = header->kind == PROXY_PROTOCOL_HIDDEN;
    if (header->kind == PROXY_PROTOCOL_SOURCE)
        s->peer = header->source;
    stream_preface_clear(s);
    stream_begin_tls(s);
}

void stream_preface_read(struct stream *s)
{
    struct stream_preface *preface = s->preface;
    struct slice kept = buf_slice(&preface->bytes);
    char *buffer = s->loop->read_buffer;
    struct proxy_protocol_header header;
    ssize_t count;

    if (kept.len > 0)
        memcpy(buffer, kept.at, kept.len);
    count = recv(s->fd, buffer + kept.len, PROXY_PROTOCOL_MAX_BYTES, MSG_PEEK);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (count <= 0) {
        stream_preface_fail(s, count == 0 ? UV_EOF : -errno);
        return;
    }
    switch (proxy_protocol_parse(slice_from(buffer, kept.len + (size_t)count), &header,
                                 &preface->fault)) {
    case PROXY_PROTOCOL_MORE:
        if (!take_bytes(s, (size_t)count) ||
            !buf_append(&preface->bytes, slice_from(buffer + kept.len, (size_t)count)))
            stream_preface_fail(s, UV_EPROTO);
        break;
    case PROXY_PROTOCOL_DONE:
        if (take_bytes(s, header.len - kept.len))
            take_header(s, &header);
        else
            stream_preface_fail(s, UV_EPROTO);
        break;
    case PROXY_PROTOCOL_BAD:
        stream_finish_connect(s, UV_EPROTO);
        break;
    }
}

const char *stream_preface_fault(const struct stream *s)
{
    return s->preface != NULL ? s->preface->fault : NULL;
}
