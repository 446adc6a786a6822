/* The lock scripts as functions, for tests: on the embedded engine, with a clock and messages of
 * the test's own.  One acquisition, several locks; lua/README.md says what the numbers mean. */
#ifndef TESTS_MODEL_LOCK_CALLS_H
#define TESTS_MODEL_LOCK_CALLS_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/embedded.h"
#include "store/store.h"

#define LOCK_MAX_KEYS 8
#define LOCK_MAX_LIMITS 2
#define LOCK_EPOCH_US INT64_C(1704067200000000)

enum { ADMIT_HELD = 1, ADMIT_QUEUED = 0, ADMIT_BUSY = -1, ADMIT_FULL = -2, ADMIT_DENIED = -3 };
enum { RENEW_HELD = 1, RENEW_WAITING = 0, RENEW_GONE = -1 };
enum {
    RELEASE_HELD = 1,
    RELEASE_LAPSED = 0,
    RELEASE_TAKEN = -1,
    RELEASE_FORGOTTEN = -2,
    RELEASE_NOT_HOLDING = 2
};
enum { FENCE_PASS = 1, FENCE_STALE = 0, FENCE_NEVER_ISSUED = -1 };

/* Who asks, and with which settings.  keys are lock names, in order. */
struct lock_asker {
    const char *intent, *id, *channel;
    const char *keys[LOCK_MAX_KEYS];
    size_t key_count;
    int64_t permits, wait_us, lease_us, grant_us, heartbeat_us, delay_us, queue_max;
    int64_t place, wait_until_us;
    const char *limit_key; /* NULL: no limit */
    int64_t limit_count;   /* per hour */
};

struct lock_admitted {
    int64_t state, token, place, rank, again_us, wait_until_us;
    int64_t granted, allowed, remaining;
};

/* Numbers as text, for the time of one call. */
struct lock_texts {
    char keys[3 * LOCK_MAX_KEYS][64], args[24 + 4 * LOCK_MAX_KEYS][32];
    struct slice key_slices[3 * LOCK_MAX_KEYS + LOCK_MAX_LIMITS];
    struct slice arg_slices[24 + 4 * LOCK_MAX_KEYS];
    size_t key_count, arg_count, printed;
};

/* How scripts are run: a test may run changed texts. */
typedef void lock_run_fn(enum script_id script, const struct embedded_call *call,
                         struct reply *reply);

static inline void lock_add_text(struct lock_texts *texts, const char *text)
{
    texts->arg_slices[texts->arg_count++] = slice_of(text);
}

static inline void lock_add_number(struct lock_texts *texts, int64_t number)
{
    char *at = texts->args[texts->printed++];

    snprintf(at, sizeof texts->args[0], "%" PRId64, number);
    lock_add_text(texts, at);
}

static inline void lock_add_key(struct lock_texts *texts, const char *name)
{
    static const char parts[] = "hqr";

    for (int i = 0; i < 3; i++) {
        char *at = texts->keys[texts->key_count % (3 * LOCK_MAX_KEYS)];

        snprintf(at, sizeof texts->keys[0], "lk:lock:{%s}:%c", name, parts[i]);
        texts->key_slices[texts->key_count++] = slice_of(at);
    }
}

static inline void lock_run(lock_run_fn *run, enum script_id script, struct lock_texts *texts,
                            struct reply *reply)
{
    struct embedded_call call = {texts->key_slices, texts->key_count, texts->arg_slices,
                                 texts->arg_count};

    run(script, &call, reply);
    if (reply->type == REPLY_ERROR) {
        fprintf(stderr, "%.*s\n", SLICE_ARGS(reply->text));
        abort();
    }
}

static inline void lock_add_admit(struct lock_texts *texts, const struct lock_asker *asker)
{
    const int64_t numbers[] = {asker->permits,   asker->wait_us,      asker->lease_us,
                               asker->grant_us,  asker->heartbeat_us, asker->delay_us,
                               asker->queue_max, asker->place,        asker->wait_until_us};

    if (asker->limit_key != NULL) {
        static const char *const limit[] = {"f", "e", "1", NULL, "3600000000", "0", "h", "0"};

        texts->key_slices[texts->key_count++] = slice_of(asker->limit_key);
        for (size_t i = 0; i < COUNT_OF(limit); i++)
            if (limit[i] != NULL)
                lock_add_text(texts, limit[i]);
            else
                lock_add_number(texts, asker->limit_count);
    }
    for (size_t i = 0; i < asker->key_count; i++)
        lock_add_key(texts, asker->keys[i]);
    lock_add_text(texts, asker->intent);
    lock_add_text(texts, asker->id);
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        lock_add_number(texts, numbers[i]);
    lock_add_text(texts, asker->channel);
}

static inline struct lock_admitted lock_admit(lock_run_fn *run, const struct lock_asker *asker)
{
    struct lock_texts texts = {.key_count = 0};
    struct lock_admitted got;
    struct reply reply;
    const struct reply *limits;

    lock_add_admit(&texts, asker);
    lock_run(run, SCRIPT_ADMIT, &texts, &reply);
    CHECK(reply.type == REPLY_ARRAY && reply.element_count == 7);
    limits = &reply.elements[6];
    CHECK(limits->type == REPLY_ARRAY && limits->element_count == (asker->limit_key ? 5 : 1));
    got = (struct lock_admitted){
        .state = reply.elements[0].integer,
        .token = reply.elements[1].integer,
        .place = reply.elements[2].integer,
        .rank = reply.elements[3].integer,
        .again_us = reply.elements[4].integer,
        .wait_until_us = reply.elements[5].integer,
        .granted = limits->elements[0].integer,
    };
    if (asker->limit_key != NULL) {
        got.allowed = limits->elements[1].integer;
        got.remaining = limits->elements[2].integer;
    }
    return got;
}

static inline int64_t lock_release(lock_run_fn *run, const struct lock_asker *asker, int64_t token)
{
    struct lock_texts texts = {.key_count = 0};
    struct reply reply;

    for (size_t i = 0; i < asker->key_count; i++)
        lock_add_key(&texts, asker->keys[i]);
    lock_add_text(&texts, asker->id);
    lock_add_number(&texts, token);
    lock_add_number(&texts, asker->delay_us);
    lock_add_number(&texts, asker->permits);
    lock_run(run, SCRIPT_RELEASE, &texts, &reply);
    CHECK(reply.type == REPLY_INTEGER);
    return reply.integer;
}

/* The worst state of an acquisition's locks; the token of the first. */
static inline int64_t lock_renew(lock_run_fn *run, const struct lock_asker *asker,
                                 int64_t *ret_token)
{
    struct lock_texts texts = {.key_count = 0};
    int64_t worst = RENEW_HELD;
    struct reply reply;

    for (size_t i = 0; i < asker->key_count; i++) {
        lock_add_key(&texts, asker->keys[i]);
        lock_add_text(&texts, asker->id);
        lock_add_number(&texts, asker->lease_us);
        lock_add_number(&texts, asker->delay_us);
        lock_add_number(&texts, asker->heartbeat_us);
    }
    lock_run(run, SCRIPT_RENEW, &texts, &reply);
    CHECK(reply.type == REPLY_ARRAY && reply.element_count == 2 * asker->key_count);
    for (size_t i = 0; i < asker->key_count; i++)
        if (reply.elements[2 * i].integer < worst)
            worst = reply.elements[2 * i].integer;
    *ret_token = reply.elements[1].integer;
    return worst;
}

static inline int64_t lock_fence(lock_run_fn *run, const char *key, int64_t token, bool raises)
{
    struct lock_texts texts = {.key_count = 0};
    struct reply reply;

    lock_add_key(&texts, key);
    texts.key_slices[0] = texts.key_slices[2];
    texts.key_count = 1;
    lock_add_number(&texts, token);
    lock_add_text(&texts, raises ? "1" : "0");
    lock_run(run, SCRIPT_FENCE, &texts, &reply);
    CHECK(reply.type == REPLY_ARRAY && reply.element_count == 3);
    return reply.elements[0].integer;
}

static inline int64_t lock_break(lock_run_fn *run, const char *key)
{
    struct lock_texts texts = {.key_count = 0};
    struct reply reply;

    lock_add_key(&texts, key);
    lock_run(run, SCRIPT_BREAK, &texts, &reply);
    CHECK(reply.type == REPLY_INTEGER);
    return reply.integer;
}

#endif
