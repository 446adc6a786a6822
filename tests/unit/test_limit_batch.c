/* The store is a fake that records what it is asked and answers when the test says so. */
#include "unit/unit.h"

#include <stdio.h>

#include "guard/limit_batch.h"

#define MAX_TICKETS 600
#define MAX_CALLS 16
#define MAX_GROUPS 64
#define ANSWER 5 /* elements of one limit's answer */
#define TROUBLE INT64_MIN

struct asked {
    struct store_call *call; /* NULL once it is over */
    size_t group_count;
    char groups[1024]; /* "key=requests " of each, as far as there is room */
    char id[64], limit_count[8];
    uint64_t request_count; /* of all groups */
    bool is_cancelled;
};

static struct {
    bool is_embedded, is_sharded;
    enum store_result result; /* of store_eval */
    enum store_result local_result;
    int64_t elements[ANSWER];       /* of the reply for each group, local or not */
    int64_t others[MAX_GROUPS + 1]; /* granted to a group, when it is not elements[0] */
    unsigned sidecars;
    struct asked calls[MAX_CALLS];
    size_t call_count, local_count;
    struct asked local;
} fake;

static struct reply reply_elements[ANSWER * MAX_GROUPS];

static struct reply make_reply(size_t group_count)
{
    for (size_t i = 0; i < ANSWER * group_count; i++)
        reply_elements[i] =
            (struct reply){.type = REPLY_INTEGER, .integer = fake.elements[i % ANSWER]};
    for (size_t i = 0; i < group_count; i++)
        if (fake.others[i] == TROUBLE)
            reply_elements[i * ANSWER] =
                (struct reply){.type = REPLY_ERROR, .text = SLICE("LKSTATE of key")};
        else if (fake.others[i] != 0)
            reply_elements[i * ANSWER].integer = fake.others[i];
    return (struct reply){
        .type = REPLY_ARRAY, .elements = reply_elements, .element_count = ANSWER * group_count};
}

static void record(struct asked *asked, struct store_call *call)
{
    *asked = (struct asked){.call = call, .group_count = call->key_count};
    assert_true(call->key_count <= MAX_GROUPS);
    assert_slice_equal(call->args[0], SLICE("1"));
    assert_int_equal(call->arg_count, 10 + call->key_count);
    for (size_t i = 0; i < call->key_count; i++) {
        size_t len = strlen(asked->groups);
        uint64_t request_count = 0;

        assert_true(slice_to_uint64(call->args[10 + i], &request_count));
        asked->request_count += request_count;
        snprintf(asked->groups + len, sizeof(asked->groups) - len, "%.*s=%.*s ",
                 SLICE_ARGS(call->keys[i]), SLICE_ARGS(call->args[10 + i]));
    }
    snprintf(asked->id, sizeof(asked->id), "%.*s", SLICE_ARGS(call->args[1]));
    snprintf(asked->limit_count, sizeof(asked->limit_count), "%.*s", SLICE_ARGS(call->args[5]));
}

enum store_result store_eval(struct store *store, struct store_call *call, struct reply *ret_reply)
{
    UNUSED(store);
    assert_true(fake.call_count < MAX_CALLS);
    record(&fake.calls[fake.call_count++], call);
    if (fake.result == STORE_OK)
        *ret_reply = make_reply(call->key_count);
    return fake.result;
}

enum store_result store_eval_local(struct store *store, struct store_call *call,
                                   struct reply *ret_reply)
{
    UNUSED(store);
    record(&fake.local, call);
    fake.local_count++;
    if (fake.local_result == STORE_OK)
        *ret_reply = make_reply(1);
    return fake.local_result;
}

void store_cancel(struct store_call *call)
{
    for (size_t i = 0; i < fake.call_count; i++)
        if (fake.calls[i].call == call)
            fake.calls[i].is_cancelled = true;
}

bool store_is_embedded(const struct store *store)
{
    UNUSED(store);
    return fake.is_embedded;
}

bool store_is_sharded(const struct store *store)
{
    UNUSED(store);
    return fake.is_sharded;
}

unsigned store_known_sidecars(const struct store *store)
{
    UNUSED(store);
    return fake.sidecars;
}

const char *store_result_name(enum store_result result)
{
    UNUSED(result);
    return "a result";
}

static void answer(size_t call, enum store_result result)
{
    struct store_call *answered = TAKE(&fake.calls[call].call);
    struct reply reply = make_reply(fake.calls[call].group_count);

    answered->on_reply(answered, result, result == STORE_OK ? &reply : NULL);
}

/* ---- requests ---- */

struct request {
    struct limit_ticket ticket;
    struct verdict verdict;
    struct arena arena;
    unsigned decided_count;
    struct fixture *fixture;
    struct request *leaves_first; /* on_decided makes this one leave */
};

struct fixture {
    struct loop *loop;
    struct limit_batcher *batcher;
    struct metrics *metrics;
    struct policy_route route;
    struct policy_limit limit;
    struct request requests[MAX_TICKETS];
    size_t request_count;
};

static int set_up(void **state)
{
    struct fixture *f = mem_calloc(1, sizeof(*f));

    memset(&fake, 0, sizeof(fake));
    fake.result = STORE_PENDING;
    fake.sidecars = 1;
    assert_int_equal(loop_open(&f->loop), 0);
    f->batcher = limit_batcher_open(f->loop, NULL, NULL);
    f->metrics = metrics_open(1);
    f->limit = (struct policy_limit){.name = "l",
                                     .route = &f->route,
                                     .algorithm = POLICY_TOKEN_BUCKET,
                                     .rate = {10, 1000000, POLICY_PERIOD_US},
                                     .burst = 10,
                                     .on_store_failure = POLICY_FAIL_LOCAL};
    f->route.name = "r";
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    limit_batcher_close(&f->batcher);
    for (size_t i = 0; i < f->request_count; i++)
        arena_clear(&f->requests[i].arena);
    metrics_close(&f->metrics);
    loop_close(&f->loop);
    free(f);
    return 0;
}

static void on_decided(struct limit_ticket *ticket)
{
    struct request *request = CONTAINER_OF(ticket, struct request, ticket);

    request->decided_count++;
    if (request->leaves_first != NULL)
        limit_batch_leave(&request->leaves_first->ticket);
}

/* True when it was answered at once. */
static bool ask_limit(struct fixture *f, const struct policy_limit *limit, const char *key,
                      uint64_t cost)
{
    struct request *request = &f->requests[f->request_count++];
    struct limit_question *question;

    assert_true(f->request_count <= MAX_TICKETS);
    arena_init(&request->arena, loop_arena_pool(f->loop));
    question = arena_calloc(&request->arena, 1, sizeof(*question));
    question->limit = limit;
    question->store_key = arena_copy(&request->arena, slice_of(key));
    question->cost = cost;
    request->ticket.on_decided = on_decided;
    request->ticket.check = (struct limit_check){.route = &f->route,
                                                 .arena = &request->arena,
                                                 .shard = metrics_shard(f->metrics, 1),
                                                 .verdict = &request->verdict,
                                                 .questions = question,
                                                 .question_count = 1,
                                                 .sharpest = -1};
    return limit_batch_ask(f->batcher, &request->ticket);
}

static bool ask(struct fixture *f, const char *key, uint64_t cost)
{
    return ask_limit(f, &f->limit, key, cost);
}

/* The memory of a request that has left is somebody else's at once. */
static void leave(struct fixture *f, size_t index)
{
    struct request *request = &f->requests[index];

    limit_batch_leave(&request->ticket);
    arena_clear(&request->arena);
    memset(&request->ticket, 0xee, sizeof(request->ticket));
}

static void tick(struct fixture *f)
{
    loop_turn(f->loop);
}

static void set_reply(int64_t granted, int64_t allowed, int64_t remaining)
{
    fake.elements[0] = granted;
    fake.elements[1] = allowed;
    fake.elements[2] = remaining;
    fake.elements[3] = allowed > 0 ? 0 : 1000000;
    fake.elements[4] = 1000000;
    memset(fake.others, 0, sizeof(fake.others));
}

static void assert_verdicts(const struct fixture *f, const char *expected)
{
    for (size_t i = 0; i < f->request_count; i++) {
        const struct request *request = &f->requests[i];
        char got = request->decided_count == 0              ? '?'
                   : request->verdict.kind == VERDICT_ALLOW ? 'a'
                                                            : 'r';

        if (got != expected[i])
            fail_msg("request %zu: %c, not %c", i, got, expected[i]);
        assert_true(request->decided_count <= 1);
    }
}

static void test_what_is_asked_in_a_tick_travels_together(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 5; i++)
        assert_false(ask(f, "k1", 1));
    assert_false(ask(f, "k2", 1));
    assert_false(ask(f, "k1", 2));
    assert_false(ask(f, "k2", 1));
    assert_false(ask(f, "k3", 1));
    assert_int_equal(fake.call_count, 0);
    tick(f);
    assert_int_equal(fake.call_count, 2);
    assert_string_equal(fake.calls[0].groups, "k1=5 k2=2 k3=1 ");
    assert_string_equal(fake.calls[1].groups, "k1=1 ");
    assert_string_not_equal(fake.calls[0].id, fake.calls[1].id);
    assert_verdicts(f, "?????????");
    set_reply(3, 0, 0);
    fake.others[1] = 1;
    answer(0, STORE_OK);
    assert_verdicts(f, "aaarra?ra");
    set_reply(1, 1, 9);
    answer(1, STORE_OK);
    assert_verdicts(f, "aaarraara");
    /* The next tick asks anew. */
    assert_false(ask(f, "k1", 1));
    tick(f);
    assert_int_equal(fake.call_count, 3);
    assert_string_equal(fake.calls[2].groups, "k1=1 ");
    answer(2, STORE_OK);
}

static void test_another_policy_is_another_call(void **state)
{
    struct fixture *f = *state;
    struct policy_limit reloaded = f->limit;

    ask(f, "k1", 1);
    ask_limit(f, &reloaded, "k2", 1);
    tick(f);
    assert_int_equal(fake.call_count, 2);
    set_reply(1, 1, 9);
    answer(1, STORE_OK);
    answer(0, STORE_OK);
    assert_verdicts(f, "aa");
}

static void test_each_set_of_limits_is_a_call(void **state)
{
    struct fixture *f = *state;
    struct policy_limit limits[MAX_CALLS];

    for (int key = 0; key < 3; key++)
        for (size_t i = 0; i < MAX_CALLS; i++) {
            limits[i] = f->limit;
            ask_limit(f, &limits[i], (const char *[]){"k1", "k2", "k3"}[key], 1 + i % 2);
        }
    tick(f);
    assert_int_equal(fake.call_count, MAX_CALLS);
    set_reply(1, 1, 9);
    for (size_t i = 0; i < MAX_CALLS; i++) {
        assert_string_equal(fake.calls[i].groups, "k1=1 k2=1 k3=1 ");
        answer(i, STORE_OK);
    }
    for (size_t i = 0; i < f->request_count; i++)
        assert_int_equal(f->requests[i].decided_count, 1);
}

static void test_keys_of_different_slots_go_alone(void **state)
{
    struct fixture *f = *state;

    fake.is_sharded = true;
    ask(f, "k1", 1);
    ask(f, "k2", 1);
    ask(f, "k1", 1);
    tick(f);
    assert_int_equal(fake.call_count, 2);
    assert_string_equal(fake.calls[0].groups, "k1=2 ");
    assert_string_equal(fake.calls[1].groups, "k2=1 ");
    set_reply(2, 1, 9);
    answer(0, STORE_OK);
    answer(1, STORE_OK);
    assert_verdicts(f, "aaa");
}

static void test_a_group_is_bounded(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 600; i++)
        assert_false(ask(f, "k", 1));
    tick(f);
    assert_int_equal(fake.call_count, 1);
    assert_string_equal(fake.calls[0].groups, "k=256 k=256 k=88 ");
    set_reply(1000, 1, 0);
    answer(0, STORE_OK);
    for (size_t i = 0; i < 600; i++)
        assert_int_equal(f->requests[i].decided_count, 1);
}

static void test_a_call_is_bounded(void **state)
{
    struct fixture *f = *state;
    char key[7000];

    for (int i = 0; i < 150; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        ask(f, key, 1);
    }
    tick(f);
    assert_int_equal(fake.call_count, 3);
    assert_int_equal(fake.calls[0].group_count, 64);
    assert_int_equal(fake.calls[1].group_count, 64);
    assert_int_equal(fake.calls[2].group_count, 22);
    /* And by the bytes of its keys. */
    for (int i = 0; i < 5; i++) {
        memset(key, 'a' + i, sizeof(key) - 1);
        key[sizeof(key) - 1] = '\0';
        ask(f, key, 1);
    }
    tick(f);
    assert_int_equal(fake.call_count, 6);
    assert_int_equal(fake.calls[3].group_count, 2);
    assert_int_equal(fake.calls[5].group_count, 1);
    set_reply(1, 1, 0);
    for (size_t i = 0; i < 6; i++)
        answer(i, STORE_OK);
    for (size_t i = 0; i < f->request_count; i++)
        assert_int_equal(f->requests[i].decided_count, 1);
}

static void test_leaving_before_the_call_is_sent(void **state)
{
    struct fixture *f = *state;

    ask(f, "gone", 1);
    ask(f, "k", 1);
    ask(f, "k", 1);
    ask(f, "alone", 3);
    leave(f, 0);
    leave(f, 1);
    leave(f, 3);
    ask(f, "k2", 1);
    tick(f);
    assert_int_equal(fake.call_count, 1);
    assert_string_equal(fake.calls[0].groups, "k=1 k2=1 ");
    set_reply(1, 1, 9);
    answer(0, STORE_OK);
    assert_verdicts(f, "??a?a");
}

static void test_leaving_while_the_call_is_out(void **state)
{
    struct fixture *f = *state;

    ask(f, "first", 1);
    for (int i = 0; i < 3; i++)
        ask(f, "k", 1);
    ask(f, "alone", 3);
    tick(f);
    leave(f, 0);
    leave(f, 1);
    leave(f, 4);
    assert_false(fake.calls[0].is_cancelled);
    assert_true(fake.calls[1].is_cancelled);
    /* Places stay what they were when the call was made: the second of three is granted. */
    set_reply(2, 0, 0);
    fake.others[0] = -1; /* nobody reads it any more */
    answer(0, STORE_OK);
    assert_verdicts(f, "??ar?");
}

static void test_a_call_for_nobody_is_cancelled(void **state)
{
    struct fixture *f = *state;

    ask(f, "k1", 1);
    ask(f, "k2", 1);
    tick(f);
    leave(f, 1);
    assert_false(fake.calls[0].is_cancelled);
    leave(f, 0);
    assert_true(fake.calls[0].is_cancelled);
}

static void test_one_verdict_may_end_other_requests(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++)
        ask(f, "k", 1);
    ask(f, "other", 1);
    ask(f, "other", 1);
    f->requests[0].leaves_first = &f->requests[1];
    f->requests[2].leaves_first = &f->requests[3];
    tick(f);
    set_reply(2, 1, 0);
    answer(0, STORE_OK);
    assert_verdicts(f, "a?a?");
}

static void test_the_embedded_engine_answers_at_once(void **state)
{
    struct fixture *f = *state;

    fake.is_embedded = true;
    fake.result = STORE_OK;
    set_reply(1, 1, 9);
    assert_true(ask(f, "k", 1));
    assert_int_equal(f->requests[0].verdict.kind, VERDICT_ALLOW);
    assert_slice_equal(f->requests[0].verdict.fields[0].value, SLICE("\"l\";r=9;t=1"));
    set_reply(0, 0, 0);
    assert_true(ask(f, "k", 1));
    assert_int_equal(f->requests[1].verdict.status, 429);
    assert_int_equal(f->requests[0].decided_count + f->requests[1].decided_count, 0);
    /* Full: there is no other engine to ask. */
    fake.result = STORE_REFUSED;
    assert_true(ask(f, "k", 1));
    assert_string_equal(f->requests[2].verdict.decision, "error_allowed");
    assert_int_equal(fake.local_count, 0);
}

static void test_failures_are_decided_locally_by_share(void **state)
{
    static const enum store_result failures[] = {STORE_NOT_SENT, STORE_UNKNOWN, STORE_REFUSED};
    struct fixture *f = *state;

    fake.sidecars = 4;
    for (size_t i = 0; i < COUNT_OF(failures); i++) {
        for (int k = 0; k < 3; k++)
            ask(f, "k", 1);
        tick(f);
        leave(f, f->request_count - 3);
        set_reply(1, 0, 0);
        answer(i, failures[i]);
        /* Those who are left are asked for together, and never sent again. */
        assert_int_equal(fake.local_count, i + 1);
        assert_int_equal(fake.local.request_count, 2);
        assert_string_equal(fake.local.limit_count, "2");
        assert_string_equal(f->requests[f->request_count - 2].verdict.decision, "local_allowed");
        assert_string_equal(f->requests[f->request_count - 1].verdict.decision, "local_limited");
    }
    assert_int_equal(fake.call_count, 3);
}

static void test_failures_at_once(void **state)
{
    struct fixture *f = *state;

    fake.result = STORE_NOT_SENT;
    set_reply(1, 1, 0);
    assert_false(ask(f, "k", 1));
    tick(f);
    assert_string_equal(f->requests[0].verdict.decision, "local_allowed");
    fake.local_result = STORE_REFUSED;
    ask(f, "k", 1);
    tick(f);
    assert_string_equal(f->requests[1].verdict.decision, "error_allowed");
    f->limit.on_store_failure = POLICY_FAIL_DENY;
    ask(f, "k", 1);
    tick(f);
    assert_int_equal(f->requests[2].verdict.status, 503);
    assert_int_equal(fake.local_count, 2);
    assert_verdicts(f, "aar");
}

static void test_an_answer_of_the_wrong_shape_is_a_failure(void **state)
{
    struct fixture *f = *state;

    fake.local_result = STORE_REFUSED;
    ask(f, "k", 1);
    tick(f);
    set_reply(-1, 1, 0);
    answer(0, STORE_OK);
    assert_string_equal(f->requests[0].verdict.decision, "error_allowed");
}

static void test_a_group_in_trouble_is_alone_with_it(void **state)
{
    struct fixture *f = *state;

    fake.local_result = STORE_REFUSED;
    ask(f, "k1", 1);
    ask(f, "k2", 1);
    ask(f, "k3", 1);
    tick(f);
    set_reply(1, 1, 4);
    fake.others[1] = TROUBLE;
    answer(0, STORE_OK);
    assert_verdicts(f, "aaa");
    assert_string_equal(f->requests[0].verdict.decision, "allowed");
    assert_string_equal(f->requests[1].verdict.decision, "error_allowed");
    assert_string_equal(f->requests[2].verdict.decision, "allowed");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_what_is_asked_in_a_tick_travels_together),
        CASE(test_another_policy_is_another_call),
        CASE(test_each_set_of_limits_is_a_call),
        CASE(test_keys_of_different_slots_go_alone),
        CASE(test_a_group_is_bounded),
        CASE(test_a_call_is_bounded),
        CASE(test_a_call_for_nobody_is_cancelled),
        CASE(test_a_group_in_trouble_is_alone_with_it),
        CASE(test_leaving_before_the_call_is_sent),
        CASE(test_leaving_while_the_call_is_out),
        CASE(test_one_verdict_may_end_other_requests),
        CASE(test_the_embedded_engine_answers_at_once),
        CASE(test_failures_are_decided_locally_by_share),
        CASE(test_failures_at_once),
        CASE(test_an_answer_of_the_wrong_shape_is_a_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
