/* What sockets need from the kernel beyond libuv: options, one send call, addresses as text. */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/check.h"

/* Without unix paths: an address a stream keeps. */
union socket_address {
    struct sockaddr any;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
};

/* TCP_NODELAY and keep-alive probes after 60 s; nothing for a unix socket.  Accepted sockets
 * inherit both from the listening one. */
void socket_set_options(int fd, int family);

/* Bytes the kernel took (0: none now), or a libuv error code. */
MUST_USE ssize_t socket_send(int fd, struct iovec *parts, unsigned part_count);
/* Bytes read, 0 at the end, or a libuv error code (UV_EAGAIN: none now). */
MUST_USE ssize_t socket_receive(int fd, char *buffer, size_t room);
/* The error pending on the socket as a libuv code, or 0; it is cleared by asking. */
int socket_take_error(int fd);
size_t socket_unread_bytes(int fd);

socklen_t socket_address_len(const struct sockaddr *address);
void socket_address_text(const struct sockaddr *address, char *text, size_t size);
uint16_t socket_address_port(const struct sockaddr *address);

#endif
