/* The lock scripts on the embedded engine, with a clock and a mailbox of our own. */
#ifndef TESTS_LOCKS_WORLD_H
#define TESTS_LOCKS_WORLD_H

#include "unit.h"

#include "model/lock_calls.h"

#define MS INT64_C(1000)
#define SECOND (1000 * MS)
#define START_US INT64_C(1795000000123457)
#define LEASE (10 * SECOND)
#define GRANT (300 * MS)
#define HEARTBEAT (2 * SECOND)

static struct {
    struct embedded *embedded;
    int64_t now_us;
    struct arena arena;
    char message[128], channel[64]; /* the last */
    int message_count;
} world;

static inline uint64_t fake_clock(void *owner)
{
    UNUSED(owner);
    return (uint64_t)world.now_us;
}

static inline int64_t on_publish(void *owner, struct slice channel, struct slice message)
{
    UNUSED(owner);
    snprintf(world.channel, sizeof world.channel, "%.*s", SLICE_ARGS(channel));
    snprintf(world.message, sizeof world.message, "%.*s", SLICE_ARGS(message));
    world.message_count++;
    return 1;
}

static inline void empty_store(void)
{
    if (world.embedded != NULL)
        embedded_unref(&world.embedded);
    world.embedded = embedded_open(64u << 20);
    embedded_set_clock(world.embedded, fake_clock, NULL);
    embedded_set_publish(world.embedded, on_publish, NULL);
}

static inline int set_up(void **state)
{
    UNUSED(state);
    world.now_us = START_US;
    world.message_count = 0;
    world.message[0] = '\0';
    empty_store();
    arena_init(&world.arena, NULL);
    return 0;
}

static inline int tear_down(void **state)
{
    UNUSED(state);
    embedded_unref(&world.embedded);
    arena_clear(&world.arena);
    return 0;
}

static inline void run_script(enum script_id script, const struct embedded_call *call,
                              struct reply *reply)
{
    embedded_eval(world.embedded, script, call, &world.arena, reply);
}

/* Evaluates a Lua expression on the store. */
static inline struct reply look(const char *text)
{
    struct embedded_call call = {.key_count = 0};
    struct reply reply;

    embedded_eval_text(world.embedded, "look", slice_of(text), &call, &world.arena, &reply);
    return reply;
}

static inline struct lock_asker asker(const char *id, const char *key)
{
    return (struct lock_asker){
        .intent = "w",
        .id = id,
        .channel = "worker",
        .keys = {key},
        .key_count = 1,
        .permits = 1,
        .wait_us = 5 * SECOND,
        .lease_us = LEASE,
        .grant_us = GRANT,
        .heartbeat_us = HEARTBEAT,
        .queue_max = 10,
    };
}

static inline struct lock_admitted ask(struct lock_asker *a)
{
    struct lock_admitted got = lock_admit(run_script, a);

    if (got.state == ADMIT_QUEUED) {
        a->place = got.place;
        a->wait_until_us = got.wait_until_us;
    }
    return got;
}

#define ASSERT_STATE(a, wanted) assert_int_equal(ask(a).state, wanted)

static inline int64_t hold(struct lock_asker *a)
{
    struct lock_admitted got = ask(a);

    assert_int_equal(got.state, ADMIT_HELD);
    return got.token;
}

static inline int64_t release(const struct lock_asker *a, int64_t token)
{
    return lock_release(run_script, a, token);
}

static inline int64_t renew(const struct lock_asker *a)
{
    int64_t token;

    return lock_renew(run_script, a, &token);
}

static inline void assert_granted(const struct lock_asker *a)
{
    char wanted[64];

    snprintf(wanted, sizeof wanted, "G %s ", a->id);
    assert_int_equal(strncmp(world.message, wanted, strlen(wanted)), 0);
    assert_string_equal(world.channel, a->channel);
}

/* Nothing is held, nobody waits. */
static inline void assert_idle(const char *key)
{
    char text[160];

    snprintf(text, sizeof text,
             "local n = redis.call('EXISTS', 'lk:lock:{%s}:h', 'lk:lock:{%s}:q')\n"
             "return n",
             key, key);
    assert_int_equal(look(text).integer, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
