#include "http/http_target.h"

#include <arpa/inet.h>

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Bytes a path and a query may have.  Besides those of RFC 3986 there are ^ { | } ` which browsers
 * send as they are, and in a query also [ ] \. */
enum { IN_PATH = 1, IN_QUERY = 2 };
static const uint8_t target_bytes[256] = {
    ['0' ... '9'] = 3, ['A' ... 'Z'] = 3, ['a' ... 'z'] = 3, ['-'] = 3, ['.'] = 3, ['_'] = 3,
    ['~'] = 3,         ['%'] = 3,         ['!'] = 3,         ['$'] = 3, ['&'] = 3, ['\''] = 3,
    ['('] = 3,         [')'] = 3,         ['*'] = 3,         ['+'] = 3, [','] = 3, [';'] = 3,
    ['='] = 3,         [':'] = 3,         ['@'] = 3,         ['/'] = 3, ['['] = 3, [']'] = 3,
    ['^'] = 3,         ['{'] = 3,         ['|'] = 3,         ['}'] = 3, ['`'] = 3, ['?'] = 2,
    ['\\'] = 2,
};

/* A path with a broken escape or an escaped NUL is refused: services read these differently. */
static bool path_is_legal(struct slice path)
{
    for (size_t i = 0; i < path.len; i++) {
        if ((target_bytes[(uint8_t)path.at[i]] & IN_PATH) == 0)
            return false;
        if (path.at[i] != '%')
            continue;
        if (path.len - i < 3 || !is_hex(path.at[i + 1]) || !is_hex(path.at[i + 2]) ||
            (path.at[i + 1] == '0' && path.at[i + 2] == '0'))
            return false;
        i += 2;
    }
    return true;
}

static bool query_is_legal(struct slice query)
{
    unsigned all = IN_QUERY;

    for (size_t i = 0; i < query.len; i++)
        all &= target_bytes[(uint8_t)query.at[i]];
    return all != 0;
}

/* Bytes a name may have: letters, digits, '-', '.', '_' and '~'; the letters as small ones. */
static const char name_bytes[256] = {
    ['0'] = '0',      ['1'] = '1',      ['2'] = '2',      ['3'] = '3',      ['4'] = '4',
    ['5'] = '5',      ['6'] = '6',      ['7'] = '7',      ['8'] = '8',      ['9'] = '9',
    ['-'] = '-',      ['.'] = '.',      ['_'] = '_',      ['~'] = '~',
#define LETTER(small, capital) [small] = small, [capital] = small
    LETTER('a', 'A'), LETTER('b', 'B'), LETTER('c', 'C'), LETTER('d', 'D'), LETTER('e', 'E'),
    LETTER('f', 'F'), LETTER('g', 'G'), LETTER('h', 'H'), LETTER('i', 'I'), LETTER('j', 'J'),
    LETTER('k', 'K'), LETTER('l', 'L'), LETTER('m', 'M'), LETTER('n', 'N'), LETTER('o', 'O'),
    LETTER('p', 'P'), LETTER('q', 'Q'), LETTER('r', 'R'), LETTER('s', 'S'), LETTER('t', 'T'),
    LETTER('u', 'U'), LETTER('v', 'V'), LETTER('w', 'W'), LETTER('x', 'X'), LETTER('y', 'Y'),
    LETTER('z', 'Z'),
#undef LETTER
};

/* Writes the name in small letters.  False when it is not legal, or has an empty label. */
static bool lower_name(struct slice name, char *out)
{
    char before = '.';

    if (name.len == 0 || name.len > 255)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name_bytes[(uint8_t)name.at[i]];

        if (c == '\0' || (c == '.' && before == '.'))
            return false;
        out[i] = before = c;
    }
    return true;
}

/* Writes the address with small letters and a terminator.  False when it is none. */
static bool lower_ipv6(struct slice literal, char *out)
{
    struct in6_addr address;

    if (literal.len == 0 || literal.len >= INET6_ADDRSTRLEN)
        return false;
    for (size_t i = 0; i < literal.len; i++)
        out[i] = literal.at[i] >= 'A' && literal.at[i] <= 'F' ? (char)(literal.at[i] | 0x20)
                                                              : literal.at[i];
    out[literal.len] = '\0';
    return inet_pton(AF_INET6, out, &address) == 1;
}

static bool port_is_legal(struct slice port)
{
    uint64_t number;

    return port.len <= 5 && slice_to_uint64(port, &number) && number <= UINT16_MAX;
}

bool http_authority_parse(struct slice authority, struct arena *arena, struct slice *ret_host)
{
    struct slice host = authority, port = SLICE_NONE;
    bool is_literal = authority.len > 0 && authority.at[0] == '[';
    size_t host_end = slice_find(authority, is_literal ? ']' : ':');
    char *lower;

    if (is_literal) {
        if (host_end == authority.len)
            return false;
        host = slice_from(authority.at + 1, host_end - 1);
        port = slice_skip(authority, host_end + 1);
        if (port.len > 0 && port.at[0] != ':')
            return false;
    } else {
        host = slice_head(authority, host_end);
        port = slice_skip(authority, host_end);
    }
    if (port.len > 0 && !port_is_legal(slice_skip(port, 1)))
        return false;
    lower = arena_alloc(arena, host.len + 1);
    if (is_literal ? !lower_ipv6(host, lower) : !lower_name(host, lower))
        return false;
    if (!is_literal && lower[host.len - 1] == '.')
        host.len--;
    lower[host.len] = '\0';
    *ret_host = slice_from(lower, host.len);
    return true;
}

/* Cut "http://authority" off an absolute-form target; false when the target has another form. */
static bool cut_absolute(struct slice target, struct slice *ret_authority, struct slice *ret_rest)
{
    static const struct slice schemes[] = {SLICE_INIT("http://"), SLICE_INIT("https://")};

    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        struct slice rest;
        size_t end = 0;

        if (target.len < schemes[i].len ||
            !slice_equal_nocase(slice_head(target, schemes[i].len), schemes[i]))
            continue;
        rest = slice_skip(target, schemes[i].len);
        while (end < rest.len && rest.at[end] != '/' && rest.at[end] != '?')
            end++;
        *ret_authority = slice_head(rest, end);
        *ret_rest = slice_skip(rest, end);
        return true;
    }
    return false;
}

bool http_target_parse(struct slice method, struct slice target, struct http_target *ret_target)
{
    struct http_target parsed = {SLICE_NONE, SLICE_NONE, SLICE_NONE};
    bool is_options = slice_equal(method, SLICE("OPTIONS"));
    struct slice rest = target;
    size_t path_end;

    if (slice_equal(target, SLICE("*"))) {
        parsed.path = target;
        *ret_target = parsed;
        return is_options;
    }
    if (!cut_absolute(target, &parsed.authority, &rest) && (rest.len == 0 || rest.at[0] != '/'))
        return false;
    path_end = slice_find(rest, '?');
    parsed.path = slice_head(rest, path_end);
    if (path_end < rest.len)
        parsed.query = slice_skip(rest, path_end + 1);
    if (parsed.path.len == 0)
        parsed.path = is_options && parsed.query.at == NULL ? SLICE("*") : SLICE("/");
    else if (!path_is_legal(parsed.path))
        return false;
    *ret_target = parsed;
    return query_is_legal(parsed.query);
}
