/* A listener's loop is posted to only while the listener is registered, under the lock; so no loop
 * is posted to that may be gone.  The wake-up call is part of the listener: one that is under way
 * when the listener closes keeps it alive, closed, until the mailbox lets go of it. */
#include "store/channels.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"

#define CHANNELS_TAG 0x43484e53u         /* CHNS */
#define CHANNEL_LISTENER_TAG 0x43484c49u /* CHLI */

struct channels {
    uint32_t tag;
    pthread_mutex_t lock;
    struct list listeners; /* a handful: one per worker */
};

struct channel_listener {
    uint32_t tag;
    struct list_node node;
    struct channels *channels; /* NULL: closed */
    struct loop *loop;
    const struct channel_events *events;
    void *owner;
    char *name;
    bool is_calling_back;
    struct loop_message wake;
    /* under the lock */
    struct buf waiting; /* each message with its length in front */
    bool is_posted;     /* the wake-up call is under way */
    bool has_overflowed;
};

struct channels *channels_open(void)
{
    struct channels *channels = mem_calloc(1, sizeof(*channels));

    channels->tag = CHANNELS_TAG;
    pthread_mutex_init(&channels->lock, NULL);
    list_init(&channels->listeners);
    return channels;
}

void channels_close(struct channels **place)
{
    struct channels *channels = TAKE(place);

    CHECK_TAG(channels, CHANNELS);
    CHECK(list_is_empty(&channels->listeners));
    pthread_mutex_destroy(&channels->lock);
    channels->tag = 0;
    free(channels);
}

/* --- handing out --- */

static void free_listener(struct channel_listener *listener)
{
    buf_clear(&listener->waiting);
    free(listener->name);
    listener->tag = 0;
    free(listener);
}

static void hand_out(struct channel_listener *listener, struct buf *taken)
{
    struct slice rest = buf_slice(taken);

    while (rest.len > 0) {
        uint32_t len;

        memcpy(&len, rest.at, sizeof(len));
        rest = slice_skip(rest, sizeof(len));
        listener->events->on_message(listener->owner, slice_head(rest, len));
        rest = slice_skip(rest, len);
    }
}

static void on_wake(struct loop *loop, struct loop_message *wake)
{
    struct channel_listener *listener = CONTAINER_OF(wake, struct channel_listener, wake);
    struct buf taken;
    bool has_overflowed;

    UNUSED(loop);
    CHECK_TAG(listener, CHANNEL_LISTENER);
    if (listener->channels == NULL) {
        free_listener(listener);
        return;
    }
    pthread_mutex_lock(&listener->channels->lock);
    taken = listener->waiting;
    buf_init(&listener->waiting, CHANNELS_MAX_WAITING_BYTES);
    has_overflowed = listener->has_overflowed;
    listener->has_overflowed = listener->is_posted = false;
    pthread_mutex_unlock(&listener->channels->lock);
    listener->is_calling_back = true;
    hand_out(listener, &taken);
    if (has_overflowed)
        listener->events->on_overflow(listener->owner);
    listener->is_calling_back = false;
    buf_clear(&taken);
}

/* The loop closes, so the listener, which had to close before, is only waiting for this. */
static void on_drop(struct loop *loop, struct loop_message *wake)
{
    struct channel_listener *listener = CONTAINER_OF(wake, struct channel_listener, wake);

    UNUSED(loop);
    CHECK_TAG(listener, CHANNEL_LISTENER);
    CHECK(listener->channels == NULL);
    free_listener(listener);
}

/* --- publishing --- */

/* Under the lock.  Once a message is lost the rest is lost, too, until the listener knows. */
static void deliver(struct channel_listener *listener, struct slice message)
{
    uint32_t len = (uint32_t)message.len;
    char *room = NULL;

    if (!listener->has_overflowed && message.len <= CHANNELS_MAX_WAITING_BYTES)
        room = buf_reserve(&listener->waiting, sizeof(len) + message.len);
    if (room == NULL) {
        listener->has_overflowed = true;
    } else {
        memcpy(room, &len, sizeof(len));
        if (len > 0)
            memcpy(room + sizeof(len), message.at, len);
        buf_commit(&listener->waiting, sizeof(len) + message.len);
    }
    if (listener->is_posted)
        return;
    listener->is_posted = true;
    loop_post(listener->loop, &listener->wake);
}

int64_t channels_publish(void *owner, struct slice name, struct slice message)
{
    struct channels *channels = owner;
    int64_t count = 0;

    CHECK_TAG(channels, CHANNELS);
    pthread_mutex_lock(&channels->lock);
    LIST_EACH (&channels->listeners, node) {
        struct channel_listener *listener = CONTAINER_OF(node, struct channel_listener, node);

        if (!slice_equal(slice_of(listener->name), name))
            continue;
        deliver(listener, message);
        count++;
    }
    pthread_mutex_unlock(&channels->lock);
    return count;
}

/* --- listening --- */

struct channel_listener *channels_listen(struct channels *channels, struct slice name,
                                         struct loop *loop, const struct channel_events *events,
                                         void *owner)
{
    struct channel_listener *listener = mem_calloc(1, sizeof(*listener));

    CHECK_TAG(channels, CHANNELS);
    listener->tag = CHANNEL_LISTENER_TAG;
    listener->channels = channels;
    listener->loop = loop;
    listener->events = events;
    listener->owner = owner;
    listener->name = mem_copy_slice(name);
    listener->wake = (struct loop_message){.run = on_wake, .on_drop = on_drop};
    buf_init(&listener->waiting, CHANNELS_MAX_WAITING_BYTES);
    list_node_init(&listener->node);
    pthread_mutex_lock(&channels->lock);
    list_append(&channels->listeners, &listener->node);
    pthread_mutex_unlock(&channels->lock);
    return listener;
}

void channel_listener_close(struct channel_listener **place)
{
    struct channel_listener *listener = TAKE(place);
    struct channels *channels = listener->channels;
    bool is_posted;

    CHECK_TAG(listener, CHANNEL_LISTENER);
    CHECK_TAG(channels, CHANNELS);
    CHECK(!listener->is_calling_back);
    pthread_mutex_lock(&channels->lock);
    list_remove(&listener->node);
    is_posted = listener->is_posted;
    pthread_mutex_unlock(&channels->lock);
    listener->channels = NULL;
    if (!is_posted)
        free_listener(listener);
}
