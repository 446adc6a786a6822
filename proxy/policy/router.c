/* Routes are put into groups by host ("api.example.com", ".example.com" for the names below it, and
 * one group for any host); each group has a tree of path segments.  A request walks the groups its
 * host belongs to, and in each tree every branch that fits, but leaves a branch at once when all
 * routes in it stand behind the best one found; so the first in file order wins, and what does not
 * fit costs nothing.  A walk visits a node at most once: its cost is bounded by the tree, not by
 * the request. */
#include "policy/router.h"

#include <ctype.h>
#include <limits.h>

#include "policy/router_path.h"

#define NO_ROUTE UINT_MAX

/* Positions in router.entries, ascending. */
struct route_list {
    unsigned *items;
    size_t count, cap;
};

struct node;

struct literal_edge {
    struct slice text;
    struct node *child;
};

struct param_edge {
    struct router_segment segment; /* prefix and suffix */
    struct node *child;
};

/* The place behind a segment; the root stands before the first. */
struct node {
    struct literal_edge *literals; /* sorted by compare_text */
    size_t literal_count, literal_cap;
    struct param_edge *params;
    size_t param_count, param_cap;
    struct route_list ends;  /* paths that end here */
    struct route_list rests; /* {rest...} from here */
    unsigned first;          /* least position in the whole branch */
};

struct group {
    struct slice host; /* ".example.com" for "*.example.com"; empty for any */
    struct node root;
    struct route_list any_path, asterisk;
};

struct entry {
    const struct policy_route *route;
    const struct router_segment *segments;
    size_t segment_count;
};

struct router {
    struct entry *entries;
    size_t entry_count;
    struct group any_host;
    struct group **hosts; /* open addressing by hash_host */
    size_t host_cap;      /* a power of two */
    bool has_wildcards;
};

struct search {
    const struct router *router;
    const struct facts *facts;
    unsigned best;
};

/* Room for one more in an array of the arena; outgrown copies stay behind until it is cleared. */
static void *grow(struct arena *arena, void *items, size_t count, size_t *cap, size_t item_size)
{
    void *bigger;

    if (count < *cap)
        return items;
    *cap = *cap > 0 ? *cap * 2 : 4;
    bigger = arena_calloc(arena, *cap, item_size);
    if (count > 0)
        memcpy(bigger, items, count * item_size);
    return bigger;
}

static void list_add(struct arena *arena, struct route_list *list, unsigned position)
{
    /* A route that names a host twice comes twice. */
    if (list->count > 0 && list->items[list->count - 1] == position)
        return;
    list->items = grow(arena, list->items, list->count, &list->cap, sizeof(*list->items));
    list->items[list->count++] = position;
}

static int compare_text(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    return a.len > 0 ? memcmp(a.at, b.at, a.len) : 0;
}

/* Where text stands among the literals, or belongs; *ret_found says which. */
static size_t find_literal(const struct node *node, struct slice text, bool *ret_found)
{
    size_t low = 0, high = node->literal_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_text(text, node->literals[middle].text);

        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    *ret_found = false;
    return low;
}

static struct node *node_make(struct arena *arena)
{
    struct node *node = arena_calloc(arena, 1, sizeof(*node));

    node->first = NO_ROUTE;
    return node;
}

static struct node *literal_child(struct arena *arena, struct node *node, struct slice text)
{
    bool is_found;
    size_t at = find_literal(node, text, &is_found);

    if (is_found)
        return node->literals[at].child;
    node->literals = grow(arena, node->literals, node->literal_count, &node->literal_cap,
                          sizeof(*node->literals));
    memmove(&node->literals[at + 1], &node->literals[at],
            (node->literal_count - at) * sizeof(*node->literals));
    node->literals[at] = (struct literal_edge){.text = text, .child = node_make(arena)};
    node->literal_count++;
    return node->literals[at].child;
}

static struct node *param_child(struct arena *arena, struct node *node,
                                const struct router_segment *segment)
{
    for (size_t i = 0; i < node->param_count; i++) {
        if (slice_equal(node->params[i].segment.prefix, segment->prefix) &&
            slice_equal(node->params[i].segment.suffix, segment->suffix))
            return node->params[i].child;
    }
    node->params =
        grow(arena, node->params, node->param_count, &node->param_cap, sizeof(*node->params));
    node->params[node->param_count] =
        (struct param_edge){.segment = *segment, .child = node_make(arena)};
    return node->params[node->param_count++].child;
}

/* Routes are added in file order, so the first to come through a node is its least. */
static void group_add(struct arena *arena, struct group *group, const struct router_path *path,
                      unsigned position)
{
    struct node *node = &group->root;

    if (path->kind == ROUTER_PATH_ANY) {
        list_add(arena, &group->any_path, position);
        return;
    }
    if (path->kind == ROUTER_PATH_ASTERISK) {
        list_add(arena, &group->asterisk, position);
        return;
    }
    for (size_t i = 0; i < path->segment_count; i++) {
        const struct router_segment *segment = &path->segments[i];

        if (node->first == NO_ROUTE)
            node->first = position;
        if (segment->kind == ROUTER_REST) {
            list_add(arena, &node->rests, position);
            return;
        }
        node = segment->kind == ROUTER_LITERAL ? literal_child(arena, node, segment->prefix)
                                               : param_child(arena, node, segment);
    }
    if (node->first == NO_ROUTE)
        node->first = position;
    list_add(arena, &node->ends, position);
}

/* FNV-1a from the right, so that the hashes of all suffixes of a host come on the way.  Only hosts
 * from policies are in the table, so nobody can fill it with collisions. */
#define HASH_START 14695981039346656037u

static uint64_t hash_add(uint64_t hash, char c)
{
    return (hash ^ (unsigned char)tolower((unsigned char)c)) * 1099511628211u;
}

static uint64_t hash_host(struct slice host)
{
    uint64_t hash = HASH_START;

    for (size_t i = host.len; i > 0; i--)
        hash = hash_add(hash, host.at[i - 1]);
    return hash;
}

/* The place of host's group in the table; empty when there is none. */
static struct group **host_place(const struct router *router, struct slice host, uint64_t hash)
{
    size_t mask = router->host_cap - 1, at = (size_t)(hash ^ hash >> 32) & mask;

    while (router->hosts[at] != NULL && !slice_equal_nocase(router->hosts[at]->host, host))
        at = (at + 1) & mask;
    return &router->hosts[at];
}

static struct group *host_group(struct arena *arena, struct router *router, struct slice host)
{
    struct group **place;

    if (slice_equal(host, SLICE("*")))
        return &router->any_host;
    if (slice_starts_with(host, SLICE("*."))) {
        host = slice_skip(host, 1);
        router->has_wildcards = true;
    }
    place = host_place(router, host, hash_host(host));
    if (*place == NULL) {
        *place = arena_calloc(arena, 1, sizeof(**place));
        (*place)->host = host;
        (*place)->root.first = NO_ROUTE;
    }
    return *place;
}

static void add_route(struct arena *arena, struct router *router, const struct policy_route *route)
{
    unsigned position = (unsigned)router->entry_count++;
    struct entry *entry = &router->entries[position];
    struct router_path path;
    struct router_segment *segments;
    size_t error_offset;

    CHECK(router_path_parse(arena, route->path, &path, &error_offset) == NULL);
    segments = arena_calloc(arena, path.segment_count, sizeof(*segments));
    if (path.segment_count > 0)
        memcpy(segments, path.segments, path.segment_count * sizeof(*segments));
    *entry = (struct entry){route, segments, path.segment_count};
    if (route->host_count == 0)
        group_add(arena, &router->any_host, &path, position);
    for (size_t i = 0; i < route->host_count; i++)
        group_add(arena, host_group(arena, router, route->hosts[i]), &path, position);
}

struct router *router_compile(struct arena *arena, const struct policy_route *const *routes,
                              size_t route_count)
{
    struct router *router = arena_calloc(arena, 1, sizeof(*router));
    size_t host_count = 0;

    CHECK(route_count < NO_ROUTE);
    for (size_t i = 0; i < route_count; i++)
        host_count += routes[i]->host_count;
    router->host_cap = 4;
    while (router->host_cap < host_count * 2)
        router->host_cap *= 2;
    router->hosts = arena_calloc(arena, router->host_cap, sizeof(struct group *));
    router->entries = arena_calloc(arena, route_count, sizeof(*router->entries));
    router->any_host.root.first = NO_ROUTE;
    for (size_t i = 0; i < route_count; i++)
        add_route(arena, router, routes[i]);
    return router;
}

static bool accepts_method(const struct policy_route *route, struct slice method)
{
    bool is_head = slice_equal(method, SLICE("HEAD"));

    for (size_t i = 0; i < route->method_count; i++) {
        if (slice_equal(route->methods[i], method) ||
            (is_head && slice_equal(route->methods[i], SLICE("GET"))))
            return true;
    }
    return route->method_count == 0;
}

static bool accepts_headers(const struct policy_route *route, const struct facts *facts)
{
    for (size_t i = 0; i < route->header_count; i++) {
        const struct policy_header_match *match = &route->headers[i];
        struct slice value =
            facts->header != NULL ? facts->header(facts->request, match->name) : SLICE_NONE;

        if (value.at == NULL)
            return false;
        if (match->value.at != NULL && !slice_equal(slice_trim(value), slice_trim(match->value)))
            return false;
    }
    return true;
}

static void try_routes(struct search *search, const struct route_list *list)
{
    for (size_t i = 0; i < list->count && list->items[i] < search->best; i++) {
        const struct policy_route *route = search->router->entries[list->items[i]].route;

        if (accepts_method(route, search->facts->method) && accepts_headers(route, search->facts)) {
            search->best = list->items[i];
            return;
        }
    }
}

static void walk(struct search *search, const struct node *node, struct slice path);

/* child stands behind the segment before rest; rest.at == NULL: that was the last. */
static void enter(struct search *search, const struct node *child, struct slice rest)
{
    if (child->first >= search->best)
        return;
    if (rest.at == NULL)
        try_routes(search, &child->ends);
    else
        walk(search, child, rest);
}

/* path: what follows the slash behind node. */
static void walk(struct search *search, const struct node *node, struct slice path)
{
    size_t end = slice_find(path, '/');
    struct slice segment = slice_head(path, end);
    struct slice rest = end < path.len ? slice_skip(path, end + 1) : SLICE_NONE;
    bool is_found;
    size_t at;

    if (node->first >= search->best)
        return;
    at = find_literal(node, segment, &is_found);
    if (is_found)
        enter(search, node->literals[at].child, rest);
    for (size_t i = 0; i < node->param_count; i++) {
        if (router_segment_value(&node->params[i].segment, segment).at != NULL)
            enter(search, node->params[i].child, rest);
    }
    if (path.len > 0)
        try_routes(search, &node->rests);
}

static void search_group(struct search *search, const struct group *group)
{
    const struct facts *facts = search->facts;

    try_routes(search, &group->any_path);
    if (facts->path.len > 0 && facts->path.at[0] == '/')
        walk(search, &group->root, slice_skip(facts->path, 1));
    else if (slice_equal(facts->path, SLICE("*")) && slice_equal(facts->method, SLICE("OPTIONS")))
        try_routes(search, &group->asterisk);
}

static void search_hosts(struct search *search, struct slice host)
{
    const struct router *router = search->router;
    uint64_t hash = HASH_START;
    const struct group *group;

    for (size_t i = host.len; i > 0; i--) {
        hash = hash_add(hash, host.at[i - 1]);
        /* ".example.com" needs a name in front of it. */
        if (!router->has_wildcards || host.at[i - 1] != '.' || i == 1)
            continue;
        group = *host_place(router, slice_skip(host, i - 1), hash);
        if (group != NULL)
            search_group(search, group);
    }
    group = host.len > 0 && host.at[0] != '.' ? *host_place(router, host, hash) : NULL;
    if (group != NULL)
        search_group(search, group);
}

/* Captures of a path that is known to match. */
static void capture(const struct entry *entry, struct facts *facts)
{
    struct slice rest = facts->path, segment;

    facts->path_param_count = 0;
    if (entry->segment_count == 0)
        return;
    rest = slice_skip(rest, 1);
    for (size_t i = 0; i < entry->segment_count; i++) {
        const struct router_segment *template = &entry->segments[i];

        if (template->kind == ROUTER_REST) {
            facts->path_params[facts->path_param_count++] = rest;
            return;
        }
        CHECK(slice_split(&rest, '/', &segment));
        if (template->kind == ROUTER_PARAM)
            facts->path_params[facts->path_param_count++] = router_segment_value(template, segment);
    }
}

const struct policy_route *router_match(const struct router *router, struct facts *facts)
{
    struct search search = {.router = router, .facts = facts, .best = NO_ROUTE};

    search_hosts(&search, facts->host);
    search_group(&search, &router->any_host);
    facts->path_param_count = 0;
    if (search.best == NO_ROUTE)
        return NULL;
    capture(&router->entries[search.best], facts);
    return router->entries[search.best].route;
}

static bool host_covers(struct slice a, struct slice b)
{
    if (slice_equal(a, SLICE("*")) || slice_equal_nocase(a, b))
        return true;
    if (!slice_starts_with(a, SLICE("*.")))
        return false;
    if (slice_starts_with(b, SLICE("*.")))
        b = slice_skip(b, 1);
    a = slice_skip(a, 1);
    /* Something must stand before the dot: names below a, or a wildcard below a. */
    return b.len > a.len && slice_equal_nocase(slice_skip(b, b.len - a.len), a);
}

static bool covers_hosts(const struct policy_route *a, const struct policy_route *b)
{
    if (b->host_count == 0) {
        for (size_t i = 0; i < a->host_count; i++) {
            if (slice_equal(a->hosts[i], SLICE("*")))
                return true;
        }
        return a->host_count == 0;
    }
    for (size_t i = 0; i < b->host_count; i++) {
        bool is_covered = a->host_count == 0;

        for (size_t j = 0; j < a->host_count && !is_covered; j++)
            is_covered = host_covers(a->hosts[j], b->hosts[i]);
        if (!is_covered)
            return false;
    }
    return true;
}

static bool covers_methods(const struct policy_route *a, const struct policy_route *b)
{
    if (a->method_count == 0 || b->method_count == 0)
        return a->method_count == 0;
    for (size_t i = 0; i < b->method_count; i++) {
        if (!accepts_method(a, b->methods[i]))
            return false;
        if (slice_equal(b->methods[i], SLICE("GET")) && !accepts_method(a, SLICE("HEAD")))
            return false;
    }
    return true;
}

static bool covers_headers(const struct policy_route *a, const struct policy_route *b)
{
    for (size_t i = 0; i < a->header_count; i++) {
        const struct policy_header_match *asked = &a->headers[i];
        bool is_implied = false;

        for (size_t j = 0; j < b->header_count && !is_implied; j++)
            is_implied = slice_equal_nocase(asked->name, b->headers[j].name) &&
                         (asked->value.at == NULL ||
                          (b->headers[j].value.at != NULL &&
                           slice_equal(slice_trim(asked->value), slice_trim(b->headers[j].value))));
        if (!is_implied)
            return false;
    }
    return true;
}

/* Neither is {rest...}. */
static bool covers_segment(const struct router_segment *a, const struct router_segment *b)
{
    if (a->kind == ROUTER_LITERAL)
        return b->kind == ROUTER_LITERAL && slice_equal(a->prefix, b->prefix);
    if (b->kind == ROUTER_LITERAL)
        return router_segment_value(a, b->prefix).at != NULL;
    return slice_starts_with(b->prefix, a->prefix) && slice_ends_with(b->suffix, a->suffix);
}

static bool covers_path(const struct router_path *a, const struct router_path *b)
{
    if (a->kind != ROUTER_PATH_SEGMENTS || b->kind != ROUTER_PATH_SEGMENTS)
        return a->kind == ROUTER_PATH_ANY || a->kind == b->kind;
    for (size_t i = 0; i < a->segment_count; i++) {
        const struct router_segment *left = &a->segments[i], *right = &b->segments[i];

        if (i == b->segment_count)
            return false;
        if (left->kind == ROUTER_REST)
            return right->kind != ROUTER_LITERAL || right->prefix.len > 0;
        if (right->kind == ROUTER_REST || !covers_segment(left, right))
            return false;
    }
    return a->segment_count == b->segment_count;
}

bool router_shadows(const struct policy_route *a, const struct policy_route *b)
{
    struct router_path path_a, path_b;
    struct arena arena;
    size_t error_offset;
    bool is_parsed;

    if (!covers_hosts(a, b) || !covers_methods(a, b) || !covers_headers(a, b))
        return false;
    arena_init(&arena, NULL);
    is_parsed = router_path_parse(&arena, a->path, &path_a, &error_offset) == NULL &&
                router_path_parse(&arena, b->path, &path_b, &error_offset) == NULL;
    arena_clear(&arena);
    return is_parsed && covers_path(&path_a, &path_b);
}
