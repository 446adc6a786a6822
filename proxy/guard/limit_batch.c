#include "guard/limit_batch.h"

#include <stdlib.h>
#include <sys/random.h>

#include "guard/digits.h"

#define BATCH_TAG 0x68637442u /* "Btch" */

/* A batch holds at most so many requests: what a script call may take is bounded. */
#define BATCH_MAX_TICKETS 256u
/* Open batches are found by a small table without chains; two keys that meet in one place only
 * share fewer calls. */
#define OPEN_SLOTS 256u
#define MAX_FREE_BATCHES 256u

struct limit_batch {
    uint32_t tag;
    bool is_sent, is_delivering;
    struct limit_batcher *batcher;
    struct list_node node; /* in open, sent or free */
    struct list tickets;
    uint64_t ticket_count;
    uint64_t hash;
    struct store_call call;
};

struct limit_batcher {
    struct loop *loop;
    struct store *store;
    const struct log_context *log;
    struct loop_task flush;
    struct list open, sent, free;
    size_t free_count;
    struct limit_batch *slots[OPEN_SLOTS];
    /* Call ids: random per worker, then a counter; unique over all sidecars of a store. */
    char id[16 + DIGITS_MAX_BYTES];
    size_t id_prefix_bytes;
    uint64_t next_id;
};

static struct slice next_call_id(struct limit_batcher *batcher)
{
    char *end = digits_put(batcher->id + batcher->id_prefix_bytes, batcher->next_id++);

    return slice_from(batcher->id, (size_t)(end - batcher->id));
}

static void fill_call(struct limit_batcher *batcher, struct store_call *call,
                      const struct limit_question *questions, size_t count, uint64_t request_count,
                      unsigned divide_by, struct arena *arena)
{
    struct slice *keys, *args;

    call->script = SCRIPT_LIMITS;
    call->arg_count = limit_script_args(questions, count, request_count, next_call_id(batcher),
                                        divide_by, arena, &keys, &args, &call->key_count);
    call->keys = keys;
    call->args = args;
}

/* ---- when the store does not decide ---- */

/* Asks the local engine for what check leaves to it; NULL when there is nothing or no answer. */
static const struct limit_grant *ask_local(struct limit_batcher *batcher,
                                           const struct limit_check *check, uint64_t request_count,
                                           struct limit_grant *grant)
{
    struct limit_question questions[POLICY_MAX_LIMITS_PER_ROUTE];
    struct store_call call = {.on_reply = NULL};
    struct reply reply;
    size_t count;

    if (!limit_check_local(check, questions, &count))
        return NULL;
    fill_call(batcher, &call, questions, count, request_count, store_known_sidecars(batcher->store),
              check->arena);
    if (store_eval_local(batcher->store, &call, &reply) == STORE_OK &&
        limit_read_reply(&reply, count, grant))
        return grant;
    log_warn(batcher->log, "local engine did not decide either; limits are not enforced",
             LOG_STR("route", check->route->name));
    return NULL;
}

static void log_failure(struct limit_batcher *batcher, const struct limit_check *check,
                        enum store_result result)
{
    if (result == STORE_OK)
        log_error(batcher->log, "the limits script gave an answer of the wrong shape",
                  LOG_STR("route", check->route->name));
    else if (result == STORE_REFUSED)
        log_warn(batcher->log, "the store refused to decide limits",
                 LOG_STR("route", check->route->name));
    else
        log_debug(batcher->log, "the store did not decide limits",
                  LOG_STR("route", check->route->name),
                  LOG_STR("result", store_result_name(result)));
}

/* ---- batches ---- */

static struct limit_batch *batch_open(struct limit_batcher *batcher, uint64_t hash)
{
    struct list_node *node = list_pop(&batcher->free);
    struct limit_batch *batch;

    if (node != NULL) {
        batch = CONTAINER_OF(node, struct limit_batch, node);
        batcher->free_count--;
    } else {
        batch = mem_alloc(sizeof(*batch));
    }
    *batch = (struct limit_batch){.tag = BATCH_TAG, .batcher = batcher, .hash = hash};
    list_node_init(&batch->node);
    list_init(&batch->tickets);
    list_append(&batcher->open, &batch->node);
    batcher->slots[hash % OPEN_SLOTS] = batch;
    return batch;
}

static void batch_close(struct limit_batch *batch)
{
    struct limit_batcher *batcher = batch->batcher;

    CHECK_TAG(batch, BATCH);
    CHECK(list_is_empty(&batch->tickets));
    if (batcher->slots[batch->hash % OPEN_SLOTS] == batch)
        batcher->slots[batch->hash % OPEN_SLOTS] = NULL;
    list_remove(&batch->node);
    batch->tag = 0;
    if (batcher->free_count >= MAX_FREE_BATCHES) {
        free(batch);
        return;
    }
    list_append(&batcher->free, &batch->node);
    batcher->free_count++;
}

static struct limit_ticket *first_ticket(const struct limit_batch *batch)
{
    return CONTAINER_OF(list_first(&batch->tickets), struct limit_ticket, node);
}

/* Those that are still here count from 0 in the order they came. */
static uint64_t number_tickets(struct limit_batch *batch)
{
    uint64_t count = 0;

    LIST_EACH (&batch->tickets, node)
        CONTAINER_OF(node, struct limit_ticket, node)->position = count++;
    return count;
}

/* Each callback may end its request and others, so the tickets are taken one by one. */
static void batch_deliver(struct limit_batch *batch, const struct limit_grant *grant,
                          bool is_decided)
{
    struct list_node *node;

    batch->is_delivering = true;
    while ((node = list_pop(&batch->tickets)) != NULL) {
        struct limit_ticket *ticket = CONTAINER_OF(node, struct limit_ticket, node);

        ticket->batch = NULL;
        if (is_decided)
            limit_check_judge(&ticket->check, grant, ticket->position);
        else
            limit_check_judge_failure(&ticket->check, grant, ticket->position);
        ticket->on_decided(ticket);
    }
    batch_close(batch);
}

static void batch_conclude(struct limit_batch *batch, enum store_result result,
                           const struct reply *reply)
{
    struct limit_batcher *batcher = batch->batcher;
    const struct limit_check *check = &first_ticket(batch)->check;
    struct limit_grant grant;

    if (result == STORE_OK && limit_read_reply(reply, check->question_count, &grant)) {
        batch_deliver(batch, &grant, true);
        return;
    }
    log_failure(batcher, check, result);
    batch_deliver(batch, ask_local(batcher, check, number_tickets(batch), &grant), false);
}

static void on_reply(struct store_call *call, enum store_result result, const struct reply *reply)
{
    struct limit_batch *batch = CONTAINER_OF(call, struct limit_batch, call);

    CHECK_TAG(batch, BATCH);
    batch_conclude(batch, result, reply);
}

static void batch_send(struct limit_batch *batch)
{
    struct limit_batcher *batcher = batch->batcher;
    const struct limit_check *check = &first_ticket(batch)->check;
    enum store_result result;
    struct reply reply;

    batch->is_sent = true;
    if (batcher->slots[batch->hash % OPEN_SLOTS] == batch)
        batcher->slots[batch->hash % OPEN_SLOTS] = NULL;
    list_remove(&batch->node);
    list_append(&batcher->sent, &batch->node);
    batch->call.on_reply = on_reply;
    fill_call(batcher, &batch->call, check->questions, check->question_count, number_tickets(batch),
              1, check->arena);
    result = store_eval(batcher->store, &batch->call, &reply);
    if (result != STORE_PENDING)
        batch_conclude(batch, result, &reply);
}

static void on_flush(struct loop_task *task)
{
    struct limit_batcher *batcher = CONTAINER_OF(task, struct limit_batcher, flush);
    struct list_node *node;

    /* A verdict may lead to the next request of its connection, which opens a batch: that one
     * belongs to this tick as well. */
    while ((node = list_first(&batcher->open)) != NULL)
        batch_send(CONTAINER_OF(node, struct limit_batch, node));
}

/* ---- tickets ---- */

static void ask_now(struct limit_batcher *batcher, struct limit_ticket *ticket)
{
    struct limit_check *check = &ticket->check;
    struct store_call call = {.on_reply = NULL};
    struct limit_grant grant;
    struct reply reply;
    enum store_result result;

    fill_call(batcher, &call, check->questions, check->question_count, 1, 1, check->arena);
    result = store_eval(batcher->store, &call, &reply);
    CHECK(result != STORE_PENDING);
    if (result == STORE_OK && limit_read_reply(&reply, check->question_count, &grant)) {
        limit_check_judge(check, &grant, 0);
        return;
    }
    log_failure(batcher, check, result);
    /* "local" is this very engine, which has just failed. */
    limit_check_judge_failure(check, NULL, 0);
}

static struct limit_batch *find_batch(struct limit_batcher *batcher,
                                      const struct limit_check *check)
{
    uint64_t hash = limit_check_hash(check);
    struct limit_batch *batch = batcher->slots[hash % OPEN_SLOTS];

    if (batch != NULL && batch->hash == hash && batch->ticket_count < BATCH_MAX_TICKETS &&
        limit_check_equal(check, &first_ticket(batch)->check))
        return batch;
    return batch_open(batcher, hash);
}

bool limit_batch_ask(struct limit_batcher *batcher, struct limit_ticket *ticket)
{
    struct limit_batch *batch;

    CHECK(ticket->check.question_count > 0);
    list_node_init(&ticket->node);
    ticket->batch = NULL;
    if (store_is_embedded(batcher->store)) {
        ask_now(batcher, ticket);
        return true;
    }
    batch = find_batch(batcher, &ticket->check);
    ticket->batch = batch;
    list_append(&batch->tickets, &ticket->node);
    batch->ticket_count++;
    loop_defer(batcher->loop, &batcher->flush);
    return false;
}

void limit_batch_leave(struct limit_ticket *ticket)
{
    struct limit_batch *batch = ticket->batch;

    if (batch == NULL)
        return;
    ticket->batch = NULL;
    list_remove(&ticket->node);
    if (batch->is_delivering || !list_is_empty(&batch->tickets))
        return;
    if (batch->is_sent)
        store_cancel(&batch->call);
    batch_close(batch);
}

struct limit_batcher *limit_batcher_open(struct loop *loop, struct store *store,
                                         const struct log_context *log)
{
    static const char letters[] =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    struct limit_batcher *batcher = mem_calloc(1, sizeof(*batcher));
    uint8_t bytes[15];

    batcher->loop = loop;
    batcher->store = store;
    batcher->log = log;
    loop_task_init(&batcher->flush, on_flush);
    list_init(&batcher->open);
    list_init(&batcher->sent);
    list_init(&batcher->free);
    CHECK(getrandom(bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        batcher->id[batcher->id_prefix_bytes++] = letters[bytes[i] % 64];
    batcher->id[batcher->id_prefix_bytes++] = '.';
    return batcher;
}

void limit_batcher_close(struct limit_batcher **batcher)
{
    struct limit_batcher *closing = TAKE(batcher);
    struct list_node *node;

    CHECK(list_is_empty(&closing->open) && list_is_empty(&closing->sent));
    loop_undefer(&closing->flush);
    while ((node = list_pop(&closing->free)) != NULL)
        free(CONTAINER_OF(node, struct limit_batch, node));
    free(closing);
}
