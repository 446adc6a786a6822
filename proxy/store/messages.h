/* The messages that come to one store, from either engine: who takes them, whether they flow, and
 * the metrics. */
#ifndef STORE_MESSAGES_H
#define STORE_MESSAGES_H

#include "base/log.h"
#include "base/metrics.h"
#include "store/channels.h"
#include "store/redis_conn.h"
#include "store/store.h"

struct messages {
    struct loop *loop;
    char *channel;                /* its name */
    store_message_cb *on_message; /* NULL: nobody listens yet */
    store_gap_cb *on_gap;
    void *owner;
    struct redis_conn *conn;           /* NULL: not from Redis */
    struct channel_listener *listener; /* NULL: not from the embedded engine */
    struct log_context log;
    struct metrics_shard *shard;
    uint32_t subscriptions_slot, messages_slot, gaps_slot;
};

void messages_init(struct messages *messages, struct loop *loop, const char *key_prefix,
                   struct metrics *metrics, struct metrics_shard *shard,
                   const struct log_context *log);
/* No callback comes any more.  Not from inside one. */
void messages_clear(struct messages *messages);

/* Who takes them; then one of the sources. */
void messages_set_owner(struct messages *messages, store_message_cb *on_message,
                        store_gap_cb *on_gap, void *owner);
/* settings->channel is set here. */
void messages_listen_redis(struct messages *messages, const struct redis_conn_settings *settings);
/* See redis_conn_set_bounds. */
void messages_set_bounds(struct messages *messages, const struct redis_conn_settings *settings);
void messages_listen_embedded(struct messages *messages, struct channels *channels);

bool messages_flow(const struct messages *messages);

#endif
