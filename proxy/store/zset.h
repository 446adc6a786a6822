/* A sorted set: members with scores, ordered by score and then by bytes, as in Redis.  Lookup by
 * member is a hash table, order and ranks are a treap whose priorities are the members' keyed
 * hashes, so that nobody outside can unbalance it.  Not thread-safe. */
#ifndef STORE_ZSET_H
#define STORE_ZSET_H

#include "store/table.h"

struct zset_member {
    struct table_node node; /* node.key is the member */
    double score;
    struct zset_member *left, *right;
    size_t size; /* members in this subtree */
    char bytes[];
};

struct zset {
    struct table table;
    struct zset_member *root;
    size_t bytes; /* memory of the members */
};

struct zset_bound {
    double score;
    bool is_exclusive;
};

void zset_init(struct zset *zset);
void zset_clear(struct zset *zset);

static inline size_t zset_count(const struct zset *zset)
{
    return zset->table.node_count;
}

struct zset_member *zset_find(const struct zset *zset, struct slice member);
/* The member must not be in the set. */
void zset_add(struct zset *zset, struct slice member, double score);
void zset_set_score(struct zset *zset, struct zset_member *member, double score);
/* Frees the member. */
void zset_remove(struct zset *zset, struct zset_member *member);

/* NULL when there are not so many members. */
struct zset_member *zset_at_rank(const struct zset *zset, size_t rank);
size_t zset_rank(const struct zset *zset, const struct zset_member *member);
/* The ranks of a range of scores begin at the first and end before the second. */
size_t zset_count_before_min(const struct zset *zset, struct zset_bound min);
size_t zset_count_up_to_max(const struct zset *zset, struct zset_bound max);

size_t zset_bytes(const struct zset *zset);

#endif
