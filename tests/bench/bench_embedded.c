/* How much processor time one call of the limits script takes in the embedded engine, and what the
 * engine weighs.
 *
 *     build/bench_embedded [CALLS]        (lua/README.md says how it is built)
 *
 * Each row is the median of five rounds, over 1000 keys, with limits that never deny ("pass") or
 * almost always deny ("deny"). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "store/embedded.h"
#include "store/store.h"

#define ROUNDS 5
#define KEYS 1000
#define MAX_LIMITS 4
#define ARGS_PER_LIMIT 8

static double used_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static int compare_double(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
        abort();
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE) / 1024;
}

struct row {
    const char *label;
    const char *algorithm;
    size_t limits;
    const char *count;
};

static double round_ns(struct embedded *embedded, const struct row *row, long calls)
{
    char texts[MAX_LIMITS][32];
    struct slice keys[MAX_LIMITS], args[3 + MAX_LIMITS * ARGS_PER_LIMIT];
    struct embedded_call call = {.keys = keys, .args = args};
    struct arena_pool pool;
    struct arena arena;
    struct reply reply;
    double start;

    arena_pool_init(&pool, 4);
    arena_init(&arena, &pool);
    args[call.arg_count++] = slice_from("0123456789" + row->limits, 1);
    args[call.arg_count++] = SLICE("bench");
    for (size_t i = 0; i < row->limits; i++) {
        const char *const one[] = {row->algorithm,
                                   "e",
                                   "1",
                                   row->count,
                                   "60000000",
                                   row->count,
                                   row->algorithm[0] == 'f' ? "c" : "-",
                                   "0"};

        for (size_t at = 0; at < ARGS_PER_LIMIT; at++)
            args[call.arg_count++] = slice_of(one[at]);
    }
    args[call.arg_count++] = SLICE("1");
    call.key_count = row->limits;
    start = used_ns();
    for (long n = 0; n < calls; n++) {
        for (size_t i = 0; i < row->limits; i++)
            keys[i] = slice_from(texts[i], (size_t)snprintf(texts[i], sizeof texts[i], "%s%zu:%ld",
                                                            row->label, i, n % KEYS));
        embedded_eval(embedded, SCRIPT_LIMITS, &call, &arena, &reply);
        if (reply.type != REPLY_ARRAY) {
            fprintf(stderr, "%.*s\n", SLICE_ARGS(reply.text));
            abort();
        }
    }
    start = used_ns() - start;
    arena_clear(&arena);
    arena_pool_clear(&pool);
    return start / (double)calls;
}

int main(int argc, char **argv)
{
    static const struct row rows[] = {
        {"token_bucket 1 pass", "t", 1, "900000000"},
        {"token_bucket 4 pass", "t", 4, "900000000"},
        {"token_bucket 1 deny", "t", 1, "1"},
        {"token_bucket 4 deny", "t", 4, "1"},
        {"sliding_window 1 pass", "w", 1, "900000000"},
        {"sliding_window 4 pass", "w", 4, "900000000"},
        {"fixed_window 1 pass", "f", 1, "900000000"},
        {"fixed_window 4 pass", "f", 4, "900000000"},
        {"sliding_log 1 deny", "l", 1, "20"},
        {"sliding_log 4 deny", "l", 4, "20"},
        {"sliding_log 1 pass", "l", 1, "900000000"},
        {"sliding_log 4 pass", "l", 4, "900000000"},
    };
    long calls = argc > 1 ? atol(argv[1]) : 100000, before_kib = resident_kib(), after_kib;
    struct embedded *embedded = embedded_open(256u << 20);
    struct keyspace_stats stats;

    after_kib = resident_kib();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        double rounds[ROUNDS];

        for (int n = 0; n < ROUNDS; n++)
            rounds[n] = round_ns(embedded, &rows[i], calls);
        qsort(rounds, ROUNDS, sizeof rounds[0], compare_double);
        printf("%-24s %8.0f ns per call\n", rows[i].label, rounds[ROUNDS / 2]);
    }
    embedded_get_stats(embedded, &stats);
    printf("engine at start %ld KiB; at the end %zu keys, %zu KiB accounted, %ld KiB resident\n",
           after_kib - before_kib, stats.keys, stats.bytes / 1024, resident_kib());
    embedded_unref(&embedded);
    return 0;
}
