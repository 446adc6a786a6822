#include "guard/lock_verdict.h"

#include <inttypes.h>

#define US_PER_SECOND 1000000u

void lock_verdict_add_field(struct verdict *verdict, struct slice name, struct slice value)
{
    if (verdict->field_count < VERDICT_MAX_FIELDS)
        verdict->fields[verdict->field_count++] = (struct verdict_field){name, value};
}

static void tell_service(struct verdict *verdict, struct slice name, struct slice value)
{
    if (verdict->upstream_field_count < VERDICT_MAX_UPSTREAM_FIELDS)
        verdict->upstream_fields[verdict->upstream_field_count++] =
            (struct verdict_field){name, value};
}

static const char *title_of(unsigned status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 409:
        return "Conflict";
    case 412:
        return "Precondition Failed";
    case 423:
        return "Locked";
    case 428:
        return "Precondition Required";
    case 429:
        return "Too Many Requests";
    case 500:
        return "Internal Server Error";
    case 504:
        return "Gateway Timeout";
    default:
        return "Service Unavailable";
    }
}

void lock_verdict_refuse(struct verdict *verdict, unsigned status, const char *reason,
                         enum verdict_executed executed, const char *detail)
{
    verdict->kind = VERDICT_REFUSE;
    verdict->status = status;
    verdict->reason = reason;
    verdict->type = "about:blank";
    verdict->title = title_of(status);
    verdict->executed = executed;
    verdict->detail = slice_of(detail);
    verdict->violated_count = 0;
    verdict->has_retry_after = status == 503;
    verdict->retry_after_s = 1;
}

static unsigned conflict_status(const struct policy_lock *lock)
{
    switch (lock->on_conflict) {
    case POLICY_CONFLICT_409:
        return 409;
    case POLICY_CONFLICT_429:
        return 429;
    case POLICY_CONFLICT_423:
        break;
    }
    return 423;
}

static void refuse_until(struct verdict *verdict, unsigned status, const char *reason,
                         const char *detail, uint64_t again_us)
{
    lock_verdict_refuse(verdict, status, reason, VERDICT_EXECUTED_NO, detail);
    verdict->has_retry_after = true;
    verdict->retry_after_s = again_us / US_PER_SECOND + (again_us % US_PER_SECOND > 0);
    if (verdict->retry_after_s == 0)
        verdict->retry_after_s = 1;
}

void lock_verdict_refuse_result(struct verdict *verdict, const struct lock_plan *plan,
                                enum lock_result result, uint64_t again_us)
{
    switch (result) {
    case LOCK_BUSY:
        if (plan->only_tries)
            refuse_until(
                verdict, 409, "deadlock-avoided",
                "the chain of calls holds a lock that comes after this one, which is taken",
                again_us);
        else
            refuse_until(verdict, conflict_status(plan->lock), "locked",
                         "another request holds the lock", again_us);
        return;
    case LOCK_TIMED_OUT:
        refuse_until(verdict, conflict_status(plan->lock), "wait-timeout",
                     "the lock was not free within the time this request may wait", again_us);
        return;
    case LOCK_FULL:
        refuse_until(verdict, 429, "queue-full", "too many requests wait for the lock", again_us);
        return;
    case LOCK_DRAINED:
        lock_verdict_refuse(verdict, 503, "draining", VERDICT_EXECUTED_NO,
                            "this instance ends; the request waited for a lock");
        return;
    case LOCK_STORE_FAILED:
        lock_verdict_refuse(verdict, 503, "store-unavailable", VERDICT_EXECUTED_NO,
                            "the lock's state cannot be known now");
        return;
    case LOCK_PENDING:
    case LOCK_HELD:
    case LOCK_DENIED:
        break;
    }
    UNREACHED();
}

#define OUTCOME_NAME(id, name) [POLICY_LOCK_##id] = name,
static const char *const outcome_names[] = {POLICY_LOCK_OUTCOMES(OUTCOME_NAME)};

void lock_verdict_status(struct verdict *verdict, const struct lock_plan *plan,
                         const struct lock_verdict_status *status, struct arena *arena)
{
    struct slice value;

    verdict->lock_outcome = outcome_names[status->outcome];
    verdict->lock_wait_us = status->wait_us;
    verdict->lock_token = status->token;
    if (plan->has_preference)
        lock_verdict_add_field(verdict, SLICE("Preference-Applied"),
                               arena_printf(arena, "wait=%" PRIu64, plan->preferred_s));
    if (plan->lock->expose == POLICY_EXPOSE_NONE)
        return;
    value = arena_printf(arena, "%s", status->state);
    if (status->reason != NULL)
        value = arena_printf(arena, "%.*s; reason=%s", SLICE_ARGS(value), status->reason);
    value = arena_printf(arena, "%.*s; mode=%s; wait-ms=%" PRIu64, SLICE_ARGS(value),
                         plan->is_shared ? "s" : "x", status->wait_us / 1000);
    if (plan->lock->expose == POLICY_EXPOSE_TOKEN && status->token > 0)
        value = arena_printf(arena, "%.*s; token=%" PRIu64, SLICE_ARGS(value), status->token);
    lock_verdict_add_field(verdict, SLICE("Lock-Status"), value);
}

void lock_verdict_set_lapsed(struct verdict *verdict)
{
    for (size_t i = 0; i < verdict->field_count; i++)
        if (slice_equal(verdict->fields[i].name, SLICE("Lock-Status")))
            verdict->fields[i].value = SLICE("lapsed");
}

/* An sf-string (RFC 9651, section 3.3.3), or a list of them. */
static struct slice key_list(const struct lock_plan *plan, struct arena *arena)
{
    size_t room = 0;
    char *start, *out;

    for (size_t i = 0; i < plan->name_count; i++)
        room += plan->names[i].len * 2 + 4;
    start = out = arena_reserve(arena, room);
    for (size_t i = 0; i < plan->name_count; i++) {
        if (i > 0) {
            *out++ = ',';
            *out++ = ' ';
        }
        *out++ = '"';
        for (size_t j = 0; j < plan->names[i].len; j++) {
            char byte = plan->names[i].at[j];

            if (byte == '"' || byte == '\\')
                *out++ = '\\';
            *out++ = byte >= 0x20 && byte < 0x7f ? byte : '?';
        }
        *out++ = '"';
    }
    arena_commit(arena, (size_t)(out - start));
    return slice_from(start, (size_t)(out - start));
}

static bool fits_context(struct slice key)
{
    return slice_find(key, '\n') == key.len;
}

static void tell_context(struct verdict *verdict, const struct policy *policy,
                         const struct lock_plan *plan, const struct lock_verdict_hold *hold,
                         struct arena *arena)
{
    struct lock_context *context = arena_calloc(arena, 1, sizeof(*context));

    if (plan->context != NULL)
        *context = *plan->context;
    context->depth++;
    for (size_t i = 0; hold->lock != NULL && i < plan->key_count; i++) {
        const struct lock_terms *terms = lock_terms(hold->lock);

        if (context->hold_count == LOCK_CONTEXT_MAX_HOLDS || !fits_context(plan->keys[i]))
            break;
        context->holds[context->hold_count++] =
            (struct lock_context_hold){.id = terms->id,
                                       .key = plan->keys[i],
                                       .token = hold->token,
                                       .lease_us = terms->lease_us,
                                       .delay_us = terms->delay_us};
    }
    lock_verdict_pass_context(verdict, policy, context, arena);
}

void lock_verdict_tell_service(struct verdict *verdict, const struct policy *policy,
                               const struct lock_plan *plan, const struct lock_verdict_hold *hold,
                               struct arena *arena)
{
    if (plan->lock->is_shadow)
        return;
    if (plan->lock->fencing == POLICY_FENCING_INJECT && hold->token > 0) {
        tell_service(verdict, SLICE("Fencing-Token"), arena_printf(arena, "%" PRIu64, hold->token));
        tell_service(verdict, SLICE("Lock-Key"), key_list(plan, arena));
        tell_service(verdict, SLICE("Lock-Mode"), plan->is_shared ? SLICE("s") : SLICE("x"));
    }
    if (policy->settings.lock_context_secret != NULL)
        tell_context(verdict, policy, plan, hold, arena);
}

void lock_verdict_pass_context(struct verdict *verdict, const struct policy *policy,
                               const struct lock_context *context, struct arena *arena)
{
    struct slice field =
        lock_context_write(context, slice_of(policy->settings.lock_context_secret), arena);

    if (field.at != NULL)
        tell_service(verdict, SLICE("Lock-Context"), field);
}
