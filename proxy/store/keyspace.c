#include "store/keyspace.h"

#include <stdlib.h>
#include <time.h>

#include "base/arena.h"

/* Expired keys removed by each script: more than one new key per script cannot outrun it. */
#define EXPIRE_PER_BEGIN 4

/* A wall clock that cannot go back: it follows steps forward, and goes on at its own pace over
 * steps back. */
struct steady_clock {
    int64_t ahead_us; /* of the time since boot; never gets smaller */
    bool is_set;
};

struct keyspace {
    struct table table;
    struct entry **heap; /* of those that expire; the first to go is first */
    size_t heap_count, heap_cap;
    size_t bytes, max_bytes;
    keyspace_clock_fn *clock;
    void *clock_owner;
    struct steady_clock steady;
    uint64_t now_us;
    bool is_full;
    uint64_t expired_count, full_count;
};

/*
 * Time
 */

static int64_t read_us(clockid_t id)
{
    struct timespec at;

    CHECK(clock_gettime(id, &at) == 0);
    return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

static uint64_t steady_clock(void *owner)
{
    struct steady_clock *steady = owner;
    int64_t since_boot_us = read_us(CLOCK_BOOTTIME);
    int64_t ahead_us = read_us(CLOCK_REALTIME) - since_boot_us;

    if (!steady->is_set || ahead_us > steady->ahead_us)
        steady->ahead_us = ahead_us;
    steady->is_set = true;
    return (uint64_t)(since_boot_us + steady->ahead_us);
}

void keyspace_set_clock(struct keyspace *keyspace, keyspace_clock_fn *clock, void *owner)
{
    keyspace->clock = clock;
    keyspace->clock_owner = owner;
}

uint64_t keyspace_now_us(const struct keyspace *keyspace)
{
    return keyspace->now_us;
}

int64_t keyspace_now_ms(const struct keyspace *keyspace)
{
    return (int64_t)(keyspace->now_us / 1000);
}

/*
 * Hashes
 */

static void free_field(struct table_node *node, void *owner)
{
    struct hash_field *field = CONTAINER_OF(node, struct hash_field, node);

    UNUSED(owner);
    free((void *)(uintptr_t)field->value.at);
    free(field);
}

static size_t field_bytes(const struct hash_field *field)
{
    return sizeof *field + field->node.key.len + field->value.len + 2 * MEM_OVERHEAD_BYTES;
}

struct hash_field *hash_find(const struct hash *hash, struct slice name)
{
    struct table_node *node = table_find(&hash->table, name);

    return node != NULL ? CONTAINER_OF(node, struct hash_field, node) : NULL;
}

static struct hash_field *hash_add(struct hash *hash, struct slice name)
{
    struct hash_field *field = mem_calloc(1, sizeof *field + name.len + 1);

    if (name.len > 0)
        memcpy(field->bytes, name.at, name.len);
    field->node.key = slice_from(field->bytes, name.len);
    list_node_init(&field->in_order);
    list_append(&hash->in_order, &field->in_order);
    table_insert(&hash->table, &field->node);
    hash->bytes += field_bytes(field);
    return field;
}

bool hash_set(struct hash *hash, struct slice name, struct slice value)
{
    struct hash_field *field = hash_find(hash, name);
    bool is_new = field == NULL;
    char *copy = mem_copy_slice(value);

    if (is_new)
        field = hash_add(hash, name);
    hash->bytes -= field->value.len;
    free((void *)(uintptr_t)field->value.at);
    field->value = slice_from(copy, value.len);
    hash->bytes += value.len;
    return is_new;
}

void hash_remove(struct hash *hash, struct hash_field *field)
{
    hash->bytes -= field_bytes(field);
    list_remove(&field->in_order);
    table_remove(&hash->table, &field->node);
    free_field(&field->node, NULL);
}

/*
 * Values
 */

struct slice entry_string(const struct entry *entry)
{
    return slice_from(entry->string.at, entry->string.len);
}

void entry_set_string(struct entry *entry, struct slice value)
{
    CHECK(entry->type == ENTRY_STRING);
    if (value.len >= entry->string.cap) {
        free(entry->string.at);
        /* Some room, because counters grow by a digit now and then. */
        entry->string.cap = (value.len + 16) & ~(size_t)15;
        entry->string.at = mem_alloc(entry->string.cap);
    }
    if (value.len > 0)
        memcpy(entry->string.at, value.at, value.len);
    entry->string.at[value.len] = '\0';
    entry->string.len = value.len;
}

static void init_value(struct entry *entry, enum entry_type type)
{
    entry->type = type;
    if (type == ENTRY_ZSET) {
        zset_init(&entry->zset);
    } else if (type == ENTRY_HASH) {
        table_init(&entry->hash.table);
        list_init(&entry->hash.in_order);
        entry->hash.bytes = 0;
    } else {
        entry->string.at = NULL;
        entry->string.len = entry->string.cap = 0;
    }
}

static void clear_value(struct entry *entry)
{
    if (entry->type == ENTRY_ZSET)
        zset_clear(&entry->zset);
    else if (entry->type == ENTRY_HASH)
        table_drain(&entry->hash.table, free_field, NULL);
    else
        free(entry->string.at);
}

void entry_reset(struct entry *entry, enum entry_type type)
{
    clear_value(entry);
    init_value(entry, type);
}

static size_t entry_bytes(const struct entry *entry)
{
    size_t bytes = sizeof *entry + entry->node.key.len + MEM_OVERHEAD_BYTES;

    if (entry->type == ENTRY_ZSET)
        return bytes + zset_bytes(&entry->zset);
    if (entry->type == ENTRY_HASH)
        return bytes + entry->hash.bytes + table_bytes(&entry->hash.table);
    return bytes + entry->string.cap + MEM_OVERHEAD_BYTES;
}

/*
 * The heap of keys that expire
 */

static void heap_put(struct keyspace *keyspace, size_t at, struct entry *entry)
{
    keyspace->heap[at] = entry;
    entry->heap_at = at;
}

static void heap_rise(struct keyspace *keyspace, size_t at, struct entry *entry)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;

        if (keyspace->heap[parent]->expires_at_ms <= entry->expires_at_ms)
            break;
        heap_put(keyspace, at, keyspace->heap[parent]);
        at = parent;
    }
    heap_put(keyspace, at, entry);
}

static void heap_sink(struct keyspace *keyspace, size_t at, struct entry *entry)
{
    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= keyspace->heap_count)
            break;
        if (child + 1 < keyspace->heap_count &&
            keyspace->heap[child + 1]->expires_at_ms < keyspace->heap[child]->expires_at_ms)
            child++;
        if (entry->expires_at_ms <= keyspace->heap[child]->expires_at_ms)
            break;
        heap_put(keyspace, at, keyspace->heap[child]);
        at = child;
    }
    heap_put(keyspace, at, entry);
}

static void heap_add(struct keyspace *keyspace, struct entry *entry)
{
    if (keyspace->heap_count == keyspace->heap_cap) {
        size_t old_bytes = keyspace->heap_cap * sizeof *keyspace->heap;

        keyspace->heap_cap = keyspace->heap_cap > 0 ? keyspace->heap_cap * 2 : 16;
        keyspace->heap = mem_realloc(keyspace->heap, keyspace->heap_cap * sizeof *keyspace->heap);
        keyspace->bytes += keyspace->heap_cap * sizeof *keyspace->heap - old_bytes;
    }
    heap_rise(keyspace, keyspace->heap_count++, entry);
}

static void heap_remove(struct keyspace *keyspace, struct entry *entry)
{
    struct entry *last = keyspace->heap[--keyspace->heap_count];

    if (last == entry)
        return;
    /* One of the two is a no-op. */
    heap_rise(keyspace, entry->heap_at, last);
    heap_sink(keyspace, last->heap_at, last);
}

void keyspace_set_expiry(struct keyspace *keyspace, struct entry *entry, int64_t expires_at_ms)
{
    if (entry->expires_at_ms == expires_at_ms)
        return;
    if (entry->expires_at_ms != ENTRY_NO_EXPIRY)
        heap_remove(keyspace, entry);
    entry->expires_at_ms = expires_at_ms;
    if (expires_at_ms != ENTRY_NO_EXPIRY)
        heap_add(keyspace, entry);
}

/*
 * Keys
 */

static bool is_expired(const struct keyspace *keyspace, const struct entry *entry)
{
    return keyspace_now_ms(keyspace) > entry->expires_at_ms;
}

struct entry *keyspace_find(struct keyspace *keyspace, struct slice key)
{
    struct table_node *node = table_find(&keyspace->table, key);
    struct entry *entry;

    if (node == NULL)
        return NULL;
    entry = CONTAINER_OF(node, struct entry, node);
    if (!is_expired(keyspace, entry))
        return entry;
    keyspace->expired_count++;
    keyspace_remove(keyspace, entry);
    return NULL;
}

struct entry *keyspace_add(struct keyspace *keyspace, struct slice key, enum entry_type type)
{
    struct entry *entry = mem_calloc(1, sizeof *entry + key.len + 1);
    size_t table_bytes_before = table_bytes(&keyspace->table);

    if (key.len > 0)
        memcpy(entry->key, key.at, key.len);
    entry->node.key = slice_from(entry->key, key.len);
    entry->expires_at_ms = ENTRY_NO_EXPIRY;
    init_value(entry, type);
    table_insert(&keyspace->table, &entry->node);
    keyspace->bytes += table_bytes(&keyspace->table) - table_bytes_before;
    keyspace_account(keyspace, entry);
    return entry;
}

void keyspace_remove(struct keyspace *keyspace, struct entry *entry)
{
    keyspace_set_expiry(keyspace, entry, ENTRY_NO_EXPIRY);
    table_remove(&keyspace->table, &entry->node);
    keyspace->bytes -= entry->bytes;
    clear_value(entry);
    free(entry);
}

void keyspace_account(struct keyspace *keyspace, struct entry *entry)
{
    size_t bytes = entry_bytes(entry);

    keyspace->bytes += bytes - entry->bytes;
    entry->bytes = bytes;
}

static void remove_expired(struct keyspace *keyspace, size_t at_most)
{
    while (at_most-- > 0 && keyspace->heap_count > 0 && is_expired(keyspace, keyspace->heap[0])) {
        keyspace->expired_count++;
        keyspace_remove(keyspace, keyspace->heap[0]);
    }
}

void keyspace_begin(struct keyspace *keyspace)
{
    keyspace->now_us = keyspace->clock(keyspace->clock_owner);
    remove_expired(keyspace, EXPIRE_PER_BEGIN);
    if (keyspace->bytes > keyspace->max_bytes)
        remove_expired(keyspace, SIZE_MAX);
    keyspace->is_full = keyspace->bytes > keyspace->max_bytes;
    if (keyspace->is_full)
        keyspace->full_count++;
}

bool keyspace_is_full(const struct keyspace *keyspace)
{
    return keyspace->is_full;
}

void keyspace_get_stats(const struct keyspace *keyspace, struct keyspace_stats *ret_stats)
{
    *ret_stats = (struct keyspace_stats){
        .keys = keyspace->table.node_count,
        .bytes = keyspace->bytes,
        .max_bytes = keyspace->max_bytes,
        .expired_count = keyspace->expired_count,
        .full_count = keyspace->full_count,
    };
}

struct keyspace *keyspace_open(size_t max_bytes)
{
    struct keyspace *keyspace = mem_calloc(1, sizeof *keyspace);

    table_init(&keyspace->table);
    keyspace->max_bytes = max_bytes;
    keyspace_set_clock(keyspace, steady_clock, &keyspace->steady);
    keyspace_begin(keyspace);
    return keyspace;
}

void keyspace_set_max_bytes(struct keyspace *keyspace, size_t max_bytes)
{
    keyspace->max_bytes = max_bytes;
}

static void free_entry(struct table_node *node, void *owner)
{
    struct entry *entry = CONTAINER_OF(node, struct entry, node);

    UNUSED(owner);
    clear_value(entry);
    free(entry);
}

void keyspace_close(struct keyspace **keyspace_at)
{
    struct keyspace *keyspace = TAKE(keyspace_at);

    table_drain(&keyspace->table, free_entry, NULL);
    free(keyspace->heap);
    free(keyspace);
}
