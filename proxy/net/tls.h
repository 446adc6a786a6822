/* TLS by OpenSSL over memory BIOs; the stream feeds it and takes from it.  HTTP/1.1 ALPN. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>

#include "base/check.h"

struct tls_context; /* refcounted, shared by all workers, immutable */

struct tls_options {
    bool is_server;
    const char *certificate_file; /* PEM chain; required for a server, optional for a client */
    const char *key_file;
    const char *ca_file;   /* NULL: the system's for a client; for a server: clients need no certificate */
    bool skip_verify;      /* client: do not check the peer (off by default) */
    const char *alpn;      /* "http/1.1", or NULL */
};

/* On failure NULL, and error holds a sentence that names the file and the reason. */
struct tls_context *tls_context_open(const struct tls_options *options, char *error, size_t error_size);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context **context);

#endif
