#include "policy/lock_fields.h"

#include <ctype.h>

#include "policy/types.h"

#define MINUTE_MS UINT64_C(60000)
#define HOUR_MS (60 * MINUTE_MS)

/* Each list in the order of its enum. */
static const char *const mode_choices[] = {"exclusive", "shared", "by_method", NULL};
static const char *const mode_help[] = {
    "one request at a time, or `permits` of them", "any number of requests, but no exclusive one",
    "GET and HEAD share the lock, everything else has it alone", NULL};
static const char *const conflict_choices[] = {"423", "409", "429", NULL};
static const char *const conflict_help[] = {"Locked", "Conflict", "Too Many Requests", NULL};
static const char *const client_abort_choices[] = {"finish", "abort", NULL};
static const char *const client_abort_help[] = {
    "the service finishes its work, then the lock is given back",
    "the request to the service is broken off; the lock lapses with its lease, as the service may "
    "still be at work",
    NULL};
static const char *const lost_choices[] = {"abort", "finish", NULL};
static const char *const lost_help[] = {
    "the request is broken off as soon as another may have the lock (500, or the answer is cut)",
    "the request goes on; metrics and `Lock-Status` tell", NULL};
static const char *const failure_choices[] = {"allow", "deny", NULL};
static const char *const failure_help[] = {"the request passes without the lock, and without token",
                                           "the request is refused (503, not executed)", NULL};
static const char *const fence_failure_help[] = {
    "the token is compared with what this process has seen, and no more",
    "the request is refused (503, not executed)", NULL};
static const char *const missing_choices[] = {"", "skip", "deny", "shared", NULL};
static const char *const missing_help[] = {"", "the request passes without the lock",
                                           "the request is refused (400)",
                                           "all such requests of the route share one lock", NULL};
static const char *const fence_missing_help[] = {
    "", "the request passes unchecked", "the request is refused (400)",
    "all such requests of the route share one key", NULL};
static const char *const fencing_choices[] = {"off", "inject", NULL};
static const char *const fencing_help[] = {
    "the service learns nothing of the lock",
    "`Fencing-Token`, `Lock-Key` and `Lock-Mode` go to the service with the request", NULL};
static const char *const expose_choices[] = {"none", "status", "token", NULL};
static const char *const expose_help[] = {"nothing", "state, mode and how long it took",
                                          "the fencing token as well", NULL};
static const char *const scope_choices[] = {"local", "shared", NULL};
static const char *const scope_help[] = {"in this process: for a resource with one instance",
                                         "in the store: for a resource with several instances",
                                         NULL};

/* ---- types ---- */

static bool read_template_item(struct schema *schema, const struct schema_field *field,
                               struct slice text, void *ret, struct scalar_fault *fault)
{
    return types_template.read(schema, field, text, ret, fault);
}

static const struct schema_type template_item = {.name = "template",
                                                 .phrase = "a key",
                                                 .form = "like stock:{path.sku}",
                                                 .kind = YAML_SCALAR,
                                                 .read = read_template_item,
                                                 .item_size = sizeof(struct template *)};

/* One key is a list of one. */
static bool read_key(struct schema *schema, const struct schema_field *field, struct slice text,
                     void *ret, struct scalar_fault *fault)
{
    const struct template **item = arena_calloc(schema->arena, 1, sizeof(*item));
    size_t count = 1;

    if (!types_template.read(schema, field, text, (void *)item, fault))
        return false;
    memcpy(ret, &item, sizeof(item));
    memcpy((char *)ret - field->offset + field->count_offset, &count, sizeof(count));
    return true;
}

static const struct schema_type lock_key = {.name = "template",
                                            .phrase = "a key",
                                            .form = "like stock:{path.sku}",
                                            .kind = YAML_SCALAR,
                                            .read = read_key};

static bool read_header(struct schema *schema, const struct schema_field *field, struct slice text,
                        void *ret, struct scalar_fault *fault)
{
    char *lower = arena_alloc(schema->arena, text.len + 1);
    struct slice name = slice_from(lower, text.len);

    UNUSED(field);
    for (size_t i = 0; i < text.len; i++) {
        if (!isalnum((unsigned char)text.at[i]) && text.at[i] != '-' && text.at[i] != '_')
            return scalar_fail(fault, "is not the name of a header", "write it like fencing-token");
        lower[i] = (char)tolower((unsigned char)text.at[i]);
    }
    if (text.len == 0)
        return scalar_fail(fault, "is empty", "%s", "");
    memcpy(ret, &name, sizeof(name));
    return true;
}

const struct schema_type lock_fields_header = {.name = "header",
                                               .phrase = "the name of a header",
                                               .form = "like fencing-token",
                                               .kind = YAML_SCALAR,
                                               .read = read_header};

static bool bind_optional(struct schema *schema, const struct schema_field *field,
                          const struct yaml_node *node, void *record)
{
    void *own = arena_calloc(schema->arena, 1, field->section->record_size);
    bool is_good = schema_bind_apart(schema, field, node, own);

    memcpy((char *)record + field->offset, &own, sizeof(own));
    return is_good;
}

const struct schema_type lock_fields_optional = {.name = "section",
                                                 .phrase = "a section of keys",
                                                 .form = "",
                                                 .kind = YAML_MAPPING,
                                                 .bind = bind_optional};

/* ---- checks ---- */

static bool can_miss(const struct template *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i] != NULL && template_can_miss(keys[i]))
            return true;
    return false;
}

static void check_missing(struct schema *schema, const char *key, bool may_miss)
{
    bool is_given = schema_is_given(schema, "on_missing_key");

    if (may_miss && !is_given)
        schema_problem(schema, POLICY_ERROR, key,
                       "a request may lack what this names: say on_missing_key: deny (refuse it), "
                       "skip (let it pass) or shared (one for all such)");
    if (!may_miss && is_given)
        schema_problem(schema, POLICY_WARNING, "on_missing_key",
                       "has no effect: the key can never be missing");
}

static void check_keys(struct schema *schema, const struct policy_lock *lock)
{
    bool has_key = schema_is_given(schema, "key"), has_keys = schema_is_given(schema, "keys");
    const char *key = has_keys ? "keys" : "key";

    if (has_key == has_keys) {
        schema_problem(schema, POLICY_ERROR, has_keys ? "keys" : NULL,
                       has_key ? "give either key or keys"
                               : "the key \"key\" is missing (what is locked)");
        return;
    }
    if (lock->key_count == 0 && schema_is_sound(schema, key))
        schema_problem(schema, POLICY_ERROR, key, "an empty list locks nothing");
    if (lock->key_count > POLICY_MAX_LOCK_KEYS)
        schema_problem(schema, POLICY_ERROR, key, "a request takes at most %d locks",
                       POLICY_MAX_LOCK_KEYS);
    if (schema_is_sound(schema, key))
        check_missing(schema, key, can_miss(lock->keys, lock->key_count));
}

static void check_times(struct schema *schema, const struct policy_lock *lock)
{
    struct types_load *load = schema->owner;
    uint64_t timeout_ms = load->policy->settings.store_timeout_ms;

    if (!schema_is_sound(schema, "lease"))
        return;
    if (lock->lease_ms < 4 * timeout_ms)
        schema_problem(
            schema, POLICY_ERROR, "lease",
            "is too short: a renewal each third of it must have time for two calls of the "
            "store (store_options.timeout is %jums)",
            (uintmax_t)timeout_ms);
    if (schema_is_sound(schema, "grant") && lock->grant_ms > lock->lease_ms)
        schema_problem(schema, POLICY_ERROR, "grant", "is longer than the lease");
    if (schema_is_sound(schema, "lock_delay") &&
        lock->lease_ms + lock->lock_delay_ms > 15 * MINUTE_MS)
        schema_problem(schema, POLICY_ERROR, "lock_delay",
                       "lease and lock_delay together are at most 15 minutes");
    if (lock->max_hold_ms > 0 && schema_is_sound(schema, "max_hold") &&
        lock->max_hold_ms < lock->lease_ms)
        schema_problem(schema, POLICY_WARNING,
                       schema_is_given(schema, "max_hold") ? "max_hold" : "lease",
                       "the lease is longer than max_hold: a lock left behind stays closed for the "
                       "lease");
}

static void check_sharing(struct schema *schema, const struct policy_lock *lock)
{
    if (!schema_is_sound(schema, "permits") || !schema_is_sound(schema, "mode"))
        return;
    if (lock->permits > 1 && lock->mode != POLICY_LOCK_EXCLUSIVE)
        schema_problem(schema, POLICY_ERROR, "permits",
                       "only mode: exclusive has permits; shared requests are not counted");
    if (lock->permits > 1 && schema_is_sound(schema, "fencing") &&
        lock->fencing == POLICY_FENCING_INJECT)
        schema_problem(
            schema, POLICY_WARNING, "permits",
            "with several holders at a time, a fence does not tell who of them has lost the lock");
}

static void check_lock(struct schema *schema, void *record)
{
    struct policy_lock *lock = record;

    /* One that only watches is in nobody's way. */
    if (lock->is_shadow)
        lock->on_lost = POLICY_LOST_FINISH;
    check_keys(schema, lock);
    check_times(schema, lock);
    check_sharing(schema, lock);
    if (lock->wait_ms == 0 && schema_is_given(schema, "queue_max") &&
        schema_is_sound(schema, "wait"))
        schema_problem(schema, POLICY_WARNING, "queue_max",
                       "has no effect: nobody waits (wait: 0)");
}

static void check_fence(struct schema *schema, void *record)
{
    const struct policy_fence *fence = record;

    if (schema_is_sound(schema, "key") && fence->key != NULL)
        check_missing(schema, "key", template_can_miss(fence->key));
}

static void check_context(struct schema *schema, void *record)
{
    const struct policy *policy = record;
    const char *secret = policy->settings.lock_context_secret;

    if (schema->frame->node != NULL && secret == NULL && schema_is_sound(schema, "secret"))
        schema_problem(schema, POLICY_ERROR, NULL, "the required key \"secret\" is missing");
    if (secret != NULL && schema_is_sound(schema, "secret") && strlen(secret) < 32)
        schema_problem(schema, POLICY_ERROR, "secret", "is too short: at least 32 bytes");
}

/* ---- tables ---- */

static const struct schema_field lock_table[] = {
    {.name = "key",
     .type = &lock_key,
     SCHEMA_COUNTED(policy_lock, keys, key_count),
     .default_note = "give `key` or `keys`",
     .help =
         "what is locked: a template, see [Keys](#keys); routes with the same key share the lock",
     .example = "\"stock:{path.sku}\""},
    {.name = "keys",
     .type = &schema_list,
     .item = &template_item,
     SCHEMA_COUNTED(policy_lock, keys, key_count),
     .default_note = "give `key` or `keys`",
     .help = "several locks, at most 8: all are taken at once, or none",
     .example = "[\"account:{path.from}\", \"account:{path.to}\"]"},
    {.name = "mode",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_lock, mode),
     .choices = mode_choices,
     .choice_help = mode_help,
     .default_text = "exclusive",
     .help = "who may hold it together"},
    {.name = "permits",
     .type = &schema_count,
     SCHEMA_FIELD(policy_lock, permits),
     .default_text = "1",
     .min = 1,
     .max = 1000000,
     .help = "`exclusive`: so many requests hold the lock at a time"},
    {.name = "wait",
     .type = &schema_duration_ms,
     SCHEMA_FIELD(policy_lock, wait_ms),
     .default_text = "0",
     .max = 15 * MINUTE_MS,
     .help =
         "how long a request may wait for the lock; 0 answers at once.  A client may ask for less "
         "with `Prefer: wait=SECONDS`"},
    {.name = "queue_max",
     .type = &schema_count,
     SCHEMA_FIELD(policy_lock, queue_max),
     .default_text = "100",
     .min = 1,
     .max = 100000,
     .help = "requests that wait for one lock; beyond it 429"},
    {.name = "lease",
     .type = &schema_duration_ms,
     SCHEMA_FIELD(policy_lock, lease_ms),
     .default_text = "10s",
     .min = 200,
     .max = 15 * MINUTE_MS,
     .help = "after how long without a renewal the lock is free: when Lockkeeper or its machine "
             "died.  While it lives, the lock is renewed each third of it"},
    {.name = "grant",
     .type = &schema_duration_ms,
     SCHEMA_FIELD(policy_lock, grant_ms),
     .default_text = "300ms",
     .min = 50,
     .max = MINUTE_MS,
     .help = "how long a request whose turn it is may take to answer before the next one gets it"},
    {.name = "max_hold",
     .type = &schema_duration_ms,
     SCHEMA_FIELD(policy_lock, max_hold_ms),
     .default_text = "5m",
     .max = 24 * HOUR_MS,
     .help =
         "how long a request may hold the lock; then it is broken off (504) and the lock lapses; "
         "0 is no limit"},
    {.name = "lock_delay",
     .type = &schema_duration_ms,
     SCHEMA_FIELD(policy_lock, lock_delay_ms),
     .default_text = "0",
     .max = 15 * MINUTE_MS,
     .help = "how much longer than its lease a lapsed lock stays closed"},
    {.name = "on_conflict",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_lock, on_conflict),
     .choices = conflict_choices,
     .choice_help = conflict_help,
     .default_text = "423",
     .help = "the answer when the lock is taken, or was not free within `wait`"},
    {.name = "on_client_abort",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_lock, on_client_abort),
     .choices = client_abort_choices,
     .choice_help = client_abort_help,
     .default_text = "finish",
     .help = "what to do when the client leaves while the service works"},
    {.name = "on_lost",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_lock, on_lost),
     .choices = lost_choices,
     .choice_help = lost_help,
     .default_text = "abort",
     .help = "what to do when the lease was lost while the service works"},
    {.name = "on_store_failure",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_lock, on_store_failure),
     .choices = failure_choices,
     .choice_help = failure_help,
     .default_text = "deny",
     .help = "what to do while the store does not answer"},
    {.name = "on_missing_key",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_lock, on_missing_key),
     .choices = missing_choices,
     .choice_help = missing_help,
     .default_note = "must be given when the key can be missing",
     .help = "what to do with a request that lacks what the key names"},
    {.name = "shadow",
     .type = &schema_bool,
     SCHEMA_FIELD(policy_lock, is_shadow),
     .default_text = "false",
     .help = "`true` takes and counts, and never refuses, waits or breaks off; shadow locks have "
             "keys of their own, so that nobody waits for them"},
    {.name = "fencing",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_lock, fencing),
     .choices = fencing_choices,
     .choice_help = fencing_help,
     .default_text = "off",
     .help = "whether the service is given the fencing token"},
    {.name = "expose",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_lock, expose),
     .choices = expose_choices,
     .choice_help = expose_help,
     .default_text = "status",
     .help = "what `Lock-Status` tells the client"},
};

const struct schema_section lock_fields_lock = {
    .name = "lock",
    .title = "routes[].lock",
    .help = "Mutual exclusion: a request of the route holds the lock as long as it runs.",
    .fields = lock_table,
    .field_count = COUNT_OF(lock_table),
    .record_size = sizeof(struct policy_lock),
    .finish = check_lock};

static const struct schema_field fence_table[] = {
    {.name = "key",
     .type = &types_template,
     SCHEMA_FIELD(policy_fence, key),
     .is_required = true,
     .help = "the key of the lock whose tokens are good here: the same text as in the `lock`",
     .example = "\"stock:{path.sku}\""},
    {.name = "header",
     .type = &lock_fields_header,
     SCHEMA_FIELD(policy_fence, header),
     .default_text = "fencing-token",
     .help = "which header holds the token"},
    {.name = "required",
     .type = &schema_bool,
     SCHEMA_FIELD(policy_fence, is_required),
     .default_text = "true",
     .help = "whether a request without a token is refused (428)"},
    {.name = "scope",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_fence, scope),
     .choices = scope_choices,
     .choice_help = scope_help,
     .default_text = "local",
     .help = "where the highest token that has passed is kept"},
    {.name = "revoke",
     .type = &schema_bool,
     SCHEMA_FIELD(policy_fence, revokes),
     .default_text = "true",
     .help = "whether requests with an older token that still run in this process are broken off "
             "before one with a newer token passes"},
    {.name = "on_missing_key",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_fence, on_missing_key),
     .choices = missing_choices,
     .choice_help = fence_missing_help,
     .default_note = "must be given when the key can be missing",
     .help = "what to do with a request that lacks what the key names"},
    {.name = "on_store_failure",
     .type = &schema_enum,
     SCHEMA_FIELD(policy_fence, on_store_failure),
     .choices = failure_choices,
     .choice_help = fence_failure_help,
     .default_text = "deny",
     .help = "what to do while the store does not answer"},
};

const struct schema_section lock_fields_fence = {
    .name = "fence",
    .title = "routes[].fence",
    .help = "In front of what a lock protects: requests pass only with a fencing token that was "
            "issued, and none that is older than one that has passed.",
    .fields = fence_table,
    .field_count = COUNT_OF(fence_table),
    .record_size = sizeof(struct policy_fence),
    .finish = check_fence};

static const struct schema_field context_table[] = {
    {.name = "secret",
     .type = &schema_string,
     SCHEMA_FIELD(policy, settings.lock_context_secret),
     .is_secret = true,
     .min = 1,
     .default_note = "no `Lock-Context` is made or believed",
     .help = "shared by all Lockkeepers of a chain of calls; at least 32 bytes",
     .example = "${file:/run/secrets/lock-context}"},
    {.name = "max_depth",
     .type = &schema_count,
     SCHEMA_FIELD(policy, settings.lock_context_max_depth),
     .default_text = "16",
     .min = 1,
     .max = 64,
     .help = "calls with a lock in one chain; beyond it 409"},
};

const struct schema_section lock_fields_context = {
    .name = "lock_context",
    .title = "lock_context",
    .help =
        "Locks across services: a request that holds a lock takes a signed `Lock-Context` with "
        "it, so that calls made on its behalf pass that lock.  The service must hand the header "
        "on.  It is believed from `trusted_proxies` alone.",
    .fields = context_table,
    .field_count = COUNT_OF(context_table),
    .finish = check_context};

/* ---- metrics ---- */

static void bind_lock(struct policy_lock *lock, const char *route, struct metrics *metrics)
{
#define OUTCOME_NAME(id, name) name,
#define END_NAME(id, name) name,
    static const char *const outcomes[] = {POLICY_LOCK_OUTCOMES(OUTCOME_NAME)};
    static const char *const ends[] = {POLICY_LOCK_ENDS(END_NAME)};
    static const char *const renewals[] = {"gone", "waiting", "held", "failed"};
    static const char *const causes[] = {"message", "timer"};

    for (size_t i = 0; i < COUNT_OF(outcomes); i++)
        lock->outcome_slots[i] = metrics_series2(metrics, METRIC_LOCK_ACQUIRES, route, outcomes[i]);
    for (size_t i = 0; i < COUNT_OF(ends); i++)
        lock->end_slots[i] = metrics_series2(metrics, METRIC_LOCK_ENDS, route, ends[i]);
    for (size_t i = 0; i < COUNT_OF(renewals); i++)
        lock->renewal_slots[i] = metrics_series1(metrics, METRIC_LOCK_RENEWALS, renewals[i]);
    for (size_t i = 0; i < COUNT_OF(causes); i++)
        lock->handover_slots[i] = metrics_series1(metrics, METRIC_LOCK_HANDOVERS, causes[i]);
    lock->wait_slot = metrics_series1(metrics, METRIC_LOCK_WAIT, route);
    lock->hold_slot = metrics_series1(metrics, METRIC_LOCK_HOLD, route);
    lock->waiting_slot = metrics_series1(metrics, METRIC_LOCK_WAITING, route);
    lock->held_slot = metrics_series1(metrics, METRIC_LOCK_HELD, route);
}

static void bind_fence(struct policy_fence *fence, const char *route, struct metrics *metrics)
{
#define FENCE_NAME(id, name) name,
    static const char *const outcomes[] = {POLICY_FENCE_OUTCOMES(FENCE_NAME)};

    for (size_t i = 0; i < COUNT_OF(outcomes); i++)
        fence->outcome_slots[i] = metrics_series2(metrics, METRIC_FENCE_CHECKS, route, outcomes[i]);
    fence->revoked_slot = metrics_series1(metrics, METRIC_FENCE_REVOKED, route);
}

/* The snapshot is not shared yet, so what hangs off its routes may still be written. */
void lock_fields_bind_metrics(struct policy_route *route, struct metrics *metrics)
{
    if (route->lock != NULL)
        bind_lock((struct policy_lock *)(uintptr_t)route->lock, route->name, metrics);
    if (route->fence != NULL)
        bind_fence((struct policy_fence *)(uintptr_t)route->fence, route->name, metrics);
}
