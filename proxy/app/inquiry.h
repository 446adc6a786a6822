/* A question of the admin port to the workers: asked in their mailboxes, answered on their loops,
 * and put together on the main loop, with a deadline, as a worker may be stuck.
 *
 * An inquiry belongs to the main thread.  A part of it is lent to its worker from the question to
 * the answer; the question itself is only read from then on.  When a part does not come back (its
 * worker has ended), it is freed with the list of inquiries, after the workers' threads have been
 * joined. */
#ifndef APP_INQUIRY_H
#define APP_INQUIRY_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/list.h"
#include "net/loop.h"
#include "store/store_call.h"

struct inquiry;
struct inquiry_list;
struct port_exchange;
struct worker;

/* Shorter than PORT_ANSWER_MS. */
#define INQUIRY_ANSWER_MS 5000
/* Questions that wait for workers, all together; more are refused (503). */
#define INQUIRY_MAX_OPEN 64

/* One worker's part. */
struct inquiry_part {
    struct inquiry *inquiry;
    struct worker *worker;
    unsigned index;     /* of the worker, from 0 */
    struct arena arena; /* for the answer */
    void *answer;       /* NULL: none (yet) */
    struct store_call call;
    bool has_result;
    enum store_result result; /* of inquiry_answer_from_store */
    struct reply reply;       /* when it is STORE_OK */
    /* private */
    struct loop_message message;
    bool is_posted, is_back;
};

/* On the worker's loop: sets answer, in the arena, and calls inquiry_answer, now or later from a
 * callback there. */
typedef void inquiry_ask_cb(struct inquiry_part *part, const void *question);
/* On the main loop, once: parts whose answer is NULL are missing.  Answers the exchange. */
typedef void inquiry_conclude_cb(struct inquiry *inquiry, struct port_exchange *exchange);

struct inquiry_kind {
    inquiry_ask_cb *ask;
    inquiry_conclude_cb *conclude;
    bool asks_one; /* of the workers, the first */
};

struct inquiry_list *inquiry_list_open(struct loop *loop, struct worker *const *workers,
                                       unsigned worker_count);
/* The workers' threads have ended.  Exchanges are answered with what there is. */
void inquiry_list_close(struct inquiry_list **list);

/* Begins one; its question is made next, in its arena.  NULL: the exchange has been refused, as too
 * many are open. */
struct inquiry *inquiry_open(struct inquiry_list *list, const struct inquiry_kind *kind,
                             struct port_exchange *exchange);
struct arena *inquiry_arena(struct inquiry *inquiry);
/* Asks.  question is of the inquiry's arena, and may be NULL; owner is for conclude. */
void inquiry_start(struct inquiry *inquiry, const void *question, void *owner);

/* Gives the part back; not to be touched afterwards. */
void inquiry_answer(struct inquiry_part *part);
/* Runs part->call (script, keys and args are set, in memory of the question) on the worker's store,
 * copies what it says to result and reply, and gives the part back. */
void inquiry_answer_from_store(struct inquiry_part *part);

/* For conclude. */
const void *inquiry_question(const struct inquiry *inquiry);
void *inquiry_owner(const struct inquiry *inquiry);
size_t inquiry_part_count(const struct inquiry *inquiry);
const struct inquiry_part *inquiry_part(const struct inquiry *inquiry, size_t index);
/* What the store said to the first worker, or NULL: the exchange has been refused. */
const struct reply *inquiry_reply(const struct inquiry *inquiry, struct port_exchange *exchange);

#endif
