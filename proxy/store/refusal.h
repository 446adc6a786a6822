/* Logs the errors that answer script calls: the first, every other kind, and a reminder each
 * minute, so that a store that refuses everything does not fill the log. */
#ifndef STORE_REFUSAL_H
#define STORE_REFUSAL_H

#include "base/log.h"
#include "store/reply.h"

/* Zero-initialised. */
struct refusal {
    enum reply_error error; /* as logged last */
    uint64_t logged_at_ms;
    bool was_logged;
};

void refusal_note(struct refusal *refusal, struct slice answer, uint64_t now_ms,
                  const struct log_context *log);

#endif
