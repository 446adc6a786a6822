/* TLS by OpenSSL; the stream feeds it and takes from it.  HTTP/1.1 ALPN, TLS 1.2 and newer. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>

#include "base/check.h"
#include "base/slice.h"

struct tls_context; /* refcounted, shared by all workers, immutable */

struct tls_options {
    bool is_server;
    const char *certificate_file; /* PEM chain; required for a server, optional for a client */
    const char *key_file;
    const char *ca_file; /* NULL: the system's for a client; for a server: clients need no
                            certificate */
    bool skip_verify;    /* client: do not check the peer (off by default) */
    const char *alpn;    /* "http/1.1", or NULL */
};

/* On failure NULL, and error holds a sentence that names the file and the reason. */
struct tls_context *tls_context_open(const struct tls_options *options, char *error,
                                     size_t error_size);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context **context);

/* One TLS connection without a socket, for net/ only.  Sealed bytes for the peer leave through
 * on_sealed, which must take them all and may be called from any function below. */
struct tls_session;
typedef void tls_sealed_cb(void *owner, struct slice sealed);

enum tls_status {
    TLS_OK,    /* done, and there may be more to do */
    TLS_MORE,  /* the peer must send more first */
    TLS_END,   /* the peer said close_notify: nothing more will come */
    TLS_FAILED /* broken for good; tls_session_error() tells why */
};

/* server_name: for a client the name to ask for and to find in the certificate; an address literal
 * is only looked for in the certificate.  NULL for a server.  NULL when the name cannot be one. */
struct tls_session *tls_session_open(struct tls_context *context, const char *server_name,
                                     tls_sealed_cb *on_sealed, void *owner);
void tls_session_close(struct tls_session **session);

/* Lends sealed bytes from the peer until tls_session_keep(), which copies what was not used. */
void tls_session_feed(struct tls_session *session, struct slice sealed);
void tls_session_keep(struct tls_session *session);
/* Bytes from the peer that tls_session_read() has not given out yet, sealed or not. */
size_t tls_session_held_bytes(const struct tls_session *session);

/* TLS_OK: hands are shaken. */
enum tls_status tls_session_handshake(struct tls_session *session);
/* Fills plain as far as it can.  TLS_OK: there may be more; else nothing more for the reason told.
 * *ret_len may be above 0 with every status. */
enum tls_status tls_session_read(struct tls_session *session, char *plain, size_t room,
                                 size_t *ret_len);
/* Seals all of plain; false when the session is broken. */
MUST_USE bool tls_session_write(struct tls_session *session, struct slice plain);
/* Sends close_notify. */
void tls_session_shutdown(struct tls_session *session);
/* Why the session failed, or "". */
const char *tls_session_error(const struct tls_session *session);

#endif
