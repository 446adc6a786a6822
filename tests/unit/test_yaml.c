/* YAML to trees: shape, places, and the bounds on what a file may cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "policy/yaml.h"

struct fixture {
    struct arena arena;
    struct source source;
    struct policy_problems problems;
};

static int set_up(void **state)
{
    struct fixture *f = mem_calloc(1, sizeof(*f));

    arena_init(&f->arena, NULL);
    policy_problems_init(&f->problems);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    policy_problems_clear(&f->problems);
    arena_clear(&f->arena);
    free(f);
    return 0;
}

static struct yaml_node *parse(struct fixture *f, const char *text)
{
    f->source = (struct source){"t.yaml", slice_of(text), 0};
    return yaml_parse(&f->arena, &f->source, &f->problems);
}

/* The value of a key that must be there. */
static struct yaml_node *get(struct yaml_node *mapping, const char *key)
{
    struct yaml_entry *entry = yaml_find(mapping, slice_of(key));

    assert_non_null(entry);
    return entry->value;
}

static void assert_mark(const struct yaml_node *node, unsigned line, unsigned column,
                        unsigned width)
{
    assert_int_equal(node->mark.line, line);
    assert_int_equal(node->mark.column, column);
    assert_int_equal(node->mark.width, width);
}

static void nodes_know_kind_text_and_place(void **state)
{
    struct fixture *f = *state;
    struct yaml_node *root = parse(f, "# comment\n"
                                      "plain: some words # more\n"
                                      "single: 'it''s'\n"
                                      "double: \"a\\tb\"\n"
                                      "wide: [\"\xc3\xa9\xc3\xa9\", x]\n"
                                      "block: |\n  two\n  lines\n"
                                      "section:\n  inner: {k: v}\n"
                                      "none:\n"
                                      "quoted_none: ''\n");
    struct yaml_node *wide = get(root, "wide"), *section = get(root, "section");

    assert_int_equal(f->problems.count, 0);
    assert_int_equal(root->count, 8);
    assert_mark(get(root, "plain"), 2, 8, 10);
    assert_true(get(root, "plain")->is_plain);
    assert_true(slice_equal(get(root, "single")->text, SLICE("it's")));
    assert_mark(get(root, "single"), 3, 9, 7);
    assert_true(slice_equal(get(root, "double")->text, SLICE("a\tb")));
    assert_int_equal(wide->kind, YAML_SEQUENCE);
    assert_mark(wide->first->value, 5, 8, 4);
    assert_mark(wide->last->value, 5, 14, 1);
    assert_int_equal(wide->last->index, 1);
    assert_true(slice_equal(get(root, "block")->text, SLICE("two\nlines\n")));
    assert_int_equal(section->kind, YAML_MAPPING);
    assert_mark(section, 10, 3, 5);
    assert_mark(yaml_find(root, SLICE("section"))->key, 9, 1, 7);
    assert_true(get(root, "none")->is_null);
    assert_false(get(root, "quoted_none")->is_null);
}

static void empty_files_are_empty_mappings(void **state)
{
    static const char *const texts[] = {"", "\n", "# only this\n", "---\n", "--- ~\n", "{}\n"};

    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct yaml_node *root = parse(*state, texts[i]);

        assert_non_null(root);
        assert_int_equal(root->kind, YAML_MAPPING);
        assert_int_equal(root->count, 0);
    }
}

static void aliases_share_their_node(void **state)
{
    struct yaml_node *root = parse(*state, "a: &x {k: v}\nb: *x\nc: [*x, *x]\n");

    assert_ptr_equal(get(root, "a"), get(root, "b"));
    assert_ptr_equal(get(root, "c")->last->value, get(root, "a"));
    /* 3 keys and the root, x three times more, the list. */
    assert_int_equal(root->weight, 4 + 4 * 3 + 1);
}

static void parts_of_scalars_have_places(void **state)
{
    struct yaml_node *root = parse(*state, "a: hello\nb: \"hello\"\nc: \"h\\x65llo\"\n");
    struct source_mark plain = yaml_part_mark(get(root, "a"), 1, 2);
    struct source_mark quoted = yaml_part_mark(get(root, "b"), 1, 2);
    struct source_mark escaped = yaml_part_mark(get(root, "c"), 1, 2);

    assert_int_equal(plain.column, 5);
    assert_int_equal(plain.width, 2);
    assert_int_equal(quoted.column, 6);
    assert_int_equal(escaped.column, 4);
    assert_int_equal(escaped.width, 10);
}

/* Every duplicate, in a large mapping too, and each against the first. */
static void duplicates_are_all_found(void **state)
{
    struct fixture *f = *state;

    assert_non_null(parse(f, "a: 1\nb: {x: 1, y: 2, x: 3}\na: 2\nc: 3\na: 4\n"));
    assert_int_equal(f->problems.error_count, 3);
    policy_problems_sort(&f->problems);
    assert_int_equal(f->problems.items[0].column, 17);
    assert_int_equal(f->problems.items[2].line, 5);
    assert_non_null(strstr(f->problems.items[2].message, "line 1, column 1"));
}

/* Text of n copies of a piece. */
static char *repeated(struct fixture *f, const char *before, const char *piece, size_t count,
                      const char *after)
{
    size_t len = strlen(piece);
    char *text = arena_alloc(&f->arena, strlen(before) + len * count + strlen(after) + 1);
    char *at = stpcpy(text, before);

    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, piece);
    stpcpy(at, after);
    return text;
}

static void files_cannot_cost_more_than_their_bounds(void **state)
{
    struct fixture *f = *state;

    assert_non_null(parse(f, repeated(f, "a: ", "[", YAML_MAX_DEPTH - 1,
                                      repeated(f, "", "]", YAML_MAX_DEPTH - 1, "\n"))));
    assert_int_equal(f->problems.error_count, 0);
    assert_null(parse(f, repeated(f, "a: ", "[", 100000, "")));
    assert_string_equal(f->problems.items[0].message, "too many levels of nesting");
    assert_null(parse(f, repeated(f, "a: [", "x,", YAML_MAX_NODES, "]\n")));
    assert_int_equal(f->problems.error_count, 2);
    assert_null(
        parse(f, repeated(f, "a: &a [", "x,", 1000, repeated(f, "]\nb: [", "*a,", 1000, "]\n"))));
    assert_int_equal(f->problems.error_count, 3);
    assert_non_null(strstr(f->problems.items[2].message, "too many values"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nodes_know_kind_text_and_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empty_files_are_empty_mappings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(aliases_share_their_node, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_of_scalars_have_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(duplicates_are_all_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_cannot_cost_more_than_their_bounds, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
