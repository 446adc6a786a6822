/* A world in which the limits script can be asked: the embedded engine, a clock of our own, and
 * random numbers.  For test_limits.c and test_limit_peek.c. */
#ifndef TESTS_LIMIT_WORLD_H
#define TESTS_LIMIT_WORLD_H

#include "unit.h"

#include <inttypes.h>
#include <stdio.h>

#include "store/embedded.h"
#include "store/store.h"

#define SECOND_US 1000000ull
#define DAY_US (86400 * SECOND_US)
#define START_US 1795000000123457ull
#define MAX_LIMITS 4
#define MAX_GROUPS 8

typedef __int128 wide;

static struct {
    struct embedded *embedded;
    uint64_t now_us;
    struct arena arena;
    uint64_t seed;
    enum script_id script; /* limits, or peek, which takes the same */
} world;

struct limit {
    const char *algorithm, *mode;
    uint64_t cost, count;
    const char *period; /* "month", "year", or NULL: period_us */
    uint64_t period_us, burst;
    const char *align;
    int64_t offset_us;
};

struct answer {
    int64_t allowed, remaining, retry_us, reset_us;
};

static int64_t granted; /* by the last ask */
static struct answer answers[MAX_LIMITS];

static uint64_t fake_clock(void *owner)
{
    UNUSED(owner);
    return world.now_us;
}

static int set_up(void **state)
{
    UNUSED(state);
    world.now_us = START_US;
    world.embedded = embedded_open(64u << 20);
    embedded_set_clock(world.embedded, fake_clock, NULL);
    arena_init(&world.arena, NULL);
    world.seed = 88172645463325252ull;
    world.script = SCRIPT_LIMITS;
    return 0;
}

static int tear_down(void **state)
{
    UNUSED(state);
    embedded_unref(&world.embedded);
    arena_clear(&world.arena);
    return 0;
}

/* 0 to below - 1. */
static uint64_t pick(uint64_t below)
{
    world.seed ^= world.seed << 13;
    world.seed ^= world.seed >> 7;
    world.seed ^= world.seed << 17;
    return world.seed % below;
}

static struct slice number(struct arena *arena, int64_t value)
{
    return arena_printf(arena, "%" PRId64, value);
}

/* A group of requests: key0 and on, with another letter behind "key" for each set of them. */
struct group {
    uint64_t asked;
    char keys;
};

static void eval_groups(const struct group *groups, size_t group_count, const struct limit *limits,
                        size_t count, struct reply *ret_reply)
{
    struct slice keys[MAX_GROUPS * MAX_LIMITS], args[2 + 8 * MAX_LIMITS + MAX_GROUPS], *arg = args;
    struct arena arena;
    size_t key_count = 0;

    arena_init(&arena, NULL);
    *arg++ = number(&arena, (int64_t)count);
    *arg++ = SLICE("id");
    for (size_t i = 0; i < count; i++) {
        const struct limit *limit = &limits[i];

        *arg++ = slice_of(limit->algorithm);
        *arg++ = slice_of(limit->mode != NULL ? limit->mode : "e");
        *arg++ = number(&arena, (int64_t)limit->cost);
        *arg++ = number(&arena, (int64_t)limit->count);
        *arg++ = limit->period != NULL ? slice_of(limit->period)
                                       : number(&arena, (int64_t)limit->period_us);
        *arg++ = number(&arena, (int64_t)limit->burst);
        *arg++ = slice_of(limit->align != NULL ? limit->align : "-");
        *arg++ = number(&arena, limit->offset_us);
    }
    for (size_t i = 0; i < group_count; i++) {
        *arg++ = number(&arena, (int64_t)groups[i].asked);
        for (size_t j = 0; j < count; j++)
            keys[key_count++] = groups[i].keys == '\0'
                                    ? arena_printf(&arena, "key%zu", j)
                                    : arena_printf(&arena, "key%c%zu", groups[i].keys, j);
    }
    embedded_eval(world.embedded, world.script,
                  &(struct embedded_call){keys, key_count, args, (size_t)(arg - args)},
                  &world.arena, ret_reply);
    arena_clear(&arena);
}

static void eval(uint64_t asked, const struct limit *limits, size_t count, struct reply *ret_reply)
{
    eval_groups(&(struct group){.asked = asked}, 1, limits, count, ret_reply);
}

/* Gives how many were granted; the rest is in answers. */
static int64_t ask_all(uint64_t asked, const struct limit *limits, size_t count)
{
    struct reply reply;

    eval(asked, limits, count, &reply);
    if (reply.type != REPLY_ARRAY)
        fail_msg("%.*s", SLICE_ARGS(reply.text));
    assert_int_equal(reply.element_count, 1 + 4 * count);
    for (size_t i = 0; i < reply.element_count; i++)
        assert_int_equal(reply.elements[i].type, REPLY_INTEGER);
    granted = reply.elements[0].integer;
    for (size_t i = 0; i < count; i++) {
        const struct reply *at = &reply.elements[1 + 4 * i];

        answers[i] = (struct answer){at[0].integer, at[1].integer, at[2].integer, at[3].integer};
        assert_true(answers[i].remaining >= 0 && answers[i].retry_us >= -1 &&
                    answers[i].reset_us >= 0);
    }
    return granted;
}

static int64_t ask(uint64_t asked, struct limit limit)
{
    return ask_all(asked, &limit, 1);
}

/* The reply of a small script, as text. */
static const char *query(const char *text)
{
    struct reply reply;

    embedded_eval_text(world.embedded, "query", slice_of(text), &(struct embedded_call){0},
                       &world.arena, &reply);
    if (reply.type == REPLY_NIL)
        return "(nil)";
    if (reply.type == REPLY_INTEGER)
        return number(&world.arena, reply.integer).at;
    return reply.text.at;
}

/* Years are long: without this the clock would leave what a double can count. */
static void start_again(void)
{
    assert_non_null(query("redis.call('DEL', 'key0', 'key1', 'key2', 'key3')"));
    world.now_us = START_US;
}

static uint64_t pick_period(void)
{
    static const uint64_t periods[] = {
        1, 7, 1000, SECOND_US, 60 * SECOND_US, 3600 * SECOND_US, DAY_US, 7 * DAY_US, 366 * DAY_US};

    return periods[pick(COUNT_OF(periods))];
}

#endif
