#include "store/refusal.h"

#include <string.h>

#define REMIND_MS 60000u
#define MAX_ANSWER_BYTES 200u
#define STATE_CODE SLICE("LKSTATE")

/* What may be logged of it.  Keys are never logged in the clear, and behind LKSTATE there is one.
 */
static struct slice without_key(struct slice answer)
{
    const char *code = memmem(answer.at, answer.len, STATE_CODE.at, STATE_CODE.len);

    if (code != NULL)
        answer = slice_head(answer, (size_t)(code - answer.at) + STATE_CODE.len);
    return slice_head(answer, answer.len < MAX_ANSWER_BYTES ? answer.len : MAX_ANSWER_BYTES);
}

void refusal_note(struct refusal *refusal, struct slice answer, uint64_t now_ms,
                  const struct log_context *log)
{
    enum reply_error error = reply_error_class(answer);

    if (refusal->was_logged && error == refusal->error &&
        now_ms - refusal->logged_at_ms < REMIND_MS)
        return;
    *refusal = (struct refusal){.error = error, .logged_at_ms = now_ms, .was_logged = true};
    log_error(log, "store refuses calls", LOG_STR("reason", reply_error_text(error)),
              LOG_SLICE("answer", without_key(answer)));
}
