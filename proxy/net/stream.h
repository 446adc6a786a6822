/* A byte stream over TCP, a unix socket, or TLS on either, with backpressure.
 *
 *   owner -- stream_write --> out buffer --(flush: one writev per tick)--> socket
 *   owner <-- on_read ------- the loop's shared read buffer <------------- socket
 *
 * Reads: bytes are lent for the length of on_read; the owner copies what it wants to keep.  All
 * streams of a loop share one read buffer, so an idle stream holds none.
 * Writes: stream_write copies into the stream's out buffer (taken from the loop while bytes are
 * pending); the loop flushes every dirty stream once its read callback has returned, or at the end
 * of the tick (STREAM_FLUSH_TICK).  A big piece is offered to the socket at once together with what
 * is pending, and only what the kernel did not take is copied.
 * Callbacks never come from inside a stream_ function; they come from the loop.  After
 * stream_close() none comes. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/slice.h"
#include "net/loop.h"

struct stream;
struct tls_context; /* net/tls.h */
struct sockaddr;

struct stream_events {
    /* Connected (and, with TLS, hands shaken), or error < 0: then only stream_close is legal. */
    void (*on_connect)(void *owner, int error);
    /* Bytes came.  Not called while reading is stopped. */
    void (*on_read)(void *owner, struct slice data);
    /* The peer has sent everything (half-close), error = 0; or the stream is broken, error < 0 (a
     * libuv code).  At most once each, as a half-closed stream may still break; nothing comes
     * after an error.  Writing stays legal after error = 0.  Bytes that came before the
     * break are read first: while reading is stopped and there are such bytes, on_end waits for
     * stream_read_start.  With TLS: UV_EOF means cut off without close_notify, UV_EPROTO that the
     * peer broke the protocol. */
    void (*on_end)(void *owner, int error);
    /* Pending output fell to nothing after stream_write had answered STREAM_FULL.  May be NULL. */
    void (*on_drain)(void *owner);
};

enum stream_status {
    STREAM_OK,   /* taken */
    STREAM_FULL, /* taken, but pending output is above the high-water mark: stop until on_drain */
    STREAM_DEAD  /* broken or closing: nothing taken; on_end has come or will come */
};

enum stream_flush {
    STREAM_FLUSH_CALLBACK, /* after the current read callback; the default */
    STREAM_FLUSH_TICK      /* once at the end of the tick: for pipelined command streams */
};

#define STREAM_HIGH_WATER_BYTES (64u * 1024)

/* A connected address as text, without port: "203.0.113.9", "2001:db8::1" (v4-mapped IPv6 shown as
 * IPv4), "unix". */
#define STREAM_ADDRESS_BYTES 64

/* Start connecting; on_connect comes later, also for immediate failure.  address: a resolved
 * sockaddr (AF_INET, AF_INET6 or AF_UNIX).  timeout_ms bounds connect and TLS handshake together
 * (ETIMEDOUT).  tls may be NULL; server_name (SNI and certificate name) may be NULL without tls. */
struct stream *stream_connect(struct loop *loop, const struct sockaddr *address,
                              uint64_t timeout_ms, struct tls_context *tls, const char *server_name,
                              const struct stream_events *events, void *owner);

/* Give an accepted stream (net/listener.h) to its owner; reading starts. */
void stream_adopt(struct stream *stream, const struct stream_events *events, void *owner);

/* Change the owner of a stream between callbacks (idle pools). */
void stream_set_owner(struct stream *stream, const struct stream_events *events, void *owner);
void stream_set_flush(struct stream *stream, enum stream_flush flush);

/* Copies or sends all parts.  Memory for pending output is bounded by the owner's good manners
 * (STREAM_FULL); a stream whose pending output passes 16 MiB is broken with ENOBUFS. */
enum stream_status stream_write(struct stream *stream, const struct slice *parts,
                                size_t part_count);
size_t stream_pending_bytes(const struct stream *stream);

/* No more on_read until stream_read_start; on_end may still come for a broken stream. */
void stream_read_stop(struct stream *stream);
void stream_read_start(struct stream *stream);

/* Send FIN (close_notify with TLS) after pending output; reading goes on. */
void stream_shutdown(struct stream *stream);

/* Give up the stream; *stream becomes NULL, no callback comes after this returns.  Pending output
 * is still sent for at most linger_ms (0: dropped), then the socket is closed; with a reset when
 * output is left, so that the peer can tell. */
void stream_close(struct stream **stream, uint64_t linger_ms);
/* The same with a TCP reset (SO_LINGER 0): the peer can tell that the message was cut. */
void stream_abort(struct stream **stream);

/* The other end, or whom a PROXY header names in its place. */
const char *stream_peer_address(const struct stream *stream);
uint16_t stream_peer_port(const struct stream *stream);
/* A PROXY header says that the connection is relayed, and not for whom: the address is the
 * relay's. */
bool stream_is_peer_hidden(const struct stream *stream);
const char *stream_local_address(const struct stream *stream);
uint16_t stream_local_port(const struct stream *stream);
bool stream_is_tls(const struct stream *stream);
/* Why the stream broke, in words ("certificate verify failed: self-signed certificate"), or "".
 * Lives as long as the stream. */
const char *stream_error_text(const struct stream *stream);
/* Bytes moved on the wire-side of the application, for logs. */
uint64_t stream_read_bytes(const struct stream *stream);
uint64_t stream_written_bytes(const struct stream *stream);

#endif
