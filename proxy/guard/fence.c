#include "guard/fence.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/map.h"

/* Everything below is under the table's lock but the messages' run functions, which take it. */
struct fence_table {
    pthread_mutex_t mutex;
    struct map keys;
    struct list unused; /* keys without a pass, the longest unused first */
    size_t max_keys;
    unsigned reference_count;
};

struct fence_key {
    struct list_node node; /* in unused, while it has no pass */
    struct list passes;
    uint64_t alone, any; /* the highest token that passed: of one who held alone, of anybody */
    size_t name_len;
    char name[];
};

/* Who waits for others to leave. */
struct fence_gather {
    struct loop_message message; /* to its pass's loop, when the last has left */
    struct fence_table *table;
    struct fence_pass *pass; /* NULL: it does not wait any more */
    size_t left_count;
    bool is_posted;
};

/* To a pass: end.  Freed when it has been run and the pass has left. */
struct fence_order {
    struct loop_message message;
    struct list_node node; /* in target's waited_by */
    struct fence_table *table;
    struct fence_pass *target; /* NULL: it has left */
    struct fence_gather *gather;
    bool was_run;
};

static void lock_table(struct fence_table *table)
{
    CHECK(pthread_mutex_lock(&table->mutex) == 0);
}

static void unlock_table(struct fence_table *table)
{
    CHECK(pthread_mutex_unlock(&table->mutex) == 0);
}

static void free_table(struct fence_table *table)
{
    struct slice name;
    void *value;
    size_t at = 0;

    while (map_next(&table->keys, &at, &name, &value))
        free(value);
    map_clear(&table->keys);
    pthread_mutex_destroy(&table->mutex);
    free(table);
}

/* Unlocks. */
static void drop_reference(struct fence_table *table)
{
    bool is_last = --table->reference_count == 0;

    unlock_table(table);
    if (is_last)
        free_table(table);
}

struct fence_table *fence_table_open(size_t max_keys)
{
    struct fence_table *table = mem_calloc(1, sizeof(*table));

    CHECK(pthread_mutex_init(&table->mutex, NULL) == 0);
    map_init(&table->keys);
    list_init(&table->unused);
    table->max_keys = max_keys;
    table->reference_count = 1;
    return table;
}

struct fence_table *fence_table_ref(struct fence_table *table)
{
    lock_table(table);
    table->reference_count++;
    unlock_table(table);
    return table;
}

void fence_table_unref(struct fence_table **tablep)
{
    struct fence_table *table = TAKE(tablep);

    lock_table(table);
    drop_reference(table);
}

/* ---- keys ---- */

static void make_room(struct fence_table *table)
{
    while (map_count(&table->keys) >= table->max_keys && !list_is_empty(&table->unused)) {
        struct fence_key *key = CONTAINER_OF(list_pop(&table->unused), struct fence_key, node);

        map_remove(&table->keys, slice_from(key->name, key->name_len));
        free(key);
    }
}

static struct fence_key *find_key(struct fence_table *table, struct slice name)
{
    struct fence_key *key = map_get(&table->keys, name);

    if (key != NULL)
        return key;
    make_room(table);
    key = mem_alloc(sizeof(*key) + name.len);
    list_node_init(&key->node);
    list_init(&key->passes);
    key->alone = key->any = 0;
    key->name_len = name.len;
    memcpy(key->name, name.at, name.len);
    map_set(&table->keys, name, key);
    list_append(&table->unused, &key->node);
    return key;
}

/* ---- telling others ---- */

static void run_gathered(struct loop *loop, struct loop_message *message)
{
    struct fence_gather *gather = CONTAINER_OF(message, struct fence_gather, message);
    struct fence_table *table = gather->table;
    struct fence_pass *pass;

    UNUSED(loop);
    lock_table(table);
    pass = gather->pass;
    if (pass != NULL)
        pass->gather = NULL;
    drop_reference(table);
    free(gather);
    /* Only this thread could have made it leave meanwhile. */
    if (pass != NULL)
        pass->on_clear(pass);
}

static void drop_gathered(struct loop *loop, struct loop_message *message)
{
    struct fence_gather *gather = CONTAINER_OF(message, struct fence_gather, message);

    UNUSED(loop);
    lock_table(gather->table);
    if (gather->pass != NULL)
        gather->pass->gather = NULL;
    drop_reference(gather->table);
    free(gather);
}

/* One that it waited for is gone. */
static void gather_one(struct fence_gather *gather)
{
    CHECK(gather->left_count > 0);
    if (--gather->left_count > 0)
        return;
    if (gather->pass == NULL) {
        CHECK(--gather->table->reference_count > 0); /* the caller has one */
        free(gather);
        return;
    }
    gather->is_posted = true;
    gather->message.run = run_gathered;
    gather->message.on_drop = drop_gathered;
    loop_post(gather->pass->loop, &gather->message);
}

static void finish_order(struct loop_message *message, bool is_run)
{
    struct fence_order *order = CONTAINER_OF(message, struct fence_order, message);
    struct fence_table *table = order->table;
    struct fence_pass *target;

    lock_table(table);
    target = order->target;
    order->was_run = true;
    drop_reference(table);
    if (target == NULL)
        free(order);
    else if (is_run)
        target->on_revoked(target);
}

static void run_order(struct loop *loop, struct loop_message *message)
{
    UNUSED(loop);
    finish_order(message, true);
}

static void drop_order(struct loop *loop, struct loop_message *message)
{
    UNUSED(loop);
    finish_order(message, false);
}

static void post_order(struct fence_table *table, struct fence_pass *target,
                       struct fence_gather *gather)
{
    struct fence_order *order = mem_calloc(1, sizeof(*order));

    atomic_store(&target->is_revoked, true);
    order->message.run = run_order;
    order->message.on_drop = drop_order;
    order->table = table;
    order->target = target;
    order->gather = gather;
    list_node_init(&order->node);
    list_append(&target->waited_by, &order->node);
    table->reference_count++;
    loop_post(target->loop, &order->message);
}

/* An even token is of one who holds the lock alone, an odd one of several (lua/README.md, fence):
 * several have no order among themselves. */
static bool is_stale_beside(uint64_t token, uint64_t other)
{
    return token < other && (token % 2 == 0 || other % 2 == 0);
}

/* Tells all older ones to stop; gives what waits for their leaving, or NULL. */
static struct fence_gather *revoke_older(struct fence_table *table, struct fence_pass *pass)
{
    struct fence_gather *gather = NULL;

    LIST_EACH (&pass->key->passes, node) {
        struct fence_pass *other = CONTAINER_OF(node, struct fence_pass, node);

        if (!is_stale_beside(other->token, pass->token))
            continue;
        if (gather == NULL) {
            gather = mem_calloc(1, sizeof(*gather));
            gather->table = table;
            gather->pass = pass;
            table->reference_count++;
        }
        gather->left_count++;
        post_order(table, other, gather);
    }
    return gather;
}

/* ---- passing ---- */

enum fence_entry fence_enter(struct fence_table *table, struct slice name, uint64_t token,
                             bool revokes, struct fence_pass *pass)
{
    struct fence_key *key;
    bool is_clear;

    lock_table(table);
    key = find_key(table, name);
    if (is_stale_beside(token, key->alone) || is_stale_beside(token, key->any)) {
        unlock_table(table);
        return FENCE_STALE;
    }
    if (token > key->any)
        key->any = token;
    if (token % 2 == 0)
        key->alone = token;
    pass->table = table;
    pass->key = key;
    pass->token = token;
    atomic_init(&pass->is_revoked, false);
    list_init(&pass->waited_by);
    pass->gather = revokes ? revoke_older(table, pass) : NULL;
    list_node_init(&pass->node);
    list_append(&key->passes, &pass->node);
    list_remove(&key->node);
    table->reference_count++;
    /* Those told to stop can only have left after the lock is free. */
    is_clear = pass->gather == NULL;
    unlock_table(table);
    return is_clear ? FENCE_CLEAR : FENCE_WAIT;
}

/* Nobody waits for it any more: its message, or the last it waited for, frees it. */
static void forget_gather(struct fence_pass *pass)
{
    if (pass->gather == NULL)
        return;
    pass->gather->pass = NULL;
    pass->gather = NULL;
}

void fence_leave(struct fence_pass *pass)
{
    struct fence_table *table = pass->table;
    struct list_node *node;

    if (table == NULL)
        return;
    lock_table(table);
    pass->table = NULL;
    forget_gather(pass);
    list_remove(&pass->node);
    if (list_is_empty(&pass->key->passes))
        list_append(&table->unused, &pass->key->node);
    while ((node = list_pop(&pass->waited_by)) != NULL) {
        struct fence_order *order = CONTAINER_OF(node, struct fence_order, node);

        gather_one(order->gather);
        order->target = NULL;
        if (order->was_run)
            free(order);
    }
    drop_reference(table);
}

uint64_t fence_floor(struct fence_table *table, struct slice name)
{
    struct fence_key *key;
    uint64_t floor;

    lock_table(table);
    key = map_get(&table->keys, name);
    floor = key != NULL ? key->any : 0;
    unlock_table(table);
    return floor;
}

size_t fence_key_count(struct fence_table *table)
{
    size_t count;

    lock_table(table);
    count = map_count(&table->keys);
    unlock_table(table);
    return count;
}
