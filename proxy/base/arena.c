#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct arena_block {
    struct arena_block *next;
    size_t size; /* of data */
    _Alignas(ARENA_ALIGN) char data[];
};

#define STANDARD_DATA_BYTES (ARENA_BLOCK_BYTES - sizeof(struct arena_block))
_Static_assert(STANDARD_DATA_BYTES % ARENA_ALIGN == 0, "no piece of a block is lost");

static _Noreturn void out_of_memory(size_t size)
{
    fprintf(stderr, "lockkeeper: out of memory (%zu bytes wanted)\n", size);
    abort();
}

void *mem_alloc(size_t size)
{
    void *memory = malloc(size > 0 ? size : 1);

    if (memory == NULL)
        out_of_memory(size);
    return memory;
}

void *mem_calloc(size_t count, size_t size)
{
    void *memory = calloc(count > 0 ? count : 1, size > 0 ? size : 1);

    if (memory == NULL)
        out_of_memory(size);
    return memory;
}

void *mem_realloc(void *old, size_t size)
{
    void *memory = realloc(old, size > 0 ? size : 1);

    if (memory == NULL)
        out_of_memory(size);
    return memory;
}

char *mem_strdup(const char *text)
{
    return mem_copy_slice(slice_of(text));
}

char *mem_copy_slice(struct slice s)
{
    char *copy = mem_alloc(s.len + 1);

    if (s.len > 0)
        memcpy(copy, s.at, s.len);
    copy[s.len] = '\0';
    return copy;
}

void arena_pool_init(struct arena_pool *pool, size_t max_free_blocks)
{
    *pool = (struct arena_pool){.max_free_blocks = max_free_blocks};
}

void arena_pool_clear(struct arena_pool *pool)
{
    while (pool->free_blocks != NULL) {
        struct arena_block *block = pool->free_blocks;

        pool->free_blocks = block->next;
        free(block);
    }
    pool->free_count = 0;
}

static struct arena_block *block_take(struct arena_pool *pool, size_t data_bytes)
{
    struct arena_block *block;

    if (pool != NULL && data_bytes == STANDARD_DATA_BYTES && pool->free_blocks != NULL) {
        block = pool->free_blocks;
        pool->free_blocks = block->next;
        pool->free_count--;
        return block;
    }
    block = mem_alloc(sizeof(*block) + data_bytes);
    block->size = data_bytes;
    return block;
}

static void block_give_back(struct arena_pool *pool, struct arena_block *block)
{
    if (pool == NULL || block->size != STANDARD_DATA_BYTES ||
        pool->free_count >= pool->max_free_blocks) {
        free(block);
        return;
    }
    block->next = pool->free_blocks;
    pool->free_blocks = block;
    pool->free_count++;
}

void arena_init(struct arena *arena, struct arena_pool *pool)
{
    *arena = (struct arena){.pool = pool};
}

void arena_clear(struct arena *arena)
{
    while (arena->blocks != NULL) {
        struct arena_block *block = arena->blocks;

        arena->blocks = block->next;
        block_give_back(arena->pool, block);
    }
    arena->next = arena->end = NULL;
}

char *arena_grow(struct arena *arena, size_t size)
{
    struct arena_block *block;

    CHECK(size <= SIZE_MAX / 2);
    size = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    block = block_take(arena->pool, size > STANDARD_DATA_BYTES ? size : STANDARD_DATA_BYTES);
    block->next = arena->blocks;
    arena->blocks = block;
    arena->next = block->data;
    arena->end = block->data + block->size;
    return arena->next;
}

void *arena_calloc(struct arena *arena, size_t count, size_t size)
{
    size_t total;
    void *memory;

    CHECK(!__builtin_mul_overflow(count, size, &total));
    memory = arena_alloc(arena, total);
    memset(memory, 0, total);
    return memory;
}

struct slice arena_copy(struct arena *arena, struct slice s)
{
    char *copy = arena_alloc(arena, s.len + 1);

    if (s.len > 0)
        memcpy(copy, s.at, s.len);
    copy[s.len] = '\0';
    return slice_from(copy, s.len);
}

struct slice arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    char *text;
    int len;

    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(len >= 0);
    text = arena_alloc(arena, (size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return slice_from(text, (size_t)len);
}
