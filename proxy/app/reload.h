/* The policies in force: loaded at the start, and loaded again on a signal, on an operator's
 * request and when their files change.  A load that fails changes nothing.  Main thread. */
#ifndef APP_RELOAD_H
#define APP_RELOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"

struct certificates;
struct loop;
struct metrics;
struct notify;
struct policy;
struct policy_problems;
struct reload;

/* Takes no references: whoever keeps policy or certificates takes its own. */
typedef void reload_cb(void *owner, struct policy *policy, struct certificates *certificates);

struct reload_result {
    bool is_good;
    const char *hash_hex;     /* of the policies in force now; until the next reload */
    const char *why, *detail; /* "bad-policies"; NULL when good */
};

/* Loads the policies (paths must outlive it).  NULL when they are bad, which has been logged. */
struct reload *reload_open(struct loop *loop, const char *const *paths, size_t path_count);
/* Gives them their metrics and certificates; false when a certificate cannot be used, which has
 * been logged. */
MUST_USE bool reload_start(struct reload *reload, struct metrics *metrics);
/* From here on changes are published; or, with NULL, no more. */
void reload_publish_to(struct reload *reload, reload_cb *on_change, void *owner);

/* The process is ready: from now on the service manager is told, now and of each reload. */
void reload_tell(struct reload *reload, struct notify *notify);

/* What is in force; not NULL (certificates: after reload_start). */
struct policy *reload_policy(const struct reload *reload);
struct certificates *reload_certificates(const struct reload *reload);

/* Load and publish now.  problems gets what was found. */
void reload_now(struct reload *reload, struct policy_problems *problems,
                struct reload_result *ret_result);

void reload_close(struct reload **reload);

#endif
