/* Any sequence of commands, as scripts could send them, over a small keyspace with a moving clock.
 */
#include "store/commands.h"

static uint64_t tick(void *owner)
{
    return *(uint64_t *)owner += 700;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One command per line; fields are cut at spaces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t now_us = 1000000;
    struct keyspace *keyspace = keyspace_open(4096);
    struct arena arena;
    struct command_context context = {.keyspace = keyspace, .arena = &arena};
    struct slice rest = slice_from((const char *)data, size), line, word, args[16];
    struct keyspace_stats stats;
    struct reply reply;

    arena_init(&arena, NULL);
    keyspace_set_clock(keyspace, tick, &now_us);
    while (size > 0 && slice_split(&rest, '\n', &line)) {
        size_t count = 0;

        keyspace_begin(keyspace);
        context.has_written = false;
        while (count < COUNT_OF(args) && slice_split(&line, ' ', &word))
            args[count++] = arena_copy(&arena, word);
        command_run(&context, args, count, &reply);
        arena_clear(&arena);
    }
    keyspace_get_stats(keyspace, &stats);
    CHECK(stats.keys > 0 || stats.bytes < 65536); /* only tables are left */
    keyspace_close(&keyspace);
    return 0;
}
