#include "unit/unit.h"

#include <stdio.h>

#include "guard/limit.h"

#define SECOND UINT64_C(1000000)
#define MAX_LIMITS 4

/* A snapshot made by hand: one route, whose limits a case sets. */
struct fixture {
    struct arena arena;
    struct metrics *metrics;
    struct policy policy;
    struct policy_route route;
    struct policy_limit limits[MAX_LIMITS];
    const struct policy_limit *limit_list[MAX_LIMITS];
    struct facts facts;
    struct verdict verdict;
    struct limit_check check;
};

static struct slice find_header(const void *request, struct slice name)
{
    for (const char *const *pair = request; *pair != NULL; pair += 2)
        if (slice_equal(slice_of(pair[0]), name))
            return slice_of(pair[1]);
    return SLICE_NONE;
}

static const char *const header_pairs[] = {"x-user", "7",          "x-cost", "3",      "x-bad",
                                           "3.5",    "x-dash",     "-",      "x-huge", "2147483649",
                                           "x-most", "2147483648", NULL};

static const struct policy_limit plain = {.name = "plain",
                                          .algorithm = POLICY_TOKEN_BUCKET,
                                          .rate = {10, 60 * SECOND, POLICY_PERIOD_US},
                                          .burst = 20,
                                          .cost = 1};

static int set_up(void **state)
{
    struct fixture *f = mem_calloc(1, sizeof(*f));

    arena_init(&f->arena, NULL);
    f->metrics = metrics_open(1);
    f->policy.settings.store_key_prefix = "lk";
    f->route = (struct policy_route){.name = "shop", .limits = f->limit_list};
    f->facts =
        (struct facts){.method = SLICE("GET"), .header = find_header, .request = header_pairs};
    f->check = (struct limit_check){.route = &f->route,
                                    .arena = &f->arena,
                                    .shard = metrics_shard(f->metrics, 1),
                                    .verdict = &f->verdict};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    arena_clear(&f->arena);
    metrics_close(&f->metrics);
    free(f);
    return 0;
}

static struct template *compile(struct fixture *f, const char *text)
{
    struct template_error error;
    struct template *template = template_compile(&f->arena, slice_of(text), NULL, 0, NULL, &error);

    if (template == NULL)
        fail_msg("%s: %s", text, error.message);
    return template;
}

static struct policy_limit *add_limit(struct fixture *f, const char *name, const char *key)
{
    struct policy_limit *limit = &f->limits[f->route.limit_count];

    *limit = plain;
    limit->name = name;
    limit->route = &f->route;
    limit->key = key != NULL ? compile(f, key) : NULL;
    for (int i = 0; i < POLICY_DECISION_COUNT; i++)
        limit->decision_slots[i] =
            metrics_series(f->metrics, METRIC_DECISIONS,
                           (const char *const[]){"shop", name, policy_decision_name(i)});
    limit->near_limit_slot = metrics_series2(f->metrics, METRIC_NEAR_LIMIT, "shop", name);
    f->limit_list[f->route.limit_count++] = limit;
    return limit;
}

static int64_t decisions(struct fixture *f, size_t limit, enum policy_decision decision)
{
    return metrics_read(f->metrics, f->limits[limit].decision_slots[decision]);
}

static bool begin(struct fixture *f)
{
    f->verdict = (struct verdict){.kind = VERDICT_ALLOW};
    return limit_check_begin(&f->check, &f->policy, &f->facts);
}

/* ---- questions ---- */

struct question_case {
    const char *key, *cost;
    const char *store_key, *missing;
    uint64_t expected_cost;
    bool is_missing, is_cost_invalid;
};

static const struct question_case question_cases[] = {
    {NULL, NULL, "lk:shop/a:{-}", NULL, 1, false, false},
    {"{header.x-user}", NULL, "lk:shop/a:{7}", NULL, 1, false, false},
    {"u:{header.x-user}:{method}", NULL, "lk:shop/a:{u:7:GET}", NULL, 1, false, false},
    /* No rendered key looks like the shared one or like that of a limit without key. */
    {"{header.x-none}", NULL, "lk:shop/a:{-}shared", "header.x-none", 1, true, false},
    {"{header.x-dash}", NULL, "lk:shop/a:{-}", NULL, 1, false, false},
    {NULL, "{header.x-cost}", "lk:shop/a:{-}", NULL, 3, false, false},
    {NULL, "{header.x-most}", "lk:shop/a:{-}", NULL, 2147483648, false, false},
    {NULL, "{header.x-huge}", "lk:shop/a:{-}", "{header.x-huge}", 1, false, true},
    {NULL, "{header.x-bad}", "lk:shop/a:{-}", "{header.x-bad}", 1, false, true},
    {NULL, "{header.x-none}", "lk:shop/a:{-}", "{header.x-none}", 1, false, true},
    {"{header.x-user}", "1{header.x-cost}", "lk:shop/a:{7}", NULL, 13, false, false},
};

static void test_questions(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT_OF(question_cases); i++) {
        const struct question_case *c = &question_cases[i];
        struct policy_limit *limit;
        struct limit_question question;

        f->route.limit_count = 0;
        limit = add_limit(f, "a", c->key);
        limit->cost_template = c->cost != NULL ? compile(f, c->cost) : NULL;
        limit_question(&f->policy, limit, &f->facts, &f->arena, &question);
        assert_slice_equal(question.store_key, slice_of(c->store_key));
        assert_int_equal(question.cost, c->expected_cost);
        assert_int_equal(question.is_missing, c->is_missing);
        assert_int_equal(question.is_cost_invalid, c->is_cost_invalid);
        assert_slice_equal(question.missing, slice_of(c->missing));
    }
}

struct args_case {
    struct policy_limit limit;
    uint64_t cost;
    unsigned divide_by;
    const char *expected;
};

static const struct args_case args_cases[] = {
    {{.algorithm = POLICY_TOKEN_BUCKET, .rate = {10, 60 * SECOND, POLICY_PERIOD_US}, .burst = 20},
     1,
     1,
     "t e 1 10 60000000 20 - 0"},
    {{.algorithm = POLICY_TOKEN_BUCKET, .rate = {10, 60 * SECOND, POLICY_PERIOD_US}, .burst = 1},
     5,
     3,
     "t e 5 3 60000000 1 - 0"},
    {{.algorithm = POLICY_SLIDING_WINDOW,
      .rate = {7, SECOND, POLICY_PERIOD_US},
      .mode = POLICY_SHADOW},
     0,
     10,
     "w s 0 1 1000000 0 - 0"},
    {{.algorithm = POLICY_SLIDING_LOG,
      .rate = {UINT64_C(1) << 31, SECOND, POLICY_PERIOD_US},
      .utc_offset_us = 5},
     UINT64_C(1) << 31,
     1,
     "l e 2147483648 2147483648 1000000 0 - 0"},
    {{.algorithm = POLICY_FIXED_WINDOW,
      .rate = {9, 31 * 86400 * SECOND, POLICY_PERIOD_MONTH},
      .align = POLICY_ALIGN_CALENDAR,
      .utc_offset_us = -3600 * (int64_t)SECOND},
     1,
     1,
     "f e 1 9 month 0 c -3600000000"},
    {{.algorithm = POLICY_FIXED_WINDOW,
      .rate = {9, 366 * 86400 * SECOND, POLICY_PERIOD_YEAR},
      .align = POLICY_ALIGN_CALENDAR,
      .utc_offset_us = 3600 * (int64_t)SECOND},
     1,
     0,
     "f e 1 9 year 0 c 3600000000"},
    {{.algorithm = POLICY_FIXED_WINDOW,
      .rate = {9, SECOND, POLICY_PERIOD_US},
      .align = POLICY_ALIGN_FIRST_HIT},
     1,
     1,
     "f e 1 9 1000000 0 h 0"},
};

static void test_script_args(void **state)
{
    struct fixture *f = *state;
    struct limit_question questions[COUNT_OF(args_cases)];
    struct slice args[LIMIT_ARGS * COUNT_OF(args_cases)];

    for (size_t i = 0; i < COUNT_OF(args_cases); i++) {
        const struct args_case *c = &args_cases[i];
        char text[200] = "";

        questions[i] =
            (struct limit_question){.limit = &c->limit, .store_key = SLICE("key"), .cost = c->cost};
        limit_put_args(&questions[i], 1, c->divide_by, &f->arena, args);
        for (size_t arg = 0; arg < LIMIT_ARGS; arg++)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.*s", arg > 0 ? " " : "",
                     SLICE_ARGS(args[arg]));
        assert_string_equal(text, c->expected);
    }
    limit_put_args(questions, COUNT_OF(questions), 1, &f->arena, args);
    assert_slice_equal(args[8 * 4 + 7], SLICE("-3600000000"));
    assert_slice_equal(args[8 * 6], SLICE("f"));
}

static void test_a_call_of_groups(void **state)
{
    struct fixture *f = *state;
    struct limit_question one[2], other[2];
    const struct limit_group groups[] = {{one, UINT64_MAX}, {other, 3}};
    struct store_call call = {.script = SCRIPT_LIMITS};
    char text[400] = "";

    for (size_t i = 0; i < 2; i++) {
        one[i] = (struct limit_question){.limit = &args_cases[i].limit, .cost = 7};
        other[i] = one[i];
        one[i].store_key = i == 0 ? SLICE("a") : SLICE("b");
        other[i].store_key = i == 0 ? SLICE("c") : SLICE("b");
    }
    limit_set_call(&call, SLICE("id"), groups, 2, 2, 1, &f->arena);
    for (size_t i = 0; i < call.key_count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s ",
                 SLICE_ARGS(call.keys[i]));
    assert_string_equal(text, "a b c b ");
    assert_int_equal(call.arg_count, 2 + 2 * LIMIT_ARGS + 2);
    assert_slice_equal(call.args[0], SLICE("2"));
    assert_slice_equal(call.args[1], SLICE("id"));
    assert_slice_equal(call.args[2 + 2], SLICE("7"));
    assert_slice_equal(call.args[18], SLICE("18446744073709551615"));
    assert_slice_equal(call.args[19], SLICE("3"));
}

/* ---- replies ---- */

static struct reply integer(int64_t value)
{
    return (struct reply){.type = REPLY_INTEGER, .integer = value};
}

static void test_replies_of_the_wrong_shape(void **state)
{
    struct reply good[5] = {integer(1), integer(1), integer(4), integer(-1), integer(9)};
    struct reply elements[5], reply;
    struct limit_grant grant;

    UNUSED(state);
    reply = (struct reply){.type = REPLY_ARRAY, .elements = good, .element_count = 5};
    assert_true(limit_read_reply(&reply, 1, &grant));
    assert_int_equal(grant.granted, 1);
    assert_int_equal(grant.answers[0].retry_after_us, -1);
    assert_int_equal(grant.answers[0].reset_us, 9);
    assert_false(limit_read_reply(&reply, 2, &grant));
    reply.element_count = 4;
    assert_false(limit_read_reply(&reply, 1, &grant));
    for (size_t i = 0; i < 5; i++) {
        memcpy(elements, good, sizeof(good));
        elements[i].integer = -2;
        reply = (struct reply){.type = REPLY_ARRAY, .elements = elements, .element_count = 5};
        assert_false(limit_read_reply(&reply, 1, &grant));
        elements[i] = (struct reply){.type = REPLY_STRING, .text = SLICE("1")};
        assert_false(limit_read_reply(&reply, 1, &grant));
    }
    reply = integer(1);
    assert_false(limit_read_reply(&reply, 1, &grant));
}

/* ---- verdicts ---- */

static void test_what_lacks_a_key(void **state)
{
    struct fixture *f = *state;
    struct policy_limit *limit = add_limit(f, "a", "{header.x-none}");

    limit->on_missing_key = POLICY_MISSING_SKIP;
    assert_true(begin(f));
    assert_int_equal(f->check.question_count, 0);
    assert_string_equal(f->verdict.decision, "skipped");

    limit->on_missing_key = POLICY_MISSING_SHARED;
    assert_true(begin(f));
    assert_int_equal(f->check.question_count, 1);
    assert_slice_equal(f->check.questions[0].store_key, SLICE("lk:shop/a:{-}shared"));

    limit->on_missing_key = POLICY_MISSING_DENY;
    assert_false(begin(f));
    assert_int_equal(f->verdict.status, 400);
    assert_string_equal(f->verdict.reason, "missing-key");
    assert_slice_equal(f->verdict.detail, SLICE("the request has no value for {header.x-none}"));
    assert_string_equal(f->verdict.decision, "missing_key");
    assert_string_equal(f->verdict.limit, "a");
    assert_int_equal(f->verdict.violated_count, 1);
    assert_false(f->verdict.has_retry_after);

    limit->mode = POLICY_SHADOW;
    assert_true(begin(f));
    assert_int_equal(f->check.question_count, 0);
    assert_int_equal(decisions(f, 0, POLICY_DECISION_MISSING_KEY), 2);
    assert_int_equal(decisions(f, 0, POLICY_DECISION_SKIPPED), 1);
}

static void test_a_cost_that_is_no_number(void **state)
{
    struct fixture *f = *state;
    struct policy_limit *limit = add_limit(f, "a", NULL);

    limit->cost_template = compile(f, "{header.x-bad}");
    limit->on_missing_key = POLICY_MISSING_DENY;
    assert_false(begin(f));
    assert_int_equal(f->verdict.status, 400);
    assert_string_equal(f->verdict.reason, "invalid-cost");
    limit->on_missing_key = POLICY_MISSING_SKIP;
    assert_true(begin(f));
    assert_int_equal(f->check.question_count, 0);
}

static void test_questions_left_out_close_ranks(void **state)
{
    struct fixture *f = *state;

    add_limit(f, "a", "{header.x-none}")->on_missing_key = POLICY_MISSING_SKIP;
    add_limit(f, "b", "{header.x-user}");
    add_limit(f, "c", "{header.x-none}")->on_missing_key = POLICY_MISSING_SKIP;
    add_limit(f, "d", NULL);
    assert_true(begin(f));
    assert_int_equal(f->check.question_count, 2);
    assert_string_equal(f->check.questions[0].limit->name, "b");
    assert_string_equal(f->check.questions[1].limit->name, "d");
}

static void test_same_questions(void **state)
{
    static const char *const other_user[] = {"x-user", "8", "x-cost", "3", NULL};
    struct fixture *f = *state;
    struct limit_check first, again, other;

    add_limit(f, "a", "{header.x-user}")->cost_template = compile(f, "{header.x-cost}");
    assert_true(begin(f));
    first = f->check;
    assert_true(begin(f));
    again = f->check;
    assert_true(limit_check_equal(&first, &again));
    assert_int_equal(limit_check_hash(&first), limit_check_hash(&again));
    f->facts.request = other_user;
    assert_true(begin(f));
    other = f->check;
    assert_false(limit_check_equal(&first, &other));
    again.questions[0].cost = 4;
    assert_false(limit_check_equal(&first, &again));
}

static void test_positions_in_a_call(void **state)
{
    struct fixture *f = *state;
    /* Five asked, three granted; after the third one 1 token is left, the cost is 2. */
    const struct limit_grant grant = {
        .granted = 3, .answer_count = 1, .answers = {{0, 1, 2500001, 30000000}}};
    static const char *const expected[] = {"\"a\";r=5;t=30", "\"a\";r=3;t=30", "\"a\";r=1;t=30",
                                           "\"a\";r=1;t=3", "\"a\";r=1;t=3"};

    add_limit(f, "a", NULL)->cost = 2;
    for (uint64_t position = 0; position < 5; position++) {
        assert_true(begin(f));
        limit_check_judge(&f->check, &grant, position);
        assert_int_equal(f->verdict.kind, position < 3 ? VERDICT_ALLOW : VERDICT_REFUSE);
        assert_slice_equal(f->verdict.fields[1].value, slice_of(expected[position]));
    }
    assert_int_equal(f->verdict.status, 429);
    assert_string_equal(f->verdict.reason, "quota-exceeded");
    assert_string_equal(f->verdict.violated[0], "a");
    /* Rounded up: never earlier than the truth. */
    assert_true(f->verdict.has_retry_after);
    assert_int_equal(f->verdict.retry_after_s, 3);
    assert_int_equal(decisions(f, 0, POLICY_DECISION_ALLOWED), 3);
    assert_int_equal(decisions(f, 0, POLICY_DECISION_LIMITED), 2);
    /* Less than a fifth of 20: 3 and 1. */
    assert_int_equal(metrics_read(f->metrics, f->limits[0].near_limit_slot), 2);
}

struct retry_case {
    struct limit_answer answers[2];
    const char *reason;
    uint64_t retry_after_s; /* 0: none */
    size_t violated_count;
};

static const struct retry_case retry_cases[] = {
    {{{0, 0, 1, 0}, {1, 5, 0, 0}}, "quota-exceeded", 1, 1},
    {{{0, 0, 0, 0}, {1, 5, 0, 0}}, "quota-exceeded", 1, 1},
    {{{0, 0, 1000000, 0}, {1, 5, 0, 0}}, "quota-exceeded", 1, 1},
    {{{0, 0, 1000001, 0}, {1, 5, 0, 0}}, "quota-exceeded", 2, 1},
    /* Both must have room again. */
    {{{0, 0, 2000000, 0}, {0, 0, 9000000, 0}}, "quota-exceeded", 9, 2},
    {{{0, 0, 9000000, 0}, {0, 0, 2000000, 0}}, "quota-exceeded", 9, 2},
    {{{0, 0, -1, 0}, {0, 0, 2000000, 0}}, "cost-exceeds-limit", 0, 2},
    {{{0, 0, 2000000, 0}, {0, 0, -1, 0}}, "cost-exceeds-limit", 0, 2},
};

static void test_when_to_come_again(void **state)
{
    struct fixture *f = *state;

    add_limit(f, "a", NULL);
    add_limit(f, "b", NULL);
    for (size_t i = 0; i < COUNT_OF(retry_cases); i++) {
        const struct retry_case *c = &retry_cases[i];
        struct limit_grant grant = {.granted = 0, .answer_count = 2};

        memcpy(grant.answers, c->answers, sizeof(c->answers));
        assert_true(begin(f));
        limit_check_judge(&f->check, &grant, 0);
        assert_int_equal(f->verdict.kind, VERDICT_REFUSE);
        assert_string_equal(f->verdict.reason, c->reason);
        assert_int_equal(f->verdict.has_retry_after, c->retry_after_s > 0);
        if (c->retry_after_s > 0)
            assert_int_equal(f->verdict.retry_after_s, c->retry_after_s);
        assert_int_equal(f->verdict.violated_count, c->violated_count);
        assert_int_equal(f->verdict.executed, VERDICT_EXECUTED_NO);
    }
}

static void test_shadow_never_denies(void **state)
{
    struct fixture *f = *state;
    /* Two asked and granted; the limit in shadow mode would have let one pass. */
    const struct limit_grant grant = {
        .granted = 2, .answer_count = 2, .answers = {{1, 0, 5000000, 1}, {1, 8, 0, 2000000}}};

    add_limit(f, "quiet", NULL)->mode = POLICY_SHADOW;
    add_limit(f, "real", NULL);
    for (uint64_t position = 0; position < 2; position++) {
        assert_true(begin(f));
        limit_check_judge(&f->check, &grant, position);
        assert_int_equal(f->verdict.kind, VERDICT_ALLOW);
        assert_string_equal(f->verdict.decision, position == 0 ? "allowed" : "shadow_limited");
        assert_slice_equal(f->verdict.fields[0].value, SLICE("\"real\";q=20;w=120"));
    }
    assert_string_equal(f->verdict.limit, "quiet");
    assert_slice_equal(f->verdict.fields[1].value, SLICE("\"real\";r=8;t=2"));
    assert_int_equal(decisions(f, 0, POLICY_DECISION_ALLOWED), 1);
    assert_int_equal(decisions(f, 0, POLICY_DECISION_SHADOW_LIMITED), 1);
    assert_int_equal(decisions(f, 1, POLICY_DECISION_ALLOWED), 2);
}

/* ---- when the store does not decide ---- */

struct failure_case {
    enum policy_store_failure first, second;
    enum policy_mode first_mode;
    bool local_grants, local_fails;
    bool asks_local;
    unsigned status; /* 0: allowed */
    const char *decision;
};

static const struct failure_case failure_cases[] = {
    {POLICY_FAIL_ALLOW, POLICY_FAIL_ALLOW, POLICY_ENFORCE, false, false, false, 0, "error_allowed"},
    {POLICY_FAIL_DENY, POLICY_FAIL_ALLOW, POLICY_ENFORCE, false, false, false, 503, "error_denied"},
    /* An enforced limit that denies anyway: nothing is charged locally. */
    {POLICY_FAIL_DENY, POLICY_FAIL_LOCAL, POLICY_ENFORCE, true, false, false, 503, "error_denied"},
    {POLICY_FAIL_DENY, POLICY_FAIL_ALLOW, POLICY_SHADOW, false, false, false, 0, "error_allowed"},
    {POLICY_FAIL_ALLOW, POLICY_FAIL_LOCAL, POLICY_ENFORCE, true, false, true, 0, "error_allowed"},
    {POLICY_FAIL_ALLOW, POLICY_FAIL_LOCAL, POLICY_ENFORCE, false, false, true, 429,
     "local_limited"},
    {POLICY_FAIL_LOCAL, POLICY_FAIL_ALLOW, POLICY_ENFORCE, false, false, true, 429,
     "local_limited"},
    {POLICY_FAIL_LOCAL, POLICY_FAIL_ALLOW, POLICY_ENFORCE, false, true, true, 0, "error_allowed"},
};

static void test_store_failures(void **state)
{
    struct fixture *f = *state;
    struct policy_limit *first = add_limit(f, "a", NULL), *second = add_limit(f, "b", NULL);

    for (size_t i = 0; i < COUNT_OF(failure_cases); i++) {
        const struct failure_case *c = &failure_cases[i];
        struct limit_question questions[2];
        struct limit_grant local = {.granted = c->local_grants,
                                    .answer_count = 1,
                                    .answers = {{c->local_grants, 2, 1500000, 1}}};
        size_t count = 0;

        first->on_store_failure = c->first;
        first->mode = c->first_mode;
        second->on_store_failure = c->second;
        assert_true(begin(f));
        assert_int_equal(limit_check_local(&f->check, questions, &count), c->asks_local);
        assert_int_equal(count, c->asks_local);
        limit_check_judge_failure(&f->check, c->asks_local && !c->local_fails ? &local : NULL, 0);
        assert_int_equal(f->verdict.status, c->status);
        assert_int_equal(f->verdict.kind, c->status > 0 ? VERDICT_REFUSE : VERDICT_ALLOW);
        assert_string_equal(f->verdict.decision, c->decision);
        if (c->status == 503) {
            assert_string_equal(f->verdict.reason, "store-unavailable");
            assert_int_equal(f->verdict.retry_after_s, 1);
        }
        if (c->status == 429)
            assert_int_equal(f->verdict.retry_after_s, 2);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_questions),
        CASE(test_script_args),
        CASE(test_a_call_of_groups),
        CASE(test_replies_of_the_wrong_shape),
        CASE(test_what_lacks_a_key),
        CASE(test_a_cost_that_is_no_number),
        CASE(test_questions_left_out_close_ranks),
        CASE(test_same_questions),
        CASE(test_positions_in_a_call),
        CASE(test_when_to_come_again),
        CASE(test_shadow_never_denies),
        CASE(test_store_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
