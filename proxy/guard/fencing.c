#include "guard/fencing.h"

#include "guard/lock_call.h"
#include "guard/lock_plan.h"
#include "guard/lock_verdict.h"

/* An sf-integer has at most 15 digits (RFC 9651, section 3.3.1). */
#define MAX_TOKEN_DIGITS 15u

static void count(struct fencing *fencing, enum policy_fence_outcome outcome)
{
    metrics_add(fencing->shard, fencing->route->fence->outcome_slots[outcome], 1);
}

static bool refuse(struct fencing *fencing, enum policy_fence_outcome outcome, unsigned status,
                   const char *reason, const char *detail)
{
    count(fencing, outcome);
    lock_verdict_refuse(fencing->verdict, status, reason, VERDICT_EXECUTED_NO, detail);
    return false;
}

static bool read_key(struct fencing *fencing)
{
    const struct policy_fence *fence = fencing->route->fence;
    struct slice missing;

    if (lock_plan_key(fence->key, fence->on_missing_key, fencing->route, fencing->facts,
                      fencing->arena, &fencing->key, &missing))
        return true;
    if (fence->on_missing_key == POLICY_MISSING_SKIP) {
        fencing->is_needed = false;
        count(fencing, POLICY_FENCE_MISSING_KEY);
        return true;
    }
    return refuse(fencing, POLICY_FENCE_MISSING_KEY, 400, "missing-key",
                  "the request lacks what the fence's key names");
}

bool fencing_read(struct fencing *fencing)
{
    const struct policy_fence *fence = fencing->route->fence;
    const struct facts *facts = fencing->facts;
    struct slice value = facts->header(facts->request, fence->header);
    bool is_one = facts_header_at(facts, fence->header, 1).at == NULL;

    if (value.at == NULL && fence->is_required)
        return refuse(fencing, POLICY_FENCE_MISSING, 428, "missing-fencing-token",
                      "this resource is changed only under a lock, with its fencing token");
    if (value.at == NULL) {
        count(fencing, POLICY_FENCE_UNFENCED);
        return true;
    }
    value = slice_trim(value);
    if (!is_one || value.len > MAX_TOKEN_DIGITS || !slice_to_uint64(value, &fencing->token) ||
        fencing->token == 0)
        return refuse(fencing, POLICY_FENCE_INVALID, 400, "invalid-fencing-token",
                      "the fencing token is not one whole number of up to 15 digits");
    fencing->is_needed = true;
    return read_key(fencing);
}

static bool refuse_stale(struct fencing *fencing)
{
    return refuse(fencing, POLICY_FENCE_STALE, 412, "stale-fencing-token",
                  "a request with a newer fencing token has been here");
}

/* ---- others with older tokens ---- */

static void on_timer(struct timer *timer)
{
    struct fencing *fencing = CONTAINER_OF(timer, struct fencing, timer);

    fence_leave(&fencing->pass);
    refuse(fencing, POLICY_FENCE_STORE_DENIED, 503, "revocation-timeout",
           "an older request for the same key has not ended in time");
    fencing->events->on_decided(fencing);
}

static void on_clear(struct fence_pass *pass)
{
    struct fencing *fencing = CONTAINER_OF(pass, struct fencing, pass);

    timer_stop(fencing->loop, &fencing->timer);
    count(fencing, POLICY_FENCE_PASSED);
    fencing->events->on_decided(fencing);
}

static void on_revoked(struct fence_pass *pass)
{
    struct fencing *fencing = CONTAINER_OF(pass, struct fencing, pass);

    if (fencing->is_revoked)
        return;
    fencing->is_revoked = true;
    metrics_add(fencing->shard, fencing->route->fence->revoked_slot, 1);
    fencing->events->on_revoked(fencing);
}

static bool enter(struct fencing *fencing)
{
    const struct policy_fence *fence = fencing->route->fence;

    fencing->pass.loop = fencing->loop;
    fencing->pass.on_revoked = on_revoked;
    fencing->pass.on_clear = on_clear;
    switch (
        fence_enter(fencing->table, fencing->key, fencing->token, fence->revokes, &fencing->pass)) {
    case FENCE_STALE:
        refuse_stale(fencing);
        return true;
    case FENCE_CLEAR:
        count(fencing, POLICY_FENCE_PASSED);
        return true;
    case FENCE_WAIT:
        timer_start(fencing->loop, &fencing->timer, FENCING_REVOKE_MS, on_timer);
        return false;
    }
    UNREACHED();
}

/* ---- the store ---- */

static bool take_reply(struct fencing *fencing, enum store_result result, const struct reply *reply)
{
    enum lock_fenced fenced;

    if (result != STORE_OK || !lock_call_read_fence(reply, &fenced)) {
        if (fencing->route->fence->on_store_failure == POLICY_FAIL_ALLOW) {
            count(fencing, POLICY_FENCE_BYPASSED);
            return enter(fencing);
        }
        refuse(fencing, POLICY_FENCE_STORE_DENIED, 503, "store-unavailable",
               "whether the fencing token is good cannot be known now");
        return true;
    }
    if (fenced == LOCK_FENCED_PASS)
        return enter(fencing);
    if (fenced == LOCK_FENCED_STALE)
        refuse_stale(fencing);
    else
        refuse(fencing, POLICY_FENCE_INVALID, 400, "invalid-fencing-token",
               "no such fencing token has been issued for this key");
    return true;
}

static void on_reply(struct store_call *call, enum store_result result, const struct reply *reply)
{
    struct fencing *fencing = CONTAINER_OF(call, struct fencing, call);

    if (take_reply(fencing, result, reply))
        fencing->events->on_decided(fencing);
}

bool fencing_begin(struct fencing *fencing)
{
    bool raises = fencing->route->fence->scope == POLICY_FENCE_SHARED;
    struct slice keys[LOCK_CALL_KEYS];
    enum store_result result;
    struct reply reply;

    if (!fencing->is_needed)
        return true;
    lock_call_keys(slice_of(fencing->policy->settings.store_key_prefix), fencing->key, false,
                   fencing->arena, keys);
    fencing->call.on_reply = on_reply;
    lock_call_fence(&fencing->call, keys[2], fencing->token, raises, fencing->arena);
    result = store_eval(fencing->store, &fencing->call, &reply);
    return result != STORE_PENDING && take_reply(fencing, result, &reply);
}

void fencing_end(struct fencing *fencing)
{
    store_cancel(&fencing->call);
    timer_stop(fencing->loop, &fencing->timer);
    fence_leave(&fencing->pass);
}
