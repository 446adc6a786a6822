/* A listener accepts connections on one address and hands each to its owner. */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/slice.h"
#include "net/loop.h"

struct listener;
struct sockaddr;
struct stream;
struct tls_context;

/* stream is not adopted yet: on_accept calls stream_adopt() or stream_close().  With a PROXY header
 * and TLS the stream is handed over after both. */
typedef void listener_cb(void *owner, struct stream *accepted);

enum listener_admission {
    LISTENER_TAKE,         /* it begins with its own bytes (or TLS) */
    LISTENER_PROXY_HEADER, /* it must begin with a PROXY header (net/proxy_protocol.h) */
    LISTENER_CLOSE         /* it is closed at once */
};

/* Asked for each connection when it was accepted, before anything is read. */
typedef enum listener_admission listener_admit_cb(void *owner, const struct sockaddr *peer);
/* A connection ended because its PROXY header or TLS handshake was wrong or late, as the log says;
 * reason is static: that of stream_preface_fault, tls-handshake or tls-timeout. */
typedef void listener_fault_cb(void *owner, const char *reason);

struct listener_options {
    const char *address; /* "0.0.0.0:8080", "[::]:8080", ":8080" (both families), "127.0.0.1:0",
                            "unix:/run/lk.sock" */
    int fd;              /* an already listening socket, taken over (closed with the listener, or
                            when opening fails), or -1; address is then only for messages */
    bool reuse_port;     /* SO_REUSEPORT: one listener per worker */
    int backlog;         /* 0: 4096 */
    unsigned unix_mode;  /* of the file of a unix socket; 0: what the umask leaves of 0777 */
    struct tls_context *tls;       /* NULL: plain */
    uint64_t handshake_timeout_ms; /* for PROXY header and TLS together */
    listener_admit_cb *admit;      /* NULL: all are LISTENER_TAKE */
    listener_fault_cb *on_fault;   /* may be NULL */
};

/* Check an address without opening it; on false *ret_error says what would be right (static). */
MUST_USE bool listener_check_address(struct slice address, const char **ret_error);

/* 0, or a libuv error code (EADDRINUSE, EACCES, EINVAL, ...).  Never calls back before it
 * returns. */
MUST_USE int listener_open(struct loop *loop, const struct listener_options *options,
                           listener_cb *on_accept, void *owner, struct listener **ret_listener);

/* Handshakes that begin from now on use this context (renewed certificates).  Not NULL, and only
 * for a listener opened with TLS. */
void listener_set_tls(struct listener *listener, struct tls_context *tls);
/* The same for handshake_timeout_ms. */
void listener_set_timeout(struct listener *listener, uint64_t handshake_timeout_ms);

/* Connections accepted and not handed over yet: their PROXY header or TLS is under way. */
size_t listener_opening_count(const struct listener *listener);

/* The port bound (useful with port 0), or 0 for a unix socket. */
uint16_t listener_port(const struct listener *listener);

/* The listening socket; a duplicate may be given to another listener. */
int listener_fd(const struct listener *listener);

/* Stop and go on accepting; the backlog waits in the kernel meanwhile. */
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);

/* Accept what waits in the backlog now, before a close that would reset it.  Not for a socket that
 * was handed over: others take what waits there.  Not inside on_accept. */
void listener_accept_waiting(struct listener *listener);

/* Accept no more, for good, and give up the port; connections whose opening is under way are still
 * handed over.  Legal inside on_accept. */
void listener_stop(struct listener *listener);

/* Stop and give up; *listener becomes NULL and the owner is never called again.  Legal inside
 * on_accept. */
void listener_close(struct listener **listener);

#endif
