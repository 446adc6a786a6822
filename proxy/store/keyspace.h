/* Keys with values and times to live, in memory: what Redis keeps, as far as our scripts need it.
 * commands.c speaks Redis's language over it, embedded.c runs the scripts.
 *
 * Time stands still between two calls of keyspace_begin, as it does within a script in Redis.  A
 * key is gone once its time has passed, whether it was removed yet or not.  Not thread-safe: the
 * engine holds its lock. */
#ifndef STORE_KEYSPACE_H
#define STORE_KEYSPACE_H

#include <stdint.h>

#include "base/list.h"
#include "store/zset.h"

struct keyspace;

/* Wall clock in microseconds; must never go back. */
typedef uint64_t keyspace_clock_fn(void *owner);

enum entry_type { ENTRY_STRING, ENTRY_ZSET, ENTRY_HASH };

struct hash {
    struct table table;
    struct list in_order; /* the order of insertion */
    size_t bytes;
};

struct hash_field {
    struct table_node node; /* node.key is the name */
    struct list_node in_order;
    struct slice value; /* own memory */
    char bytes[];
};

#define ENTRY_NO_EXPIRY INT64_MAX

struct entry {
    struct table_node node; /* node.key is the key */
    enum entry_type type;
    int64_t expires_at_ms; /* ENTRY_NO_EXPIRY: lives for ever */
    size_t heap_at;        /* place in the heap of those that expire */
    size_t bytes;          /* as accounted */
    union {
        struct {
            char *at;
            size_t len, cap;
        } string;
        struct zset zset;
        struct hash hash;
    };
    char key[];
};

struct keyspace_stats {
    size_t keys, bytes, max_bytes;
    uint64_t expired_count;
    uint64_t full_count; /* scripts begun while memory was full */
};

/* The clock is the system's until keyspace_set_clock. */
struct keyspace *keyspace_open(size_t max_bytes);
/* From the next keyspace_begin on. */
void keyspace_set_max_bytes(struct keyspace *keyspace, size_t max_bytes);
void keyspace_close(struct keyspace **keyspace);
void keyspace_set_clock(struct keyspace *keyspace, keyspace_clock_fn *clock, void *owner);

/* Reads the clock, removes a few expired keys (all of them when memory is full), and judges whether
 * memory is full. */
void keyspace_begin(struct keyspace *keyspace);
uint64_t keyspace_now_us(const struct keyspace *keyspace);
int64_t keyspace_now_ms(const struct keyspace *keyspace);
/* As judged by keyspace_begin; what a script writes after that is bounded by the script. */
bool keyspace_is_full(const struct keyspace *keyspace);

/* NULL when the key does not exist, or no more. */
struct entry *keyspace_find(struct keyspace *keyspace, struct slice key);
/* The key must not exist. */
struct entry *keyspace_add(struct keyspace *keyspace, struct slice key, enum entry_type type);
void keyspace_remove(struct keyspace *keyspace, struct entry *entry);
void keyspace_set_expiry(struct keyspace *keyspace, struct entry *entry, int64_t expires_at_ms);
/* Must follow every change of an entry's value. */
void keyspace_account(struct keyspace *keyspace, struct entry *entry);

struct slice entry_string(const struct entry *entry);
/* Only for strings.  value may not point into the entry. */
void entry_set_string(struct entry *entry, struct slice value);
/* Makes it an empty value of another type; the time to live stays. */
void entry_reset(struct entry *entry, enum entry_type type);

struct hash_field *hash_find(const struct hash *hash, struct slice name);
/* True when the field is new. */
bool hash_set(struct hash *hash, struct slice name, struct slice value);
void hash_remove(struct hash *hash, struct hash_field *field);

void keyspace_get_stats(const struct keyspace *keyspace, struct keyspace_stats *ret_stats);

#endif
