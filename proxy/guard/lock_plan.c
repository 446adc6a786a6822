#include "guard/lock_plan.h"

#include "guard/digits.h"
#include "guard/prefer.h"

/* Braces mark the hash tag.  "~" begins no text of two bytes like these in a rendered key. */
struct slice lock_plan_name(struct slice key, struct arena *arena)
{
    char *start, *out;

    if (slice_find(key, '{') == key.len && slice_find(key, '}') == key.len)
        return key;
    start = out = arena_reserve(arena, key.len * 2);
    for (size_t i = 0; i < key.len; i++) {
        bool is_brace = key.at[i] == '{' || key.at[i] == '}';

        if (is_brace)
            *out++ = '~';
        *out++ = !is_brace ? key.at[i] : key.at[i] == '{' ? '(' : ')';
    }
    arena_commit(arena, (size_t)(out - start));
    return slice_from(start, (size_t)(out - start));
}

bool lock_plan_key(const struct template *template, enum policy_missing on_missing_key,
                   const struct policy_route *route, const struct facts *facts, struct arena *arena,
                   struct slice *ret_key, struct slice *ret_missing)
{
    struct slice key;

    if (template_render(template, facts, arena, &key, ret_missing) == TEMPLATE_OK) {
        *ret_key = lock_plan_name(key, arena);
        return true;
    }
    /* No rendered key has a "~" before a ":". */
    *ret_key = arena_printf(arena, "~:%s", route->name);
    return on_missing_key == POLICY_MISSING_SHARED;
}

static int compare(struct slice a, struct slice b)
{
    int order = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);

    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

/* Keeps names sorted, and each once. */
static void add_name(struct lock_plan *plan, struct slice name)
{
    size_t at = 0;

    while (at < plan->name_count && compare(plan->names[at], name) < 0)
        at++;
    if (at < plan->name_count && slice_equal(plan->names[at], name))
        return;
    memmove(plan->names + at + 1, plan->names + at, (plan->name_count - at) * sizeof(name));
    plan->names[at] = name;
    plan->name_count++;
}

static bool find_names(struct lock_plan *plan, const struct policy_route *route,
                       const struct facts *facts, struct arena *arena)
{
    const struct policy_lock *lock = plan->lock;

    for (size_t i = 0; i < lock->key_count; i++) {
        struct slice name;

        if (!lock_plan_key(lock->keys[i], lock->on_missing_key, route, facts, arena, &name,
                           &plan->missing)) {
            plan->kind =
                lock->on_missing_key == POLICY_MISSING_SKIP ? LOCK_PLAN_SKIPPED : LOCK_PLAN_MISSING;
            return false;
        }
        add_name(plan, name);
    }
    return true;
}

/* In the first field that says one. */
static bool find_preference(const struct facts *facts, uint64_t *ret_wait_s)
{
    struct slice prefer;

    for (size_t i = 0; (prefer = facts_header_at(facts, SLICE("prefer"), i)).at != NULL; i++)
        if (prefer_wait_s(prefer, ret_wait_s))
            return true;
    return false;
}

static void find_wait(struct lock_plan *plan, const struct facts *facts)
{
    uint64_t seconds;

    plan->wait_us = plan->lock->wait_ms * 1000;
    if (!find_preference(facts, &seconds))
        return;
    plan->has_preference = true;
    /* Also when the policy's wait has a fraction of a second: a client may ask for none of it. */
    if (seconds <= plan->wait_us / 1000000)
        plan->wait_us = seconds * 1000000;
    plan->preferred_s = plan->wait_us / 1000000;
}

static bool is_shared(const struct policy_lock *lock, struct slice method)
{
    if (lock->mode != POLICY_LOCK_BY_METHOD)
        return lock->mode == POLICY_LOCK_SHARED;
    return slice_equal(method, SLICE("GET")) || slice_equal(method, SLICE("HEAD"));
}

const struct lock_context *lock_plan_context(const struct policy *policy, const struct facts *facts,
                                             bool is_trusted, struct arena *arena)
{
    struct slice secret = slice_of(policy->settings.lock_context_secret), field;
    struct lock_context *context;

    if (secret.at == NULL || !is_trusted)
        return NULL;
    field = facts->header(facts->request, SLICE("lock-context"));
    if (field.at == NULL)
        return NULL;
    context = arena_alloc(arena, sizeof(*context));
    return lock_context_read(field, secret, arena, context) ? context : NULL;
}

/* Whether what the chain holds is as good as what is asked for: it is when it holds alone, which an
 * even token tells. */
static bool is_enough(const struct lock_plan *plan, const struct lock_context_hold *hold)
{
    if (hold->token % 2 == 0)
        return true;
    return plan->is_shared ? hold->id.at[0] == 's'
                           : hold->id.at[0] == 'x' && plan->lock->permits > 1;
}

/* What the chain holds is passed; to wait for what comes before it in order might close a circle.
 */
static void sort_by_chain(struct lock_plan *plan)
{
    for (size_t i = 0; i < plan->name_count; i++) {
        struct slice name = plan->names[i];
        const struct lock_context_hold *hold =
            plan->context != NULL ? lock_context_find(plan->context, name) : NULL;

        if (hold != NULL && !is_enough(plan, hold))
            plan->kind = LOCK_PLAN_DEADLOCKED;
        if (hold != NULL)
            plan->holds[plan->hold_count++] = hold;
        else
            plan->keys[plan->key_count++] = name;
        if (hold == NULL && plan->context != NULL &&
            lock_context_is_out_of_order(plan->context, name))
            plan->only_tries = true;
    }
}

void lock_plan_make(const struct policy *policy, const struct policy_route *route,
                    const struct facts *facts, bool is_trusted, struct arena *arena,
                    struct lock_plan *plan)
{
    *plan = (struct lock_plan){.kind = LOCK_PLAN_NEEDED, .lock = route->lock};
    plan->is_shared = is_shared(route->lock, facts->method);
    if (!find_names(plan, route, facts, arena))
        return;
    find_wait(plan, facts);
    plan->context = lock_plan_context(policy, facts, is_trusted, arena);
    if (plan->context != NULL && plan->context->depth >= policy->settings.lock_context_max_depth)
        plan->kind = LOCK_PLAN_TOO_DEEP;
    sort_by_chain(plan);
    if (plan->only_tries)
        plan->wait_us = 0;
}
