#include "app/admin_config.h"

#include <jansson.h>

#include "app/admin.h"
#include "app/port.h"
#include "app/reload.h"
#include "base/buf.h"
#include "policy/policy.h"

/* Policies may be 1,000 files of 1 MiB; who has more than this reads the files. */
#define MAX_BYTES ((size_t)64 * 1024 * 1024)

/* The policies as a tree, or NULL, and the exchange is answered. */
static json_t *effective(const struct policy *policy, struct port_exchange *exchange)
{
    json_error_t error;
    json_t *tree = NULL;
    struct buf text;

    buf_init(&text, MAX_BYTES);
    if (policy_write_effective(policy, &text)) {
        tree = json_loadb(buf_slice(&text).at, buf_len(&text), 0, &error);
        CHECK(tree != NULL);
    } else {
        port_refuse(&exchange, 500, "too-large", "the policies do not fit the answer");
    }
    buf_clear(&text);
    return tree;
}

static json_t *file_names(const struct policy *policy)
{
    json_t *list = json_array();

    for (size_t i = 0; i < policy->file_count; i++)
        json_array_append_new(list, json_string(policy->files[i]));
    return list;
}

void admin_config_answer(void *owner, struct port_exchange *exchange)
{
    const struct admin_source *source = admin_source(owner);
    const struct policy *policy = reload_policy(source->reload);
    json_t *tree = effective(policy, exchange);

    if (tree != NULL)
        admin_answer(&exchange, 200,
                     json_pack("{s:s, s:o, s:o}", "hash", policy->hash_hex, "files",
                               file_names(policy), "policy", tree));
}

static json_t *answers_of(const struct policy_route *route, struct metrics *metrics)
{
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    json_t *counts = json_object();

    for (size_t i = 0; i < COUNT_OF(classes); i++)
        json_object_set_new(counts, classes[i],
                            json_integer(metrics_read(metrics, route->request_slots[i])));
    return counts;
}

static json_t *limit_names(const struct policy_route *route)
{
    json_t *list = json_array();

    for (size_t i = 0; i < route->limit_count; i++)
        json_array_append_new(list, json_string(route->limits[i]->name));
    return list;
}

/* written: the route as it stands in the file, or NULL for what matches no route. */
static json_t *route_json(const struct policy_route *route, json_t *written,
                          struct metrics *metrics)
{
    json_t *match = json_object_get(written, "match"); /* NULL of NULL */

    return json_pack(
        "{s:s, s:s, s:i, s:o, s:s, s:o, s:b, s:b, s:o}", "name", route->name, "file", route->file,
        "line", (int)route->line, "match", match != NULL ? json_incref(match) : json_object(),
        "upstream", route->upstream->name, "limits", limit_names(route), "lock",
        route->lock != NULL, "fence", route->fence != NULL, "answers", answers_of(route, metrics));
}

void admin_config_answer_routes(void *owner, struct port_exchange *exchange)
{
    const struct admin_source *source = admin_source(owner);
    const struct policy *policy = reload_policy(source->reload);
    json_t *tree = effective(policy, exchange), *written, *list;

    if (tree == NULL)
        return;
    written = json_object_get(tree, "routes");
    list = json_array();
    CHECK(json_array_size(written) == policy->route_count);
    for (size_t i = 0; i < policy->route_count; i++)
        json_array_append_new(
            list, route_json(policy->routes[i], json_array_get(written, i), source->metrics));
    json_array_append_new(list, route_json(policy->unmatched, NULL, source->metrics));
    json_decref(tree);
    admin_answer(&exchange, 200, json_pack("{s:s, s:o}", "hash", policy->hash_hex, "routes", list));
}
