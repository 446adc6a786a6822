/* What a reload changes as one: the policies, and the pools of connections made from them.  One
 * worker's own; a request holds the snapshot it began with, so the pools of an old one go when its
 * last request has ended. */
#ifndef SERVE_SNAPSHOT_H
#define SERVE_SNAPSHOT_H

#include "base/log.h"
#include "base/metrics.h"
#include "http/upstream_group.h"
#include "policy/policy.h"

struct serve_snapshot {
    struct policy *policy;
    size_t reference_count;
    struct upstream_group *upstreams[]; /* by policy_upstream.index */
};

/* tls: one for each of the policy's upstreams, NULL where it speaks plain HTTP; references are
 * taken.  The caller gets one reference. */
struct serve_snapshot *serve_snapshot_open(struct loop *loop, struct policy *policy,
                                           struct tls_context *const *tls, struct metrics *metrics,
                                           struct metrics_shard *shard,
                                           const struct log_context *log);

static inline struct serve_snapshot *serve_snapshot_ref(struct serve_snapshot *snapshot)
{
    snapshot->reference_count++;
    return snapshot;
}

void serve_snapshot_unref(struct serve_snapshot **snapshot);

#endif
