/* Lines: "METHOD HOST PATH" of a route each (HOST may be "-" for any); then an empty line, the
 * request's method, its host and its path.  Router and oracle must say the same. */
#include <stdint.h>

#include "unit/router_oracle.h"

#define MAX_ROUTES 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct said {
    struct policy_route route;
    struct slice method, host;
};

static bool read_route(struct arena *arena, struct slice line, struct said *said)
{
    struct slice names[FACTS_MAX_PATH_PARAMS], host;
    size_t name_count, offset = 0;

    *said =
        (struct said){.route = {.methods = &said->method, .method_count = 1, .hosts = &said->host}};
    if (!slice_split(&line, ' ', &said->method) || !slice_split(&line, ' ', &host) ||
        line.at == NULL)
        return false;
    said->host = arena_copy(arena, host);
    said->route.host_count = !slice_equal(host, SLICE("-"));
    said->route.path = line;
    if (router_check_path(arena, line, names, &name_count, &offset) != NULL) {
        CHECK(offset <= line.len);
        return false;
    }
    /* What is no host name has no meaning to compare. */
    return host.len > 0 && memchr(host.at, '\0', host.len) == NULL && host.at[0] != '.' &&
           (host.at[0] != '*' || (host.len > 2 && host.at[1] == '.'));
}

static void compare(const struct router *router, const struct policy_route *const *routes,
                    size_t count, struct facts *facts)
{
    struct slice found[FACTS_MAX_PATH_PARAMS + 1];
    size_t found_count = 0;
    const struct policy_route *expected = oracle_match(routes, count, facts, found, &found_count);

    CHECK(router_match(router, facts) == expected && facts->path_param_count == found_count);
    for (size_t i = 0; i < found_count; i++)
        CHECK(slice_equal(facts->path_params[i], found[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_from((const char *)data, size), line = SLICE_NONE, normal;
    struct facts facts = {.method = SLICE_NONE};
    const struct policy_route *routes[MAX_ROUTES];
    char by_oracle[ORACLE_MAX_PATH];
    struct said said[MAX_ROUTES];
    size_t count = 0;
    struct arena arena;

    if (size > 1000)
        return 0;
    arena_init(&arena, NULL);
    while (slice_split(&rest, '\n', &line) && line.len > 0) {
        if (count < MAX_ROUTES && read_route(&arena, line, &said[count])) {
            routes[count] = &said[count].route;
            count++;
        }
    }
    if (slice_split(&rest, '\n', &facts.method) && slice_split(&rest, '\n', &facts.host) &&
        rest.at != NULL) {
        bool is_good = router_normalise_path(&arena, rest, &normal);

        CHECK(is_good == oracle_normalise(rest, by_oracle));
        CHECK(!is_good || slice_equal(normal, slice_of(by_oracle)));
        facts.path = normal;
        if (is_good && facts.host.len < 200 && slice_find(facts.host, '\0') == facts.host.len &&
            !slice_starts_with(facts.host, SLICE(".")))
            compare(router_compile(&arena, routes, count), routes, count, &facts);
    }
    arena_clear(&arena);
    return 0;
}
