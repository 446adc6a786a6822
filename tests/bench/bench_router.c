/* What matching costs as routes grow, and what normalising and rendering cost: ns per call, the
 * best of five rounds.
 *
 *     make build/bench_router && build/bench_router */
#include <stdio.h>
#include <time.h>

#include "policy/router.h"
#include "policy/template.h"

#define MAX_ROUTES 2000
#define CALLS 200000
#define ROUNDS 5

static struct policy_route routes[MAX_ROUTES];
static const struct policy_route *pointers[MAX_ROUTES];
static const struct slice post = SLICE_INIT("POST");

static double now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Every third path goes three deep, has a parameter in the middle, or ends in a rest. */
static struct slice bench_path(struct arena *arena, size_t i)
{
    switch (i % 3) {
    case 0:
        return arena_printf(arena, "/api/v1/resource-%zu/items/{id}", i);
    case 1:
        return arena_printf(arena, "/tenants/{tenant}/service-%zu", i);
    default:
        return arena_printf(arena, "/static/bundle-%zu/{rest...}", i);
    }
}

static struct slice request_path(struct arena *arena, size_t i)
{
    switch (i % 3) {
    case 0:
        return arena_printf(arena, "/api/v1/resource-%zu/items/1234567", i);
    case 1:
        return arena_printf(arena, "/tenants/acme/service-%zu", i);
    default:
        return arena_printf(arena, "/static/bundle-%zu/js/app.js", i);
    }
}

static double measure(const struct router *router, const struct slice *paths, size_t path_count,
                      bool expected)
{
    double best = 1e18;

    for (unsigned round = 0; round < ROUNDS; round++) {
        double start = now_ns(), spent;

        for (size_t i = 0; i < CALLS; i++) {
            struct facts facts;

            facts.method = post;
            facts.host = SLICE("shop.example.com");
            facts.path = paths[i % path_count];
            facts.header = NULL;
            CHECK((router_match(router, &facts) != NULL) == expected);
        }
        spent = (now_ns() - start) / CALLS;
        best = spent < best ? spent : best;
    }
    return best;
}

static void bench_routes(size_t route_count)
{
    struct slice hits[64], miss = SLICE("/api/v1/resource-none/items/1234567");
    struct router *router;
    struct arena arena;

    arena_init(&arena, NULL);
    for (size_t i = 0; i < route_count; i++) {
        routes[i] = (struct policy_route){
            .path = bench_path(&arena, i), .methods = &post, .method_count = 1};
        pointers[i] = &routes[i];
    }
    router = router_compile(&arena, pointers, route_count);
    for (size_t i = 0; i < COUNT_OF(hits); i++)
        hits[i] = request_path(&arena, i * 7919 % route_count);
    printf("%5zu routes: match %6.1f ns, no match %6.1f ns\n", route_count,
           measure(router, hits, COUNT_OF(hits), true), measure(router, &miss, 1, false));
    arena_clear(&arena);
}

static void bench_normalise(const char *what, struct slice path)
{
    struct arena_pool pool;
    double start, best = 1e18, spent;

    arena_pool_init(&pool, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        start = now_ns();
        for (size_t i = 0; i < CALLS; i++) {
            struct arena arena;
            struct slice normal;

            arena_init(&arena, &pool);
            CHECK(router_normalise_path(&arena, path, &normal));
            arena_clear(&arena);
        }
        spent = (now_ns() - start) / CALLS;
        best = spent < best ? spent : best;
    }
    arena_pool_clear(&pool);
    printf("normalise, %s: %.1f ns\n", what, best);
}

static struct slice user_header(const void *request, struct slice name)
{
    UNUSED(request);
    UNUSED(name);
    return SLICE("user-1234567");
}

static void bench_render(const char *text)
{
    struct facts facts = {.client_ip = SLICE("192.0.2.17"),
                          .header = user_header,
                          .path_params = {SLICE_INIT("1234567")},
                          .path_param_count = 1};
    struct slice id = SLICE("id"), value, missing;
    struct arena_pool pool;
    struct arena lasting;
    struct template_error error;
    struct template *template;
    double best = 1e18;

    arena_pool_init(&pool, 1);
    arena_init(&lasting, NULL);
    template = template_compile(&lasting, slice_of(text), &id, 1, NULL, &error);
    for (unsigned round = 0; round < ROUNDS; round++) {
        double start = now_ns(), spent;

        for (size_t i = 0; i < CALLS; i++) {
            struct arena arena;

            arena_init(&arena, &pool);
            CHECK(template_render(template, &facts, &arena, &value, &missing) == TEMPLATE_OK);
            arena_clear(&arena);
        }
        spent = (now_ns() - start) / CALLS;
        best = spent < best ? spent : best;
    }
    arena_clear(&lasting);
    arena_pool_clear(&pool);
    printf("render %s: %.1f ns\n", text, best);
}

int main(void)
{
    static const size_t counts[] = {5, 50, 500, MAX_ROUTES};

    for (size_t i = 0; i < COUNT_OF(counts); i++)
        bench_routes(counts[i]);
    bench_normalise("already normal", SLICE("/api/v1/resource-77/items/1234567"));
    bench_normalise("with escapes and dots", SLICE("/api//v1/./resource%2D77/items/x/../1234567"));
    bench_render("{client.ip}:{header.x-user-id}");
    bench_render("stock:{path.id}");
    return 0;
}
