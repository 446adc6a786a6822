/* A real redis-server for a test: on a unix socket (or a TCP port nobody uses) in a directory of
 * its own, killed by its pid.  And a loop that runs until something is true. */
#ifndef TESTS_UNIT_REDIS_FIXTURE_H
#define TESTS_UNIT_REDIS_FIXTURE_H

#include "unit/unit.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/loop.h"

struct redis_server {
    char dir[64], socket_path[96], url[128];
    const char *option, *value; /* one more option of the server, or NULL */
    bool has_tls;               /* port speaks TLS, with server.pem and server.key of dir */
    uint16_t port;              /* 0: unix socket only */
    pid_t pid;                  /* 0: not running */
};

/* --- talking to it without Lockkeeper --- */

static int redis_dial(const struct redis_server *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    memcpy(address.sun_path, server->socket_path, strlen(server->socket_path) + 1);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Sends lines of inline commands, and gives what came back when reply_count lines did. */
static bool redis_try(const struct redis_server *server, const char *commands, unsigned reply_count,
                      char *reply, size_t size)
{
    int fd = redis_dial(server);
    size_t len = 0;
    unsigned lines = 0;

    if (fd < 0)
        return false;
    if (write(fd, commands, strlen(commands)) != (ssize_t)strlen(commands)) {
        close(fd);
        return false;
    }
    while (lines < reply_count && len < size - 1) {
        ssize_t got = read(fd, reply + len, 1);

        if (got <= 0)
            break;
        lines += reply[len++] == '\n';
    }
    reply[len] = '\0';
    close(fd);
    return lines == reply_count;
}

__attribute__((unused)) static void redis_do(const struct redis_server *server, const char *command)
{
    char reply[256];

    assert_true(redis_try(server, command, 1, reply, sizeof(reply)));
    if (reply[0] == '-')
        fail_msg("%s: %s", command, reply);
}

/* --- its life --- */

static uint16_t redis_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (const struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static _Noreturn void redis_exec(const struct redis_server *server)
{
    char port[8];
    const char *args[30] = {"redis-server",
                            server->has_tls ? "--tls-port" : "--port",
                            port,
                            "--unixsocket",
                            server->socket_path,
                            "--bind",
                            "127.0.0.1",
                            "--save",
                            "",
                            "--appendonly",
                            "no",
                            "--dir",
                            server->dir};
    const char *const tls_args[] = {"--port",
                                    "0",
                                    "--tls-cert-file",
                                    "server.pem",
                                    "--tls-key-file",
                                    "server.key",
                                    "--tls-ca-cert-file",
                                    "server.pem",
                                    "--tls-auth-clients",
                                    "no"};
    int log_fd = open("/dev/null", O_WRONLY);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(port, sizeof(port), "%u", server->port);
    if (server->has_tls) {
        memcpy(args + 13, tls_args, sizeof(tls_args));
        if (chdir(server->dir) != 0)
            _exit(126);
    } else if (server->option != NULL) {
        args[13] = server->option;
        args[14] = server->value;
    }
    dup2(log_fd, 1);
    execvp(args[0], (char *const *)(uintptr_t)args);
    _exit(127);
}

static void redis_start(struct redis_server *server)
{
    char reply[128];
    uint64_t give_up_at_us = loop_clock_us() + 10000000;

    assert_int_equal(server->pid, 0);
    unlink(server->socket_path);
    server->pid = fork();
    if (server->pid == 0)
        redis_exec(server);
    /* Whatever it answers ("-NOAUTH" too), it is up. */
    while (!redis_try(server, "PING\r\n", 1, reply, sizeof(reply))) {
        assert_int_equal(waitpid(server->pid, NULL, WNOHANG), 0);
        assert_true(loop_clock_us() < give_up_at_us);
        poll(NULL, 0, 2);
    }
}

static void redis_kill(struct redis_server *server)
{
    kill(server->pid, SIGKILL);
    assert_int_equal(waitpid(server->pid, NULL, 0), server->pid);
    server->pid = 0;
}

/* url gets its address: a TCP port nobody uses, or the unix socket. */
__attribute__((unused)) static void redis_open(struct redis_server *server, bool on_tcp,
                                               const char *option, const char *value)
{
    *server = (struct redis_server){.option = option, .value = value};
    strcpy(server->dir, "/tmp/lockkeeper-test-XXXXXX");
    assert_non_null(mkdtemp(server->dir));
    snprintf(server->socket_path, sizeof(server->socket_path), "%s/redis.sock", server->dir);
    server->port = on_tcp ? redis_free_port() : 0;
    if (on_tcp)
        snprintf(server->url, sizeof(server->url), "redis://127.0.0.1:%u", server->port);
    else
        snprintf(server->url, sizeof(server->url), "unix://%s", server->socket_path);
    redis_start(server);
}

__attribute__((unused)) static void redis_close(struct redis_server *server)
{
    if (server->pid != 0)
        redis_kill(server);
    unlink(server->socket_path);
    assert_int_equal(rmdir(server->dir), 0);
}

/* --- the loop --- */

typedef bool wait_fn(void *context);

struct waiter {
    struct loop *loop;
    struct timer timer;
    wait_fn *is_true;
    void *context;
    uint64_t give_up_at_us;
    bool was_true;
};

static void on_wait_timer(struct timer *timer)
{
    struct waiter *waiter = CONTAINER_OF(timer, struct waiter, timer);

    waiter->was_true = waiter->is_true(waiter->context);
    if (waiter->was_true || loop_clock_us() > waiter->give_up_at_us)
        loop_stop(waiter->loop);
    else
        timer_start(waiter->loop, timer, 1, on_wait_timer);
}

/* Runs the loop until it was true once; false when it never was in timeout_ms. */
static bool wait_until(struct loop *loop, wait_fn *is_true, void *context, uint64_t timeout_ms)
{
    struct waiter waiter = {.loop = loop,
                            .is_true = is_true,
                            .context = context,
                            .give_up_at_us = loop_clock_us() + timeout_ms * 1000};

    timer_start(loop, &waiter.timer, 0, on_wait_timer);
    loop_run(loop);
    timer_stop(loop, &waiter.timer);
    return waiter.was_true;
}

#endif
