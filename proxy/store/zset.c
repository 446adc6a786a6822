#include "store/zset.h"

#include <stdlib.h>

#include "base/arena.h"

void zset_init(struct zset *zset)
{
    *zset = (struct zset){0};
    table_init(&zset->table);
}

static void free_member(struct table_node *node, void *owner)
{
    UNUSED(owner);
    free(CONTAINER_OF(node, struct zset_member, node));
}

void zset_clear(struct zset *zset)
{
    table_drain(&zset->table, free_member, NULL);
    zset_init(zset);
}

struct zset_member *zset_find(const struct zset *zset, struct slice member)
{
    struct table_node *node = table_find(&zset->table, member);

    return node != NULL ? CONTAINER_OF(node, struct zset_member, node) : NULL;
}

/*
 * The treap: ordered by (score, member), a heap by hash.
 */

static size_t size_of(const struct zset_member *tree)
{
    return tree != NULL ? tree->size : 0;
}

static void update_size(struct zset_member *tree)
{
    tree->size = 1 + size_of(tree->left) + size_of(tree->right);
}

static int compare_bytes(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.at, b.at, common) : 0;

    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

static bool is_before(const struct zset_member *a, const struct zset_member *b)
{
    if (a->score != b->score)
        return a->score < b->score;
    return compare_bytes(a->node.key, b->node.key) < 0;
}

/* Split a tree into what is before at and the rest. */
static void split(struct zset_member *tree, const struct zset_member *at,
                  struct zset_member **ret_before, struct zset_member **ret_rest)
{
    if (tree == NULL) {
        *ret_before = *ret_rest = NULL;
    } else if (is_before(tree, at)) {
        split(tree->right, at, &tree->right, ret_rest);
        *ret_before = tree;
        update_size(tree);
    } else {
        split(tree->left, at, ret_before, &tree->left);
        *ret_rest = tree;
        update_size(tree);
    }
}

/* Everything in before is before everything in rest. */
static struct zset_member *join(struct zset_member *before, struct zset_member *rest)
{
    if (before == NULL)
        return rest;
    if (rest == NULL)
        return before;
    if (before->node.hash > rest->node.hash) {
        before->right = join(before->right, rest);
        update_size(before);
        return before;
    }
    rest->left = join(before, rest->left);
    update_size(rest);
    return rest;
}

static void link_member(struct zset *zset, struct zset_member *member)
{
    struct zset_member **at = &zset->root;

    member->size = 1;
    while (*at != NULL && (*at)->node.hash > member->node.hash) {
        (*at)->size++;
        at = is_before(*at, member) ? &(*at)->right : &(*at)->left;
    }
    split(*at, member, &member->left, &member->right);
    update_size(member);
    *at = member;
}

static void unlink_member(struct zset *zset, struct zset_member *member)
{
    struct zset_member **at = &zset->root;

    while (*at != member) {
        CHECK(*at != NULL);
        (*at)->size--;
        at = is_before(*at, member) ? &(*at)->right : &(*at)->left;
    }
    *at = join(member->left, member->right);
    member->left = member->right = NULL;
}

/*
 * Members
 */

static size_t bytes_of(const struct zset_member *member)
{
    return sizeof *member + member->node.key.len + MEM_OVERHEAD_BYTES;
}

void zset_add(struct zset *zset, struct slice key, double score)
{
    struct zset_member *member = mem_calloc(1, sizeof *member + key.len + 1);

    if (key.len > 0)
        memcpy(member->bytes, key.at, key.len);
    member->node.key = slice_from(member->bytes, key.len);
    member->score = score;
    table_insert(&zset->table, &member->node);
    link_member(zset, member);
    zset->bytes += bytes_of(member);
}

void zset_set_score(struct zset *zset, struct zset_member *member, double score)
{
    if (member->score == score)
        return;
    unlink_member(zset, member);
    member->score = score;
    link_member(zset, member);
}

void zset_remove(struct zset *zset, struct zset_member *member)
{
    unlink_member(zset, member);
    table_remove(&zset->table, &member->node);
    zset->bytes -= bytes_of(member);
    free(member);
}

/*
 * Ranks
 */

struct zset_member *zset_at_rank(const struct zset *zset, size_t rank)
{
    struct zset_member *tree = zset->root;

    while (tree != NULL) {
        size_t before = size_of(tree->left);

        if (rank == before)
            return tree;
        if (rank < before) {
            tree = tree->left;
        } else {
            rank -= before + 1;
            tree = tree->right;
        }
    }
    return NULL;
}

size_t zset_rank(const struct zset *zset, const struct zset_member *member)
{
    const struct zset_member *tree = zset->root;
    size_t rank = 0;

    while (tree != member) {
        CHECK(tree != NULL);
        if (is_before(tree, member)) {
            rank += size_of(tree->left) + 1;
            tree = tree->right;
        } else {
            tree = tree->left;
        }
    }
    return rank + size_of(tree->left);
}

/* How many members have a score below bound, or also equal to it. */
static size_t count_below(const struct zset *zset, double bound, bool with_equal)
{
    const struct zset_member *tree = zset->root;
    size_t count = 0;

    while (tree != NULL) {
        if (tree->score < bound || (with_equal && tree->score == bound)) {
            count += size_of(tree->left) + 1;
            tree = tree->right;
        } else {
            tree = tree->left;
        }
    }
    return count;
}

size_t zset_count_before_min(const struct zset *zset, struct zset_bound min)
{
    return count_below(zset, min.score, min.is_exclusive);
}

size_t zset_count_up_to_max(const struct zset *zset, struct zset_bound max)
{
    return count_below(zset, max.score, !max.is_exclusive);
}

size_t zset_bytes(const struct zset *zset)
{
    return zset->bytes + table_bytes(&zset->table);
}
