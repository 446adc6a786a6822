#include "unit/unit.h"

#include <stdio.h>

#include "base/digest.h"
#include "base/map.h"
#include "policy/template.h"

/* A request whose header fields are pairs of name and value, ended by NULL. */
static struct slice find_header(const void *request, struct slice name)
{
    for (const char *const *pair = request; *pair != NULL; pair += 2) {
        if (slice_equal(slice_of(pair[0]), name))
            return slice_of(pair[1]);
    }
    return SLICE_NONE;
}

static const struct slice param_names[] = {SLICE_INIT("sku"), SLICE_INIT("id"), SLICE_INIT("rest")};

static const char *const usual_fields[] = {
    "x-user-id", "7",
    "x-empty",   "",
    "x-odd",     "a b",
    "x-braces",  "{tag}",
    "x-padded",  " 7\t",
    "x-long",    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0",
    "x-64",      "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "cookie",    "a=1; session=\"q\"; b; a=2;c= 3 ;empty=; d=x=y",
    NULL};

static struct facts usual_facts(void)
{
    return (struct facts){
        .method = SLICE("PUT"),
        .scheme = SLICE("http"),
        .host = SLICE("shop.example.com"),
        .path = SLICE("/stock/42/a"),
        .client_ip = SLICE("2001:db8::/64"),
        .route = SLICE("stock"),
        .query = SLICE("a=1&b=x+y&%63=3&d=%41%2f&e&f=&g=%zz&a=2&&h%3D=5&i=1%262"),
        .path_params = {SLICE_INIT("42"), SLICE_INIT("a%20b%2Fc%25%C3%A9"), SLICE_INIT("x/y%2Fz")},
        .path_param_count = 3,
        .header = find_header,
        .request = usual_fields};
}

struct render_case {
    const char *text;
    const char *expected; /* NULL: missing */
    const char *hashed;   /* when given, its short digest stands for "~#" in expected */
};

static const struct render_case render_cases[] = {
    {"all", "all", NULL},
    {"stock:{path.sku}", "stock:42", NULL},
    {"{{{path.sku}}}", "{42}", NULL},
    {"}}{{", "}{", NULL},
    {"{method} {host} {route}", "PUT shop.example.com stock", NULL},
    {"{client.ip}", "2001:db8::/64", NULL},
    {"{client.ip}:{header.x-user-id}", "2001:db8::/64:7", NULL},
    {"{header.x-user-id}:{client.ip}", "7:2001:db8::/64", NULL},
    {"{client.ip}:{client.ip}", "2001:db8::/64:|2001:db8::/64", NULL},
    {"{header.X-User-ID}", "7", NULL},
    {"{header.x-padded}", "7", NULL},
    {"{header.x-empty}", "", NULL},
    {"u:{header.x-none}", NULL, "header.x-none"},
    {"{header.x-odd}", "~#", "a b"},
    {"{header.x-braces}", "~#", "{tag}"},
    {"{header.x-64}", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", NULL},
    {"k:{header.x-long}", "k:~#",
     "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0"},
    {"{header.x-user-id}{path.sku}", "7|42", NULL},
    {"{header.x-user-id}-{path.sku}", "7|-42", NULL},
    {"{header.x-user-id}:{path.sku}", "7:42", NULL},
    {"{cookie.a}", "1", NULL},
    {"{cookie.session}", "\"q\"", NULL},
    {"{cookie.b}", NULL, "cookie.b"},
    {"{cookie.c}", "3", NULL},
    {"{cookie.d}", "x=y", NULL},
    {"{cookie.empty}", "", NULL},
    {"{cookie.A}", NULL, "cookie.A"},
    {"{query.a}", "1", NULL},
    {"{query.b}", "~#", "x y"},
    {"{query.c}", "3", NULL},
    {"{query.d}", "A/", NULL},
    {"{query.e}", "", NULL},
    {"{query.f}", "", NULL},
    {"{query.g}", "%zz", NULL},
    {"{query.h=}", "5", NULL},
    {"{query.i}", "1&2", NULL},
    {"{query.z}", NULL, "query.z"},
    {"{path.id}", "~#", "a b%2Fc%25\xc3\xa9"},
    {"{path.rest}", "x/y%2Fz", NULL},
};

static void values_are_rendered(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(render_cases); i++) {
        const struct render_case *c = &render_cases[i];
        struct facts facts = usual_facts();
        struct template_error error;
        struct template *template;
        struct slice value = SLICE_NONE, missing = SLICE_NONE;
        struct arena arena;

        arena_init(&arena, NULL);
        template = template_compile(&arena, slice_of(c->text), param_names, 3, NULL, &error);
        assert_non_null(template);
        assert_slice_equal(template_text(template), slice_of(c->text));
        if (c->expected == NULL) {
            assert_int_equal(template_render(template, &facts, &arena, &value, &missing),
                             TEMPLATE_MISSING);
            assert_slice_equal(missing, slice_of(c->hashed));
            assert_true(template_can_miss(template));
        } else {
            const char *mark = strstr(c->expected, "~#");
            char expected[160], hex[33] = "";

            if (mark != NULL)
                digest_short_hex(slice_of(c->hashed), hex);
            snprintf(expected, sizeof(expected), "%.*s%s%s",
                     mark != NULL ? (int)(mark + 1 - c->expected) : 159, c->expected, hex,
                     mark != NULL ? mark + 2 : "");
            assert_int_equal(template_render(template, &facts, &arena, &value, &missing),
                             TEMPLATE_OK);
            assert_slice_equal(value, slice_of(expected));
        }
        arena_clear(&arena);
    }
}

static void templates_know_what_they_are(void **state)
{
    static const struct {
        const char *text;
        bool can_miss, is_constant;
    } cases[] = {
        {"all", false, true},        {"{{}}", false, true},        {"{client.ip}", false, false},
        {"{method}", false, false},  {"{path.sku}", false, false}, {"{header.x}", true, false},
        {"{cookie.x}", true, false}, {"{query.x}", true, false},
    };
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct template_error error;
        struct template *t =
            template_compile(&arena, slice_of(cases[i].text), param_names, 3, NULL, &error);

        assert_non_null(t);
        assert_int_equal(template_can_miss(t), cases[i].can_miss);
        assert_int_equal(template_is_constant(t), cases[i].is_constant);
        assert_false(template_uses_jwt(t));
    }
    arena_clear(&arena);
}

static const struct {
    const char *text;
    size_t offset;
    const char *message; /* how it begins */
} bad_templates[] = {
    {"", 0, "a template cannot be empty"},
    {"a{path.sku", 1, "\"{\" is never closed"},
    {"a{path{.sku}", 1, "\"{\" is never closed"},
    {"a}b", 1, "\"}\" closes nothing"},
    {"{method}}", 8, "\"}\" closes nothing"},
    {"x{}", 2, "\"{}\" names no variable"},
    {"{ method}", 1, "no spaces between"},
    {"{header.x y}", 9, "no spaces between"},
    {"{heder.x-user}", 1, "unknown variable \"heder.x-user\" (did you mean \"header.x-user\"?)"},
    {"{methd}", 1, "unknown variable \"methd\" (did you mean \"method\"?)"},
    {"{client_ip}", 1, "unknown variable \"client_ip\" (did you mean \"client.ip\"?)"},
    {"{client.id}", 1, "unknown variable \"client.id\" (did you mean \"client.ip\"?)"},
    {"{cokie}", 1, "unknown variable \"cokie\" (did you mean \"cookie.NAME\"?)"},
    {"k:{sku}", 3, "unknown variable \"sku\" (did you mean \"path.sku\"?)"},
    {"{body.total}", 1, "unknown variable \"body.total\"; there are client.ip, header.NAME"},
    {"{header}", 7, "\"header\" needs a name: {header.NAME}"},
    {"{header.}", 8, "\"header\" needs a name"},
    {"{header.x(y}", 9, "byte 0x28 cannot stand in the name of a header"},
    {"{path.skuu}", 6,
     "the route's path has no {skuu} (did you mean \"sku\"?); it has: sku, id, rest"},
    {"{path.zzzzzz}", 6, "the route's path has no {zzzzzz}; it has: sku, id, rest"},
    {"a{jwt.sub}", 2, "{jwt.sub} needs a \"jwt\" section"},
    {"caf\xc3\xa9", 3, "byte 0xc3: a template is printable ASCII"},
    {"a\nb", 1, "byte 0x0a"},
    {"{method}{method}{method}{method}{method}{method}{method}{method}{method}{method}{method}{"
     "method}"
     "{method}{method}{method}{method}{method}",
     129, "more than 16 variables"},
};

static void mistakes_are_explained(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(bad_templates); i++) {
        struct template_error error = {.offset = 12345};
        struct arena arena;

        arena_init(&arena, NULL);
        assert_null(template_compile(&arena, slice_of(bad_templates[i].text), param_names, 3, NULL,
                                     &error));
        if (!slice_starts_with(slice_of(error.message), slice_of(bad_templates[i].message)) ||
            error.offset != bad_templates[i].offset)
            fail_msg("\"%s\": %zu: %s", bad_templates[i].text, error.offset, error.message);
        assert_true(strlen(error.message) < sizeof(error.message) - 1);
        arena_clear(&arena);
    }
}

static void a_path_without_parameters_is_named(void **state)
{
    struct template_error error;
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    assert_null(template_compile(&arena, SLICE("{path.x}"), NULL, 0, NULL, &error));
    assert_string_equal(error.message, "the route's path has no {x}: it has no parameters");
    assert_int_equal(error.offset, 6);
    arena_clear(&arena);
}

static void a_usual_key_takes_no_new_block(void **state)
{
    struct facts facts = usual_facts();
    struct arena arena;
    struct template_error error;
    struct template *template;
    struct slice value, missing;
    struct arena_block *block;

    UNUSED(state);
    arena_init(&arena, NULL);
    template = template_compile(&arena, SLICE("{client.ip}:{query.a}:{header.x-user-id}"), NULL, 0,
                                NULL, &error);
    arena_alloc(&arena, 1);
    block = arena.blocks;
    assert_int_equal(template_render(template, &facts, &arena, &value, &missing), TEMPLATE_OK);
    assert_ptr_equal(arena.blocks, block);
    assert_slice_equal(value, SLICE("2001:db8::/64:1:7"));
    arena_clear(&arena);
}

static void query_names_cannot_be_disguised(void **state)
{
    static const char *const spellings[] = {"user=1",     "%75ser=1",       "%75%73%65%72=1",
                                            "us%65r=%31", "other=2&user=1", "&&user=1&user=2"};
    struct arena arena;
    struct template_error error;
    struct template *template;

    UNUSED(state);
    arena_init(&arena, NULL);
    template = template_compile(&arena, SLICE("{query.user}"), NULL, 0, NULL, &error);
    for (size_t i = 0; i < COUNT_OF(spellings); i++) {
        struct facts facts = {.query = slice_of(spellings[i])};
        struct slice value, missing;

        assert_int_equal(template_render(template, &facts, &arena, &value, &missing), TEMPLATE_OK);
        assert_slice_equal(value, SLICE("1"));
    }
    arena_clear(&arena);
}

/* Values that try to run into their neighbours, or to pass for the digest of another. */
static char digest_of_colon[34] = "~";
static const char long_value[] =
    "1111111111111111111111111111111111111111111111111111111111111111-";
static const char *const sly_values[] = {"",        "1", "11", "-", "1-",  "-1",  "1-1",
                                         ":",       "|", "1|", "~", "1:1", "{1}", digest_of_colon,
                                         long_value};
static const char *const addresses[] = {"1.2.3.4",  "::",         "::1", "1::/64",
                                        "1:1::/64", "1.2.3.0/24", ""};
static const char *const pieces[] = {"{header.a}", "{header.b}", "{header.c}", "{client.ip}",
                                     "-",          ":",          "1",          "-1",
                                     "|",          "{{",         "1:",         ":1"};

/* Up to six pieces, at least two of them variables. */
static void random_template(unsigned *seed, char *text, size_t size)
{
    size_t count = 2 + (size_t)rand_r(seed) % 5;

    do {
        text[0] = '\0';
        for (size_t i = 0; i < count; i++)
            strncat(text, pieces[(size_t)rand_r(seed) % COUNT_OF(pieces)], size - strlen(text) - 1);
    } while (strchr(text, '.') == strrchr(text, '.'));
}

/* All values of a, b, c and the address that the template names; every result must be new. */
static void check_all_tuples(const char *text)
{
    size_t count_a = strstr(text, ".a}") != NULL ? COUNT_OF(sly_values) : 1;
    size_t count_b = strstr(text, ".b}") != NULL ? COUNT_OF(sly_values) : 1;
    size_t count_c = strstr(text, ".c}") != NULL ? COUNT_OF(sly_values) : 1;
    size_t count_ip = strstr(text, ".ip}") != NULL ? COUNT_OF(addresses) : 1;
    size_t total = count_a * count_b * count_c * count_ip;
    struct arena arena;
    struct template_error error;
    struct template *template;
    struct map seen;

    if (total > 4000)
        return;
    map_init(&seen);
    arena_init(&arena, NULL);
    template = template_compile(&arena, slice_of(text), NULL, 0, NULL, &error);
    assert_non_null(template);
    for (size_t i = 0; i < total; i++) {
        const char *fields[] = {"a", sly_values[i % count_a],
                                "b", sly_values[i / count_a % count_b],
                                "c", sly_values[i / count_a / count_b % count_c],
                                NULL};
        struct facts facts = {.client_ip = slice_of(addresses[i / count_a / count_b / count_c]),
                              .header = find_header,
                              .request = fields};
        struct slice value, missing;

        assert_int_equal(template_render(template, &facts, &arena, &value, &missing), TEMPLATE_OK);
        if (map_set(&seen, value, template) != NULL)
            fail_msg("%s renders two tuples to \"%.*s\"", text, SLICE_ARGS(value));
    }
    arena_clear(&arena);
    map_clear(&seen);
}

static void different_values_never_give_one_key(void **state)
{
    unsigned seed = 1;

    UNUSED(state);
    digest_short_hex(SLICE(":"), digest_of_colon + 1);
    check_all_tuples("{header.a}{header.b}");
    check_all_tuples("{header.a}{client.ip}{header.b}");
    check_all_tuples("{client.ip}:{client.ip}");
    for (unsigned i = 0; i < 200; i++) {
        char text[128];

        random_template(&seed, text, sizeof(text));
        check_all_tuples(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_rendered),
        cmocka_unit_test(templates_know_what_they_are),
        cmocka_unit_test(mistakes_are_explained),
        cmocka_unit_test(a_path_without_parameters_is_named),
        cmocka_unit_test(a_usual_key_takes_no_new_block),
        cmocka_unit_test(query_names_cannot_be_disguised),
        cmocka_unit_test(different_values_never_give_one_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
