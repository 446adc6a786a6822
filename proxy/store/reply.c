/* hiredis parses, we supply the objects: they live in an arena that is emptied before the next
 * reply is read.  A reply that arrives in pieces keeps its arena across reads. */
#include "store/reply.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_READER_TAG 0x52524452u /* RRDR */

/* hiredis moves the rest of its buffer to the front after every KiB of replies: what it holds at
 * once is kept small, so that this costs little. */
#define FEED_BYTES ((size_t)4096)
/* Only an idle buffer larger than this is given back to the system. */
#define KEEP_BUFFER_BYTES ((size_t)64 * 1024)

struct reply_reader {
    uint32_t tag;
    redisReader *redis;
    struct arena arena;
    size_t max_bytes;
    size_t reply_bytes; /* of the unfinished reply, already taken from the input */
    size_t element_count;
    const char *error;
};

#define REPLY_ERROR_PREFIX(id, prefix, text) SLICE_INIT(prefix),
static const struct slice error_prefixes[] = {REPLY_ERRORS(REPLY_ERROR_PREFIX)};
#define REPLY_ERROR_TEXT(id, prefix, text) text,
static const char *const error_texts[] = {REPLY_ERRORS(REPLY_ERROR_TEXT)};

const char *reply_error_text(enum reply_error error)
{
    CHECK(error < REPLY_ERROR_COUNT);
    return error_texts[error];
}

static enum reply_error class_of_prefix(struct slice text)
{
    unsigned error = 0;

    while (!slice_starts_with(text, error_prefixes[error]))
        error++; /* the last prefix is empty and fits everything */
    return (enum reply_error)error;
}

enum reply_error reply_error_class(struct slice text)
{
    enum reply_error error = class_of_prefix(text);
    const char *code;

    if (error != REPLY_ERROR_OTHER || !slice_starts_with(text, SLICE("ERR Error running script")))
        return error;
    code = memmem(text.at, text.len, ": -", 3);
    if (code == NULL)
        return error;
    return class_of_prefix(slice_skip(text, (size_t)(code + 3 - text.at)));
}

/* The place of the object that task describes: the root, or an element of its parent. */
static struct reply *place_of(const redisReadTask *task)
{
    struct reply_reader *reader = task->privdata;
    const struct reply *parent;

    CHECK_TAG(reader, REPLY_READER);
    if (task->parent == NULL)
        return arena_calloc(&reader->arena, 1, sizeof(struct reply));
    parent = task->parent->obj;
    CHECK(task->idx >= 0 && (size_t)task->idx < parent->element_count);
    return (struct reply *)(uintptr_t)&parent->elements[task->idx];
}

static void *on_string(const redisReadTask *task, char *text, size_t len)
{
    struct reply_reader *reader = task->privdata;
    struct reply *reply = place_of(task);

    reply->type = task->type == REDIS_REPLY_ERROR    ? REPLY_ERROR
                  : task->type == REDIS_REPLY_STATUS ? REPLY_STATUS
                                                     : REPLY_STRING;
    reply->text = arena_copy(&reader->arena, slice_from(text, len));
    return reply;
}

static void *on_array(const redisReadTask *task, int element_count)
{
    struct reply_reader *reader = task->privdata;
    struct reply *reply;
    size_t count = (size_t)element_count;

    /* The number is a promise of the peer and costs it a few bytes: never allocate on its word. */
    if (element_count < 0 || count > REPLY_MAX_ELEMENTS - reader->element_count) {
        reader->error = "reply with too many elements";
        return NULL;
    }
    reader->element_count += count;
    reply = place_of(task);
    reply->type = REPLY_ARRAY;
    reply->element_count = count;
    if (count > 0)
        reply->elements = arena_calloc(&reader->arena, count, sizeof(struct reply));
    return reply;
}

static void *on_integer(const redisReadTask *task, long long value)
{
    struct reply *reply = place_of(task);

    reply->type = REPLY_INTEGER;
    reply->integer = value;
    return reply;
}

static void *on_nil(const redisReadTask *task)
{
    struct reply *reply = place_of(task);

    reply->type = REPLY_NIL;
    return reply;
}

static void on_free(void *object)
{
    UNUSED(object); /* the arena owns it */
}

static const redisReplyObjectFunctions object_functions = {
    .createString = on_string,
    .createArray = on_array,
    .createInteger = on_integer,
    .createNil = on_nil,
    .freeObject = on_free,
};

struct reply_reader *reply_reader_open(struct arena_pool *pool, size_t max_bytes)
{
    struct reply_reader *reader = mem_calloc(1, sizeof(*reader));

    reader->tag = REPLY_READER_TAG;
    reader->max_bytes = max_bytes;
    arena_init(&reader->arena, pool);
    /* hiredis takes a pointer to non-const, and only reads through it. */
    reader->redis =
        redisReaderCreateWithFunctions((redisReplyObjectFunctions *)(uintptr_t)&object_functions);
    if (reader->redis == NULL)
        abort(); /* out of memory */
    reader->redis->maxbuf = KEEP_BUFFER_BYTES;
    reader->redis->privdata = reader;
    return reader;
}

void reply_reader_close(struct reply_reader **place)
{
    struct reply_reader *reader = TAKE(place);

    CHECK_TAG(reader, REPLY_READER);
    redisReaderFree(reader->redis);
    arena_clear(&reader->arena);
    reader->tag = 0;
    free(reader);
}

const char *reply_reader_error(const struct reply_reader *reader)
{
    CHECK_TAG(reader, REPLY_READER);
    return reader->error != NULL ? reader->error : "";
}

static enum reply_progress reader_break(struct reply_reader *reader, const char *error)
{
    if (reader->error == NULL)
        reader->error = error;
    return REPLY_BROKEN;
}

static void reader_feed(struct reply_reader *reader, struct slice *data)
{
    size_t len = data->len < FEED_BYTES ? data->len : FEED_BYTES;

    if (redisReaderFeed(reader->redis, data->at, len) != REDIS_OK)
        abort(); /* out of memory */
    reader->reply_bytes += len;
    *data = slice_skip(*data, len);
}

enum reply_progress reply_reader_next(struct reply_reader *reader, struct slice *data,
                                      const struct reply **ret_reply)
{
    CHECK_TAG(reader, REPLY_READER);
    if (reader->redis->reply == NULL) { /* no unfinished reply: the arena holds the previous one */
        arena_clear(&reader->arena);
        reader->element_count = 0;
    }
    for (;;) {
        void *object = NULL;

        if (reader->error != NULL)
            return REPLY_BROKEN;
        if (redisReaderGetReply(reader->redis, &object) != REDIS_OK)
            return reader_break(reader, reader->redis->errstr);
        if (object != NULL) {
            reader->reply_bytes = reader->redis->len - reader->redis->pos;
            *ret_reply = object;
            return REPLY_ONE;
        }
        if (reader->reply_bytes > reader->max_bytes)
            return reader_break(reader, "reply too long");
        if (data->len == 0)
            return REPLY_MORE;
        reader_feed(reader, data);
    }
}

const char *reply_library_version(void)
{
    return TEXT_OF(HIREDIS_MAJOR) "." TEXT_OF(HIREDIS_MINOR) "." TEXT_OF(HIREDIS_PATCH);
}
