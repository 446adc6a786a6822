/* The policy files of the tree: what is wrong with the bad ones of tests/policy, and that the good
 * ones, the examples and the reference are right.
 *
 * A bad file says at its end what must be found in it, in order and nothing else:
 *     # expect: LINE:COLUMN error|warning WHERE: MESSAGE      (the beginning of it is enough)
 * With LOCKKEEPER_UPDATE=1 in the environment, the generated files are written anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>

#include "policy/policy.h"
#include "policy/source.h"

#define HEAD "upstream: http://127.0.0.1:3000\n"

static struct policy *load_text(const char *text, struct policy_problems *problems)
{
    policy_problems_init(problems);
    return policy_load_text("README.md", slice_of(text), problems);
}

static char *read_all(const char *path)
{
    struct arena arena;
    struct slice text;
    char *copy;

    arena_init(&arena, NULL);
    assert_null(source_read(&arena, path, 1 << 20, &text));
    copy = mem_copy_slice(text);
    arena_clear(&arena);
    return copy;
}

static void assert_starts_with(const char *file, const char *text, const char *start)
{
    if (strncmp(text, start, strlen(start)) != 0)
        fail_msg("%s:\n  found    %s\n  expected %s", file, text, start);
}

/* One "L:C severity where: message" per problem. */
static void check_bad_file(const char *path)
{
    struct policy_problems problems;
    struct arena arena;
    struct slice text, rest, line;
    struct policy *policy;
    char found[2000];
    size_t expected = 0;

    arena_init(&arena, NULL);
    policy_problems_init(&problems);
    policy = policy_load(&path, 1, &problems);
    assert_null(source_read(&arena, path, SOURCE_MAX_BYTES, &text));
    for (rest = text; slice_split(&rest, '\n', &line);) {
        const struct policy_problem *p = &problems.items[expected];

        if (!slice_starts_with(line, SLICE("# expect: ")))
            continue;
        if (++expected > problems.count)
            fail_msg("%s: not found: %.*s", path, SLICE_ARGS(line));
        snprintf(found, sizeof(found), "%u:%u %s %s%s%s", p->line, p->column,
                 p->severity == POLICY_ERROR ? "error" : "warning", p->where,
                 p->where[0] != '\0' ? ": " : "", p->message);
        assert_starts_with(path, found, arena_copy(&arena, slice_skip(line, 10)).at);
    }
    if (problems.count > expected)
        fail_msg("%s: not expected: %u:%u %s", path, problems.items[expected].line,
                 problems.items[expected].column, problems.items[expected].message);
    assert_true(expected > 0);
    assert_int_equal(policy == NULL, problems.error_count > 0);
    if (policy != NULL)
        policy_unref(&policy);
    policy_problems_clear(&problems);
    arena_clear(&arena);
}

static size_t each_file(const char *folder, void (*check)(const char *path))
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    size_t checked = 0;
    char path[1000];

    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        if (slice_ends_with(slice_of(entries[i]->d_name), SLICE(".yaml"))) {
            snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
            check(path);
            checked++;
        }
        free(entries[i]);
    }
    free(entries);
    return checked;
}

static void bad_files_report_every_problem(void **state)
{
    UNUSED(state);
    assert_true(each_file("tests/policy/bad", check_bad_file) >= 150);
}

/* What is shown of it is JSON, with every route. */
static void check_effective(const struct policy *policy)
{
    json_t *tree;
    struct buf text;

    buf_init(&text, 1 << 20);
    assert_true(policy_write_effective(policy, &text));
    tree = json_loadb(buf_slice(&text).at, buf_len(&text), 0, NULL);
    assert_non_null(tree);
    assert_int_equal(json_array_size(json_object_get(tree, "routes")), policy->route_count);
    assert_non_null(json_object_get(json_object_get(tree, "timeouts"), "header"));
    json_decref(tree);
    buf_clear(&text);
    /* A ceiling is noticed wherever it is reached. */
    buf_init(&text, 300);
    assert_false(policy_write_effective(policy, &text));
    buf_clear(&text);
}

static void check_good_file(const char *path)
{
    struct policy_problems problems;
    struct policy *policy;

    policy_problems_init(&problems);
    policy = policy_load(&path, 1, &problems);
    if (problems.count > 0) {
        policy_problems_print(&problems, stderr, false);
        fail_msg("%s does not load clean", path);
    }
    check_effective(policy);
    policy_unref(&policy);
    policy_problems_clear(&problems);
}

static void good_files_load_clean(void **state)
{
    UNUSED(state);
    assert_true(each_file("tests/policy/good", check_good_file) >= 5);
    assert_true(each_file("policies", check_good_file) >= 1);
    assert_true(each_file("policies/examples", check_good_file) >= 4);
}

/* Every ```yaml block of the reference is a file, or is one with an upstream put before it. */
static void blocks_of_the_reference_load(void **state)
{
    char *text = read_all("policies/README.md");
    size_t count = 0;

    UNUSED(state);
    for (char *at = text; (at = strstr(at, "\n```yaml\n")) != NULL;) {
        char *start = at + strlen("\n```yaml\n"), *end = strstr(start, "\n```\n"), *whole;
        struct policy_problems problems;
        struct policy *policy;

        assert_non_null(end);
        *end = '\0';
        assert_true(
            asprintf(&whole, "%s%s%s\n", strstr(start, "upstream:") == NULL ? HEAD : "", start,
                     strstr(start, "routes:") == NULL ? "\nroutes: [{ name: all }]" : "") > 0);
        policy = load_text(whole, &problems);
        if (problems.count > 0) {
            policy_problems_print(&problems, stderr, false);
            fail_msg("a block of policies/README.md does not load clean:\n%s", whole);
        }
        policy_unref(&policy);
        policy_problems_clear(&problems);
        free(whole);
        at = end + 1;
        count++;
    }
    assert_true(count >= 8);
    free(text);
}

static char *generated(void (*write)(FILE *out))
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    write(out);
    fclose(out);
    return text;
}

static bool is_update(void)
{
    return getenv("LOCKKEEPER_UPDATE") != NULL;
}

static void write_all(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void committed_schema_is_current(void **state)
{
    char *now = generated(policy_write_schema), *committed;

    UNUSED(state);
    if (is_update())
        write_all("policies/schema.json", now);
    committed = read_all("policies/schema.json");
    if (strcmp(now, committed) != 0)
        fail_msg("policies/schema.json is not what the field tables say (lockkeeper schema)");
    free(committed);
    free(now);
}

#define REFERENCE_BEGIN "<!-- begin generated keys -->\n"
#define REFERENCE_END "<!-- end generated keys -->\n"

static void committed_reference_is_current(void **state)
{
    char *now = generated(policy_write_reference), *file = read_all("policies/README.md");
    char *begin = strstr(file, REFERENCE_BEGIN), *end = strstr(file, REFERENCE_END), *whole;

    UNUSED(state);
    assert_non_null(begin);
    assert_non_null(end);
    begin += strlen(REFERENCE_BEGIN);
    assert_true(asprintf(&whole, "%.*s\n%s\n%s", (int)(begin - file), file, now, end) > 0);
    if (is_update())
        write_all("policies/README.md", whole);
    else if (strcmp(whole, file) != 0)
        fail_msg("the tables in policies/README.md are not what the field tables say");
    free(whole);
    free(file);
    free(now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_report_every_problem),
        cmocka_unit_test(good_files_load_clean),
        cmocka_unit_test(committed_schema_is_current),
        cmocka_unit_test(committed_reference_is_current),
        cmocka_unit_test(blocks_of_the_reference_load),
    };

    /* Some bad files read the environment. */
    setenv("LK_TEST_SECRET", "hunter2hunter2hunter2hunter2hunter2", 1);
    setenv("LK_TEST_PORT", "8080", 1);
    /* So do examples. */
    setenv("JWT_SECRET", "hunter2hunter2hunter2hunter2hunter2", 1);
    unsetenv("LK_TEST_UNSET");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
