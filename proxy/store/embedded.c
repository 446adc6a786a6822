#include "store/embedded.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/script.h"
#include "store/store.h"

/* A script of ours takes some thousand instructions; one that takes so many hangs. */
#define INSTRUCTION_BUDGET 10000000
#define MAX_REPLY_DEPTH 16
#define USUAL_ARGS 16

#define EMBEDDED_TAG 0x454d4244u /* EMBD */

struct embedded {
    unsigned tag;
    _Atomic int reference_count;
    pthread_mutex_t lock; /* over everything below */
    lua_State *lua;
    struct keyspace *keyspace;
    struct arena_pool pool;
    struct arena arena; /* of the commands of one script */
    struct command_context commands;
    struct channels *channels; /* has a lock of its own, taken under this one */
    bool is_over_budget;
    int script_refs[SCRIPT_COUNT];
    int error_handler_ref;
    int texts_ref;       /* table: script text to compiled function */
    int globals_ref;     /* what is there */
    int environment_ref; /* what scripts see of it: read-only */
};

static struct embedded *embedded_of(lua_State *lua)
{
    struct embedded *embedded;

    /* Upvalue of every C function we give to Lua. */
    embedded = lua_touserdata(lua, lua_upvalueindex(1));
    CHECK_TAG(embedded, EMBEDDED);
    return embedded;
}

/*
 * From replies of commands to Lua values
 */

static void push_single_field(lua_State *lua, const char *name, struct slice text)
{
    lua_createtable(lua, 0, 1);
    lua_pushlstring(lua, text.at, text.len);
    lua_setfield(lua, -2, name);
}

static void push_reply(lua_State *lua, const struct reply *reply)
{
    switch (reply->type) {
    case REPLY_NIL:
        lua_pushboolean(lua, 0);
        break;
    case REPLY_INTEGER:
        lua_pushnumber(lua, (lua_Number)reply->integer);
        break;
    case REPLY_STRING:
        lua_pushlstring(lua, reply->text.at != NULL ? reply->text.at : "", reply->text.len);
        break;
    case REPLY_STATUS:
        push_single_field(lua, "ok", reply->text);
        break;
    case REPLY_ERROR:
        push_single_field(lua, "err", reply->text);
        break;
    case REPLY_ARRAY:
        lua_createtable(lua, (int)reply->element_count, 0);
        for (size_t i = 0; i < reply->element_count; i++) {
            push_reply(lua, &reply->elements[i]);
            lua_rawseti(lua, -2, (int)i + 1);
        }
        break;
    }
}

/*
 * The functions of "redis"
 */

static int give_error_table(lua_State *lua, const char *text, bool raises)
{
    push_single_field(lua, "err", slice_of(text));
    return raises ? lua_error(lua) : 1;
}

/* False: an argument is neither string nor number. */
static bool collect_args(lua_State *lua, struct arena *arena, struct slice *args, int count)
{
    for (int i = 0; i < count; i++) {
        int type = lua_type(lua, i + 1);

        if (type == LUA_TNUMBER) {
            args[i] = arena_printf(arena, "%.17g", lua_tonumber(lua, i + 1));
        } else if (type == LUA_TSTRING) {
            args[i].at = lua_tolstring(lua, i + 1, &args[i].len);
        } else {
            return false;
        }
    }
    return true;
}

static int run_command(lua_State *lua, bool raises)
{
    struct embedded *embedded = embedded_of(lua);
    struct slice usual[USUAL_ARGS], *args = usual;
    int count = lua_gettop(lua);
    struct reply reply;

    if (count == 0)
        return give_error_table(
            lua, "ERR Please specify at least one argument for this redis.call() call", raises);
    if (count > USUAL_ARGS)
        args = arena_alloc(&embedded->arena, (size_t)count * sizeof *args);
    if (!collect_args(lua, &embedded->arena, args, count))
        return give_error_table(
            lua, "ERR Lua redis lib command arguments must be strings or integers", raises);
    command_run(&embedded->commands, args, (size_t)count, &reply);
    push_reply(lua, &reply);
    return reply.type == REPLY_ERROR && raises ? lua_error(lua) : 1;
}

static int redis_call(lua_State *lua)
{
    return run_command(lua, true);
}

static int redis_pcall(lua_State *lua)
{
    return run_command(lua, false);
}

static int give_text_table(lua_State *lua, const char *field, const char *prefix)
{
    if (lua_gettop(lua) != 1 || lua_type(lua, 1) != LUA_TSTRING)
        return give_error_table(lua, "ERR wrong number or type of arguments", false);
    lua_createtable(lua, 0, 1);
    lua_pushstring(lua, prefix);
    lua_pushvalue(lua, 1);
    lua_concat(lua, 2);
    lua_setfield(lua, -2, field);
    return 1;
}

/* An error without a code, which is a first word, gets the code ERR. */
static int redis_error_reply(lua_State *lua)
{
    const char *text = lua_type(lua, 1) == LUA_TSTRING ? lua_tostring(lua, 1) : "";

    if (text[0] == '-' && lua_gettop(lua) == 1) {
        lua_pushstring(lua, text + 1);
        lua_replace(lua, 1);
        text = lua_tostring(lua, 1);
    }
    return give_text_table(lua, "err", strchr(text, ' ') == NULL ? "ERR " : "");
}

static int redis_status_reply(lua_State *lua)
{
    return give_text_table(lua, "ok", "");
}

/*
 * The world a script sees: no files, no code loading, nothing it could change for the next one
 */

static const char SANDBOX[] =
    "local keep = {assert=1, error=1, getmetatable=1, ipairs=1, math=1, next=1, pairs=1, pcall=1,\n"
    "    rawequal=1, rawget=1, redis=1, select=1, setmetatable=1, string=1, table=1, tonumber=1,\n"
    "    tostring=1, type=1, unpack=1, xpcall=1, _VERSION=1}\n"
    "local function read_only()\n"
    "    error('Attempt to modify a readonly table', 2)\n"
    "end\n"
    "local function lock(table)\n"
    "    return setmetatable({}, {__index = table, __newindex = read_only, __metatable = false})\n"
    "end\n"
    "local globals = {}\n"
    "for name in pairs(keep) do globals[name] = _G[name] end\n"
    "globals.string.dump, globals.math.random, globals.math.randomseed = nil, nil, nil\n"
    "getmetatable('').__metatable = false\n"
    "for _, name in ipairs{'math', 'redis', 'string', 'table'} do\n"
    "    globals[name] = lock(globals[name])\n"
    "end\n"
    "setmetatable(globals, {__index = function(_, name)\n"
    "    error('Script attempted to access nonexistent global variable \\'' ..\n"
    "          tostring(name) .. '\\'', 2)\n"
    "end})\n"
    "globals._G = lock(globals)\n"
    "return globals, globals._G\n";

/* What went wrong and where, as the text of an error reply. */
static int on_script_error(lua_State *lua)
{
    lua_Debug at;
    int level = 1;

    if (lua_istable(lua, 1)) {
        lua_getfield(lua, 1, "err");
        lua_replace(lua, 1);
        if (!lua_isstring(lua, 1))
            lua_pushliteral(lua, "ERR unknown error");
    } else {
        lua_pushliteral(lua, "ERR ");
        lua_pushstring(lua, lua_isstring(lua, 1) ? lua_tostring(lua, 1) : "unknown error");
        lua_concat(lua, 2);
    }
    while (lua_getstack(lua, level++, &at) && lua_getinfo(lua, "Sl", &at))
        if (at.currentline > 0) {
            lua_pushfstring(lua, "%s script: %s, line %d.", lua_tostring(lua, -1), at.short_src,
                            at.currentline);
            break;
        }
    push_single_field(lua, "err", slice_of(lua_tostring(lua, -1)));
    return 1;
}

/* Once over, every further instruction fails too, so that a pcall cannot go on. */
static void on_budget(lua_State *lua, lua_Debug *at)
{
    UNUSED(at);
    lua_sethook(lua, on_budget, LUA_MASKCOUNT, 1);
    luaL_error(lua, "script takes too long");
}

static int on_panic(lua_State *lua)
{
    check_failed(lua_tostring(lua, -1), __FILE__, __LINE__);
}

static void register_redis(struct embedded *embedded)
{
    static const luaL_Reg functions[] = {{"call", redis_call},
                                         {"pcall", redis_pcall},
                                         {"error_reply", redis_error_reply},
                                         {"status_reply", redis_status_reply}};
    lua_State *lua = embedded->lua;

    lua_newtable(lua);
    for (size_t i = 0; i < COUNT_OF(functions); i++) {
        lua_pushlightuserdata(lua, embedded);
        lua_pushcclosure(lua, functions[i].func, 1);
        lua_setfield(lua, -2, functions[i].name);
    }
    lua_setglobal(lua, "redis");
}

static void open_libraries(lua_State *lua)
{
    static const luaL_Reg libraries[] = {{"", luaopen_base},
                                         {LUA_STRLIBNAME, luaopen_string},
                                         {LUA_TABLIBNAME, luaopen_table},
                                         {LUA_MATHLIBNAME, luaopen_math}};

    for (size_t i = 0; i < COUNT_OF(libraries); i++) {
        lua_pushcfunction(lua, libraries[i].func);
        lua_pushstring(lua, libraries[i].name);
        lua_call(lua, 1, 0);
    }
}

/* Pushes the function, or the text of the error. */
static bool compile(struct embedded *embedded, const char *name, struct slice text)
{
    lua_State *lua = embedded->lua;
    char chunk[64];

    snprintf(chunk, sizeof chunk, "@%s", name);
    /* Text only: bytecode could do anything. */
    if (slice_starts_with(text, SLICE(LUA_SIGNATURE))) {
        lua_pushliteral(lua, "a script must be text");
        return false;
    }
    if (luaL_loadbuffer(lua, text.at, text.len, chunk) != 0)
        return false;
    lua_rawgeti(lua, LUA_REGISTRYINDEX, embedded->environment_ref);
    lua_setfenv(lua, -2);
    return true;
}

static void open_lua(struct embedded *embedded)
{
    lua_State *lua = embedded->lua = luaL_newstate();

    CHECK(lua != NULL);
    lua_atpanic(lua, on_panic);
    open_libraries(lua);
    register_redis(embedded);
    CHECK(luaL_loadbuffer(lua, SANDBOX, sizeof SANDBOX - 1, "@sandbox") == 0);
    lua_call(lua, 0, 2);
    embedded->environment_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    embedded->globals_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    lua_pushcfunction(lua, on_script_error);
    embedded->error_handler_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    lua_newtable(lua);
    embedded->texts_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    for (int i = 0; i < SCRIPT_COUNT; i++) {
        const struct script *script = script_get((enum script_id)i);

        CHECK(compile(embedded, script->name, script->text));
        embedded->script_refs[i] = luaL_ref(lua, LUA_REGISTRYINDEX);
    }
}

/*
 * From Lua values to the reply of a script
 */

static void convert(lua_State *lua, struct arena *arena, unsigned depth, struct reply *reply);

static struct slice copy_text(lua_State *lua, struct arena *arena)
{
    struct slice text;

    text.at = lua_tolstring(lua, -1, &text.len);
    return arena_copy(arena, text);
}

/* If the table on top has a string under name, that is the reply. */
static bool convert_field(lua_State *lua, struct arena *arena, const char *name,
                          enum reply_type type, struct reply *reply)
{
    bool is_there;

    lua_pushstring(lua, name);
    lua_rawget(lua, -2);
    is_there = lua_type(lua, -1) == LUA_TSTRING;
    if (is_there) {
        reply->type = type;
        reply->text = copy_text(lua, arena);
    }
    lua_pop(lua, 1);
    return is_there;
}

static size_t count_elements(lua_State *lua)
{
    for (int count = 0;; count++) {
        bool is_end;

        lua_rawgeti(lua, -1, count + 1);
        is_end = lua_isnil(lua, -1);
        lua_pop(lua, 1);
        if (is_end)
            return (size_t)count;
    }
}

static void convert_table(lua_State *lua, struct arena *arena, unsigned depth, struct reply *reply)
{
    struct reply *elements;

    if (convert_field(lua, arena, "err", REPLY_ERROR, reply) ||
        convert_field(lua, arena, "ok", REPLY_STATUS, reply))
        return;
    if (depth == MAX_REPLY_DEPTH || !lua_checkstack(lua, 4)) {
        reply->type = REPLY_ERROR;
        reply->text = SLICE("ERR reached lua stack limit");
        return;
    }
    reply->type = REPLY_ARRAY;
    reply->element_count = count_elements(lua);
    elements = arena_calloc(arena, reply->element_count, sizeof *elements);
    for (size_t i = 0; i < reply->element_count; i++) {
        lua_rawgeti(lua, -1, (int)i + 1);
        convert(lua, arena, depth + 1, &elements[i]);
        lua_pop(lua, 1);
    }
    reply->elements = elements;
}

/* Numbers outside of 64 bits become the smallest one, as the processor that runs Redis does it. */
static int64_t to_integer(lua_Number number)
{
    return number >= -0x1p63 && number < 0x1p63 ? (int64_t)number : INT64_MIN;
}

/* The value on top of the stack, which stays there. */
static void convert(lua_State *lua, struct arena *arena, unsigned depth, struct reply *reply)
{
    *reply = (struct reply){.type = REPLY_NIL};
    switch (lua_type(lua, -1)) {
    case LUA_TSTRING:
        reply->type = REPLY_STRING;
        reply->text = copy_text(lua, arena);
        break;
    case LUA_TNUMBER:
        reply->type = REPLY_INTEGER;
        reply->integer = to_integer(lua_tonumber(lua, -1));
        break;
    case LUA_TBOOLEAN:
        if (lua_toboolean(lua, -1)) {
            reply->type = REPLY_INTEGER;
            reply->integer = 1;
        }
        break;
    case LUA_TTABLE:
        convert_table(lua, arena, depth, reply);
        break;
    default:
        break;
    }
}

/*
 * Running
 */

static void set_global(struct embedded *embedded, const char *name, const struct slice *texts,
                       size_t count)
{
    lua_State *lua = embedded->lua;

    lua_createtable(lua, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushlstring(lua, texts[i].at != NULL ? texts[i].at : "", texts[i].len);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, name);
}

/* The script's function is on top of the stack. */
static void run(struct embedded *embedded, const struct embedded_call *call, struct arena *arena,
                struct reply *ret_reply)
{
    lua_State *lua = embedded->lua;
    int status;

    keyspace_begin(embedded->keyspace);
    embedded->commands.has_written = false;
    lua_rawgeti(lua, LUA_REGISTRYINDEX, embedded->globals_ref);
    set_global(embedded, "KEYS", call->keys, call->key_count);
    set_global(embedded, "ARGV", call->args, call->arg_count);
    lua_pop(lua, 1);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, embedded->error_handler_ref);
    lua_insert(lua, -2);
    lua_sethook(lua, on_budget, LUA_MASKCOUNT, INSTRUCTION_BUDGET);
    status = lua_pcall(lua, 0, 1, -2);
    lua_sethook(lua, NULL, 0, 0);
    convert(lua, arena, 0, ret_reply);
    /* Out of memory, or an error in the handler of errors: then it is plain text. */
    if (status != 0)
        ret_reply->type = REPLY_ERROR;
    lua_settop(lua, 0);
    arena_clear(&embedded->arena);
}

void embedded_eval(struct embedded *embedded, enum script_id script,
                   const struct embedded_call *call, struct arena *arena, struct reply *ret_reply)
{
    CHECK_TAG(embedded, EMBEDDED);
    CHECK(script < SCRIPT_COUNT);
    arena_clear(arena);
    pthread_mutex_lock(&embedded->lock);
    lua_rawgeti(embedded->lua, LUA_REGISTRYINDEX, embedded->script_refs[script]);
    run(embedded, call, arena, ret_reply);
    pthread_mutex_unlock(&embedded->lock);
}

/* Pushes the compiled text, or false and an error reply. */
static bool push_text(struct embedded *embedded, const char *name, struct slice text,
                      struct arena *arena, struct reply *ret_reply)
{
    lua_State *lua = embedded->lua;

    lua_rawgeti(lua, LUA_REGISTRYINDEX, embedded->texts_ref);
    lua_pushlstring(lua, text.at, text.len);
    lua_pushvalue(lua, -1);
    lua_rawget(lua, -3);
    if (lua_isfunction(lua, -1))
        return true;
    lua_pop(lua, 1);
    if (!compile(embedded, name, text)) {
        ret_reply->type = REPLY_ERROR;
        ret_reply->text =
            arena_printf(arena, "ERR Error compiling script: %s", lua_tostring(lua, -1));
        return false;
    }
    lua_pushvalue(lua, -2);
    lua_pushvalue(lua, -2);
    lua_rawset(lua, -5);
    return true;
}

void embedded_eval_text(struct embedded *embedded, const char *name, struct slice text,
                        const struct embedded_call *call, struct arena *arena,
                        struct reply *ret_reply)
{
    CHECK_TAG(embedded, EMBEDDED);
    arena_clear(arena);
    *ret_reply = (struct reply){.type = REPLY_NIL};
    pthread_mutex_lock(&embedded->lock);
    if (push_text(embedded, name, text, arena, ret_reply))
        run(embedded, call, arena, ret_reply);
    lua_settop(embedded->lua, 0);
    pthread_mutex_unlock(&embedded->lock);
}

void embedded_get_stats(struct embedded *embedded, struct keyspace_stats *ret_stats)
{
    CHECK_TAG(embedded, EMBEDDED);
    pthread_mutex_lock(&embedded->lock);
    keyspace_get_stats(embedded->keyspace, ret_stats);
    pthread_mutex_unlock(&embedded->lock);
}

void embedded_set_clock(struct embedded *embedded, keyspace_clock_fn *clock, void *owner)
{
    keyspace_set_clock(embedded->keyspace, clock, owner);
}

void embedded_set_publish(struct embedded *embedded, command_publish_fn *publish, void *owner)
{
    embedded->commands.publish = publish;
    embedded->commands.publish_owner = owner;
}

struct channels *embedded_channels(struct embedded *embedded)
{
    CHECK_TAG(embedded, EMBEDDED);
    return embedded->channels;
}

struct embedded *embedded_open(size_t max_bytes)
{
    struct embedded *embedded = mem_calloc(1, sizeof *embedded);

    embedded->tag = EMBEDDED_TAG;
    embedded->reference_count = 1;
    pthread_mutex_init(&embedded->lock, NULL);
    embedded->keyspace = keyspace_open(max_bytes);
    arena_pool_init(&embedded->pool, 4);
    arena_init(&embedded->arena, &embedded->pool);
    embedded->commands.keyspace = embedded->keyspace;
    embedded->commands.arena = &embedded->arena;
    embedded->channels = channels_open();
    embedded_set_publish(embedded, channels_publish, embedded->channels);
    open_lua(embedded);
    return embedded;
}

void embedded_set_max_bytes(struct embedded *embedded, size_t max_bytes)
{
    CHECK_TAG(embedded, EMBEDDED);
    pthread_mutex_lock(&embedded->lock);
    keyspace_set_max_bytes(embedded->keyspace, max_bytes);
    pthread_mutex_unlock(&embedded->lock);
}

struct embedded *embedded_ref(struct embedded *embedded)
{
    CHECK_TAG(embedded, EMBEDDED);
    atomic_fetch_add(&embedded->reference_count, 1);
    return embedded;
}

void embedded_unref(struct embedded **embedded_at)
{
    struct embedded *embedded = TAKE(embedded_at);

    CHECK_TAG(embedded, EMBEDDED);
    if (atomic_fetch_sub(&embedded->reference_count, 1) > 1)
        return;
    lua_close(embedded->lua);
    channels_close(&embedded->channels);
    keyspace_close(&embedded->keyspace);
    arena_clear(&embedded->arena);
    arena_pool_clear(&embedded->pool);
    pthread_mutex_destroy(&embedded->lock);
    embedded->tag = 0;
    free(embedded);
}

const char *embedded_library_version(void)
{
#ifdef LUAJIT_VERSION
    return LUAJIT_VERSION;
#else
    return LUA_RELEASE;
#endif
}
