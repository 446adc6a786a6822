/* The script calls of one connection: writes them, matches replies with them, sends a call again
 * when the server had forgotten the script, and ends each call exactly once.
 *
 * Invariants.  A slot stays in the pipeline until its reply has come or the connection is lost, so
 * a late reply can only meet its own slot.  The waiting list holds exactly the calls that have not
 * ended, in the order of their deadlines; a call that is sent again keeps its place there.  A call
 * whose last byte is still in the stream when the connection is lost was not sent, for nobody runs
 * half a command; of any other nobody knows. */
#ifndef STORE_REDIS_CALLS_H
#define STORE_REDIS_CALLS_H

#include "base/list.h"
#include "base/log.h"
#include "store/handshake.h"
#include "store/pipeline.h"
#include "store/refusal.h"
#include "store/store_call.h"

struct stream;

typedef void redis_calls_done_cb(void *owner, struct store_call *call, enum store_result result,
                                 const struct reply *reply);

struct redis_calls_script {
    char head[96]; /* "$7\r\nEVALSHA\r\n$40\r\n<sha1>\r\n" */
    size_t head_len;
    uint32_t loaded_by; /* sequence of the last EVAL on this connection, if is_loading */
    bool is_loading;
};

struct redis_calls {
    struct pipeline pipeline; /* the owner puts its own commands in it, too */
    struct list waiting;
    struct stream *stream;  /* the owner's; NULL while there is no connection */
    uint64_t written_bytes; /* to this stream, by everybody */
    handshake_script_getter *get_script;
    struct redis_calls_script scripts[SCRIPT_COUNT];
    redis_calls_done_cb *on_done;
    void *owner;
    const struct log_context *log;
    struct refusal refusal;
    bool has_crossed_slots; /* a call was refused for it */
    bool is_calling_back;
};

void redis_calls_init(struct redis_calls *calls, handshake_script_getter *get_script,
                      redis_calls_done_cb *on_done, void *owner, const struct log_context *log);
/* Calls that wait are forgotten. */
void redis_calls_clear(struct redis_calls *calls);

/* A new connection: nothing is in flight on it. */
void redis_calls_attach(struct redis_calls *calls, struct stream *stream);
/* The connection is lost and the stream is about to be closed: how many bytes may have left.
 * Afterwards redis_calls_fail ends all calls. */
MUST_USE uint64_t redis_calls_detach(struct redis_calls *calls);
void redis_calls_fail(struct redis_calls *calls, uint64_t handed_bytes);

/* False: not sent. */
MUST_USE bool redis_calls_send(struct redis_calls *calls, struct store_call *call, uint64_t now_ms,
                               uint64_t timeout_ms);
void redis_calls_cancel(struct redis_calls *calls, struct store_call *call);
/* The reply to the first slot, which must be a call's. */
void redis_calls_take(struct redis_calls *calls, const struct reply *reply, uint64_t now_ms);
/* Calls whose deadline has passed are unknown. */
void redis_calls_expire(struct redis_calls *calls, uint64_t now_ms);
/* The next deadline, or UINT64_MAX. */
uint64_t redis_calls_deadline_ms(const struct redis_calls *calls);

#endif
