#include "app/explain_live.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "app/ask.h"
#include "app/top_view.h"
#include "base/buf.h"

#define ANSWER_TIMEOUT_MS 6000
#define SHOWN_HOLDERS 3

/* For the query of a target. */
static const char *encode(struct arena *arena, struct slice text)
{
    static const char digits[] = "0123456789ABCDEF";
    char *start = arena_alloc(arena, text.len * 3 + 1), *out = start;

    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.at[i];

        if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
            (byte >= '0' && byte <= '9') || strchr("-._~", byte) != NULL) {
            *out++ = (char)byte;
            continue;
        }
        *out++ = '%';
        *out++ = digits[byte >> 4];
        *out++ = digits[byte & 15];
    }
    *out = '\0';
    return start;
}

/* NULL: there is none, and the problem is noted or told. */
static json_t *ask(struct explain_live *live, const char *what, const char *target)
{
    const struct ask question = {live->address, "GET", target, ANSWER_TIMEOUT_MS};
    json_t *value = NULL;
    unsigned status = 0;
    struct buf body;

    if (live->problem != NULL)
        return NULL;
    buf_init(&body, ASK_MAX_ANSWER_BYTES);
    live->problem = ask_port(&question, &status, &body);
    if (live->problem == NULL)
        value = json_loadb(buf_slice(&body).at, buf_len(&body), 0, NULL);
    buf_clear(&body);
    if (live->problem == NULL && value == NULL)
        live->problem = "the answer is no JSON";
    if (value != NULL && status != 200) {
        fprintf(live->out, "  live    %s: %s\n", what,
                top_view_escape(live->arena, json_string_value(json_object_get(value, "detail"))));
        json_decref(value);
        value = NULL;
        live->is_unknown = true;
    }
    return value;
}

void explain_live_begin(struct explain_live *live, const char *hash_hex)
{
    const char *hash;
    json_t *about;

    if (live->address == NULL)
        return;
    about = ask(live, "the process", "/");
    if (about == NULL)
        return;
    hash = json_string_value(json_object_get(about, "hash"));
    if (hash == NULL) {
        live->problem = ASK_STRANGER;
        json_decref(about);
        return;
    }
    fprintf(live->out, "  live    %s is %s%s\n", live->address,
            top_view_escape(live->arena, json_string_value(json_object_get(about, "state"))),
            strcmp(hash, hash_hex) == 0
                ? " and has these policies"
                : "; its policies, or the variables in them, are not these: what it says may be "
                  "about other limits");
    json_decref(about);
}

static uint64_t number_of(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value > 0 ? (uint64_t)value : 0;
}

static void note_refusal(struct explain_live *live, const struct policy_limit *limit,
                         const json_t *state)
{
    if (limit->mode == POLICY_SHADOW)
        return;
    if (live->refused_by == NULL)
        live->refused_by = limit->name;
    if (json_is_null(json_object_get(state, "retry_after_ms")))
        live->is_never = true;
    else if (number_of(state, "retry_after_ms") > live->retry_after_ms)
        live->retry_after_ms = number_of(state, "retry_after_ms");
}

void explain_live_limit(struct explain_live *live, const struct limit_question *question)
{
    const struct policy_limit *limit = question->limit;
    const char *whose =
        question->is_missing ? "&shared=true"
        : limit->key == NULL
            ? ""
            : arena_printf(live->arena, "&key=%s", encode(live->arena, question->key_value)).at;
    json_t *state;

    if (live->address == NULL)
        return;
    state = ask(live, limit->name,
                arena_printf(live->arena, "/limits/%s/%s?cost=%" PRIu64 "%s", limit->route->name,
                             limit->name, question->cost, whose)
                    .at);
    if (state == NULL)
        return;
    fprintf(live->out, "  live    %s: %" PRIu64 " of %" PRIu64 " left", limit->name,
            number_of(state, "remaining"), number_of(state, "capacity"));
    if (json_is_true(json_object_get(state, "would_pass"))) {
        fputs(", would pass\n", live->out);
    } else {
        if (json_is_null(json_object_get(state, "retry_after_ms")))
            fputs(", can never pass at this cost\n", live->out);
        else
            fprintf(live->out, ", would %s for %g s\n",
                    limit->mode == POLICY_SHADOW ? "count as refused" : "be refused",
                    (double)number_of(state, "retry_after_ms") / 1000);
        note_refusal(live, limit, state);
    }
    json_decref(state);
}

static void print_holders(struct explain_live *live, const json_t *holders)
{
    size_t at;
    json_t *holder;

    json_array_foreach(holders, at, holder)
    {
        if (at == SHOWN_HOLDERS)
            break;
        fprintf(live->out, "          held by %s, token %" PRIu64 ", for %g s unless renewed\n",
                top_view_escape(live->arena, json_string_value(json_object_get(holder, "id"))),
                number_of(holder, "token"), (double)number_of(holder, "ends_in_ms") / 1000);
    }
}

/* Whether one more may hold it beside those who do; the queue goes first. */
static bool is_free(const json_t *state, const struct lock_plan *plan)
{
    const json_t *first = json_array_get(json_object_get(state, "holders"), 0);
    const char *mode = json_string_value(json_object_get(first, "mode"));
    bool is_held_shared = mode != NULL && strcmp(mode, "shared") == 0;

    if (number_of(state, "waiter_count") > 0)
        return false;
    if (number_of(state, "holder_count") == 0)
        return true;
    if (plan->is_shared || is_held_shared)
        return plan->is_shared && is_held_shared;
    return number_of(state, "holder_count") < plan->lock->permits;
}

void explain_live_lock(struct explain_live *live, const struct lock_plan *plan)
{
    for (size_t i = 0; live->address != NULL && i < plan->name_count; i++) {
        const char *name = arena_copy(live->arena, plan->names[i]).at;
        json_t *state = ask(live, name,
                            arena_printf(live->arena, "/locks?count=%d&shadow=%s&key=%s",
                                         SHOWN_HOLDERS, plan->lock->is_shadow ? "true" : "false",
                                         encode(live->arena, plan->names[i]))
                                .at);

        if (state == NULL)
            continue;
        fprintf(live->out, "  live    lock %s: %s; %" PRIu64 " hold it, %" PRIu64 " wait\n", name,
                is_free(state, plan) ? "free for this request" : "taken",
                number_of(state, "holder_count"), number_of(state, "waiter_count"));
        print_holders(live, json_object_get(state, "holders"));
        live->is_lock_taken |= !is_free(state, plan);
        json_decref(state);
    }
}

void explain_live_end(struct explain_live *live, const struct lock_plan *plan)
{
    bool is_enforced = plan != NULL && !plan->lock->is_shadow;

    if (live->address == NULL || live->problem != NULL)
        return;
    if (live->refused_by != NULL && live->is_never)
        fprintf(live->out, "  now     would be refused by %s: 429 cost-exceeds-limit\n",
                live->refused_by);
    else if (live->refused_by != NULL)
        fprintf(live->out, "  now     would be refused by %s: 429 quota-exceeded, for %g s\n",
                live->refused_by, (double)live->retry_after_ms / 1000);
    else if (live->is_unknown)
        fputs("  now     cannot be told, as not all was answered\n", live->out);
    else if (live->is_lock_taken && is_enforced && plan->wait_us > 0)
        fprintf(live->out, "  now     would wait for the lock, up to %g s\n",
                (double)plan->wait_us / 1e6);
    else if (live->is_lock_taken && is_enforced)
        fputs("  now     would be refused: the lock is taken\n", live->out);
    else if (live->is_fenced)
        fputs("  now     would pass, if the fence takes its token\n", live->out);
    else
        fputs("  now     would pass\n", live->out);
}
