#include "serve/snapshot.h"

#include <stdlib.h>

static struct upstream_group *open_group(struct loop *loop, const struct policy *policy,
                                         const struct policy_upstream *upstream,
                                         struct tls_context *tls, struct metrics *metrics,
                                         struct metrics_shard *shard, const struct log_context *log)
{
    struct upstream_settings addresses[POLICY_MAX_ADDRESSES];
    const struct upstream_group_settings settings = {
        .addresses = addresses,
        .address_count = upstream->address_count,
        .balance = upstream->balance == POLICY_LEAST_CONNECTIONS ? UPSTREAM_LEAST_CONNECTIONS
                                                                 : UPSTREAM_ROUND_ROBIN,
        .eject_failures = (uint32_t)upstream->eject_failures,
        .eject_ms = upstream->eject_ms,
    };

    for (size_t i = 0; i < upstream->address_count; i++) {
        const struct policy_address *address = &upstream->addresses[i];

        addresses[i] = (struct upstream_settings){
            .name = upstream->name,
            .host = address->host,
            .port = address->port,
            .tls = address->is_tls ? tls : NULL,
            .server_name = upstream->tls_server_name,
            .host_field = upstream->host == POLICY_HOST_REWRITE ? address->host_field : NULL,
            .connect_timeout_ms = upstream->connect_timeout_ms,
            .response_timeout_ms = upstream->response_timeout_ms,
            .body_timeout_ms = upstream->response_body_timeout_ms,
            .idle_timeout_ms = upstream->idle_timeout_ms,
            .max_age_ms = upstream->max_age_ms,
            .max_connections = (uint32_t)upstream->max_connections,
            .max_waiting = (uint32_t)upstream->max_waiting,
            .max_header_bytes = (uint32_t)policy->settings.max_header_bytes,
            .max_header_count = (uint32_t)policy->settings.max_header_count,
            .keeps_trailers = policy->settings.trailer_count > 0,
        };
    }
    return upstream_group_open(loop, &settings, metrics, shard, log);
}

struct serve_snapshot *serve_snapshot_open(struct loop *loop, struct policy *policy,
                                           struct tls_context *const *tls, struct metrics *metrics,
                                           struct metrics_shard *shard,
                                           const struct log_context *log)
{
    size_t count = policy->upstream_count;
    struct serve_snapshot *snapshot =
        mem_calloc(1, sizeof(*snapshot) + count * sizeof(snapshot->upstreams[0]));

    snapshot->policy = policy_ref(policy);
    snapshot->reference_count = 1;
    for (size_t i = 0; i < count; i++)
        snapshot->upstreams[i] =
            open_group(loop, policy, policy->upstreams[i], tls[i], metrics, shard, log);
    return snapshot;
}

void serve_snapshot_unref(struct serve_snapshot **place)
{
    struct serve_snapshot *snapshot = TAKE(place);

    CHECK(snapshot->reference_count > 0);
    if (--snapshot->reference_count > 0)
        return;
    for (size_t i = 0; i < snapshot->policy->upstream_count; i++)
        upstream_group_close(&snapshot->upstreams[i]);
    policy_unref(&snapshot->policy);
    free(snapshot);
}
