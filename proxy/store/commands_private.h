/* What the files of commands share; internal to commands*.c. */
#ifndef STORE_COMMANDS_PRIVATE_H
#define STORE_COMMANDS_PRIVATE_H

#include <inttypes.h>

#include "store/commands.h"

struct command_call {
    struct command_context *context;
    struct keyspace *keyspace;
    const struct slice *args;
    size_t arg_count;
    struct reply *reply;
};

void give_error(struct command_call *call, const char *text); /* text is static */
void give_integer(struct command_call *call, int64_t integer);
void give_status(struct command_call *call, const char *text);
/* The reply is an array; gives its elements, which are nil. */
struct reply *give_array(struct command_call *call, size_t count);
void give_string(struct reply *reply, struct slice text);
void give_double(struct command_call *call, struct reply *reply, double value);

/* word is lower case. */
bool arg_is(struct command_call *call, size_t at, const char *word);
MUST_USE bool parse_integer(struct slice text, int64_t *ret_value);
/* These reply with the error when they give false. */
MUST_USE bool arg_integer(struct command_call *call, size_t at, int64_t *ret_value);
/* The entry of the key in args[1], or NULL when there is none. */
MUST_USE bool arg_entry(struct command_call *call, enum entry_type type, struct entry **ret_entry);

void command_del(struct command_call *call);
void command_exists(struct command_call *call);
void command_pexpire(struct command_call *call);
void command_pexpireat(struct command_call *call);
void command_pttl(struct command_call *call);
void command_publish(struct command_call *call);
void command_time(struct command_call *call);
void command_type(struct command_call *call);

/* commands_value.c: strings and hashes */
void command_get(struct command_call *call);
void command_incrby(struct command_call *call);
void command_set(struct command_call *call);
void command_hdel(struct command_call *call);
void command_hexists(struct command_call *call);
void command_hget(struct command_call *call);
void command_hgetall(struct command_call *call);
void command_hlen(struct command_call *call);
void command_hmget(struct command_call *call);
void command_hset(struct command_call *call);

/* commands_zset.c */
void command_zadd(struct command_call *call);
void command_zcard(struct command_call *call);
void command_zcount(struct command_call *call);
void command_zrange(struct command_call *call);
void command_zrangebyscore(struct command_call *call);
void command_zrank(struct command_call *call);
void command_zrem(struct command_call *call);
void command_zremrangebyscore(struct command_call *call);
void command_zscore(struct command_call *call);

#endif
