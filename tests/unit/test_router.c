#include "unit/unit.h"

#include "policy/router.h"
#include "unit/router_oracle.h"

static const struct {
    const char *path, *normal; /* NULL: refused */
} normal_cases[] = {
    {"/", "/"},
    {"*", "*"},
    {"/orders", "/orders"},
    {"/orders/", "/orders/"},
    {"/a/b%2Fc", "/a/b%2Fc"},
    {"/a/b%2fc", "/a/b%2Fc"},
    {"/a%5cb", "/a%5Cb"},
    {"/%61%62", "/ab"},
    {"/a%2Db", "/a-b"},
    {"/%7euser", "/~user"},
    {"/%40me", "/@me"},
    {"/a%3bb;c", "/a;b;c"},
    {"/a%20b", "/a%20b"},
    {"/caf%c3%a9", "/caf%C3%A9"},
    {"/a%3fb", "/a%3Fb"},
    {"/a%23b", "/a%23b"},
    {"/a%25b", "/a%25b"},
    {"/a%2561", "/a%2561"},
    {"//", "/"},
    {"//a///b//", "/a/b/"},
    {"/./a", "/a"},
    {"/a/./b", "/a/b"},
    {"/a/.", "/a/"},
    {"/a/..", "/"},
    {"/a/b/..", "/a/"},
    {"/a/../b", "/b"},
    {"/..", "/"},
    {"/../../a", "/a"},
    {"/a//../b", "/b"},
    {"/a/b/../../c", "/c"},
    {"/a/%2e%2e/b", "/b"},
    {"/a/.%2E/b", "/b"},
    {"/a/%2e/b", "/a/b"},
    {"/a/...", "/a/..."},
    {"/.well-known/x", "/.well-known/x"},
    {"/..a/.b", "/..a/.b"},
    {"/a%2F..%2Fb", "/a%2F..%2Fb"},
    {"/a/..%2Fb", "/a/..%2Fb"},
    {"/a|b", "/a%7Cb"},
    {"/a%7cb", "/a%7Cb"},
    {"/{a}", "/%7Ba%7D"},
    {"/a[0]", "/a%5B0%5D"},
    {"/a;x=1/b", "/a;x=1/b"},
    {"/..;/a", "/..;/a"},
    {"", NULL},
    {"orders", NULL},
    {"*/", NULL},
    {"**", NULL},
    {"/a%", NULL},
    {"/a%2", NULL},
    {"/a%g0", NULL},
    {"/a%0g", NULL},
    {"/a%00b", NULL},
    {"/a\\b", NULL},
    {"/a b", NULL},
    {"/a\tb", NULL},
    {"/a\x7f", NULL},
    {"/caf\xc3\xa9", NULL},
    {"/a?b", NULL},
    {"/a#b", NULL},
};

static void paths_have_one_spelling(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(normal_cases); i++) {
        struct slice path = slice_of(normal_cases[i].path), normal = SLICE_NONE, again;
        char by_oracle[ORACLE_MAX_PATH];
        struct arena arena;
        bool is_good;

        arena_init(&arena, NULL);
        is_good = router_normalise_path(&arena, path, &normal);
        if (is_good != (normal_cases[i].normal != NULL) ||
            !slice_equal(normal, slice_of(normal_cases[i].normal)))
            fail_msg("\"%s\" became \"%.*s\"", normal_cases[i].path, SLICE_ARGS(normal));
        assert_int_equal(oracle_normalise(path, by_oracle), is_good);
        if (is_good) {
            assert_string_equal(by_oracle, normal_cases[i].normal);
            assert_true(router_normalise_path(&arena, normal, &again));
            assert_ptr_equal(again.at, normal.at);
        } else {
            assert_null(normal.at);
        }
        arena_clear(&arena);
    }
}

static void a_normal_path_is_not_copied(void **state)
{
    struct slice path = SLICE("/stock/a-b_c.d~e%2Ff/@me;v=1/"), normal;
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    assert_true(router_normalise_path(&arena, path, &normal));
    assert_ptr_equal(normal.at, path.at);
    assert_null(arena.blocks);
}

static void escaped_slashes_are_found(void **state)
{
    static const struct {
        const char *path;
        bool has_one;
    } cases[] = {
        {"/a/b", false},       {"/a%2Fb", true},     {"/a%2fb", true},    {"/%2F", true},
        {"/a%5Cb", true},      {"/a%5cb", true},     {"/a%252Fb", false}, {"/a%25/2F", false},
        {"/a%C3%2F", true},    {"/a/..%2F..", true}, {"*", false},        {"/%2f/../a", false},
        {"/2F/5C/%25", false},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct slice normal;
        struct arena arena;

        arena_init(&arena, NULL);
        assert_true(router_normalise_path(&arena, slice_of(cases[i].path), &normal));
        if (router_has_escaped_slash(normal) != cases[i].has_one)
            fail_msg("\"%s\"", cases[i].path);
        arena_clear(&arena);
    }
}

static unsigned next_random(unsigned *seed, size_t below)
{
    return (unsigned)rand_r(seed) % (unsigned)below;
}

static void random_paths_agree_with_the_oracle(void **state)
{
    static const char *const pieces[] = {"/",   "/",   "/",   ".",   "..",  "a",  "b-",
                                         "%2e", "%2E", "%2f", "%41", "%7C", "|",  "%40",
                                         "%25", "%C3", ";",   "%",   "%0",  "%00"};
    unsigned seed = 3;
    struct arena_pool pool;

    UNUSED(state);
    arena_pool_init(&pool, 1);
    for (unsigned i = 0; i < 30000; i++) {
        char text[64] = "/", by_oracle[ORACLE_MAX_PATH];
        unsigned count = next_random(&seed, 10);
        /* The last three are malformed: not in every path. */
        size_t piece_count = COUNT_OF(pieces) - (next_random(&seed, 8) == 0 ? 0 : 3);
        struct slice normal = SLICE_NONE;
        struct arena arena;
        bool is_good;

        for (unsigned j = 0; j < count; j++)
            strcat(text, pieces[next_random(&seed, piece_count)]);
        arena_init(&arena, &pool);
        is_good = router_normalise_path(&arena, slice_of(text), &normal);
        if (is_good != oracle_normalise(slice_of(text), by_oracle))
            fail_msg("\"%s\": %d", text, is_good);
        if (is_good && !slice_equal(normal, slice_of(by_oracle)))
            fail_msg("\"%s\" became \"%.*s\", not \"%s\"", text, SLICE_ARGS(normal), by_oracle);
        arena_clear(&arena);
    }
    arena_pool_clear(&pool);
}

static const struct {
    const char *path, *names; /* names joined by commas */
} good_templates[] = {
    {"", ""},
    {"*", ""},
    {"/", ""},
    {"/orders", ""},
    {"/orders/", ""},
    {"/stock/{sku}", "sku"},
    {"/a/{x}/b/{y_2-z}", "x,y_2-z"},
    {"/files/{rest...}", "rest"},
    {"/{all...}", "all"},
    {"/files/{name}.json", "name"},
    {"/v{version}/x", "version"},
    {"/a/pre-{x}-post/", "x"},
    {"/caf%C3%A9", ""},
    {"/a%2Fb", ""},
    {"/v1/users:batchGet", ""},
    {"/a;b=c", ""},
};

static void good_templates_name_their_parameters(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(good_templates); i++) {
        struct slice names[FACTS_MAX_PATH_PARAMS];
        size_t count = 99, offset;
        char joined[64] = "";
        struct arena arena;

        arena_init(&arena, NULL);
        assert_null(
            router_check_path(&arena, slice_of(good_templates[i].path), names, &count, &offset));
        for (size_t j = 0; j < count; j++) {
            strcat(joined, j > 0 ? "," : "");
            strncat(joined, names[j].at, names[j].len);
        }
        assert_string_equal(joined, good_templates[i].names);
        arena_clear(&arena);
    }
}

static const struct {
    const char *path;
    size_t offset;
    const char *message; /* how it begins */
} bad_templates[] = {
    {"orders", 0, "a path begins with \"/\""},
    {"**", 0, "a path begins with \"/\""},
    {"/a/*", 3, "\"*\" is no wildcard"},
    {"/stock/:sku", 7, "a segment cannot begin with \":\"; a parameter is written {name}"},
    {"/a//b", 3, "requests are matched with single slashes"},
    {"/a/../b", 3, "requests are matched without dot segments"},
    {"/a/.", 3, "requests are matched without dot segments"},
    {"/a?b=1", 2, "\"?\": only the path is matched here"},
    {"/a b", 2, "byte 0x20 cannot stand in a path: write \"%20\""},
    {"/caf\xc3\xa9", 4, "byte 0xc3 cannot stand in a path: write \"%C3\""},
    {"/a|b", 2, "byte 0x7c cannot stand in a path: write \"%7C\""},
    {"/a%2db", 2, "write \"%2d\" as \"-\""},
    {"/a%2fb", 2, "write \"%2f\" as \"%2F\""},
    {"/a%zz", 2, "\"%\" must be followed by two hex digits"},
    {"/a%00", 2, "\"%\" must be followed by two hex digits"},
    {"/a%2", 2, "\"%\" must be followed by two hex digits"},
    {"/a/{x", 3, "\"{\" is never closed"},
    {"/a/{x/y}", 3, "\"{\" is never closed"},
    {"/a/x}", 4, "\"}\" closes nothing"},
    {"/a/{}", 4, "a parameter's name is letters"},
    {"/a/{1x}", 4, "a parameter's name is letters"},
    {"/a/{...}", 4, "a parameter's name is letters"},
    {"/{x}-{y}", 5, "a segment has at most one parameter"},
    {"/{x}/{x}", 6, "there are two parameters \"x\""},
    {"/{rest...}/b", 1, "{rest...} must stand at the end"},
    {"/a/v{rest...}", 3, "{rest...} must be a whole segment"},
    {"/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}/{q}", 66,
     "a path has at most 16 parameters"},
    {"/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3", 65,
     "a path has at most 32 segments"},
};

static void bad_templates_are_explained(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(bad_templates); i++) {
        struct slice names[FACTS_MAX_PATH_PARAMS];
        size_t count, offset = 99;
        struct arena arena;
        const char *wrong;

        arena_init(&arena, NULL);
        wrong = router_check_path(&arena, slice_of(bad_templates[i].path), names, &count, &offset);
        if (wrong == NULL || offset != bad_templates[i].offset ||
            !slice_starts_with(slice_of(wrong), slice_of(bad_templates[i].message)))
            fail_msg("\"%s\": %zu: %s", bad_templates[i].path, offset, wrong);
        arena_clear(&arena);
    }
}

/* A request has one header field, or none. */
struct field {
    const char *name, *value;
};

static struct slice find_header(const void *request, struct slice name)
{
    const struct field *field = request;

    return field->name != NULL && slice_equal(slice_of(field->name), name) ? slice_of(field->value)
                                                                           : SLICE_NONE;
}

#define MAX_SAID 4

/* Room for a route of the tests and what it points to. */
struct said {
    struct policy_route route;
    struct slice hosts[MAX_SAID], methods[MAX_SAID];
    struct policy_header_match headers[1];
};

/* words: separated by spaces. */
static size_t split_words(const char *words, struct slice *out)
{
    struct slice rest = slice_of(words), word;
    size_t count = 0;

    while (slice_split(&rest, ' ', &word)) {
        if (word.len > 0)
            out[count++] = word;
    }
    return count;
}

/* host is a terminated string of its own, since the oracle wants it so. */
static void say(struct said *said, const char *methods, const char *host, const char *path,
                const char *header, const char *header_value)
{
    *said = (struct said){.route = {.path = slice_of(path)}};
    said->route.methods = said->methods;
    said->route.method_count = split_words(methods, said->methods);
    said->route.hosts = said->hosts;
    said->hosts[0] = slice_of(host);
    said->route.host_count = host != NULL;
    said->route.headers = said->headers;
    said->headers[0] = (struct policy_header_match){slice_of(header), slice_of(header_value)};
    said->route.header_count = header != NULL;
}

static const struct {
    const char *methods, *host, *path, *header, *header_value;
} shop_routes[] = {
    /*  0 */ {"POST", NULL, "/orders", NULL, NULL},
    /*  1 */ {"GET", NULL, "/orders/{id}", "x-version", "2"},
    /*  2 */ {"GET", NULL, "/orders/{id}", NULL, NULL},
    /*  3 */ {"PUT PATCH", NULL, "/stock/{sku}", NULL, NULL},
    /*  4 */ {"", "api.example.com", "/stock/{sku}", NULL, NULL},
    /*  5 */ {"", "*.example.com", "/stock/{sku}/{part}", NULL, NULL},
    /*  6 */ {"", NULL, "/files/{name}.json", NULL, NULL},
    /*  7 */ {"", NULL, "/files/{rest...}", NULL, NULL},
    /*  8 */ {"", NULL, "/a/{x}/c", NULL, NULL},
    /*  9 */ {"", NULL, "/a/b/{y}", NULL, NULL},
    /* 10 */ {"OPTIONS", NULL, "*", NULL, NULL},
    /* 11 */ {"", "only.example.org", "", NULL, NULL},
    /* 12 */ {"", NULL, "/", "x-canary", NULL},
    /* 13 */ {"", "*.example.com", "/wild", NULL, NULL},
    /* 14 */ {"", "www.example.com", "/wild", NULL, NULL},
};

static const struct {
    const char *method, *host, *path, *header, *header_value;
    int expected; /* -1: none */
    const char *params;
} shop_requests[] = {
    {"POST", "x", "/orders", NULL, NULL, 0, ""},
    {"post", "x", "/orders", NULL, NULL, -1, ""},
    {"GET", "x", "/orders", NULL, NULL, -1, ""},
    {"POST", "x", "/orders/", NULL, NULL, -1, ""},
    {"POST", "x", "/Orders", NULL, NULL, -1, ""},
    {"GET", "x", "/orders/7", NULL, NULL, 2, "7"},
    {"HEAD", "x", "/orders/7", NULL, NULL, 2, "7"},
    {"GET", "x", "/orders/", NULL, NULL, -1, ""},
    {"GET", "x", "/orders/7", "x-version", " 2 ", 1, "7"},
    {"GET", "x", "/orders/7", "x-version", "20", 2, "7"},
    {"PATCH", "x", "/stock/a%2Fb", NULL, NULL, 3, "a%2Fb"},
    {"GET", "x", "/stock/1", NULL, NULL, -1, ""},
    {"GET", "api.example.com", "/stock/1", NULL, NULL, 4, "1"},
    {"GET", "API.Example.com", "/stock/1", NULL, NULL, 4, "1"},
    {"PUT", "api.example.com", "/stock/1", NULL, NULL, 3, "1"},
    {"GET", "api.example.com", "/stock/1/2", NULL, NULL, 5, "1,2"},
    {"GET", "a.b.example.com", "/stock/1/2", NULL, NULL, 5, "1,2"},
    {"GET", "example.com", "/stock/1/2", NULL, NULL, -1, ""},
    {"GET", ".example.com", "/stock/1/2", NULL, NULL, -1, ""},
    {"GET", "badexample.com", "/stock/1/2", NULL, NULL, -1, ""},
    {"GET", "x", "/files/a.json", NULL, NULL, 6, "a"},
    {"GET", "x", "/files/.json", NULL, NULL, 7, ".json"},
    {"GET", "x", "/files/a/b.json", NULL, NULL, 7, "a/b.json"},
    {"GET", "x", "/files/a/", NULL, NULL, 7, "a/"},
    {"GET", "x", "/files/", NULL, NULL, -1, ""},
    {"GET", "x", "/files", NULL, NULL, -1, ""},
    {"GET", "x", "/a/b/c", NULL, NULL, 8, "b"},
    {"GET", "x", "/a/b/d", NULL, NULL, 9, "d"},
    {"OPTIONS", "x", "*", NULL, NULL, 10, ""},
    {"GET", "x", "*", NULL, NULL, -1, ""},
    {"GET", "only.example.org", "/whatever", NULL, NULL, 11, ""},
    {"GET", "only.example.org", "*", NULL, NULL, 11, ""},
    {"GET", "only.example.org", "/orders/7", NULL, NULL, 2, "7"},
    {"GET", "x", "/", NULL, NULL, -1, ""},
    {"GET", "x", "/", "x-canary", "", 12, ""},
    {"GET", "www.example.com", "/wild", NULL, NULL, 13, ""},
    {"GET", "", "/orders/7", NULL, NULL, 2, "7"},
};

static void first_match_in_file_order_wins(void **state)
{
    struct said said[COUNT_OF(shop_routes)];
    const struct policy_route *routes[COUNT_OF(shop_routes)];
    struct router *router;
    struct arena arena;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(shop_routes); i++) {
        say(&said[i], shop_routes[i].methods, shop_routes[i].host, shop_routes[i].path,
            shop_routes[i].header, shop_routes[i].header_value);
        routes[i] = &said[i].route;
    }
    arena_init(&arena, NULL);
    router = router_compile(&arena, routes, COUNT_OF(shop_routes));
    for (size_t i = 0; i < COUNT_OF(shop_requests); i++) {
        struct field field = {shop_requests[i].header, shop_requests[i].header_value};
        struct facts facts = {.method = slice_of(shop_requests[i].method),
                              .host = slice_of(shop_requests[i].host),
                              .path = slice_of(shop_requests[i].path),
                              .header = find_header,
                              .request = &field,
                              .path_param_count = 5};
        int expected = shop_requests[i].expected;
        char params[64] = "";
        const struct policy_route *route = router_match(router, &facts);

        if (route != (expected < 0 ? NULL : routes[expected]))
            fail_msg("request %zu, %s %s", i, shop_requests[i].method, shop_requests[i].path);
        for (size_t j = 0; j < facts.path_param_count; j++) {
            strcat(params, j > 0 ? "," : "");
            strncat(params, facts.path_params[j].at, facts.path_params[j].len);
        }
        assert_string_equal(params, shop_requests[i].params);
    }
    arena_clear(&arena);
}

static const char *const random_hosts[] = {NULL, NULL, "a.x", "*.x", "*.b.x", "B.x", "c.b.x"};
static const char *const random_methods[] = {"", "", "GET", "POST PUT", "HEAD", "OPTIONS"};
static const char *const random_segments[] = {"a",        "b",    "a.json", "{p}",
                                              "{p}.json", "a{p}", "",       "{p...}"};

static void random_route(unsigned *seed, struct said *said, char *path)
{
    const char *method = random_methods[next_random(seed, COUNT_OF(random_methods))];
    unsigned count = next_random(seed, 5);
    bool has_header = next_random(seed, 8) == 0;

    path[0] = '\0';
    for (unsigned i = 0; i < count; i++) {
        const char *segment = random_segments[next_random(seed, COUNT_OF(random_segments))];
        char *parameter;

        /* Empty segments and the rest are for the end alone. */
        if (i + 1 < count && (segment[0] == '\0' || strstr(segment, "...") != NULL))
            segment = "a";
        strcat(strcat(path, "/"), segment);
        parameter = strrchr(path, 'p');
        if (parameter != NULL && parameter[-1] == '{')
            *parameter = (char)('q' + i);
    }
    if (count == 0 && next_random(seed, 2) == 0)
        strcpy(path, "*");
    say(said, method, random_hosts[next_random(seed, COUNT_OF(random_hosts))], path,
        has_header ? "h" : NULL, has_header && next_random(seed, 2) == 0 ? "1" : NULL);
}

static void random_path(unsigned *seed, char *path)
{
    static const char *const segments[] = {"a", "b", "a.json", "ab", ".json", "b.json", ""};
    unsigned count = 1 + next_random(seed, 4);

    path[0] = '\0';
    for (unsigned i = 0; i < count; i++) {
        const char *segment = segments[next_random(seed, COUNT_OF(segments))];

        strcat(strcat(path, "/"), segment[0] == '\0' && i + 1 < count ? "b" : segment);
    }
    if (next_random(seed, 20) == 0)
        strcpy(path, "*");
}

static struct facts random_request(unsigned *seed, char *path, struct field *field)
{
    static const char *const hosts[] = {"", "a.x", "b.x", "c.b.x", "x", "d.c.b.x", ".x", "y"};
    static const char *const methods[] = {"GET", "HEAD", "POST", "OPTIONS", "PUT"};

    random_path(seed, path);
    *field = (struct field){next_random(seed, 2) == 0 ? "h" : NULL,
                            next_random(seed, 2) == 0 ? "1" : "2"};
    return (struct facts){.method = slice_of(methods[next_random(seed, COUNT_OF(methods))]),
                          .host = slice_of(hosts[next_random(seed, COUNT_OF(hosts))]),
                          .path = slice_of(path),
                          .header = find_header,
                          .request = field};
}

#define RANDOM_ROUTES 24

static void random_routes_agree_with_the_oracle(void **state)
{
    unsigned seed = 7, matched = 0;
    struct arena_pool pool;

    UNUSED(state);
    arena_pool_init(&pool, 16);
    for (unsigned set = 0; set < 5000; set++) {
        struct said said[RANDOM_ROUTES];
        char paths[RANDOM_ROUTES][64];
        const struct policy_route *routes[RANDOM_ROUTES];
        size_t count = next_random(&seed, RANDOM_ROUTES + 1);
        struct router *router;
        struct arena arena;

        for (size_t i = 0; i < count; i++) {
            random_route(&seed, &said[i], paths[i]);
            routes[i] = &said[i].route;
        }
        arena_init(&arena, &pool);
        router = router_compile(&arena, routes, count);
        for (unsigned i = 0; i < 20; i++) {
            char path[64];
            struct field field;
            struct facts facts = random_request(&seed, path, &field);
            struct slice found[FACTS_MAX_PATH_PARAMS];
            size_t found_count;
            const struct policy_route *expected =
                oracle_match(routes, count, &facts, found, &found_count);

            assert_ptr_equal(router_match(router, &facts), expected);
            assert_int_equal(facts.path_param_count, found_count);
            for (size_t j = 0; j < found_count; j++)
                assert_slice_equal(facts.path_params[j], found[j]);
            matched += expected != NULL;
        }
        arena_clear(&arena);
    }
    arena_pool_clear(&pool);
    /* A comparison of nothing with nothing would prove little. */
    assert_true(matched > 20000 && matched < 80000);
}

static const struct {
    size_t a, b; /* into shadow_routes */
} certain_shadows[] = {{0, 1}, {0, 2}, {3, 4},  {3, 5},   {6, 7},   {6, 3},
                       {6, 4}, {8, 9}, {8, 10}, {11, 12}, {13, 14}, {15, 16}};

static const struct {
    const char *methods, *host, *path, *header, *header_value;
} shadow_routes[] = {
    /*  0 */ {"", NULL, "", NULL, NULL},
    /*  1 */ {"", NULL, "/a", NULL, NULL},
    /*  2 */ {"GET", "x", "*", "h", "1"},
    /*  3 */ {"", NULL, "/{x}", NULL, NULL},
    /*  4 */ {"", NULL, "/b", NULL, NULL},
    /*  5 */ {"", NULL, "/{y}.json", NULL, NULL},
    /*  6 */ {"", NULL, "/{r...}", NULL, NULL},
    /*  7 */ {"", NULL, "/c/{r...}", NULL, NULL},
    /*  8 */ {"", "*.x", "/d/e", NULL, NULL},
    /*  9 */ {"", "a.x", "/d/e", NULL, NULL},
    /* 10 */ {"", "*.b.x", "/d/e", NULL, NULL},
    /* 11 */ {"GET", NULL, "/f/f", NULL, NULL},
    /* 12 */ {"HEAD", NULL, "/f/f", NULL, NULL},
    /* 13 */ {"", NULL, "/g/g", "h", NULL},
    /* 14 */ {"", NULL, "/g/g", "h", "1"},
    /* 15 */ {"", NULL, "/i/a{x}", NULL, NULL},
    /* 16 */ {"", NULL, "/i/ab{x}c", NULL, NULL},
};

/* Paths of which the first does not cover the second, though nearly. */
static const struct {
    const char *a, *b;
} near_shadows[] = {
    {"/c/{r...}", "/c/"},
    {"/c/{r...}", "/c"},
    {"/c/{x}", "/c/"},
    {"/c/{x}", "/c/{r...}"},
    {"/c/{x}", "/c/{x}/"},
    {"/c/{x}.json", "/c/.json"},
    {"/c/{x}.json", "/c/{x}"},
    {"/c/{x}.json", "/c/a{x}n"},
    {"/c/ab{x}bc", "/c/abc"},
    {"/{r...}", "*"},
    {"*", "/"},
    {"/{r...}", ""},
};

static void unreachable_routes_are_known(void **state)
{
    struct said said[COUNT_OF(shadow_routes)];

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(shadow_routes); i++)
        say(&said[i], shadow_routes[i].methods, shadow_routes[i].host, shadow_routes[i].path,
            shadow_routes[i].header, shadow_routes[i].header_value);
    for (size_t i = 0; i < COUNT_OF(certain_shadows); i++) {
        const struct policy_route *a = &said[certain_shadows[i].a].route;
        const struct policy_route *b = &said[certain_shadows[i].b].route;

        if (!router_shadows(a, b) || router_shadows(b, a))
            fail_msg("%zu and %zu", certain_shadows[i].a, certain_shadows[i].b);
    }
    assert_true(router_shadows(&said[5].route, &said[5].route));
    for (size_t i = 0; i < COUNT_OF(near_shadows); i++) {
        struct said a, b;

        say(&a, "", NULL, near_shadows[i].a, NULL, NULL);
        say(&b, "", NULL, near_shadows[i].b, NULL, NULL);
        if (router_shadows(&a.route, &b.route))
            fail_msg("%s and %s", near_shadows[i].a, near_shadows[i].b);
    }
}

/* Whatever b matches, a must match too: tried with many requests for many pairs. */
static void shadows_are_certain(void **state)
{
    unsigned seed = 11, shadow_count = 0;

    UNUSED(state);
    for (unsigned pair = 0; pair < 20000; pair++) {
        struct said a, b;
        char path_a[64], path_b[64], path[64];

        random_route(&seed, &a, path_a);
        random_route(&seed, &b, path_b);
        if (!router_shadows(&a.route, &b.route))
            continue;
        shadow_count++;
        for (unsigned i = 0; i < 60; i++) {
            struct field field;
            struct facts facts = random_request(&seed, path, &field);
            struct slice found[FACTS_MAX_PATH_PARAMS];
            size_t found_count;

            if (oracle_route_matches(&b.route, &facts, found, &found_count) &&
                !oracle_route_matches(&a.route, &facts, found, &found_count))
                fail_msg("%s does not shadow %s: %s", path_a, path_b, path);
        }
    }
    assert_true(shadow_count > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_have_one_spelling),
        cmocka_unit_test(a_normal_path_is_not_copied),
        cmocka_unit_test(escaped_slashes_are_found),
        cmocka_unit_test(random_paths_agree_with_the_oracle),
        cmocka_unit_test(good_templates_name_their_parameters),
        cmocka_unit_test(bad_templates_are_explained),
        cmocka_unit_test(first_match_in_file_order_wins),
        cmocka_unit_test(random_routes_agree_with_the_oracle),
        cmocka_unit_test(unreachable_routes_are_known),
        cmocka_unit_test(shadows_are_certain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
