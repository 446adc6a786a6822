/* The embedded engine against a real redis-server: random histories of commands and of limits must
 * have the same replies in both.
 *
 * Redis has no clock that a test could set.  So its copy of the limits script is changed in two
 * places: TIME is read from a key, and keys live for ever, near enough.  The embedded engine has a
 * clock of the test, so there keys do expire, which may change no reply as long as a limit stays as
 * it is.  In the histories where limits change, keys live for ever in both.
 *
 * TEST_SEED repeats a run, TEST_SCALE is a percentage of the usual number of histories. */
#include "unit.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store/embedded.h"
#include "store/store.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HISTORIES 5000
#else
#define HISTORIES 50001 /* of each of the two kinds */
#endif
#define MAX_CALLS 32
#define MAX_ARGS 48
#define MAX_LIMITS 4
#define MAX_GROUPS 4
#define MAX_KEYS (MAX_LIMITS * MAX_GROUPS)
#define HISTORIES_PER_FLUSH 2000

#define CALL_TEXT "return redis.call(unpack(ARGV))"
#define PCALL_TEXT "return redis.pcall(unpack(ARGV))"
/* Redis's clock goes on meanwhile: only what is left in steps of 1000 s can be compared. */
/* Coarse, as Redis's clock goes on; and nobody can say how far the end of time is from a step. */
#define PTTL_TEXT "return math.floor(math.min(redis.call('PTTL', ARGV[1]), 1e12) / 1000000)"
#define VALUE_TEXT                                                                                 \
    "local kind = redis.call('TYPE', ARGV[1]).ok\n"                                                \
    "if kind == 'string' then return {kind, redis.call('GET', ARGV[1])} end\n"                     \
    "if kind == 'hash' then return {kind, redis.call('HGETALL', ARGV[1])} end\n"                   \
    "if kind == 'zset' then return {kind, redis.call('ZRANGE', ARGV[1], 0, -1, 'WITHSCORES')} end\n" \
    "return kind"

static struct {
    pid_t server;
    char directory[64];
    redisContext *redis;
    struct embedded *embedded;
    struct arena arena;  /* of replies */
    struct arena scratch; /* of one history */
    uint64_t now_us, start_us;
    uint64_t seed, state;
    uint64_t history;
    struct slice redis_text;   /* limits.lua as changed for Redis */
    struct slice lasting_text; /* limits.lua with keys that live for ever */
    struct {
        struct slice text;
        char sha1_hex[41];
    } loaded[5]; /* in Redis */
} world;

/* One script call, and what the embedded engine said. */
struct call {
    struct slice text;
    struct slice keys[MAX_KEYS], args[MAX_ARGS];
    size_t key_count, arg_count;
    struct slice said;
    bool is_limits, is_lasting;
};

static struct call calls[MAX_CALLS];
static size_t call_count;

/*
 * The two engines
 */

static uint64_t fake_clock(void *owner)
{
    UNUSED(owner);
    return world.now_us;
}

static void start_server(void)
{
    char socket_path[96];

    strcpy(world.directory, "/tmp/lockkeeper-differential-XXXXXX");
    assert_non_null(mkdtemp(world.directory));
    snprintf(socket_path, sizeof socket_path, "%s/socket", world.directory);
    world.server = fork();
    assert_true(world.server >= 0);
    if (world.server == 0) {
        if (freopen("/dev/null", "w", stdout) == NULL)
            _exit(126);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_path, "--save",
               "", "--appendonly", "no", "--dir", world.directory, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 2000; i++) {
        struct timespec pause = {.tv_nsec = 5000000};

        world.redis = redisConnectUnix(socket_path);
        if (world.redis != NULL && world.redis->err == 0)
            return;
        redisFree(world.redis);
        world.redis = NULL;
        assert_int_equal(waitpid(world.server, NULL, WNOHANG), 0);
        nanosleep(&pause, NULL); /* the server is not up yet, and nothing tells when it is */
    }
    fail_msg("redis-server does not answer");
}

/* text with the one place where it has old replaced. */
static struct slice replace(struct slice text, const char *old, const char *new)
{
    char *at = strstr(text.at, old), *copy = malloc(text.len + strlen(new) + 1);
    size_t before;

    if (at == NULL || strstr(at + 1, old) != NULL)
        fail_msg("lua/limits.lua has not exactly one \"%s\"", old);
    before = (size_t)(at - text.at);
    memcpy(copy, text.at, before);
    strcpy(copy + before, new);
    strcat(copy, at + strlen(old));
    return slice_of(copy);
}

static void load(size_t at, struct slice text)
{
    redisReply *reply = redisCommand(world.redis, "SCRIPT LOAD %b", text.at, text.len);

    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    world.loaded[at].text = text;
    snprintf(world.loaded[at].sha1_hex, sizeof world.loaded[at].sha1_hex, "%s", reply->str);
    freeReplyObject(reply);
}

static int set_up(void **state)
{
    const char *seed = getenv("TEST_SEED");
    struct timespec now;

    UNUSED(state);
    clock_gettime(CLOCK_REALTIME, &now);
    world.seed = seed != NULL ? strtoull(seed, NULL, 10)
                              : (uint64_t)now.tv_sec * 1000003u ^ (uint64_t)now.tv_nsec;
    world.start_us = (uint64_t)now.tv_sec * 1000000;
    start_server();
    world.embedded = embedded_open(256u << 20);
    embedded_set_clock(world.embedded, fake_clock, NULL);
    arena_init(&world.arena, NULL);
    arena_init(&world.scratch, NULL);
    world.lasting_text = replace(script_get(SCRIPT_LIMITS)->text, "max(1000000, math.min(",
                                 "max(9e15, math.min(");
    world.redis_text = replace(world.lasting_text, "redis.call('TIME')",
                               "{string.match(redis.call('GET', 'clock'), '(%d+) (%d+)')}");
    load(0, world.redis_text);
    load(1, SLICE(CALL_TEXT));
    load(2, SLICE(PCALL_TEXT));
    load(3, SLICE(PTTL_TEXT));
    load(4, SLICE(VALUE_TEXT));
    return 0;
}

static int tear_down(void **state)
{
    int status;

    UNUSED(state);
    redisFree(world.redis);
    kill(world.server, SIGTERM);
    assert_int_equal(waitpid(world.server, &status, 0), world.server);
    /* The server removes its socket. */
    assert_int_equal(rmdir(world.directory), 0);
    embedded_unref(&world.embedded);
    arena_clear(&world.arena);
    arena_clear(&world.scratch);
    free((void *)(uintptr_t)world.lasting_text.at);
    free((void *)(uintptr_t)world.redis_text.at);
    return 0;
}

/*
 * Replies as text, the same for both
 */

struct text {
    char at[16384];
    size_t len;
};

static void put(struct text *text, const char *kind, struct slice bytes)
{
    size_t kind_len = strlen(kind);

    assert_true(text->len + kind_len + bytes.len + 2 < sizeof text->at);
    memcpy(text->at + text->len, kind, kind_len);
    text->len += kind_len;
    if (bytes.len > 0)
        memcpy(text->at + text->len, bytes.at, bytes.len);
    text->len += bytes.len;
    text->at[text->len++] = ' ';
}

static void put_integer(struct text *text, int64_t value)
{
    char digits[24];

    put(text, ":",
        slice_from(digits, (size_t)snprintf(digits, sizeof digits, "%" PRId64, value)));
}

/* Without where it happened, which each engine says in its own way. */
static void put_error(struct text *text, struct slice error)
{
    const char *where = memmem(error.at, error.len, " script: ", 9);

    put(text, "-", where != NULL ? slice_from(error.at, (size_t)(where - error.at)) : error);
}

static void put_embedded(struct text *text, const struct reply *reply)
{
    switch (reply->type) {
    case REPLY_NIL:
        put(text, "nil", SLICE(""));
        break;
    case REPLY_INTEGER:
        put_integer(text, reply->integer);
        break;
    case REPLY_STRING:
        put(text, "$", reply->text);
        break;
    case REPLY_STATUS:
        put(text, "+", reply->text);
        break;
    case REPLY_ERROR:
        put_error(text, reply->text);
        break;
    case REPLY_ARRAY:
        put(text, "[", SLICE(""));
        for (size_t i = 0; i < reply->element_count; i++)
            put_embedded(text, &reply->elements[i]);
        put(text, "]", SLICE(""));
        break;
    }
}

static void put_redis(struct text *text, const redisReply *reply)
{
    struct slice bytes = slice_from(reply->str, reply->len);

    switch (reply->type) {
    case REDIS_REPLY_NIL:
        put(text, "nil", SLICE(""));
        break;
    case REDIS_REPLY_INTEGER:
        put_integer(text, reply->integer);
        break;
    case REDIS_REPLY_STRING:
        put(text, "$", bytes);
        break;
    case REDIS_REPLY_STATUS:
        put(text, "+", bytes);
        break;
    case REDIS_REPLY_ERROR:
        put_error(text, bytes);
        break;
    default:
        put(text, "[", SLICE(""));
        for (size_t i = 0; i < reply->elements; i++)
            put_redis(text, reply->element[i]);
        put(text, "]", SLICE(""));
    }
}

/*
 * One history
 */

static uint64_t pick(uint64_t below)
{
    world.state ^= world.state << 13;
    world.state ^= world.state >> 7;
    world.state ^= world.state << 17;
    return (world.state >> 11) % below;
}

#define PICK(array) ((array)[pick(COUNT_OF(array))])

static void begin_history(uint64_t number)
{
    world.history = number;
    world.state = (world.seed + number) * 0x9e3779b97f4a7c15ull | 1;
    for (int i = 0; i < 8; i++)
        pick(2);
    call_count = 0;
    arena_clear(&world.scratch);
}

static struct call *new_call(struct slice text)
{
    struct call *call = &calls[call_count++];

    CHECK(call_count <= MAX_CALLS);
    *call = (struct call){.text = text};
    return call;
}

static void add_arg(struct call *call, struct slice arg)
{
    CHECK(call->arg_count < MAX_ARGS);
    call->args[call->arg_count++] = arg;
}

static void run_embedded(struct call *call)
{
    struct embedded_call embedded = {call->keys, call->key_count, call->args, call->arg_count};
    static struct text text;
    struct reply reply;

    if (call->is_limits && !call->is_lasting)
        embedded_eval(world.embedded, SCRIPT_LIMITS, &embedded, &world.arena, &reply);
    else
        embedded_eval_text(world.embedded, "differential",
                           call->is_limits ? world.lasting_text : call->text, &embedded,
                           &world.arena, &reply);
    text.len = 0;
    put_embedded(&text, &reply);
    call->said = arena_copy(&world.scratch, slice_from(text.at, text.len));
}

/* The digest under which Redis knows a text. */
static const char *loaded(struct slice text)
{
    size_t at = 0;

    while (world.loaded[at].text.at != text.at && !slice_equal(world.loaded[at].text, text))
        at++;
    return world.loaded[at].sha1_hex;
}

static void send_redis(const struct call *call)
{
    const char *argv[3 + MAX_KEYS + MAX_ARGS];
    size_t lens[3 + MAX_KEYS + MAX_ARGS], count = 0;
    char key_count[8];

    snprintf(key_count, sizeof key_count, "%zu", call->key_count);
    argv[0] = "EVALSHA";
    argv[1] = loaded(call->text);
    argv[2] = key_count;
    for (; count < 3; count++)
        lens[count] = strlen(argv[count]);
    for (size_t i = 0; i < call->key_count; i++, count++) {
        argv[count] = call->keys[i].at;
        lens[count] = call->keys[i].len;
    }
    for (size_t i = 0; i < call->arg_count; i++, count++) {
        argv[count] = call->args[i].at;
        lens[count] = call->args[i].len;
    }
    assert_int_equal(redisAppendCommandArgv(world.redis, (int)count, argv, lens), REDIS_OK);
}

static void fail_history(const struct call *call, struct slice redis_said)
{
    fprintf(stderr, "TEST_SEED=%" PRIu64 " history %" PRIu64 " call %td\n", world.seed,
            world.history, call - calls);
    for (const struct call *c = calls; c <= call; c++) {
        fprintf(stderr, "%td:", c - calls);
        for (size_t i = 0; i < c->key_count; i++)
            fprintf(stderr, " {%.*s}", SLICE_ARGS(c->keys[i]));
        for (size_t i = 0; i < c->arg_count; i++)
            fprintf(stderr, " %.*s", SLICE_ARGS(c->args[i]));
        fprintf(stderr, "\n   -> %.*s\n", SLICE_ARGS(c->said));
    }
    fail_msg("embedded: %.*s\n   redis: %.*s", SLICE_ARGS(call->said), SLICE_ARGS(redis_said));
}

static void compare_with_redis(void)
{
    static struct text text;

    for (size_t i = 0; i < call_count; i++) {
        redisReply *reply;

        /* The clock's SET goes before each call of limits. */
        for (int n = calls[i].is_limits ? 0 : 1; n < 2; n++) {
            if (redisGetReply(world.redis, (void **)&reply) != REDIS_OK)
                fail_msg("redis: %s", world.redis->errstr);
            text.len = 0;
            put_redis(&text, reply);
            freeReplyObject(reply);
        }
        if (!slice_equal(calls[i].said, slice_from(text.at, text.len)))
            fail_history(&calls[i], slice_from(text.at, text.len));
    }
}

static void forget_now_and_then(uint64_t number)
{
    redisReply *reply;

    if (number % HISTORIES_PER_FLUSH != 0)
        return;
    reply = redisCommand(world.redis, "FLUSHALL");
    assert_non_null(reply);
    freeReplyObject(reply);
    embedded_unref(&world.embedded);
    world.embedded = embedded_open(256u << 20);
    embedded_set_clock(world.embedded, fake_clock, NULL);
}

static uint64_t history_count(void)
{
    const char *scale = getenv("TEST_SCALE");
    uint64_t percent = scale != NULL ? strtoull(scale, NULL, 10) : 100;

    return HISTORIES * percent / 100 + 1;
}

static struct slice own_key(uint64_t which)
{
    return arena_printf(&world.scratch, "k%" PRIu64 ":%" PRIu64, world.history, which);
}

/*
 * Histories of commands
 */

/* One letter stands for a random argument of a kind, see random_arg. */
static const char *const shapes[] = {
    "SET K V", "SET K V PX T", "SET K V ? ?", "SET K V EX T NX", "SET K V GET", "SET K V KEEPTTL",
    "SET K V PXAT U", "SET K V PX Z", "SET K V PX", "set K I", "SET K", "GET K", "GET K K", "GeT K",
    "DEL K", "DEL K K", "EXISTS K K K", "TYPE K", "INCRBY K I", "INCRBY K I", "INCRBY K",
    "PEXPIRE K T", "PEXPIRE K Z", "PEXPIRE K T ?", "PEXPIRE K T ? ?", "PEXPIREAT K U",
    "PEXPIREAT K Z", "PEXPIREAT K U ?", "PTTL K K", "HSET K M V", "HSET K M V M V", "HSET K M",
    "HSET K M V M", "HGET K M", "HMGET K M M M", "HGETALL K", "HDEL K M", "HDEL K M M M", "HLEN K",
    "HEXISTS K M", "ZADD K S M", "ZADD K S M", "ZADD K S M S M", "ZADD K ? S M", "ZADD K ? ? S M",
    "ZADD K ? ? S M S M", "ZADD K S", "ZCARD K", "ZSCORE K M", "ZRANK K M", "ZREM K M", "ZREM K M M M",
    "ZCOUNT K B B", "ZREMRANGEBYSCORE K B B", "ZRANGE K I I", "ZRANGE K I I WITHSCORES",
    "ZRANGE K 0 -1 WITHSCORES", "ZRANGE K I I REV", "ZRANGE K B B BYSCORE", "ZRANGE K I I ?",
    "ZRANGE K B B BYSCORE REV WITHSCORES", "ZRANGE K B B REV BYSCORE LIMIT I I",
    "ZRANGEBYSCORE K B B", "ZRANGEBYSCORE K B B WITHSCORES", "ZRANGEBYSCORE K B B LIMIT I I",
    "ZRANGEBYSCORE K B B LIMIT I I WITHSCORES", "ZRANGEBYSCORE K B B LIMIT I", "PUBLISH K V",
    "NOSUCH K", "TIME K",
};

static struct slice random_arg(char kind)
{
    static const char *const integers[] = {
        "0", "1", "-1", "2", "3", "-2", "-100", "7", "100", "9223372036854775807", "x", "", "1.5", " 1",
        "-9223372036854775808", "9223372036854775808", "007", "+1", "-0", "4611686018427387904"};
    static const char *const scores[] = {
        "0", "1", "-1", "2", "2", "3", "1.5", "-2.25", "inf", "-inf", "+inf", "1e300", "0.1", "nan", "",
        "1795000000123456", "3.0", "x", "1e-320", "0x10", " 1", "1e400", "1795000000123457"};
    static const char *const bounds[] = {"0", "1", "(1", "2", "(2", "-inf", "+inf", "inf", "(0.1",
                                         "3", "-5", "x", "(", "", "(inf", "1e15", "nan", "((1"};
    static const char *const values[] = {"", "a", "10", "-3", "hello world", "3.5",
                                         "99999999999999999999", "v\0w"};
    static const char *const words[] = {"NX", "XX", "gt", "LT", "CH", "INCR", "GET", "KEEPTTL", "foo",
                                        "WITHSCORES", "BYSCORE", "REV", "nx", "LIMIT"};
    static const char *const no_times[] = {"0", "-1", "-9223372036854775808", "x",
                                           "9223372036854775807", "9223372036854775000"};
    size_t value;

    switch (kind) {
    case 'K':
        return own_key(pick(3));
    case 'M':
        return arena_printf(&world.scratch, "m%" PRIu64, pick(5));
    case 'V':
        value = pick(COUNT_OF(values));
        return value + 1 == COUNT_OF(values) ? SLICE("v\0w") : slice_of(values[value]);
    case 'S':
        return slice_of(PICK(scores));
    case 'I':
        return slice_of(PICK(integers));
    case 'B':
        return slice_of(PICK(bounds));
    case 'T': /* far from every step of PTTL_TEXT, as milliseconds and as seconds */
        return arena_printf(&world.scratch, "%" PRIu64, 1500500 + pick(5) * 1000000);
    case 'U':
        return arena_printf(&world.scratch, "%" PRIu64,
                            world.start_us / 1000 + 1700500 + pick(5) * 1000000);
    case 'Z':
        return slice_of(PICK(no_times));
    default:
        return slice_of(PICK(words));
    }
}

static void add_command(void)
{
    const char *shape = PICK(shapes);
    struct call *call;
    struct slice rest = slice_of(shape), word;

    call = new_call(strncmp(shape, "PTTL", 4) == 0 ? SLICE(PTTL_TEXT)
                    : pick(4) > 0                  ? SLICE(CALL_TEXT)
                                                   : SLICE(PCALL_TEXT));
    for (bool is_name = true; slice_split(&rest, ' ', &word); is_name = false) {
        if (!is_name && word.len == 1 && strchr("KMVSIBTUZ?", word.at[0]) != NULL)
            word = random_arg(word.at[0]);
        if (!is_name || call->text.at[7] != 'm') /* not the name, for "return math.floor" */
            add_arg(call, word);
    }
    run_embedded(call);
    send_redis(call);
}

static void add_values(void)
{
    for (uint64_t i = 0; i < 3; i++) {
        struct call *call = new_call(SLICE(VALUE_TEXT));

        add_arg(call, own_key(i));
        run_embedded(call);
        send_redis(call);
    }
}

static void commands_have_the_same_replies(void **state)
{
    uint64_t count = history_count();

    UNUSED(state);
    world.now_us = world.start_us;
    for (uint64_t number = 0; number < count; number++) {
        forget_now_and_then(number);
        begin_history(number);
        for (uint64_t left = 4 + pick(12); left > 0; left--)
            add_command();
        add_values();
        compare_with_redis();
    }
}

/*
 * Histories of limits
 */

static struct slice print_number(uint64_t number)
{
    return arena_printf(&world.scratch, "%" PRIu64, number);
}

struct limit {
    struct slice args[8];
    uint64_t period_us;
};

static struct limit random_limit(void)
{
    static const uint64_t periods[] = {1, 7, 1000, 1000000, 60000000, 3600000000, 86400000000,
                                       604800000000, 31622400000000};
    static const char *const algorithms[] = {"t", "w", "l", "f"};
    static const char *const offsets[] = {"0", "7200000000", "-18000000000", "20700000000"};
    uint64_t count = 1 + pick(pick(4) > 0 ? 20 : 1000000000);
    struct limit limit = {.period_us = PICK(periods)};
    const char *algorithm = PICK(algorithms);
    bool is_calendar = algorithm[0] == 'f' && pick(2);

    limit.args[0] = slice_of(algorithm);
    limit.args[1] = pick(5) == 0 ? SLICE("s") : SLICE("e");
    limit.args[2] = print_number(pick(count < 20 ? 4 : count));
    limit.args[3] = print_number(count);
    limit.args[4] = print_number(limit.period_us);
    if (is_calendar && pick(3) == 0)
        limit.args[4] = pick(2) ? SLICE("month") : SLICE("year");
    limit.args[5] = print_number(algorithm[0] == 't' ? 1 + pick(2 * count) : 0);
    limit.args[6] = is_calendar ? SLICE("c") : algorithm[0] == 'f' ? SLICE("h") : SLICE("-");
    limit.args[7] = is_calendar ? slice_of(PICK(offsets)) : SLICE("0");
    return limit;
}

static void add_limits_call(const struct limit *limits, uint64_t limit_count, bool is_lasting)
{
    struct call *call = new_call(world.redis_text);
    uint64_t group_count = pick(2) ? 1 : 1 + pick(MAX_GROUPS);

    call->is_limits = true;
    call->is_lasting = is_lasting;
    add_arg(call, print_number(limit_count));
    add_arg(call, SLICE("id"));
    for (uint64_t i = 0; i < limit_count; i++)
        for (size_t at = 0; at < 8; at++)
            add_arg(call, limits[i].args[at]);
    for (uint64_t group = 0; group < group_count; group++) {
        uint64_t first_key = pick(3) * limit_count;

        add_arg(call, print_number(1 + (pick(2) ? 0 : pick(30))));
        for (uint64_t i = 0; i < limit_count; i++)
            call->keys[call->key_count++] = own_key(first_key + i);
    }
    assert_int_equal(redisAppendCommand(world.redis, "SET clock %s",
                                        arena_printf(&world.scratch, "%" PRIu64 " %" PRIu64,
                                                     world.now_us / 1000000, world.now_us % 1000000)
                                            .at),
                     REDIS_OK);
    run_embedded(call);
    send_redis(call);
}

/* Somebody else's values under our keys: the answers of their groups are errors. */
static void plant(void)
{
    static const char *const plants[][4] = {
        {"SET", NULL, "hello", NULL}, {"SET", NULL, "t9:1:2", NULL}, {"HSET", NULL, "a", "b"},
        {"ZADD", NULL, "1", "a"},     {"DEL", NULL, NULL, NULL},
    };
    size_t which = pick(COUNT_OF(plants));
    struct call *call = new_call(SLICE(CALL_TEXT));

    add_arg(call, slice_of(plants[which][0]));
    add_arg(call, own_key(pick(2 * MAX_LIMITS)));
    for (size_t i = 2; i < 4 && plants[which][i] != NULL; i++)
        add_arg(call, slice_of(plants[which][i]));
    run_embedded(call);
    send_redis(call);
}

static void limits_have_the_same_replies(void **state)
{
    static const unsigned divisors[] = {1, 2, 10, 100};
    uint64_t count = history_count();

    UNUSED(state);
    for (uint64_t number = 0; number < count; number++) {
        uint64_t limit_count;
        struct limit limits[MAX_LIMITS];
        bool is_lasting;

        /* The years that pass in histories must not leave what a double can count. */
        forget_now_and_then(number);
        if (number % HISTORIES_PER_FLUSH == 0)
            world.now_us = world.start_us;
        begin_history(number);
        limit_count = 1 + pick(MAX_LIMITS);
        is_lasting = pick(2);
        for (uint64_t i = 0; i < limit_count; i++)
            limits[i] = random_limit();
        for (uint64_t left = 2 + pick(8); left > 0; left--) {
            uint64_t period_us = limits[pick(limit_count)].period_us;

            if (is_lasting && pick(6) == 0)
                limits[pick(limit_count)] = random_limit();
            if (pick(3) > 0)
                world.now_us += pick(period_us / PICK(divisors) + 2);
            if (is_lasting && pick(8) == 0)
                plant();
            add_limits_call(limits, limit_count, is_lasting);
        }
        compare_with_redis();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(commands_have_the_same_replies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limits_have_the_same_replies, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
