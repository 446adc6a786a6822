/* Commands on strings and hashes. */
#include "store/commands_private.h"

#include <stdio.h>

void command_get(struct command_call *call)
{
    struct entry *entry;

    if (arg_entry(call, ENTRY_STRING, &entry) && entry != NULL)
        give_string(call->reply, entry_string(entry));
}

struct set_options {
    bool if_new, if_known, keeps_expiry, gives_old;
    const char *unit; /* of the time to live; NULL: none */
    size_t time_at;   /* which argument */
};

static bool parse_set_options(struct command_call *call, struct set_options *options)
{
    static const char *const units[] = {"ex", "px", "exat", "pxat"};

    for (size_t i = 3; i < call->arg_count; i++) {
        size_t unit = 0;

        while (unit < COUNT_OF(units) && !arg_is(call, i, units[unit]))
            unit++;
        if (arg_is(call, i, "nx") && !options->if_known) {
            options->if_new = true;
        } else if (arg_is(call, i, "xx") && !options->if_new) {
            options->if_known = true;
        } else if (arg_is(call, i, "get")) {
            options->gives_old = true;
        } else if (arg_is(call, i, "keepttl") && options->unit == NULL) {
            options->keeps_expiry = true;
        } else if (unit < COUNT_OF(units) && options->unit == NULL && !options->keeps_expiry &&
                   i + 1 < call->arg_count) {
            options->unit = units[unit];
            options->time_at = ++i;
        } else {
            give_error(call, "ERR syntax error");
            return false;
        }
    }
    return true;
}

static bool set_expiry(struct command_call *call, const struct set_options *options,
                       int64_t *ret_at_ms)
{
    int64_t at_ms, base_ms = 0;

    *ret_at_ms = ENTRY_NO_EXPIRY;
    if (options->unit == NULL)
        return true;
    if (!arg_integer(call, options->time_at, &at_ms))
        return false;
    if (options->unit[0] == 'e' && __builtin_mul_overflow(at_ms, 1000, &at_ms))
        at_ms = 0;
    if (options->unit[2] == '\0') /* not "exat" or "pxat" */
        base_ms = keyspace_now_ms(call->keyspace);
    if (at_ms <= 0 || at_ms > INT64_MAX - base_ms) {
        give_error(call, "ERR invalid expire time in 'set' command");
        return false;
    }
    at_ms += base_ms;
    *ret_at_ms = at_ms < ENTRY_NO_EXPIRY ? at_ms : ENTRY_NO_EXPIRY - 1;
    return true;
}

void command_set(struct command_call *call)
{
    struct set_options options = {0};
    struct entry *entry;
    int64_t at_ms;

    if (!parse_set_options(call, &options) || !set_expiry(call, &options, &at_ms))
        return;
    if (options.gives_old) {
        if (!arg_entry(call, ENTRY_STRING, &entry))
            return;
        if (entry != NULL)
            give_string(call->reply, arena_copy(call->context->arena, entry_string(entry)));
    } else {
        entry = keyspace_find(call->keyspace, call->args[1]);
    }
    if (entry != NULL ? options.if_new : options.if_known)
        return;
    if (entry == NULL)
        entry = keyspace_add(call->keyspace, call->args[1], ENTRY_STRING);
    else if (entry->type != ENTRY_STRING)
        entry_reset(entry, ENTRY_STRING);
    entry_set_string(entry, call->args[2]);
    if (!options.keeps_expiry)
        keyspace_set_expiry(call->keyspace, entry, at_ms);
    keyspace_account(call->keyspace, entry);
    if (!options.gives_old)
        give_status(call, "OK");
}

void command_incrby(struct command_call *call)
{
    struct entry *entry;
    int64_t value = 0, step;
    char text[24];

    if (!arg_integer(call, 2, &step) || !arg_entry(call, ENTRY_STRING, &entry))
        return;
    if (entry != NULL && !parse_integer(entry_string(entry), &value)) {
        give_error(call, "ERR value is not an integer or out of range");
        return;
    }
    if (__builtin_add_overflow(value, step, &value)) {
        give_error(call, "ERR increment or decrement would overflow");
        return;
    }
    if (entry == NULL)
        entry = keyspace_add(call->keyspace, call->args[1], ENTRY_STRING);
    entry_set_string(entry,
                     slice_from(text, (size_t)snprintf(text, sizeof text, "%" PRId64, value)));
    keyspace_account(call->keyspace, entry);
    give_integer(call, value);
}

void command_hset(struct command_call *call)
{
    struct entry *entry;
    int64_t added = 0;

    if (call->arg_count % 2 != 0) {
        give_error(call, "ERR wrong number of arguments for 'hset' command");
        return;
    }
    if (!arg_entry(call, ENTRY_HASH, &entry))
        return;
    if (entry == NULL)
        entry = keyspace_add(call->keyspace, call->args[1], ENTRY_HASH);
    for (size_t i = 2; i < call->arg_count; i += 2)
        added += hash_set(&entry->hash, call->args[i], call->args[i + 1]);
    keyspace_account(call->keyspace, entry);
    give_integer(call, added);
}

static void reply_field(struct reply *reply, const struct entry *entry, struct slice name)
{
    struct hash_field *field = entry != NULL ? hash_find(&entry->hash, name) : NULL;

    if (field != NULL)
        give_string(reply, field->value);
}

void command_hget(struct command_call *call)
{
    struct entry *entry;

    if (arg_entry(call, ENTRY_HASH, &entry))
        reply_field(call->reply, entry, call->args[2]);
}

void command_hmget(struct command_call *call)
{
    struct entry *entry;
    struct reply *elements;

    if (!arg_entry(call, ENTRY_HASH, &entry))
        return;
    elements = give_array(call, call->arg_count - 2);
    for (size_t i = 2; i < call->arg_count; i++)
        reply_field(&elements[i - 2], entry, call->args[i]);
}

void command_hgetall(struct command_call *call)
{
    struct entry *entry;
    struct reply *element;

    if (!arg_entry(call, ENTRY_HASH, &entry))
        return;
    element = give_array(call, entry != NULL ? 2 * entry->hash.table.node_count : 0);
    if (entry == NULL)
        return;
    LIST_EACH (&entry->hash.in_order, node) {
        struct hash_field *field = CONTAINER_OF(node, struct hash_field, in_order);

        give_string(element++, field->node.key);
        give_string(element++, field->value);
    }
}

void command_hdel(struct command_call *call)
{
    struct entry *entry;
    int64_t count = 0;

    if (!arg_entry(call, ENTRY_HASH, &entry))
        return;
    for (size_t i = 2; entry != NULL && i < call->arg_count; i++) {
        struct hash_field *field = hash_find(&entry->hash, call->args[i]);

        if (field != NULL) {
            hash_remove(&entry->hash, field);
            count++;
        }
    }
    if (entry != NULL && entry->hash.table.node_count == 0)
        keyspace_remove(call->keyspace, entry);
    else if (entry != NULL)
        keyspace_account(call->keyspace, entry);
    give_integer(call, count);
}

void command_hlen(struct command_call *call)
{
    struct entry *entry;

    if (arg_entry(call, ENTRY_HASH, &entry))
        give_integer(call, entry != NULL ? (int64_t)entry->hash.table.node_count : 0);
}

void command_hexists(struct command_call *call)
{
    struct entry *entry;

    if (arg_entry(call, ENTRY_HASH, &entry))
        give_integer(call, entry != NULL && hash_find(&entry->hash, call->args[2]) != NULL);
}
