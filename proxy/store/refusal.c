#include "store/refusal.h"

#define REMIND_MS 60000u
#define MAX_ANSWER_BYTES 200u

void refusal_note(struct refusal *refusal, struct slice answer, uint64_t now_ms,
                  const struct log_context *log)
{
    enum reply_error error = reply_error_class(answer);

    if (refusal->was_logged && error == refusal->error &&
        now_ms - refusal->logged_at_ms < REMIND_MS)
        return;
    *refusal = (struct refusal){.error = error, .logged_at_ms = now_ms, .was_logged = true};
    if (answer.len > MAX_ANSWER_BYTES)
        answer = slice_head(answer, MAX_ANSWER_BYTES);
    log_error(log, "store refuses calls", LOG_STR("reason", reply_error_text(error)),
              LOG_SLICE("answer", answer));
}
