/* Hash table whose nodes are embedded in what it holds: the keys of the keyspace, the members of a
 * sorted set, the fields of a hash.  It grows a few slots at a time, so that no single call pays
 * for the whole.  Not thread-safe. */
#ifndef STORE_TABLE_H
#define STORE_TABLE_H

#include <stdint.h>

#include "base/slice.h"

/* What malloc is reckoned to add to each object, for the accounts of memory. */
#define MEM_OVERHEAD_BYTES 16

struct table_node {
    struct table_node *next;
    uint64_t hash;
    struct slice key; /* bytes of the object that embeds the node */
};

struct table_slots {
    struct table_node **at;
    size_t count; /* 0 or a power of two */
};

struct table {
    struct table_slots now;
    struct table_slots old; /* while growing: what is still to be moved */
    size_t moved;           /* slots of old that are empty */
    size_t node_count;
};

void table_init(struct table *table);

struct table_node *table_find(const struct table *table, struct slice key);
/* node->key must be set, and not be in the table yet. */
void table_insert(struct table *table, struct table_node *node);
void table_remove(struct table *table, struct table_node *node);

/* Empties the table: hands every node to take, which may free it, and frees the slots. */
typedef void table_drain_fn(struct table_node *node, void *owner);
void table_drain(struct table *table, table_drain_fn *take, void *owner);

/* Memory of the slots. */
size_t table_bytes(const struct table *table);

#endif
