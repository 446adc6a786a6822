/* From policy text to snapshot: defaults, binding, folders, expansion, problems as printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/policy.h"
#include "policy/router.h"
#include "policy/source.h"

#define SECRET "hunter2hunter2hunter2hunter2hunter2"
#define HEAD "upstream: http://127.0.0.1:3000\n"

static struct policy *load_text(const char *text, struct policy_problems *problems)
{
    policy_problems_init(problems);
    return policy_load_text("test.yaml", slice_of(text), problems);
}

/* Problems as text, to be freed. */
static char *printed(const struct policy_problems *problems)
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    policy_problems_print(problems, out, false);
    fclose(out);
    return text;
}

static struct policy *load_good(const char *text)
{
    struct policy_problems problems;
    struct policy *policy = load_text(text, &problems);

    if (problems.count > 0)
        policy_problems_print(&problems, stderr, false);
    assert_int_equal(problems.count, 0);
    assert_non_null(policy);
    policy_problems_clear(&problems);
    return policy;
}

static void write_all(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void problems_are_printed_with_line_and_caret(void **state)
{
    struct policy_problems problems;
    struct policy *policy = load_text(HEAD "routes:\n"
                                           "  - name: a\n"
                                           "    limits:\n"
                                           "      - { name: x, rate: 10/minut }\n",
                                      &problems);
    char *text = printed(&problems);

    UNUSED(state);
    assert_null(policy);
    assert_string_equal(text,
                        "test.yaml:5:26: error: routes[0].limits[0].rate: \"10/minut\" is not a "
                        "rate: unknown unit \"minut\" (did you mean \"minute\"?)\n"
                        "    5 |       - { name: x, rate: 10/minut }\n"
                        "      |                          ^~~~~~~~\n");
    free(text);
    policy_problems_clear(&problems);
}

/* The caret fits under wide and tabbed lines, and control characters do not reach the terminal. */
static void printed_lines_are_safe_and_aligned(void **state)
{
    struct policy_problems problems;
    struct policy *policy = load_text(
        "listen: \"\xc3\xa9\xc3\xa9\" # \xc3\xa9\n" HEAD "x\\\xc2\x9b[31m: 1\n", &problems);
    char *text = printed(&problems);

    UNUSED(state);
    assert_null(policy);
    assert_null(strstr(text, "\xc2\x9b"));
    free(text);
    policy_problems_clear(&problems);

    policy = load_text(HEAD "trusted_proxies: [\"\xc3\xa9\", \"1.2.3.4\", 5]\n", &problems);
    text = printed(&problems);
    assert_null(policy);
    assert_non_null(strstr(text, "test.yaml:2:35: error: trusted_proxies[2]"));
    assert_non_null(strstr(text, "\n      |                                   ^\n"));
    free(text);
    policy_problems_clear(&problems);
}

/* A value that comes from outside is wrong in every kind of field: it is never shown. */
static void expanded_values_never_show(void **state)
{
    static const char *const fields[] = {
        "listen: ${LK_TEST_SECRET}\n",
        "workers: ${LK_TEST_SECRET}\n",
        "store: ${LK_TEST_SECRET}\n",
        "store: redis://u:${LK_TEST_SECRET}@h:x\n",
        "store: redis://u:" SECRET "@h:x\n",
        "access_log: ${LK_TEST_SECRET}\n",
        "timeouts: { header: \"${LK_TEST_SECRET}\" }\n",
        "timeouts: { header: \"1${LK_TEST_SECRET}\" }\n",
        "sizes: { max_body_bytes: \"1${LK_TEST_SECRET}\" }\n",
        "trusted_proxies: [\"${LK_TEST_SECRET}\"]\n",
        "jwt: { verify: \"${LK_TEST_SECRET}\" }\n",
        "jwt: { public_key_file: README.md, algorithm: \"${LK_TEST_SECRET}\" }\n",
        "jwt: { secret: hunter2 }\n",
        "routes: [{ name: \"${LK_TEST_SECRET} \" }]\n",
        "routes: [{ name: a, match: { path: \"${LK_TEST_SECRET}\" } }]\n",
        "routes: [{ name: a, match: { host: \"${LK_TEST_SECRET}:1\" } }]\n",
        "routes: [{ name: a, limits: [{ name: a, rate: \"1/${LK_TEST_SECRET}\" }] }]\n",
        "routes: [{ name: a, limits: [{ name: a, rate: 1/s, key: \"{${LK_TEST_SECRET}}\" }] }]\n",
        "routes: [{ name: a, limits: [{ name: a, rate: 1/s, cost: \"${LK_TEST_SECRET}\" }] }]\n",
    };

    UNUSED(state);
    setenv("LK_TEST_SECRET", SECRET, 1);
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        struct policy_problems problems;
        char *whole, *text;

        assert_true(asprintf(&whole, HEAD "%s", fields[i]) > 0);
        assert_null(load_text(whole, &problems));
        text = printed(&problems);
        if (problems.error_count == 0 || strstr(text, "hunter2") != NULL)
            fail_msg("shows the secret, or no error: %s\n%s", whole, text);
        free(text);
        free(whole);
        policy_problems_clear(&problems);
    }
}

static void defaults_are_as_documented(void **state)
{
    struct policy *policy = load_good(HEAD "routes: [{ name: all }]\n");
    const struct policy_settings *s = &policy->settings;

    UNUSED(state);
    assert_string_equal(s->listen, "0.0.0.0:8080");
    assert_string_equal(s->metrics, "0.0.0.0:9102");
    assert_int_equal(s->workers, 0);
    assert_string_equal(s->upstream.host, "127.0.0.1");
    assert_int_equal(s->upstream.port, 3000);
    assert_string_equal(s->store, "embedded");
    assert_int_equal(s->store_timeout_ms, 50);
    assert_int_equal(s->store_connect_timeout_ms, 1000);
    assert_int_equal(s->store_max_pending, 10000);
    assert_int_equal(s->store_breaker_failures, 5);
    assert_int_equal(s->store_breaker_open_ms, 1000);
    assert_string_equal(s->store_key_prefix, "lk");
    assert_int_equal(s->embedded_max_bytes, 16 << 20);
    assert_int_equal(s->trusted_proxy_count, 0);
    assert_int_equal(s->ipv6_prefix, 64);
    assert_int_equal(s->ipv4_prefix, 32);
    assert_int_equal(s->access_log, POLICY_LOG_ALL);
    assert_int_equal(s->log_level, LOG_INFO);
    assert_int_equal(s->ratelimit_headers, POLICY_HEADERS_DRAFT);
    assert_int_equal(s->on_no_route, POLICY_NO_ROUTE_FORWARD);
    assert_int_equal(s->drain_timeout_ms, 30000);
    assert_int_equal(s->max_connections, 4096);
    assert_int_equal(s->header_timeout_ms, 10000);
    assert_int_equal(s->idle_timeout_ms, 75000);
    assert_int_equal(s->max_header_bytes, 16384);
    assert_int_equal(s->max_header_count, 100);
    assert_int_equal(s->max_target_bytes, 8192);
    assert_int_equal(s->max_body_bytes, 0);
    assert_null(policy->jwt);
    assert_int_equal(policy->route_count, 1);
    assert_string_equal(policy->unmatched->name, "unmatched");
    policy_unref(&policy);
}

static void routes_and_limits_are_bound(void **state)
{
    struct policy *policy = load_good(
        HEAD "ratelimit_headers: legacy\n"
             "routes:\n"
             "  - name: stock\n"
             "    match:\n"
             "      hosts: [API.example.com, \"*.example.org\"]\n"
             "      methods: [PUT, PATCH]\n"
             "      path: /stock/{sku}\n"
             "      headers: { X-Plan: gold, x-any: true, x-true: \"true\" }\n"
             "    ratelimit_headers: off\n"
             "    limits:\n"
             "      - { name: a, key: \"{path.sku}\", rate: 5/10s }\n"
             "      - { name: b, rate: 1/1m30s, burst: 7, cost: 2, mode: shadow }\n"
             "      - { name: c, key: \"{header.x}\", rate: 9/month, algorithm: fixed_window,\n"
             "          utc_offset: \"-05:30\", on_missing_key: shared, on_store_failure: deny }\n"
             "      - { name: d, rate: 3/h, algorithm: sliding_log, cost: \"{query.n}\",\n"
             "          on_missing_key: deny, on_store_failure: allow }\n"
             "  - { name: rest }\n");
    const struct policy_route *route = policy->routes[0];
    const struct policy_limit *const *l = route->limits;

    UNUSED(state);
    assert_int_equal(policy->route_count, 2);
    assert_int_equal(policy->limit_count, 4);
    assert_int_equal(route->host_count, 2);
    assert_true(slice_equal(route->hosts[0], SLICE("api.example.com")));
    assert_int_equal(route->method_count, 2);
    assert_true(slice_equal(route->methods[1], SLICE("PATCH")));
    assert_int_equal(route->path_param_count, 1);
    assert_int_equal(route->header_count, 3);
    assert_true(slice_equal(route->headers[0].name, SLICE("x-plan")));
    assert_true(slice_equal(route->headers[0].value, SLICE("gold")));
    assert_null(route->headers[1].value.at);
    assert_true(slice_equal(route->headers[2].value, SLICE("true")));
    assert_int_equal(route->ratelimit_headers, POLICY_HEADERS_OFF);
    assert_int_equal(policy->routes[1]->ratelimit_headers, POLICY_HEADERS_LEGACY);
    assert_int_equal(route->line, 4);
    assert_int_equal(route->limit_count, 4);
    assert_int_equal(l[0]->algorithm, POLICY_SLIDING_WINDOW);
    assert_int_equal(l[0]->rate.count, 5);
    assert_int_equal(l[0]->rate.period_us, 10000000);
    assert_int_equal(l[0]->on_store_failure, POLICY_FAIL_LOCAL);
    assert_int_equal(l[0]->cost, 1);
    assert_ptr_equal(l[0]->route, route);
    assert_int_equal(l[1]->algorithm, POLICY_TOKEN_BUCKET);
    assert_int_equal(l[1]->burst, 7);
    assert_int_equal(l[1]->cost, 2);
    assert_null(l[1]->key);
    assert_int_equal(l[1]->mode, POLICY_SHADOW);
    assert_int_equal(l[1]->rate.period_us, 90000000);
    assert_int_equal(l[2]->rate.period, POLICY_PERIOD_MONTH);
    assert_int_equal(l[2]->utc_offset_us, -INT64_C(19800) * 1000000);
    assert_int_equal(l[2]->on_missing_key, POLICY_MISSING_SHARED);
    assert_int_equal(l[2]->on_store_failure, POLICY_FAIL_DENY);
    assert_int_equal(l[2]->index, 2);
    assert_non_null(l[3]->cost_template);
    assert_int_equal(l[3]->on_store_failure, POLICY_FAIL_ALLOW);
    policy_unref(&policy);
}

/* A folder of its own for each test, with what is written into it. */
static int make_folder(void **state)
{
    char path[] = "/tmp/lockkeeper-policy-XXXXXX";

    setenv("LK_TEST_SECRET", SECRET, 1);
    setenv("LK_TEST_PORT", "8080", 1);
    unsetenv("LK_TEST_UNSET");
    if (mkdtemp(path) == NULL)
        return -1;
    *state = mem_strdup(path);
    return 0;
}

static int remove_folder(void **state)
{
    char command[200];
    int result;

    snprintf(command, sizeof(command), "rm -r '%s'", (char *)*state);
    result = system(command);
    free(*state);
    return result;
}

static void put_file(const char *folder, const char *name, const char *text)
{
    char path[500];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    write_all(path, text);
}

static void a_folder_is_one_policy(void **state)
{
    struct policy_problems problems;
    const char *folder = *state;
    struct policy *policy;

    put_file(folder, "b.yml", "routes: [{ name: b, match: { path: /b } }]\n");
    put_file(folder, "a.yaml", HEAD "routes: [{ name: a, match: { path: /a } }]\n");
    put_file(folder, "c.yaml", "listen: 127.0.0.1:1\n");
    put_file(folder, ".hidden.yaml", "nonsense\n");
    put_file(folder, "notes.txt", "nonsense\n");
    policy_problems_init(&problems);
    policy = policy_load(&folder, 1, &problems);
    assert_non_null(policy);
    assert_int_equal(problems.count, 0);
    assert_int_equal(policy->route_count, 2);
    assert_string_equal(policy->routes[0]->name, "a");
    assert_string_equal(policy->routes[1]->name, "b");
    assert_string_equal(policy->settings.listen, "127.0.0.1:1");
    assert_int_equal(policy->file_count, 3);
    policy_unref(&policy);
    policy_problems_clear(&problems);
}

static void problems_of_all_files_come_in_file_order(void **state)
{
    struct policy_problems problems;
    const char *folder = *state;
    char *text;

    put_file(folder, "a.yaml", HEAD "listen: x\nroutes: [{ name: a }]\n");
    put_file(folder, "b.yaml",
             "upstream: http://127.0.0.1:1\nroutes: [{ name: a, match: { path: b } }, 7]\n");
    put_file(folder, "c.yaml", "routes: [\n");
    policy_problems_init(&problems);
    assert_null(policy_load(&folder, 1, &problems));
    text = printed(&problems);
    assert_int_equal(problems.count, 6);
    assert_non_null(strstr(problems.items[0].file, "a.yaml"));
    assert_int_equal(problems.items[0].line, 2);
    assert_non_null(strstr(problems.items[1].message, "may stand in one file only"));
    assert_non_null(strstr(problems.items[2].message, "already used by the route at"));
    assert_string_equal(problems.items[3].where, "routes[0].match.path");
    assert_string_equal(problems.items[4].where, "routes[1]");
    assert_non_null(strstr(problems.items[5].file, "c.yaml"));
    free(text);
    policy_problems_clear(&problems);
}

/* Kubernetes shows a ConfigMap as links into "..data", itself a link to a dated folder. */
static void a_config_map_mount_is_read_once(void **state)
{
    struct policy_problems problems;
    const char *folder = *state;
    struct policy *policy;
    char path[500];
    const char *paths[2] = {folder, path};

    snprintf(path, sizeof(path), "%s/..2026_01_01", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    put_file(folder, "..2026_01_01/a.yaml", HEAD "routes: [{ name: a }]\n");
    snprintf(path, sizeof(path), "%s/..data", folder);
    assert_int_equal(symlink("..2026_01_01", path), 0);
    snprintf(path, sizeof(path), "%s/a.yaml", folder);
    assert_int_equal(symlink("..data/a.yaml", path), 0);
    policy_problems_init(&problems);
    policy = policy_load(paths, 2, &problems);
    assert_non_null(policy);
    assert_int_equal(policy->file_count, 1);
    assert_int_equal(policy->route_count, 1);
    policy_unref(&policy);
    policy_problems_clear(&problems);
}

static void what_cannot_be_read_is_a_problem(void **state)
{
    struct policy_problems problems;
    const char *folder = *state;
    char missing[500], large[500];
    const char *paths[] = {missing, large, "/dev/null", folder};
    char *text = mem_alloc(SOURCE_MAX_BYTES + 2);
    static const char *const expected[] = {"cannot be opened", "is too large",
                                           "is not a regular file",
                                           "there is no policy in this folder"};

    memset(text, '#', SOURCE_MAX_BYTES + 1);
    text[SOURCE_MAX_BYTES + 1] = '\0';
    put_file(folder, "large", text);
    free(text);
    snprintf(missing, sizeof(missing), "%s/missing.yaml", folder);
    snprintf(large, sizeof(large), "%s/large", folder);
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        policy_problems_init(&problems);
        assert_null(policy_load(&paths[i], 1, &problems));
        assert_int_equal(problems.count, 1);
        assert_int_equal(problems.items[0].line, 0);
        assert_non_null(strstr(problems.items[0].message, expected[i]));
        policy_problems_clear(&problems);
    }
    policy_problems_init(&problems);
    assert_null(policy_load(NULL, 0, &problems));
    assert_int_equal(problems.error_count, 1);
    policy_problems_clear(&problems);
}

static void values_come_from_environment_and_files(void **state)
{
    struct policy_problems problems;
    const char *folder = *state;
    struct policy *policy;
    char path[500];
    const char *one = path;
    char first_hash[33];

    put_file(folder, "url", "redis://:pass@127.0.0.1:6379/2\n");
    put_file(folder, "p.yaml",
             "upstream: ${LK_TEST_UNSET:-http://127.0.0.1:3000}\n"
             "listen: 127.0.0.1:${LK_TEST_PORT}\n"
             "store: ${file:url}\n"
             "routes:\n"
             "  - name: a\n"
             "    match: { headers: { x-cash: \"$${5}$\" } }\n"
             "    limits: [{ name: l, rate: 1/s, key: \"${LK_TEST_UNSET:-{client.ip}}\" }]\n");
    snprintf(path, sizeof(path), "%s/p.yaml", folder);
    policy_problems_init(&problems);
    policy = policy_load(&one, 1, &problems);
    policy_problems_print(&problems, stderr, false);
    assert_non_null(policy);
    assert_string_equal(policy->settings.listen, "127.0.0.1:8080");
    assert_int_equal(policy->settings.upstream.port, 3000);
    assert_string_equal(policy->settings.store, "redis://:pass@127.0.0.1:6379/2");
    assert_true(slice_equal(policy->routes[0]->headers[0].value, SLICE("${5}$")));
    assert_true(
        slice_equal(template_text(policy->routes[0]->limits[0]->key), SLICE("{client.ip}")));
    memcpy(first_hash, policy->hash_hex, sizeof(first_hash));
    policy_unref(&policy);

    /* What a file or variable holds is part of what was loaded. */
    policy = policy_load(&one, 1, &problems);
    assert_string_equal(policy->hash_hex, first_hash);
    policy_unref(&policy);
    put_file(folder, "url", "redis://:other@127.0.0.1:6379/2\n");
    policy = policy_load(&one, 1, &problems);
    assert_string_not_equal(policy->hash_hex, first_hash);
    policy_unref(&policy);
    policy_problems_clear(&problems);
}

static void a_snapshot_lives_until_its_last_holder_leaves(void **state)
{
    struct policy *policy = load_good(HEAD "routes: [{ name: all }]\n"),
                  *other = policy_ref(policy);

    UNUSED(state);
    policy_unref(&policy);
    assert_null(policy);
    assert_string_equal(other->routes[0]->name, "all");
    policy_unref(&other);
}

static void metrics_are_bound_to_routes_and_limits(void **state)
{
    struct policy *policy =
        load_good(HEAD "routes: [{ name: a, limits: [{ name: l, rate: 1/s }] }]\n");
    struct metrics *metrics = metrics_open(1);
    const char *values[] = {"a", "l", "limited"};

    UNUSED(state);
    policy_bind_metrics(policy, metrics);
    assert_int_equal(policy->routes[0]->limits[0]->decision_slots[POLICY_DECISION_LIMITED],
                     metrics_series(metrics, METRIC_DECISIONS, values));
    assert_int_equal(policy->routes[0]->request_slots[4],
                     metrics_series2(metrics, METRIC_HTTP_REQUESTS, "a", "4xx"));
    assert_int_equal(policy->unmatched->duration_slot,
                     metrics_series1(metrics, METRIC_HTTP_DURATION, "unmatched"));
    metrics_close(&metrics);
    policy_unref(&policy);
}

/* Problems without end are counted, not kept. */
static void problems_are_bounded(void **state)
{
    struct policy_problems problems;
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    UNUSED(state);
    fputs(HEAD, out);
    for (int i = 0; i < 3000; i++)
        fprintf(out, "key%d: 1\n", i);
    fclose(out);
    assert_null(load_text(text, &problems));
    assert_int_equal(problems.count, POLICY_MAX_PROBLEMS);
    assert_int_equal(problems.error_count, 3000);
    policy_problems_clear(&problems);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(problems_are_printed_with_line_and_caret),
        cmocka_unit_test(printed_lines_are_safe_and_aligned),
        cmocka_unit_test(expanded_values_never_show),
        cmocka_unit_test(defaults_are_as_documented),
        cmocka_unit_test(routes_and_limits_are_bound),
        cmocka_unit_test_setup_teardown(a_folder_is_one_policy, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(problems_of_all_files_come_in_file_order, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_config_map_mount_is_read_once, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_a_problem, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(values_come_from_environment_and_files, make_folder,
                                        remove_folder),
        cmocka_unit_test(a_snapshot_lives_until_its_last_holder_leaves),
        cmocka_unit_test(metrics_are_bound_to_routes_and_limits),
        cmocka_unit_test(problems_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
