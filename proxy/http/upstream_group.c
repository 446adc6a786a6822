#include "http/upstream_group.h"

#include <stdlib.h>

#include "http/upstream_conn.h"

#define UPSTREAM_GROUP_TAG 0x55506772u /* UPgr */

struct upstream_group {
    uint32_t tag;
    struct loop *loop;
    const struct log_context *log;
    size_t pool_count, living_count; /* pools, and those whose memory is still there */
    size_t next;                     /* the pool whose turn it is */
    enum upstream_balance balance;
    uint32_t eject_failures;
    uint64_t eject_ms;
    struct metrics_shard *shard; /* may be NULL */
    uint32_t ejections_slot;
    struct upstream_pool *pools[];
};

/* --- choosing --- */

static bool is_better(const struct upstream_group *group, const struct upstream_pool *a,
                      const struct upstream_pool *b)
{
    uint64_t now_ms = loop_now_ms(group->loop);
    bool is_a_out = a->ejected_until_ms > now_ms, is_b_out = b->ejected_until_ms > now_ms;

    if (is_a_out || is_b_out)
        return is_a_out && is_b_out ? a->ejected_until_ms < b->ejected_until_ms : is_b_out;
    return group->balance == UPSTREAM_LEAST_CONNECTIONS && a->exchange_count < b->exchange_count;
}

/* The best that was not tried; of equals the one whose turn it is. */
static struct upstream_pool *choose(struct upstream_group *group, uint32_t tried)
{
    struct upstream_pool *best = NULL;

    for (size_t i = 0; i < group->pool_count; i++) {
        struct upstream_pool *pool = group->pools[(group->next + i) % group->pool_count];

        if ((tried & UINT32_C(1) << pool->index) == 0 &&
            (best == NULL || is_better(group, pool, best)))
            best = pool;
    }
    if (best != NULL)
        group->next = (best->index + 1) % group->pool_count;
    return best;
}

struct upstream_exchange *upstream_group_begin(struct upstream_group *group,
                                               const struct http_request *head, struct arena *arena,
                                               const struct upstream_events *events, void *owner)
{
    CHECK_TAG(group, UPSTREAM_GROUP);
    return upstream_begin(group->pool_count == 1 ? group->pools[0] : choose(group, 0), head, arena,
                          events, owner);
}

struct upstream_pool *upstream_group_next(struct upstream_exchange *exchange)
{
    struct upstream_pool *pool = exchange->pool;

    exchange->tried_pools |= UINT32_C(1) << pool->index;
    if (pool->group == NULL || pool->is_closing || exchange->is_repeated)
        return NULL;
    return choose(pool->group, exchange->tried_pools);
}

/* --- health --- */

/* What says nothing about the service: that we have enough of it. */
static bool is_health_failure(enum upstream_failure failure)
{
    return failure != UPSTREAM_BUSY;
}

static void eject(struct upstream_pool *pool)
{
    struct upstream_group *group = pool->group;

    /* Back on probation: the next failure ejects it again. */
    pool->failure_count = group->eject_failures - 1;
    pool->ejected_until_ms = loop_now_ms(group->loop) + group->eject_ms;
    pool->is_on_probation = true;
    if (group->shard != NULL)
        metrics_add(group->shard, group->ejections_slot, 1);
    log_warn(group->log, "address left out: it fails", LOG_STR("upstream", pool->name),
             LOG_STR("host", pool->host), LOG_UINT("port", pool->settings.port),
             LOG_UINT("for_ms", group->eject_ms));
}

void upstream_group_note(struct upstream_pool *pool, enum upstream_failure failure)
{
    struct upstream_group *group = pool->group;

    if (group == NULL || group->pool_count == 1)
        return;
    if (failure == UPSTREAM_FAILURE_COUNT) {
        pool->failure_count = 0;
        if (!pool->is_on_probation)
            return;
        pool->is_on_probation = false;
        pool->ejected_until_ms = 0;
        log_info(group->log, "address works again", LOG_STR("upstream", pool->name),
                 LOG_STR("host", pool->host), LOG_UINT("port", pool->settings.port));
    } else if (is_health_failure(failure) && ++pool->failure_count >= group->eject_failures &&
               pool->ejected_until_ms <= loop_now_ms(group->loop)) {
        eject(pool);
    }
}

/* --- opening and closing --- */

struct upstream_group *upstream_group_open(struct loop *loop,
                                           const struct upstream_group_settings *settings,
                                           struct metrics *metrics, struct metrics_shard *shard,
                                           const struct log_context *log)
{
    size_t count = settings->address_count;
    struct upstream_group *group = mem_calloc(1, sizeof(*group) + count * sizeof(*group->pools));

    CHECK(count > 0 && count <= UPSTREAM_MAX_POOLS && settings->eject_failures > 0);
    group->tag = UPSTREAM_GROUP_TAG;
    group->loop = loop;
    group->log = log;
    group->balance = settings->balance;
    group->eject_failures = settings->eject_failures;
    group->eject_ms = settings->eject_ms;
    group->pool_count = group->living_count = count;
    if (metrics != NULL) {
        group->shard = shard;
        group->ejections_slot =
            metrics_series1(metrics, METRIC_UPSTREAM_EJECTIONS, settings->addresses[0].name);
    }
    for (size_t i = 0; i < count; i++) {
        group->pools[i] = upstream_pool_open(loop, &settings->addresses[i], metrics, shard, log);
        group->pools[i]->group = group;
        group->pools[i]->index = (uint32_t)i;
    }
    return group;
}

void upstream_group_forget(struct upstream_group *group)
{
    CHECK_TAG(group, UPSTREAM_GROUP);
    if (--group->living_count > 0)
        return;
    group->tag = 0;
    free(group);
}

void upstream_group_close(struct upstream_group **place)
{
    struct upstream_group *group = TAKE(place);
    size_t count = group->pool_count;

    CHECK_TAG(group, UPSTREAM_GROUP);
    /* The last pool may take the group with it. */
    for (size_t i = 0; i < count; i++) {
        struct upstream_pool *pool = group->pools[i];

        upstream_pool_close(&pool);
    }
}
