#include "guard/limit_batch.h"

#include <stdlib.h>
#include <sys/random.h>

#include "guard/digits.h"
#include "store/refusal.h"

#define BATCH_TAG 0x68637442u       /* "Btch" */
#define BATCH_GROUP_TAG 0x70724742u /* "BGrp" */

/* What a script call may take is bounded: requests of a group, keys, and bytes of keys. */
#define GROUP_MAX_TICKETS 256u
#define BATCH_MAX_KEYS 64u
#define BATCH_MAX_KEY_BYTES 16384u
/* Open groups are found by a small table without chains; two that meet in one place only make a
 * call longer. */
#define GROUP_SLOTS 256u
/* So many of the youngest open batches may take one more group. */
#define OPEN_BATCHES_SEEN 16
#define MAX_FREE_GROUPS 256u
#define MAX_FREE_BATCHES 32u

/* Requests that ask the same. */
struct batch_group {
    uint32_t tag;
    struct limit_batch *batch;
    struct list_node node; /* in its batch, or free */
    struct list tickets;
    uint64_t ticket_count; /* that came; some may have left */
    uint64_t hash;
    struct limit_grant grant;
    bool is_decided;
};

/* Groups that travel as one call. */
struct limit_batch {
    uint32_t tag;
    bool is_sent, is_delivering;
    struct limit_batcher *batcher;
    struct list_node node; /* in open, sent or free */
    struct list groups;    /* none is empty before the call is sent; in the order of its keys */
    size_t group_count, key_bytes;
    size_t waiting_count; /* tickets, of all groups */
    uint64_t hash;        /* of what its groups have in common */
    struct store_call call;
};

struct limit_batcher {
    struct loop *loop;
    struct store *store;
    const struct log_context *log;
    struct loop_task flush;
    struct list open, sent, free, free_groups;
    size_t free_count, free_group_count;
    struct batch_group *group_slots[GROUP_SLOTS];
    struct arena arena; /* keys and arguments of the call that is being made */
    struct refusal refusal;
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

/* A call for one group. */
static void fill_call(struct limit_batcher *batcher, struct store_call *call,
                      const struct limit_question *questions, size_t count, uint64_t request_count,
                      unsigned divide_by, struct arena *arena)
{
    struct limit_group group = {.questions = questions, .request_count = request_count};

    call->script = SCRIPT_LIMITS;
    limit_set_call(call, next_call_id(batcher), &group, 1, count, divide_by, arena);
}

/* ---- when the store does not decide ---- */

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

/* What was answered for one group; false: it was not decided. */
static bool read_answer(struct limit_batcher *batcher, const struct limit_check *check,
                        const struct reply *elements, struct limit_grant *ret_grant)
{
    if (limit_read_answer(elements, check->question_count, ret_grant))
        return true;
    if (elements[0].type == REPLY_ERROR)
        refusal_note(&batcher->refusal, elements[0].text, loop_now_ms(batcher->loop), batcher->log);
    log_failure(batcher, check, elements[0].type == REPLY_ERROR ? STORE_REFUSED : STORE_OK);
    return false;
}

static bool is_answer(const struct reply *reply, size_t group_count, size_t question_count)
{
    return reply->type == REPLY_ARRAY &&
           reply->element_count == group_count * LIMIT_ANSWER_ELEMENTS(question_count);
}

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

/* ---- groups and batches: open, close ---- */

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
    list_init(&batch->groups);
    list_append(&batcher->open, &batch->node);
    return batch;
}

static void batch_close(struct limit_batch *batch)
{
    struct limit_batcher *batcher = batch->batcher;

    CHECK_TAG(batch, BATCH);
    CHECK(list_is_empty(&batch->groups) && batch->waiting_count == 0);
    list_remove(&batch->node);
    batch->tag = 0;
    if (batcher->free_count >= MAX_FREE_BATCHES) {
        free(batch);
        return;
    }
    list_append(&batcher->free, &batch->node);
    batcher->free_count++;
}

static struct batch_group *group_open(struct limit_batch *batch, uint64_t hash)
{
    struct limit_batcher *batcher = batch->batcher;
    struct list_node *node = list_pop(&batcher->free_groups);
    struct batch_group *group;

    if (node != NULL) {
        group = CONTAINER_OF(node, struct batch_group, node);
        batcher->free_group_count--;
    } else {
        group = mem_alloc(sizeof(*group));
    }
    group->tag = BATCH_GROUP_TAG;
    group->batch = batch;
    group->ticket_count = 0;
    group->hash = hash;
    group->is_decided = false;
    list_node_init(&group->node);
    list_init(&group->tickets);
    list_append(&batch->groups, &group->node);
    batch->group_count++;
    batcher->group_slots[hash % GROUP_SLOTS] = group;
    return group;
}

static void group_forget(struct batch_group *group)
{
    struct batch_group **slot = &group->batch->batcher->group_slots[group->hash % GROUP_SLOTS];

    if (*slot == group)
        *slot = NULL;
}

static void group_close(struct batch_group *group)
{
    struct limit_batcher *batcher = group->batch->batcher;

    CHECK_TAG(group, BATCH_GROUP);
    CHECK(list_is_empty(&group->tickets));
    group_forget(group);
    list_remove(&group->node);
    group->batch->group_count--;
    group->tag = 0;
    if (batcher->free_group_count >= MAX_FREE_GROUPS) {
        free(group);
        return;
    }
    list_append(&batcher->free_groups, &group->node);
    batcher->free_group_count++;
}

static struct batch_group *first_group(const struct limit_batch *batch)
{
    return CONTAINER_OF(list_first(&batch->groups), struct batch_group, node);
}

static const struct limit_check *check_of(const struct batch_group *group)
{
    return &CONTAINER_OF(list_first(&group->tickets), struct limit_ticket, node)->check;
}

/* Those that are still here count from 0 in the order they came. */
static uint64_t number_tickets(struct batch_group *group)
{
    uint64_t count = 0;

    LIST_EACH (&group->tickets, node)
        CONTAINER_OF(node, struct limit_ticket, node)->position = count++;
    return count;
}

/* ---- answers ---- */

/* Each callback may end its request and others, so the tickets are taken one by one. */
static void group_deliver(struct batch_group *group)
{
    struct limit_batch *batch = group->batch;
    const struct limit_grant *grant = &group->grant;
    struct list_node *node;

    if (!group->is_decided && !list_is_empty(&group->tickets))
        grant = ask_local(batch->batcher, check_of(group), number_tickets(group), &group->grant);
    while ((node = list_pop(&group->tickets)) != NULL) {
        struct limit_ticket *ticket = CONTAINER_OF(node, struct limit_ticket, node);

        ticket->group = NULL;
        batch->waiting_count--;
        if (group->is_decided)
            limit_check_judge(&ticket->check, grant, ticket->position);
        else
            limit_check_judge_failure(&ticket->check, grant, ticket->position);
        ticket->on_decided(ticket);
    }
}

/* The reply is lent until the next call into the store, which a callback may make: so all of it is
 * read first. */
static void read_reply(struct limit_batch *batch, const struct reply *reply)
{
    const struct reply *elements = reply->elements;
    size_t answer_elements = reply->element_count / batch->group_count;

    LIST_EACH (&batch->groups, node) {
        struct batch_group *group = CONTAINER_OF(node, struct batch_group, node);

        if (!list_is_empty(&group->tickets))
            group->is_decided =
                read_answer(batch->batcher, check_of(group), elements, &group->grant);
        elements += answer_elements;
    }
}

/* A call is cancelled when nobody waits any more: somebody does. */
static const struct limit_check *any_check(const struct limit_batch *batch)
{
    const struct batch_group *waiting = NULL;

    LIST_EACH (&batch->groups, node) {
        const struct batch_group *group = CONTAINER_OF(node, struct batch_group, node);

        if (!list_is_empty(&group->tickets))
            waiting = group;
    }
    CHECK(waiting != NULL);
    return check_of(waiting);
}

static void batch_conclude(struct limit_batch *batch, enum store_result result,
                           const struct reply *reply)
{
    const struct limit_check *check = any_check(batch);

    batch->is_delivering = true;
    if (result == STORE_OK && is_answer(reply, batch->group_count, check->question_count))
        read_reply(batch, reply);
    else
        log_failure(batch->batcher, check, result);
    while (!list_is_empty(&batch->groups)) {
        group_deliver(first_group(batch));
        group_close(first_group(batch));
    }
    batch_close(batch);
}

static void on_reply(struct store_call *call, enum store_result result, const struct reply *reply)
{
    struct limit_batch *batch = CONTAINER_OF(call, struct limit_batch, call);

    CHECK_TAG(batch, BATCH);
    batch_conclude(batch, result, reply);
}

/* ---- sending ---- */

static void batch_fill_call(struct limit_batch *batch)
{
    struct limit_batcher *batcher = batch->batcher;
    struct limit_group *groups = arena_alloc(&batcher->arena, batch->group_count * sizeof(*groups));
    size_t question_count = check_of(first_group(batch))->question_count, count = 0;

    LIST_EACH (&batch->groups, node) {
        struct batch_group *group = CONTAINER_OF(node, struct batch_group, node);

        group_forget(group);
        groups[count++] = (struct limit_group){.questions = check_of(group)->questions,
                                               .request_count = number_tickets(group)};
    }
    batch->call.script = SCRIPT_LIMITS;
    batch->call.on_reply = on_reply;
    limit_set_call(&batch->call, next_call_id(batcher), groups, count, question_count, 1,
                   &batcher->arena);
}

static void batch_send(struct limit_batch *batch)
{
    struct limit_batcher *batcher = batch->batcher;
    enum store_result result;
    struct reply reply;

    batch->is_sent = true;
    list_remove(&batch->node);
    list_append(&batcher->sent, &batch->node);
    batch_fill_call(batch);
    result = store_eval(batcher->store, &batch->call, &reply);
    arena_clear(&batcher->arena);
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
    if (result != STORE_OK || !is_answer(&reply, 1, check->question_count)) {
        log_failure(batcher, check, result);
    } else if (read_answer(batcher, check, reply.elements, &grant)) {
        limit_check_judge(check, &grant, 0);
        return;
    }
    /* "local" is this very engine, which has just failed. */
    limit_check_judge_failure(check, NULL, 0);
}

static size_t key_bytes_of(const struct limit_check *check)
{
    size_t bytes = 0;

    for (size_t i = 0; i < check->question_count; i++)
        bytes += check->questions[i].store_key.len;
    return bytes;
}

static bool has_room(const struct limit_batch *batch, const struct limit_check *check,
                     size_t key_bytes)
{
    return (batch->group_count + 1) * check->question_count <= BATCH_MAX_KEYS &&
           batch->key_bytes + key_bytes <= BATCH_MAX_KEY_BYTES;
}

static struct limit_batch *find_batch(struct limit_batcher *batcher,
                                      const struct limit_check *check, size_t key_bytes)
{
    uint64_t hash = limit_check_hash_alike(check);
    struct list_node *node = batcher->open.head.prev;

    if (store_is_sharded(batcher->store))
        return batch_open(batcher, hash);
    for (int seen = 0; seen < OPEN_BATCHES_SEEN && node != &batcher->open.head; seen++) {
        struct limit_batch *batch = CONTAINER_OF(node, struct limit_batch, node);

        if (batch->hash == hash && has_room(batch, check, key_bytes) &&
            limit_check_is_alike(check, check_of(first_group(batch))))
            return batch;
        node = node->prev;
    }
    return batch_open(batcher, hash);
}

static struct batch_group *find_group(struct limit_batcher *batcher,
                                      const struct limit_check *check)
{
    uint64_t hash = limit_check_hash(check);
    struct batch_group *group = batcher->group_slots[hash % GROUP_SLOTS];
    size_t key_bytes;
    struct limit_batch *batch;

    if (group != NULL && group->hash == hash && group->ticket_count < GROUP_MAX_TICKETS &&
        limit_check_equal(check, check_of(group)))
        return group;
    key_bytes = key_bytes_of(check);
    batch = find_batch(batcher, check, key_bytes);
    batch->key_bytes += key_bytes;
    return group_open(batch, hash);
}

bool limit_batch_ask(struct limit_batcher *batcher, struct limit_ticket *ticket)
{
    struct batch_group *group;

    CHECK(ticket->check.question_count > 0);
    list_node_init(&ticket->node);
    ticket->group = NULL;
    if (store_is_embedded(batcher->store)) {
        ask_now(batcher, ticket);
        return true;
    }
    group = find_group(batcher, &ticket->check);
    ticket->group = group;
    list_append(&group->tickets, &ticket->node);
    group->ticket_count++;
    group->batch->waiting_count++;
    loop_defer(batcher->loop, &batcher->flush);
    return false;
}

void limit_batch_leave(struct limit_ticket *ticket)
{
    struct batch_group *group = ticket->group;
    struct limit_batch *batch;

    if (group == NULL)
        return;
    batch = group->batch;
    ticket->group = NULL;
    list_remove(&ticket->node);
    batch->waiting_count--;
    if (batch->is_delivering)
        return;
    if (!batch->is_sent && list_is_empty(&group->tickets))
        group_close(group);
    if (batch->waiting_count > 0)
        return;
    if (batch->is_sent)
        store_cancel(&batch->call);
    while (!list_is_empty(&batch->groups))
        group_close(first_group(batch));
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
    list_init(&batcher->free_groups);
    arena_init(&batcher->arena, loop_arena_pool(loop));
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
    while ((node = list_pop(&closing->free_groups)) != NULL)
        free(CONTAINER_OF(node, struct batch_group, node));
    arena_clear(&closing->arena);
    free(closing);
}
