#include "app/admin_limits.h"

#include <inttypes.h>

#include "app/admin.h"
#include "app/admin_json.h"
#include "app/inquiry.h"
#include "app/port.h"
#include "app/reload.h"
#include "app/worker.h"
#include "base/digest.h"
#include "base/log.h"
#include "guard/guard.h"
#include "guard/limit.h"
#include "guard/quota_fields.h"
#include "policy/policy.h"
#include "store/store.h"

#define TOP_COUNT_DEFAULT 10
/* Of all limits together, so that the page stays within some megabytes. */
#define LIST_MAX_KEYS UINT64_C(30000)

/* ---- a limit as its policy has it ---- */

static const char *const algorithm_names[] = {"token_bucket", "sliding_window", "sliding_log",
                                              "fixed_window"};
static const char *const missing_names[] = {NULL, "skip", "deny", "shared"};
static const char *const failure_names[] = {"allow", "deny", "local"};

static json_t *rate_json(const struct policy_rate *rate)
{
    json_t *value = json_pack("{s:I}", "count", (json_int_t)rate->count);

    if (rate->period == POLICY_PERIOD_US)
        json_object_set_new(value, "period_us", json_integer((json_int_t)rate->period_us));
    else
        json_object_set_new(value, "period",
                            json_string(rate->period == POLICY_PERIOD_MONTH ? "month" : "year"));
    return value;
}

static json_t *decisions_json(const struct policy_limit *limit, struct metrics *metrics)
{
    json_t *value = json_object();

    for (int i = 0; i < POLICY_DECISION_COUNT; i++)
        json_object_set_new(value, policy_decision_name((enum policy_decision)i),
                            json_integer(metrics_read(metrics, limit->decision_slots[i])));
    return value;
}

static json_t *limit_json(const struct policy_limit *limit, struct metrics *metrics)
{
    json_t *value =
        json_pack("{s:s, s:s, s:s, s:o, s:I, s:s}", "route", limit->route->name, "limit",
                  limit->name, "algorithm", algorithm_names[limit->algorithm], "rate",
                  rate_json(&limit->rate), "capacity", (json_int_t)quota_fields_capacity(limit),
                  "mode", limit->mode == POLICY_SHADOW ? "shadow" : "enforce");

    json_object_set_new(value, "key",
                        limit->key != NULL ? admin_json_text(template_text(limit->key))
                                           : json_null());
    if (missing_names[limit->on_missing_key] != NULL)
        json_object_set_new(value, "on_missing_key",
                            json_string(missing_names[limit->on_missing_key]));
    json_object_set_new(value, "on_store_failure",
                        json_string(failure_names[limit->on_store_failure]));
    json_object_set_new(value, "decisions", decisions_json(limit, metrics));
    json_object_set_new(value, "near_limit",
                        json_integer(metrics_read(metrics, limit->near_limit_slot)));
    return value;
}

/* ---- who asks most ---- */

struct top_question {
    struct slice route, limit; /* limit.at == NULL: all */
    uint64_t now_ms, count;
    struct policy *policy; /* the main thread's, in force when it was asked; a reference */
};

/* A worker's answer. */
struct top_answer {
    struct limit_top_list *lists;
    size_t count;
};

static void ask_tops(struct inquiry_part *part, const void *asked)
{
    const struct top_question *question = asked;
    struct top_answer *answer = arena_calloc(&part->arena, 1, sizeof(*answer));

    answer->count =
        limit_tops_read(guard_worker_tops(worker_guards(part->worker)), question->route,
                        question->limit, question->now_ms, &part->arena, &answer->lists);
    part->answer = answer;
    inquiry_answer(part);
}

/* "{VALUE}", or "{-}shared", or, of a long one, its beginning. */
static json_t *key_json(const struct sketch_item *item, uint64_t now_ms)
{
    json_t *value = json_object();
    struct slice key = slice_skip(item->key, 1);

    if (item->key_bytes > item->key.len) {
        json_object_set_new(value, "key", admin_json_text(key));
        json_object_set_new(value, "is_cut", json_true());
    } else if (slice_ends_with(key, SLICE("}"))) {
        json_object_set_new(value, "key", admin_json_text(slice_head(key, key.len - 1)));
    } else {
        json_object_set_new(value, "key", json_null());
        json_object_set_new(value, "shared", json_true());
    }
    json_object_set_new(value, "count", json_integer((json_int_t)item->count));
    json_object_set_new(value, "error", json_integer((json_int_t)item->error));
    json_object_set_new(value, "remaining", json_integer((json_int_t)item->value));
    json_object_set_new(
        value, "ms_ago",
        json_integer((json_int_t)(now_ms > item->at_ms ? now_ms - item->at_ms : 0)));
    return value;
}

static json_t *sum_json(struct sketch_sum *sum, const struct top_question *question)
{
    uint64_t rest = sketch_sum_rank(sum, question->count);
    json_t *keys = json_array();

    for (size_t i = 0; i < sum->item_count; i++)
        json_array_append_new(keys, key_json(&sum->items[i], question->now_ms));
    return json_pack("{s:I, s:I, s:o}", "total", (json_int_t)sum->total, "others_at_most",
                     (json_int_t)rest, "keys", keys);
}

static void add_up(struct inquiry *inquiry, const struct policy_limit *limit,
                   struct sketch_sum sums[LIMIT_TOP_KINDS])
{
    for (size_t i = 0; i < inquiry_part_count(inquiry); i++) {
        const struct top_answer *answer = inquiry_part(inquiry, i)->answer;

        for (size_t j = 0; answer != NULL && j < answer->count; j++) {
            const struct limit_top_list *list = &answer->lists[j];

            if (strcmp(list->route, limit->route->name) != 0 ||
                strcmp(list->limit, limit->name) != 0)
                continue;
            for (size_t kind = 0; kind < LIMIT_TOP_KINDS; kind++)
                sketch_sum_add(&sums[kind], &list->sums[kind], inquiry_arena(inquiry));
        }
    }
}

static json_t *top_json(struct inquiry *inquiry, const struct policy_limit *limit)
{
    static const char *const names[LIMIT_TOP_KINDS] = {"requests", "denied", "near"};
    const struct top_question *question = inquiry_question(inquiry);
    struct sketch_sum sums[LIMIT_TOP_KINDS] = {SKETCH_SUM_INIT, SKETCH_SUM_INIT, SKETCH_SUM_INIT};
    json_t *value;

    if (limit->key == NULL || question->policy->settings.top_keys == 0)
        return json_null();
    add_up(inquiry, limit, sums);
    value = json_pack("{s:I, s:I}", "period_ms", (json_int_t)limit_top_period_ms(question->now_ms),
                      "keys_watched", (json_int_t)question->policy->settings.top_keys);
    for (size_t kind = 0; kind < LIMIT_TOP_KINDS; kind++)
        json_object_set_new(value, names[kind], sum_json(&sums[kind], question));
    return value;
}

static json_t *limit_with_top(struct inquiry *inquiry, const struct policy_limit *limit)
{
    const struct admin *admin = inquiry_owner(inquiry);
    json_t *value = limit_json(limit, admin_source(admin)->metrics);

    json_object_set_new(value, "top", top_json(inquiry, limit));
    return value;
}

static size_t missing_count(const struct inquiry *inquiry)
{
    size_t count = 0;

    for (size_t i = 0; i < inquiry_part_count(inquiry); i++)
        count += inquiry_part(inquiry, i)->answer == NULL;
    return count;
}

static bool is_asked(const struct top_question *question, const struct policy_limit *limit)
{
    return question->limit.at == NULL ||
           (slice_equal(slice_of(limit->name), question->limit) &&
            slice_equal(slice_of(limit->route->name), question->route));
}

static void conclude_tops(struct inquiry *inquiry, struct port_exchange *exchange)
{
    const struct top_question *question = inquiry_question(inquiry);
    struct policy *policy = question->policy;
    json_t *list = json_array(), *value;

    for (size_t i = 0; i < policy->route_count; i++)
        for (size_t j = 0; j < policy->routes[i]->limit_count; j++)
            if (is_asked(question, policy->routes[i]->limits[j]))
                json_array_append_new(list, limit_with_top(inquiry, policy->routes[i]->limits[j]));
    value = question->limit.at != NULL
                ? json_incref(json_array_get(list, 0))
                : json_pack("{s:s, s:I, s:O}", "hash", policy->hash_hex, "workers_missing",
                            (json_int_t)missing_count(inquiry), "limits", list);
    json_decref(list);
    policy_unref(&policy);
    admin_answer(&exchange, 200, value);
}

static void ask_for_tops(struct admin *admin, struct port_exchange *exchange,
                         const struct policy_limit *limit)
{
    static const struct inquiry_kind kind = {.ask = ask_tops, .conclude = conclude_tops};
    struct top_question *question;
    struct inquiry *inquiry;
    uint64_t count;

    if (!admin_json_count(exchange, TOP_COUNT_DEFAULT, SKETCH_MAX_ENTRIES, &count))
        return;
    inquiry = admin_inquire(admin, &kind, exchange);
    if (inquiry == NULL)
        return;
    question = arena_calloc(inquiry_arena(inquiry), 1, sizeof(*question));
    question->policy = policy_ref(reload_policy(admin_source(admin)->reload));
    question->count = count;
    question->now_ms = loop_clock_us() / 1000;
    if (limit == NULL && count * LIMIT_TOP_KINDS * question->policy->limit_count > LIST_MAX_KEYS)
        question->count = LIST_MAX_KEYS / LIMIT_TOP_KINDS / question->policy->limit_count;
    if (limit != NULL) {
        question->route = arena_copy(inquiry_arena(inquiry), slice_of(limit->route->name));
        question->limit = arena_copy(inquiry_arena(inquiry), slice_of(limit->name));
    }
    inquiry_start(inquiry, question, admin);
}

void admin_limits_list(void *owner, struct port_exchange *exchange)
{
    ask_for_tops(owner, exchange, NULL);
}

/* ---- one key ---- */

struct key_question {
    const struct policy_limit *limit;
    struct policy *policy; /* a reference: of the main thread */
    struct slice key;
    bool is_shared;
    uint64_t cost;
    struct store_call call; /* of which the script, its keys and arguments count */
};

static void ask_key(struct inquiry_part *part, const void *asked)
{
    const struct key_question *question = asked;

    part->call = question->call;
    /* What this process has decided alone while the store was away goes, too. */
    if (question->call.script == SCRIPT_FORGET && !store_is_embedded(worker_store(part->worker))) {
        struct reply reply;

        (void)!store_eval_local(worker_store(part->worker), &part->call, &reply);
    }
    inquiry_answer_from_store(part);
}

static void set_key(json_t *value, const struct key_question *question)
{
    if (question->limit->key == NULL)
        return;
    json_object_set_new(value, "key",
                        question->is_shared ? json_null() : admin_json_text(question->key));
    if (question->is_shared)
        json_object_set_new(value, "shared", json_true());
}

static json_t *key_base_json(const struct key_question *question)
{
    json_t *value = json_pack("{s:s, s:s}", "route", question->limit->route->name, "limit",
                              question->limit->name);

    set_key(value, question);
    json_object_set_new(value, "store_key", admin_json_text(question->call.keys[0]));
    return value;
}

/* True: the store has said something that makes no sense, and the exchange has been refused. */
static bool refuse_error(const struct reply *reply, bool is_good, struct port_exchange *exchange)
{
    if (is_good)
        return false;
    port_refuse(&exchange, 502, "store-error",
                reply->type == REPLY_ERROR ? reply_error_text(reply_error_class(reply->text))
                                           : "the store gave an answer of the wrong shape");
    return true;
}

static void conclude_look(struct inquiry *inquiry, struct port_exchange *exchange)
{
    const struct key_question *question = inquiry_question(inquiry);
    struct policy *policy = question->policy;
    const struct reply *reply = inquiry_reply(inquiry, exchange);
    struct limit_grant grant = {.granted = 0};
    json_t *value;

    if (reply != NULL && !refuse_error(reply, limit_read_reply(reply, 1, &grant), exchange)) {
        const struct limit_answer *answer = &grant.answers[0];

        value = key_base_json(question);
        json_object_set_new(value, "cost", json_integer((json_int_t)question->cost));
        json_object_set_new(value, "would_pass", json_boolean(answer->allowed > 0));
        json_object_set_new(value, "remaining", json_integer((json_int_t)answer->remaining));
        json_object_set_new(value, "capacity",
                            json_integer((json_int_t)quota_fields_capacity(question->limit)));
        json_object_set_new(value, "retry_after_ms",
                            answer->retry_after_us < 0
                                ? json_null()
                                : admin_json_ms((uint64_t)answer->retry_after_us));
        json_object_set_new(value, "reset_ms", admin_json_ms(answer->reset_us));
        admin_answer(&exchange, 200, value);
    }
    policy_unref(&policy);
}

static void conclude_forget(struct inquiry *inquiry, struct port_exchange *exchange)
{
    const struct key_question *question = inquiry_question(inquiry);
    struct metrics *metrics = admin_source(inquiry_owner(inquiry))->metrics;
    struct policy *policy = question->policy;
    const struct reply *reply = inquiry_reply(inquiry, exchange);
    const char *route = question->limit->route->name, *limit = question->limit->name;
    char digest[33];
    json_t *value;

    if (reply != NULL && !refuse_error(reply, reply->type == REPLY_INTEGER, exchange)) {
        metrics_add(metrics_shard(metrics, 0),
                    metrics_series2(metrics, METRIC_LIMIT_KEYS_FORGOTTEN, route, limit), 1);
        /* Keys may be personal data: whoever has the key can find its line by the digest. */
        digest_short_hex(question->key, digest);
        log_warn(NULL, "an operator made a limit forget a key", LOG_STR("route", route),
                 LOG_STR("limit", limit), LOG_STR("key_sha256", digest),
                 LOG_INT("had_state", reply->integer));
        value = key_base_json(question);
        json_object_set_new(value, "forgotten", json_boolean(reply->integer > 0));
        admin_answer(&exchange, 200, value);
    }
    policy_unref(&policy);
}

/* ROUTE/LIMIT of the path; NULL: the exchange has been refused. */
static const struct policy_limit *find_limit(const struct policy *policy,
                                             struct port_exchange *exchange)
{
    struct slice rest = port_rest(exchange), route_name;

    if (slice_split(&rest, '/', &route_name) && rest.at != NULL) {
        for (size_t i = 0; i < policy->route_count; i++) {
            const struct policy_route *route = policy->routes[i];

            for (size_t j = 0;
                 slice_equal(slice_of(route->name), route_name) && j < route->limit_count; j++)
                if (slice_equal(slice_of(route->limits[j]->name), rest))
                    return route->limits[j];
        }
    }
    port_refuse(&exchange, 404, "no-such-limit",
                "there is no such limit; GET /limits lists them: /limits/ROUTE/LIMIT");
    return NULL;
}

/* Whose state it is about.  False: the exchange has been refused. */
static bool read_key(struct port_exchange *exchange, const struct policy_limit *limit,
                     struct slice *ret_key, bool *ret_is_shared)
{
    *ret_key = port_parameter(exchange, SLICE("key"));
    if (!admin_json_flag(exchange, SLICE("shared"), ret_is_shared))
        return false;
    if (limit->key == NULL && ret_key->at == NULL && !*ret_is_shared)
        return true;
    if (limit->key != NULL && (ret_key->at != NULL) != *ret_is_shared)
        return true;
    port_refuse(&exchange, 400, "bad-key",
                limit->key == NULL ? "this limit has no key: leave out ?key= and ?shared="
                                   : "give one of ?key=VALUE and ?shared=true");
    return false;
}

static bool read_cost(struct port_exchange *exchange, const struct policy_limit *limit,
                      uint64_t *ret_cost)
{
    struct slice text = port_parameter(exchange, SLICE("cost"));

    *ret_cost = limit->cost > 0 ? limit->cost : 1;
    if (text.at == NULL || (slice_to_uint64(text, ret_cost) && *ret_cost <= LIMIT_MAX_COST))
        return true;
    port_refuse(&exchange, 400, "bad-cost", "cost is a whole number to 2^31");
    return false;
}

static void ask_about_key(struct admin *admin, struct port_exchange *exchange,
                          const struct inquiry_kind *kind, const struct key_question *asked)
{
    struct inquiry *inquiry = admin_inquire(admin, kind, exchange);
    struct limit_question limit_question;
    struct limit_group group = {.questions = &limit_question, .request_count = 1};
    struct key_question *question;
    struct arena *arena;

    if (inquiry == NULL)
        return;
    arena = inquiry_arena(inquiry);
    question = arena_alloc(arena, sizeof(*question));
    *question = *asked;
    question->policy = policy_ref(reload_policy(admin_source(admin)->reload));
    question->key = asked->key.at != NULL ? arena_copy(arena, asked->key) : SLICE_NONE;
    limit_question_of_key(question->policy, question->limit, question->key, question->is_shared,
                          arena, &limit_question);
    limit_question.cost = question->cost;
    limit_set_call(&question->call, SLICE("admin"), &group, 1, 1, 1, arena);
    if (question->call.script == SCRIPT_FORGET)
        question->call.arg_count = 0;
    inquiry_start(inquiry, question, admin);
}

void admin_limits_get(void *owner, struct port_exchange *exchange)
{
    static const struct inquiry_kind kind = {
        .ask = ask_key, .conclude = conclude_look, .asks_one = true};
    const struct policy *policy = reload_policy(admin_source(owner)->reload);
    struct key_question question = {.call.script = SCRIPT_PEEK};

    question.limit = find_limit(policy, exchange);
    if (question.limit == NULL)
        return;
    if (question.limit->key != NULL && port_parameter(exchange, SLICE("key")).at == NULL &&
        port_parameter(exchange, SLICE("shared")).at == NULL) {
        ask_for_tops(owner, exchange, question.limit);
        return;
    }
    if (read_key(exchange, question.limit, &question.key, &question.is_shared) &&
        read_cost(exchange, question.limit, &question.cost))
        ask_about_key(owner, exchange, &kind, &question);
}

void admin_limits_forget(void *owner, struct port_exchange *exchange)
{
    static const struct inquiry_kind kind = {
        .ask = ask_key, .conclude = conclude_forget, .asks_one = true};
    const struct policy *policy = reload_policy(admin_source(owner)->reload);
    struct key_question question = {.call.script = SCRIPT_FORGET, .cost = 1};

    question.limit = find_limit(policy, exchange);
    if (question.limit != NULL &&
        read_key(exchange, question.limit, &question.key, &question.is_shared))
        ask_about_key(owner, exchange, &kind, &question);
}
