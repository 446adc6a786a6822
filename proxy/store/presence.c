#include "store/presence.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/arena.h"

/* Written once, under pthread_once, and only read from then on. */
static char process_id[PRESENCE_ID_BYTES];
static pthread_once_t process_id_once = PTHREAD_ONCE_INIT;

static void make_process_id(void)
{
    uint64_t random;

    /* With fewer than 256 bytes it gives all or fails, and it fails on kernels we do not run on. */
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        abort();
    snprintf(process_id, sizeof(process_id), "%016llx", (unsigned long long)random);
}

const char *presence_process_id(void)
{
    pthread_once(&process_id_once, make_process_id);
    return process_id;
}

static void on_reply(struct store_call *call, enum store_result result, const struct reply *reply)
{
    struct presence *presence = CONTAINER_OF(call, struct presence, call);

    if (result == STORE_OK && reply->type == REPLY_INTEGER && reply->integer >= 1)
        presence->known_count = reply->integer < INT32_MAX ? (unsigned)reply->integer : INT32_MAX;
}

void presence_init(struct presence *presence, struct loop *loop, const char *key_prefix,
                   presence_send_fn *send, void *owner)
{
    size_t size = strlen(key_prefix) + sizeof(":sidecars");

    *presence = (struct presence){.loop = loop, .send = send, .owner = owner, .known_count = 1};
    presence->key_text = mem_alloc(size);
    snprintf(presence->key_text, size, "%s:sidecars", key_prefix);
    presence->key = slice_of(presence->key_text);
    memcpy(presence->id, presence_process_id(), sizeof(presence->id));
}

static void beat(struct presence *presence, unsigned life_ms)
{
    struct store_call *call = &presence->call;

    if (call->is_pending)
        return;
    snprintf(presence->life_us, sizeof(presence->life_us), "%u000", life_ms);
    presence->args[0] = slice_of(presence->id);
    presence->args[1] = slice_of(presence->life_us);
    *call = (struct store_call){.script = SCRIPT_PRESENCE,
                                .keys = &presence->key,
                                .key_count = 1,
                                .args = presence->args,
                                .arg_count = COUNT_OF(presence->args),
                                .on_reply = on_reply};
    (void)!presence->send(presence->owner, call); /* what is not sent now is sent next time */
}

static void on_beat(struct timer *timer)
{
    struct presence *presence = CONTAINER_OF(timer, struct presence, beat_timer);
    uint32_t dice = 0;

    /* +-10 %, so that sidecars started together do not beat together. */
    if (getrandom(&dice, sizeof(dice), GRND_NONBLOCK) != (ssize_t)sizeof(dice))
        dice = 0;
    timer_start(presence->loop, timer, PRESENCE_BEAT_MS * 9 / 10 + dice % (PRESENCE_BEAT_MS / 5),
                on_beat);
    beat(presence, PRESENCE_LIFE_MS);
}

void presence_start(struct presence *presence)
{
    on_beat(&presence->beat_timer);
}

void presence_stop(struct presence *presence)
{
    timer_stop(presence->loop, &presence->beat_timer);
}

void presence_clear(struct presence *presence)
{
    presence_stop(presence);
    CHECK(!presence->call.is_pending);
    free(TAKE(&presence->key_text));
}

void presence_leave(struct presence *presence)
{
    CHECK(!presence->call.is_pending);
    beat(presence, 0);
}
