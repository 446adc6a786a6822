/* Request paths in normal form, and path templates taken apart.  Both rest on one table of what a
 * byte is in a path, so that a literal of a template and a request's spelling of it always meet. */
#include "policy/router_path.h"

#include <ctype.h>

#include "policy/router.h"
#include "policy/value.h"

enum byte_class {
    BYTE_REFUSED, /* controls, space, backslash, '?', '#', non-ASCII */
    BYTE_PLAIN,   /* stands as it is, and is what its escape becomes */
    BYTE_ESCAPED, /* printable, but not part of RFC 3986's pchar: becomes its escape */
    BYTE_SLASH,
    BYTE_PERCENT
};

static const unsigned char classes[256] = {
    ['a' ... 'z'] = BYTE_PLAIN, ['A' ... 'Z'] = BYTE_PLAIN, ['0' ... '9'] = BYTE_PLAIN,
    ['-'] = BYTE_PLAIN,         ['.'] = BYTE_PLAIN,         ['_'] = BYTE_PLAIN,
    ['~'] = BYTE_PLAIN,         ['!'] = BYTE_PLAIN,         ['$'] = BYTE_PLAIN,
    ['&'] = BYTE_PLAIN,         ['\''] = BYTE_PLAIN,        ['('] = BYTE_PLAIN,
    [')'] = BYTE_PLAIN,         ['*'] = BYTE_PLAIN,         ['+'] = BYTE_PLAIN,
    [','] = BYTE_PLAIN,         [';'] = BYTE_PLAIN,         ['='] = BYTE_PLAIN,
    [':'] = BYTE_PLAIN,         ['@'] = BYTE_PLAIN,         ['"'] = BYTE_ESCAPED,
    ['<'] = BYTE_ESCAPED,       ['>'] = BYTE_ESCAPED,       ['['] = BYTE_ESCAPED,
    [']'] = BYTE_ESCAPED,       ['^'] = BYTE_ESCAPED,       ['`'] = BYTE_ESCAPED,
    ['{'] = BYTE_ESCAPED,       ['|'] = BYTE_ESCAPED,       ['}'] = BYTE_ESCAPED,
    ['/'] = BYTE_SLASH,         ['%'] = BYTE_PERCENT,
};

static enum byte_class class_of(char c)
{
    return (enum byte_class)classes[(unsigned char)c];
}

/* What the escape at s.at[at] stands for; -1 when it is none or %00. */
static int escape_at(struct slice s, size_t at)
{
    int high, low;

    if (s.len - at < 3)
        return -1;
    high = value_hex_digit(s.at[at + 1]);
    low = value_hex_digit(s.at[at + 2]);
    return high < 0 || low < 0 || high + low == 0 ? -1 : high * 16 + low;
}

static size_t write_escape(int byte, char *out)
{
    static const char digits[] = "0123456789ABCDEF";

    out[0] = '%';
    out[1] = digits[byte >> 4];
    out[2] = digits[byte & 15];
    return 3;
}

static bool is_normal_escape(struct slice path, size_t at)
{
    int byte = escape_at(path, at);

    return byte > 0 && class_of((char)byte) != BYTE_PLAIN &&
           !islower((unsigned char)path.at[at + 1]) && !islower((unsigned char)path.at[at + 2]);
}

/* Does "//", "/./" or "/../" (or its like at the end) begin at this slash? */
static bool is_odd_slash(struct slice path, size_t at)
{
    size_t next = at + 1;

    if (next < path.len && path.at[next] == '/')
        return true;
    for (int dots = 0; dots < 2 && next < path.len && path.at[next] == '.'; dots++) {
        next++;
        if (next == path.len || path.at[next] == '/')
            return true;
    }
    return false;
}

static bool is_normal(struct slice path)
{
    for (size_t i = 0; i < path.len; i++) {
        enum byte_class class = class_of(path.at[i]);

        if (class == BYTE_PLAIN)
            continue;
        if (class == BYTE_SLASH && !is_odd_slash(path, i))
            continue;
        if (class != BYTE_PERCENT || !is_normal_escape(path, i))
            return false;
    }
    return true;
}

/* One segment from path[*at] to the next slash, decoded to out. */
static bool normalise_segment(struct slice path, size_t *at, char *out, size_t *ret_len)
{
    size_t i = *at, len = 0;

    while (i < path.len && path.at[i] != '/') {
        enum byte_class class = class_of(path.at[i]);
        int byte = class == BYTE_PERCENT ? escape_at(path, i) : (unsigned char)path.at[i];

        if (class == BYTE_REFUSED || byte < 0)
            return false;
        if (class_of((char)byte) == BYTE_PLAIN)
            out[len++] = (char)byte;
        else
            len += write_escape(byte, out + len);
        i += class == BYTE_PERCENT ? 3 : 1;
    }
    *at = i;
    *ret_len = len;
    return true;
}

/* False when the path is malformed. */
static bool write_normal(struct slice path, char *out, size_t *ret_len)
{
    size_t at = 0, len = 0;

    while (at < path.len) {
        size_t start = len, segment_len;
        struct slice segment;

        while (at < path.len && path.at[at] == '/')
            at++;
        out[len++] = '/';
        if (!normalise_segment(path, &at, out + len, &segment_len))
            return false;
        segment = slice_from(out + len, segment_len);
        len += segment_len;
        if (!slice_equal(segment, SLICE(".")) && !slice_equal(segment, SLICE("..")))
            continue;
        len = start;
        while (segment.len == 2 && len > 0 && out[--len] != '/')
            ;
        if (at == path.len)
            out[len++] = '/';
    }
    *ret_len = len;
    return true;
}

bool router_normalise_path(struct arena *arena, struct slice path, struct slice *ret_path)
{
    size_t room = path.len, len;
    char *out;

    if (slice_equal(path, SLICE("*")) || (path.len > 0 && path.at[0] == '/' && is_normal(path))) {
        *ret_path = path;
        return true;
    }
    if (path.len == 0 || path.at[0] != '/')
        return false;
    for (size_t i = 0; i < path.len; i++)
        room += class_of(path.at[i]) == BYTE_ESCAPED ? 2 : 0;
    out = arena_reserve(arena, room);
    if (!write_normal(path, out, &len))
        return false;
    arena_commit(arena, len);
    *ret_path = slice_from(out, len);
    return true;
}

bool router_has_escaped_slash(struct slice path)
{
    /* Every % begins an escape of two digits, so that none of them begins within another. */
    return memmem(path.at, path.len, "%2F", 3) != NULL ||
           memmem(path.at, path.len, "%5C", 3) != NULL;
}

struct parser {
    struct arena *arena;
    struct slice text;
    size_t at;
    size_t *ret_error_offset;
};

#define FAIL(parser, where, ...)                                                                   \
    (*(parser)->ret_error_offset = (where), arena_printf((parser)->arena, __VA_ARGS__).at)

/* The literal byte or escape at p->at; moves on. */
static const char *parse_literal_byte(struct parser *p)
{
    char c = p->text.at[p->at];
    int byte = (unsigned char)c;
    char escape[4] = "";

    switch (class_of(c)) {
    case BYTE_PLAIN:
        if (c == '*')
            return FAIL(p, p->at,
                        "\"*\" is no wildcard in a path: write {name} for one segment, "
                        "{rest...} for the rest");
        p->at++;
        return NULL;
    case BYTE_PERCENT:
        byte = escape_at(p->text, p->at);
        if (byte < 0)
            return FAIL(p, p->at, "\"%%\" must be followed by two hex digits (and not 00)");
        if (class_of((char)byte) == BYTE_PLAIN)
            return FAIL(p, p->at, "write \"%.*s\" as \"%c\": requests are matched in that form", 3,
                        p->text.at + p->at, byte);
        write_escape(byte, escape);
        if (!is_normal_escape(p->text, p->at))
            return FAIL(p, p->at, "write \"%.*s\" as \"%s\"", 3, p->text.at + p->at, escape);
        p->at += 3;
        return NULL;
    case BYTE_REFUSED:
        if (c == '?' || c == '#')
            return FAIL(p, p->at, "\"%c\": only the path is matched here, without the query", c);
        break;
    case BYTE_ESCAPED:
        if (c == '}')
            return FAIL(p, p->at, "\"}\" closes nothing; a brace in a path is %%7D");
        break;
    case BYTE_SLASH:
        UNREACHED();
    }
    write_escape(byte, escape);
    return FAIL(p, p->at, "byte 0x%02x cannot stand in a path: write \"%s\"", (unsigned)byte,
                escape);
}

static bool is_identifier(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];

        if (!isalpha((unsigned char)c) && c != '_' &&
            (i == 0 || (!isdigit((unsigned char)c) && c != '-')))
            return false;
    }
    return name.len > 0;
}

/* "{name}" or "{name...}" at p->at. */
static const char *parse_param(struct parser *p, struct router_segment *segment)
{
    struct slice rest = slice_skip(p->text, p->at + 1), name;
    size_t close = slice_find(rest, '}');

    if (segment->kind != ROUTER_LITERAL)
        return FAIL(p, p->at, "a segment has at most one parameter");
    if (close == rest.len || slice_find(rest, '/') < close)
        return FAIL(p, p->at, "\"{\" is never closed; a brace in a path is %%7B");
    name = slice_head(rest, close);
    segment->kind = ROUTER_PARAM;
    if (slice_ends_with(name, SLICE("..."))) {
        segment->kind = ROUTER_REST;
        name.len -= 3;
    }
    if (!is_identifier(name))
        return FAIL(p, p->at + 1,
                    "a parameter's name is letters, digits, \"_\" and \"-\", and does "
                    "not begin with a digit");
    segment->name = name;
    p->at += close + 2;
    return NULL;
}

/* From p->at to the next slash or the end. */
static const char *parse_segment(struct parser *p, struct router_segment *ret_segment)
{
    struct router_segment segment = {.kind = ROUTER_LITERAL};
    size_t start = p->at, after_param = start;
    const char *wrong = NULL;

    if (p->text.len > start && p->text.at[start] == ':')
        return FAIL(p, start, "a segment cannot begin with \":\"; a parameter is written {name}");
    while (wrong == NULL && p->at < p->text.len && p->text.at[p->at] != '/') {
        if (p->text.at[p->at] != '{') {
            wrong = parse_literal_byte(p);
            continue;
        }
        if (segment.kind == ROUTER_LITERAL)
            segment.prefix = slice_from(p->text.at + start, p->at - start);
        wrong = parse_param(p, &segment);
        after_param = p->at;
    }
    if (wrong != NULL)
        return wrong;
    segment.suffix = slice_from(p->text.at + after_param, p->at - after_param);
    if (segment.kind == ROUTER_LITERAL) {
        segment.prefix = segment.suffix;
        segment.suffix = SLICE("");
        if (slice_equal(segment.prefix, SLICE(".")) || slice_equal(segment.prefix, SLICE("..")))
            return FAIL(p, start, "requests are matched without dot segments");
        if (segment.prefix.len == 0 && p->at < p->text.len)
            return FAIL(p, start,
                        "requests are matched with single slashes: write \"/\" for \"//\"");
    }
    if (segment.kind == ROUTER_REST && (segment.prefix.len > 0 || segment.suffix.len > 0))
        return FAIL(p, start, "{%.*s...} must be a whole segment", SLICE_ARGS(segment.name));
    if (segment.kind == ROUTER_REST && p->at < p->text.len)
        return FAIL(p, start, "{%.*s...} must stand at the end", SLICE_ARGS(segment.name));
    *ret_segment = segment;
    return NULL;
}

/* The name of segments[index] must be new. */
static const char *check_name(struct parser *p, const struct router_path *path, size_t index)
{
    struct slice name = path->segments[index].name;
    size_t param_count = 0;

    for (size_t i = 0; i < index; i++) {
        if (path->segments[i].kind == ROUTER_LITERAL)
            continue;
        param_count++;
        if (slice_equal(path->segments[i].name, name))
            return FAIL(p, (size_t)(name.at - p->text.at), "there are two parameters \"%.*s\"",
                        SLICE_ARGS(name));
    }
    if (param_count == FACTS_MAX_PATH_PARAMS)
        return FAIL(p, (size_t)(name.at - p->text.at), "a path has at most %d parameters",
                    FACTS_MAX_PATH_PARAMS);
    return NULL;
}

const char *router_path_parse(struct arena *arena, struct slice text, struct router_path *ret_path,
                              size_t *ret_error_offset)
{
    struct parser p = {.arena = arena, .text = text, .at = 1, .ret_error_offset = ret_error_offset};
    const char *wrong = NULL;

    ret_path->segment_count = 0;
    ret_path->kind = text.len == 0 ? ROUTER_PATH_ANY : ROUTER_PATH_ASTERISK;
    if (text.len == 0 || slice_equal(text, SLICE("*")))
        return NULL;
    if (text.at[0] != '/')
        return FAIL(&p, 0, "a path begins with \"/\"");
    ret_path->kind = ROUTER_PATH_SEGMENTS;
    do {
        size_t index = ret_path->segment_count;

        if (index == ROUTER_PATH_MAX_SEGMENTS)
            return FAIL(&p, p.at, "a path has at most %d segments", ROUTER_PATH_MAX_SEGMENTS);
        wrong = parse_segment(&p, &ret_path->segments[index]);
        if (wrong == NULL && ret_path->segments[index].kind != ROUTER_LITERAL)
            wrong = check_name(&p, ret_path, index);
        ret_path->segment_count++;
    } while (wrong == NULL && p.at++ < text.len);
    return wrong;
}

const char *router_check_path(struct arena *arena, struct slice template_text,
                              struct slice *ret_names, size_t *ret_count, size_t *ret_error_offset)
{
    struct router_path path;
    const char *wrong = router_path_parse(arena, template_text, &path, ret_error_offset);

    if (wrong != NULL)
        return wrong;
    *ret_count = 0;
    for (size_t i = 0; i < path.segment_count; i++) {
        if (path.segments[i].kind != ROUTER_LITERAL)
            ret_names[(*ret_count)++] = path.segments[i].name;
    }
    return NULL;
}
