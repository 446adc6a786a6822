/* Who in this process listens to which channel of the embedded engine.  A message is queued for its
 * listener under the registry's lock, and handed out by the listener's own loop, woken through its
 * mailbox.  What a listener has not taken is bounded: beyond, messages are lost and it is told so.
 */
#ifndef STORE_CHANNELS_H
#define STORE_CHANNELS_H

#include <stdint.h>

#include "base/slice.h"
#include "net/loop.h"

/* Bytes that wait for one listener. */
#define CHANNELS_MAX_WAITING_BYTES ((size_t)4 * 1024 * 1024)

struct channels; /* thread-safe */
struct channel_listener;

struct channel_events {
    /* message is lent for the length of the call. */
    void (*on_message)(void *owner, struct slice message);
    /* Messages behind those that came before have been lost. */
    void (*on_overflow)(void *owner);
};

struct channels *channels_open(void);
/* All listeners have been closed. */
void channels_close(struct channels **channels);

/* Events come from loop, whose thread calls this.  name is copied. */
struct channel_listener *channels_listen(struct channels *channels, struct slice name,
                                         struct loop *loop, const struct channel_events *events,
                                         void *owner);
/* From the loop's thread, while the loop is open, not from inside an event.  No event comes
 * afterwards; messages that wait are forgotten. */
void channel_listener_close(struct channel_listener **listener);

/* From any thread; a command_publish_fn.  owner: struct channels.  Gives the number of listeners.
 */
int64_t channels_publish(void *owner, struct slice name, struct slice message);

#endif
