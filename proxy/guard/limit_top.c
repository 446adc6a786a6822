#include "guard/limit_top.h"

#include <stdlib.h>

struct limit_top {
    size_t entry_count;
    uint64_t half; /* the number of the current one */
    unsigned current;
    struct sketch *sketches[2][LIMIT_TOP_KINDS]; /* NULL: not needed yet */
};

struct limit_tops {
    struct policy *policy;
    struct limit_top **by_limit; /* NULL: off */
};

static struct limit_top *top_open(size_t entry_count)
{
    struct limit_top *top = mem_calloc(1, sizeof(*top));

    top->entry_count = entry_count;
    return top;
}

static void top_close(struct limit_top **place)
{
    struct limit_top *top = TAKE(place);

    for (size_t i = 0; top != NULL && i < 2; i++)
        for (size_t kind = 0; kind < LIMIT_TOP_KINDS; kind++)
            if (top->sketches[i][kind] != NULL)
                sketch_close(&top->sketches[i][kind]);
    free(top);
}

/* ---- noting ---- */

static void clear_half(struct limit_top *top, unsigned which)
{
    for (size_t kind = 0; kind < LIMIT_TOP_KINDS; kind++)
        if (top->sketches[which][kind] != NULL)
            sketch_clear(top->sketches[which][kind]);
}

static void begin_half(struct limit_top *top, uint64_t half)
{
    clear_half(top, 1 - top->current);
    if (half != top->half + 1)
        clear_half(top, top->current);
    top->current = 1 - top->current;
    top->half = half;
}

static void add(struct limit_top *top, enum limit_top_kind kind, uint64_t now_ms,
                const struct limit_top_event *event)
{
    struct sketch **sketch = &top->sketches[top->current][kind];

    if (*sketch == NULL)
        *sketch = sketch_open(top->entry_count);
    sketch_add(*sketch, event->tail, now_ms, event->remaining);
}

void limit_top_note(struct limit_top *top, uint64_t now_ms, const struct limit_top_event *event)
{
    uint64_t half = now_ms / LIMIT_TOP_HALF_MS;

    if (half != top->half)
        begin_half(top, half);
    add(top, LIMIT_TOP_REQUESTS, now_ms, event);
    if (event->is_denied)
        add(top, LIMIT_TOP_DENIED, now_ms, event);
    if (event->is_near)
        add(top, LIMIT_TOP_NEAR, now_ms, event);
}

/* ---- following the policy ---- */

static const struct policy_limit *find_limit(const struct policy *policy, const char *route_name,
                                             const char *limit_name)
{
    for (size_t i = 0; i < policy->route_count; i++) {
        const struct policy_route *route = policy->routes[i];

        if (strcmp(route->name, route_name) != 0)
            continue;
        for (size_t j = 0; j < route->limit_count; j++)
            if (strcmp(route->limits[j]->name, limit_name) == 0)
                return route->limits[j];
    }
    return NULL;
}

/* What the policy before knew of it. */
static struct limit_top *take_old(struct limit_tops *tops, const struct policy_limit *limit)
{
    const struct policy_limit *old;

    if (tops->by_limit == NULL)
        return NULL;
    old = find_limit(tops->policy, limit->route->name, limit->name);
    return old != NULL ? TAKE(&tops->by_limit[old->index]) : NULL;
}

static struct limit_top **watch(struct limit_tops *tops, const struct policy *policy)
{
    size_t entry_count = policy->settings.top_keys;
    struct limit_top **by_limit;

    if (entry_count == 0 || policy->limit_count == 0)
        return NULL;
    by_limit = mem_calloc(policy->limit_count, sizeof(struct limit_top *));
    for (size_t i = 0; i < policy->route_count; i++) {
        for (size_t j = 0; j < policy->routes[i]->limit_count; j++) {
            const struct policy_limit *limit = policy->routes[i]->limits[j];
            struct limit_top *top;

            /* Without a key there is nobody to tell from others. */
            if (limit->key == NULL)
                continue;
            top = take_old(tops, limit);
            if (top != NULL && top->entry_count != entry_count)
                top_close(&top);
            by_limit[limit->index] = top != NULL ? top : top_open(entry_count);
        }
    }
    return by_limit;
}

static void forget(struct limit_tops *tops)
{
    for (size_t i = 0; tops->by_limit != NULL && i < tops->policy->limit_count; i++)
        top_close(&tops->by_limit[i]);
    free(tops->by_limit);
    if (tops->policy != NULL)
        policy_unref(&tops->policy);
}

void limit_tops_set_policy(struct limit_tops *tops, struct policy *policy)
{
    struct limit_top **by_limit = watch(tops, policy);

    forget(tops);
    tops->by_limit = by_limit;
    tops->policy = policy_ref(policy);
}

struct limit_top *limit_tops_find(const struct limit_tops *tops, const struct policy *policy,
                                  const struct policy_limit *limit)
{
    return tops->policy == policy && tops->by_limit != NULL ? tops->by_limit[limit->index] : NULL;
}

struct limit_tops *limit_tops_open(void)
{
    return mem_calloc(1, sizeof(struct limit_tops));
}

void limit_tops_close(struct limit_tops **tops)
{
    struct limit_tops *closing = TAKE(tops);

    forget(closing);
    free(closing);
}

/* ---- reading ---- */

uint64_t limit_top_period_ms(uint64_t now_ms)
{
    return LIMIT_TOP_HALF_MS + now_ms % LIMIT_TOP_HALF_MS;
}

static void read_half(const struct limit_top *top, unsigned which, struct arena *arena,
                      struct limit_top_list *list)
{
    for (size_t kind = 0; kind < LIMIT_TOP_KINDS; kind++)
        if (top->sketches[which][kind] != NULL)
            sketch_sum_add_sketch(&list->sums[kind], top->sketches[which][kind], arena);
}

static void read_top(const struct limit_top *top, uint64_t half, struct arena *arena,
                     struct limit_top_list *list)
{
    /* The reader's clock may be a little behind. */
    if (top->half >= half)
        read_half(top, 1 - top->current, arena, list);
    if (top->half + 1 >= half)
        read_half(top, top->current, arena, list);
}

size_t limit_tops_read(const struct limit_tops *tops, struct slice route, struct slice limit,
                       uint64_t now_ms, struct arena *arena, struct limit_top_list **ret_lists)
{
    const struct policy *policy = tops->policy;
    size_t count = 0;

    *ret_lists = NULL;
    if (tops->by_limit == NULL)
        return 0;
    *ret_lists = arena_calloc(arena, policy->limit_count, sizeof(**ret_lists));
    for (size_t i = 0; i < policy->route_count; i++) {
        for (size_t j = 0; j < policy->routes[i]->limit_count; j++) {
            const struct policy_limit *one = policy->routes[i]->limits[j];
            struct limit_top_list *list = &(*ret_lists)[count];

            if (tops->by_limit[one->index] == NULL ||
                (limit.at != NULL && (!slice_equal(slice_of(one->name), limit) ||
                                      !slice_equal(slice_of(one->route->name), route))))
                continue;
            list->route = arena_copy(arena, slice_of(one->route->name)).at;
            list->limit = arena_copy(arena, slice_of(one->name)).at;
            read_top(tops->by_limit[one->index], now_ms / LIMIT_TOP_HALF_MS, arena, list);
            count++;
        }
    }
    return count;
}
