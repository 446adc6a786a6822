#include "base/sketch.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/map.h"

#define SKETCH_TAG 0x746b5301u /* "Skt" */

struct entry {
    uint64_t hash, at_ms, value;
    uint32_t error;
    uint32_t key_bytes; /* of the whole key */
    uint32_t heap_at;   /* where its count is */
    char key[SKETCH_KEY_BYTES];
};

struct node {
    uint32_t count;
    uint32_t index; /* into entries */
};

/* Entries are found by a table with open addressing, the least count by a heap.  A count only ever
 * grows by one, and most of the growing ones stand at the bottom already, so keeping the heap in
 * order takes hardly a step. */
struct sketch {
    uint32_t tag;
    uint32_t entry_count, used_count;
    uint32_t slot_mask;
    uint64_t total;
    uint32_t cells[SKETCH_CELLS];
    struct node heap[SKETCH_MAX_ENTRIES];   /* the least count first */
    uint16_t slots[SKETCH_MAX_ENTRIES * 4]; /* index into entries + 1, or 0 */
    struct entry entries[];
};

struct sketch *sketch_open(size_t entry_count)
{
    struct sketch *sketch;

    CHECK(entry_count > 0 && entry_count <= SKETCH_MAX_ENTRIES);
    sketch = mem_calloc(1, sizeof(*sketch) + entry_count * sizeof(sketch->entries[0]));
    sketch->tag = SKETCH_TAG;
    sketch->entry_count = (uint32_t)entry_count;
    sketch->slot_mask = 3;
    while (sketch->slot_mask < entry_count * 2)
        sketch->slot_mask = sketch->slot_mask * 2 + 1;
    return sketch;
}

void sketch_close(struct sketch **sketch)
{
    struct sketch *closing = TAKE(sketch);

    CHECK_TAG(closing, SKETCH);
    closing->tag = 0;
    free(closing);
}

void sketch_clear(struct sketch *sketch)
{
    CHECK_TAG(sketch, SKETCH);
    sketch->used_count = 0;
    sketch->total = 0;
    memset(sketch->cells, 0, sizeof(sketch->cells));
    memset(sketch->slots, 0, (sketch->slot_mask + 1) * sizeof(sketch->slots[0]));
}

size_t sketch_entry_count(const struct sketch *sketch)
{
    return sketch->entry_count;
}

/* ---- entries by key ---- */

static size_t kept_bytes(size_t key_bytes)
{
    return key_bytes < SKETCH_KEY_BYTES ? key_bytes : SKETCH_KEY_BYTES;
}

static bool is_of(const struct entry *entry, struct slice key, uint64_t hash)
{
    return entry->hash == hash && entry->key_bytes == key.len &&
           memcmp(entry->key, key.at, kept_bytes(key.len)) == 0;
}

/* The slot of key, or the free one where it would go. */
static uint32_t find_slot(const struct sketch *sketch, struct slice key, uint64_t hash)
{
    uint32_t at = (uint32_t)(hash >> 32) & sketch->slot_mask;

    while (sketch->slots[at] != 0 && !is_of(&sketch->entries[sketch->slots[at] - 1], key, hash))
        at = (at + 1) & sketch->slot_mask;
    return at;
}

/* Those behind it move up, so that nobody is looked for past a gap. */
static void free_slot(struct sketch *sketch, uint32_t at)
{
    uint32_t mask = sketch->slot_mask, next = at;

    for (;;) {
        uint32_t home;

        next = (next + 1) & mask;
        if (sketch->slots[next] == 0)
            break;
        home = (uint32_t)(sketch->entries[sketch->slots[next] - 1].hash >> 32) & mask;
        /* It may not move to before its home. */
        if (((next - home) & mask) < ((next - at) & mask))
            continue;
        sketch->slots[at] = sketch->slots[next];
        at = next;
    }
    sketch->slots[at] = 0;
}

static uint32_t slot_of_entry(const struct sketch *sketch, uint32_t index)
{
    uint32_t at = (uint32_t)(sketch->entries[index].hash >> 32) & sketch->slot_mask;

    while (sketch->slots[at] != index + 1)
        at = (at + 1) & sketch->slot_mask;
    return at;
}

/* ---- entries by count ---- */

static void put_in_heap(struct sketch *sketch, uint32_t at, struct node node)
{
    sketch->heap[at] = node;
    sketch->entries[node.index].heap_at = at;
}

/* The count that stands at this place has grown. */
static void move_down(struct sketch *sketch, uint32_t at)
{
    const struct node *heap = sketch->heap, node = heap[at];

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= sketch->used_count)
            break;
        child += child + 1 < sketch->used_count && heap[child + 1].count < heap[child].count;
        if (heap[child].count >= node.count)
            break;
        put_in_heap(sketch, at, heap[child]);
        at = child;
    }
    put_in_heap(sketch, at, node);
}

/* A new entry, at the end. */
static void move_up(struct sketch *sketch, struct node node)
{
    const struct node *heap = sketch->heap;
    uint32_t at = sketch->used_count - 1;

    for (; at > 0 && heap[(at - 1) / 2].count > node.count; at = (at - 1) / 2)
        put_in_heap(sketch, at, heap[(at - 1) / 2]);
    put_in_heap(sketch, at, node);
}

/* ---- counting ---- */

static void fill_entry(struct entry *entry, struct slice key, uint64_t hash, uint32_t error)
{
    entry->hash = hash;
    entry->error = error;
    entry->key_bytes = (uint32_t)key.len;
    memcpy(entry->key, key.at, kept_bytes(key.len));
}

static struct entry *watch_one_more(struct sketch *sketch, struct slice key, uint64_t hash,
                                    uint32_t slot)
{
    uint32_t index = sketch->used_count++;

    fill_entry(&sketch->entries[index], key, hash, 0);
    sketch->slots[slot] = (uint16_t)(index + 1);
    move_up(sketch, (struct node){.count = 1, .index = index});
    return &sketch->entries[index];
}

/* Takes the place of the watched key that came least, or is counted with the others (NULL). */
static struct entry *replace_least(struct sketch *sketch, struct slice key, uint64_t hash)
{
    struct node *least = &sketch->heap[0];
    struct entry *entry = &sketch->entries[least->index];
    uint32_t *cell = &sketch->cells[hash % SKETCH_CELLS], error = *cell;

    if (error < least->count) {
        ++*cell;
        return NULL;
    }
    /* From now on the one that goes is known by its cell. */
    sketch->cells[entry->hash % SKETCH_CELLS] = least->count;
    free_slot(sketch, slot_of_entry(sketch, least->index));
    fill_entry(entry, key, hash, error);
    sketch->slots[find_slot(sketch, key, hash)] = (uint16_t)(least->index + 1);
    least->count = error + 1;
    move_down(sketch, 0);
    return entry;
}

void sketch_add(struct sketch *sketch, struct slice key, uint64_t at_ms, uint64_t value)
{
    uint64_t hash = map_hash(key);
    uint32_t slot = find_slot(sketch, key, hash);
    struct entry *entry;

    sketch->total++;
    if (sketch->slots[slot] != 0) {
        entry = &sketch->entries[sketch->slots[slot] - 1];
        sketch->heap[entry->heap_at].count++;
        move_down(sketch, entry->heap_at);
    } else if (sketch->used_count < sketch->entry_count) {
        entry = watch_one_more(sketch, key, hash, slot);
    } else {
        entry = replace_least(sketch, key, hash);
    }
    if (entry == NULL)
        return;
    entry->at_ms = at_ms;
    entry->value = value;
}

/* ---- adding up ---- */

static int compare_keys(const struct sketch_item *a, const struct sketch_item *b)
{
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    if (a->key_bytes != b->key_bytes)
        return a->key_bytes < b->key_bytes ? -1 : 1;
    return memcmp(a->key.at, b->key.at, a->key.len);
}

static int by_key(const void *a, const void *b)
{
    return compare_keys(a, b);
}

static int by_count(const void *left, const void *right)
{
    const struct sketch_item *a = left, *b = right;

    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    if (a->error != b->error)
        return a->error < b->error ? -1 : 1;
    return compare_keys(a, b);
}

static uint64_t cell_of(const struct sketch_sum *sum, uint64_t hash)
{
    return sum->cells != NULL ? sum->cells[hash % SKETCH_CELLS] : 0;
}

/* Watched by one of the two alone: in the other's stream it may have come as often as its cell. */
static struct sketch_item with_cell(const struct sketch_item *item, const struct sketch_sum *other)
{
    struct sketch_item both = *item;

    both.count += cell_of(other, item->hash);
    both.error += cell_of(other, item->hash);
    return both;
}

static void add_cells(struct sketch_sum *sum, const uint64_t *cells, struct arena *arena)
{
    if (cells == NULL)
        return;
    if (sum->cells == NULL)
        sum->cells = arena_calloc(arena, SKETCH_CELLS, sizeof(*sum->cells));
    for (size_t i = 0; i < SKETCH_CELLS; i++)
        sum->cells[i] += cells[i];
}

void sketch_sum_add(struct sketch_sum *sum, const struct sketch_sum *other, struct arena *arena)
{
    size_t count = sum->item_count + other->item_count, i = 0, j = 0, n = 0;
    struct sketch_item *items = arena_alloc(arena, count * sizeof(*items));

    while (i < sum->item_count || j < other->item_count) {
        const struct sketch_item *a = i < sum->item_count ? &sum->items[i] : NULL;
        const struct sketch_item *b = j < other->item_count ? &other->items[j] : NULL;
        int order = a == NULL ? 1 : b == NULL ? -1 : compare_keys(a, b);

        if (order < 0) {
            items[n++] = with_cell(a, other);
            i++;
        } else if (order > 0) {
            items[n] = with_cell(b, sum);
            items[n++].key = arena_copy(arena, b->key);
            j++;
        } else {
            items[n] = *a;
            items[n].count += b->count;
            items[n].error += b->error;
            items[n].at_ms = a->at_ms > b->at_ms ? a->at_ms : b->at_ms;
            items[n++].value = a->at_ms > b->at_ms ? a->value : b->value;
            i++, j++;
        }
    }
    sum->items = items;
    sum->item_count = n;
    sum->total += other->total;
    add_cells(sum, other->cells, arena);
}

void sketch_sum_add_sketch(struct sketch_sum *sum, const struct sketch *sketch, struct arena *arena)
{
    struct sketch_sum other = {.item_count = sketch->used_count, .total = sketch->total};

    CHECK_TAG(sketch, SKETCH);
    if (sketch->total == 0)
        return;
    other.items = arena_alloc(arena, other.item_count * sizeof(*other.items));
    for (size_t i = 0; i < other.item_count; i++) {
        const struct entry *entry = &sketch->entries[i];

        other.items[i] = (struct sketch_item){.key = {entry->key, kept_bytes(entry->key_bytes)},
                                              .key_bytes = entry->key_bytes,
                                              .hash = entry->hash,
                                              .count = sketch->heap[entry->heap_at].count,
                                              .error = entry->error,
                                              .at_ms = entry->at_ms,
                                              .value = entry->value};
    }
    qsort(other.items, other.item_count, sizeof(*other.items), by_key);
    /* Nothing is in the cells before all entries are in use. */
    if (sketch->used_count == sketch->entry_count) {
        other.cells = arena_alloc(arena, SKETCH_CELLS * sizeof(*other.cells));
        for (size_t i = 0; i < SKETCH_CELLS; i++)
            other.cells[i] = sketch->cells[i];
    }
    sketch_sum_add(sum, &other, arena);
}

uint64_t sketch_sum_rank(struct sketch_sum *sum, size_t max_count)
{
    uint64_t most = 0;

    for (size_t i = 0; sum->cells != NULL && i < SKETCH_CELLS; i++)
        most = sum->cells[i] > most ? sum->cells[i] : most;
    if (sum->item_count > 0)
        qsort(sum->items, sum->item_count, sizeof(sum->items[0]), by_count);
    if (sum->item_count > max_count) {
        most = sum->items[max_count].count > most ? sum->items[max_count].count : most;
        sum->item_count = max_count;
    }
    return most;
}
