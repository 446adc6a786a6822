/* Tells the store every few seconds that this process is there, and learns how many are.  All
 * workers of a process speak for it under one id, so each beat counts once. */
#ifndef STORE_PRESENCE_H
#define STORE_PRESENCE_H

#include <stdbool.h>

#include "base/slice.h"
#include "net/loop.h"
#include "store/store_call.h"

#define PRESENCE_BEAT_MS 5000u
#define PRESENCE_LIFE_MS 15000u
#define PRESENCE_ID_BYTES 17 /* 16 hex digits */

/* Sends the call if that is possible now; its on_reply is called later, unless the answer is not
 * STORE_PENDING. */
typedef enum store_result presence_send_fn(void *owner, struct store_call *call);

struct presence {
    struct loop *loop;
    presence_send_fn *send;
    void *owner;
    struct timer beat_timer;
    struct store_call call;
    struct slice key;
    struct slice args[2];
    char *key_text;
    char id[PRESENCE_ID_BYTES];
    char life_us[24];
    unsigned known_count; /* at least 1; what was known last */
};

/* key_prefix names the keys of all sidecars that share the store. */
void presence_init(struct presence *presence, struct loop *loop, const char *key_prefix,
                   presence_send_fn *send, void *owner);
/* Beat now and from now on; again after each reconnection. */
void presence_start(struct presence *presence);
/* The connection is gone: no beat; the count stays.  The owner ends a call that is on its way. */
void presence_stop(struct presence *presence);
/* Take this process off the list.  After presence_stop; the owner cancels the call. */
void presence_leave(struct presence *presence);
void presence_clear(struct presence *presence);

/* The same for every worker of this process. */
const char *presence_process_id(void);

#endif
