#include "guard/lock_list.h"

#include "guard/lock_private.h"

struct slice lock_list_name(struct slice store_key)
{
    size_t begin = slice_find(store_key, '{');
    struct slice name = begin < store_key.len ? slice_skip(store_key, begin + 1) : store_key;

    return slice_head(name, slice_find(name, '}'));
}

static bool has_name(const struct lock *lock, struct slice name)
{
    for (size_t i = 0; i < lock->terms.lock_count; i++)
        if (slice_equal(lock_list_name(lock->terms.keys[i * LOCK_CALL_KEYS]), name))
            return true;
    return false;
}

static const char *state_text(enum lock_state state)
{
    switch (state) {
    case LOCK_STATE_ASKING:
    case LOCK_STATE_WAITING:
        return "waiting";
    case LOCK_STATE_HOLDING:
        return "held";
    case LOCK_STATE_JUDGING:
        return "judging";
    case LOCK_STATE_LOST:
        return "lost";
    case LOCK_STATE_RELEASING:
    case LOCK_STATE_OVER:
    case LOCK_STATE_COUNT:
        break;
    }
    return "releasing";
}

static const char *route_of(const struct lock *lock)
{
    for (size_t i = 0; i < lock->snapshot->route_count; i++)
        if (lock->snapshot->routes[i]->lock == lock->policy)
            return lock->snapshot->routes[i]->name;
    return "";
}

static uint64_t left_of(uint64_t at_us, uint64_t now_us)
{
    return at_us > now_us ? at_us - now_us : 0;
}

static void fill_entry(const struct lock *lock, struct arena *arena, struct lock_list_entry *entry)
{
    struct slice *names = arena_alloc(arena, lock->terms.lock_count * sizeof(*names));
    uint64_t now_us = loop_boot_clock_us();
    bool is_waiting = lock->state == LOCK_STATE_ASKING || lock->state == LOCK_STATE_WAITING;
    uint64_t begun_at_us = lock->held_at_us > 0 ? lock->held_at_us : lock->asked_at_us;

    for (size_t i = 0; i < lock->terms.lock_count; i++)
        names[i] = arena_copy(arena, lock_list_name(lock->terms.keys[i * LOCK_CALL_KEYS]));
    *entry = (struct lock_list_entry){
        .route = arena_copy(arena, slice_of(route_of(lock))).at,
        .state = state_text(lock->state),
        .is_waiting = is_waiting,
        .is_shadow = lock->policy->is_shadow,
        .mode = lock->id[0],
        .permits = lock->terms.permits,
        .id = arena_copy(arena, lock->terms.id),
        .request_id = arena_copy(arena, lock->request_id),
        .names = names,
        .name_count = lock->terms.lock_count,
        .token = lock->token,
        .since_us = now_us - begun_at_us,
        .left_us = left_of(
            is_waiting ? lock->asked_at_us + lock->place.wait_us : lock->deadline_at_us, now_us)};
}

void lock_list_make(const struct lock_worker *worker, struct slice name, size_t max_count,
                    struct arena *arena, struct lock_list *ret_list)
{
    struct lock_list list = {.entries = arena_alloc(arena, max_count * sizeof(*list.entries))};

    LIST_EACH (&worker->locks, node) {
        const struct lock *lock = CONTAINER_OF(node, struct lock, node);
        bool is_waiting = lock->state == LOCK_STATE_ASKING || lock->state == LOCK_STATE_WAITING;

        /* One that nobody owns any more is on its way out: still of interest as long as it holds.
         */
        if (lock->state == LOCK_STATE_OVER || (name.at != NULL && !has_name(lock, name)))
            continue;
        list.waiting_count += is_waiting;
        list.held_count += !is_waiting;
        if (list.entry_count < max_count)
            fill_entry(lock, arena, &list.entries[list.entry_count++]);
    }
    *ret_list = list;
}

void lock_list_recheck(struct lock_worker *worker, struct slice name)
{
    LIST_EACH (&worker->locks, node) {
        struct lock *lock = CONTAINER_OF(node, struct lock, node);

        if (lock->state != LOCK_STATE_HOLDING || !has_name(lock, name))
            continue;
        lock->renew_at_ms = loop_now_ms(worker->loop);
        lock_worker_schedule(worker, lock);
    }
}
