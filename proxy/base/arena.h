/* Memory that aborts when there is none, and a bump allocator that is freed as a whole.
 *
 * An arena takes its blocks from a pool (one per worker, not thread-safe), and gives them back when
 * it is cleared, so that a steady load allocates nothing.  An idle arena holds no block. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/check.h"
#include "base/slice.h"

/* malloc, calloc, realloc, strdup that never return NULL.  Release with free(). */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *mem_calloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *old, size_t size) __attribute__((returns_nonnull));
char *mem_strdup(const char *text) __attribute__((malloc, returns_nonnull));
/* A terminated copy of s. */
char *mem_copy_slice(struct slice s) __attribute__((malloc, returns_nonnull));

#define ARENA_BLOCK_BYTES 4096
#define ARENA_ALIGN 16u

struct arena_block;

/* Keeps up to max_free_blocks standard blocks for reuse. */
struct arena_pool {
    struct arena_block *free_blocks;
    size_t free_count;
    size_t max_free_blocks;
};

struct arena {
    struct arena_block *blocks; /* newest first */
    char *next, *end;           /* always a multiple of ARENA_ALIGN apart */
    struct arena_pool *pool;    /* NULL: blocks come from malloc */
};

void arena_pool_init(struct arena_pool *pool, size_t max_free_blocks);
void arena_pool_clear(struct arena_pool *pool);

/* pool may be NULL; it must outlive the arena. */
void arena_init(struct arena *arena, struct arena_pool *pool);

/* Gives every block back; the arena is as new. */
void arena_clear(struct arena *arena);

/* A new block with room for size bytes; gives its start.  For the functions below alone. */
char *arena_grow(struct arena *arena, size_t size) __attribute__((returns_nonnull));

/* For byte output whose size is known only when it is written: at least size bytes to write into,
 * of which arena_commit takes the first used.  Nothing else may be allocated in between. */
static inline char *arena_reserve(struct arena *arena, size_t size)
{
    return (size_t)(arena->end - arena->next) < size ? arena_grow(arena, size) : arena->next;
}

static inline void arena_commit(struct arena *arena, size_t used)
{
    CHECK(used <= (size_t)(arena->end - arena->next));
    arena->next += (used + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
}

/* Uninitialised, aligned to 16 bytes.  Never NULL. */
static inline void *arena_alloc(struct arena *arena, size_t size)
{
    size_t wanted = size > 0 ? size : 1;
    char *memory = arena_reserve(arena, wanted);

    arena->next += (wanted + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    return memory;
}

void *arena_calloc(struct arena *arena, size_t count, size_t size) __attribute__((returns_nonnull));

/* A copy in the arena; a terminator follows it, not counted in len. */
struct slice arena_copy(struct arena *arena, struct slice s);

/* Formatted text in the arena; terminated. */
struct slice arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
