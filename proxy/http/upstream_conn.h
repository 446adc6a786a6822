/* One connection to a service: connecting, parsing answers, one exchange at a time.  Internal to
 * upstream_pool.c and upstream_conn.c. */
#ifndef HTTP_UPSTREAM_CONN_H
#define HTTP_UPSTREAM_CONN_H

#include "base/buf.h"
#include "base/list.h"
#include "http/http_body.h"
#include "http/http_parse.h"
#include "http/upstream_pool.h"
#include "net/loop.h"
#include "net/resolve.h"

#define UPSTREAM_POOL_TAG 0x5550706cu     /* UPpl */
#define UPSTREAM_CONN_TAG 0x5550636eu     /* UPcn */
#define UPSTREAM_EXCHANGE_TAG 0x55506578u /* UPex */

/* A state is a list of the pool. */
#define UPSTREAM_CONN_STATES(X)                                                                    \
    X(CONNECTING, "connecting") /* or looking up the address */                                    \
    X(IDLE, "idle")                                                                                \
    X(ACTIVE, "active") /* has an exchange */                                                      \
    X(DEAD, "")         /* closed; the memory goes when the pool's code is left */

#define UPSTREAM_CONN_STATE_ENUM(id, name) UPSTREAM_CONN_##id,
enum upstream_conn_state {
    UPSTREAM_CONN_STATES(UPSTREAM_CONN_STATE_ENUM) UPSTREAM_CONN_STATE_COUNT
};

#define UPSTREAM_MAX_ADDRESSES 8

struct upstream_conn {
    uint32_t tag;
    uint8_t state;         /* enum upstream_conn_state, set by upstream_pool_move() alone */
    uint8_t interim_count; /* 1xx heads of the current answer */
    uint8_t tries;         /* addresses tried */
    bool was_idle : 1;     /* the current exchange found it idle in the pool */
    bool answer_began : 1; /* a byte of the answer came */
    bool head_done : 1;
    bool keeps_alive : 1; /* as the answer says */
    bool has_ended : 1;   /* the service has closed its side */
    bool wants_drain : 1; /* the owner was told STREAM_FULL */
    bool is_tunnel : 1;   /* after a 101 */
    struct upstream_pool *pool;
    struct list_node node; /* in the pool's list of the state */
    struct stream *stream;
    struct resolve_request *lookup;
    struct upstream_exchange *exchange;
    struct timer timer; /* idle, response and body timeouts */
    struct http_scan scan;
    struct http_body_decoder decoder;
    struct buf held; /* an incomplete head */
    uint64_t progress_bytes;
    uint64_t opened_at_ms;
    char address[STREAM_ADDRESS_BYTES + 8]; /* as text, once connected */
};

struct upstream_exchange {
    uint32_t tag;
    bool request_done : 1; /* the request is sent as a whole */
    bool is_connected_told : 1;
    bool is_repeated : 1;
    bool has_failed : 1; /* task tells so */
    bool is_read_stopped : 1;
    bool is_tunnel : 1;
    bool is_end_written : 1; /* of a chunked body, with its trailers */
    bool has_waited : 1;     /* time has passed since its owner began it */
    bool is_aside : 1;       /* its owner does not want it sent now */
    uint8_t failure;         /* enum upstream_failure */
    uint32_t tried_pools;    /* of the group, as bits */
    struct upstream_pool *pool;
    struct upstream_conn *conn; /* NULL while waiting for one */
    const struct http_request *head;
    struct slice head_bytes;
    struct arena *arena;
    const struct upstream_events *events;
    void *owner;
    struct list_node node; /* in pool->waiting */
    struct timer timer;    /* bounds the wait */
    struct loop_task task;
    uint64_t remaining; /* of a request body with HTTP_BODY_LENGTH, or of a tunnel */
};

struct upstream_pool {
    uint32_t tag;
    unsigned depth; /* > 0 while the pool's code is on the stack */
    bool is_closing;
    struct loop *loop;
    struct upstream_settings settings;            /* strings are copies */
    char *name, *host, *server_name, *host_field; /* the last two may be NULL */
    struct list conns[UPSTREAM_CONN_STATE_COUNT];
    size_t counts[UPSTREAM_CONN_STATE_COUNT];
    struct list waiting; /* exchanges, first come first */
    size_t waiting_count, exchange_count;
    union resolve_address addresses[UPSTREAM_MAX_ADDRESSES]; /* of the last lookup */
    size_t address_count, good_address; /* the last that could be connected to is tried first */
    bool is_literal;                    /* host needs no lookup */
    struct upstream_group *group;       /* NULL: the pool stands alone */
    uint32_t index;                     /* in the group */
    uint32_t failure_count;             /* in a row; upstream_group.c has the say */
    bool is_on_probation;
    uint64_t ejected_until_ms;
    struct metrics_shard *shard; /* may be NULL */
    uint32_t state_slots[UPSTREAM_CONN_STATE_COUNT], waiting_slot, retries_slot;
    uint32_t failure_slots[UPSTREAM_FAILURE_COUNT];
    const struct log_context *log;
};

/* Begin to connect; the pool hears of it through upstream_pool_ready or upstream_pool_unreachable.
 */
void upstream_conn_open(struct upstream_pool *pool);
/* Close and move to the dead. */
void upstream_conn_close(struct upstream_conn *conn);
void upstream_conn_free(struct upstream_conn *conn);
/* Write the exchange's head.  False when the stream turns out to be dead: the connection is closed
 * and the exchange as it was. */
MUST_USE bool upstream_conn_attach(struct upstream_conn *conn, struct upstream_exchange *exchange);
enum stream_status upstream_conn_write(struct upstream_conn *conn, const struct slice *parts,
                                       size_t count);
/* Restart the timer that fits. */
void upstream_conn_wait_for_answer(struct upstream_conn *conn);
void upstream_conn_wait_idle(struct upstream_conn *conn);
/* Past the age at which it may take another exchange. */
bool upstream_conn_is_old(const struct upstream_conn *conn);

/* The pool, for connections. */
void upstream_pool_enter(struct upstream_pool *pool);
/* Frees what died meanwhile; perhaps the pool itself. */
void upstream_pool_leave(struct upstream_pool *pool);
void upstream_pool_move(struct upstream_conn *conn, enum upstream_conn_state state);
/* The connection is free: give it to who waits, or keep it. */
void upstream_pool_ready(struct upstream_conn *conn);
/* No address of the service could be connected to; the connection is closed. */
void upstream_pool_unreachable(struct upstream_pool *pool, int error);
/* The exchange's answer is complete; its connection is free already. */
void upstream_pool_complete(struct upstream_exchange *exchange);
/* The exchange, whose connection is closed already, failed; it may be repeated. */
void upstream_pool_fail(struct upstream_exchange *exchange, enum upstream_failure failure,
                        bool may_repeat);
/* Open connections for those who wait, within the limit. */
void upstream_pool_pump(struct upstream_pool *pool);

#endif
