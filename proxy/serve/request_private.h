/* What the files of a request share: request.c (its steps and the client's events),
 * request_service.c (the service's events, and what guards have to say of them), request_tunnel.c
 * (what follows a 101) and request_end.c (settling, metrics, the access log).  Nobody else includes
 * this. */
#ifndef SERVE_REQUEST_PRIVATE_H
#define SERVE_REQUEST_PRIVATE_H

#include "guard/guard.h"
#include "serve/gate.h"
#include "serve/peer.h"
#include "serve/relay.h"
#include "serve/request.h"
#include "serve/trailers.h"

#define REQUEST_TAG 0x74737152u /* "Rqst" */

enum step_next { STEP_NEXT, STEP_WAIT, STEP_DONE };

/*  X(step, what bounds its waits) */
#define REQUEST_STEPS(X)                                                                           \
    X(match, "never waits")                                                                        \
    X(guard, "the store's deadline for a call, and the lock's wait")                               \
    X(send, "never waits")                                                                         \
    X(relay, "the pool's and the connection's timeouts")                                           \
    X(release, "GUARD_FINISH_MS")                                                                  \
    X(refuse, "never waits")                                                                       \
    X(finish, "never waits")

#define STEP_ENUM(step, bound) AT_##step,
enum request_step { REQUEST_STEPS(STEP_ENUM) AT_COUNT };

/* How the service's part ended. */
enum service_end { SERVICE_OPEN, SERVICE_ENDED, SERVICE_FAILED };

struct request {
    uint32_t tag;
    enum request_step at;
    bool running;
    bool is_head_sent, is_connected;
    bool is_guarded;   /* a lock is held, or a fence passed: each piece is looked at */
    bool is_stopped;   /* the guards have ended it */
    bool is_forwarded; /* known before the exchange was given up */
    bool is_released;  /* the lock has been given back */
    bool is_detached;  /* the client has gone; in env->detached */
    bool is_counted;   /* in the metrics */
    struct list_node node;
    struct gate gate;
    enum service_end service_end;
    enum upstream_failure failure;
    unsigned status;    /* of the answer; 0 = none was given */
    const char *reason; /* why we answered ourselves or gave up, or NULL */
    struct serve_env *env;
    struct http_conn *conn;
    struct arena *arena;
    const struct http_request *head;
    struct serve_snapshot *snapshot;
    struct policy *policy; /* the snapshot's */
    const struct policy_route *route;
    struct guard *guard;
    const struct verdict *verdict;                      /* of the guards; NULL until it is known */
    struct trailers *upload_trailers, *answer_trailers; /* NULL: none came */
    const struct verdict *refusal; /* what is answered instead of the service's answer */
    struct slice request_id;
    struct trace trace;
    struct slice upstream_address;
    uint64_t sent_at_us, upstream_us;
    struct peer peer;
    struct relay relay;
    const struct jwt_claims *jwt_claims; /* of the request's token, once a key has asked for it */
    struct facts facts;
};

extern const struct verdict request_no_verdict;
extern const struct upstream_events request_service_events;

static inline bool request_is_logged(const struct request *r)
{
    return r->env->access_log != NULL && r->policy->settings.access_log != POLICY_LOG_OFF;
}

/* ---- request.c ---- */

/* The next step is to answer with refusal. */
void request_refuse(struct request *r, const struct verdict *refusal);
/* Steps as far as nothing has to be waited for.  The request may be no more when this returns. */
void request_run(struct request *r);

/* ---- request_service.c ---- */

/* Whether the service may have seen something of the request. */
bool request_was_forwarded(const struct request *r);
void request_give_up_service(struct request *r);
/* The guards say that nothing more may be forwarded: the next step is to say so. */
void request_stop(struct request *r);
/* May a piece be forwarded now?  When it may never be, and no step is running, the request has been
 * stopped and is over. */
enum guard_check request_look(struct request *r);
/* The client's body is complete. */
void request_end_upload(struct request *r);
/* What was held goes to the client. */
void request_flush_gate(struct request *r);
/* The guards' events. */
void request_on_judged(void *owner, bool may_go_on);
void request_on_finished(void *owner, bool may_go_on);

/* To the client. */
void request_send_head(struct request *r, const struct http_response *head);
/* The head of the service's answer has come. */
void request_note_answer(struct request *r);

/* ---- request_tunnel.c ---- */

/* The service's events. */
void request_on_switch(void *owner, const struct http_response *head);
void request_on_half_close(void *owner);
/* answer, a 101, goes to the client. */
void request_open_tunnel(struct request *r, const struct http_response *answer);
/* If both sides of the tunnel have ended, so has the service's part; request_end_tunnel then goes
 * on with the next step. */
void request_finish_tunnel(struct request *r);
void request_end_tunnel(struct request *r);
void request_count_tunnel_bytes(struct request *r, enum policy_way way, size_t bytes);

/* ---- request_end.c ---- */

/* The request's metrics, once.  Those of a tunnel are those of its handshake. */
void request_count(struct request *r);

uint32_t request_refusal_slot(struct serve_env *env, const char *route, const char *reason);
/* Everything but the connection, which comes after: guards are settled before the client can see
 * the last byte. */
void request_settle(struct request *r);

#endif
