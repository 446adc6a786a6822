/* A named service at one or several addresses: one pool for each, and the choice among them.
 *
 * An exchange goes to one address.  It moves on to another only while nothing of it was sent: when
 * no connection could be had.  An address that fails several times in a row is left out for a
 * while; when all are left out, the one that returns first is tried. */
#ifndef HTTP_UPSTREAM_GROUP_H
#define HTTP_UPSTREAM_GROUP_H

#include "http/upstream_pool.h"

#define UPSTREAM_MAX_POOLS 32

enum upstream_balance { UPSTREAM_ROUND_ROBIN, UPSTREAM_LEAST_CONNECTIONS };

struct upstream_group;

struct upstream_group_settings {
    const struct upstream_settings *addresses; /* one for each; all with the same name */
    size_t address_count;                      /* 1 to UPSTREAM_MAX_POOLS */
    enum upstream_balance balance;
    uint32_t eject_failures; /* in a row */
    uint64_t eject_ms;
};

struct upstream_group *upstream_group_open(struct loop *loop,
                                           const struct upstream_group_settings *settings,
                                           struct metrics *metrics, struct metrics_shard *shard,
                                           const struct log_context *log);
/* As upstream_pool_close, for all addresses. */
void upstream_group_close(struct upstream_group **group);

/* As upstream_begin, at an address of the group's choice. */
struct upstream_exchange *upstream_group_begin(struct upstream_group *group,
                                               const struct http_request *head, struct arena *arena,
                                               const struct upstream_events *events, void *owner);

/* For upstream_pool.c. */

/* An exchange at this pool ended; failure is UPSTREAM_FAILURE_COUNT when it ended well. */
void upstream_group_note(struct upstream_pool *pool, enum upstream_failure failure);
/* Where an exchange goes that could not be sent to its pool, or NULL. */
struct upstream_pool *upstream_group_next(struct upstream_exchange *exchange);
/* A pool's memory goes: the group's goes with the last one. */
void upstream_group_forget(struct upstream_group *group);

#endif
