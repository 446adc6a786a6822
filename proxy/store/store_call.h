/* One call of a script: what is asked, and what is known about its fate. */
#ifndef STORE_STORE_CALL_H
#define STORE_STORE_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"
#include "store/reply.h"
#include "store/script.h"

struct store;

#define STORE_RESULTS(X)                                                                           \
    X(OK, "ok", "reply received")                                                                  \
    X(NOT_SENT, "not_sent", "never left this process; safe to retry")                              \
    X(UNKNOWN, "unknown", "sent, no reply in time; the script may have run")                       \
    X(REFUSED, "refused", "the server answered with an error; nothing was changed")                \
    X(PENDING, "pending", "on its way; the callback will come")

#define STORE_RESULT_ENUM(id, name, text) STORE_##id,
enum store_result { STORE_RESULTS(STORE_RESULT_ENUM) STORE_RESULT_COUNT };

struct store_call;
/* reply is NULL unless result is STORE_OK; it is lent for the length of the call. */
typedef void store_cb(struct store_call *call, enum store_result result, const struct reply *reply);

/* Caller's memory, zero-initialised before its first use; must live until the callback or
 * store_cancel.  Keys and args may go as soon as store_eval has returned. */
struct store_call {
    enum script_id script;
    const struct slice *keys;
    size_t key_count;
    const struct slice *args;
    size_t arg_count;
    store_cb *on_reply;
    /* private to store/ */
    struct list_node node; /* among the calls that wait, in the order of their deadlines */
    struct store *store;
    uint64_t sent_at_us;
    uint64_t deadline_at_ms;
    uint32_t sequence; /* its place in the pipeline */
    bool is_pending, is_resent;
};

#endif
