/* The lock scripts in the embedded engine against a real redis-server: random histories of
 * everything that can be asked of a few locks must have the same replies, and send the same
 * messages.
 *
 * Redis has no clock that a test could set, and nobody listens to it here.  So its copies of the
 * scripts read TIME from a key, and append to a list what they would publish.
 *
 * TEST_SEED repeats a run, TEST_SCALE is a percentage of the usual number of histories. */
#include "unit/redis_fixture.h"

#include <hiredis/hiredis.h>
#include <time.h>

#include "model/lock_calls.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HISTORIES 200
#else
#define HISTORIES 1000
#endif
#define MAX_CALLS 30
#define MS INT64_C(1000)

static const enum script_id scripts[] = {SCRIPT_ADMIT, SCRIPT_RENEW, SCRIPT_RELEASE,
                                         SCRIPT_FENCE, SCRIPT_BREAK, SCRIPT_LOCK_SHOW};

struct text {
    char at[65536];
    size_t len;
};

static struct {
    struct redis_server server;
    redisContext *redis;
    char digests[SCRIPT_COUNT][41];
    struct embedded *embedded;
    struct arena arena;
    int64_t now_us;
    uint64_t seed, state, history;
    struct text messages;                /* of the embedded engine */
    int64_t token, place, wait_until_us; /* the last that replies gave */
    struct text log;                     /* of the history, for a failure */
} world;

static uint64_t fake_clock(void *owner)
{
    UNUSED(owner);
    return (uint64_t)world.now_us;
}

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    text->len += (size_t)vsnprintf(text->at + text->len, sizeof text->at - text->len, format, args);
    va_end(args);
    assert_true(text->len < sizeof text->at);
}

static int64_t on_publish(void *owner, struct slice channel, struct slice message)
{
    UNUSED(owner);
    add(&world.messages, "%.*s %.*s\n", SLICE_ARGS(channel), SLICE_ARGS(message));
    return 1;
}

static uint64_t pick(uint64_t below)
{
    world.state ^= world.state << 13;
    world.state ^= world.state >> 7;
    world.state ^= world.state << 17;
    return (world.state >> 11) % below;
}

/*
 * Redis
 */

/* What the scripts see instead of redis. */
static const char disguise[] =
    "local real = redis\n"
    "local redis = {pcall = real.pcall, call = function(name, ...)\n"
    "    if name == 'TIME' then\n"
    "        return {string.match(real.call('GET', 'clock'), '(%d+) (%d+)')}\n"
    "    elseif name == 'PUBLISH' then\n"
    "        return real.call('RPUSH', 'messages', table.concat({...}, ' ') .. '\\n')\n"
    "    end\n"
    "    return real.call(name, ...)\n"
    "end}\n";

static redisReply *ask_redis(const char *command)
{
    redisReply *reply = redisCommand(world.redis, command);

    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply->str);
    return reply;
}

static void load(enum script_id script)
{
    struct slice text = script_get(script)->text;
    char *whole = malloc(sizeof disguise + text.len);
    redisReply *reply;

    memcpy(whole, disguise, sizeof disguise - 1);
    memcpy(whole + sizeof disguise - 1, text.at, text.len + 1);
    reply = redisCommand(world.redis, "SCRIPT LOAD %s", whole);
    assert_true(reply != NULL && reply->type == REDIS_REPLY_STRING);
    snprintf(world.digests[script], sizeof world.digests[script], "%s", reply->str);
    freeReplyObject(reply);
    free(whole);
}

static int set_up(void **state)
{
    const char *seed = getenv("TEST_SEED");

    UNUSED(state);
    world.seed = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    redis_open(&world.server, false, NULL, NULL);
    world.redis = redisConnectUnix(world.server.socket_path);
    assert_true(world.redis != NULL && world.redis->err == 0);
    for (size_t i = 0; i < COUNT_OF(scripts); i++)
        load(scripts[i]);
    arena_init(&world.arena, NULL);
    return 0;
}

static int tear_down(void **state)
{
    UNUSED(state);
    redisFree(world.redis);
    redis_close(&world.server);
    arena_clear(&world.arena);
    return 0;
}

/*
 * Replies as text
 */

static void add_embedded(struct text *text, const struct reply *reply)
{
    switch (reply->type) {
    case REPLY_INTEGER:
        add(text, "%" PRId64 " ", reply->integer);
        break;
    case REPLY_ARRAY:
        add(text, "[ ");
        for (size_t i = 0; i < reply->element_count; i++)
            add_embedded(text, &reply->elements[i]);
        add(text, "] ");
        break;
    default:
        add(text, "\"%.*s\" ", SLICE_ARGS(reply->text));
    }
}

static void add_redis(struct text *text, const redisReply *reply)
{
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        add(text, "%lld ", reply->integer);
        break;
    case REDIS_REPLY_ARRAY:
        add(text, "[ ");
        for (size_t i = 0; i < reply->elements; i++)
            add_redis(text, reply->element[i]);
        add(text, "] ");
        break;
    default:
        add(text, "\"%.*s\" ", (int)reply->len, reply->str);
    }
}

/*
 * One call in both
 */

static void run_redis(enum script_id script, const struct embedded_call *call, struct text *said)
{
    const char *argv[3 + 3 * LOCK_MAX_KEYS + 64];
    size_t lens[COUNT_OF(argv)], count = 0;
    char key_count[8];
    redisReply *reply;

    reply = redisCommand(world.redis, "SET clock %s",
                         arena_printf(&world.arena, "%" PRId64 " %" PRId64, world.now_us / 1000000,
                                      world.now_us % 1000000)
                             .at);
    freeReplyObject(reply);
    snprintf(key_count, sizeof key_count, "%zu", call->key_count);
    argv[count++] = "EVALSHA";
    argv[count++] = world.digests[script];
    argv[count++] = key_count;
    for (size_t i = 0; i < call->key_count; i++)
        argv[count++] = call->keys[i].at;
    for (size_t i = 0; i < call->arg_count; i++)
        argv[count++] = call->args[i].at;
    for (size_t i = 0; i < count; i++)
        lens[i] = strlen(argv[i]);
    reply = redisCommandArgv(world.redis, (int)count, argv, lens);
    if (reply == NULL)
        fail_msg("redis: %s", world.redis->errstr);
    said->len = 0;
    add_redis(said, reply);
    freeReplyObject(reply);
}

static void remember(enum script_id script, const struct reply *reply)
{
    if (script != SCRIPT_ADMIT || reply->type != REPLY_ARRAY)
        return;
    if (reply->elements[1].integer > 0)
        world.token = reply->elements[1].integer;
    if (reply->elements[2].integer > 0) {
        world.place = reply->elements[2].integer;
        world.wait_until_us = reply->elements[5].integer;
    }
}

static void run_both(enum script_id script, const struct lock_texts *texts)
{
    static struct text embedded_said, redis_said;
    struct embedded_call call = {texts->key_slices, texts->key_count, texts->arg_slices,
                                 texts->arg_count};
    struct reply reply;

    add(&world.log, "%" PRId64 " %s", world.now_us, script_get(script)->name);
    for (size_t i = 0; i < call.key_count; i++)
        add(&world.log, " {%.*s}", SLICE_ARGS(call.keys[i]));
    for (size_t i = 0; i < call.arg_count; i++)
        add(&world.log, " %.*s", SLICE_ARGS(call.args[i]));
    embedded_eval(world.embedded, script, &call, &world.arena, &reply);
    embedded_said.len = 0;
    add_embedded(&embedded_said, &reply);
    remember(script, &reply);
    add(&world.log, "\n   -> %s\n", embedded_said.at);
    run_redis(script, &call, &redis_said);
    if (strcmp(embedded_said.at, redis_said.at) != 0)
        fail_msg("TEST_SEED=%" PRIu64 " history %" PRIu64 "\n%sredis: %s", world.seed,
                 world.history, world.log.at, redis_said.at);
}

static void compare_messages(void)
{
    static struct text text;
    redisReply *reply = ask_redis("LRANGE messages 0 -1");

    text.len = 0;
    add(&text, "%s", "");
    for (size_t i = 0; i < reply->elements; i++)
        add(&text, "%s", reply->element[i]->str);
    freeReplyObject(reply);
    if (strcmp(text.at, world.messages.at) != 0)
        fail_msg("TEST_SEED=%" PRIu64 " history %" PRIu64 "\n%sembedded published:\n%sredis:\n%s",
                 world.seed, world.history, world.log.at, world.messages.at, text.at);
}

/*
 * Random questions
 */

#define PICK(array) ((array)[pick(COUNT_OF(array))])

static const char *const keys[] = {"a", "b", "c"};
static const char *const ids[] = {"x-11111111", "x-22222222", "x-33333333", "x-44444444",
                                  "s-55555555", "s-66666666", "s-77777777"};

/* One lock, or two in order. */
static void choose_keys(struct lock_asker *asker)
{
    size_t first = pick(COUNT_OF(keys));

    asker->keys[0] = keys[first];
    asker->key_count = 1;
    if (first + 1 < COUNT_OF(keys) && pick(4) == 0)
        asker->keys[asker->key_count++] = keys[first + 1];
}

static void ask_admit(struct lock_texts *texts)
{
    static const char *const intents[] = {"w", "w", "w", "w", "w", "s", "p"};
    static const int64_t waits_us[] = {0, 500 * MS, 5000 * MS};
    struct lock_asker asker = {.intent = PICK(intents), .id = PICK(ids), .channel = "w1"};
    bool is_again = pick(4) == 0;

    choose_keys(&asker);
    asker.permits = asker.id[0] == 'x' ? 1 + (int64_t)pick(3) : 1;
    asker.wait_us = PICK(waits_us);
    asker.lease_us = 1000 * MS;
    asker.grant_us = 300 * MS;
    asker.heartbeat_us = 700 * MS;
    asker.delay_us = pick(4) == 0 ? 200 * MS : 0;
    asker.queue_max = 3;
    asker.place = is_again ? world.place : 0;
    asker.wait_until_us = is_again ? world.wait_until_us : 0;
    if (pick(3) == 0) {
        asker.limit_key = "lk:limit";
        asker.limit_count = 10;
    }
    lock_add_admit(texts, &asker);
}

static void ask_renew(struct lock_texts *texts)
{
    for (uint64_t left = 1 + pick(3); left > 0; left--) {
        lock_add_key(texts, PICK(keys));
        lock_add_text(texts, PICK(ids));
        lock_add_number(texts, 1000 * MS);
        lock_add_number(texts, pick(4) == 0 ? 200 * MS : 0);
        lock_add_number(texts, 700 * MS);
    }
}

static void ask_release(struct lock_texts *texts)
{
    struct lock_asker asker;

    choose_keys(&asker);
    for (size_t i = 0; i < asker.key_count; i++)
        lock_add_key(texts, asker.keys[i]);
    lock_add_text(texts, PICK(ids));
    lock_add_number(texts, pick(2) ? world.token : 0);
    lock_add_number(texts, pick(4) == 0 ? 200 * MS : 0);
    lock_add_number(texts, 1 + (int64_t)pick(3));
}

static void ask_fence(struct lock_texts *texts)
{
    lock_add_key(texts, PICK(keys));
    texts->key_slices[0] = texts->key_slices[2];
    texts->key_count = 1;
    lock_add_number(texts, world.token + (int64_t)pick(4) - 2);
    lock_add_text(texts, pick(3) == 0 ? "0" : "1");
}

static void ask_anything(void)
{
    struct lock_texts texts = {.key_count = 0};
    uint64_t what = pick(100);
    enum script_id script = SCRIPT_ADMIT;

    if (what < 50) {
        ask_admit(&texts);
    } else if (what < 65) {
        script = SCRIPT_RENEW;
        ask_renew(&texts);
    } else if (what < 85) {
        script = SCRIPT_RELEASE;
        ask_release(&texts);
    } else if (what < 92) {
        script = SCRIPT_FENCE;
        ask_fence(&texts);
    } else if (what < 95) {
        script = SCRIPT_BREAK;
        lock_add_key(&texts, PICK(keys));
    } else {
        script = SCRIPT_LOCK_SHOW;
        lock_add_key(&texts, PICK(keys));
        lock_add_number(&texts, (int64_t)pick(5));
    }
    run_both(script, &texts);
}

static void begin_history(uint64_t number)
{
    struct timespec now;

    world.history = number;
    world.state = (world.seed + number) * 0x9e3779b97f4a7c15ull | 1;
    for (int i = 0; i < 8; i++)
        pick(2);
    clock_gettime(CLOCK_REALTIME, &now);
    world.now_us = (int64_t)now.tv_sec * 1000000 + (int64_t)pick(1000000);
    world.log.len = world.messages.len = 0;
    world.messages.at[0] = '\0';
    world.token = world.place = world.wait_until_us = 0;
    freeReplyObject(ask_redis("FLUSHALL"));
    world.embedded = embedded_open(16u << 20);
    embedded_set_clock(world.embedded, fake_clock, NULL);
    embedded_set_publish(world.embedded, on_publish, NULL);
}

static void locks_have_the_same_replies(void **state)
{
    const char *scale = getenv("TEST_SCALE");
    uint64_t count = HISTORIES * (scale != NULL ? strtoull(scale, NULL, 10) : 100) / 100 + 1;

    UNUSED(state);
    for (uint64_t number = 0; number < count; number++) {
        begin_history(number);
        for (uint64_t left = 5 + pick(MAX_CALLS - 5); left > 0; left--) {
            if (pick(3) > 0)
                world.now_us += (int64_t)pick(pick(4) > 0 ? 100 * MS : 1500 * MS);
            ask_anything();
        }
        compare_messages();
        embedded_unref(&world.embedded);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(locks_have_the_same_replies, set_up, tear_down),
    };

    UNUSED(wait_until);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
