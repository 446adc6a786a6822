/* What lua/limits.lua promises, on the embedded engine with a clock of our own. */
#include "limit_world.h"

#include <time.h>

/*
 * Token bucket
 */

/* Saturating demand: after every step exactly burst + floor(rate * time) have been granted. */
static void rate_is_exact(void **state)
{
    static const struct limit limits[] = {
        {"t", .cost = 1, .count = 3, .period_us = SECOND_US, .burst = 2},
        {"t", .cost = 1, .count = 7, .period_us = 60 * SECOND_US, .burst = 7},
        {"t", .cost = 1, .count = 1000000, .period_us = SECOND_US, .burst = 1000},
        {"t", .cost = 1, .count = 999999937, .period_us = 366 * DAY_US, .burst = 999999937},
        {"t", .cost = 1, .count = 1000000000, .period_us = SECOND_US, .burst = 1000000000},
        {"t", .cost = 1, .count = 1, .period_us = 366 * DAY_US, .burst = 3},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        const struct limit *limit = &limits[i];
        /* No step fills the bucket, which may hold a part of a token before: nothing is lost. */
        uint64_t refill_us = (uint64_t)((wide)(limit->burst - 1) * limit->period_us / limit->count);
        uint64_t start_us = world.now_us = START_US, n = rounds(20000), max_step_us;
        wide total = 0;

        /* The clock stays below 2^53. */
        max_step_us = 4000000 * 1000000000ull / n;
        if (max_step_us > refill_us)
            max_step_us = refill_us;
        for (; n > 0; n--) {
            wide expected =
                limit->burst + (wide)(world.now_us - start_us) * limit->count / limit->period_us;

            total += ask(1000000000, *limit);
            if (total != expected)
                fail_msg("limit %zu: granted %" PRId64 " of %" PRId64, i, (int64_t)total,
                         (int64_t)expected);
            world.now_us += pick(max_step_us / (n % 3 == 0 ? 1 : 100) + 1);
        }
        assert_string_equal(query("return redis.call('DEL', 'key0')"), "1");
    }
}

static void a_burst_then_the_rate(void **state)
{
    struct limit limit = {"t", .cost = 1, .count = 10, .period_us = SECOND_US, .burst = 5};

    UNUSED(state);
    for (int64_t left = 4; left >= 0; left--) {
        assert_int_equal(ask(1, limit), 1);
        assert_int_equal(answers[0].remaining, left);
        assert_int_equal(answers[0].reset_us, (5 - left) * 100000);
    }
    assert_int_equal(ask(1, limit), 0);
    assert_int_equal(answers[0].allowed, 0);
    assert_int_equal(answers[0].retry_us, 100000);
    world.now_us += 250000;
    assert_int_equal(ask(9, limit), 2);
    assert_int_equal(answers[0].retry_us, 50000);
}

static void a_new_rate_takes_over_what_is_used(void **state)
{
    struct limit slow = {"t", .cost = 1, .count = 10, .period_us = 3600 * SECOND_US, .burst = 10};
    struct limit fast = {"t", .cost = 1, .count = 10, .period_us = SECOND_US, .burst = 20};

    UNUSED(state);
    assert_int_equal(ask(10, slow), 10);
    assert_int_equal(ask(100, fast), 10);
    world.now_us += SECOND_US;
    assert_int_equal(ask(100, fast), 10);
    /* A smaller bucket is full, not over-full. */
    assert_int_equal(ask(1, slow), 0);
    assert_int_equal(answers[0].retry_us, 360 * SECOND_US);
}

/*
 * Against models that keep every request
 */

#define LOG_MAX 4096

static struct {
    uint64_t at_us[LOG_MAX];
    uint64_t units[LOG_MAX];
    size_t count;
} history;

static void remember(uint64_t units)
{
    assert_true(history.count < LOG_MAX);
    history.at_us[history.count] = world.now_us;
    history.units[history.count++] = units;
}

/* Units in [from, to]. */
static uint64_t units_between(uint64_t from_us, uint64_t to_us)
{
    uint64_t units = 0;

    for (size_t i = history.count; i > 0 && history.at_us[i - 1] >= from_us; i--)
        if (history.at_us[i - 1] <= to_us)
            units += history.units[i - 1];
    return units;
}

static void step_in(uint64_t period_us)
{
    static const unsigned divisors[] = {1, 3, 20, 200};

    if (pick(3) > 0)
        world.now_us += pick(period_us / divisors[pick(COUNT_OF(divisors))] + 2);
}

static void sliding_log_is_exact(void **state)
{
    UNUSED(state);
    for (uint64_t n = rounds(60); n > 0; n--) {
        struct limit limit = {"l", .count = 1 + pick(30), .period_us = pick_period()};

        history.count = 0;
        start_again();
        for (int i = 0; i < 200; i++) {
            uint64_t used = units_between(world.now_us - limit.period_us + 1, world.now_us);
            uint64_t asked = 1 + pick(3), fits;

            limit.cost = 1 + pick(pick(2) ? 1 : 5);
            fits = (limit.count - used) / limit.cost;
            assert_int_equal(ask(asked, limit), fits < asked ? fits : asked);
            if (granted > 0)
                remember((uint64_t)granted * limit.cost);
            assert_int_equal(answers[0].remaining,
                             limit.count - used - (uint64_t)granted * limit.cost);
            assert_true(strtoull(query("return redis.call('ZCARD', 'key0')"), NULL, 10) <=
                        limit.count);
            step_in(limit.period_us);
        }
    }
}

/* What lua/README.md says: within any period fewer than twice the count, and no more than the count
 * in any window of the clock. */
static void sliding_window_keeps_its_bound(void **state)
{
    UNUSED(state);
    for (uint64_t n = rounds(60); n > 0; n--) {
        struct limit limit = {"w", .cost = 1, .count = 1 + pick(40), .period_us = pick_period()};
        uint64_t period = limit.period_us;

        start_again();
        history.count = 0;
        for (int i = 0; i < 300; i++) {
            uint64_t asked = 1 + pick(40), window_us = world.now_us / period * period;
            wide before, used, fits;

            before = units_between(window_us - period, window_us - 1);
            used = units_between(window_us, world.now_us);
            /* The last window's part, rounded up. */
            fits = limit.count - used -
                   (before * (window_us + period - world.now_us) + period - 1) / period;
            fits = fits < 0 ? 0 : fits < asked ? fits : asked;
            assert_int_equal(ask(asked, limit), (int64_t)fits);
            if (granted > 0)
                remember((uint64_t)granted);
            assert_true(units_between(window_us, world.now_us) <= limit.count);
            assert_true(units_between(world.now_us - period + 1, world.now_us) <
                        2 * limit.count + (limit.count == 1));
            step_in(period);
        }
    }
}

/*
 * Fixed windows
 */

static uint64_t local_midnight_us(int year, int month, int day, int64_t offset_us)
{
    struct tm at = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};

    return (uint64_t)((int64_t)timegm(&at) * (int64_t)SECOND_US - offset_us);
}

static void calendar_windows_follow_the_calendar(void **state)
{
    struct limit month = {"f", .cost = 1, .count = 5, .period = "month", .align = "c"};

    UNUSED(state);
    for (uint64_t n = rounds(30000); n > 0; n--) {
        struct limit limits[3] = {month, month, month};
        int64_t offset_us = ((int64_t)pick(27) - 12) * 3600 * (int64_t)SECOND_US;
        time_t here;
        struct tm at;
        uint64_t week_us;

        world.now_us = pick(250ull * 365 * DAY_US) + DAY_US * 366;
        here = (time_t)(((int64_t)world.now_us + offset_us) / (int64_t)SECOND_US);
        gmtime_r(&here, &at);
        limits[1].period = "year";
        limits[2].period = NULL;
        limits[2].period_us = 7 * DAY_US;
        limits[0].offset_us = limits[1].offset_us = limits[2].offset_us = offset_us;
        limits[0].cost = limits[1].cost = limits[2].cost = 0;
        ask_all(1, limits, 3);
        assert_int_equal(world.now_us + (uint64_t)answers[0].reset_us,
                         local_midnight_us(at.tm_year + 1900, at.tm_mon + 2, 1, offset_us));
        assert_int_equal(world.now_us + (uint64_t)answers[1].reset_us,
                         local_midnight_us(at.tm_year + 1901, 1, 1, offset_us));
        /* Next Monday: tm_wday is 1 on Mondays. */
        week_us = local_midnight_us(at.tm_year + 1900, at.tm_mon + 1,
                                    at.tm_mday + 7 - (at.tm_wday + 6) % 7, offset_us);
        assert_int_equal(world.now_us + (uint64_t)answers[2].reset_us, week_us);
    }
}

static void a_calendar_window_holds_its_count(void **state)
{
    struct limit limit = {"f", .cost = 2, .count = 5, .period_us = 60 * SECOND_US, .align = "c"};
    uint64_t end_us = START_US / (60 * SECOND_US) * 60 * SECOND_US + 60 * SECOND_US;

    UNUSED(state);
    assert_int_equal(ask(5, limit), 2);
    assert_int_equal(answers[0].remaining, 1);
    assert_int_equal(answers[0].retry_us, end_us - world.now_us);
    world.now_us = end_us - 1;
    assert_int_equal(ask(1, limit), 0);
    assert_int_equal(answers[0].retry_us, 1);
    world.now_us = end_us;
    assert_int_equal(ask(1, limit), 1);
    assert_int_equal(answers[0].reset_us, 60 * SECOND_US);
}

static void a_first_hit_window_begins_with_it(void **state)
{
    struct limit limit = {"f", .cost = 1, .count = 2, .period_us = 60 * SECOND_US, .align = "h"};

    UNUSED(state);
    assert_int_equal(ask(1, limit), 1);
    world.now_us += 59 * SECOND_US;
    assert_int_equal(ask(2, limit), 1);
    assert_int_equal(answers[0].retry_us, SECOND_US);
    world.now_us += SECOND_US;
    assert_int_equal(ask(1, limit), 1);
    assert_int_equal(answers[0].reset_us, 60 * SECOND_US);
}

/*
 * What holds for all of them
 */

static struct limit any_limit(void)
{
    static const char *const algorithms[] = {"t", "w", "l", "f"};
    struct limit limit = {.algorithm = algorithms[pick(4)], .cost = 1 + pick(3)};

    limit.count = 3 + pick(pick(4) ? 20 : 5000);
    limit.burst = 3 + pick(40);
    limit.period_us = pick_period();
    limit.align = limit.algorithm[0] == 'f' ? (pick(2) ? "c" : "h") : "-";
    if (limit.align[0] == 'c' && pick(3) == 0)
        limit.period = pick(2) ? "month" : "year";
    return limit;
}

/* Denied at the last microsecond before retry_after, and granted with it; both without a trace of
 * the denials. */
static void retry_after_is_exact(void **state)
{
    uint64_t denial_count = 0;

    UNUSED(state);
    for (uint64_t n = rounds(400); n > 0; n--) {
        struct limit limit = any_limit();

        start_again();
        for (int i = 0; i < 40; i++) {
            int64_t retry_us;

            limit.cost = 1 + pick(3);
            ask(1 + pick(limit.count * 2), limit);
            retry_us = answers[0].retry_us;
            step_in(limit.period_us / 4);
            if (answers[0].allowed || ask(1, limit) == 1)
                continue;
            retry_us = answers[0].retry_us;
            assert_true(retry_us > 0);
            denial_count++;
            world.now_us += (uint64_t)retry_us - 1;
            if (ask(1, limit) != 0)
                fail_msg("%s %" PRIu64 "/%" PRIu64 ": passes before retry_after %" PRId64,
                         limit.algorithm, limit.count, limit.period_us, retry_us);
            assert_int_equal(answers[0].retry_us, 1);
            world.now_us++;
            if (ask(1, limit) != 1)
                fail_msg("%s %" PRIu64 "/%" PRIu64 ": denied after retry_after %" PRId64,
                         limit.algorithm, limit.count, limit.period_us, retry_us);
        }
    }
    assert_true(denial_count > 0);
}

/* reset_us on, nothing is used any more, whether the key has expired or not; and the key lives at
 * least so long, and not much longer. */
static void every_key_goes_when_it_may(void **state)
{
    UNUSED(state);
    for (uint64_t n = rounds(2000); n > 0; n--) {
        struct limit limit = any_limit(), peek;
        uint64_t capacity = limit.algorithm[0] == 't' ? limit.burst : limit.count;
        int64_t ttl_ms, until_us;

        start_again();
        assert_true(ask(1 + pick(3), limit) > 0);
        until_us = answers[0].reset_us;
        ttl_ms = strtoll(query("return redis.call('PTTL', 'key0')"), NULL, 10);
        assert_true(ttl_ms * 1000 >= until_us + 1000000);
        assert_true(ttl_ms * 1000 <= until_us + until_us / 10 + 1002000);
        world.now_us += (uint64_t)until_us;
        peek = limit;
        peek.cost = 0;
        assert_int_equal(ask(1, peek), 1);
        assert_int_equal(answers[0].remaining, capacity);
        assert_string_equal(query("return redis.call('EXISTS', 'key0')"), "1");
        world.now_us += (uint64_t)(ttl_ms * 1000 - until_us) + 1000;
        assert_string_equal(query("return redis.call('EXISTS', 'key0')"), "0");
    }
}

static const char *states(void)
{
    return query("local text = ''\n"
                 "for i = 0, 3 do\n"
                 "    local kind = redis.call('TYPE', 'key' .. i).ok\n"
                 "    text = text .. kind .. ' ' .. redis.call('PTTL', 'key' .. i)\n"
                 "    if kind == 'zset' then\n"
                 "        local all = redis.call('ZRANGE', 'key' .. i, 0, -1, 'WITHSCORES')\n"
                 "        text = text .. table.concat(all, ' ')\n"
                 "    elseif kind == 'string' then\n"
                 "        text = text .. redis.call('GET', 'key' .. i)\n"
                 "    end\n"
                 "end\n"
                 "return text");
}

/* A batch is granted as far as the strictest of the enforced limits goes; what is not granted
 * leaves no trace in any of them. */
static void all_or_nothing(void **state)
{
    UNUSED(state);
    for (uint64_t n = rounds(2000); n > 0; n--) {
        struct limit limits[MAX_LIMITS];
        size_t count = 1 + pick(MAX_LIMITS), denying;
        char *before;

        start_again();
        for (size_t i = 0; i < count; i++)
            limits[i] = any_limit();
        for (int i = 0; i < 10; i++) {
            ask_all(1 + pick(20), limits, count);
            world.now_us += pick(1000);
        }
        denying = pick(count);
        limits[denying].cost = 1000000;
        before = mem_strdup(states());
        assert_int_equal(ask_all(5, limits, count), 0);
        assert_int_equal(answers[denying].allowed, 0);
        assert_int_equal(answers[denying].retry_us, -1);
        assert_string_equal(states(), before);
        free(before);
    }
}

/* m requests at once are what m requests one by one are. */
static void a_batch_is_its_requests(void **state)
{
    UNUSED(state);
    for (uint64_t n = rounds(1000); n > 0; n--) {
        struct limit limits[2] = {any_limit(), any_limit()};
        struct answer last[2];
        uint64_t asked = 1 + pick(30);
        int64_t one_by_one = 0;

        limits[pick(2)].mode = pick(2) ? "s" : "e";
        for (int i = 0; i < 2; i++) {
            start_again();
            for (uint64_t m = 0; i == 0 && m < asked; m++)
                one_by_one += ask_all(1, limits, 2);
            if (i == 0)
                memcpy(last, answers, sizeof last);
            else
                assert_int_equal(ask_all(asked, limits, 2), one_by_one);
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(answers[i].remaining, last[i].remaining);
            assert_int_equal(answers[i].reset_us, last[i].reset_us);
            assert_int_equal(answers[i].retry_us, last[i].retry_us);
        }
    }
}

static void a_shadow_limit_only_counts(void **state)
{
    struct limit limits[2] = {
        {"t", "s", .cost = 1, .count = 3, .period_us = 60 * SECOND_US, .burst = 3},
        {"f", "e", .cost = 1, .count = 5, .period_us = 60 * SECOND_US, .align = "h"}};

    UNUSED(state);
    assert_int_equal(ask_all(2, limits, 2), 2);
    assert_int_equal(answers[0].allowed, 2);
    assert_int_equal(answers[0].retry_us, 0);
    /* One more would pass, of five; the enforced limit lets three pass. */
    assert_int_equal(ask_all(5, limits, 2), 3);
    assert_int_equal(answers[0].allowed, 1);
    assert_int_equal(answers[0].remaining, 0);
    assert_int_equal(answers[0].retry_us, 20 * SECOND_US);
    assert_int_equal(answers[1].allowed, 0);
    /* The enforced one denies: the shadow is not charged, and tells what it would have said. */
    world.now_us += 20 * SECOND_US;
    assert_int_equal(ask_all(4, limits, 2), 0);
    assert_int_equal(answers[0].allowed, 4);
    assert_int_equal(answers[0].remaining, 1);
}

static void cost_zero_looks_and_does_not_touch(void **state)
{
    UNUSED(state);
    for (uint64_t n = rounds(200); n > 0; n--) {
        struct limit limit = any_limit();
        char *before;

        ask(1000, limit);
        before = mem_strdup(states());
        limit.cost = 0;
        assert_int_equal(ask(7, limit), 7);
        assert_int_equal(answers[0].allowed, 1);
        assert_string_equal(states(), before);
        free(before);
        start_again();
    }
}

/* After a failover the server's clock may be behind: nothing is refilled twice. */
static void a_clock_that_steps_back_gives_nothing_away(void **state)
{
    UNUSED(state);
    for (uint64_t n = rounds(500); n > 0; n--) {
        struct limit limit = any_limit();
        uint64_t capacity = limit.algorithm[0] == 't' ? limit.burst : limit.count;
        uint64_t back_us = 1 + pick(limit.period_us), now_us;

        limit.cost = 1;
        limit.period = NULL;
        start_again();
        world.now_us += 10 * limit.period_us;
        now_us = world.now_us;
        assert_int_equal(ask(capacity, limit), capacity);
        world.now_us = now_us - back_us;
        assert_int_equal(ask(1, limit), 0);
        /* The wait is told on the clock that will be asked. */
        world.now_us += (uint64_t)answers[0].retry_us;
        assert_true(world.now_us > now_us);
        assert_int_equal(ask(1, limit), 1);
    }
}

static void forget_groups(void)
{
    query("for _, set in ipairs({'', 'a', 'b', 'c', 'd'}) do "
          "  for i = 0, 3 do redis.call('DEL', 'key' .. set .. i) end "
          "end");
}

/* The answer for this group is an error. */
static void assert_trouble(const struct reply *reply, size_t group, size_t limit_count)
{
    const struct reply *answer = &reply->elements[group * (1 + 4 * limit_count)];

    assert_int_equal(reply->type, REPLY_ARRAY);
    assert_int_equal(answer[0].type, REPLY_ERROR);
    assert_true(slice_starts_with(answer[0].text, SLICE("LKSTATE ")) ||
                slice_starts_with(answer[0].text, SLICE("WRONGTYPE ")));
    for (size_t i = 1; i <= 4 * limit_count; i++)
        assert_int_equal(answer[i].integer, 0);
}

static void what_is_not_ours_is_left_alone(void **state)
{
    static const struct group neighbours[] = {{2, 'a'}, {1, '\0'}, {2, 'a'}};
    static const char *const plants[] = {
        "redis.call('SET', 'key0', 'hello')",         "redis.call('SET', 'key0', 't2:1:2:3:4')",
        "redis.call('SET', 'key0', 't1:1')",          "redis.call('SET', 'key0', 'w1:')",
        "redis.call('HSET', 'key0', 'a', 'b')",       "redis.call('ZADD', 'key0', 1, 'a')",
        "redis.call('ZADD', 'key0', 9e15, 'l1:x:1')", "redis.call('SET', 'key0', '')",
    };
    static const char *const algorithms[] = {"t", "w", "l", "f"};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(plants); i++)
        for (size_t a = 0; a < COUNT_OF(algorithms); a++) {
            struct limit limits[2] = {
                {algorithms[a], .cost = 1, .count = 3, .period_us = SECOND_US, .burst = 3,
                 .align = "c"},
                {"t", .cost = 1, .count = 3, .period_us = SECOND_US, .burst = 3}};
            struct reply reply;
            char *before;

            start_again();
            forget_groups();
            query(plants[i]);
            /* Another algorithm's state is ours. */
            if (strstr(plants[i], "'t1:1'") != NULL && algorithms[a][0] != 't')
                continue;
            if (strstr(plants[i], "'w1:'") != NULL)
                continue;
            before = mem_strdup(states());
            eval(1, limits, 2, &reply);
            assert_trouble(&reply, 0, 2);
            assert_string_equal(states(), before);
            /* And its neighbours are decided. */
            eval_groups(neighbours, COUNT_OF(neighbours), limits, 2, &reply);
            assert_int_equal(reply.element_count, 3 * 9);
            assert_int_equal(reply.elements[0].integer, 2);
            assert_trouble(&reply, 1, 2);
            assert_int_equal(reply.elements[18].integer, 1);
            assert_string_equal(states(), before);
            free(before);
        }
}

static struct limit pick_any_limit(void)
{
    static const char *const algorithms[] = {"t", "w", "l", "f"}, *const aligns[] = {"c", "h"};
    struct limit limit = {.algorithm = algorithms[pick(COUNT_OF(algorithms))],
                          .mode = pick(4) == 0 ? "s" : "e",
                          .cost = pick(4),
                          .count = 1 + pick(12),
                          .period_us = pick_period(),
                          .align = "-"};

    if (limit.algorithm[0] == 't')
        limit.burst = 1 + pick(12);
    if (limit.algorithm[0] == 'f')
        limit.align = aligns[pick(2)];
    return limit;
}

/* What a call of groups answers, and what it leaves, is what calls of one group each do: the same
 * history is told in both ways. */
static void groups_of_a_call_are_decided_each_on_its_own(void **state)
{
    enum { STEPS = 6 };

    UNUSED(state);
    for (uint64_t n = rounds(1500); n > 0; n--) {
        struct limit limits[MAX_LIMITS];
        struct group groups[STEPS][MAX_GROUPS];
        size_t count = 1 + pick(MAX_LIMITS), group_counts[STEPS];
        int64_t said[STEPS][MAX_GROUPS * (1 + 4 * MAX_LIMITS)];
        uint64_t waits[STEPS];

        for (size_t i = 0; i < count; i++)
            limits[i] = pick_any_limit();
        for (size_t step = 0; step < STEPS; step++) {
            group_counts[step] = 1 + pick(MAX_GROUPS);
            waits[step] = pick(limits[0].period_us);
            for (size_t i = 0; i < group_counts[step]; i++)
                groups[step][i] = (struct group){1 + pick(5), (char)('a' + pick(4))};
        }
        for (int round = 0; round < 2; round++) {
            forget_groups();
            start_again();
            for (size_t step = 0; step < STEPS; step++) {
                size_t elements = group_counts[step] * (1 + 4 * count), at = 0;
                struct reply reply;

                if (round == 0)
                    eval_groups(groups[step], group_counts[step], limits, count, &reply);
                for (size_t i = 0; i < group_counts[step]; i++) {
                    if (round == 1)
                        eval_groups(&groups[step][i], 1, limits, count, &reply);
                    for (size_t j = 0; j < 1 + 4 * count; j++, at++)
                        if (round == 0)
                            said[step][at] = reply.elements[at].integer;
                        else
                            assert_int_equal(reply.elements[j].integer, said[step][at]);
                }
                assert_int_equal(at, elements);
                world.now_us += waits[step];
            }
        }
        arena_clear(&world.arena);
    }
}

static void a_new_algorithm_starts_afresh(void **state)
{
    static const char *const algorithms[] = {"t", "w", "l", "f"};

    UNUSED(state);
    for (size_t from = 0; from < 4; from++)
        for (size_t to = 0; to < 4; to++) {
            struct limit limit = {algorithms[from],        .cost = 1,  .count = 3,
                                  .period_us = 7 * DAY_US, .burst = 3, .align = "h"};

            start_again();
            assert_int_equal(ask(2, limit), 2);
            limit.algorithm = algorithms[to];
            assert_int_equal(ask(9, limit), from == to ? 1 : 3);
            assert_int_equal(ask(9, limit), 0);
        }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(rate_is_exact),
        CASE(a_burst_then_the_rate),
        CASE(a_new_rate_takes_over_what_is_used),
        CASE(sliding_log_is_exact),
        CASE(sliding_window_keeps_its_bound),
        CASE(calendar_windows_follow_the_calendar),
        CASE(a_calendar_window_holds_its_count),
        CASE(a_first_hit_window_begins_with_it),
        CASE(retry_after_is_exact),
        CASE(every_key_goes_when_it_may),
        CASE(all_or_nothing),
        CASE(a_batch_is_its_requests),
        CASE(a_shadow_limit_only_counts),
        CASE(cost_zero_looks_and_does_not_touch),
        CASE(a_clock_that_steps_back_gives_nothing_away),
        CASE(what_is_not_ours_is_left_alone),
        CASE(groups_of_a_call_are_decided_each_on_its_own),
        CASE(a_new_algorithm_starts_afresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
