/* Listeners: address forms, both families, pause, sharing a port, handed-over sockets, unix socket
 * files, and running out of file descriptors. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>

#include "base/log.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/resolve.h"
#include "net/stream.h"

#define MAX_ACCEPTED 512

struct world {
    struct loop *loop;
    struct listener *listener;
    struct stream *accepted[MAX_ACCEPTED];
    unsigned count;
    bool close_in_accept;
};

static void on_accept(void *owner, struct stream *accepted)
{
    struct world *w = owner;

    assert_true(w->count < MAX_ACCEPTED);
    w->accepted[w->count++] = accepted;
    if (w->close_in_accept)
        listener_close(&w->listener);
}

static void open_world(struct world *w)
{
    memset(w, 0, sizeof(*w));
    assert_int_equal(loop_open(&w->loop), 0);
}

static void close_accepted(struct world *w)
{
    while (w->count > 0)
        stream_close(&w->accepted[--w->count], 0);
}

static void close_world(struct world *w)
{
    close_accepted(w);
    if (w->listener != NULL)
        listener_close(&w->listener);
    loop_close(&w->loop);
}

static int listen_on(struct world *w, const char *address, bool reuse_port)
{
    struct listener_options options = {.address = address, .fd = -1, .reuse_port = reuse_port};

    return listener_open(w->loop, &options, on_accept, w, &w->listener);
}

/* A bare client that does not wait. */
static int dial(const char *host, uint16_t port)
{
    union resolve_address address;
    int fd;

    assert_true(resolve_literal(host, port, &address));
    fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    if (connect(fd, &address.any, sizeof(address.local)) != 0)
        assert_int_equal(errno, EINPROGRESS);
    return fd;
}

static void turn(struct world *w, int count)
{
    for (int i = 0; i < count; i++)
        loop_turn(w->loop);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *text;
        const char *error_part; /* NULL: good */
    } cases[] = {
        {"0.0.0.0:8080", NULL},
        {":8080", NULL},
        {"[::]:8080", NULL},
        {"[::1]:0", NULL},
        {"127.0.0.1:65535", NULL},
        {"unix:/run/x.sock", NULL},
        {"", "port"},
        {"8080", "port"},
        {"127.0.0.1:", "port"},
        {"127.0.0.1:65536", "port"},
        {"127.0.0.1:-1", "port"},
        {"127.0.0.1:80x", "port"},
        {"localhost:80", "not a name"},
        {"::1:80", "brackets"},
        {"[::1:80", "brackets"},
        {"[127.0.0.1]:80", "IPv6"},
        {"1.2.3:80", "IP address"},
        {"unix:", "path"},
        {"unix:/0123456789012345678901234567890123456789012345678901234567890123456789"
         "0123456789012345678901234567890123456789",
         "too long"},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *error = NULL;
        bool is_good = listener_check_address(slice_of(cases[i].text), &error);

        assert_int_equal(is_good, cases[i].error_part == NULL);
        if (!is_good && strstr(error, cases[i].error_part) == NULL)
            fail_msg("%s: %s", cases[i].text, error);
    }
}

static void test_both_families(void **state)
{
    struct world w;
    int four, six;

    UNUSED(state);
    open_world(&w);
    assert_int_equal(listen_on(&w, ":0", false), 0);
    assert_true(listener_port(w.listener) > 0);
    four = dial("127.0.0.1", listener_port(w.listener));
    while (w.count < 1)
        loop_turn(w.loop);
    /* A v4 client of a v6 socket is shown as what it is. */
    assert_string_equal(stream_peer_address(w.accepted[0]), "127.0.0.1");
    assert_string_equal(stream_local_address(w.accepted[0]), "127.0.0.1");
    six = dial("::1", listener_port(w.listener));
    while (w.count < 2)
        loop_turn(w.loop);
    assert_string_equal(stream_peer_address(w.accepted[1]), "::1");
    close(four);
    close(six);
    close_world(&w);
}

static void test_address_in_use(void **state)
{
    struct world w, other;
    char address[32];

    UNUSED(state);
    open_world(&w);
    open_world(&other);
    assert_int_equal(listen_on(&w, "127.0.0.1:0", false), 0);
    snprintf(address, sizeof(address), "127.0.0.1:%u", listener_port(w.listener));
    assert_int_equal(listen_on(&other, address, false), UV_EADDRINUSE);
    assert_null(other.listener);
    assert_int_equal(listen_on(&other, "no address", false), UV_EINVAL);
    close_world(&other);
    close_world(&w);
}

static void test_workers_share_a_port(void **state)
{
    struct world w, other;
    char address[32];
    int fds[64];

    UNUSED(state);
    open_world(&w);
    open_world(&other);
    assert_int_equal(listen_on(&w, "127.0.0.1:0", true), 0);
    snprintf(address, sizeof(address), "127.0.0.1:%u", listener_port(w.listener));
    assert_int_equal(listen_on(&other, address, true), 0);
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        fds[i] = dial("127.0.0.1", listener_port(w.listener));
    while (w.count + other.count < COUNT_OF(fds)) {
        loop_turn(w.loop);
        loop_turn(other.loop);
    }
    assert_true(w.count > 0 && other.count > 0);
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        close(fds[i]);
    close_world(&other);
    close_world(&w);
}

static void test_accepting_is_bounded_per_turn(void **state)
{
    struct world w;
    int fds[100];
    unsigned turns = 0;

    UNUSED(state);
    open_world(&w);
    assert_int_equal(listen_on(&w, "127.0.0.1:0", false), 0);
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        fds[i] = dial("127.0.0.1", listener_port(w.listener));
    while (w.count < COUNT_OF(fds)) {
        unsigned before = w.count;

        loop_turn(w.loop);
        turns++;
        assert_true(w.count - before <= 16);
    }
    assert_true(turns >= 7);
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        close(fds[i]);
    close_world(&w);
}

static int int_option(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

/* The accepted end is the only other socket on the loopback connection of fd. */
static int find_accepted_fd(int fd)
{
    union resolve_address mine, theirs;
    socklen_t size = sizeof(mine);

    assert_int_equal(getsockname(fd, &mine.any, &size), 0);
    for (int at = 3; at < 64; at++) {
        size = sizeof(theirs);
        if (at != fd && getpeername(at, &theirs.any, &size) == 0 &&
            theirs.in4.sin_port == mine.in4.sin_port)
            return at;
    }
    fail_msg("the accepted socket is not there");
    return -1;
}

static void test_accepted_sockets_have_their_options(void **state)
{
    struct world w;
    int fd, accepted;

    UNUSED(state);
    open_world(&w);
    assert_int_equal(listen_on(&w, "127.0.0.1:0", false), 0);
    fd = dial("127.0.0.1", listener_port(w.listener));
    while (w.count == 0)
        loop_turn(w.loop);
    accepted = find_accepted_fd(fd);
    assert_int_equal(int_option(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(int_option(accepted, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(int_option(accepted, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    assert_true((fcntl(accepted, F_GETFD) & FD_CLOEXEC) != 0);
    assert_true((fcntl(accepted, F_GETFL) & O_NONBLOCK) != 0);
    close(fd);
    close_world(&w);
}

static void test_pause_and_resume(void **state)
{
    struct world w;
    int fd;

    UNUSED(state);
    open_world(&w);
    assert_int_equal(listen_on(&w, "127.0.0.1:0", false), 0);
    listener_pause(w.listener);
    listener_pause(w.listener);
    fd = dial("127.0.0.1", listener_port(w.listener));
    turn(&w, 10);
    assert_int_equal(w.count, 0);
    listener_resume(w.listener);
    while (w.count == 0)
        loop_turn(w.loop);
    close(fd);
    close_world(&w);
}

static void test_close_inside_on_accept(void **state)
{
    struct world w;
    int fds[4];

    UNUSED(state);
    open_world(&w);
    assert_int_equal(listen_on(&w, "127.0.0.1:0", false), 0);
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        fds[i] = dial("127.0.0.1", listener_port(w.listener));
    w.close_in_accept = true;
    while (w.listener != NULL)
        loop_turn(w.loop);
    turn(&w, 5);
    assert_int_equal(w.count, 1);
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        close(fds[i]);
    close_world(&w);
}

static void test_handed_over_socket(void **state)
{
    struct world w;
    struct listener_options options = {.address = "given", .fd = -1};
    union resolve_address address;
    int fd;

    UNUSED(state);
    open_world(&w);
    assert_true(resolve_literal("127.0.0.1", 0, &address));
    options.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(options.fd, &address.any, sizeof(address.in4)), 0);
    assert_int_equal(listen(options.fd, 8), 0);
    assert_int_equal(listener_open(w.loop, &options, on_accept, &w, &w.listener), 0);
    assert_true(listener_port(w.listener) > 0);
    fd = dial("127.0.0.1", listener_port(w.listener));
    while (w.count == 0)
        loop_turn(w.loop);
    close(fd);
    close_world(&w);
    assert_int_equal(fcntl(options.fd, F_GETFD), -1);
}

static void test_unix_socket_file(void **state)
{
    struct world w, other;
    char address[64];
    struct stat status;
    int fd;

    UNUSED(state);
    snprintf(address, sizeof(address), "unix:/tmp/lk-test-listener-%d.sock", getpid());
    /* Left over from a process that died: */
    open_world(&w);
    open_world(&other);
    {
        union resolve_address stale;
        int dead = socket(AF_UNIX, SOCK_STREAM, 0);

        assert_true(resolve_literal(address, 0, &stale));
        assert_int_equal(bind(dead, &stale.any, sizeof(stale.local)), 0);
        close(dead);
        assert_int_equal(stat(address + 5, &status), 0);
    }
    assert_int_equal(listen_on(&w, address, false), 0);
    assert_int_equal(listener_port(w.listener), 0);
    /* But one that somebody listens on is his: */
    assert_int_equal(listen_on(&other, address, false), UV_EADDRINUSE);
    turn(&w, 3); /* the question of the other was a connection */
    close_accepted(&w);
    fd = dial(address, 0);
    while (w.count == 0)
        loop_turn(w.loop);
    assert_string_equal(stream_peer_address(w.accepted[0]), "unix");
    close(fd);
    close_world(&other);
    close_world(&w);
    assert_int_equal(stat(address + 5, &status), -1);
    /* What is not a socket stays. */
    open_world(&w);
    fd = open(address + 5, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(listen_on(&w, address, false), UV_EADDRINUSE);
    assert_int_equal(stat(address + 5, &status), 0);
    assert_int_equal(unlink(address + 5), 0);
    close_world(&w);
}

/* How often the loop turned: a loop that spins turns thousands of times. */
static unsigned turn_count;

static void on_turn(uv_check_t *check)
{
    UNUSED(check);
    turn_count++;
}

static void stop_loop(struct timer *timer)
{
    struct loop **loop = (struct loop **)(void *)(timer + 1);

    loop_stop(*loop);
}

static unsigned run_for(struct loop *loop, uint64_t ms)
{
    struct {
        struct timer timer;
        struct loop *loop;
    } stop = {.loop = loop};
    uv_check_t check;

    turn_count = 0;
    uv_check_init(loop_uv(loop), &check);
    uv_check_start(&check, on_turn);
    timer_start(loop, &stop.timer, ms, stop_loop);
    loop_run(loop);
    uv_close((uv_handle_t *)&check, NULL);
    loop_turn(loop);
    return turn_count;
}

/* Takes every descriptor the process may have. */
static int use_up_descriptors(int *fds, int max_count)
{
    int count = 0;

    while (count < max_count && (fds[count] = open("/dev/null", O_RDONLY)) >= 0)
        count++;
    return count;
}

static void test_out_of_descriptors_does_not_spin(void **state)
{
    struct world w;
    struct rlimit before, low;
    int fds[128], count, client, log_pipe[2];
    char logged[4096];
    ssize_t logged_len;
    const char *preload = getenv("LD_PRELOAD");

    UNUSED(state);
    /* valgrind accepts the connection and throws it away when descriptors are short. */
    if (preload != NULL && strstr(preload, "vgpreload") != NULL)
        skip();
    open_world(&w);
    assert_int_equal(pipe(log_pipe), 0);
    log_set_fd(log_pipe[1]);
    assert_int_equal(listen_on(&w, "127.0.0.1:0", false), 0);
    client = dial("127.0.0.1", listener_port(w.listener));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    count = use_up_descriptors(fds, (int)COUNT_OF(fds));
    assert_int_equal(errno, EMFILE);
    assert_true(run_for(w.loop, 350) < 30);
    assert_int_equal(w.count, 0);
    while (count > 0)
        close(fds[--count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    run_for(w.loop, 200); /* and on it goes by itself */
    assert_int_equal(w.count, 1);
    log_set_fd(2);
    close(log_pipe[1]);
    logged_len = read(log_pipe[0], logged, sizeof(logged) - 1);
    assert_true(logged_len > 0);
    logged[logged_len] = '\0';
    assert_non_null(strstr(logged, "cannot accept connections"));
    /* Several tries in less than a second, one line. */
    assert_null(strchr(strchr(logged, '\n') + 1, '\n'));
    close(log_pipe[0]);
    close(client);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_both_families),
        cmocka_unit_test(test_address_in_use),
        cmocka_unit_test(test_workers_share_a_port),
        cmocka_unit_test(test_accepting_is_bounded_per_turn),
        cmocka_unit_test(test_accepted_sockets_have_their_options),
        cmocka_unit_test(test_pause_and_resume),
        cmocka_unit_test(test_close_inside_on_accept),
        cmocka_unit_test(test_handed_over_socket),
        cmocka_unit_test(test_unix_socket_file),
        cmocka_unit_test(test_out_of_descriptors_does_not_spin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
