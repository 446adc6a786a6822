#include "base/url.h"

#include <ctype.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool decode(struct arena *arena, struct slice text, struct slice *ret_decoded)
{
    char *out = arena_alloc(arena, text.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] != '%') {
            out[len++] = text.at[i];
            continue;
        }
        if (i + 2 >= text.len || hex_value(text.at[i + 1]) < 0 || hex_value(text.at[i + 2]) < 0)
            return false;
        out[len++] = (char)(hex_value(text.at[i + 1]) * 16 + hex_value(text.at[i + 2]));
        i += 2;
    }
    out[len] = '\0';
    *ret_decoded = slice_from(out, len);
    return memchr(out, '\0', len) == NULL;
}

static bool parse_scheme(struct arena *arena, struct slice *rest, struct slice *ret_scheme)
{
    size_t colon = slice_find(*rest, ':');
    char *lower;

    if (colon == 0 || rest->len < colon + 3 || memcmp(rest->at + colon, "://", 3) != 0)
        return false;
    lower = arena_alloc(arena, colon + 1);
    for (size_t i = 0; i < colon; i++) {
        char c = rest->at[i];

        if (!isalnum((unsigned char)c) && c != '+' && c != '-' && c != '.')
            return false;
        lower[i] = (char)tolower((unsigned char)c);
    }
    lower[colon] = '\0';
    *ret_scheme = slice_from(lower, colon);
    *rest = slice_skip(*rest, colon + 3);
    return true;
}

static const char *parse_port(struct slice text, uint16_t *ret_port)
{
    uint64_t port;

    if (!slice_to_uint64(text, &port) || port == 0 || port > 65535)
        return "the port must be a number from 1 to 65535";
    *ret_port = (uint16_t)port;
    return NULL;
}

static const char *check_host(struct slice host, bool is_bracketed)
{
    if (host.len == 0)
        return "the host is missing";
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.at[i];

        if (is_bracketed ? !isxdigit(c) && c != ':' && c != '.'
                         : !isalnum(c) && c != '-' && c != '.' && c != '_')
            return "the host has a character that host names cannot have";
    }
    return NULL;
}

static const char *parse_host_port(struct slice text, struct url *url)
{
    size_t end;
    const char *error;
    bool is_bracketed = text.len > 0 && text.at[0] == '[';

    if (is_bracketed) {
        end = slice_find(text, ']');
        if (end == text.len)
            return "an IPv6 address needs a closing ]";
        url->host = slice_from(text.at + 1, end - 1);
        text = slice_skip(text, end + 1);
    } else {
        end = slice_find(text, ':');
        url->host = slice_head(text, end);
        text = slice_skip(text, end);
    }
    error = check_host(url->host, is_bracketed);
    if (error != NULL || text.len == 0)
        return error;
    if (text.at[0] != ':')
        return "only :port may follow the host";
    return parse_port(slice_skip(text, 1), &url->port);
}

static size_t find_last(struct slice s, char byte)
{
    size_t at = s.len;

    while (at > 0 && s.at[at - 1] != byte)
        at--;
    return at > 0 ? at - 1 : s.len;
}

static const char *parse_authority(struct arena *arena, struct slice authority, struct url *url)
{
    size_t at = find_last(authority, '@');

    if (at < authority.len) {
        struct slice user = slice_head(authority, at);
        size_t colon = slice_find(user, ':');

        if (colon < user.len && !decode(arena, slice_skip(user, colon + 1), &url->password))
            return "the password has a bad percent escape";
        if (!decode(arena, slice_head(user, colon), &url->user))
            return "the user name has a bad percent escape";
        authority = slice_skip(authority, at + 1);
    }
    return parse_host_port(authority, url);
}

const char *url_parse(struct arena *arena, struct slice text, struct url *ret_url)
{
    struct url url = {0};
    struct slice rest = arena_copy(arena, text);
    size_t slash;
    const char *error;

    for (size_t i = 0; i < rest.len; i++)
        if ((unsigned char)rest.at[i] <= ' ' || rest.at[i] == 0x7f)
            return "it contains a space or a control character";
    if (!parse_scheme(arena, &rest, &url.scheme))
        return "it must begin with a scheme, as in http://host:port";
    slash = slice_find(rest, '/');
    url.path = slice_skip(rest, slash);
    if (slice_equal(url.scheme, SLICE("unix"))) {
        if (slash != 0 || url.path.len < 2)
            return "a unix socket needs an absolute path, as in unix:///run/service.sock";
    } else {
        error = parse_authority(arena, slice_head(rest, slash), &url);
        if (error != NULL)
            return error;
    }
    *ret_url = url;
    return NULL;
}
