/* The other end of a connection under test: a plain socket that the test drives by hand, in the
 * same thread as the loop. */
#ifndef TESTS_RAW_PEER_H
#define TESTS_RAW_PEER_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "net/loop.h"

struct raw_peer {
    int fd;
    char *in; /* what came, terminated */
    size_t in_len, in_cap;
    bool has_ended, is_reset;
    bool is_lazy; /* does not read */
};

static inline void raw_peer_take(struct raw_peer *peer, int fd)
{
    *peer = (struct raw_peer){.fd = fd, .in = calloc(1, 1)};
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

static inline void raw_peer_connect(struct raw_peer *peer, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    raw_peer_take(peer, fd);
}

static inline void raw_peer_send(struct raw_peer *peer, struct slice bytes)
{
    assert_int_equal(send(peer->fd, bytes.at, bytes.len, MSG_NOSIGNAL), bytes.len);
}

static inline void raw_peer_end(struct raw_peer *peer)
{
    assert_int_equal(shutdown(peer->fd, SHUT_WR), 0);
}

static inline void raw_peer_close(struct raw_peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
    free(peer->in);
    peer->in = NULL;
}

static inline void raw_peer_reset(struct raw_peer *peer)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    assert_int_equal(setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(peer->fd);
    peer->fd = -1;
}

static inline void raw_peer_poll(struct raw_peer *peer)
{
    ssize_t count;

    if (peer->fd < 0 || peer->has_ended || peer->is_lazy)
        return;
    if (peer->in_cap - peer->in_len < 65536) {
        peer->in_cap = peer->in_cap * 2 + 131072;
        peer->in = realloc(peer->in, peer->in_cap + 1);
    }
    count = recv(peer->fd, peer->in + peer->in_len, 65536, 0);
    if (count == 0 || (count < 0 && errno == ECONNRESET)) {
        peer->has_ended = true;
        peer->is_reset = count < 0;
    } else if (count > 0) {
        peer->in_len += (size_t)count;
    }
    peer->in[peer->in_len] = '\0';
}

static inline void raw_peer_forget_input(struct raw_peer *peer)
{
    peer->in_len = 0;
    peer->in[0] = '\0';
}

static inline bool raw_peer_has(const struct raw_peer *peer, const char *text)
{
    return strstr(peer->in, text) != NULL;
}

static inline size_t raw_peer_count(const struct raw_peer *peer, const char *text)
{
    size_t count = 0;

    for (const char *at = peer->in; (at = strstr(at, text)) != NULL; at += strlen(text))
        count++;
    return count;
}

static inline uint64_t raw_peer_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A listening socket on a port of the kernel's choice. */
static inline int raw_peer_listen(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

/* Turn the loop and poll the peers until condition holds; fails after 10 seconds. */
#define RAW_PEER_WAIT(loop, poll_peers, condition)                                                 \
    do {                                                                                           \
        uint64_t give_up_ms_ = raw_peer_now_ms() + 10000;                                          \
        while (!(condition)) {                                                                     \
            loop_turn(loop);                                                                       \
            poll_peers;                                                                            \
            if (raw_peer_now_ms() > give_up_ms_)                                                   \
                fail_msg("never came: %s", #condition);                                            \
        }                                                                                          \
    } while (0)

/* Turn the loop for a while in which nothing should happen. */
#define RAW_PEER_TURN(loop, poll_peers)                                                            \
    do {                                                                                           \
        for (int turn_ = 0; turn_ < 20; turn_++) {                                                 \
            loop_turn(loop);                                                                       \
            poll_peers;                                                                            \
        }                                                                                          \
    } while (0)

#endif
