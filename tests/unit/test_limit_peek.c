/* What lua/peek.lua and lua/forget.lua promise, on the embedded engine with a clock of our own. */
#include "limit_world.h"

static struct limit pick_limit(void)
{
    static const char *const algorithms[] = {"t", "w", "l", "f"}, *const aligns[] = {"c", "h"};
    const char *algorithm = algorithms[pick(COUNT_OF(algorithms))];
    struct limit limit = {.algorithm = algorithm,
                          .mode = pick(4) == 0 ? "s" : "e",
                          .cost = pick(4),
                          .count = 1 + pick(8),
                          .period_us = pick_period()};

    limit.burst = *algorithm == 't' ? 1 + pick(8) : 0;
    limit.align = *algorithm == 'f' ? aligns[pick(2)] : "-";
    return limit;
}

/* Everything there is in the store, as text. */
static const char *contents(void)
{
    return query(
        "local all = {} "
        "for i = 0, 3 do "
        "  local key = 'key' .. i "
        "  local kind = redis.call('TYPE', key).ok "
        "  if kind == 'string' then all[#all + 1] = redis.call('GET', key) end "
        "  if kind == 'zset' then "
        "    all[#all + 1] = table.concat(redis.call('ZRANGE', key, 0, -1, 'WITHSCORES'), ' ') "
        "  end "
        "  all[#all + 1] = redis.call('PTTL', key) "
        "end "
        "return table.concat(all, ',')");
}

static void check_same(const struct limit *limits, size_t count, const struct answer *peeked,
                       int64_t would_grant)
{
    ask_all(1, limits, count);
    assert_int_equal(granted, would_grant);
    for (size_t i = 0; i < count; i++) {
        bool is_charged = granted == 1 && peeked[i].allowed > 0;

        assert_int_equal(answers[i].allowed, peeked[i].allowed);
        assert_int_equal(answers[i].remaining,
                         peeked[i].remaining - (is_charged ? (int64_t)limits[i].cost : 0));
        assert_int_equal(answers[i].retry_us, peeked[i].retry_us);
        if (!is_charged || limits[i].cost == 0)
            assert_int_equal(answers[i].reset_us, peeked[i].reset_us);
    }
}

static void it_says_what_limits_would_say(void **state)
{
    UNUSED(state);
    for (uint64_t n = rounds(3000); n > 0; n--) {
        struct limit limits[MAX_LIMITS];
        size_t count = 1 + pick(MAX_LIMITS);

        for (size_t i = 0; i < count; i++)
            limits[i] = pick_limit();
        start_again();
        for (int step = 0; step < 12; step++) {
            struct answer peeked[MAX_LIMITS];
            char *before = mem_strdup(contents());
            int64_t would_grant;

            world.script = SCRIPT_PEEK;
            would_grant = ask_all(1, limits, count);
            memcpy(peeked, answers, sizeof(peeked));
            assert_string_equal(before, contents());
            free(before);
            world.script = SCRIPT_LIMITS;
            check_same(limits, count, peeked, would_grant);
            world.now_us += pick(limits[0].period_us);
        }
        arena_clear(&world.arena);
    }
}

static void a_foreign_key_is_an_error(void **state)
{
    const struct limit limit = {"t", .cost = 1, .count = 1, .period_us = SECOND_US, .burst = 1};
    struct reply reply;

    UNUSED(state);
    query("redis.call('SET', 'key0', 'hello')");
    world.script = SCRIPT_PEEK;
    eval(1, &limit, 1, &reply);
    assert_int_equal(reply.type, REPLY_ERROR);
    assert_true(slice_starts_with(reply.text, SLICE("LKSTATE")));
}

static int64_t forget(const struct slice *keys, size_t count)
{
    struct reply reply;

    embedded_eval(world.embedded, SCRIPT_FORGET, &(struct embedded_call){keys, count, NULL, 0},
                  &world.arena, &reply);
    assert_int_equal(reply.type, REPLY_INTEGER);
    return reply.integer;
}

static void a_forgotten_key_starts_anew(void **state)
{
    const struct slice keys[] = {SLICE("key0"), SLICE("key1")};
    struct limit limit = {.cost = 1, .count = 2, .period_us = DAY_US, .align = "-"};

    UNUSED(state);
    for (const char *algorithm = "twlf"; *algorithm != '\0'; algorithm++) {
        char name[2] = {*algorithm, '\0'};

        limit.algorithm = name;
        limit.burst = *algorithm == 't' ? 2 : 0;
        limit.align = *algorithm == 'f' ? "h" : "-";
        assert_int_equal(ask(3, limit), 2);
        assert_int_equal(forget(keys, 2), 1);
        assert_int_equal(forget(keys, 2), 0);
        assert_int_equal(ask(3, limit), 2);
        forget(keys, 1);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(it_says_what_limits_would_say),
        CASE(a_foreign_key_is_an_error),
        CASE(a_forgotten_key_starts_anew),
    };

    return cmocka_run_group_tests_name("limit_peek", tests, NULL, NULL);
}
