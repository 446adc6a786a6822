/* YAML to a tree of nodes that know where they stand.
 *
 * What policies need of YAML, and no more: mappings, lists and scalars, anchors with plain aliases.
 * Tags, merge keys, several documents, duplicate keys and keys that are not words are refused.
 * Every scalar stays text; what it means is decided by the field it belongs to. */
#ifndef POLICY_YAML_H
#define POLICY_YAML_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"
#include "policy/problems.h"
#include "policy/source.h"

/* Bounds on one file.  Nodes are counted with aliases expanded, so that nested aliases ("billion
 * laughs") cost no more than what they stand for. */
#define YAML_MAX_DEPTH 32
#define YAML_MAX_NODES 200000
#define YAML_MAX_ANCHORS 256

enum yaml_kind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

/* An item of a sequence (key is NULL) or a pair of a mapping. */
struct yaml_entry {
    struct yaml_node *key, *value;
    unsigned index; /* in its sequence or mapping */
    struct yaml_entry *next;
};

struct yaml_node {
    enum yaml_kind kind;
    bool is_plain; /* a scalar without quotes, on one line */
    bool is_null;  /* nothing at all, or a plain ~ or null */
    struct source_mark mark;
    struct slice text; /* of scalars; terminated */
    struct yaml_entry *first, *last;
    size_t count;
    uint64_t weight; /* nodes in this tree, aliases expanded */
    bool is_open;    /* its end has not been read yet */
};

/* The tree, in arena.  NULL when the file cannot be understood; then, and for every smaller fault,
 * there is a problem.  An empty file is an empty mapping. */
struct yaml_node *yaml_parse(struct arena *arena, const struct source *source,
                             struct policy_problems *problems);

/* The pair with this key, or NULL. */
struct yaml_entry *yaml_find(const struct yaml_node *mapping, struct slice key);

/* The place of a part of a scalar's text where it can be told (no escapes, one line), else of the
 * whole scalar. */
struct source_mark yaml_part_mark(const struct yaml_node *scalar, size_t offset, size_t len);

/* "a list", "a section", "a value". */
const char *yaml_kind_phrase(enum yaml_kind kind);

/* To build trees by hand. */
struct yaml_node *yaml_node_add(struct arena *arena, enum yaml_kind kind, struct source_mark mark);
void yaml_append(struct arena *arena, struct yaml_node *parent, struct yaml_node *key,
                 struct yaml_node *value);

/* "0.2.5"; static. */
const char *yaml_library_version(void);

#endif
