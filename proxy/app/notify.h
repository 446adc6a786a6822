/* Tells the service manager how the process is doing (sd_notify(3)): datagrams to the socket that
 * NOTIFY_SOCKET names, and keep-alives while the manager wants them (WATCHDOG_USEC).  Without that
 * variable nothing is told. */
#ifndef APP_NOTIFY_H
#define APP_NOTIFY_H

#include <stdbool.h>

#include "base/check.h"

struct loop;
struct notify;

/* Reads the environment.  why_not_live: NULL while the process deserves its keep-alives. */
struct notify *notify_open(struct loop *loop, const char *(*why_not_live)(void *owner),
                           void *owner);

/* status is for people: one line, shown by `systemctl status`. */
void notify_ready(struct notify *notify, const char *status);
void notify_reloading(struct notify *notify);
void notify_stopping(struct notify *notify);
void notify_status(struct notify *notify, const char *status);

void notify_close(struct notify **notify);

#endif
