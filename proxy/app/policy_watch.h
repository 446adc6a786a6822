/* Tells when the files of the policies in force have changed.
 *
 * Their folders are watched, not the files: a ConfigMap replaces the link "..data" beside them, an
 * editor renames a new file over the old one.  Events only say when to look; what has changed is
 * found by looking at names, inodes, sizes and times, and that is also done every POLICY_WATCH_MS,
 * for file systems that tell nothing and for links further up. */
#ifndef APP_POLICY_WATCH_H
#define APP_POLICY_WATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"

#define POLICY_WATCH_MS 10000
/* From an event to the look, so that what comes in several steps is seen whole.  More events put it
 * off, up to the maximum. */
#define POLICY_WATCH_SETTLE_MS 200
#define POLICY_WATCH_MAX_SETTLE_MS 2000

struct loop;
struct policy;
struct policy_watch;

/* paths (files and folders) must outlive it.  on_change comes from the loop. */
struct policy_watch *policy_watch_open(struct loop *loop, const char *const *paths,
                                       size_t path_count, void (*on_change)(void *owner),
                                       void *owner);

/* Before a load: what changes from now on will be told. */
void policy_watch_look(struct policy_watch *watch);
/* After it: the files that values came from are those of policy. */
void policy_watch_follow(struct policy_watch *watch, const struct policy *policy);

void policy_watch_close(struct policy_watch **watch);

/* Whether the file is a mount of its own, as a subPath is, so that a file which replaces it is not
 * seen in this mount namespace. */
bool policy_watch_is_mount(const char *file);

#endif
