/* The listening socket that a service manager opened for us (sd_listen_fds(3)): it stays open while
 * the process is started anew, so that no connection is refused meanwhile. */
#ifndef APP_PASSED_SOCKET_H
#define APP_PASSED_SOCKET_H

#include <stddef.h>

#include "base/check.h"

/* Of LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES: the socket named "proxy", or the only one there is.
 * *ret_fd: non-blocking and close-on-exec, the caller's to close; -1 when none was passed.  Its
 * address as `listen` would have it goes to ret_address.  NULL, or what is wrong (static). */
MUST_USE const char *passed_socket_take(int *ret_fd, char *ret_address, size_t address_size);

#endif
