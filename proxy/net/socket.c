#include "net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <uv.h>

#define KEEP_ALIVE_IDLE_S 60
#define KEEP_ALIVE_INTERVAL_S 10
#define KEEP_ALIVE_PROBES 6

void socket_set_options(int fd, int family)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEP_ALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEP_ALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEP_ALIVE_PROBES},
    };

    if (family != AF_INET && family != AF_INET6)
        return;
    /* A socket that refuses one of these still works, only not as well. */
    for (size_t i = 0; i < COUNT_OF(options); i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

ssize_t socket_send(int fd, struct iovec *parts, unsigned part_count)
{
    ssize_t sent;

    do {
        if (part_count == 1) {
            sent = send(fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL);
        } else {
            struct msghdr message = {.msg_iov = parts, .msg_iovlen = part_count};

            sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        }
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
}

ssize_t socket_receive(int fd, char *buffer, size_t room)
{
    ssize_t received;

    do
        received = recv(fd, buffer, room, 0);
    while (received < 0 && errno == EINTR);
    return received >= 0 ? received : -errno;
}

int socket_take_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        return -errno;
    return -error;
}

size_t socket_unread_bytes(int fd)
{
    int count = 0;

    if (ioctl(fd, FIONREAD, &count) != 0 || count < 0)
        return 0;
    return (size_t)count;
}

socklen_t socket_address_len(const struct sockaddr *address)
{
    switch (address->sa_family) {
    case AF_INET:
        return sizeof(struct sockaddr_in);
    case AF_INET6:
        return sizeof(struct sockaddr_in6);
    case AF_UNIX:
        return sizeof(struct sockaddr_un);
    default:
        return 0;
    }
}

void socket_address_text(const struct sockaddr *address, char *text, size_t size)
{
    union socket_address copy;
    const char *made = NULL;

    if (address->sa_family == AF_INET) {
        memcpy(&copy, address, sizeof(copy.in4));
        made = inet_ntop(AF_INET, &copy.in4.sin_addr, text, (socklen_t)size);
    } else if (address->sa_family == AF_INET6) {
        memcpy(&copy, address, sizeof(copy.in6));
        if (IN6_IS_ADDR_V4MAPPED(&copy.in6.sin6_addr))
            made = inet_ntop(AF_INET, &copy.in6.sin6_addr.s6_addr[12], text, (socklen_t)size);
        else
            made = inet_ntop(AF_INET6, &copy.in6.sin6_addr, text, (socklen_t)size);
    }
    if (made == NULL)
        snprintf(text, size, "%s", address->sa_family == AF_UNIX ? "unix" : "unknown");
}

uint16_t socket_address_port(const struct sockaddr *address)
{
    union socket_address copy;

    if (address->sa_family == AF_INET) {
        memcpy(&copy, address, sizeof(copy.in4));
        return ntohs(copy.in4.sin_port);
    }
    if (address->sa_family == AF_INET6) {
        memcpy(&copy, address, sizeof(copy.in6));
        return ntohs(copy.in6.sin6_port);
    }
    return 0;
}
