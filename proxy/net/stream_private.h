/* The inside of a stream, for stream.c (life: connect, adopt, close), stream_io.c (bytes: read,
 * flush) and listener.c (accept). */
#ifndef NET_STREAM_PRIVATE_H
#define NET_STREAM_PRIVATE_H

#include <netinet/in.h>
#include <uv.h>

#include "base/buf.h"
#include "net/loop_private.h"
#include "net/out_queue.h"
#include "net/socket.h"
#include "net/stream.h"
#include "net/tls.h"

#define STREAM_TAG 0x5354524du /* "STRM" */

enum stream_state {
    STREAM_CONNECTING,  /* the kernel is at work, or its answer waits for event_task */
    STREAM_PREFACE,     /* accepted; the PROXY header comes first */
    STREAM_HANDSHAKING, /* TLS is at work; no application bytes yet */
    STREAM_WAITING,     /* accepted, not adopted */
    STREAM_OPEN,
    STREAM_BROKEN,    /* the owner knows, and has still to close it */
    STREAM_LINGERING, /* closed by the owner; output goes out, input is dropped */
    STREAM_CLOSED     /* the socket is gone; memory waits for its close callback */
};

struct stream {
    uint32_t tag;
    int fd;           /* -1: none was to be had */
    int error;        /* why it broke: told as soon as the bytes that came before are read */
    uint8_t state;    /* enum stream_state */
    uint8_t flush;    /* enum stream_flush */
    uint8_t interest; /* what libuv watches for; may have a READABLE too much until one comes */
    bool is_accepted;
    bool is_reading;     /* as the owner wishes */
    bool has_ended;      /* the peer has sent everything */
    bool is_end_told;    /* on_end was called */
    bool is_blocked;     /* the kernel took less than it was offered; wait for WRITABLE */
    bool is_full;        /* the owner was told STREAM_FULL and waits for on_drain */
    bool is_shut_wanted; /* send FIN after pending output */
    bool is_notify_sent; /* TLS close_notify */
    bool is_shut;        /* FIN is sent */
    bool is_unwatched;   /* nothing more can be learned without reading */
    bool is_peer_hidden; /* the PROXY header does not tell the peer */
    uv_poll_t poll;
    struct loop *loop;
    const struct stream_events *events;
    void *owner;
    struct loop_task flush_task;    /* on a flush list while dirty */
    struct loop_task event_task;    /* what must be told or done from the loop */
    struct timer timer;             /* connect and handshake, or linger */
    struct out_queue out;           /* for the socket */
    struct out_queue plain;         /* TLS: not sealed yet */
    struct tls_session *tls;        /* NULL: plain, or TCP is not connected yet */
    struct tls_context *tls_wanted; /* until the session is open */
    char *server_name;
    struct stream_preface *preface; /* while the PROXY header comes, or when it was wrong */
    uint64_t read_bytes, taken_bytes;
    union socket_address peer;
    char peer_text[INET6_ADDRSTRLEN], local_text[INET6_ADDRSTRLEN];
};

/* What comes before an accepted connection's own bytes. */
struct stream_opening {
    bool has_proxy_header;
    struct tls_context *tls; /* NULL: plain */
    uint64_t timeout_ms;     /* for both together */
    const struct stream_events *events;
    void *owner;
};

/* A connected socket from accept4 (not blocking, close-on-exec), which is taken over.  With an
 * opening its parts are awaited, and then, or on failure, events->on_connect is called; without
 * (NULL), the stream can be adopted at once. */
struct stream *stream_accept(struct loop *loop, int fd, const struct sockaddr *peer,
                             const struct stream_opening *opening);

/* stream_preface.c */

void stream_preface_begin(struct stream *stream);
void stream_preface_clear(struct stream *stream);
/* From the loop only: these call the owner. */
void stream_preface_read(struct stream *stream);
void stream_preface_fail(struct stream *stream, int error);
/* What was wrong with the PROXY header, as the reason of a metric: proxy-header-malformed,
 * -too-long, -checksum, -missing, -incomplete or -timeout; static.  NULL: nothing, or nothing came.
 */
const char *stream_preface_fault(const struct stream *stream);

/* stream_io.c */

/* Watch for what is needed now, at least, and stop watching what is not. */
void stream_io_watch(struct stream *stream);
void stream_io_trim(struct stream *stream);
void stream_io_unwatch(struct stream *stream);

void stream_io_mark_dirty(struct stream *stream);
/* Take the owner's bytes; no callbacks. */
void stream_io_take(struct stream *stream, const struct slice *parts, size_t part_count,
                    size_t total);
/* Send what the kernel takes; no callbacks. */
void stream_io_send(struct stream *stream);
/* Breaks the stream; the owner hears of it from the loop. */
void stream_io_fail(struct stream *stream, int error);
/* Sealed bytes for the socket (tls_sealed_cb). */
void stream_io_on_sealed(void *owner, struct slice sealed);

/* From the loop only: these call the owner. */
void stream_io_read(struct stream *stream);
void stream_io_flush(struct stream *stream);
void stream_io_settle_error(struct stream *stream);
/* Read and drop; for STREAM_LINGERING. */
void stream_io_discard(struct stream *stream);

/* stream.c, for the others */
/* The hands are shaken if that is wanted; else the stream is connected. */
void stream_begin_tls(struct stream *stream);
void stream_finish_connect(struct stream *stream, int error);
void stream_close_now(struct stream *stream);
void stream_on_poll(uv_poll_t *poll, int status, int events);

#endif
