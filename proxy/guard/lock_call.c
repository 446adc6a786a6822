#include "guard/lock_call.h"

#include "guard/digits.h"

#define ADMIT_ARGS 12u
#define RENEW_ARGS 4u

static struct slice number(struct arena *arena, uint64_t value)
{
    char *start = arena_reserve(arena, DIGITS_MAX_BYTES);
    size_t len = (size_t)(digits_put(start, value) - start);

    arena_commit(arena, len);
    return slice_from(start, len);
}

static struct slice key_name(struct slice prefix, struct slice key, bool is_shadow, char kind,
                             struct arena *arena)
{
    struct slice space = is_shadow ? SLICE(":shadow:{") : SLICE(":lock:{");
    char *start = arena_reserve(arena, prefix.len + space.len + key.len + 3), *out = start;

    out = digits_put_slice(out, prefix);
    out = digits_put_slice(out, space);
    out = digits_put_slice(out, key);
    *out++ = '}';
    *out++ = ':';
    *out++ = kind;
    arena_commit(arena, (size_t)(out - start));
    return slice_from(start, (size_t)(out - start));
}

void lock_call_keys(struct slice prefix, struct slice key, bool is_shadow, struct arena *arena,
                    struct slice ret_keys[LOCK_CALL_KEYS])
{
    static const char kinds[LOCK_CALL_KEYS] = {'h', 'q', 'r'};

    for (size_t i = 0; i < LOCK_CALL_KEYS; i++)
        ret_keys[i] = key_name(prefix, key, is_shadow, kinds[i], arena);
}

static void put_admit_args(const struct lock_terms *terms, const struct lock_place *place,
                           struct arena *arena, struct slice args[ADMIT_ARGS])
{
    args[0] = slice_from(&terms->intent, 1);
    args[1] = terms->id;
    args[2] = number(arena, terms->permits);
    args[3] = number(arena, place->wait_us);
    args[4] = number(arena, terms->lease_us);
    args[5] = number(arena, terms->grant_us);
    args[6] = number(arena, LOCK_CALL_HEARTBEAT_US);
    args[7] = number(arena, terms->delay_us);
    args[8] = number(arena, terms->queue_max);
    args[9] = number(arena, place->place);
    args[10] = number(arena, place->wait_until_us);
    args[11] = place->channel;
}

void lock_call_admit(struct store_call *call, const struct limit_question *questions,
                     size_t question_count, const struct lock_terms *terms,
                     const struct lock_place *place, struct arena *arena)
{
    size_t lock_key_count = terms->lock_count * LOCK_CALL_KEYS;
    size_t limit_arg_count = question_count * LIMIT_ARGS;
    struct slice *keys, *args;

    keys = arena_alloc(arena, (question_count + lock_key_count) * sizeof(*keys));
    args = arena_alloc(arena, (limit_arg_count + ADMIT_ARGS) * sizeof(*args));
    for (size_t i = 0; i < question_count; i++)
        keys[i] = questions[i].store_key;
    memcpy(keys + question_count, terms->keys, lock_key_count * sizeof(*keys));
    limit_put_args(questions, question_count, 1, arena, args);
    put_admit_args(terms, place, arena, args + limit_arg_count);
    call->script = SCRIPT_ADMIT;
    call->keys = keys;
    call->key_count = question_count + lock_key_count;
    call->args = args;
    call->arg_count = limit_arg_count + ADMIT_ARGS;
}

void lock_call_renew(struct store_call *call, const struct lock_terms *const *terms,
                     size_t terms_count, struct arena *arena)
{
    size_t entry_count = 0, key_count = 0, arg_count = 0;
    struct slice *keys, *args;

    for (size_t i = 0; i < terms_count; i++)
        entry_count += terms[i]->lock_count;
    CHECK(entry_count > 0 && entry_count <= LOCK_CALL_MAX_RENEWALS);
    keys = arena_alloc(arena, entry_count * LOCK_CALL_KEYS * sizeof(*keys));
    args = arena_alloc(arena, entry_count * RENEW_ARGS * sizeof(*args));
    for (size_t i = 0; i < terms_count; i++) {
        memcpy(keys + key_count, terms[i]->keys,
               terms[i]->lock_count * LOCK_CALL_KEYS * sizeof(*keys));
        key_count += terms[i]->lock_count * LOCK_CALL_KEYS;
        for (size_t j = 0; j < terms[i]->lock_count; j++) {
            args[arg_count++] = terms[i]->id;
            args[arg_count++] = number(arena, terms[i]->lease_us);
            args[arg_count++] = number(arena, terms[i]->delay_us);
            args[arg_count++] = number(arena, LOCK_CALL_HEARTBEAT_US);
        }
    }
    call->script = SCRIPT_RENEW;
    call->keys = keys;
    call->key_count = key_count;
    call->args = args;
    call->arg_count = arg_count;
}

void lock_call_release(struct store_call *call, const struct lock_terms *terms, uint64_t token,
                       struct arena *arena)
{
    struct slice *args = arena_alloc(arena, 4 * sizeof(*args));

    args[0] = terms->id;
    args[1] = number(arena, token);
    args[2] = number(arena, terms->delay_us);
    args[3] = number(arena, terms->permits);
    call->script = SCRIPT_RELEASE;
    call->keys = terms->keys;
    call->key_count = terms->lock_count * LOCK_CALL_KEYS;
    call->args = args;
    call->arg_count = 4;
}

void lock_call_fence(struct store_call *call, struct slice records_key, uint64_t token, bool raises,
                     struct arena *arena)
{
    struct slice *keys = arena_alloc(arena, sizeof(*keys));
    struct slice *args = arena_alloc(arena, 2 * sizeof(*args));

    keys[0] = records_key;
    args[0] = number(arena, token);
    args[1] = raises ? SLICE("1") : SLICE("0");
    call->script = SCRIPT_FENCE;
    call->keys = keys;
    call->key_count = 1;
    call->args = args;
    call->arg_count = 2;
}

static bool read_number(const struct reply *reply, uint64_t *ret_value)
{
    if (reply->type != REPLY_INTEGER || reply->integer < 0)
        return false;
    *ret_value = (uint64_t)reply->integer;
    return true;
}

bool lock_call_read_admit(const struct reply *reply, size_t question_count, struct lock_answer *ret)
{
    const struct reply *e = reply->elements;

    if (reply->type != REPLY_ARRAY || reply->element_count != 7 || e[0].type != REPLY_INTEGER ||
        e[0].integer < LOCK_STANDING_DENIED || e[0].integer > LOCK_STANDING_HELD)
        return false;
    ret->standing = (enum lock_standing)e[0].integer;
    return read_number(&e[1], &ret->token) && read_number(&e[2], &ret->place) &&
           read_number(&e[3], &ret->rank) && read_number(&e[4], &ret->again_us) &&
           read_number(&e[5], &ret->wait_until_us) &&
           limit_read_reply(&e[6], question_count, &ret->limits);
}

bool lock_call_read_renew(const struct reply *reply, size_t first, size_t lock_count,
                          enum lock_renewed *ret_renewed, uint64_t *ret_token)
{
    enum lock_renewed worst = LOCK_RENEWED_HELD;
    uint64_t token = 0;

    if (reply->type != REPLY_ARRAY || reply->element_count < 2 * (first + lock_count))
        return false;
    for (size_t i = 2 * first; i < 2 * (first + lock_count); i += 2) {
        const struct reply *state = &reply->elements[i];

        if (state->type != REPLY_INTEGER || state->integer < LOCK_RENEWED_GONE ||
            state->integer > LOCK_RENEWED_HELD || !read_number(state + 1, &token))
            return false;
        if ((enum lock_renewed)state->integer < worst)
            worst = (enum lock_renewed)state->integer;
    }
    *ret_renewed = worst;
    *ret_token = token;
    return true;
}

bool lock_call_read_release(const struct reply *reply, int *ret_verdict)
{
    if (reply->type != REPLY_INTEGER || reply->integer < -2 || reply->integer > 2)
        return false;
    *ret_verdict = (int)reply->integer;
    return true;
}

bool lock_call_read_fence(const struct reply *reply, enum lock_fenced *ret_fenced)
{
    if (reply->type != REPLY_ARRAY || reply->element_count != 3 ||
        reply->elements[0].type != REPLY_INTEGER ||
        reply->elements[0].integer < LOCK_FENCED_INVALID ||
        reply->elements[0].integer > LOCK_FENCED_PASS)
        return false;
    *ret_fenced = (enum lock_fenced)reply->elements[0].integer;
    return true;
}
