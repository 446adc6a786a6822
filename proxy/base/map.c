#include "base/map.h"

#include <endian.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/arena.h"

/* SipHash (Aumasson and Bernstein, 2012); c compression and d finalisation rounds. */
#define ROTATE(x, bits) (((x) << (bits)) | ((x) >> (64 - (bits))))

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = ROTATE(v[1], 13) ^ v[0];
    v[3] = ROTATE(v[3], 16) ^ v[2];
    v[0] = ROTATE(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = ROTATE(v[1], 17) ^ v[2];
    v[3] = ROTATE(v[3], 21) ^ v[0];
    v[2] = ROTATE(v[2], 32);
}

static inline uint64_t load_le64(const char *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
    return le64toh(word);
}

/* The len % 8 bytes at the end of data. */
static inline uint64_t load_tail(struct slice data, size_t len)
{
    uint64_t word = 0;

    if (len > 0 && data.len >= 8)
        return load_le64(data.at + data.len - 8) >> (64 - 8 * len);
    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)(unsigned char)data.at[i] << (8 * i);
    return word;
}

static uint64_t siphash(struct slice data, const uint64_t key[2], int c, int d)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                     key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    size_t whole = data.len & ~(size_t)7;

    for (size_t at = 0; at <= whole; at += 8) {
        uint64_t word = at < whole
                            ? load_le64(data.at + at)
                            : load_tail(data, data.len - whole) | (uint64_t)(data.len & 255) << 56;

        v[3] ^= word;
        for (int i = 0; i < c; i++)
            sip_round(v);
        v[0] ^= word;
    }
    v[2] ^= 255;
    for (int i = 0; i < d; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t map_siphash(struct slice data, uint64_t key0, uint64_t key1)
{
    const uint64_t key[2] = {key0, key1};

    return siphash(data, key, 2, 4);
}

static uint64_t process_key[2];

/* Before main, so that no thread ever sees it change. */
__attribute__((constructor)) static void choose_process_key(void)
{
    CHECK(getrandom(process_key, sizeof(process_key), 0) == (ssize_t)sizeof(process_key));
}

uint64_t map_hash(struct slice key)
{
    return siphash(key, process_key, 1, 3);
}

void map_init(struct map *map)
{
    *map = (struct map){0};
}

void map_clear(struct map *map)
{
    for (size_t i = 0; i < map->entry_count; i++)
        free(map->entries[i].key);
    free(map->entries);
    free(map->index);
    map_init(map);
}

size_t map_count(const struct map *map)
{
    return map->live_count;
}

/* The place in index where key is or would go; index must have a free place. */
static size_t find_place(const struct map *map, struct slice key, uint64_t hash)
{
    size_t place = (size_t)hash & (map->index_cap - 1);

    while (map->index[place] != 0) {
        const struct map_entry *entry = &map->entries[map->index[place] - 1];

        if (entry->key != NULL && entry->hash == hash &&
            slice_equal(slice_from(entry->key, entry->key_len), key))
            break;
        place = (place + 1) & (map->index_cap - 1);
    }
    return place;
}

static struct map_entry *find_entry(const struct map *map, struct slice key)
{
    size_t place;

    if (map->index_cap == 0)
        return NULL;
    place = find_place(map, key, map_hash(key));
    return map->index[place] != 0 ? &map->entries[map->index[place] - 1] : NULL;
}

/* Drop removed entries and index the rest anew, with room for as many again. */
static void rebuild(struct map *map)
{
    size_t kept = 0, index_cap = 16;

    for (size_t i = 0; i < map->entry_count; i++)
        if (map->entries[i].key != NULL)
            map->entries[kept++] = map->entries[i];
    map->entry_count = kept;
    while (index_cap < kept * 4)
        index_cap *= 2;
    CHECK(index_cap < UINT32_MAX);
    map->entry_cap = index_cap / 2;
    map->entries = mem_realloc(map->entries, map->entry_cap * sizeof(*map->entries));
    free(map->index);
    map->index = mem_calloc(index_cap, sizeof(*map->index));
    map->index_cap = index_cap;
    for (size_t i = 0; i < kept; i++) {
        size_t place = (size_t)map->entries[i].hash & (index_cap - 1);

        while (map->index[place] != 0)
            place = (place + 1) & (index_cap - 1);
        map->index[place] = (uint32_t)i + 1;
    }
}

void *map_get(const struct map *map, struct slice key)
{
    const struct map_entry *entry = find_entry(map, key);

    return entry != NULL ? entry->value : NULL;
}

void *map_set(struct map *map, struct slice key, void *value)
{
    struct map_entry *entry = find_entry(map, key);
    uint64_t hash = map_hash(key);

    CHECK(value != NULL);
    if (entry != NULL) {
        void *before = entry->value;

        entry->value = value;
        return before;
    }
    if (map->entry_count == map->entry_cap)
        rebuild(map);
    map->index[find_place(map, key, hash)] = (uint32_t)map->entry_count + 1;
    map->entries[map->entry_count++] =
        (struct map_entry){mem_copy_slice(key), key.len, hash, value};
    map->live_count++;
    return NULL;
}

void *map_remove(struct map *map, struct slice key)
{
    struct map_entry *entry = find_entry(map, key);

    if (entry == NULL)
        return NULL;
    /* The place stays taken in the index until the next rebuild, so that probing goes on past it.
     */
    free(entry->key);
    entry->key = NULL;
    map->live_count--;
    return entry->value;
}

bool map_next(const struct map *map, size_t *at, struct slice *ret_key, void **ret_value)
{
    while (*at < map->entry_count) {
        const struct map_entry *entry = &map->entries[(*at)++];

        if (entry->key == NULL)
            continue;
        *ret_key = slice_from(entry->key, entry->key_len);
        *ret_value = entry->value;
        return true;
    }
    return false;
}
