#include "app/ask.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/loop.h"

#define READ_BYTES 65536

union address {
    struct sockaddr any;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
    struct sockaddr_un local;
};

/* Where a listener of this address can be reached: a wildcard is reached by the loopback address.
 */
static bool read_address(const char *text, union address *ret_address, socklen_t *ret_len)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN];
    size_t host_len = colon != NULL ? (size_t)(colon - text) : 0;
    uint64_t port;

    memset(ret_address, 0, sizeof(*ret_address));
    if (strncmp(text, "unix:", 5) == 0) {
        ret_address->local.sun_family = AF_UNIX;
        *ret_len = sizeof(ret_address->local);
        return text[5] != '\0' &&
               (size_t)snprintf(ret_address->local.sun_path, sizeof(ret_address->local.sun_path),
                                "%s", text + 5) < sizeof(ret_address->local.sun_path);
    }
    if (colon == NULL || !slice_to_uint64(slice_of(colon + 1), &port) || port == 0 || port > 65535)
        return false;
    if (host_len > 2 && text[0] == '[' && colon[-1] == ']') {
        text++;
        host_len -= 2;
    }
    if (host_len >= sizeof(host))
        return false;
    memcpy(host, text, host_len);
    host[host_len] = '\0';
    if (host_len == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "localhost") == 0)
        strcpy(host, "127.0.0.1");
    if (strcmp(host, "::") == 0)
        strcpy(host, "::1");
    if (inet_pton(AF_INET, host, &ret_address->in4.sin_addr) == 1) {
        ret_address->in4.sin_family = AF_INET;
        ret_address->in4.sin_port = htons((uint16_t)port);
        *ret_len = sizeof(ret_address->in4);
        return true;
    }
    ret_address->in6.sin6_family = AF_INET6;
    ret_address->in6.sin6_port = htons((uint16_t)port);
    *ret_len = sizeof(ret_address->in6);
    return inet_pton(AF_INET6, host, &ret_address->in6.sin6_addr) == 1;
}

/* NULL when fd is ready before the deadline. */
static const char *wait_for(int fd, short events, uint64_t until_us)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now_us = loop_clock_us();
        int count;

        if (now_us >= until_us)
            return "no answer in time";
        count = poll(&poll_fd, 1, (int)((until_us - now_us + 999) / 1000));
        if (count > 0)
            return NULL;
        if (count < 0 && errno != EINTR)
            return strerror(errno);
    }
}

static const char *connect_to(int fd, const char *text, uint64_t until_us)
{
    union address address;
    socklen_t len, error_len = sizeof(int);
    const char *problem;
    int error = 0;

    if (!read_address(text, &address, &len))
        return "this is no address: IP:PORT or unix:/path";
    if (connect(fd, &address.any, len) == 0)
        return NULL;
    if (errno != EINPROGRESS)
        return strerror(errno);
    problem = wait_for(fd, POLLOUT, until_us);
    if (problem != NULL)
        return problem;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len) != 0)
        error = errno;
    return error != 0 ? strerror(error) : NULL;
}

static const char *send_all(int fd, struct slice data, uint64_t until_us)
{
    while (data.len > 0) {
        const char *problem = wait_for(fd, POLLOUT, until_us);
        ssize_t sent;

        if (problem != NULL)
            return problem;
        sent = send(fd, data.at, data.len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return strerror(errno);
        data = slice_skip(data, sent > 0 ? (size_t)sent : 0);
    }
    return NULL;
}

/* The ports close the connection after the answer, as they are asked to. */
static const char *read_all(int fd, struct buf *answer, uint64_t until_us)
{
    for (;;) {
        const char *problem = wait_for(fd, POLLIN, until_us);
        char *room;
        ssize_t got;

        if (problem != NULL)
            return problem;
        room = buf_reserve(answer, READ_BYTES);
        if (room == NULL)
            return "the answer is too long";
        got = recv(fd, room, READ_BYTES, 0);
        if (got == 0)
            return NULL;
        if (got > 0)
            buf_commit(answer, (size_t)got);
        else if (errno != EAGAIN && errno != EINTR)
            return strerror(errno);
    }
}

/* "HTTP/1.1 200 OK", fields, and Content-Length bytes. */
static const char *split_answer(struct buf *answer, unsigned *ret_status)
{
    struct slice all = buf_slice(answer);
    const char *end = memmem(all.at, all.len, "\r\n\r\n", 4);
    static const char length_field[] = "\r\nContent-Length: ";
    const char *length_at =
        end != NULL ? memmem(all.at, (size_t)(end - all.at), length_field, strlen(length_field))
                    : NULL;
    uint64_t status, length;
    struct slice text;

    if (length_at == NULL || all.len < 12 || memcmp(all.at, "HTTP/1.1 ", 9) != 0 ||
        !slice_to_uint64(slice_from(all.at + 9, 3), &status))
        return ASK_STRANGER;
    length_at += strlen(length_field);
    text = slice_from(length_at, (size_t)(end + 2 - length_at));
    if (!slice_to_uint64(slice_head(text, slice_find(text, '\r')), &length) ||
        length != all.len - (size_t)(end + 4 - all.at))
        return "the answer is not complete";
    buf_consume(answer, (size_t)(end + 4 - all.at));
    *ret_status = (unsigned)status;
    return NULL;
}

const char *ask_port(const struct ask *ask, unsigned *ret_status, struct buf *ret_body)
{
    uint64_t until_us = loop_clock_us() + ask->timeout_ms * 1000;
    bool is_unix = strncmp(ask->address, "unix:", 5) == 0;
    int family = is_unix ? AF_UNIX : strchr(ask->address, '[') != NULL ? AF_INET6 : AF_INET;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const char *problem;
    struct buf request;

    if (fd < 0)
        return strerror(errno);
    buf_init(&request, 16384);
    problem = connect_to(fd, ask->address, until_us);
    if (problem == NULL &&
        !buf_printf(&request, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                    ask->method, ask->target))
        problem = "the request is too long";
    if (problem == NULL)
        problem = send_all(fd, buf_slice(&request), until_us);
    if (problem == NULL)
        problem = read_all(fd, ret_body, until_us);
    if (problem == NULL)
        problem = split_answer(ret_body, ret_status);
    buf_clear(&request);
    close(fd);
    return problem;
}
