/* Tells that something in a folder has changed, by inotify: an entry came, went, was replaced or
 * written to.  What exactly is for the owner to look at.  A folder that was moved or removed tells
 * nothing any more, and some file systems never do: whoever must know also looks by himself. */
#ifndef NET_FOLDER_WATCH_H
#define NET_FOLDER_WATCH_H

#include "base/check.h"

struct folder_watch;
struct loop;

/* 0, or a libuv error code.  Never calls back before it returns. */
MUST_USE int folder_watch_open(struct loop *loop, const char *path, void (*on_change)(void *owner),
                               void *owner, struct folder_watch **ret_watch);

/* *watch becomes NULL and the owner is never called again.  Legal inside on_change. */
void folder_watch_close(struct folder_watch **watch);

#endif
