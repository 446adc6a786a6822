#include "app/passed_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/slice.h"

#define FIRST_FD 3
#define MAX_FDS 64
#define NAME "proxy"

static bool read_number(const char *variable, uint64_t *ret_number)
{
    const char *text = getenv(variable);

    return text != NULL && slice_to_uint64(slice_of(text), ret_number);
}

/* Which of count it is, from 0; or -1. */
static int find_named(uint64_t count)
{
    const char *text = getenv("LISTEN_FDNAMES");
    struct slice rest = slice_of(text), name;
    int found = -1;

    for (uint64_t i = 0; text != NULL && i < count && slice_split(&rest, ':', &name); i++)
        if (slice_equal(name, SLICE(NAME))) {
            if (found >= 0)
                return -1;
            found = (int)i;
        }
    return found < 0 && count == 1 ? 0 : found;
}

static void write_address(int fd, char *ret_address, size_t size)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
        struct sockaddr_un local;
    } address = {.any = {.sa_family = AF_UNSPEC}};
    char host[INET6_ADDRSTRLEN] = "";
    socklen_t len = sizeof(address);

    snprintf(ret_address, size, "fd:%d", fd);
    if (getsockname(fd, &address.any, &len) != 0)
        return;
    if (address.any.sa_family == AF_INET &&
        inet_ntop(AF_INET, &address.in4.sin_addr, host, sizeof(host)) != NULL)
        snprintf(ret_address, size, "%s:%u", host, ntohs(address.in4.sin_port));
    else if (address.any.sa_family == AF_INET6 &&
             inet_ntop(AF_INET6, &address.in6.sin6_addr, host, sizeof(host)) != NULL)
        snprintf(ret_address, size, "[%s]:%u", host, ntohs(address.in6.sin6_port));
    else if (address.any.sa_family == AF_UNIX)
        snprintf(ret_address, size, "unix:%.107s", address.local.sun_path);
}

static bool is_listening(int fd)
{
    int accepts = 0, type = 0;
    socklen_t accepts_size = sizeof(accepts), type_size = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &accepts_size) == 0 && accepts &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) == 0 && type == SOCK_STREAM;
}

/* Those that are not for us go, too: nobody will take them. */
static void close_others(uint64_t count, int kept)
{
    for (int fd = FIRST_FD; fd < FIRST_FD + (int)count; fd++)
        if (fd != kept)
            close(fd);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

const char *passed_socket_take(int *ret_fd, char *ret_address, size_t address_size)
{
    uint64_t pid, count;
    int number, fd, flags;

    *ret_fd = -1;
    if (!read_number("LISTEN_PID", &pid) || pid != (uint64_t)getpid() ||
        !read_number("LISTEN_FDS", &count) || count == 0)
        return NULL;
    if (count > MAX_FDS)
        return "too many sockets were passed (LISTEN_FDS)";
    number = find_named(count);
    if (number < 0)
        return "several sockets were passed: exactly one must have the name \"" NAME
               "\" (FileDescriptorName=" NAME ")";
    fd = FIRST_FD + number;
    if (!is_listening(fd))
        return "the socket that was passed is not listening for connections (ListenStream=, and "
               "Accept=no)";
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return "the socket that was passed cannot be used";
    close_others(count, fd);
    write_address(fd, ret_address, address_size);
    *ret_fd = fd;
    return NULL;
}
