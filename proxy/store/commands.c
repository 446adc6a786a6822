#include "store/commands.h"

#include <stdio.h>

#include "store/commands_private.h"

/* X(name, arity, flags, function).  In the order of names.  Arity counts the name; negative: at
 * least so many. */
#define COMMANDS(X)                                                                                \
    X("del", -2, WRITES, command_del)                                                              \
    X("exists", -2, 0, command_exists)                                                             \
    X("get", 2, 0, command_get)                                                                    \
    X("hdel", -3, WRITES, command_hdel)                                                            \
    X("hexists", 3, 0, command_hexists)                                                            \
    X("hget", 3, 0, command_hget)                                                                  \
    X("hgetall", 2, 0, command_hgetall)                                                            \
    X("hlen", 2, 0, command_hlen)                                                                  \
    X("hmget", -3, 0, command_hmget)                                                               \
    X("hset", -4, WRITES | GROWS, command_hset)                                                    \
    X("incrby", 3, WRITES | GROWS, command_incrby)                                                 \
    X("pexpire", -3, WRITES, command_pexpire)                                                      \
    X("pexpireat", -3, WRITES, command_pexpireat)                                                  \
    X("pttl", 2, 0, command_pttl)                                                                  \
    X("publish", 3, 0, command_publish)                                                            \
    X("set", -3, WRITES | GROWS, command_set)                                                      \
    X("time", 1, 0, command_time)                                                                  \
    X("type", 2, 0, command_type)                                                                  \
    X("zadd", -4, WRITES | GROWS, command_zadd)                                                    \
    X("zcard", 2, 0, command_zcard)                                                                \
    X("zcount", 4, 0, command_zcount)                                                              \
    X("zrange", -4, 0, command_zrange)                                                             \
    X("zrangebyscore", -4, 0, command_zrangebyscore)                                               \
    X("zrank", 3, 0, command_zrank)                                                                \
    X("zrem", -3, WRITES, command_zrem)                                                            \
    X("zremrangebyscore", 4, WRITES, command_zremrangebyscore)                                     \
    X("zscore", 3, 0, command_zscore)

enum { WRITES = 1, GROWS = 2 }; /* GROWS: refused while memory is full */

struct command {
    const char *name;
    int arity;
    int flags;
    void (*run)(struct command_call *call);
};

#define COMMAND_RECORD(name, arity, flags, run) {name, arity, flags, run},
static const struct command commands[] = {COMMANDS(COMMAND_RECORD)};

static int compare_name(struct slice typed, const char *name)
{
    for (size_t i = 0;; i++) {
        int c = i < typed.len ? (unsigned char)typed.at[i] : 0;

        if (c >= 'A' && c <= 'Z')
            c += 'a' - 'A';
        if (c != name[i] || name[i] == '\0')
            return c - name[i];
    }
}

static const struct command *find_command(struct slice name)
{
    size_t low = 0, high = COUNT_OF(commands);

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = compare_name(name, commands[middle].name);

        if (order == 0)
            return &commands[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static bool has_arity(const struct command *command, size_t arg_count)
{
    return command->arity > 0 ? arg_count == (size_t)command->arity
                              : arg_count >= (size_t)-command->arity;
}

void command_run(struct command_context *context, const struct slice *args, size_t arg_count,
                 struct reply *ret_reply)
{
    const struct command *command = find_command(args[0]);
    struct command_call call = {
        .context = context,
        .keyspace = context->keyspace,
        .args = args,
        .arg_count = arg_count,
        .reply = ret_reply,
    };

    *ret_reply = (struct reply){.type = REPLY_NIL};
    if (command == NULL) {
        give_error(&call, "ERR Unknown Redis command called from script");
        return;
    }
    if (!has_arity(command, arg_count)) {
        give_error(&call, "ERR Wrong number of args calling Redis command from script");
        return;
    }
    /* Once a script has written it may go on: it must not be stopped half-way. */
    if ((command->flags & GROWS) && !context->has_written && keyspace_is_full(context->keyspace)) {
        give_error(&call, "OOM command not allowed when used memory > 'maxmemory'.");
        return;
    }
    if (command->flags & WRITES)
        context->has_written = true;
    command->run(&call);
}

/*
 * Replies
 */

void give_error(struct command_call *call, const char *text)
{
    call->reply->type = REPLY_ERROR;
    call->reply->text = slice_of(text);
}

void give_integer(struct command_call *call, int64_t integer)
{
    call->reply->type = REPLY_INTEGER;
    call->reply->integer = integer;
}

void give_status(struct command_call *call, const char *text)
{
    call->reply->type = REPLY_STATUS;
    call->reply->text = slice_of(text);
}

void give_string(struct reply *reply, struct slice text)
{
    reply->type = REPLY_STRING;
    reply->text = text;
}

struct reply *give_array(struct command_call *call, size_t count)
{
    struct reply *elements = arena_calloc(call->context->arena, count, sizeof *elements);

    call->reply->type = REPLY_ARRAY;
    call->reply->elements = elements;
    call->reply->element_count = count;
    return elements;
}

void give_double(struct command_call *call, struct reply *reply, double value)
{
    if (value - value != 0) /* only infinities give NaN here; there is no NaN in a set */
        give_string(reply, value > 0 ? SLICE("inf") : SLICE("-inf"));
    else
        give_string(reply, arena_printf(call->context->arena, "%.17g", value));
}

/*
 * Arguments
 */

bool arg_is(struct command_call *call, size_t at, const char *word)
{
    return compare_name(call->args[at], word) == 0;
}

/* As Redis reads integers: no spaces, no plus sign, no leading zeros. */
bool parse_integer(struct slice text, int64_t *ret_value)
{
    bool is_negative = text.len > 0 && text.at[0] == '-';
    struct slice digits = is_negative ? slice_skip(text, 1) : text;
    uint64_t value;

    if (!slice_to_uint64(digits, &value))
        return false;
    if (digits.at[0] == '0' && (digits.len > 1 || is_negative))
        return false;
    if (is_negative && value <= (uint64_t)INT64_MAX + 1) {
        *ret_value = (int64_t)(0 - value);
        return true;
    }
    *ret_value = (int64_t)value;
    return !is_negative && value <= INT64_MAX;
}

bool arg_integer(struct command_call *call, size_t at, int64_t *ret_value)
{
    if (parse_integer(call->args[at], ret_value))
        return true;
    give_error(call, "ERR value is not an integer or out of range");
    return false;
}

bool arg_entry(struct command_call *call, enum entry_type type, struct entry **ret_entry)
{
    *ret_entry = keyspace_find(call->keyspace, call->args[1]);
    if (*ret_entry == NULL || (*ret_entry)->type == type)
        return true;
    give_error(call, "WRONGTYPE Operation against a key holding the wrong kind of value");
    return false;
}

/*
 * Keys of any type, time, messages
 */

void command_del(struct command_call *call)
{
    int64_t count = 0;

    for (size_t i = 1; i < call->arg_count; i++) {
        struct entry *entry = keyspace_find(call->keyspace, call->args[i]);

        if (entry != NULL) {
            keyspace_remove(call->keyspace, entry);
            count++;
        }
    }
    give_integer(call, count);
}

void command_exists(struct command_call *call)
{
    int64_t count = 0;

    for (size_t i = 1; i < call->arg_count; i++)
        count += keyspace_find(call->keyspace, call->args[i]) != NULL;
    give_integer(call, count);
}

void command_type(struct command_call *call)
{
    static const char *const names[] = {
        [ENTRY_STRING] = "string", [ENTRY_ZSET] = "zset", [ENTRY_HASH] = "hash"};
    struct entry *entry = keyspace_find(call->keyspace, call->args[1]);

    give_status(call, entry != NULL ? names[entry->type] : "none");
}

void command_pttl(struct command_call *call)
{
    struct entry *entry = keyspace_find(call->keyspace, call->args[1]);

    if (entry == NULL)
        give_integer(call, -2);
    else if (entry->expires_at_ms == ENTRY_NO_EXPIRY)
        give_integer(call, -1);
    else
        give_integer(call, entry->expires_at_ms - keyspace_now_ms(call->keyspace));
}

enum { EXPIRE_NX = 1, EXPIRE_XX = 2, EXPIRE_GT = 4, EXPIRE_LT = 8 };

static bool parse_expire_options(struct command_call *call, int *ret_options)
{
    static const char *const names[] = {"nx", "xx", "gt", "lt"};
    int options = 0;

    for (size_t i = 3; i < call->arg_count; i++) {
        size_t at = 0;

        while (at < COUNT_OF(names) && !arg_is(call, i, names[at]))
            at++;
        if (at == COUNT_OF(names)) {
            call->reply->type = REPLY_ERROR;
            call->reply->text = arena_printf(call->context->arena, "ERR Unsupported option %.*s",
                                             SLICE_ARGS(call->args[i]));
            return false;
        }
        options |= 1 << at;
    }
    if ((options & EXPIRE_NX) && (options & ~EXPIRE_NX)) {
        give_error(call, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if ((options & EXPIRE_GT) && (options & EXPIRE_LT)) {
        give_error(call, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    *ret_options = options;
    return true;
}

static bool may_expire_at(int options, int64_t old_ms, int64_t new_ms)
{
    if ((options & EXPIRE_NX) && old_ms != ENTRY_NO_EXPIRY)
        return false;
    if ((options & EXPIRE_XX) && old_ms == ENTRY_NO_EXPIRY)
        return false;
    if ((options & EXPIRE_GT) && new_ms <= old_ms)
        return false;
    return !(options & EXPIRE_LT) || new_ms < old_ms;
}

static void expire(struct command_call *call, int64_t base_ms)
{
    struct entry *entry;
    int64_t at_ms;
    int options;

    if (!parse_expire_options(call, &options) || !arg_integer(call, 2, &at_ms))
        return;
    if (at_ms > INT64_MAX - base_ms) {
        call->reply->type = REPLY_ERROR;
        call->reply->text = base_ms > 0 ? SLICE("ERR invalid expire time in 'pexpire' command")
                                        : SLICE("ERR invalid expire time in 'pexpireat' command");
        return;
    }
    at_ms += base_ms;
    entry = keyspace_find(call->keyspace, call->args[1]);
    if (entry == NULL || !may_expire_at(options, entry->expires_at_ms, at_ms)) {
        give_integer(call, 0);
        return;
    }
    if (at_ms <= keyspace_now_ms(call->keyspace))
        keyspace_remove(call->keyspace, entry);
    else
        keyspace_set_expiry(call->keyspace, entry, at_ms < INT64_MAX ? at_ms : INT64_MAX - 1);
    give_integer(call, 1);
}

void command_pexpire(struct command_call *call)
{
    expire(call, keyspace_now_ms(call->keyspace));
}

void command_pexpireat(struct command_call *call)
{
    expire(call, 0);
}

void command_time(struct command_call *call)
{
    uint64_t now_us = keyspace_now_us(call->keyspace);
    struct reply *elements = give_array(call, 2);
    char *text = arena_alloc(call->context->arena, 48);
    int len = snprintf(text, 24, "%" PRIu64, now_us / 1000000);

    give_string(&elements[0], slice_from(text, (size_t)len));
    len = snprintf(text + 24, 24, "%" PRIu64, now_us % 1000000);
    give_string(&elements[1], slice_from(text + 24, (size_t)len));
}

void command_publish(struct command_call *call)
{
    const struct command_context *context = call->context;

    give_integer(call, context->publish == NULL ? 0
                                                : context->publish(context->publish_owner,
                                                                   call->args[1], call->args[2]));
}
