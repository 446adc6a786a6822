#include "store/redis_url.h"

#include <sys/un.h>

#include "base/url.h"

#define MAX_DB 1000000u

static const char *parse_db(struct slice text, uint32_t *ret_db)
{
    uint64_t db;

    if (!slice_to_uint64(text, &db) || db > MAX_DB)
        return "the database must be a number, as in redis://host/0";
    *ret_db = (uint32_t)db;
    return NULL;
}

/* url.c has already terminated user and password. */
static const char *take_credentials(const struct url *url, struct redis_url *ret_url)
{
    ret_url->user = url->user.len > 0 ? url->user.at : NULL;
    ret_url->password = url->password.len > 0 ? url->password.at : NULL;
    if (ret_url->user != NULL && ret_url->password == NULL)
        return "a user needs a password, as in redis://user:password@host "
               "(a password alone is written redis://:password@host)";
    return NULL;
}

static const char *parse_tcp(struct arena *arena, const struct url *url, struct redis_url *ret_url)
{
    ret_url->host = arena_copy(arena, url->host).at;
    ret_url->port = url->port != 0 ? url->port : REDIS_URL_DEFAULT_PORT;
    if (url->path.len <= 1)
        return NULL;
    return parse_db(slice_skip(url->path, 1), &ret_url->db);
}

static const char *parse_unix(struct arena *arena, struct slice path, struct redis_url *ret_url)
{
    size_t question = slice_find(path, '?');
    struct slice query = slice_skip(path, question);

    path = slice_head(path, question);
    if (path.len < 2)
        return "a unix socket needs an absolute path, as in unix:///run/redis.sock";
    if (path.len >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return "the path is too long for a unix socket (107 bytes at most)";
    ret_url->host = arena_printf(arena, "unix:%.*s", SLICE_ARGS(path)).at;
    if (query.len == 0)
        return NULL;
    if (!slice_starts_with(query, SLICE("?db=")))
        return "only ?db=N may follow the path of a unix socket";
    return parse_db(slice_skip(query, 4), &ret_url->db);
}

/* The path of a unix URL with credentials begins behind the "@"; a host is put there so that the
 * general parser, which knows no credentials without host, takes them apart. */
static struct slice with_placeholder_host(struct arena *arena, struct slice text)
{
    struct slice rest = slice_skip(text, strlen("unix://"));
    size_t at = slice_find(rest, '/');

    if (at == 0 || rest.at[at - 1] != '@')
        return text;
    return arena_printf(arena, "unix-login://%.*ssocket%.*s", (int)at, rest.at,
                        (int)(rest.len - at), rest.at + at);
}

const char *redis_url_parse(struct arena *arena, struct slice text, struct redis_url *ret_url)
{
    struct redis_url result = {0};
    struct url url;
    const char *error;
    bool is_unix = slice_starts_with(text, SLICE("unix://"));

    if (is_unix)
        text = with_placeholder_host(arena, text);
    error = url_parse(arena, text, &url);
    if (error == NULL)
        error = take_credentials(&url, &result);
    if (error != NULL)
        return error;
    result.is_tls = slice_equal(url.scheme, SLICE("rediss"));
    if (result.is_tls || slice_equal(url.scheme, SLICE("redis")))
        error = parse_tcp(arena, &url, &result);
    else if (is_unix)
        error = parse_unix(arena, url.path, &result);
    else
        error = "the scheme must be redis, rediss or unix";
    if (error == NULL)
        *ret_url = result;
    return error;
}
