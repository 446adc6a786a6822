#include "app/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "net/loop.h"

#define NOTIFY_TAG 0x4e544659u /* "NTFY" */
#define TEXT_BYTES 512

struct notify {
    uint32_t tag;
    struct loop *loop;
    const char *(*why_not_live)(void *owner);
    void *owner;
    int fd; /* -1: nobody listens */
    struct sockaddr_un address;
    socklen_t address_len;
    uint64_t watchdog_ms; /* between two keep-alives; 0: none are wanted */
    struct timer watchdog_timer;
};

static void send_text(struct notify *n, const char *text)
{
    if (n->fd < 0)
        return;
    /* The manager's queue may be full for a moment; a keep-alive that is lost has a successor. */
    if (sendto(n->fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&n->address,
               n->address_len) < 0)
        log_warn(NULL, "cannot tell the service manager", LOG_STR("error", strerror(errno)));
}

static void on_watchdog(struct timer *timer)
{
    struct notify *n = CONTAINER_OF(timer, struct notify, watchdog_timer);

    CHECK_TAG(n, NOTIFY);
    timer_start(n->loop, timer, n->watchdog_ms, on_watchdog);
    if (n->why_not_live(n->owner) == NULL)
        send_text(n, "WATCHDOG=1");
}

/* An absolute path, or "@" and a name without a file. */
static bool read_address(struct notify *n, const char *name)
{
    size_t len = strlen(name);

    if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof(n->address.sun_path))
        return false;
    n->address.sun_family = AF_UNIX;
    memcpy(n->address.sun_path, name, len);
    if (name[0] == '@')
        n->address.sun_path[0] = '\0';
    n->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    return true;
}

static void read_watchdog(struct notify *n)
{
    const char *usec_text = getenv("WATCHDOG_USEC"), *pid_text = getenv("WATCHDOG_PID");
    uint64_t usec, pid;

    if (usec_text == NULL || !slice_to_uint64(slice_of(usec_text), &usec) || usec == 0)
        return;
    if (pid_text != NULL &&
        (!slice_to_uint64(slice_of(pid_text), &pid) || pid != (uint64_t)getpid()))
        return;
    n->watchdog_ms = usec / 2000 > 0 ? usec / 2000 : 1;
}

struct notify *notify_open(struct loop *loop, const char *(*why_not_live)(void *owner), void *owner)
{
    struct notify *n = mem_calloc(1, sizeof(*n));
    const char *name = getenv("NOTIFY_SOCKET");

    n->tag = NOTIFY_TAG;
    n->loop = loop;
    n->why_not_live = why_not_live;
    n->owner = owner;
    n->fd = -1;
    if (name == NULL || name[0] == '\0')
        return n;
    if (!read_address(n, name)) {
        log_warn(NULL, "NOTIFY_SOCKET is not a socket that can be told anything",
                 LOG_STR("value", name));
        return n;
    }
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    read_watchdog(n);
    if (n->fd >= 0 && n->watchdog_ms > 0)
        timer_start(loop, &n->watchdog_timer, n->watchdog_ms, on_watchdog);
    return n;
}

/* A status of several lines would be taken for further assignments. */
static void send_state(struct notify *n, const char *state, const char *status)
{
    char text[TEXT_BYTES];

    snprintf(text, sizeof(text), "%sSTATUS=%.*s", state, (int)strcspn(status, "\n"), status);
    send_text(n, text);
}

void notify_ready(struct notify *n, const char *status)
{
    CHECK_TAG(n, NOTIFY);
    send_state(n, "READY=1\n", status);
}

void notify_reloading(struct notify *n)
{
    char text[TEXT_BYTES];

    CHECK_TAG(n, NOTIFY);
    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%ju\nSTATUS=loading the policies",
             (uintmax_t)loop_clock_us());
    send_text(n, text);
}

void notify_stopping(struct notify *n)
{
    CHECK_TAG(n, NOTIFY);
    send_state(n, "STOPPING=1\n", "finishing what runs");
}

void notify_status(struct notify *n, const char *status)
{
    CHECK_TAG(n, NOTIFY);
    send_state(n, "", status);
}

void notify_close(struct notify **place)
{
    struct notify *n = TAKE(place);

    CHECK_TAG(n, NOTIFY);
    timer_stop(n->loop, &n->watchdog_timer);
    if (n->fd >= 0)
        close(n->fd);
    n->tag = 0;
    free(n);
}
