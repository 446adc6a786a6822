#include "guard/limit.h"

#include <inttypes.h>

#include "guard/digits.h"
#include "guard/quota_fields.h"
#include "net/loop.h"

#define US_PER_SECOND 1000000u
#define QUOTA_EXCEEDED_TYPE "https://iana.org/assignments/http-problem-types#quota-exceeded"
#define REDUCED_CAPACITY_TYPE                                                                      \
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"

/* ---- questions ---- */

static void put_store_key(const struct policy *policy, const struct policy_limit *limit,
                          struct slice value, struct slice end, struct arena *arena,
                          struct limit_question *question)
{
    struct slice prefix = slice_of(policy->settings.store_key_prefix);
    struct slice route = slice_of(limit->route->name), name = slice_of(limit->name);
    char *start, *tail, *out;

    start = out = arena_reserve(arena, prefix.len + route.len + name.len + value.len + end.len + 4);
    out = digits_put_slice(out, prefix);
    *out++ = ':';
    out = digits_put_slice(out, route);
    *out++ = '/';
    out = digits_put_slice(out, name);
    *out++ = ':';
    tail = out;
    *out++ = '{';
    out = digits_put_slice(out, value);
    out = digits_put_slice(out, end);
    arena_commit(arena, (size_t)(out - start));
    question->store_key = slice_from(start, (size_t)(out - start));
    question->tail = slice_from(tail, (size_t)(out - tail));
}

static void find_cost(const struct policy_limit *limit, const struct facts *facts,
                      struct arena *arena, struct limit_question *question)
{
    struct slice text = SLICE_NONE, missing;

    question->cost = limit->cost;
    if (limit->cost_template == NULL)
        return;
    if (template_render(limit->cost_template, facts, arena, &text, &missing) == TEMPLATE_OK &&
        slice_to_uint64(text, &question->cost) && question->cost <= LIMIT_MAX_COST)
        return;
    question->cost = limit->cost > 0 ? limit->cost : 1;
    question->is_cost_invalid = true;
    question->missing = template_text(limit->cost_template);
}

void limit_question(const struct policy *policy, const struct policy_limit *limit,
                    const struct facts *facts, struct arena *arena, struct limit_question *ret)
{
    struct slice value = SLICE("-"), end = SLICE("}");

    *ret = (struct limit_question){.limit = limit, .missing = SLICE_NONE};
    find_cost(limit, facts, arena, ret);
    if (limit->key != NULL &&
        template_render(limit->key, facts, arena, &value, &ret->missing) != TEMPLATE_OK) {
        ret->is_missing = true;
        value = SLICE("-");
        end = SLICE("}shared");
    }
    ret->key_value = ret->is_missing || limit->key == NULL ? SLICE_NONE : value;
    put_store_key(policy, limit, value, end, arena, ret);
}

void limit_question_of_key(const struct policy *policy, const struct policy_limit *limit,
                           struct slice value, bool is_shared, struct arena *arena,
                           struct limit_question *ret)
{
    bool is_value = limit->key != NULL && !is_shared;

    *ret = (struct limit_question){.limit = limit,
                                   .missing = SLICE_NONE,
                                   .is_missing = is_shared,
                                   .key_value = is_value ? value : SLICE_NONE,
                                   .cost = limit->cost > 0 ? limit->cost : 1};
    put_store_key(policy, limit, is_value ? value : SLICE("-"),
                  is_shared ? SLICE("}shared") : SLICE("}"), arena, ret);
}

/* ---- the script's arguments and reply ---- */

static struct slice put_number(char **out, uint64_t value)
{
    char *start = *out;

    *out = digits_put(start, value);
    return slice_from(start, (size_t)(*out - start));
}

static struct slice algorithm_arg(enum policy_algorithm algorithm)
{
    switch (algorithm) {
    case POLICY_TOKEN_BUCKET:
        return SLICE("t");
    case POLICY_SLIDING_WINDOW:
        return SLICE("w");
    case POLICY_SLIDING_LOG:
        return SLICE("l");
    case POLICY_FIXED_WINDOW:
        break;
    }
    return SLICE("f");
}

static struct slice align_arg(const struct policy_limit *limit)
{
    if (limit->algorithm != POLICY_FIXED_WINDOW)
        return SLICE("-");
    return limit->align == POLICY_ALIGN_CALENDAR ? SLICE("c") : SLICE("h");
}

static struct slice offset_arg(const struct policy_limit *limit, char **out)
{
    int64_t offset_us = limit->algorithm == POLICY_FIXED_WINDOW ? limit->utc_offset_us : 0;
    char *start = *out;

    if (offset_us < 0)
        *(*out)++ = '-';
    *out = digits_put(*out, (uint64_t)(offset_us < 0 ? -offset_us : offset_us));
    return slice_from(start, (size_t)(*out - start));
}

static uint64_t share_of(uint64_t whole, unsigned divide_by)
{
    uint64_t share = whole / divide_by;

    return share > 0 || whole == 0 ? share : 1;
}

static void put_limit_args(const struct limit_question *question, unsigned divide_by, char **out,
                           struct slice *args)
{
    const struct policy_limit *limit = question->limit;
    bool is_bucket = limit->algorithm == POLICY_TOKEN_BUCKET;

    args[0] = algorithm_arg(limit->algorithm);
    args[1] = limit->mode == POLICY_SHADOW ? SLICE("s") : SLICE("e");
    args[2] = put_number(out, question->cost);
    args[3] = put_number(out, share_of(limit->rate.count, divide_by));
    if (limit->rate.period == POLICY_PERIOD_US)
        args[4] = put_number(out, limit->rate.period_us);
    else
        args[4] = limit->rate.period == POLICY_PERIOD_MONTH ? SLICE("month") : SLICE("year");
    args[5] = is_bucket ? put_number(out, share_of(limit->burst, divide_by)) : SLICE("0");
    args[6] = align_arg(limit);
    args[7] = offset_arg(limit, out);
}

void limit_put_args(const struct limit_question *questions, size_t count, unsigned divide_by,
                    struct arena *arena, struct slice *ret_args)
{
    /* Five of a limit's arguments are numbers, one of which may have a sign. */
    char *start = arena_reserve(arena, count * 5 * (DIGITS_MAX_BYTES + 1)), *out = start;

    for (size_t i = 0; i < count; i++)
        put_limit_args(&questions[i], divide_by > 0 ? divide_by : 1, &out,
                       ret_args + i * LIMIT_ARGS);
    arena_commit(arena, (size_t)(out - start));
}

void limit_set_call(struct store_call *call, struct slice call_id, const struct limit_group *groups,
                    size_t group_count, size_t question_count, unsigned divide_by,
                    struct arena *arena)
{
    size_t arg_count = 2 + question_count * LIMIT_ARGS;
    struct slice *keys, *args;
    char *start, *out;

    keys = arena_alloc(arena, group_count * question_count * sizeof(*keys));
    args = arena_alloc(arena, (arg_count + group_count) * sizeof(*args));
    args[1] = call_id;
    limit_put_args(groups[0].questions, question_count, divide_by, arena, args + 2);
    start = out = arena_reserve(arena, (1 + group_count) * DIGITS_MAX_BYTES);
    args[0] = put_number(&out, question_count);
    call->key_count = 0;
    for (size_t i = 0; i < group_count; i++) {
        for (size_t j = 0; j < question_count; j++)
            keys[call->key_count++] = groups[i].questions[j].store_key;
        args[arg_count++] = put_number(&out, groups[i].request_count);
    }
    arena_commit(arena, (size_t)(out - start));
    call->keys = keys;
    call->args = args;
    call->arg_count = arg_count;
}

static bool read_integer(const struct reply *reply, int64_t minimum, int64_t *ret_value)
{
    if (reply->type != REPLY_INTEGER || reply->integer < minimum)
        return false;
    *ret_value = reply->integer;
    return true;
}

static bool read_limit_answer(const struct reply *elements, struct limit_answer *ret)
{
    int64_t allowed, remaining, reset_us;

    if (!read_integer(&elements[0], 0, &allowed) || !read_integer(&elements[1], 0, &remaining) ||
        !read_integer(&elements[2], -1, &ret->retry_after_us) ||
        !read_integer(&elements[3], 0, &reset_us))
        return false;
    ret->allowed = (uint64_t)allowed;
    ret->remaining = (uint64_t)remaining;
    ret->reset_us = (uint64_t)reset_us;
    return true;
}

bool limit_read_answer(const struct reply *elements, size_t question_count,
                       struct limit_grant *ret_grant)
{
    int64_t granted;

    CHECK(question_count <= POLICY_MAX_LIMITS_PER_ROUTE);
    if (!read_integer(&elements[0], 0, &granted))
        return false;
    for (size_t i = 0; i < question_count; i++)
        if (!read_limit_answer(&elements[1 + 4 * i], &ret_grant->answers[i]))
            return false;
    ret_grant->granted = (uint64_t)granted;
    ret_grant->answer_count = question_count;
    return true;
}

bool limit_read_reply(const struct reply *reply, size_t question_count,
                      struct limit_grant *ret_grant)
{
    return reply->type == REPLY_ARRAY &&
           reply->element_count == LIMIT_ANSWER_ELEMENTS(question_count) &&
           limit_read_answer(reply->elements, question_count, ret_grant);
}

/* ---- verdicts ---- */

/* How much each decision matters to a reader of the access log, who sees one per request. */
static const uint8_t sharpness[POLICY_DECISION_COUNT] = {
    [POLICY_DECISION_ALLOWED] = 0,        [POLICY_DECISION_SKIPPED] = 1,
    [POLICY_DECISION_LOCAL_ALLOWED] = 2,  [POLICY_DECISION_ERROR_ALLOWED] = 3,
    [POLICY_DECISION_SHADOW_LIMITED] = 4, [POLICY_DECISION_MISSING_KEY] = 5,
    [POLICY_DECISION_LOCAL_LIMITED] = 6,  [POLICY_DECISION_ERROR_DENIED] = 7,
    [POLICY_DECISION_LIMITED] = 8,
};

static void note(struct limit_check *check, const struct policy_limit *limit,
                 enum policy_decision decision)
{
    metrics_add(check->shard, limit->decision_slots[decision], 1);
    if (check->sharpest >= 0 && sharpness[decision] <= sharpness[check->sharpest])
        return;
    check->sharpest = (int)decision;
    check->verdict->decision = policy_decision_name(decision);
    /* Nobody in particular allowed it. */
    check->verdict->limit = decision != POLICY_DECISION_ALLOWED ? limit->name : NULL;
}

static bool is_enforced(const struct policy_limit *limit)
{
    return limit->mode == POLICY_ENFORCE;
}

static void refuse_missing(struct limit_check *check, const struct limit_question *question)
{
    struct verdict *verdict = check->verdict;

    verdict->kind = VERDICT_REFUSE;
    verdict->status = 400;
    verdict->type = "about:blank";
    verdict->title = "Bad Request";
    if (question->is_missing) {
        verdict->reason = "missing-key";
        verdict->detail = arena_printf(check->arena, "the request has no value for {%.*s}",
                                       SLICE_ARGS(question->missing));
    } else {
        verdict->reason = "invalid-cost";
        verdict->detail =
            arena_printf(check->arena, "%.*s is not a whole number from 0 to %" PRIu64,
                         SLICE_ARGS(question->missing), LIMIT_MAX_COST);
    }
    if (verdict->violated_count < VERDICT_MAX_VIOLATED)
        verdict->violated[verdict->violated_count++] = question->limit->name;
}

enum limit_use { LIMIT_ASK, LIMIT_LEAVE_OUT, LIMIT_REFUSE };

/* What becomes of a limit whose key or cost the request does not give. */
static enum limit_use use_incomplete(struct limit_check *check,
                                     const struct limit_question *question)
{
    const struct policy_limit *limit = question->limit;

    if (question->is_cost_invalid)
        log_warn(check->log, "cost is not a whole number", LOG_STR("route", check->route->name),
                 LOG_STR("limit", limit->name));
    switch (limit->on_missing_key) {
    case POLICY_MISSING_SHARED:
        return LIMIT_ASK;
    case POLICY_MISSING_SKIP:
        note(check, limit, POLICY_DECISION_SKIPPED);
        return LIMIT_LEAVE_OUT;
    case POLICY_MISSING_UNSET:
    case POLICY_MISSING_DENY:
        break;
    }
    note(check, limit, POLICY_DECISION_MISSING_KEY);
    return is_enforced(limit) ? LIMIT_REFUSE : LIMIT_LEAVE_OUT;
}

bool limit_check_begin(struct limit_check *check, const struct policy *policy,
                       const struct facts *facts)
{
    const struct policy_route *route = check->route;

    CHECK(route->limit_count <= POLICY_MAX_LIMITS_PER_ROUTE);
    check->sharpest = -1;
    check->question_count = 0;
    check->questions = arena_alloc(check->arena, route->limit_count * sizeof(*check->questions));
    for (size_t i = 0; i < route->limit_count; i++) {
        struct limit_question *question = &check->questions[check->question_count];
        enum limit_use use = LIMIT_ASK;

        limit_question(policy, route->limits[i], facts, check->arena, question);
        if (question->is_missing || question->is_cost_invalid)
            use = use_incomplete(check, question);
        if (use == LIMIT_REFUSE) {
            refuse_missing(check, question);
            return false;
        }
        if (use == LIMIT_ASK)
            check->question_count++;
    }
    return true;
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

bool limit_check_is_alike(const struct limit_check *a, const struct limit_check *b)
{
    if (a->question_count != b->question_count)
        return false;
    for (size_t i = 0; i < a->question_count; i++)
        /* The same limit of two snapshots may have two rates: the pointer tells. */
        if (a->questions[i].limit != b->questions[i].limit ||
            a->questions[i].cost != b->questions[i].cost)
            return false;
    return true;
}

uint64_t limit_check_hash_alike(const struct limit_check *check)
{
    uint64_t hash = check->question_count;

    for (size_t i = 0; i < check->question_count; i++)
        hash = mix(mix(hash, (uintptr_t)check->questions[i].limit), check->questions[i].cost);
    return hash;
}

bool limit_check_equal(const struct limit_check *a, const struct limit_check *b)
{
    if (!limit_check_is_alike(a, b))
        return false;
    for (size_t i = 0; i < a->question_count; i++)
        if (!slice_equal(a->questions[i].store_key, b->questions[i].store_key))
            return false;
    return true;
}

/* Keys that meet on purpose only cost their sender the shared call, so the hash need not be keyed.
 */
uint64_t limit_check_hash(const struct limit_check *check)
{
    uint64_t hash = check->question_count;

    for (size_t i = 0; i < check->question_count; i++) {
        struct slice rest = check->questions[i].store_key;
        uint64_t word;

        hash = mix(hash, check->questions[i].cost ^ (uint64_t)rest.len << 32);
        for (; rest.len >= sizeof(word); rest = slice_skip(rest, sizeof(word))) {
            memcpy(&word, rest.at, sizeof(word));
            hash = mix(hash, word);
        }
        word = 0;
        memcpy(&word, rest.at, rest.len);
        hash = mix(hash, word);
    }
    return hash;
}

static uint64_t seconds_up(uint64_t us)
{
    return us / US_PER_SECOND + (us % US_PER_SECOND > 0);
}

static bool note_near_limit(struct limit_check *check, const struct policy_limit *limit,
                            uint64_t remaining)
{
    uint64_t capacity = quota_fields_capacity(limit);

    if (remaining >= capacity / 5 + (capacity % 5 > 0))
        return false;
    metrics_add(check->shard, limit->near_limit_slot, 1);
    return true;
}

/* For the operator who asks who it is. */
static void note_top(const struct limit_check *check, const struct limit_question *question,
                     const struct quota *quota, bool is_near)
{
    struct limit_top *top =
        check->tops != NULL ? limit_tops_find(check->tops, check->policy, question->limit) : NULL;
    const struct limit_top_event event = {.tail = question->tail,
                                          .remaining = quota->available,
                                          .is_denied = quota->is_denied,
                                          .is_near = is_near};

    if (top != NULL)
        limit_top_note(top, loop_now_ms(check->loop), &event);
}

/* Which decisions an engine's answers are counted as. */
struct limit_engine {
    enum policy_decision allowed, limited;
    bool is_local;
};

static const struct limit_engine the_store = {POLICY_DECISION_ALLOWED, POLICY_DECISION_LIMITED,
                                              false};
static const struct limit_engine the_local = {POLICY_DECISION_LOCAL_ALLOWED,
                                              POLICY_DECISION_LOCAL_LIMITED, true};

static void refuse_over_quota(struct limit_check *check, const struct limit_answer *answer,
                              const struct policy_limit *limit, bool is_local)
{
    struct verdict *verdict = check->verdict;
    bool is_never = answer->retry_after_us < 0 && !is_local;
    uint64_t wait_s = answer->retry_after_us > 0 ? seconds_up((uint64_t)answer->retry_after_us) : 1;

    verdict->status = 429;
    verdict->type = QUOTA_EXCEEDED_TYPE;
    verdict->title = "Request cannot be satisfied as assigned quota has been exceeded";
    if (is_never) {
        verdict->reason = "cost-exceeds-limit";
        verdict->has_retry_after = false;
    } else if (verdict->kind == VERDICT_ALLOW || verdict->has_retry_after) {
        /* All limits that deny must have room again. */
        verdict->reason = "quota-exceeded";
        verdict->has_retry_after = true;
        if (wait_s > verdict->retry_after_s)
            verdict->retry_after_s = wait_s;
    }
    verdict->kind = VERDICT_REFUSE;
    if (verdict->violated_count < VERDICT_MAX_VIOLATED)
        verdict->violated[verdict->violated_count++] = limit->name;
}

/* Where a request stands in the call that was made for it and others. */
struct limit_place {
    uint64_t position;
    uint64_t behind; /* granted requests that came after this one */
    bool is_granted;
};

static struct limit_place place_in(const struct limit_grant *grant, uint64_t position)
{
    bool is_granted = grant != NULL && position < grant->granted;

    return (struct limit_place){.position = position,
                                .behind = is_granted ? grant->granted - 1 - position : 0,
                                .is_granted = is_granted};
}

static bool denies(const struct policy_limit *limit, const struct limit_answer *answer,
                   const struct limit_place *place)
{
    if (!is_enforced(limit))
        return place->position >= answer->allowed;
    return !place->is_granted && answer->allowed == 0;
}

/* One limit's answer; fills in what the client may know of it. */
static void judge_answer(struct limit_check *check, const struct limit_question *question,
                         const struct limit_answer *answer, const struct limit_engine *engine,
                         const struct limit_place *place, struct quota *ret_quota)
{
    const struct policy_limit *limit = question->limit;
    uint64_t remaining = answer->remaining + place->behind * question->cost;
    bool is_near = false;

    *ret_quota = (struct quota){.limit = limit,
                                .is_denied = denies(limit, answer, place),
                                .available = remaining,
                                .window_s = seconds_up(answer->reset_us)};
    if (!ret_quota->is_denied) {
        note(check, limit, engine->allowed);
        if (place->is_granted)
            is_near = note_near_limit(check, limit, remaining);
    }
    note_top(check, question, ret_quota, is_near);
    if (!ret_quota->is_denied)
        return;
    if (!is_enforced(limit)) {
        note(check, limit, POLICY_DECISION_SHADOW_LIMITED);
        return;
    }
    note(check, limit, engine->limited);
    refuse_over_quota(check, answer, limit, engine->is_local);
    if (answer->retry_after_us > 0)
        ret_quota->window_s = seconds_up((uint64_t)answer->retry_after_us);
}

void limit_check_judge(struct limit_check *check, const struct limit_grant *grant,
                       uint64_t position)
{
    struct quota quotas[POLICY_MAX_LIMITS_PER_ROUTE];
    struct limit_place place = place_in(grant, position);

    CHECK(grant->answer_count == check->question_count);
    for (size_t i = 0; i < check->question_count; i++)
        judge_answer(check, &check->questions[i], &grant->answers[i], &the_store, &place,
                     &quotas[i]);
    quota_fields_add(check->route, quotas, check->question_count, check->arena, check->verdict);
}

/* ---- when the store does not decide ---- */

bool limit_check_local(const struct limit_check *check, struct limit_question *ret_questions,
                       size_t *ret_count)
{
    size_t count = 0;

    for (size_t i = 0; i < check->question_count; i++) {
        const struct policy_limit *limit = check->questions[i].limit;

        if (limit->on_store_failure == POLICY_FAIL_DENY && is_enforced(limit))
            return false;
        if (limit->on_store_failure == POLICY_FAIL_LOCAL)
            ret_questions[count++] = check->questions[i];
    }
    *ret_count = count;
    return count > 0;
}

static void refuse_unavailable(struct limit_check *check)
{
    struct verdict *verdict = check->verdict;

    verdict->kind = VERDICT_REFUSE;
    verdict->status = 503;
    verdict->reason = "store-unavailable";
    verdict->type = REDUCED_CAPACITY_TYPE;
    verdict->title = "The request cannot be decided at the moment";
    verdict->has_retry_after = true;
    verdict->retry_after_s = 1;
}

void limit_check_judge_failure(struct limit_check *check, const struct limit_grant *local,
                               uint64_t position)
{
    struct quota quotas[POLICY_MAX_LIMITS_PER_ROUTE];
    struct limit_place place = place_in(local, position);
    size_t quota_count = 0;

    for (size_t i = 0; i < check->question_count; i++) {
        const struct limit_question *question = &check->questions[i];
        const struct policy_limit *limit = question->limit;

        if (limit->on_store_failure == POLICY_FAIL_LOCAL && local != NULL) {
            judge_answer(check, question, &local->answers[quota_count], &the_local, &place,
                         &quotas[quota_count]);
            quota_count++;
        } else if (limit->on_store_failure == POLICY_FAIL_DENY && is_enforced(limit)) {
            note(check, limit, POLICY_DECISION_ERROR_DENIED);
            refuse_unavailable(check);
        } else {
            note(check, limit, POLICY_DECISION_ERROR_ALLOWED);
        }
    }
    quota_fields_add(check->route, quotas, quota_count, check->arena, check->verdict);
}
