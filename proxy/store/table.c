#include "store/table.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/map.h"

#define FIRST_SLOTS 8
/* Slots moved by each insertion while the table grows: with two, it is done long before the next
 * growth is due. */
#define MOVES_PER_INSERT 2

void table_init(struct table *table)
{
    *table = (struct table){0};
}

static struct table_node **slot_of(const struct table_slots *slots, uint64_t hash)
{
    return &slots->at[hash & (slots->count - 1)];
}

static struct table_node *find_in(const struct table_slots *slots, uint64_t hash, struct slice key)
{
    struct table_node *node;

    if (slots->count == 0)
        return NULL;
    for (node = *slot_of(slots, hash); node != NULL; node = node->next)
        if (node->hash == hash && slice_equal(node->key, key))
            return node;
    return NULL;
}

struct table_node *table_find(const struct table *table, struct slice key)
{
    uint64_t hash;
    struct table_node *node;

    if (table->node_count == 0)
        return NULL;
    hash = map_hash(key);
    node = find_in(&table->now, hash, key);
    return node != NULL ? node : find_in(&table->old, hash, key);
}

static void move_some(struct table *table)
{
    for (int i = 0; i < MOVES_PER_INSERT && table->old.count > 0; i++) {
        struct table_node *node = table->old.at[table->moved];

        while (node != NULL) {
            struct table_node *next = node->next, **slot = slot_of(&table->now, node->hash);

            node->next = *slot;
            *slot = node;
            node = next;
        }
        table->old.at[table->moved++] = NULL;
        if (table->moved == table->old.count) {
            free(table->old.at);
            table->old = (struct table_slots){0};
        }
    }
}

static void grow(struct table *table)
{
    size_t count = table->now.count > 0 ? table->now.count * 2 : FIRST_SLOTS;

    CHECK(table->old.count == 0);
    table->old = table->now;
    table->moved = 0;
    table->now.at = mem_calloc(count, sizeof *table->now.at);
    table->now.count = count;
    if (table->old.count == 0)
        table->old = (struct table_slots){0};
}

void table_insert(struct table *table, struct table_node *node)
{
    struct table_node **slot;

    if (table->node_count >= table->now.count && table->old.count == 0)
        grow(table);
    move_some(table);
    node->hash = map_hash(node->key);
    slot = slot_of(&table->now, node->hash);
    node->next = *slot;
    *slot = node;
    table->node_count++;
}

static bool remove_from(struct table_slots *slots, struct table_node *node)
{
    if (slots->count == 0)
        return false;
    for (struct table_node **at = slot_of(slots, node->hash); *at != NULL; at = &(*at)->next)
        if (*at == node) {
            *at = node->next;
            return true;
        }
    return false;
}

void table_remove(struct table *table, struct table_node *node)
{
    CHECK(remove_from(&table->now, node) || remove_from(&table->old, node));
    node->next = NULL;
    table->node_count--;
}

static void drain_slots(struct table_slots *slots, table_drain_fn *take, void *owner)
{
    for (size_t i = 0; i < slots->count; i++) {
        struct table_node *node = slots->at[i];

        while (node != NULL) {
            struct table_node *next = node->next; /* take may free the node */

            take(node, owner);
            node = next;
        }
    }
    free(slots->at);
}

void table_drain(struct table *table, table_drain_fn *take, void *owner)
{
    drain_slots(&table->now, take, owner);
    drain_slots(&table->old, take, owner);
    table_init(table);
}

size_t table_bytes(const struct table *table)
{
    return (table->now.count + table->old.count) * sizeof(struct table_node *);
}
