#include "policy/expand.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "policy/source.h"

struct expansion {
    struct arena *arena;
    const char *policy_file;
    struct slice text; /* of the whole value */
    size_t start, len; /* of the ${...} at work */
    struct buf out;
    const struct expand_file *files;
    struct expand_fault *fault;
};

static bool PRINTF_LIKE(2, 3) fail(struct expansion *x, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(x->fault->message, sizeof(x->fault->message), format, args);
    va_end(args);
    x->fault->offset = x->start;
    x->fault->len = x->len;
    return false;
}

static bool append(struct expansion *x, struct slice s)
{
    return buf_append(&x->out, s) ||
           fail(x, "the value is too long: at most %zu bytes", EXPAND_MAX_BYTES);
}

static struct slice without_newline(struct slice s)
{
    if (s.len > 0 && s.at[s.len - 1] == '\n')
        s.len--;
    if (s.len > 0 && s.at[s.len - 1] == '\r')
        s.len--;
    return s;
}

const char *expand_path(struct arena *arena, const char *policy_file, struct slice path)
{
    const char *slash = strrchr(policy_file, '/');

    if (path.at[0] == '/' || slash == NULL)
        return arena_copy(arena, path).at;
    return arena_printf(arena, "%.*s/%.*s", (int)(slash - policy_file), policy_file,
                        SLICE_ARGS(path))
        .at;
}

static bool expand_file(struct expansion *x, struct slice path)
{
    const char *problem, *full_path;
    struct expand_file *file;
    struct slice bytes;

    if (path.len == 0 || path.len > 4000)
        return fail(x, "${file:...} needs the path of a file");
    full_path = expand_path(x->arena, x->policy_file, path);
    problem = source_read(x->arena, full_path, EXPAND_MAX_BYTES, &bytes);
    if (problem != NULL)
        return fail(x, "the file \"%.100s\" %s", full_path, problem);
    if (memchr(bytes.at, '\0', bytes.len) != NULL)
        return fail(x, "the file \"%.100s\" holds a zero byte, so it is no text", full_path);
    file = arena_alloc(x->arena, sizeof(*file));
    *file = (struct expand_file){full_path, x->files};
    x->files = file;
    return append(x, without_newline(bytes));
}

static bool is_variable_name(struct slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!isalpha((unsigned char)name.at[i]) && name.at[i] != '_' &&
            (i == 0 || !isdigit((unsigned char)name.at[i])))
            return false;
    return name.len > 0 && name.len <= 200;
}

static bool fail_name(struct expansion *x, struct slice name)
{
    int shown = (int)(name.len < 60 ? name.len : 60);

    if (name.len == 0)
        return fail(x, "\"${}\" names nothing; write \"$${\" if it is meant as text");
    if (slice_find(name, '.') < name.len)
        return fail(x,
                    "\"%.*s\" is not the name of an environment variable; a part of the request is "
                    "written {%.*s}, without \"$\"",
                    shown, name.at, shown, name.at);
    return fail(x, "\"%.*s\" is not the name of an environment variable", shown, name.at);
}

static bool expand_variable(struct expansion *x, struct slice inside)
{
    size_t colon = slice_find(inside, ':');
    struct slice name = slice_head(inside, colon), rest = slice_skip(inside, colon);
    bool has_default = slice_starts_with(rest, SLICE(":-"));
    char name_text[201];
    const char *value;

    if (!is_variable_name(name))
        return fail_name(x, name);
    if (rest.len > 0 && !has_default)
        return fail(x, "after the name may only follow a default: ${%.*s:-default}",
                    SLICE_ARGS(name));
    memcpy(name_text, name.at, name.len);
    name_text[name.len] = '\0';
    value = getenv(name_text);
    if (has_default && (value == NULL || value[0] == '\0')) {
        struct slice fallback = slice_skip(rest, 2);

        if (memmem(fallback.at, fallback.len, "${", 2) != NULL)
            return fail(x, "an expansion cannot stand inside another one");
        return append(x, fallback);
    }
    if (value == NULL)
        return fail(x,
                    "the environment variable %s is not set, and there is no default "
                    "(${%s:-default})",
                    name_text, name_text);
    return append(x, slice_of(value));
}

/* The length of what stands between "${" and its "}"; braces in between come in pairs, so that a
 * default may be a template. */
static size_t inside_len(struct slice rest)
{
    size_t depth = 1;

    for (size_t i = 0; i < rest.len; i++) {
        depth += rest.at[i] == '{';
        depth -= rest.at[i] == '}';
        if (depth == 0)
            return i;
    }
    return rest.len;
}

static bool expand_one(struct expansion *x, size_t *at)
{
    struct slice rest = slice_skip(x->text, *at + 2);
    size_t len = inside_len(rest);
    struct slice inside = slice_head(rest, len);

    x->start = *at;
    x->len = len + 3;
    if (len == rest.len) {
        x->len = x->text.len - *at;
        return fail(x, "\"${\" is never closed; write \"$${\" if it is meant as text");
    }
    *at += len + 3;
    if (slice_starts_with(inside, SLICE("file:")))
        return expand_file(x, slice_skip(inside, 5));
    return expand_variable(x, inside);
}

static bool expand_all(struct expansion *x, bool *ret_is_expanded)
{
    struct slice text = x->text;
    size_t at = 0;

    *ret_is_expanded = false;
    while (at < text.len) {
        struct slice rest = slice_skip(text, at);

        if (slice_starts_with(rest, SLICE("$${"))) {
            if (!append(x, SLICE("${")))
                return false;
            at += 3;
        } else if (slice_starts_with(rest, SLICE("${"))) {
            *ret_is_expanded = true;
            if (!expand_one(x, &at))
                return false;
        } else {
            size_t plain = 1 + slice_find(slice_skip(rest, 1), '$');

            if (!append(x, slice_head(rest, plain)))
                return false;
            at += plain;
        }
    }
    return true;
}

bool expand_text(struct arena *arena, const char *policy_file, struct slice text,
                 struct expand_result *ret_result, struct expand_fault *ret_fault)
{
    struct expansion x = {.arena = arena,
                          .policy_file = policy_file,
                          .text = text,
                          .len = text.len,
                          .fault = ret_fault};
    bool is_good, is_expanded = false;

    buf_init(&x.out, EXPAND_MAX_BYTES);
    is_good = expand_all(&x, &is_expanded);
    if (is_good)
        *ret_result = (struct expand_result){
            .text = arena_copy(arena, buf_len(&x.out) > 0 ? buf_slice(&x.out) : SLICE("")),
            .is_expanded = is_expanded,
            .files = x.files};
    buf_clear(&x.out);
    return is_good;
}
