#include "store/messages.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "store/presence.h"

/* Numbers the stores of this process, so that the names of their channels differ. */
static _Atomic unsigned store_count;

static char *make_channel(const char *key_prefix)
{
    unsigned number = atomic_fetch_add(&store_count, 1) + 1;
    const char *process = presence_process_id();
    int len = snprintf(NULL, 0, "%s:ch:%s.%u", key_prefix, process, number);
    char *channel = mem_alloc((size_t)len + 1);

    snprintf(channel, (size_t)len + 1, "%s:ch:%s.%u", key_prefix, process, number);
    return channel;
}

void messages_init(struct messages *messages, struct loop *loop, const char *key_prefix,
                   struct metrics *metrics, struct metrics_shard *shard,
                   const struct log_context *log)
{
    *messages = (struct messages){.loop = loop,
                                  .channel = make_channel(key_prefix),
                                  .log = {log, LOG_STR("purpose", "messages")},
                                  .shard = shard};
    messages->subscriptions_slot = metrics_series0(metrics, METRIC_STORE_SUBSCRIPTIONS);
    messages->messages_slot = metrics_series0(metrics, METRIC_STORE_MESSAGES);
    messages->gaps_slot = metrics_series0(metrics, METRIC_STORE_GAPS);
}

bool messages_flow(const struct messages *messages)
{
    return messages->listener != NULL ||
           (messages->conn != NULL && redis_conn_is_ready(messages->conn));
}

void messages_clear(struct messages *messages)
{
    if (messages_flow(messages))
        metrics_add(messages->shard, messages->subscriptions_slot, -1);
    if (messages->conn != NULL)
        redis_conn_close(&messages->conn, 0);
    if (messages->listener != NULL)
        channel_listener_close(&messages->listener);
    free(TAKE(&messages->channel));
}

/* --- what the sources tell --- */

static void on_message(void *owner, struct slice message)
{
    struct messages *messages = owner;

    metrics_add(messages->shard, messages->messages_slot, 1);
    messages->on_message(messages->owner, message);
}

static void tell_gap(struct messages *messages)
{
    metrics_add(messages->shard, messages->gaps_slot, 1);
    messages->on_gap(messages->owner);
}

static void on_subscribed(void *owner)
{
    struct messages *messages = owner;

    metrics_add(messages->shard, messages->subscriptions_slot, 1);
    tell_gap(messages);
}

static void on_lost(void *owner)
{
    struct messages *messages = owner;

    metrics_add(messages->shard, messages->subscriptions_slot, -1);
    tell_gap(messages);
}

static void on_overflow(void *owner)
{
    struct messages *messages = owner;

    log_warn(&messages->log, "messages of the embedded store were lost");
    tell_gap(messages);
}

static const struct redis_conn_events conn_events = {
    .on_ready = on_subscribed,
    .on_lost = on_lost,
    .on_message = on_message,
};

static const struct channel_events channel_events = {
    .on_message = on_message,
    .on_overflow = on_overflow,
};

/* --- listening --- */

void messages_set_owner(struct messages *messages, store_message_cb *message_cb,
                        store_gap_cb *gap_cb, void *owner)
{
    CHECK(messages->on_message == NULL && message_cb != NULL && gap_cb != NULL);
    messages->on_message = message_cb;
    messages->on_gap = gap_cb;
    messages->owner = owner;
}

void messages_listen_redis(struct messages *messages, const struct redis_conn_settings *settings)
{
    struct redis_conn_settings for_messages = *settings;

    for_messages.channel = slice_of(messages->channel);
    messages->conn =
        redis_conn_open(messages->loop, &for_messages, &conn_events, messages, &messages->log);
}

void messages_set_bounds(struct messages *messages, const struct redis_conn_settings *settings)
{
    if (messages->conn != NULL)
        redis_conn_set_bounds(messages->conn, settings);
}

void messages_listen_embedded(struct messages *messages, struct channels *channels)
{
    messages->listener = channels_listen(channels, slice_of(messages->channel), messages->loop,
                                         &channel_events, messages);
    metrics_add(messages->shard, messages->subscriptions_slot, 1);
}
