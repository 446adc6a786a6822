/* The two ends of the echo section of bench.py.
 *
 *   bench_echo serve                             prints its port; answers 101 and echoes all bytes
 *   bench_echo ask PORT CONNECTIONS SECONDS      on each connection one message at a time, there and
 *                                                back; prints messages, p50_us and p99_us
 *
 * The messages have the size of a masked frame with 128 bytes; the proxies between do not look. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_BYTES 134
#define MAX_FD 65536
#define SLOTS 1000000 /* of the histogram, 1 us each */

static struct peer {
    int is_upgraded;
    size_t in_bytes; /* of the head, or of the current message */
    char head[4096];
    uint64_t sent_at_us;
} *peers[MAX_FD];

static uint32_t histogram[SLOTS];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void add(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    int one = 1;

    if (fd < 0 || fd >= MAX_FD || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    free(peers[fd]);
    peers[fd] = calloc(1, sizeof(*peers[fd]));
}

static void send_all(int fd, const char *bytes, size_t count)
{
    if (send(fd, bytes, count, MSG_NOSIGNAL) != (ssize_t)count)
        die("send");
}

/* Collects a head; 1 when it is complete. */
static int read_head(struct peer *peer, int fd)
{
    ssize_t got = recv(fd, peer->head + peer->in_bytes, sizeof(peer->head) - 1 - peer->in_bytes, 0);

    if (got <= 0)
        return -1;
    peer->in_bytes += (size_t)got;
    peer->head[peer->in_bytes] = '\0';
    return strstr(peer->head, "\r\n\r\n") != NULL;
}

static void serve_one(int fd)
{
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                 "Connection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    struct peer *peer = peers[fd];
    char bytes[65536];
    ssize_t got;

    if (!peer->is_upgraded) {
        int found = read_head(peer, fd);

        peer->is_upgraded = found > 0;
        if (found > 0)
            send_all(fd, answer, sizeof(answer) - 1);
        if (found < 0)
            close(fd);
        return;
    }
    got = recv(fd, bytes, sizeof(bytes), 0);
    if (got <= 0)
        close(fd);
    else
        send_all(fd, bytes, (size_t)got);
}

static int serve(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    struct epoll_event events[256];

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 4096) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        die("listen");
    add(epoll, listener);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);

        for (int i = 0; i < count; i++)
            if (events[i].data.fd == listener)
                add(epoll, accept(listener, NULL, NULL));
            else
                serve_one(events[i].data.fd);
    }
}

static void ask_again(int fd)
{
    static const char message[MESSAGE_BYTES] = {(char)0x82, (char)0xfe, 0, 126};

    peers[fd]->in_bytes = 0;
    peers[fd]->sent_at_us = now_us();
    send_all(fd, message, sizeof(message));
}

static void connect_one(int epoll, int port)
{
    static const char request[] =
        "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), found = 0;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("connect");
    add(epoll, fd);
    send_all(fd, request, sizeof(request) - 1);
    while (found == 0)
        found = read_head(peers[fd], fd);
    if (strncmp(peers[fd]->head, "HTTP/1.1 101", 12) != 0) {
        fprintf(stderr, "no tunnel: %.60s\n", peers[fd]->head);
        exit(2);
    }
    ask_again(fd);
}

static void take(int fd)
{
    char bytes[MESSAGE_BYTES];
    ssize_t got = recv(fd, bytes, sizeof(bytes) - peers[fd]->in_bytes, 0);
    uint64_t us;

    if (got <= 0)
        die("a tunnel was closed");
    peers[fd]->in_bytes += (size_t)got;
    if (peers[fd]->in_bytes < MESSAGE_BYTES)
        return;
    us = now_us() - peers[fd]->sent_at_us;
    histogram[us < SLOTS ? us : SLOTS - 1]++;
    ask_again(fd);
}

static uint64_t percentile(uint64_t total, unsigned percent)
{
    uint64_t seen = 0;

    for (uint64_t us = 0; us < SLOTS; us++)
        if ((seen += histogram[us]) * 100 >= total * percent)
            return us;
    return SLOTS;
}

static int ask(int port, int connections, double seconds)
{
    struct epoll_event events[256];
    int epoll = epoll_create1(0);
    uint64_t until_us, total = 0;

    for (int i = 0; i < connections; i++)
        connect_one(epoll, port);
    until_us = now_us() + (uint64_t)(seconds * 1000000);
    while (now_us() < until_us) {
        int count = epoll_wait(epoll, events, 256, 100);

        for (int i = 0; i < count; i++)
            take(events[i].data.fd);
    }
    for (size_t i = 0; i < SLOTS; i++)
        total += histogram[i];
    printf("%lu %lu %lu\n", total, percentile(total, 50), percentile(total, 99));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "serve") == 0)
        return serve();
    if (argc == 5 && strcmp(argv[1], "ask") == 0)
        return ask(atoi(argv[2]), atoi(argv[3]), atof(argv[4]));
    fprintf(stderr, "usage: bench_echo serve | ask PORT CONNECTIONS SECONDS\n");
    return 2;
}
