#include "app/inquiry.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/port.h"
#include "app/worker.h"
#include "store/store.h"

#define INQUIRY_TAG 0x51524e49u /* "INRQ" */

struct inquiry_list {
    struct loop *loop;
    struct list inquiries;
    struct worker *const *workers;
    unsigned worker_count;
};

struct inquiry {
    uint32_t tag;
    struct inquiry_list *list;
    struct list_node node;
    const struct inquiry_kind *kind;
    struct port_exchange *exchange; /* NULL: concluded */
    struct arena arena;
    const void *question;
    void *owner;
    struct timer timer;
    unsigned away_count; /* parts that are not back */
    unsigned part_count;
    struct inquiry_part parts[];
};

static void inquiry_free(struct inquiry *inquiry)
{
    CHECK_TAG(inquiry, INQUIRY);
    CHECK(inquiry->exchange == NULL);
    list_remove(&inquiry->node);
    for (unsigned i = 0; i < inquiry->part_count; i++)
        arena_clear(&inquiry->parts[i].arena);
    arena_clear(&inquiry->arena);
    inquiry->tag = 0;
    free(inquiry);
}

static void conclude(struct inquiry *inquiry)
{
    struct port_exchange *exchange = TAKE(&inquiry->exchange);

    timer_stop(inquiry->list->loop, &inquiry->timer);
    inquiry->kind->conclude(inquiry, exchange);
}

static void on_timer(struct timer *timer)
{
    struct inquiry *inquiry = CONTAINER_OF(timer, struct inquiry, timer);

    CHECK_TAG(inquiry, INQUIRY);
    /* It stays in the list until its parts are back. */
    conclude(inquiry);
}

/* ---- on the main loop ---- */

static void on_answer(struct loop *loop, struct loop_message *message)
{
    struct inquiry_part *part = CONTAINER_OF(message, struct inquiry_part, message);
    struct inquiry *inquiry = part->inquiry;

    UNUSED(loop);
    CHECK_TAG(inquiry, INQUIRY);
    part->is_back = true;
    if (--inquiry->away_count > 0)
        return;
    if (inquiry->exchange != NULL)
        conclude(inquiry);
    inquiry_free(inquiry);
}

struct inquiry_list *inquiry_list_open(struct loop *loop, struct worker *const *workers,
                                       unsigned worker_count)
{
    struct inquiry_list *list = mem_calloc(1, sizeof(*list));

    list->loop = loop;
    list->workers = workers;
    list->worker_count = worker_count;
    list_init(&list->inquiries);
    return list;
}

/* The loop has turned for the last time, so answers that wait in its mailbox stay there. */
void inquiry_list_close(struct inquiry_list **place)
{
    struct inquiry_list *list = TAKE(place);

    LIST_EACH (&list->inquiries, node) {
        struct inquiry *inquiry = CONTAINER_OF(node, struct inquiry, node);
        bool is_in_mailbox = false;

        if (inquiry->exchange != NULL)
            conclude(inquiry);
        for (unsigned i = 0; i < inquiry->part_count; i++)
            is_in_mailbox |= inquiry->parts[i].is_posted && !inquiry->parts[i].is_back;
        if (!is_in_mailbox)
            inquiry_free(inquiry);
        else
            list_remove(node);
    }
    free(list);
}

/* By loop_close, after inquiry_list_close. */
static void on_answer_drop(struct loop *loop, struct loop_message *message)
{
    struct inquiry_part *part = CONTAINER_OF(message, struct inquiry_part, message);
    struct inquiry *inquiry = part->inquiry;

    UNUSED(loop);
    part->is_back = true;
    for (unsigned i = 0; i < inquiry->part_count; i++)
        if (inquiry->parts[i].is_posted && !inquiry->parts[i].is_back)
            return;
    inquiry_free(inquiry);
}

struct inquiry *inquiry_open(struct inquiry_list *list, const struct inquiry_kind *kind,
                             struct port_exchange *exchange)
{
    unsigned count = kind->asks_one ? 1 : list->worker_count;
    size_t known_count = 0;
    struct inquiry *inquiry;

    /* Those that are concluded and wait for a stuck worker count, too. */
    LIST_EACH (&list->inquiries, node)
        known_count++;
    if (known_count >= INQUIRY_MAX_OPEN) {
        port_refuse(&exchange, 503, "too-many-questions",
                    "the workers have not answered the questions before this one");
        return NULL;
    }
    inquiry = mem_calloc(1, sizeof(*inquiry) + count * sizeof(inquiry->parts[0]));
    inquiry->tag = INQUIRY_TAG;
    inquiry->list = list;
    inquiry->kind = kind;
    inquiry->exchange = exchange;
    inquiry->part_count = inquiry->away_count = count;
    list_node_init(&inquiry->node);
    list_append(&list->inquiries, &inquiry->node);
    arena_init(&inquiry->arena, NULL);
    for (unsigned i = 0; i < count; i++) {
        inquiry->parts[i].inquiry = inquiry;
        inquiry->parts[i].worker = list->workers[i];
        inquiry->parts[i].index = i;
        arena_init(&inquiry->parts[i].arena, NULL);
    }
    return inquiry;
}

struct arena *inquiry_arena(struct inquiry *inquiry)
{
    CHECK_TAG(inquiry, INQUIRY);
    return &inquiry->arena;
}

/* ---- on the worker's loop ---- */

static void on_question(struct loop *loop, struct loop_message *message)
{
    struct inquiry_part *part = CONTAINER_OF(message, struct inquiry_part, message);

    UNUSED(loop);
    part->inquiry->kind->ask(part, part->inquiry->question);
}

void inquiry_answer(struct inquiry_part *part)
{
    part->is_posted = true;
    part->message = (struct loop_message){.run = on_answer, .on_drop = on_answer_drop};
    loop_post(part->inquiry->list->loop, &part->message);
}

static void copy_reply(const struct reply *from, struct arena *arena, struct reply *to)
{
    struct reply *elements;

    *to = *from;
    to->text = from->text.at != NULL ? arena_copy(arena, from->text) : SLICE_NONE;
    if (from->type != REPLY_ARRAY)
        return;
    elements = arena_alloc(arena, from->element_count * sizeof(*elements));
    for (size_t i = 0; i < from->element_count; i++)
        copy_reply(&from->elements[i], arena, &elements[i]);
    to->elements = elements;
}

static void take_store_answer(struct inquiry_part *part, enum store_result result,
                              const struct reply *reply)
{
    part->has_result = true;
    part->result = result;
    if (result == STORE_OK)
        copy_reply(reply, &part->arena, &part->reply);
    inquiry_answer(part);
}

static void on_reply(struct store_call *call, enum store_result result, const struct reply *reply)
{
    take_store_answer(CONTAINER_OF(call, struct inquiry_part, call), result, reply);
}

void inquiry_answer_from_store(struct inquiry_part *part)
{
    enum store_result result;
    struct reply reply;

    part->call.on_reply = on_reply;
    result = store_eval(worker_store(part->worker), &part->call, &reply);
    if (result != STORE_PENDING)
        take_store_answer(part, result, &reply);
}

void inquiry_start(struct inquiry *inquiry, const void *question, void *owner)
{
    struct inquiry_list *list = inquiry->list;

    inquiry->question = question;
    inquiry->owner = owner;
    timer_start(list->loop, &inquiry->timer, INQUIRY_ANSWER_MS, on_timer);
    for (unsigned i = 0; i < inquiry->part_count; i++) {
        inquiry->parts[i].message.run = on_question;
        worker_post(inquiry->parts[i].worker, &inquiry->parts[i].message);
    }
}

/* ---- conclusions ---- */

const void *inquiry_question(const struct inquiry *inquiry)
{
    return inquiry->question;
}

void *inquiry_owner(const struct inquiry *inquiry)
{
    return inquiry->owner;
}

size_t inquiry_part_count(const struct inquiry *inquiry)
{
    return inquiry->part_count;
}

const struct inquiry_part *inquiry_part(const struct inquiry *inquiry, size_t index)
{
    static const struct inquiry_part missing = {.answer = NULL};

    CHECK(index < inquiry->part_count);
    /* What is not back is the worker's still. */
    return inquiry->parts[index].is_back ? &inquiry->parts[index] : &missing;
}

const struct reply *inquiry_reply(const struct inquiry *inquiry, struct port_exchange *exchange)
{
    const struct inquiry_part *part = inquiry_part(inquiry, 0);
    char detail[300];

    if (!part->has_result) {
        port_refuse(&exchange, 504, "no-answer", "the worker did not answer in time");
        return NULL;
    }
    if (part->result == STORE_OK)
        return &part->reply;
    snprintf(detail, sizeof(detail), "the store did not answer: %s",
             store_result_text(part->result));
    port_refuse(&exchange, 503, "store-unavailable", detail);
    return NULL;
}
