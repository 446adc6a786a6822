/* Accepting under a uv_poll_t: a bounded number of connections for each readiness event, so that
 * workers on the same port share a burst, and no system call beyond accept4, which also gives the
 * peer's address.  Accepted sockets inherit TCP_NODELAY and keep-alive from the listening one.
 *
 * When the process is out of file descriptors the waiting connection would keep the socket readable
 * and the loop spinning: accepting stops for PAUSE_MS, which is logged once a second. */
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "net/loop_private.h"
#include "net/resolve.h"
#include "net/socket.h"
#include "net/stream.h"
#include "net/stream_private.h"
#include "net/tls.h"

#define LISTENER_TAG 0x4c53544eu /* "LSTN" */
#define DEFAULT_BACKLOG 4096
#define DEFAULT_HANDSHAKE_TIMEOUT_MS 10000u
#define ACCEPT_MAX_ROUNDS 16
#define PAUSE_MS 100u
#define LOG_INTERVAL_MS 1000u

struct listener {
    uint32_t tag;
    int fd; /* -1: closed */
    uv_poll_t poll;
    struct loop *loop;
    listener_cb *on_accept;
    listener_admit_cb *admit;
    listener_fault_cb *on_fault;
    void *owner;
    struct tls_context *tls;
    uint64_t handshake_timeout_ms;
    struct list openings;
    size_t opening_count;
    struct timer retry; /* started while descriptors are short */
    uint64_t logged_at_ms;
    bool is_paused; /* by the owner */
    bool is_given;  /* the socket was handed over */
    bool is_closed; /* by the owner */
    bool is_gone;   /* the poll's close callback has come */
    uint16_t port;
    char *unix_path; /* the socket file to remove, if it is still ours */
    dev_t unix_device;
    ino_t unix_inode;
    char *address;
};

/* A connection whose PROXY header or TLS handshake is under way. */
struct opening {
    struct list_node node;
    struct listener *listener;
    struct stream *stream;
};

/* Addresses. */

struct parsed_address {
    union resolve_address address;
    socklen_t len;
    bool both_families;
};

static const char *parse_unix(struct slice path, struct parsed_address *ret)
{
    if (path.len == 0)
        return "needs a path after unix:, for example unix:/run/lockkeeper.sock";
    if (path.len >= sizeof(ret->address.local.sun_path))
        return "has a socket path that is too long; 107 bytes are allowed";
    ret->address.local.sun_family = AF_UNIX;
    memcpy(ret->address.local.sun_path, path.at, path.len);
    ret->len = sizeof(ret->address.local);
    return NULL;
}

static const char *parse_host(struct slice host, uint16_t port, struct parsed_address *ret)
{
    char text[INET6_ADDRSTRLEN];
    bool in_brackets = host.len >= 2 && host.at[0] == '[' && host.at[host.len - 1] == ']';

    if (host.len == 0) {
        ret->both_families = true;
        ret->address.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
        ret->len = sizeof(ret->address.in6);
        return NULL;
    }
    if (in_brackets)
        host = slice_from(host.at + 1, host.len - 2);
    if (host.len >= sizeof(text))
        return "needs an IP address before the port, for example 0.0.0.0:8080";
    memcpy(text, host.at, host.len);
    text[host.len] = '\0';
    if (in_brackets) {
        ret->address.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
        ret->len = sizeof(ret->address.in6);
        return inet_pton(AF_INET6, text, &ret->address.in6.sin6_addr) == 1
                   ? NULL
                   : "needs an IPv6 address in the brackets, for example [::]:8080";
    }
    ret->address.in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    ret->len = sizeof(ret->address.in4);
    if (inet_pton(AF_INET, text, &ret->address.in4.sin_addr) == 1)
        return NULL;
    return slice_find(host, ':') < host.len
               ? "needs brackets around an IPv6 address, for example [::1]:8080"
               : "needs an IP address before the port, not a name, for example 0.0.0.0:8080";
}

/* NULL, or what would be right. */
static const char *parse_address(struct slice text, struct parsed_address *ret)
{
    size_t colon = text.len;
    uint64_t port;

    *ret = (struct parsed_address){.len = 0};
    if (slice_starts_with(text, SLICE("unix:")))
        return parse_unix(slice_skip(text, 5), ret);
    while (colon > 0 && text.at[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return "needs a port, for example 0.0.0.0:8080 or :8080";
    if (!slice_to_uint64(slice_skip(text, colon), &port) || port > 65535)
        return "needs a port from 0 to 65535 after the last colon";
    return parse_host(slice_head(text, colon - 1), (uint16_t)port, ret);
}

bool listener_check_address(struct slice address, const char **ret_error)
{
    struct parsed_address parsed;
    const char *error = parse_address(address, &parsed);

    if (error != NULL)
        *ret_error = error;
    return error == NULL;
}

/* Opening. */

/* A socket file that nobody listens on is left over from a process that died. */
static void remove_stale_socket(const struct parsed_address *parsed)
{
    const char *path = parsed->address.local.sun_path;
    struct stat status;
    int fd;

    if (lstat(path, &status) != 0 || !S_ISSOCK(status.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, &parsed->address.any, parsed->len) != 0 && errno == ECONNREFUSED)
        (void)unlink(path);
    close(fd);
}

static int set_flag(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0 ? 0 : -errno;
}

static int prepare_socket(int fd, const struct parsed_address *parsed,
                          const struct listener_options *options)
{
    int error = 0;

    if (parsed->address.any.sa_family != AF_UNIX)
        error = set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (error == 0 && options->reuse_port && parsed->address.any.sa_family != AF_UNIX)
        error = set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (error == 0 && parsed->address.any.sa_family == AF_INET6)
        error = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, parsed->both_families ? 0 : 1);
    if (error == 0 && bind(fd, &parsed->address.any, parsed->len) != 0)
        error = -errno;
    /* Nobody can connect before listen(). */
    if (error == 0 && options->unix_mode != 0 && parsed->address.any.sa_family == AF_UNIX &&
        chmod(parsed->address.local.sun_path, (mode_t)options->unix_mode) != 0)
        error = -errno;
    if (error == 0 && listen(fd, options->backlog > 0 ? options->backlog : DEFAULT_BACKLOG) != 0)
        error = -errno;
    return error;
}

/* A listening socket, or a libuv error code. */
static int open_socket(struct parsed_address *parsed, const struct listener_options *options)
{
    int fd, error;

    if (parsed->address.any.sa_family == AF_UNIX)
        remove_stale_socket(parsed);
    fd = socket(parsed->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 && errno == EAFNOSUPPORT && parsed->both_families) {
        /* This machine has no IPv6: both families are one. */
        parsed->address.in4 =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_port = parsed->address.in6.sin6_port};
        parsed->len = sizeof(parsed->address.in4);
        parsed->both_families = false;
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (fd < 0)
        return -errno;
    error = prepare_socket(fd, parsed, options);
    if (error == 0)
        return fd;
    close(fd);
    return error;
}

/* Accepting. */

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct listener *l)
{
    bool is_wanted = !l->is_paused && !l->retry.is_started;

    if (l->fd < 0 || is_wanted == (uv_is_active((uv_handle_t *)&l->poll) != 0))
        return;
    if (is_wanted)
        CHECK(uv_poll_start(&l->poll, UV_READABLE, on_poll) == 0);
    else
        CHECK(uv_poll_stop(&l->poll) == 0);
}

static void opening_end(struct opening *o)
{
    o->listener->opening_count--;
    list_remove(&o->node);
    free(o);
}

/* Peers that leave, and faults of the network, are nobody's fault. */
static const char *find_fault(const struct stream *stream, int error)
{
    const char *fault = stream_preface_fault(stream);

    if (fault != NULL || !stream_is_tls(stream))
        return fault;
    return error == UV_EPROTO ? "tls-handshake" : error == UV_ETIMEDOUT ? "tls-timeout" : NULL;
}

/* Who speaks to a TLS port, and how, is nothing that an operator could mend; a proxy is. */
static void log_failure(const struct listener *l, const struct stream *stream, const char *fault)
{
    if (stream_preface_fault(stream) != NULL)
        log_warn(NULL, "connection closed: no good PROXY header", LOG_STR("listener", l->address),
                 LOG_STR("peer", stream_peer_address(stream)), LOG_STR("reason", fault));
    else
        log_debug(NULL, "connection failed before its first request",
                  LOG_STR("listener", l->address), LOG_STR("peer", stream_peer_address(stream)),
                  LOG_STR("reason", stream_error_text(stream)));
}

static void on_opened(void *owner, int error)
{
    struct opening *o = owner;
    struct listener *l = o->listener;
    struct stream *stream = TAKE(&o->stream);
    const char *fault;

    opening_end(o);
    if (error == 0) {
        l->on_accept(l->owner, stream);
        return;
    }
    fault = find_fault(stream, error);
    log_failure(l, stream, fault);
    if (fault != NULL && l->on_fault != NULL)
        l->on_fault(l->owner, fault);
    stream_close(&stream, 0);
}

static const struct stream_events opening_events = {.on_connect = on_opened};

static void take_connection(struct listener *l, int fd, const struct sockaddr *peer)
{
    enum listener_admission admission = l->admit != NULL ? l->admit(l->owner, peer) : LISTENER_TAKE;
    struct stream_opening wanted = {.has_proxy_header = admission == LISTENER_PROXY_HEADER,
                                    .tls = l->tls,
                                    .timeout_ms = l->handshake_timeout_ms,
                                    .events = &opening_events};
    struct opening *o;

    if (admission == LISTENER_CLOSE) {
        close(fd);
        return;
    }
    if (!wanted.has_proxy_header && l->tls == NULL) {
        l->on_accept(l->owner, stream_accept(l->loop, fd, peer, NULL));
        return;
    }
    o = mem_calloc(1, sizeof(*o));
    o->listener = l;
    list_node_init(&o->node);
    list_append(&l->openings, &o->node);
    l->opening_count++;
    wanted.owner = o;
    o->stream = stream_accept(l->loop, fd, peer, &wanted);
}

static void on_retry(struct timer *timer)
{
    watch(CONTAINER_OF(timer, struct listener, retry));
}

static void wait_and_retry(struct listener *l, int error)
{
    uint64_t now_ms = loop_now_ms(l->loop);

    if (l->logged_at_ms == 0 || now_ms - l->logged_at_ms >= LOG_INTERVAL_MS) {
        l->logged_at_ms = now_ms > 0 ? now_ms : 1;
        log_warn(NULL, "cannot accept connections", LOG_STR("listener", l->address),
                 LOG_STR("reason", uv_strerror(error)));
    }
    timer_start(l->loop, &l->retry, PAUSE_MS, on_retry);
    watch(l);
}

/* Errors of the connection that was about to be accepted say nothing about the next one. */
static bool is_lost_connection(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM: /* a firewall rule */
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENOPROTOOPT:
        return true;
    default:
        return false;
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;
    struct loop *loop = l->loop;

    UNUSED(events);
    if (status < 0) {
        wait_and_retry(l, status);
        return;
    }
    for (int round = 0; round < ACCEPT_MAX_ROUNDS && l->fd >= 0 && !l->is_paused; round++) {
        union resolve_address peer = {.any = {.sa_family = AF_UNSPEC}};
        socklen_t size = sizeof(peer);
        int fd = accept4(l->fd, &peer.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            take_connection(l, fd, &peer.any);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        } else if (!is_lost_connection(errno)) {
            wait_and_retry(l, -errno);
            break;
        }
    }
    loop_flush_now(loop);
}

void listener_accept_waiting(struct listener *l)
{
    CHECK_TAG(l, LISTENER);
    for (int round = 0; round < DEFAULT_BACKLOG && !l->is_given; round++) {
        union resolve_address peer = {.any = {.sa_family = AF_UNSPEC}};
        socklen_t size = sizeof(peer);
        int fd = accept4(l->fd, &peer.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0)
            take_connection(l, fd, &peer.any);
        else if (!is_lost_connection(errno))
            return;
    }
}

static void free_if_done(struct listener *l)
{
    if (!l->is_closed || !l->is_gone)
        return;
    l->loop->open_count--;
    l->tag = 0;
    free(l->unix_path);
    free(l->address);
    free(l);
}

static void on_gone(uv_handle_t *handle)
{
    struct listener *l = handle->data;

    CHECK_TAG(l, LISTENER);
    l->is_gone = true;
    free_if_done(l);
}

static void note_bound(struct listener *l, const struct parsed_address *parsed)
{
    union resolve_address bound = {.any = {.sa_family = AF_UNSPEC}};
    socklen_t size = sizeof(bound);
    struct stat status;

    if (getsockname(l->fd, &bound.any, &size) == 0) {
        socket_set_options(l->fd, bound.any.sa_family);
        l->port = socket_address_port(&bound.any);
    }
    if (parsed != NULL && parsed->address.any.sa_family == AF_UNIX &&
        stat(parsed->address.local.sun_path, &status) == 0) {
        l->unix_path = mem_strdup(parsed->address.local.sun_path);
        l->unix_device = status.st_dev;
        l->unix_inode = status.st_ino;
    }
}

int listener_open(struct loop *loop, const struct listener_options *options, listener_cb *on_accept,
                  void *owner, struct listener **ret_listener)
{
    struct parsed_address parsed;
    struct listener *l;
    bool is_given = options->fd >= 0;
    int fd = options->fd, error;

    CHECK(on_accept != NULL);
    if (!is_given) {
        if (parse_address(slice_of(options->address), &parsed) != NULL)
            return UV_EINVAL;
        fd = open_socket(&parsed, options);
        if (fd < 0)
            return fd;
    }
    l = mem_calloc(1, sizeof(*l));
    error = uv_poll_init(&loop->uv, &l->poll, fd);
    if (error != 0) {
        close(fd);
        free(l);
        return error;
    }
    l->tag = LISTENER_TAG;
    l->fd = fd;
    l->poll.data = l;
    l->loop = loop;
    l->on_accept = on_accept;
    l->admit = options->admit;
    l->on_fault = options->on_fault;
    l->owner = owner;
    l->tls = options->tls != NULL ? tls_context_ref(options->tls) : NULL;
    listener_set_timeout(l, options->handshake_timeout_ms);
    l->address = mem_strdup(options->address != NULL ? options->address : "");
    list_init(&l->openings);
    l->is_given = is_given;
    note_bound(l, is_given ? NULL : &parsed);
    loop->open_count++;
    loop->owned_count++;
    watch(l);
    *ret_listener = l;
    return 0;
}

uint16_t listener_port(const struct listener *l)
{
    CHECK_TAG(l, LISTENER);
    return l->port;
}

int listener_fd(const struct listener *l)
{
    CHECK_TAG(l, LISTENER);
    return l->fd;
}

size_t listener_opening_count(const struct listener *l)
{
    CHECK_TAG(l, LISTENER);
    return l->opening_count;
}

void listener_set_tls(struct listener *l, struct tls_context *tls)
{
    CHECK_TAG(l, LISTENER);
    CHECK(l->tls != NULL && tls != NULL);
    tls_context_ref(tls);
    tls_context_unref(&l->tls);
    l->tls = tls;
}

void listener_set_timeout(struct listener *l, uint64_t handshake_timeout_ms)
{
    CHECK_TAG(l, LISTENER);
    l->handshake_timeout_ms =
        handshake_timeout_ms > 0 ? handshake_timeout_ms : DEFAULT_HANDSHAKE_TIMEOUT_MS;
}

void listener_pause(struct listener *l)
{
    CHECK_TAG(l, LISTENER);
    l->is_paused = true;
    watch(l);
}

void listener_resume(struct listener *l)
{
    CHECK_TAG(l, LISTENER);
    l->is_paused = false;
    watch(l);
}

static void remove_socket_file(const struct listener *l)
{
    struct stat status;

    if (l->unix_path != NULL && lstat(l->unix_path, &status) == 0 &&
        status.st_dev == l->unix_device && status.st_ino == l->unix_inode)
        (void)unlink(l->unix_path);
}

void listener_stop(struct listener *l)
{
    CHECK_TAG(l, LISTENER);
    if (l->fd < 0)
        return;
    timer_stop(l->loop, &l->retry);
    remove_socket_file(l);
    uv_close((uv_handle_t *)&l->poll, on_gone);
    close(l->fd);
    l->fd = -1;
}

void listener_close(struct listener **place)
{
    struct listener *l = TAKE(place);

    listener_stop(l);
    l->loop->owned_count--;
    LIST_EACH (&l->openings, node) {
        struct opening *o = CONTAINER_OF(node, struct opening, node);

        stream_close(&o->stream, 0);
        opening_end(o);
    }
    tls_context_unref(&l->tls);
    l->is_closed = true;
    free_if_done(l);
}
