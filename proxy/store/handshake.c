#include "store/handshake.h"

#include <stdio.h>
#include <string.h>

#include "store/resp.h"

#define HANDSHAKE_STEP_NAME(id, name) name,
static const char *const step_names[] = {HANDSHAKE_STEPS(HANDSHAKE_STEP_NAME)};

const char *handshake_step_name(enum handshake_step step)
{
    CHECK(step < HANDSHAKE_STEP_COUNT);
    return step_names[step];
}

static void put_command(struct buf *out, const struct slice *parts, size_t part_count)
{
    size_t room = RESP_HEADER_BYTES;
    char *start, *to;

    for (size_t i = 0; i < part_count; i++)
        room += resp_bulk_room(parts[i].len);
    start = to = buf_reserve(out, room);
    CHECK(start != NULL); /* scripts and passwords are far below the ceiling */
    to = resp_put_header(to, '*', part_count);
    for (size_t i = 0; i < part_count; i++)
        to = resp_put_bulk(to, parts[i]);
    buf_commit(out, (size_t)(to - start));
}

#define PUT(out, ...)                                                                              \
    put_command((out), (const struct slice[]){__VA_ARGS__},                                        \
                sizeof((const struct slice[]){__VA_ARGS__}) / sizeof(struct slice))

static void put_auth(const struct redis_url *url, struct buf *out)
{
    if (url->user != NULL)
        PUT(out, SLICE("AUTH"), slice_of(url->user), slice_of(url->password));
    else
        PUT(out, SLICE("AUTH"), slice_of(url->password));
}

static size_t put_login(const struct redis_url *url, struct buf *out,
                        enum handshake_step *ret_steps)
{
    size_t count = 0;

    if (url->password != NULL) {
        put_auth(url, out);
        ret_steps[count++] = HANDSHAKE_AUTH;
    }
    PUT(out, SLICE("CLIENT"), SLICE("SETNAME"), SLICE("lockkeeper"));
    ret_steps[count++] = HANDSHAKE_SETNAME;
    return count;
}

size_t handshake_write(const struct redis_url *url, handshake_script_getter *get_script,
                       struct buf *out, enum handshake_step ret_steps[HANDSHAKE_MAX_COMMANDS])
{
    size_t count = put_login(url, out, ret_steps);
    char db[16];

    if (url->db != 0) {
        snprintf(db, sizeof(db), "%u", url->db);
        PUT(out, SLICE("SELECT"), slice_of(db));
        ret_steps[count++] = HANDSHAKE_SELECT;
    }
    PUT(out, SLICE("INFO"), SLICE("server"));
    ret_steps[count++] = HANDSHAKE_INFO_SERVER;
    PUT(out, SLICE("INFO"), SLICE("memory"));
    ret_steps[count++] = HANDSHAKE_INFO_MEMORY;
    for (unsigned id = 0; id < SCRIPT_COUNT; id++) {
        PUT(out, SLICE("SCRIPT"), SLICE("LOAD"), get_script((enum script_id)id)->text);
        ret_steps[count++] = HANDSHAKE_SCRIPT_LOAD;
    }
    return count;
}

/* Channels belong to no database, so none is selected. */
size_t handshake_write_subscribe(const struct redis_url *url, struct slice channel, struct buf *out,
                                 enum handshake_step ret_steps[HANDSHAKE_MAX_COMMANDS])
{
    size_t count = put_login(url, out, ret_steps);

    PUT(out, SLICE("SUBSCRIBE"), channel);
    ret_steps[count++] = HANDSHAKE_SUBSCRIBE;
    return count;
}

/* The value of "name:value\r\n" in what INFO gives; false when it is not there or does not fit. */
static bool info_field(struct slice info, const char *name, char *ret_value, size_t size)
{
    struct slice line;

    while (slice_split(&info, '\n', &line)) {
        size_t name_len = strlen(name);

        if (line.len > 0 && line.at[line.len - 1] == '\r')
            line.len--;
        if (!slice_starts_with(line, slice_from(name, name_len)) || line.len <= name_len ||
            line.at[name_len] != ':')
            continue;
        line = slice_skip(line, name_len + 1);
        if (line.len == 0 || line.len >= size)
            return false;
        memcpy(ret_value, line.at, line.len);
        ret_value[line.len] = '\0';
        return true;
    }
    return false;
}

static void take_server(struct handshake *handshake, const struct reply *reply,
                        const struct log_context *log)
{
    char run_id[sizeof(handshake->run_id)], mode[32];

    handshake->is_cluster = reply->type == REPLY_STRING &&
                            info_field(reply->text, "redis_mode", mode, sizeof(mode)) &&
                            strcmp(mode, "cluster") == 0;
    if (reply->type != REPLY_STRING || !info_field(reply->text, "run_id", run_id, sizeof(run_id))) {
        if (!handshake->was_asked)
            log_warn(log, "store does not tell its run id: a restart will not be noticed",
                     LOG_SLICE("answer", reply->type == REPLY_ERROR ? reply->text : SLICE_NONE));
        return;
    }
    if (handshake->run_id[0] != '\0' && strcmp(handshake->run_id, run_id) != 0)
        log_warn(log, "store restarted or replaced", LOG_STR("old_run_id", handshake->run_id),
                 LOG_STR("run_id", run_id));
    memcpy(handshake->run_id, run_id, sizeof(run_id));
}

static void take_memory(struct handshake *handshake, const struct reply *reply,
                        const struct log_context *log)
{
    char policy[sizeof(handshake->eviction_policy)];

    if (reply->type != REPLY_STRING ||
        !info_field(reply->text, "maxmemory_policy", policy, sizeof(policy))) {
        if (!handshake->was_asked)
            log_warn(log, "store does not tell its maxmemory-policy: make sure it is noeviction",
                     LOG_SLICE("answer", reply->type == REPLY_ERROR ? reply->text : SLICE_NONE));
        handshake->eviction_policy[0] = '\0';
        return;
    }
    if (strcmp(policy, handshake->eviction_policy) == 0)
        return;
    memcpy(handshake->eviction_policy, policy, sizeof(policy));
    if (strcmp(policy, "noeviction") != 0)
        log_warn(log, "store may evict limits and locks: set maxmemory-policy noeviction",
                 LOG_STR("maxmemory_policy", policy));
}

/* Errors after which the connection is of no use, whichever step met them. */
static bool is_fatal(enum handshake_step step, enum reply_error error)
{
    switch (error) {
    case REPLY_ERROR_NOAUTH:
    case REPLY_ERROR_WRONGPASS:
    case REPLY_ERROR_DENIED:
    case REPLY_ERROR_LOADING:
    case REPLY_ERROR_BUSY:
    case REPLY_ERROR_MASTERDOWN:
    case REPLY_ERROR_MAXCLIENTS:
        return true;
    default:
        return step == HANDSHAKE_AUTH || step == HANDSHAKE_SELECT || step == HANDSHAKE_SUBSCRIBE;
    }
}

bool handshake_take(struct handshake *handshake, enum handshake_step step,
                    const struct reply *reply, const struct log_context *log)
{
    if (reply->type == REPLY_ERROR) {
        handshake->error = reply_error_class(reply->text);
        if (is_fatal(step, handshake->error))
            return false;
    }
    switch (step) {
    case HANDSHAKE_INFO_SERVER:
        take_server(handshake, reply, log);
        break;
    case HANDSHAKE_INFO_MEMORY:
        take_memory(handshake, reply, log);
        handshake->was_asked = true;
        break;
    case HANDSHAKE_SCRIPT_LOAD:
        /* A user may have the right to EVAL and not to SCRIPT: then the first call loads it. */
        if (reply->type == REPLY_ERROR && handshake->error != REPLY_ERROR_NOPERM)
            log_error(log, "store does not take a script", LOG_SLICE("answer", reply->text));
        break;
    case HANDSHAKE_SUBSCRIBE:
        handshake->error = REPLY_ERROR_OTHER;
        return reply->type == REPLY_ARRAY;
    default: /* AUTH and SELECT have succeeded; a name that is not taken does no harm */
        break;
    }
    return true;
}
