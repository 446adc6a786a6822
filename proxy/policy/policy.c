#include "policy/policy.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "policy/checks.h"
#include "policy/effective.h"
#include "policy/fields.h"
#include "policy/jwt.h"
#include "policy/lock_fields.h"
#include "policy/router.h"
#include "policy/schema_write.h"
#include "policy/types.h"
#include "policy/yaml.h"

#define MAX_FILES 1000
#define MAX_DIGEST_BYTES ((size_t)256 * 1024 * 1024)

/* A load in progress: what the files say, merged, and the snapshot it becomes. */
struct loading {
    struct types_load types; /* the schema's owner */
    struct arena scratch;    /* sources and trees; gone when the load ends */
    struct policy_problems *problems;
    struct yaml_node *root; /* the keys of all files that could be read */
    bool is_partial;        /* not all could */
    struct source **sources;
    size_t source_count, source_cap;
    struct {
        dev_t device;
        ino_t inode;
    } * seen;
};

const char *policy_decision_name(enum policy_decision decision)
{
#define DECISION_NAME(id, name) [POLICY_DECISION_##id] = name,
    static const char *const names[] = {POLICY_DECISIONS(DECISION_NAME)};

    CHECK(decision < POLICY_DECISION_COUNT);
    return names[decision];
}

static void PRINTF_LIKE(3, 4)
    file_problem(struct loading *loading, const char *name, const char *format, ...)
{
    struct source source = {.name = name, .order = (unsigned)loading->source_count};
    struct problems_place place = {{.source = &source}, NULL, false};
    char message[512];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    policy_problems_add(loading->problems, POLICY_ERROR, &place, "%s", message);
    loading->is_partial = true;
}

/* Length before bytes, so that moving a byte from one piece to the next changes the hash. */
static void digest_piece(struct types_load *types, struct slice piece)
{
    uint64_t len = piece.len;

    if (!buf_append(&types->digest, slice_from((const char *)&len, sizeof(len))) ||
        !buf_append(&types->digest, piece))
        UNREACHED();
}

static void on_expanded(void *owner, struct slice value)
{
    struct types_load *types = owner;

    /* What is expanded often in a large file cannot fill memory: it is in the text that is covered.
     */
    if (buf_len(&types->digest) < MAX_DIGEST_BYTES / 2)
        digest_piece(types, value);
}

static void on_file(void *owner, const char *path)
{
    struct types_load *types = owner;
    struct policy_input *input = arena_alloc(&types->policy->arena, sizeof(*input));

    *input = (struct policy_input){path, types->policy->inputs};
    types->policy->inputs = input;
}

static struct source *add_source(struct loading *loading, const char *name, struct slice text)
{
    struct source *source = arena_calloc(&loading->scratch, 1, sizeof(*source));

    if (loading->source_count == loading->source_cap) {
        loading->source_cap = loading->source_cap > 0 ? loading->source_cap * 2 : 8;
        loading->sources =
            mem_realloc(loading->sources, loading->source_cap * sizeof(*loading->sources));
    }
    *source = (struct source){arena_copy(&loading->scratch, slice_of(name)).at, text,
                              (unsigned)loading->source_count};
    loading->sources[loading->source_count++] = source;
    return source;
}

static void merge_routes(struct loading *loading, struct yaml_entry *target,
                         const struct yaml_node *routes)
{
    /* Routes that are no list stay a second "routes" and are reported as such below. */
    for (struct yaml_entry *item = routes->first; item != NULL; item = item->next) {
        yaml_append(&loading->scratch, target->value, NULL, item->value);
        target->value->last->index = item->index;
    }
}

/* Server-wide keys may be given once in all files; routes follow one another. */
static void merge_entry(struct loading *loading, struct yaml_entry *entry)
{
    struct yaml_entry *other = yaml_find(loading->root, entry->key->text);
    struct problems_place place = {entry->key->mark, NULL, false};
    struct yaml_node *value = entry->value;

    if (other == NULL && value->kind == YAML_SEQUENCE &&
        slice_equal(entry->key->text, SLICE("routes"))) {
        /* A list of our own, so that the file's tree is not changed by what follows. */
        value = yaml_node_add(&loading->scratch, YAML_SEQUENCE, value->mark);
        yaml_append(&loading->scratch, loading->root, entry->key, value);
        merge_routes(loading, loading->root->last, entry->value);
    } else if (other == NULL) {
        yaml_append(&loading->scratch, loading->root, entry->key, value);
    } else if (slice_equal(entry->key->text, SLICE("routes")) && value->kind == YAML_SEQUENCE &&
               other->value->kind == YAML_SEQUENCE) {
        merge_routes(loading, other, value);
    } else if (other->key->mark.source != entry->key->mark.source) {
        policy_problems_add(loading->problems, POLICY_ERROR, &place,
                            "\"%.64s\" may stand in one file only: it is already given at %s:%u:%u",
                            entry->key->text.at, other->key->mark.source->name,
                            other->key->mark.line, other->key->mark.column);
    }
}

static void merge_source(struct loading *loading, const char *name, struct slice text)
{
    struct source *source = add_source(loading, name, text);
    struct yaml_node *tree = yaml_parse(&loading->scratch, source, loading->problems);

    if (tree == NULL) {
        loading->is_partial = true;
        return;
    }
    if (loading->root == NULL) {
        loading->root = yaml_node_add(&loading->scratch, YAML_MAPPING, tree->mark);
        loading->root->mark.source = source;
    }
    for (struct yaml_entry *entry = tree->first; entry != NULL; entry = entry->next)
        merge_entry(loading, entry);
}

static void load_source(struct loading *loading, const char *name, struct slice text)
{
    digest_piece(&loading->types, text);
    merge_source(loading, name, text);
}

/* A file reached twice (named, and in a folder; or by a link) counts once. */
static bool is_seen(struct loading *loading, const struct stat *status)
{
    for (size_t i = 0; i < loading->source_count; i++)
        if (loading->seen[i].device == status->st_dev && loading->seen[i].inode == status->st_ino)
            return true;
    return false;
}

static void load_file(struct loading *loading, const char *path)
{
    const char *problem;
    struct slice text;
    struct stat status;

    if (stat(path, &status) != 0) {
        file_problem(loading, path, "cannot be opened: %s", strerror(errno));
        return;
    }
    if (is_seen(loading, &status))
        return;
    if (loading->source_count == MAX_FILES) {
        file_problem(loading, path, "too many files: at most %d are loaded", MAX_FILES);
        return;
    }
    problem = source_read(&loading->scratch, path, SOURCE_MAX_BYTES, &text);
    if (problem != NULL) {
        file_problem(loading, path, "%s", problem);
        return;
    }
    loading->seen =
        mem_realloc(loading->seen, (loading->source_count + 1) * sizeof(*loading->seen));
    loading->seen[loading->source_count].device = status.st_dev;
    loading->seen[loading->source_count].inode = status.st_ino;
    load_source(loading, path, text);
}

/* Hidden entries are left out: among them are "..data" and the dated folders that a Kubernetes
 * ConfigMap mount keeps beside its links. */
bool policy_is_file_name(const char *name)
{
    struct slice text = slice_of(name);

    return name[0] != '.' &&
           (slice_ends_with(text, SLICE(".yaml")) || slice_ends_with(text, SLICE(".yml")));
}

static int is_policy_entry(const struct dirent *entry)
{
    return policy_is_file_name(entry->d_name);
}

static int compare_entries(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_folder(struct loading *loading, const char *path)
{
    struct slice folder = slice_of(path);
    struct dirent **entries;
    int count = scandir(path, &entries, is_policy_entry, compare_entries);
    size_t file_count = 0;

    if (count < 0) {
        file_problem(loading, path, "cannot be read: %s", strerror(errno));
        return;
    }
    while (folder.len > 1 && folder.at[folder.len - 1] == '/')
        folder.len--;
    for (int i = 0; i < count; i++) {
        const char *file =
            arena_printf(&loading->scratch, "%.*s/%s", SLICE_ARGS(folder), entries[i]->d_name).at;
        struct stat status;

        if (stat(file, &status) != 0 || !S_ISDIR(status.st_mode)) {
            load_file(loading, file);
            file_count++;
        }
        free(entries[i]);
    }
    free(entries);
    if (file_count == 0)
        file_problem(loading, path, "there is no policy in this folder (*.yaml, *.yml)");
}

static void begin_load(struct loading *loading, struct policy_problems *problems)
{
    struct policy *policy = mem_calloc(1, sizeof(*policy));

    *loading = (struct loading){.problems = problems};
    arena_init(&policy->arena, NULL);
    arena_init(&loading->scratch, NULL);
    atomic_init(&policy->reference_count, 1);
    loading->types.policy = policy;
    buf_init(&loading->types.digest, MAX_DIGEST_BYTES);
}

static void bind_all(struct loading *loading)
{
    struct schema schema = {.arena = &loading->types.policy->arena,
                            .scratch = &loading->scratch,
                            .problems = loading->problems,
                            .is_partial = loading->is_partial,
                            .owner = &loading->types,
                            .on_expanded = on_expanded,
                            .on_file = on_file};

    /* Without any tree there are problems already. */
    if (loading->root != NULL)
        schema_bind(&schema, &fields_policy, loading->root, loading->types.policy);
    CHECK(loading->root != NULL || loading->problems->error_count > 0);
    loading->types.policy->jwt = loading->types.verifier;
}

static void finish_snapshot(struct loading *loading)
{
    struct policy *policy = loading->types.policy;
    const char **files = arena_calloc(&policy->arena, loading->source_count + 1, sizeof(*files));
    struct slice *texts = arena_calloc(&policy->arena, loading->source_count + 1, sizeof(*texts));
    struct policy_route *unmatched = arena_calloc(&policy->arena, 1, sizeof(*unmatched));

    for (size_t i = 0; i < loading->source_count; i++) {
        files[i] = arena_copy(&policy->arena, slice_of(loading->sources[i]->name)).at;
        texts[i] = arena_copy(&policy->arena, loading->sources[i]->text);
    }
    policy->files = files;
    policy->texts = texts;
    policy->file_count = loading->source_count;
    policy->limit_count = loading->types.limit_count;
    *unmatched = (struct policy_route){.name = CHECKS_UNMATCHED_NAME,
                                       .index = (unsigned)policy->route_count,
                                       .file = "",
                                       .ratelimit_headers = policy->settings.ratelimit_headers,
                                       .upgrade = policy->settings.upgrade,
                                       .on_client_abort = POLICY_CLIENT_ABORT_ABORT};
    unmatched->upstream = policy->upstreams[0];
    for (size_t i = 0; i < policy->route_count; i++) {
        struct policy_route *route = (struct policy_route *)(uintptr_t)policy->routes[i];

        if (route->upstream == NULL)
            route->upstream = policy->upstreams[0];
    }
    policy->unmatched = unmatched;
    policy->router = router_compile(&policy->arena, policy->routes, policy->route_count);
    digest_short_hex(buf_slice(&loading->types.digest), policy->hash_hex);
}

static void clear_load(struct loading *loading)
{
    buf_clear(&loading->types.digest);
    arena_clear(&loading->scratch);
    free(loading->types.route_places);
    free(loading->sources);
    free(loading->seen);
}

static struct policy *end_load(struct loading *loading)
{
    struct policy *policy = loading->types.policy;

    bind_all(loading);
    if (loading->problems->error_count == 0)
        finish_snapshot(loading);
    else
        policy_unref(&policy);
    policy_problems_sort(loading->problems);
    clear_load(loading);
    return policy;
}

static void load_paths(struct loading *loading, const char *const *paths, size_t path_count)
{
    for (size_t i = 0; i < path_count; i++) {
        struct stat status;

        if (stat(paths[i], &status) == 0 && S_ISDIR(status.st_mode))
            load_folder(loading, paths[i]);
        else
            load_file(loading, paths[i]);
    }
}

struct policy *policy_load(const char *const *paths, size_t path_count,
                           struct policy_problems *problems)
{
    struct loading loading;

    begin_load(&loading, problems);
    if (path_count == 0)
        file_problem(&loading, "policy", "no file or folder is named");
    load_paths(&loading, paths, path_count);
    return end_load(&loading);
}

void policy_find_ports(const char *const *paths, size_t path_count, struct arena *arena,
                       struct policy_ports *ret_ports)
{
    struct policy_problems problems;
    struct loading loading;
    struct schema schema = {.arena = arena, .scratch = &loading.scratch, .problems = &problems};

    *ret_ports = (struct policy_ports){NULL, NULL, NULL};
    policy_problems_init(&problems);
    begin_load(&loading, &problems);
    load_paths(&loading, paths, path_count);
    if (path_count == 0)
        load_source(&loading, "", SLICE(""));
    if (problems.count > 0)
        ret_ports->problem =
            arena_printf(arena, "%s: %s", problems.items[0].file, problems.items[0].message).at;
    /* Every other key is unknown here; nobody is told. */
    if (loading.root != NULL)
        schema_bind(&schema, &fields_ports, loading.root, ret_ports);
    policy_unref(&loading.types.policy);
    clear_load(&loading);
    policy_problems_clear(&problems);
}

struct policy *policy_load_text(const char *file_name, struct slice text,
                                struct policy_problems *problems)
{
    struct loading loading;

    begin_load(&loading, problems);
    if (text.len > SOURCE_MAX_BYTES)
        file_problem(&loading, file_name, "is too large: at most %zu bytes are read",
                     SOURCE_MAX_BYTES);
    else
        load_source(&loading, file_name, text.len > 0 ? text : SLICE(""));
    return end_load(&loading);
}

struct policy *policy_ref(struct policy *policy)
{
    CHECK(atomic_fetch_add_explicit(&policy->reference_count, 1, memory_order_relaxed) > 0);
    return policy;
}

void policy_unref(struct policy **policyp)
{
    struct policy *policy = TAKE(policyp);
    struct jwt_verifier *verifier;

    /* Whoever drops the last reference must see all that the other holders did. */
    if (atomic_fetch_sub_explicit(&policy->reference_count, 1, memory_order_acq_rel) > 1)
        return;
    verifier = (struct jwt_verifier *)(uintptr_t)policy->jwt;
    jwt_verifier_close(&verifier);
    arena_clear(&policy->arena);
    free(policy);
}

static void bind_route_metrics(struct policy_route *route, struct metrics *metrics)
{
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

    for (size_t i = 0; i < COUNT_OF(classes); i++)
        route->request_slots[i] =
            metrics_series2(metrics, METRIC_HTTP_REQUESTS, route->name, classes[i]);
    route->duration_slot = metrics_series1(metrics, METRIC_HTTP_DURATION, route->name);
    route->admission_slot = metrics_series1(metrics, METRIC_ADMISSION_DURATION, route->name);
    route->tunnels_slot = metrics_series1(metrics, METRIC_TUNNELS, route->name);
    route->tunnel_bytes_slots[POLICY_TO_SERVICE] =
        metrics_series2(metrics, METRIC_TUNNEL_BYTES, route->name, "to_service");
    route->tunnel_bytes_slots[POLICY_TO_CLIENT] =
        metrics_series2(metrics, METRIC_TUNNEL_BYTES, route->name, "to_client");
}

static void bind_limit_metrics(struct policy_limit *limit, struct metrics *metrics)
{
    for (unsigned i = 0; i < POLICY_DECISION_COUNT; i++) {
        const char *values[] = {limit->route->name, limit->name,
                                policy_decision_name((enum policy_decision)i)};

        limit->decision_slots[i] = metrics_series(metrics, METRIC_DECISIONS, values);
    }
    limit->near_limit_slot =
        metrics_series2(metrics, METRIC_NEAR_LIMIT, limit->route->name, limit->name);
}

/* The snapshot is not shared yet, so its routes and limits may still be written. */
void policy_bind_metrics(struct policy *policy, struct metrics *metrics)
{
    for (size_t i = 0; i <= policy->route_count; i++) {
        const struct policy_route *shown =
            i < policy->route_count ? policy->routes[i] : policy->unmatched;
        struct policy_route *route = (struct policy_route *)(uintptr_t)shown;

        bind_route_metrics(route, metrics);
        lock_fields_bind_metrics(route, metrics);
        for (size_t j = 0; j < route->limit_count; j++)
            bind_limit_metrics((struct policy_limit *)(uintptr_t)route->limits[j], metrics);
    }
}

bool policy_write_effective(const struct policy *policy, struct buf *out)
{
    struct policy_problems problems;
    struct loading loading = {.problems = &problems};
    bool is_good;

    policy_problems_init(&problems);
    arena_init(&loading.scratch, NULL);
    for (size_t i = 0; i < policy->file_count; i++)
        merge_source(&loading, policy->files[i], policy->texts[i]);
    CHECK(loading.root != NULL && problems.error_count == 0);
    is_good = effective_write(out, &fields_policy, loading.root);
    arena_clear(&loading.scratch);
    free(loading.sources);
    policy_problems_clear(&problems);
    return is_good;
}

void policy_write_schema(FILE *out)
{
    schema_write_json(out, &fields_policy);
}

void policy_write_reference(FILE *out)
{
    schema_write_reference(out, &fields_policy);
}
