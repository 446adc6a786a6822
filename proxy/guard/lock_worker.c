#include "guard/lock_worker.h"

#include <stdlib.h>
#include <sys/random.h>

#include "guard/lock_private.h"

/* What would be due this soon is renewed along with what is due.  Less than the pause after a
 * failed renewal, so that a tick ends. */
#define ALONG_MS 40

/* One call that renews many locks. */
struct renewal {
    struct lock_worker *worker;
    struct list_node node;
    struct store_call call;
    uint64_t sent_at_us;
    size_t lock_count;
    struct lock *locks[LOCK_CALL_MAX_RENEWALS]; /* NULL: it needs no answer any more */
    size_t entry_counts[LOCK_CALL_MAX_RENEWALS];
};

enum store_result lock_worker_eval(struct lock_worker *worker, struct store_call *call,
                                   struct reply *ret_reply)
{
    enum store_result result = store_eval(worker->store, call, ret_reply);

    call->keys = call->args = NULL;
    arena_clear(&worker->scratch);
    return result;
}

/* ---- renewals ---- */

static void renewal_close(struct renewal *renewal)
{
    store_cancel(&renewal->call);
    list_remove(&renewal->node);
    for (size_t i = 0; i < renewal->lock_count; i++)
        if (renewal->locks[i] != NULL)
            renewal->locks[i]->renewal = NULL;
    free(renewal);
}

void lock_worker_drop_renewal(struct lock *lock)
{
    struct renewal *renewal = lock->renewal;

    if (renewal == NULL)
        return;
    lock->renewal = NULL;
    for (size_t i = 0; i < renewal->lock_count; i++)
        if (renewal->locks[i] == lock)
            renewal->locks[i] = NULL;
}

static void schedule_all(struct lock_worker *worker)
{
    LIST_EACH (&worker->locks, node)
        lock_worker_schedule(worker, CONTAINER_OF(node, struct lock, node));
}

/* Each answer may lead to the end of its own lock and of others, which drop out by themselves. */
static void renewal_conclude(struct renewal *renewal, enum store_result result,
                             const struct reply *reply)
{
    struct lock_worker *worker = renewal->worker;
    enum lock_renewed states[LOCK_CALL_MAX_RENEWALS];
    uint64_t tokens[LOCK_CALL_MAX_RENEWALS];
    bool is_read = result == STORE_OK;
    size_t first = 0;

    /* The reply is lent only until the next call, which an answer may lead to. */
    for (size_t i = 0; i < renewal->lock_count && is_read; i++) {
        is_read =
            lock_call_read_renew(reply, first, renewal->entry_counts[i], &states[i], &tokens[i]);
        first += renewal->entry_counts[i];
    }
    for (size_t i = 0; i < renewal->lock_count; i++) {
        struct lock *lock = renewal->locks[i];

        if (lock == NULL)
            continue;
        renewal->locks[i] = NULL;
        lock->renewal = NULL;
        metrics_add(worker->shard, lock->policy->renewal_slots[is_read ? states[i] + 1 : 3], 1);
        if (is_read)
            lock_renewed(lock, states[i], tokens[i], renewal->sent_at_us);
        else
            lock_renew_failed(lock);
    }
    renewal_close(renewal);
    schedule_all(worker);
}

static void on_renewal_reply(struct store_call *call, enum store_result result,
                             const struct reply *reply)
{
    renewal_conclude(CONTAINER_OF(call, struct renewal, call), result, reply);
}

static void renewal_send(struct renewal *renewal)
{
    struct lock_worker *worker = renewal->worker;
    const struct lock_terms *terms[LOCK_CALL_MAX_RENEWALS];
    enum store_result result;
    struct reply reply;

    for (size_t i = 0; i < renewal->lock_count; i++)
        terms[i] = &renewal->locks[i]->terms;
    renewal->sent_at_us = loop_boot_clock_us();
    renewal->call.on_reply = on_renewal_reply;
    lock_call_renew(&renewal->call, terms, renewal->lock_count, &worker->scratch);
    result = lock_worker_eval(worker, &renewal->call, &reply);
    if (result != STORE_PENDING)
        renewal_conclude(renewal, result, &reply);
}

/* Takes locks that are due, as many as a call holds; NULL when none is. */
static struct renewal *renewal_open(struct lock_worker *worker, uint64_t now_ms)
{
    struct renewal *renewal = NULL;
    size_t entry_count = 0;

    LIST_EACH (&worker->locks, node) {
        struct lock *lock = CONTAINER_OF(node, struct lock, node);
        uint64_t interval_ms = lock_renewal_interval_ms(lock);

        if (!lock_wants_renewal(lock,
                                now_ms + (interval_ms / 4 < ALONG_MS ? interval_ms / 4 : ALONG_MS)))
            continue;
        if (entry_count + lock->terms.lock_count > LOCK_CALL_MAX_RENEWALS)
            break;
        if (renewal == NULL) {
            renewal = mem_calloc(1, sizeof(*renewal));
            renewal->worker = worker;
            list_node_init(&renewal->node);
            list_append(&worker->renewals, &renewal->node);
        }
        entry_count += lock->terms.lock_count;
        renewal->entry_counts[renewal->lock_count] = lock->terms.lock_count;
        renewal->locks[renewal->lock_count++] = lock;
        lock->renewal = renewal;
        lock->renew_at_ms = now_ms + interval_ms;
    }
    return renewal;
}

static void on_tick(struct timer *timer)
{
    struct lock_worker *worker = CONTAINER_OF(timer, struct lock_worker, tick);
    uint64_t now_ms = loop_now_ms(worker->loop);
    struct renewal *renewal;

    while ((renewal = renewal_open(worker, now_ms)) != NULL)
        renewal_send(renewal);
    schedule_all(worker);
}

void lock_worker_schedule(struct lock_worker *worker, const struct lock *lock)
{
    uint64_t now_ms = loop_now_ms(worker->loop);

    if (lock->renewal != NULL || !lock_wants_renewal(lock, UINT64_MAX))
        return;
    if (worker->tick.is_started && worker->tick.at_ms <= lock->renew_at_ms)
        return;
    timer_start(worker->loop, &worker->tick,
                lock->renew_at_ms > now_ms ? lock->renew_at_ms - now_ms : 0, on_tick);
}

/* ---- messages ---- */

/* "G ID TOKEN GRANT" or "T ID". */
static void on_message(void *owner, struct slice message)
{
    struct lock_worker *worker = owner;
    struct slice kind, id;
    struct lock *lock;

    if (!slice_split(&message, ' ', &kind) || !slice_split(&message, ' ', &id))
        return;
    lock = map_get(&worker->by_id, id);
    if (lock != NULL)
        lock_hint(lock);
}

/* Each question may end its own lock and others: those that are left are found by their number. */
static void ask_all_again(struct lock_worker *worker)
{
    size_t count = 0, taken = 0;
    struct slice *ids;
    struct arena arena;

    arena_init(&arena, loop_arena_pool(worker->loop));
    LIST_EACH (&worker->locks, node)
        count++;
    ids = arena_alloc(&arena, (count + 1) * sizeof(*ids));
    LIST_EACH (&worker->locks, node)
        ids[taken++] = arena_copy(&arena, CONTAINER_OF(node, struct lock, node)->terms.id);
    for (size_t i = 0; i < taken; i++) {
        struct lock *lock = map_get(&worker->by_id, ids[i]);

        if (lock == NULL)
            continue;
        if (worker->is_draining)
            lock_drain(lock);
        else
            lock_ask_again(lock);
    }
    arena_clear(&arena);
}

static void on_gap(void *owner)
{
    ask_all_again(owner);
}

/* ---- the worker ---- */

void lock_worker_add(struct lock_worker *worker, struct lock *lock)
{
    if (!worker->is_listening) {
        worker->is_listening = true;
        store_listen(worker->store, on_message, on_gap, worker);
    }
    list_node_init(&lock->node);
    list_append(&worker->locks, &lock->node);
    map_set(&worker->by_id, lock->terms.id, lock);
}

void lock_worker_remove(struct lock_worker *worker, struct lock *lock)
{
    lock_worker_drop_renewal(lock);
    list_remove(&lock->node);
    map_remove(&worker->by_id, lock->terms.id);
}

void lock_worker_drain(struct lock_worker *worker)
{
    worker->is_draining = true;
    ask_all_again(worker);
}

bool lock_worker_is_idle(const struct lock_worker *worker)
{
    return list_is_empty(&worker->locks);
}

struct lock_worker *lock_worker_open(struct loop *loop, struct store *store,
                                     struct metrics_shard *shard, const struct log_context *log)
{
    static const char letters[] =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    struct lock_worker *worker = mem_calloc(1, sizeof(*worker));
    uint8_t bytes[15];

    worker->loop = loop;
    worker->store = store;
    worker->shard = shard;
    worker->log = log;
    list_init(&worker->locks);
    list_init(&worker->renewals);
    map_init(&worker->by_id);
    arena_init(&worker->scratch, loop_arena_pool(loop));
    CHECK(getrandom(bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        worker->id_prefix[i] = letters[bytes[i] % 64];
    return worker;
}

void lock_worker_close(struct lock_worker **workerp)
{
    struct lock_worker *worker = TAKE(workerp);
    struct list_node *node;

    while ((node = list_first(&worker->locks)) != NULL)
        lock_free(CONTAINER_OF(node, struct lock, node));
    while ((node = list_first(&worker->renewals)) != NULL)
        renewal_close(CONTAINER_OF(node, struct renewal, node));
    timer_stop(worker->loop, &worker->tick);
    map_clear(&worker->by_id);
    arena_clear(&worker->scratch);
    free(worker);
}
