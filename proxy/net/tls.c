/* OpenSSL without its own buffers: the session's BIO reads from bytes the stream lends (and from a
 * stash of what was left over), and writes straight into the stream's out queue.  Between records
 * an idle session holds no record buffer (SSL_MODE_RELEASE_BUFFERS).
 *
 * A context never changes after it is opened, so workers share it; its count of references is
 * atomic. */
#include "net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"

#define TLS_CONTEXT_TAG 0x544c5343u /* "TLSC" */
#define TLS_SESSION_TAG 0x544c5353u /* "TLSS" */
#define ALPN_MAX_BYTES 32u
#define ERROR_BYTES 128u
#define STASH_MAX_BYTES (1024u * 1024)
#define RECORD_MAX_BYTES (16u * 1024)

struct tls_context {
    uint32_t tag;
    atomic_uint ref_count;
    bool is_server, is_verifying;
    SSL_CTX *ssl;
    BIO_METHOD *bio_method;
    unsigned char alpn[ALPN_MAX_BYTES]; /* as on the wire: length, name */
    unsigned alpn_len;
};

struct tls_session {
    uint32_t tag;
    bool has_failed;
    struct tls_context *context;
    SSL *ssl;
    tls_sealed_cb *on_sealed;
    void *owner;
    struct slice lent;
    struct buf stash; /* came before lent */
    char error[ERROR_BYTES];
};

/* The BIO: a window on the session. */

static int bio_read(BIO *bio, char *out, size_t room, size_t *ret_len)
{
    struct tls_session *session = BIO_get_data(bio);
    struct slice stashed = buf_slice(&session->stash);
    size_t len;

    BIO_clear_retry_flags(bio);
    if (stashed.len > 0) {
        len = stashed.len < room ? stashed.len : room;
        memcpy(out, stashed.at, len);
        buf_consume(&session->stash, len);
    } else if (session->lent.len > 0) {
        len = session->lent.len < room ? session->lent.len : room;
        memcpy(out, session->lent.at, len);
        session->lent = slice_skip(session->lent, len);
    } else {
        BIO_set_retry_read(bio);
        return 0;
    }
    *ret_len = len;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *ret_len)
{
    struct tls_session *session = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    session->on_sealed(session->owner, slice_from(data, len));
    *ret_len = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    UNUSED(bio);
    UNUSED(number);
    UNUSED(pointer);
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *make_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "lockkeeper");

    CHECK(method != NULL);
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    return method;
}

/* Contexts. */

/* The reason of the oldest error in OpenSSL's queue, which is the one that tells; empties it. */
static const char *take_reason(char *text, size_t size)
{
    unsigned long code = ERR_get_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    if (reason != NULL)
        snprintf(text, size, "%s", reason);
    else if (code != 0 && ERR_SYSTEM_ERROR(code))
        snprintf(text, size, "%s", strerror(ERR_GET_REASON(code)));
    else
        snprintf(text, size, "unknown reason");
    ERR_clear_error();
    return text;
}

struct load {
    const struct tls_options *options;
    char *error;
    size_t error_size;
};

static bool fail_file(const struct load *load, const char *what, const char *file)
{
    char reason[ERROR_BYTES];

    /* OpenSSL's words for a file that cannot be opened are less clear than the system's. */
    if (access(file, R_OK) != 0) {
        snprintf(load->error, load->error_size, "cannot read %s file %s: %s", what, file,
                 strerror(errno));
        ERR_clear_error();
        return false;
    }
    snprintf(load->error, load->error_size, "%s file %s cannot be used: %s", what, file,
             take_reason(reason, sizeof(reason)));
    return false;
}

/* A key file with a pass phrase must not make OpenSSL ask for it on the terminal. */
static int no_pass_phrase(char *buffer, int size, int is_writing, void *owner)
{
    UNUSED(buffer);
    UNUSED(size);
    UNUSED(is_writing);
    UNUSED(owner);
    return -1;
}

static bool load_certificate(SSL_CTX *ssl, const struct load *load)
{
    const struct tls_options *options = load->options;

    if (options->certificate_file == NULL && options->key_file == NULL && !options->is_server)
        return true;
    if (options->certificate_file == NULL || options->key_file == NULL) {
        snprintf(load->error, load->error_size, "a certificate file and a key file are needed %s",
                 options->is_server ? "for a TLS server" : "together");
        return false;
    }
    SSL_CTX_set_default_passwd_cb(ssl, no_pass_phrase);
    if (SSL_CTX_use_certificate_chain_file(ssl, options->certificate_file) != 1)
        return fail_file(load, "certificate", options->certificate_file);
    /* Loading a key that does not fit the certificate fails, too; which of both it is, is asked
     * by reading the key alone. */
    if (SSL_CTX_use_PrivateKey_file(ssl, options->key_file, SSL_FILETYPE_PEM) == 1 &&
        SSL_CTX_check_private_key(ssl) == 1)
        return true;
    if (ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_VALUES_MISMATCH ||
        ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_TYPE_MISMATCH) {
        snprintf(load->error, load->error_size,
                 "key file %s does not belong to certificate file %s", options->key_file,
                 options->certificate_file);
        ERR_clear_error();
        return false;
    }
    return fail_file(load, "key", options->key_file);
}

static bool load_authorities(SSL_CTX *ssl, const struct load *load)
{
    const struct tls_options *options = load->options;
    STACK_OF(X509_NAME) * names;

    if (options->ca_file == NULL) {
        if (!options->is_server && !options->skip_verify)
            (void)SSL_CTX_set_default_verify_paths(ssl);
        return true;
    }
    if (SSL_CTX_load_verify_locations(ssl, options->ca_file, NULL) != 1)
        return fail_file(load, "CA", options->ca_file);
    if (!options->is_server)
        return true;
    names = SSL_load_client_CA_file(options->ca_file);
    if (names == NULL)
        return fail_file(load, "CA", options->ca_file);
    SSL_CTX_set_client_CA_list(ssl, names);
    return true;
}

static int select_alpn(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_len,
                       const unsigned char *offered, unsigned offered_len, void *owner)
{
    const struct tls_context *context = owner;
    unsigned char *name = NULL;

    UNUSED(ssl);
    if (SSL_select_next_proto(&name, ret_len, context->alpn, context->alpn_len, offered,
                              offered_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* no_application_protocol */
    *ret_name = name;
    return SSL_TLSEXT_ERR_OK;
}

static void set_alpn(struct tls_context *context, const char *name)
{
    size_t len = strlen(name);

    CHECK(len > 0 && len < ALPN_MAX_BYTES);
    context->alpn[0] = (unsigned char)len;
    memcpy(context->alpn + 1, name, len);
    context->alpn_len = (unsigned)len + 1;
    if (context->is_server)
        SSL_CTX_set_alpn_select_cb(context->ssl, select_alpn, context);
    else
        CHECK(SSL_CTX_set_alpn_protos(context->ssl, context->alpn, context->alpn_len) == 0);
}

static void set_modes(struct tls_context *context, const struct tls_options *options)
{
    static const unsigned char session_id_context[] = "lockkeeper";
    SSL_CTX *ssl = context->ssl;

    CHECK(SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) == 1);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_ENABLE_PARTIAL_WRITE);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    /* Tickets resume sessions without a cache that all workers would have to lock. */
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    CHECK(SSL_CTX_set_session_id_context(ssl, session_id_context, sizeof(session_id_context) - 1) ==
          1);
    context->is_verifying = options->is_server ? options->ca_file != NULL : !options->skip_verify;
    if (context->is_verifying)
        SSL_CTX_set_verify(
            ssl, SSL_VERIFY_PEER | (options->is_server ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
            NULL);
    else
        SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
}

struct tls_context *tls_context_open(const struct tls_options *options, char *error,
                                     size_t error_size)
{
    struct load load = {options, error, error_size};
    struct tls_context *context = mem_calloc(1, sizeof(*context));

    ERR_clear_error();
    context->tag = TLS_CONTEXT_TAG;
    context->ref_count = 1;
    context->is_server = options->is_server;
    context->ssl = SSL_CTX_new(options->is_server ? TLS_server_method() : TLS_client_method());
    CHECK(context->ssl != NULL);
    context->bio_method = make_bio_method();
    set_modes(context, options);
    if (options->alpn != NULL)
        set_alpn(context, options->alpn);
    if (!load_certificate(context->ssl, &load) || !load_authorities(context->ssl, &load))
        tls_context_unref(&context);
    return context;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    CHECK_TAG(context, TLS_CONTEXT);
    atomic_fetch_add(&context->ref_count, 1);
    return context;
}

void tls_context_unref(struct tls_context **place)
{
    struct tls_context *context = TAKE(place);

    if (context == NULL)
        return;
    CHECK_TAG(context, TLS_CONTEXT);
    if (atomic_fetch_sub(&context->ref_count, 1) > 1)
        return;
    context->tag = 0;
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->bio_method);
    free(context);
}

/* Sessions. */

static bool is_address(const char *name)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* Which certificate to ask for, and whom to find in it. */
static bool set_server_name(struct tls_session *session, const char *server_name)
{
    char name[256];
    size_t len = strlen(server_name);

    if (len >= 2 && server_name[0] == '[' && server_name[len - 1] == ']') {
        server_name++;
        len -= 2;
    } else if (len > 1 && server_name[len - 1] == '.') {
        len--;
    }
    if (len == 0 || len >= sizeof(name))
        return false;
    memcpy(name, server_name, len);
    name[len] = '\0';
    if (is_address(name))
        return !session->context->is_verifying ||
               X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session->ssl), name) == 1;
    if (SSL_set_tlsext_host_name(session->ssl, name) != 1)
        return false;
    SSL_set_hostflags(session->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return !session->context->is_verifying || SSL_set1_host(session->ssl, name) == 1;
}

struct tls_session *tls_session_open(struct tls_context *context, const char *server_name,
                                     tls_sealed_cb *on_sealed, void *owner)
{
    struct tls_session *session = mem_calloc(1, sizeof(*session));
    BIO *bio;

    ERR_clear_error();
    session->tag = TLS_SESSION_TAG;
    session->context = tls_context_ref(context);
    session->on_sealed = on_sealed;
    session->owner = owner;
    buf_init(&session->stash, STASH_MAX_BYTES);
    session->ssl = SSL_new(context->ssl);
    bio = BIO_new(context->bio_method);
    CHECK(session->ssl != NULL && bio != NULL);
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    SSL_set_bio(session->ssl, bio, bio);
    if (context->is_server) {
        SSL_set_accept_state(session->ssl);
        return session;
    }
    SSL_set_connect_state(session->ssl);
    if (server_name == NULL || !set_server_name(session, server_name))
        tls_session_close(&session);
    return session;
}

void tls_session_close(struct tls_session **place)
{
    struct tls_session *session = TAKE(place);

    if (session == NULL)
        return;
    CHECK_TAG(session, TLS_SESSION);
    session->tag = 0;
    SSL_free(session->ssl);
    ERR_clear_error();
    buf_clear(&session->stash);
    tls_context_unref(&session->context);
    free(session);
}

void tls_session_feed(struct tls_session *session, struct slice sealed)
{
    CHECK_TAG(session, TLS_SESSION);
    CHECK(session->lent.len == 0);
    session->lent = sealed;
}

void tls_session_keep(struct tls_session *session)
{
    CHECK_TAG(session, TLS_SESSION);
    if (buf_len(&session->stash) == 0 && session->stash.cap > 0 && session->lent.len == 0)
        buf_clear(&session->stash);
    if (session->lent.len > 0 && !session->has_failed)
        CHECK(buf_append(&session->stash, session->lent)); /* reading stops long before the bound */
    session->lent = SLICE_NONE;
}

size_t tls_session_held_bytes(const struct tls_session *session)
{
    if (session->has_failed)
        return 0;
    return buf_len(&session->stash) + session->lent.len + (size_t)SSL_pending(session->ssl);
}

static enum tls_status fail(struct tls_session *session)
{
    long verify = SSL_get_verify_result(session->ssl);
    char reason[ERROR_BYTES / 2];

    session->has_failed = true;
    take_reason(reason, sizeof(reason));
    if (session->context->is_verifying && verify != X509_V_OK)
        snprintf(session->error, sizeof(session->error), "%s: %s", reason,
                 X509_verify_cert_error_string(verify));
    else
        snprintf(session->error, sizeof(session->error), "%s", reason);
    return TLS_FAILED;
}

static enum tls_status judge(struct tls_session *session, int result)
{
    switch (SSL_get_error(session->ssl, result)) {
    case SSL_ERROR_NONE:
        return TLS_OK;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return TLS_MORE;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_END;
    default:
        return fail(session);
    }
}

enum tls_status tls_session_handshake(struct tls_session *session)
{
    CHECK_TAG(session, TLS_SESSION);
    if (session->has_failed)
        return TLS_FAILED;
    ERR_clear_error();
    return judge(session, SSL_do_handshake(session->ssl));
}

enum tls_status tls_session_read(struct tls_session *session, char *plain, size_t room,
                                 size_t *ret_len)
{
    enum tls_status status = TLS_OK;
    size_t len = 0;

    CHECK_TAG(session, TLS_SESSION);
    if (session->has_failed)
        return TLS_FAILED;
    ERR_clear_error();
    /* One record for each call of SSL_read_ex: go on while another one surely fits. */
    while (status == TLS_OK && room - len >= RECORD_MAX_BYTES) {
        size_t got = 0;
        int result = SSL_read_ex(session->ssl, plain + len, room - len, &got);

        status = judge(session, result);
        len += got;
    }
    *ret_len = len;
    return status;
}

bool tls_session_write(struct tls_session *session, struct slice plain)
{
    CHECK_TAG(session, TLS_SESSION);
    ERR_clear_error();
    while (plain.len > 0 && !session->has_failed) {
        size_t taken = 0;
        int result = SSL_write_ex(session->ssl, plain.at, plain.len, &taken);

        /* The BIO takes everything, and renegotiation is off: a write never has to wait. */
        if (judge(session, result) != TLS_OK && !session->has_failed)
            (void)fail(session);
        plain = slice_skip(plain, taken);
    }
    return !session->has_failed;
}

void tls_session_shutdown(struct tls_session *session)
{
    CHECK_TAG(session, TLS_SESSION);
    if (session->has_failed || !SSL_is_init_finished(session->ssl))
        return;
    (void)SSL_shutdown(session->ssl);
    ERR_clear_error();
}

const char *tls_session_error(const struct tls_session *session)
{
    return session->error;
}
