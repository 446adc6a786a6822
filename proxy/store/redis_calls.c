#include "store/redis_calls.h"

#include <string.h>

#include "net/stream.h"
#include "store/resp.h"

#define MAX_RESENDS 2u

void redis_calls_init(struct redis_calls *calls, handshake_script_getter *get_script,
                      redis_calls_done_cb *on_done, void *owner, const struct log_context *log)
{
    *calls = (struct redis_calls){
        .get_script = get_script, .on_done = on_done, .owner = owner, .log = log};
    pipeline_init(&calls->pipeline);
    list_init(&calls->waiting);
    for (unsigned id = 0; id < SCRIPT_COUNT; id++) {
        struct redis_calls_script *script = &calls->scripts[id];
        char *end = resp_put_bulk(script->head, SLICE("EVALSHA"));

        end = resp_put_bulk(end, slice_of(get_script((enum script_id)id)->sha1_hex));
        script->head_len = (size_t)(end - script->head);
        CHECK(script->head_len <= sizeof(script->head));
    }
}

void redis_calls_clear(struct redis_calls *calls)
{
    LIST_EACH (&calls->waiting, node) {
        list_remove(node);
        CONTAINER_OF(node, struct store_call, node)->is_pending = false;
    }
    pipeline_clear(&calls->pipeline);
}

static void finish_call(struct redis_calls *calls, struct store_call *call,
                        enum store_result result, const struct reply *reply)
{
    CHECK(call->is_pending && !calls->is_calling_back);
    list_remove(&call->node);
    call->is_pending = false;
    calls->is_calling_back = true;
    calls->on_done(calls->owner, call, result, reply);
    calls->is_calling_back = false;
}

/* --- sending --- */

/* "*<parts>", the head of EVALSHA or EVAL, and the payload: number of keys, keys, args. */
static bool write_call(struct redis_calls *calls, const struct pipeline_slot *slot, bool as_text,
                       struct slice payload)
{
    const struct redis_calls_script *script = &calls->scripts[slot->detail];
    char star[RESP_HEADER_BYTES], eval[RESP_HEADER_BYTES * 2];
    struct slice parts[5];
    size_t part_count = 0;
    uint64_t total = 0;
    char *end;

    end = resp_put_header(star, '*', slot->part_count);
    parts[part_count++] = slice_from(star, (size_t)(end - star));
    if (as_text) {
        struct slice text = calls->get_script((enum script_id)slot->detail)->text;

        end = resp_put_bulk(eval, SLICE("EVAL"));
        end = resp_put_header(end, '$', text.len);
        parts[part_count++] = slice_from(eval, (size_t)(end - eval));
        parts[part_count++] = text;
        parts[part_count++] = SLICE("\r\n");
    } else {
        parts[part_count++] = slice_from(script->head, script->head_len);
    }
    parts[part_count++] = payload;
    for (size_t i = 0; i < part_count; i++)
        total += parts[i].len;
    if (stream_write(calls->stream, parts, part_count) == STREAM_DEAD)
        return false; /* nothing was taken, and on_end is on its way */
    calls->written_bytes += total;
    return true;
}

/* Upper bound of the bytes encode_payload writes. */
static size_t payload_room(const struct store_call *call)
{
    size_t room = resp_bulk_room(RESP_HEADER_BYTES);

    for (size_t i = 0; i < call->key_count; i++)
        room += resp_bulk_room(call->keys[i].len);
    for (size_t i = 0; i < call->arg_count; i++)
        room += resp_bulk_room(call->args[i].len);
    return room;
}

static size_t encode_payload(const struct store_call *call, char *room)
{
    char *to = resp_put_bulk_uint(room, call->key_count);

    for (size_t i = 0; i < call->key_count; i++)
        to = resp_put_bulk(to, call->keys[i]);
    for (size_t i = 0; i < call->arg_count; i++)
        to = resp_put_bulk(to, call->args[i]);
    return (size_t)(to - room);
}

/* Behind all that end before it: the last, unless the timeout has become shorter. */
static void queue_up(struct redis_calls *calls, struct store_call *call)
{
    struct list_node *before = calls->waiting.head.prev;

    while (before != &calls->waiting.head &&
           CONTAINER_OF(before, struct store_call, node)->deadline_at_ms > call->deadline_at_ms)
        before = before->prev;
    list_node_init(&call->node);
    list_insert_before(before->next, &call->node);
}

bool redis_calls_send(struct redis_calls *calls, struct store_call *call, uint64_t now_ms,
                      uint64_t timeout_ms)
{
    struct pipeline_slot slot = {.kind = PIPELINE_CALL,
                                 .call = call,
                                 .detail = (uint16_t)call->script,
                                 .part_count = (uint32_t)(3 + call->key_count + call->arg_count),
                                 .sent_at_ms = now_ms};
    char *room = pipeline_reserve(&calls->pipeline, payload_room(call));

    CHECK(!call->is_pending && call->script < SCRIPT_COUNT);
    if (room == NULL)
        return false;
    slot.payload_bytes = (uint32_t)encode_payload(call, room);
    if (!write_call(calls, &slot, false, slice_from(room, slot.payload_bytes)))
        return false;
    slot.ends_at = calls->written_bytes;
    call->sequence = pipeline_push(&calls->pipeline, &slot);
    call->is_pending = true;
    call->is_resent = false;
    call->deadline_at_ms = now_ms + timeout_ms;
    queue_up(calls, call);
    return true;
}

/* The script was not there, so it has not run.  The first call that learns it sends the text; those
 * behind it know that the text is under way and only repeat themselves. */
static bool resend_first(struct redis_calls *calls, uint64_t now_ms)
{
    struct pipeline_slot slot = *pipeline_first(&calls->pipeline);
    struct redis_calls_script *script = &calls->scripts[slot.detail];
    uint32_t sequence = calls->pipeline.first;
    bool is_under_way = script->is_loading && (int32_t)(script->loaded_by - sequence) > 0;
    bool as_text = !is_under_way || slot.resend_count + 1u == MAX_RESENDS;
    char *room = pipeline_reserve(&calls->pipeline, slot.payload_bytes);

    if (room == NULL)
        return false;
    memcpy(room, pipeline_first_payload(&calls->pipeline).at, slot.payload_bytes);
    slot.sent_at_ms = now_ms;
    slot.resend_count++;
    if (!write_call(calls, &slot, as_text, slice_from(room, slot.payload_bytes)))
        return false;
    slot.ends_at = calls->written_bytes;
    sequence = pipeline_push(&calls->pipeline, &slot);
    slot.call->sequence = sequence;
    slot.call->is_resent = true;
    if (as_text) {
        script->loaded_by = sequence;
        script->is_loading = true;
    }
    return true;
}

/* --- ending --- */

void redis_calls_take(struct redis_calls *calls, const struct reply *reply, uint64_t now_ms)
{
    struct pipeline_slot slot = *pipeline_first(&calls->pipeline);
    bool is_noscript = reply->type == REPLY_ERROR && slot.call != NULL &&
                       slot.resend_count < MAX_RESENDS &&
                       reply_error_class(reply->text) == REPLY_ERROR_NOSCRIPT;
    bool is_resent = is_noscript && resend_first(calls, now_ms);

    CHECK(slot.kind == PIPELINE_CALL);
    pipeline_pop(&calls->pipeline);
    if (slot.call == NULL || is_resent)
        return;
    if (is_noscript) {
        finish_call(calls, slot.call, STORE_NOT_SENT, NULL);
    } else if (reply->type == REPLY_ERROR) {
        refusal_note(&calls->refusal, reply->text, now_ms, calls->log);
        calls->has_crossed_slots |= reply_error_class(reply->text) == REPLY_ERROR_CROSSSLOT;
        finish_call(calls, slot.call, STORE_REFUSED, NULL);
    } else {
        finish_call(calls, slot.call, STORE_OK, reply);
    }
}

static struct store_call *first_waiting(const struct redis_calls *calls)
{
    struct list_node *node = list_first(&calls->waiting);

    return node != NULL ? CONTAINER_OF(node, struct store_call, node) : NULL;
}

uint64_t redis_calls_deadline_ms(const struct redis_calls *calls)
{
    const struct store_call *call = first_waiting(calls);

    return call != NULL ? call->deadline_at_ms : UINT64_MAX;
}

void redis_calls_expire(struct redis_calls *calls, uint64_t now_ms)
{
    struct store_call *call;

    /* A callback may start new calls; their deadlines are later, so this ends. */
    while ((call = first_waiting(calls)) != NULL && call->deadline_at_ms <= now_ms) {
        pipeline_at(&calls->pipeline, call->sequence)->call = NULL;
        finish_call(calls, call, STORE_UNKNOWN, NULL);
    }
}

void redis_calls_cancel(struct redis_calls *calls, struct store_call *call)
{
    CHECK(call->is_pending);
    pipeline_at(&calls->pipeline, call->sequence)->call = NULL;
    list_remove(&call->node);
    call->is_pending = false;
}

/* --- the connection --- */

void redis_calls_attach(struct redis_calls *calls, struct stream *stream)
{
    CHECK(calls->stream == NULL && pipeline_count(&calls->pipeline) == 0);
    calls->stream = stream;
    calls->written_bytes = 0;
    for (unsigned id = 0; id < SCRIPT_COUNT; id++)
        calls->scripts[id].is_loading = false;
}

uint64_t redis_calls_detach(struct redis_calls *calls)
{
    uint64_t handed_bytes = calls->written_bytes;

    /* Behind TLS nobody can tell which of the pending bytes are whose. */
    if (calls->stream != NULL && !stream_is_tls(calls->stream))
        handed_bytes -= stream_pending_bytes(calls->stream);
    calls->stream = NULL;
    return handed_bytes;
}

void redis_calls_fail(struct redis_calls *calls, uint64_t handed_bytes)
{
    CHECK(calls->stream == NULL); /* so callbacks cannot send anything */
    while (pipeline_count(&calls->pipeline) > 0) {
        struct pipeline_slot slot = *pipeline_first(&calls->pipeline);

        pipeline_pop(&calls->pipeline);
        if (slot.call != NULL)
            finish_call(calls, slot.call,
                        slot.ends_at <= handed_bytes ? STORE_UNKNOWN : STORE_NOT_SENT, NULL);
    }
    CHECK(list_is_empty(&calls->waiting));
}
