/* A request that became a tunnel: its guards hold on as long as it lives, and each piece that goes
 * through it is looked at as the pieces of a body are. */
#include "serve/request_private.h"

static void on_idle(struct relay *relay)
{
    struct request *r = CONTAINER_OF(relay, struct request, relay);

    CHECK_TAG(r, REQUEST);
    r->reason = "tunnel-idle";
    request_give_up_service(r);
    r->is_stopped = true;
    r->at = AT_finish;
    request_run(r);
}

void request_open_tunnel(struct request *r, const struct http_response *answer)
{
    struct relay_tunnel *tunnel = arena_calloc(r->arena, 1, sizeof(*tunnel));

    tunnel->idle_ms = r->policy->settings.tunnel_timeout_ms;
    tunnel->on_idle = on_idle;
    metrics_add(r->env->shard, r->route->tunnels_slot, 1);
    request_count(r);
    relay_switch(&r->relay, answer, tunnel);
}

void request_on_switch(void *owner, const struct http_response *head)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    request_note_answer(r);
    if (r->is_detached) { /* nobody is there to use it */
        r->at = AT_finish;
        request_give_up_service(r);
        request_run(r);
        return;
    }
    if (r->is_guarded && request_look(r) != GUARD_GO_ON) {
        if (r->gate.is_paused)
            r->gate.head = head;
        return;
    }
    request_send_head(r, head);
}

void request_on_half_close(void *owner)
{
    struct request *r = owner;

    CHECK_TAG(r, REQUEST);
    if (r->is_guarded && request_look(r) != GUARD_GO_ON) {
        r->gate.has_service_end = r->gate.is_paused;
        return;
    }
    relay_on_service_half_close(&r->relay);
    request_end_tunnel(r);
}

void request_finish_tunnel(struct request *r)
{
    if (r->relay.exchange == NULL || !relay_is_over(&r->relay))
        return;
    relay_finish(&r->relay);
    r->service_end = SERVICE_ENDED;
}

void request_end_tunnel(struct request *r)
{
    if (r->relay.tunnel == NULL)
        return;
    request_finish_tunnel(r);
    request_run(r);
}

void request_count_tunnel_bytes(struct request *r, enum policy_way way, size_t bytes)
{
    metrics_add(r->env->shard, r->route->tunnel_bytes_slots[way], (int64_t)bytes);
}
