/* A route's guards over the real embedded engine: what a policy file says is what is decided. */
#include "unit/unit.h"

#include "guard/guard.h"
#include "store/store.h"

struct fixture {
    struct loop *loop;
    struct embedded *embedded;
    struct store *store;
    struct metrics *metrics;
    struct metrics_shard *shard;
    struct policy *policy;
    struct guard_worker *worker;
    struct arena arena;
    unsigned verdict_count;
};

static struct slice find_header(const void *request, struct slice name)
{
    UNUSED(request);
    return slice_equal(name, SLICE("x-cost")) ? SLICE("3") : SLICE_NONE;
}

static const char policy_text[] =
    "upstream: http://127.0.0.1:3000\n"
    "routes:\n"
    "  - name: open\n"
    "    match: { path: /open }\n"
    "  - name: both\n"
    "    match: { path: /both }\n"
    "    limits:\n"
    "      - { name: wide, rate: 100/hour, algorithm: fixed_window }\n"
    "      - { name: narrow, rate: 2/hour, algorithm: token_bucket, burst: 2 }\n"
    "  - name: keyed\n"
    "    match: { path: /keyed }\n"
    "    limits:\n"
    "      - { name: skipped, key: '{header.x}', rate: 1/hour, on_missing_key: skip }\n"
    "  - name: strict\n"
    "    match: { path: /strict }\n"
    "    limits:\n"
    "      - { name: denied, key: '{header.x}', rate: 1/hour, on_missing_key: deny }\n"
    "  - name: costly\n"
    "    match: { path: /costly }\n"
    "    limits:\n"
    "      - { name: small, rate: 2/hour, algorithm: sliding_log, cost: '{header.x-cost}',\n"
    "          on_missing_key: deny }\n";

static int set_up(void **state)
{
    const struct store_settings settings = {.url = "embedded", .timeout_ms = 50, .max_pending = 16};
    struct fixture *f = mem_calloc(1, sizeof(*f));
    struct policy_problems problems;

    policy_problems_init(&problems);
    f->policy = policy_load_text("test.yaml", slice_of(policy_text), &problems);
    if (f->policy == NULL)
        policy_problems_print(&problems, stderr, false);
    policy_problems_clear(&problems);
    assert_non_null(f->policy);
    f->metrics = metrics_open(1);
    f->shard = metrics_shard(f->metrics, 1);
    policy_bind_metrics(f->policy, f->metrics);
    assert_int_equal(loop_open(&f->loop), 0);
    f->embedded = embedded_open(1 << 20);
    f->store = store_open(f->loop, &settings, f->embedded, f->metrics, f->shard, NULL);
    f->worker = guard_worker_open(f->loop, f->store, f->shard, NULL);
    arena_init(&f->arena, loop_arena_pool(f->loop));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    arena_clear(&f->arena);
    guard_worker_close(&f->worker);
    store_close(&f->store);
    embedded_unref(&f->embedded);
    loop_close(&f->loop);
    policy_unref(&f->policy);
    metrics_close(&f->metrics);
    free(f);
    return 0;
}

static void on_verdict(void *owner, const struct verdict *verdict)
{
    struct fixture *f = owner;

    UNUSED(verdict);
    f->verdict_count++;
}

static const struct policy_route *route_of(const struct fixture *f, const char *name)
{
    for (size_t i = 0; i < f->policy->route_count; i++)
        if (strcmp(f->policy->routes[i]->name, name) == 0)
            return f->policy->routes[i];
    fail_msg("no route %s", name);
    return NULL;
}

/* Asks and ends; the verdict stays in the arena. */
static const struct verdict *ask(struct fixture *f, const char *route)
{
    const struct guard_outcome outcome = {
        .status = 200, .forwarded = true, .service_finished = true};
    struct facts facts = {.method = SLICE("GET"), .header = find_header};
    struct guard_request request = {.policy = f->policy,
                                    .route = route_of(f, route),
                                    .facts = &facts,
                                    .arena = &f->arena,
                                    .on_verdict = on_verdict,
                                    .owner = f};
    struct guard *guard = (struct guard *)(void *)f;
    const struct verdict *verdict = guard_begin(f->worker, &request, &guard);

    assert_non_null(verdict);
    assert_int_equal(guard != NULL, request.route->limit_count > 0);
    guard_end(&guard, &outcome);
    assert_null(guard);
    guard_end(&guard, &outcome);
    return verdict;
}

static void test_a_route_without_guards(void **state)
{
    const struct verdict *verdict = ask(*state, "open");

    assert_int_equal(verdict->kind, VERDICT_ALLOW);
    assert_null(verdict->decision);
    assert_int_equal(verdict->field_count, 0);
}

static void test_all_or_nothing(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++)
        assert_int_equal(ask(f, "both")->kind, VERDICT_ALLOW);
    for (int i = 0; i < 5; i++) {
        const struct verdict *verdict = ask(f, "both");

        assert_int_equal(verdict->status, 429);
        assert_int_equal(verdict->violated_count, 1);
        assert_string_equal(verdict->violated[0], "narrow");
        assert_string_equal(verdict->decision, "limited");
        assert_string_equal(verdict->limit, "narrow");
        /* One of two comes back in half an hour. */
        assert_in_range(verdict->retry_after_s, 1790, 1800);
        assert_int_equal(verdict->field_count, 2);
        assert_slice_equal(verdict->fields[0].value,
                           SLICE("\"wide\";q=100;w=3600, \"narrow\";q=2;w=3600"));
        /* The refused requests have not been charged. */
        assert_true(slice_starts_with(verdict->fields[1].value, SLICE("\"wide\";r=98;t=")));
    }
    assert_int_equal(f->verdict_count, 0);
}

static void test_missing_keys(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++) {
        const struct verdict *verdict = ask(f, "keyed");

        assert_int_equal(verdict->kind, VERDICT_ALLOW);
        assert_string_equal(verdict->decision, "skipped");
        assert_int_equal(verdict->store_us, 0);
    }
    assert_string_equal(ask(f, "strict")->reason, "missing-key");
}

static void test_a_cost_that_never_fits(void **state)
{
    const struct verdict *verdict = ask(*state, "costly");

    assert_int_equal(verdict->status, 429);
    assert_string_equal(verdict->reason, "cost-exceeds-limit");
    assert_false(verdict->has_retry_after);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_a_route_without_guards),
        CASE(test_all_or_nothing),
        CASE(test_missing_keys),
        CASE(test_a_cost_that_never_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
