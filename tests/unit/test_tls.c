/* TLS: good and bad certificates, made when the test starts with the openssl command, through real
 * listeners and streams on loopback. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/ssl.h>
#include <uv.h>

#include "base/arena.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/resolve.h"
#include "net/stream.h"
#include "net/tls.h"

#define GUARD_MS 60000u

static char folder[64];

static const char *path(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *out = paths[next++ % COUNT_OF(paths)];

    snprintf(out, sizeof(paths[0]), "%s/%s", folder, name);
    return out;
}

static void run(const char *command)
{
    char line[1024];

    snprintf(line, sizeof(line), "cd %s && { %s; } >log 2>&1", folder, command);
    if (system(line) != 0)
        fail_msg("failed: %s", command);
}

static int make_certificates(void **state)
{
    UNUSED(state);
    snprintf(folder, sizeof(folder), "/tmp/lk-test-tls-XXXXXX");
    assert_non_null(mkdtemp(folder));
#define NEW_KEY "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
    run("openssl req -x509 " NEW_KEY "-days 2 -subj /CN=ca -keyout ca.key -out ca.pem");
    run("openssl req -x509 " NEW_KEY "-days 2 -subj /CN=other -keyout other.key -out other.pem");
    run("printf 'subjectAltName=DNS:good.test,DNS:*.wild.test,IP:127.0.0.1\\n' > names");
    run("for n in server client; do openssl req " NEW_KEY
        "-subj /CN=$n -keyout $n.key -out $n.csr && openssl x509 -req -in $n.csr -CA ca.pem "
        "-CAkey ca.key -CAcreateserial -days 2 -extfile names -out $n.pem; done");
    run("openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days -1 "
        "-extfile names -out expired.pem || openssl x509 -req -in server.csr -CA ca.pem "
        "-CAkey ca.key -days 0 -extfile names -out expired.pem");
    run("echo rubbish > rubbish.pem");
    run("openssl ec -in server.key -aes128 -passout pass:secret -out locked.key");
    return 0;
}

static int remove_certificates(void **state)
{
    char line[128];

    UNUSED(state);
    snprintf(line, sizeof(line), "rm -rf %s", folder);
    return system(line);
}

static struct tls_context *open_context(const struct tls_options *options)
{
    char error[256] = "";
    struct tls_context *context = tls_context_open(options, error, sizeof(error));

    if (context == NULL)
        fail_msg("%s", error);
    return context;
}

static struct tls_context *open_server(const char *name, const char *ca_file, const char *alpn)
{
    char certificate[64];

    snprintf(certificate, sizeof(certificate), "%s.pem", name);
    return open_context(&(struct tls_options){.is_server = true,
                                              .certificate_file = path(certificate),
                                              .key_file = path("server.key"),
                                              .ca_file = ca_file,
                                              .alpn = alpn});
}

/* One end of a connection, as seen by its owner. */
struct end {
    struct stream *stream;
    unsigned connect_calls, end_calls, drain_calls;
    int connect_error, end_error;
    uint64_t read_bytes, to_send_bytes, sent_bytes, read_sum;
    char text[64], error_text[160];
    bool stop_in_read;
};

struct world {
    struct loop *loop;
    struct listener *listener;
    struct end client, server;
    struct timer guard;
    union resolve_address address;
    unsigned accept_count;
};

static void generate(struct end *end)
{
    char piece[40000];

    while (end->sent_bytes < end->to_send_bytes) {
        size_t len = (size_t)(end->sent_bytes * 7919 % sizeof(piece)) + 1;
        struct slice data;

        if (len > end->to_send_bytes - end->sent_bytes)
            len = (size_t)(end->to_send_bytes - end->sent_bytes);
        for (size_t i = 0; i < len; i++)
            piece[i] = (char)((end->sent_bytes + i) * 2654435761u >> 13);
        data = slice_from(piece, len);
        end->sent_bytes += len;
        if (stream_write(end->stream, &data, 1) == STREAM_FULL)
            return;
    }
    if (end->to_send_bytes > 0)
        stream_shutdown(end->stream);
}

static void on_connect(void *owner, int error)
{
    struct end *end = owner;

    end->connect_calls++;
    end->connect_error = error;
    snprintf(end->error_text, sizeof(end->error_text), "%s", stream_error_text(end->stream));
    if (error == 0)
        generate(end);
}

static void on_read(void *owner, struct slice data)
{
    struct end *end = owner;

    for (size_t i = 0; i < data.len; i++) {
        uint64_t at = end->read_bytes + i;

        if (at < sizeof(end->text) - 1)
            end->text[at] = data.at[i];
        end->read_sum += data.at[i] == (char)(at * 2654435761u >> 13);
    }
    end->read_bytes += data.len;
    if (end->stop_in_read)
        stream_read_stop(end->stream);
}

static void on_end(void *owner, int error)
{
    struct end *end = owner;

    end->end_calls++;
    end->end_error = error;
    snprintf(end->error_text, sizeof(end->error_text), "%s", stream_error_text(end->stream));
}

static void on_drain(void *owner)
{
    struct end *end = owner;

    end->drain_calls++;
    generate(end);
}

static const struct stream_events events = {on_connect, on_read, on_end, on_drain};

static void on_accept(void *owner, struct stream *accepted)
{
    struct world *w = owner;

    w->accept_count++;
    w->server.stream = accepted;
    stream_adopt(accepted, &events, &w->server);
}

static void on_guard(struct timer *timer)
{
    UNUSED(timer);
    fail_msg("the test has hung");
}

/* Takes the context over. */
static void open_world(struct world *w, struct tls_context *server, uint64_t timeout_ms)
{
    struct listener_options options = {
        .address = "127.0.0.1:0", .fd = -1, .tls = server, .handshake_timeout_ms = timeout_ms};

    memset(w, 0, sizeof(*w));
    assert_int_equal(loop_open(&w->loop), 0);
    assert_int_equal(listener_open(w->loop, &options, on_accept, w, &w->listener), 0);
    tls_context_unref(&server);
    assert_true(resolve_literal("127.0.0.1", listener_port(w->listener), &w->address));
    timer_start(w->loop, &w->guard, GUARD_MS, on_guard);
}

static void close_world(struct world *w)
{
    if (w->client.stream != NULL)
        stream_close(&w->client.stream, 0);
    if (w->server.stream != NULL)
        stream_close(&w->server.stream, 0);
    if (w->listener != NULL)
        listener_close(&w->listener);
    timer_stop(w->loop, &w->guard);
    loop_close(&w->loop);
}

#define RUN_UNTIL(w, condition)                                                                    \
    do {                                                                                           \
        while (!(condition))                                                                       \
            loop_turn((w)->loop);                                                                  \
    } while (0)

/* Takes the context over. */
static void connect_client(struct world *w, struct tls_context *client, const char *name)
{
    w->client.stream =
        stream_connect(w->loop, &w->address.any, GUARD_MS, client, name, &events, &w->client);
    tls_context_unref(&client);
}

static struct tls_context *open_client(const char *ca_file, const char *alpn)
{
    return open_context(&(struct tls_options){.ca_file = ca_file, .alpn = alpn});
}

static void run_until_open(struct world *w)
{
    connect_client(w, open_client(path("ca.pem"), "http/1.1"), "good.test");
    RUN_UNTIL(w, w->client.connect_calls == 1 && w->server.stream != NULL);
    if (w->client.connect_error != 0)
        fail_msg("%s", w->client.error_text);
}

static void test_bad_files(void **state)
{
    static const struct {
        const char *certificate, *key, *ca, *part, *other_part;
    } cases[] = {
        {"missing.pem", "server.key", NULL, "missing.pem", "No such file"},
        {"server.pem", "missing.key", NULL, "missing.key", "No such file"},
        {"rubbish.pem", "server.key", NULL, "rubbish.pem", "certificate"},
        {"server.pem", "rubbish.pem", NULL, "rubbish.pem", "key"},
        {"server.pem", "client.key", NULL, "client.key", "server.pem"},
        {"server.pem", "locked.key", NULL, "locked.key", "key"},
        {"server.pem", "server.key", "missing.pem", "missing.pem", "CA"},
        {"server.pem", "server.key", "rubbish.pem", "rubbish.pem", "CA"},
        {"server.pem", NULL, NULL, "key file", "needed"},
        {NULL, NULL, NULL, "certificate", "needed"},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char error[256] = "";
        struct tls_options options = {
            .is_server = true,
            .certificate_file = cases[i].certificate != NULL ? path(cases[i].certificate) : NULL,
            .key_file = cases[i].key != NULL ? path(cases[i].key) : NULL,
            .ca_file = cases[i].ca != NULL ? path(cases[i].ca) : NULL,
        };

        assert_null(tls_context_open(&options, error, sizeof(error)));
        if (strstr(error, cases[i].part) == NULL || strstr(error, cases[i].other_part) == NULL)
            fail_msg("case %zu: %s", i, error);
    }
}

static void test_both_ways(void **state)
{
    struct world w;

    UNUSED(state);
    open_world(&w, open_server("server", NULL, "http/1.1"), GUARD_MS);
    run_until_open(&w);
    assert_true(stream_is_tls(w.client.stream) && stream_is_tls(w.server.stream));
    assert_int_equal(stream_write(w.client.stream, &SLICE("question"), 1), STREAM_OK);
    RUN_UNTIL(&w, w.server.read_bytes == 8);
    assert_string_equal(w.server.text, "question");
    assert_int_equal(stream_write(w.server.stream, &SLICE("answer"), 1), STREAM_OK);
    stream_shutdown(w.server.stream);
    RUN_UNTIL(&w, w.client.end_calls == 1);
    assert_int_equal(w.client.end_error, 0);
    assert_string_equal(w.client.text, "answer");
    /* Half-closed: the other way still works. */
    assert_int_equal(stream_write(w.client.stream, &SLICE("thanks"), 1), STREAM_OK);
    stream_close(&w.client.stream, 1000);
    RUN_UNTIL(&w, w.server.end_calls == 1);
    assert_int_equal(w.server.end_error, 0);
    assert_string_equal(w.server.text, "questionthanks");
    assert_int_equal(stream_read_bytes(w.server.stream), 14);
    close_world(&w);
}

static void test_bulk(void **state)
{
    const uint64_t size = 20u * 1024 * 1024;
    struct world w;

    UNUSED(state);
    open_world(&w, open_server("server", NULL, NULL), GUARD_MS);
    w.client.to_send_bytes = size;
    run_until_open(&w);
    RUN_UNTIL(&w, w.server.end_calls == 1);
    assert_int_equal(w.server.end_error, 0);
    assert_int_equal(w.server.read_bytes, size);
    assert_int_equal(w.server.read_sum, size);
    assert_true(w.client.drain_calls > 0);
    close_world(&w);
}

static void test_stopped_reader_gets_the_rest(void **state)
{
    const uint64_t size = 2u * 1024 * 1024;
    struct world w;

    UNUSED(state);
    open_world(&w, open_server("server", NULL, NULL), GUARD_MS);
    w.client.to_send_bytes = size;
    w.server.stop_in_read = true;
    run_until_open(&w);
    while (w.server.end_calls == 0) {
        uint64_t before = w.server.read_bytes;

        for (int i = 0; i < 3; i++)
            loop_turn(w.loop);
        assert_true(w.server.read_bytes <= before + 64 * 1024);
        stream_read_start(w.server.stream);
    }
    assert_int_equal(w.server.read_sum, size);
    close_world(&w);
}

static void test_whom_a_client_trusts(void **state)
{
    static const struct {
        const char *server, *ca, *name;
        bool skip_verify;
        const char *error_part; /* NULL: connects */
    } cases[] = {
        {"server", "ca.pem", "good.test", false, NULL},
        {"server", "ca.pem", "good.test.", false, NULL},
        {"server", "ca.pem", "a.wild.test", false, NULL},
        {"server", "ca.pem", "127.0.0.1", false, NULL},
        {"server", "ca.pem", "bad.test", false, "name"},
        {"server", "ca.pem", "a.b.wild.test", false, "name"},
        {"server", "ca.pem", "127.0.0.2", false, "address"},
        {"server", "other.pem", "good.test", false, "issuer"},
        {"server", NULL, "good.test", false, "issuer"},
        {"expired", "ca.pem", "good.test", false, "expired"},
        {"expired", NULL, "bad.test", true, NULL},
        {"server", "ca.pem", "", false, "invalid"},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct world w;
        struct tls_options options = {.ca_file = cases[i].ca != NULL ? path(cases[i].ca) : NULL,
                                      .skip_verify = cases[i].skip_verify};

        open_world(&w, open_server(cases[i].server, NULL, NULL), GUARD_MS);
        connect_client(&w, open_context(&options), cases[i].name);
        RUN_UNTIL(&w, w.client.connect_calls == 1);
        if ((w.client.connect_error == 0) != (cases[i].error_part == NULL))
            fail_msg("case %zu: %d %s", i, w.client.connect_error, w.client.error_text);
        if (cases[i].error_part != NULL) {
            assert_true(w.client.connect_error == UV_EPROTO || w.client.connect_error == UV_EINVAL);
            if (strstr(w.client.error_text, cases[i].error_part) == NULL)
                fail_msg("case %zu: %s", i, w.client.error_text);
            stream_close(&w.client.stream, 0);
            for (int turns = 0; turns < 10; turns++)
                loop_turn(w.loop);
        }
        close_world(&w);
    }
}

static void test_client_certificates(void **state)
{
    static const struct {
        const char *name; /* of the client's certificate, or NULL */
        bool is_welcome;
    } cases[] = {{NULL, false}, {"client", true}, {"other", false}};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct world w;
        struct tls_options options = {.ca_file = path("ca.pem")};
        char certificate[32], key[32];

        if (cases[i].name != NULL) {
            snprintf(certificate, sizeof(certificate), "%s.pem", cases[i].name);
            snprintf(key, sizeof(key), "%s.key", cases[i].name);
            options.certificate_file = path(certificate);
            options.key_file = path(key);
        }
        open_world(&w, open_server("server", path("ca.pem"), NULL), GUARD_MS);
        connect_client(&w, open_context(&options), "good.test");
        /* With TLS 1.3 a client is done before the server has judged it. */
        RUN_UNTIL(&w,
                  w.accept_count == 1 || w.client.end_calls == 1 || w.client.connect_error != 0);
        assert_int_equal(w.accept_count, cases[i].is_welcome);
        close_world(&w);
    }
}

static void test_alpn(void **state)
{
    static const struct {
        const char *offered; /* NULL: none */
        bool is_welcome;
    } cases[] = {{"http/1.1", true}, {NULL, true}, {"h2", false}};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct world w;

        open_world(&w, open_server("server", NULL, "http/1.1"), GUARD_MS);
        connect_client(&w, open_client(path("ca.pem"), cases[i].offered), "good.test");
        RUN_UNTIL(&w, w.client.connect_calls == 1);
        assert_int_equal(w.client.connect_error, cases[i].is_welcome ? 0 : UV_EPROTO);
        if (!cases[i].is_welcome)
            assert_non_null(strstr(w.client.error_text, "no application protocol"));
        close_world(&w);
    }
}

/* A bare client that says what it likes. */
static int dial(struct world *w)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, &w->address.any, sizeof(w->address.in4)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* Turns until the peer has closed; gives the bytes it sent. */
static size_t read_to_end(struct world *w, int fd, char *buffer, size_t room)
{
    size_t len = 0;

    for (;;) {
        ssize_t count = read(fd, buffer + len, room - len);

        if (count == 0 || (count < 0 && errno != EAGAIN))
            return len;
        len += count > 0 ? (size_t)count : 0;
        loop_turn(w->loop);
    }
}

static void test_handshake_timeout_and_rubbish(void **state)
{
    struct world w;
    char buffer[256];
    int silent, plain, rude;
    uint64_t started_at_ms;

    UNUSED(state);
    open_world(&w, open_server("server", NULL, NULL), 150);
    plain = dial(&w);
    assert_int_equal(write(plain, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    assert_int_equal(read_to_end(&w, plain, buffer, sizeof(buffer)), 0);
    rude = dial(&w);
    assert_int_equal(write(rude, "\x16\x03\x01\x00\x05hello", 10), 10);
    assert_true(read_to_end(&w, rude, buffer, sizeof(buffer)) >= 7);
    assert_int_equal(buffer[0], 21); /* an alert */
    started_at_ms = loop_now_ms(w.loop);
    silent = dial(&w);
    assert_int_equal(read_to_end(&w, silent, buffer, sizeof(buffer)), 0);
    loop_turn(w.loop);
    assert_true(loop_now_ms(w.loop) - started_at_ms >= 140);
    assert_int_equal(w.accept_count, 0);
    close(silent);
    close(plain);
    close(rude);
    close_world(&w);
}

static void test_listener_closes_during_handshake(void **state)
{
    struct world w;
    char buffer[16];
    int silent;

    UNUSED(state);
    open_world(&w, open_server("server", NULL, NULL), GUARD_MS);
    silent = dial(&w);
    for (int i = 0; i < 5; i++)
        loop_turn(w.loop);
    listener_close(&w.listener);
    assert_int_equal(read_to_end(&w, silent, buffer, sizeof(buffer)), 0);
    close(silent);
    close_world(&w);
}

/* The server's socket, behind the back of its stream; port is the client's. */
static int find_server_socket(uint16_t port)
{
    for (int fd = 3; fd < 64; fd++) {
        union resolve_address peer;
        socklen_t size = sizeof(peer);

        if (getpeername(fd, &peer.any, &size) == 0 && ntohs(peer.in4.sin_port) == port)
            return fd;
    }
    fail_msg("the server has no socket");
    return -1;
}

/* The end of the connection without close_notify may be an attacker's work. */
static void test_truncation_is_an_error(void **state)
{
    struct world w;

    UNUSED(state);
    open_world(&w, open_server("server", NULL, NULL), GUARD_MS);
    run_until_open(&w);
    assert_int_equal(stream_write(w.server.stream, &SLICE("half an ans"), 1), STREAM_OK);
    RUN_UNTIL(&w, w.client.read_bytes == 11);
    assert_int_equal(shutdown(find_server_socket(stream_local_port(w.client.stream)), SHUT_WR), 0);
    RUN_UNTIL(&w, w.client.end_calls == 1);
    assert_int_equal(w.client.end_error, UV_EOF);
    close_world(&w);
}

/* Each of these asks for another in return, which this client never takes. */
static void test_key_updates_that_nobody_reads_are_bounded(void **state)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    struct sockaddr_in own = {.sin_family = AF_INET};
    socklen_t own_size = sizeof(own);
    struct world w;
    int fd, small = 4096;

    UNUSED(state);
    open_world(&w, open_server("server", NULL, NULL), GUARD_MS);
    fd = dial(&w);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    while (SSL_connect(ssl) != 1)
        loop_turn(w.loop);
    RUN_UNTIL(&w, w.server.stream != NULL);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &own_size), 0);
    assert_int_equal(setsockopt(find_server_socket(ntohs(own.sin_port)), SOL_SOCKET, SO_SNDBUF,
                                &small, sizeof(small)),
                     0);
    timer_start(w.loop, &w.guard, 5 * GUARD_MS, on_guard); /* slow work, under valgrind */
    w.server.to_send_bytes = 1000 * 1000;
    generate(&w.server);
    for (int i = 0; i < 20000 && w.server.end_calls == 0; i++) {
        if (SSL_get_key_update_type(ssl) == SSL_KEY_UPDATE_NONE)
            assert_int_equal(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        (void)SSL_do_handshake(ssl);
        loop_turn(w.loop);
    }
    assert_int_equal(w.server.end_calls, 1);
    assert_int_equal(w.server.end_error, UV_ENOBUFS);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    close_world(&w);
}

static void test_renewed_certificate(void **state)
{
    struct world w;
    struct tls_context *renewed;

    UNUSED(state);
    open_world(&w, open_server("expired", NULL, NULL), GUARD_MS);
    connect_client(&w, open_client(path("ca.pem"), NULL), "good.test");
    RUN_UNTIL(&w, w.client.connect_calls == 1);
    assert_int_equal(w.client.connect_error, UV_EPROTO);
    stream_close(&w.client.stream, 0);
    renewed = open_server("server", NULL, NULL);
    listener_set_tls(w.listener, renewed);
    tls_context_unref(&renewed);
    memset(&w.client, 0, sizeof(w.client));
    run_until_open(&w);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_stopped_reader_gets_the_rest),
        cmocka_unit_test(test_whom_a_client_trusts),
        cmocka_unit_test(test_client_certificates),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_handshake_timeout_and_rubbish),
        cmocka_unit_test(test_listener_closes_during_handshake),
        cmocka_unit_test(test_truncation_is_an_error),
        cmocka_unit_test(test_key_updates_that_nobody_reads_are_bounded),
        cmocka_unit_test(test_renewed_certificate),
    };

    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
