#include "app/admin_locks.h"

#include <inttypes.h>
#include <stdlib.h>

#include "app/admin.h"
#include "app/admin_json.h"
#include "app/inquiry.h"
#include "app/port.h"
#include "app/reload.h"
#include "app/worker.h"
#include "base/log.h"
#include "guard/guard.h"
#include "guard/lock_call.h"
#include "guard/lock_list.h"
#include "guard/lock_plan.h"
#include "store/store.h"

#define LIST_COUNT_DEFAULT 100
#define LIST_COUNT_MAX 1000
/* What lock_show gives: so much for the lock, then so much for each holder and waiter. */
#define SHOW_ELEMENTS 6u
#define HOLDER_ELEMENTS 4u
#define WAITER_ELEMENTS 3u

/* ---- what this process knows ---- */

struct locks_question {
    struct slice name; /* at == NULL: all */
    uint64_t count;
    /* Of one lock. */
    struct slice keys[LOCK_CALL_KEYS], args[1];
};

/* Every worker lists its own; the first one asks the store, too. */
static void ask_locks(struct inquiry_part *part, const void *asked)
{
    const struct locks_question *question = asked;
    struct lock_list *list = arena_calloc(&part->arena, 1, sizeof(*list));

    lock_list_make(guard_worker_locks(worker_guards(part->worker)), question->name, question->count,
                   &part->arena, list);
    part->answer = list;
    if (question->name.at == NULL || part->index > 0) {
        inquiry_answer(part);
        return;
    }
    part->call = (struct store_call){.script = SCRIPT_LOCK_SHOW,
                                     .keys = question->keys,
                                     .key_count = LOCK_CALL_KEYS,
                                     .args = question->args,
                                     .arg_count = COUNT_OF(question->args)};
    inquiry_answer_from_store(part);
}

static json_t *entry_json(const struct lock_list_entry *entry)
{
    json_t *names = json_array();
    json_t *value;

    for (size_t i = 0; i < entry->name_count; i++)
        json_array_append_new(names, admin_json_text(entry->names[i]));
    value =
        json_pack("{s:s, s:o, s:s, s:s, s:o, s:o}", "route", entry->route, "keys", names, "mode",
                  entry->mode == 's' ? "shared" : "exclusive", "state", entry->state, "id",
                  admin_json_text(entry->id), "request_id", admin_json_text(entry->request_id));
    if (entry->permits > 1)
        json_object_set_new(value, "permits", json_integer((json_int_t)entry->permits));
    if (entry->is_shadow)
        json_object_set_new(value, "shadow", json_true());
    if (entry->token > 0)
        json_object_set_new(value, "token", json_integer((json_int_t)entry->token));
    json_object_set_new(value, entry->is_waiting ? "waiting_ms" : "held_ms",
                        json_integer((json_int_t)(entry->since_us / 1000)));
    json_object_set_new(value, entry->is_waiting ? "wait_left_ms" : "lease_left_ms",
                        json_integer((json_int_t)(entry->left_us / 1000)));
    return value;
}

static int by_age(const void *a, const void *b)
{
    const struct lock_list_entry *const *left = a, *const *right = b;

    return (*left)->since_us > (*right)->since_us   ? -1
           : (*left)->since_us < (*right)->since_us ? 1
                                                    : 0;
}

/* The entries of all workers, the oldest first; the array is the caller's to free. */
static const struct lock_list_entry **gather(const struct inquiry *inquiry, size_t *ret_count)
{
    const struct lock_list_entry **all;
    size_t count = 0, taken = 0;

    for (size_t i = 0; i < inquiry_part_count(inquiry); i++) {
        const struct lock_list *list = inquiry_part(inquiry, i)->answer;

        count += list != NULL ? list->entry_count : 0;
    }
    all = mem_calloc(count + 1, sizeof(*all));
    for (size_t i = 0; i < inquiry_part_count(inquiry); i++) {
        const struct lock_list *list = inquiry_part(inquiry, i)->answer;

        for (size_t j = 0; list != NULL && j < list->entry_count; j++)
            all[taken++] = &list->entries[j];
    }
    qsort(all, count, sizeof(const struct lock_list_entry *), by_age);
    *ret_count = count;
    return all;
}

/* What this process knows. */
static json_t *own_json(const struct inquiry *inquiry)
{
    const struct locks_question *question = inquiry_question(inquiry);
    json_t *held = json_array(), *waiting = json_array();
    size_t held_count = 0, waiting_count = 0, missing_count = 0, count;
    const struct lock_list_entry **all = gather(inquiry, &count);

    for (size_t i = 0; i < inquiry_part_count(inquiry); i++) {
        const struct lock_list *list = inquiry_part(inquiry, i)->answer;

        held_count += list != NULL ? list->held_count : 0;
        waiting_count += list != NULL ? list->waiting_count : 0;
        missing_count += list == NULL;
    }
    for (size_t i = 0; i < count && i < question->count; i++)
        json_array_append_new(all[i]->is_waiting ? waiting : held, entry_json(all[i]));
    free(all);
    return json_pack("{s:I, s:I, s:I, s:o, s:o}", "held_count", (json_int_t)held_count,
                     "waiting_count", (json_int_t)waiting_count, "workers_missing",
                     (json_int_t)missing_count, "held", held, "waiting", waiting);
}

static void conclude_own(struct inquiry *inquiry, struct port_exchange *exchange)
{
    admin_answer(&exchange, 200, own_json(inquiry));
}

/* ---- what the store knows of one lock ---- */

static json_t *holder_json(const struct reply *e)
{
    return json_pack("{s:o, s:s, s:I, s:o, s:b}", "id", admin_json_text(e[0].text), "mode",
                     e[0].text.len > 0 && e[0].text.at[0] == 's' ? "shared" : "exclusive", "token",
                     (json_int_t)e[1].integer, "ends_in_ms", admin_json_ms((uint64_t)e[2].integer),
                     "confirmed", e[3].integer != 0);
}

static json_t *waiter_json(const struct reply *e)
{
    return json_pack("{s:o, s:s, s:o, s:o}", "id", admin_json_text(e[0].text), "mode",
                     e[0].text.len > 0 && e[0].text.at[0] == 's' ? "shared" : "exclusive",
                     "waits_for_ms", admin_json_ms((uint64_t)e[1].integer), "alive_for_ms",
                     admin_json_ms((uint64_t)e[2].integer));
}

static bool is_list_of(const struct reply *reply, size_t element_count)
{
    if (reply->type != REPLY_ARRAY || reply->element_count % element_count != 0)
        return false;
    for (size_t i = 0; i < reply->element_count; i++)
        if (reply->elements[i].type != (i % element_count == 0 ? REPLY_STRING : REPLY_INTEGER))
            return false;
    return true;
}

static bool is_show_reply(const struct reply *reply)
{
    if (reply->type != REPLY_ARRAY || reply->element_count != SHOW_ELEMENTS)
        return false;
    for (size_t i = 0; i < 4; i++)
        if (reply->elements[i].type != REPLY_INTEGER)
            return false;
    return is_list_of(&reply->elements[4], HOLDER_ELEMENTS) &&
           is_list_of(&reply->elements[5], WAITER_ELEMENTS);
}

static void refuse_reply(const struct reply *reply, struct port_exchange *exchange)
{
    port_refuse(&exchange, 502, "store-error",
                reply->type == REPLY_ERROR ? reply_error_text(reply_error_class(reply->text))
                                           : "the store gave an answer of the wrong shape");
}

static void conclude_show(struct inquiry *inquiry, struct port_exchange *exchange)
{
    const struct locks_question *question = inquiry_question(inquiry);
    const struct reply *reply = inquiry_reply(inquiry, exchange), *e;
    json_t *holders, *waiters;

    if (reply == NULL)
        return;
    if (!is_show_reply(reply)) {
        refuse_reply(reply, exchange);
        return;
    }
    holders = json_array();
    waiters = json_array();
    e = reply->elements;
    for (size_t i = 0; i < e[4].element_count; i += HOLDER_ELEMENTS)
        json_array_append_new(holders, holder_json(&e[4].elements[i]));
    for (size_t i = 0; i < e[5].element_count; i += WAITER_ELEMENTS)
        json_array_append_new(waiters, waiter_json(&e[5].elements[i]));
    admin_answer(&exchange, 200,
                 json_pack("{s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "key",
                           admin_json_text(question->name), "last_token", (json_int_t)e[0].integer,
                           "fence_floor", (json_int_t)e[1].integer, "holder_count",
                           (json_int_t)e[2].integer, "waiter_count", (json_int_t)e[3].integer,
                           "holders", holders, "waiters", waiters, "here", own_json(inquiry)));
}

/* ---- breaking ---- */

struct break_question {
    struct slice name, keys[LOCK_CALL_KEYS];
    int64_t broken_count;
};

static void ask_break(struct inquiry_part *part, const void *asked)
{
    const struct break_question *question = asked;

    part->call = (struct store_call){
        .script = SCRIPT_BREAK, .keys = question->keys, .key_count = LOCK_CALL_KEYS};
    inquiry_answer_from_store(part);
}

/* Those of this process that hold it need not wait for their next renewal to learn of it. */
static void ask_recheck(struct inquiry_part *part, const void *asked)
{
    const struct break_question *question = asked;

    lock_list_recheck(guard_worker_locks(worker_guards(part->worker)), question->name);
    inquiry_answer(part);
}

static void conclude_recheck(struct inquiry *inquiry, struct port_exchange *exchange)
{
    const struct break_question *question = inquiry_question(inquiry);

    admin_answer(&exchange, 200,
                 json_pack("{s:o, s:I}", "key", admin_json_text(question->name), "broken",
                           (json_int_t)question->broken_count));
}

static void begin_recheck(struct admin *admin, struct port_exchange *exchange, struct slice name,
                          int64_t broken_count)
{
    static const struct inquiry_kind kind = {.ask = ask_recheck, .conclude = conclude_recheck};
    struct inquiry *inquiry = admin_inquire(admin, &kind, exchange);
    struct break_question *question;

    if (inquiry == NULL)
        return;
    question = arena_calloc(inquiry_arena(inquiry), 1, sizeof(*question));
    question->name = arena_copy(inquiry_arena(inquiry), name);
    question->broken_count = broken_count;
    inquiry_start(inquiry, question, admin);
}

static void conclude_break(struct inquiry *inquiry, struct port_exchange *exchange)
{
    const struct break_question *question = inquiry_question(inquiry);
    const struct reply *reply = inquiry_reply(inquiry, exchange);
    struct admin *admin = inquiry_owner(inquiry);
    struct metrics *metrics = admin_source(admin)->metrics;

    if (reply == NULL || reply->type != REPLY_INTEGER || reply->integer < 0) {
        log_warn(NULL, "an operator's order to break a lock was not confirmed by the store",
                 LOG_SLICE("key", question->name));
        if (reply != NULL)
            refuse_reply(reply, exchange);
        return;
    }
    metrics_add(metrics_shard(metrics, 0), metrics_series0(metrics, METRIC_LOCK_BREAKS), 1);
    log_warn(NULL, "a lock was broken by an operator", LOG_SLICE("key", question->name),
             LOG_INT("holders", reply->integer));
    begin_recheck(admin, exchange, question->name, reply->integer);
}

/* ---- endpoints ---- */

/* The name of the lock that is asked about, and its keys in the store. */
static struct slice find_keys(struct admin *admin, struct slice key, bool is_shadow,
                              struct arena *arena, struct slice ret_keys[LOCK_CALL_KEYS])
{
    const struct policy *policy = reload_policy(admin_source(admin)->reload);
    struct slice name = lock_plan_name(arena_copy(arena, key), arena);

    lock_call_keys(slice_of(policy->settings.store_key_prefix), name, is_shadow, arena, ret_keys);
    return name;
}

void admin_locks_list(void *owner, struct port_exchange *exchange)
{
    static const struct inquiry_kind all = {.ask = ask_locks, .conclude = conclude_own};
    static const struct inquiry_kind one = {.ask = ask_locks, .conclude = conclude_show};
    struct slice key = port_parameter(exchange, SLICE("key"));
    struct locks_question *question;
    struct inquiry *inquiry;
    struct arena *arena;
    bool is_shadow;
    uint64_t count;

    if (!admin_json_count(exchange, LIST_COUNT_DEFAULT, LIST_COUNT_MAX, &count) ||
        !admin_json_flag(exchange, SLICE("shadow"), &is_shadow))
        return;
    inquiry = admin_inquire(owner, key.at != NULL ? &one : &all, exchange);
    if (inquiry == NULL)
        return;
    arena = inquiry_arena(inquiry);
    question = arena_calloc(arena, 1, sizeof(*question));
    question->count = count;
    question->args[0] = arena_printf(arena, "%" PRIu64, count);
    if (key.at != NULL)
        question->name = find_keys(owner, key, is_shadow, arena, question->keys);
    inquiry_start(inquiry, question, owner);
}

void admin_locks_break(void *owner, struct port_exchange *exchange)
{
    static const struct inquiry_kind kind = {
        .ask = ask_break, .conclude = conclude_break, .asks_one = true};
    struct slice key = port_rest(exchange);
    struct break_question *question;
    struct inquiry *inquiry;
    bool is_shadow;

    if (key.len == 0)
        key = port_parameter(exchange, SLICE("key"));
    if (!admin_json_flag(exchange, SLICE("shadow"), &is_shadow))
        return;
    if (key.len == 0) {
        port_refuse(&exchange, 400, "bad-key", "say which lock: ?key=KEY, as GET /locks shows it");
        return;
    }
    inquiry = admin_inquire(owner, &kind, exchange);
    if (inquiry == NULL)
        return;
    question = arena_calloc(inquiry_arena(inquiry), 1, sizeof(*question));
    question->name = find_keys(owner, key, is_shadow, inquiry_arena(inquiry), question->keys);
    inquiry_start(inquiry, question, owner);
}
