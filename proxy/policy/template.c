/* A template is compiled into parts: literals, and variables with what is needed to look them up.
 * Rendering looks up all values first, since that may take memory from the arena, and then writes
 * the text in one go.
 *
 * Why rendering is injective: a value, as written, never holds a byte of ":{}|" (client.ip: of
 * "{}|").  One variable is the pivot.  Each variable before it is followed by a literal that holds
 * a byte its value cannot hold, so a reader knows from the left where it ends; each one behind it
 * is preceded by such a literal, so a reader knows from the right where it begins; the pivot is
 * what is left.  separate() puts in a "|" where the literal alone does not do it. */
#include "policy/template.h"

#include <ctype.h>
#include <stdio.h>

#include "base/digest.h"
#include "policy/jwt.h"
#include "policy/suggest.h"
#include "policy/value.h"

/* X(kind, text before the dot, takes a name, may be missing) */
#define VARIABLES(X)                                                                               \
    X(CLIENT_IP, "client.ip", false, false)                                                        \
    X(HEADER, "header", true, true)                                                                \
    X(COOKIE, "cookie", true, true)                                                                \
    X(QUERY, "query", true, true)                                                                  \
    X(PATH, "path", true, false)                                                                   \
    X(METHOD, "method", false, false)                                                              \
    X(HOST, "host", false, false)                                                                  \
    X(ROUTE, "route", false, false)                                                                \
    X(JWT, "jwt", true, true)

#define PART_ENUM(kind, word, takes_name, can_miss) PART_##kind,
enum part_kind { PART_LITERAL, VARIABLES(PART_ENUM) PART_KIND_COUNT };

static const struct variable {
    struct slice word;
    bool takes_name, can_miss;
} variables[PART_KIND_COUNT] = {
#define VARIABLE_ROW(kind, word, takes_name, can_miss)                                             \
    [PART_##kind] = {SLICE_INIT(word), takes_name, can_miss},
    VARIABLES(VARIABLE_ROW)};

#define SEPARATOR '|'

struct part {
    enum part_kind kind;
    struct slice text;  /* the literal, or the variable as written: "header.x-user-id" */
    struct slice name;  /* what follows the dot; header names in lower case */
    size_t param_index; /* PART_PATH: into facts.path_params */
};

struct template
{
    struct slice text;
    struct part *parts;
    size_t part_count, variable_count;
    size_t max_bytes; /* of what it renders to */
    const struct jwt_verifier *jwt;
    bool can_miss, uses_jwt;
};

struct compiler {
    struct arena *arena;
    struct template *template;
    const struct slice *path_param_names;
    size_t path_param_count;
    char *literal; /* the one being collected */
    size_t literal_len;
    struct template_error *error;
};

#define FAIL(compiler, where, ...)                                                                 \
    ((compiler)->error->offset = (where),                                                          \
     snprintf((compiler)->error->message, sizeof((compiler)->error->message), __VA_ARGS__), false)

static void end_literal(struct compiler *c)
{
    struct template *t = c->template;

    if (c->literal_len == 0)
        return;
    t->parts[t->part_count++] = (struct part){
        .kind = PART_LITERAL, .text = arena_copy(c->arena, slice_from(c->literal, c->literal_len))};
    c->literal_len = 0;
}

static bool is_token_byte(char c)
{
    return isalnum((unsigned char)c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_name_byte(enum part_kind kind, char c)
{
    if (kind == PART_HEADER || kind == PART_COOKIE)
        return is_token_byte(c);
    return c > ' ' && c <= '~';
}

static struct slice lower_copy(struct arena *arena, struct slice s)
{
    struct slice copy = arena_copy(arena, s);
    char *bytes = arena_alloc(arena, s.len);

    for (size_t i = 0; i < s.len; i++)
        bytes[i] = (char)tolower((unsigned char)copy.at[i]);
    return slice_from(bytes, s.len);
}

/* "{sku}" for "{path.sku}", and words spelt almost right. */
static bool fail_unknown(struct compiler *c, struct slice text, size_t where)
{
    struct slice words[PART_KIND_COUNT - 1], guess, tail = SLICE("");
    size_t dot = slice_find(text, '.');

    for (size_t i = 0; i < c->path_param_count; i++) {
        if (slice_equal(text, c->path_param_names[i]))
            return FAIL(c, where, "unknown variable \"%.*s\" (did you mean \"path.%.*s\"?)",
                        SLICE_ARGS(text), SLICE_ARGS(text));
    }
    for (size_t i = 1; i < PART_KIND_COUNT; i++)
        words[i - 1] = variables[i].word;
    guess = suggest_word(text, words, COUNT_OF(words));
    if (guess.at == NULL && dot < text.len) {
        guess = suggest_word(slice_head(text, dot), words, COUNT_OF(words));
        tail = slice_skip(text, dot);
    }
    if (guess.at == NULL || text.len > 40)
        return FAIL(c, where,
                    "unknown variable \"%.*s\"; there are client.ip, header.NAME, cookie.NAME, "
                    "query.NAME, path.NAME, method, host, route, jwt.CLAIM",
                    (int)(text.len < 40 ? text.len : 40), text.at);
    for (size_t i = 1; i < PART_KIND_COUNT; i++) {
        if (slice_equal(guess, variables[i].word) && !variables[i].takes_name)
            tail = SLICE("");
        else if (slice_equal(guess, variables[i].word) && tail.len == 0)
            tail = SLICE(".NAME");
    }
    return FAIL(c, where, "unknown variable \"%.*s\" (did you mean \"%.*s%.*s\"?)",
                SLICE_ARGS(text), SLICE_ARGS(guess), SLICE_ARGS(tail));
}

static bool fail_unknown_param(struct compiler *c, struct slice name, size_t where)
{
    struct slice guess = suggest_word(name, c->path_param_names, c->path_param_count);
    int shown = (int)(name.len < 40 ? name.len : 40);
    char list[80] = "";
    size_t len = 0;

    if (c->path_param_count == 0)
        return FAIL(c, where, "the route's path has no {%.*s}: it has no parameters", shown,
                    name.at);
    for (size_t i = 0; i < c->path_param_count && len < sizeof(list); i++)
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%.*s", i > 0 ? ", " : "",
                                SLICE_ARGS(c->path_param_names[i]));
    if (guess.at == NULL)
        return FAIL(c, where, "the route's path has no {%.*s}; it has: %s", shown, name.at, list);
    return FAIL(c, where, "the route's path has no {%.*s} (did you mean \"%.*s\"?); it has: %s",
                shown, name.at, SLICE_ARGS(guess), list);
}

/* What stands behind the dot. */
static bool compile_name(struct compiler *c, struct part *part, struct slice name, size_t where)
{
    struct slice word = variables[part->kind].word;

    if (name.len == 0)
        return FAIL(c, where, "\"%.*s\" needs a name: {%.*s.NAME}", SLICE_ARGS(word),
                    SLICE_ARGS(word));
    for (size_t i = 0; i < name.len; i++) {
        if (!is_name_byte(part->kind, name.at[i]))
            return FAIL(c, where + i, "byte 0x%02x cannot stand in the name of a %.*s",
                        (unsigned char)name.at[i], SLICE_ARGS(word));
    }
    part->name =
        part->kind == PART_HEADER ? lower_copy(c->arena, name) : arena_copy(c->arena, name);
    if (part->kind == PART_JWT && c->template->jwt == NULL)
        return FAIL(c, where - word.len - 1,
                    "{jwt.%.*s} needs a \"jwt\" section that says how tokens "
                    "are verified",
                    (int)(name.len < 40 ? name.len : 40), name.at);
    if (part->kind != PART_PATH)
        return true;
    while (part->param_index < c->path_param_count &&
           !slice_equal(name, c->path_param_names[part->param_index]))
        part->param_index++;
    return part->param_index < c->path_param_count || fail_unknown_param(c, name, where);
}

static bool compile_variable(struct compiler *c, struct slice text, size_t where)
{
    struct template *t = c->template;
    size_t dot = slice_find(text, '.');
    struct part part = {.kind = PART_LITERAL};

    if (text.len == 0)
        return FAIL(c, where, "\"{}\" names no variable; write \"{{\" and \"}}\" for braces");
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == ' ' || text.at[i] == '\t')
            return FAIL(c, where + i, "no spaces between the braces of a variable");
    }
    for (size_t i = 1; i < PART_KIND_COUNT && part.kind == PART_LITERAL; i++) {
        struct slice asked = variables[i].takes_name ? slice_head(text, dot) : text;

        if (slice_equal(asked, variables[i].word))
            part.kind = (enum part_kind)i;
    }
    if (part.kind == PART_LITERAL)
        return fail_unknown(c, text, where);
    if (t->variable_count == TEMPLATE_MAX_VARIABLES)
        return FAIL(c, where, "more than %d variables in one template", TEMPLATE_MAX_VARIABLES);
    part.text = arena_copy(c->arena, text);
    if (variables[part.kind].takes_name) {
        size_t name_at = dot < text.len ? dot + 1 : dot;

        if (!compile_name(c, &part, slice_skip(text, name_at), where + name_at))
            return false;
    }
    t->can_miss |= variables[part.kind].can_miss;
    t->uses_jwt |= part.kind == PART_JWT;
    t->variable_count++;
    end_literal(c);
    t->parts[t->part_count++] = part;
    return true;
}

/* What stands at text[*at]: a variable, an escaped brace, or a byte. */
static bool compile_next(struct compiler *c, struct slice text, size_t *at)
{
    char byte = text.at[*at];
    bool is_doubled = *at + 1 < text.len && text.at[*at + 1] == byte;
    size_t close;

    if (byte < ' ' || byte > '~')
        return FAIL(c, *at, "byte 0x%02x: a template is printable ASCII", (unsigned char)byte);
    if (byte == '}' && !is_doubled)
        return FAIL(c, *at, "\"}\" closes nothing; write \"}}\" for a brace");
    if (byte == '{' && !is_doubled) {
        close = *at + 1;
        while (close < text.len && text.at[close] != '}' && text.at[close] != '{')
            close++;
        if (close == text.len || text.at[close] == '{')
            return FAIL(c, *at, "\"{\" is never closed; write \"{{\" for a brace");
        if (!compile_variable(c, slice_from(text.at + *at + 1, close - *at - 1), *at + 1))
            return false;
        *at = close + 1;
        return true;
    }
    c->literal[c->literal_len++] = byte;
    *at += byte == '{' || byte == '}' ? 2 : 1;
    return true;
}

/* Can a value of this kind, as written, hold the byte?  "~" begins a hashed value. */
static bool value_may_hold(enum part_kind kind, char c)
{
    if (c == ':')
        return kind == PART_CLIENT_IP;
    return c > ' ' && c <= '~' && c != '{' && c != '}' && c != SEPARATOR;
}

static bool literal_bounds(enum part_kind kind, struct slice literal)
{
    for (size_t i = 0; i < literal.len; i++) {
        if (!value_may_hold(kind, literal.at[i]))
            return true;
    }
    return false;
}

static struct part *append_part(struct template *t, struct part part)
{
    t->parts[t->part_count++] = part;
    t->max_bytes += part.kind == PART_LITERAL ? part.text.len : TEMPLATE_PART_MAX_BYTES;
    return &t->parts[t->part_count - 1];
}

/* Put "|" between variables that their literal does not keep apart; see the top. */
static void separate(struct arena *arena, struct template *t)
{
    const struct part separator = {.kind = PART_LITERAL, .text = SLICE("|")};
    struct part *old = t->parts;
    size_t old_count = t->part_count, pivot = 0;
    bool is_pivot_fixed = false;

    for (size_t i = 0; i < old_count && !is_pivot_fixed; i++) {
        pivot = old[i].kind != PART_LITERAL ? i : pivot;
        is_pivot_fixed = old[i].kind == PART_CLIENT_IP;
    }
    t->parts = arena_calloc(arena, 2 * old_count, sizeof(*t->parts));
    t->part_count = t->max_bytes = 0;
    for (size_t i = 0; i < old_count; i++) {
        struct slice before =
            i > 0 && old[i - 1].kind == PART_LITERAL ? old[i - 1].text : SLICE_NONE;
        struct slice after =
            i + 1 < old_count && old[i + 1].kind == PART_LITERAL ? old[i + 1].text : SLICE_NONE;
        bool is_variable = old[i].kind != PART_LITERAL;

        if (is_variable && i > pivot && !literal_bounds(old[i].kind, before))
            append_part(t, separator);
        append_part(t, old[i]);
        if (is_variable && i < pivot && !literal_bounds(old[i].kind, after))
            append_part(t, separator);
    }
}

struct template *template_compile(struct arena *arena, struct slice text,
                                  const struct slice *path_param_names, size_t path_param_count,
                                  const struct jwt_verifier *jwt, struct template_error *ret_error)
{
    struct template *t = arena_calloc(arena, 1, sizeof(*t));
    struct compiler c = {.arena = arena,
                         .template = t,
                         .path_param_names = path_param_names,
                         .path_param_count = path_param_count,
                         .error = ret_error};
    bool is_good = true;

    if (text.len == 0)
        is_good = FAIL(&c, 0, "a template cannot be empty");
    else if (text.len > TEMPLATE_MAX_TEXT_BYTES)
        is_good = FAIL(&c, TEMPLATE_MAX_TEXT_BYTES, "a template has at most %d bytes",
                       TEMPLATE_MAX_TEXT_BYTES);
    if (!is_good)
        return NULL;
    t->text = arena_copy(arena, text);
    t->jwt = jwt;
    /* Between two variables stands at most one literal. */
    t->parts = arena_calloc(arena, 2 * TEMPLATE_MAX_VARIABLES + 1, sizeof(*t->parts));
    c.literal = arena_alloc(arena, text.len);
    for (size_t at = 0; at < text.len && is_good;)
        is_good = compile_next(&c, text, &at);
    if (!is_good)
        return NULL;
    end_literal(&c);
    separate(arena, t);
    return t;
}

bool template_can_miss(const struct template *template)
{
    return template->can_miss;
}

bool template_uses_jwt(const struct template *template)
{
    return template->uses_jwt;
}

bool template_is_constant(const struct template *template)
{
    return template->variable_count == 0;
}

struct slice template_text(const struct template *template)
{
    return template->text;
}

static struct slice header_value(const struct facts *facts, struct slice name)
{
    struct slice value = facts->header != NULL ? facts->header(facts->request, name) : SLICE_NONE;

    return value.at != NULL ? slice_trim(value) : SLICE_NONE;
}

static struct slice claim_value(const struct template *t, struct slice name,
                                const struct facts *facts, struct arena *arena)
{
    const struct jwt_claims *claims = facts->jwt_seen != NULL ? *facts->jwt_seen : NULL;

    if (claims == NULL) {
        claims = jwt_read(t->jwt, header_value(facts, SLICE("authorization")), facts->now_s, arena);
        if (facts->jwt_seen != NULL)
            *facts->jwt_seen = claims;
    }
    return jwt_claim_find(claims, name);
}

/* What every request has, even if it is empty. */
static struct slice present(struct slice value)
{
    return value.at != NULL ? value : SLICE("");
}

static struct slice look_up(const struct template *t, const struct part *part,
                            const struct facts *facts, struct arena *arena)
{
    switch (part->kind) {
    case PART_CLIENT_IP:
        return present(facts->client_ip);
    case PART_METHOD:
        return present(facts->method);
    case PART_HOST:
        return present(facts->host);
    case PART_ROUTE:
        return present(facts->route);
    case PART_HEADER:
        return header_value(facts, part->name);
    case PART_COOKIE:
        return value_from_cookie(header_value(facts, SLICE("cookie")), part->name);
    case PART_QUERY:
        return value_from_query(facts->query, part->name, arena);
    case PART_PATH:
        /* A route may be rendered for a request that did not come through its own path. */
        if (part->param_index >= facts->path_param_count)
            return SLICE_NONE;
        return value_from_path(facts->path_params[part->param_index], arena);
    case PART_JWT:
        return claim_value(t, part->name, facts, arena);
    case PART_LITERAL:
    case PART_KIND_COUNT:
        break;
    }
    UNREACHED();
}

static bool is_plain(enum part_kind kind, struct slice value)
{
    if (value.len > TEMPLATE_PART_MAX_BYTES)
        return false;
    for (size_t i = 0; i < value.len; i++) {
        if (!value_may_hold(kind, value.at[i]) || value.at[i] == '~')
            return false;
    }
    return true;
}

/* At most TEMPLATE_PART_MAX_BYTES; how many it wrote. */
static size_t write_value(enum part_kind kind, struct slice value, char *out)
{
    char hex[33];

    if (is_plain(kind, value)) {
        if (value.len > 0)
            memcpy(out, value.at, value.len);
        return value.len;
    }
    digest_short_hex(value, hex);
    out[0] = '~';
    memcpy(out + 1, hex, 32);
    return 33;
}

enum template_result template_render(const struct template *template, const struct facts *facts,
                                     struct arena *arena, struct slice *ret_value,
                                     struct slice *ret_missing)
{
    struct slice values[TEMPLATE_MAX_VARIABLES];
    size_t value_count = 0, len = 0;
    char *text;

    for (size_t i = 0; i < template->part_count; i++) {
        const struct part *part = &template->parts[i];

        if (part->kind == PART_LITERAL)
            continue;
        values[value_count] = look_up(template, part, facts, arena);
        if (values[value_count].at == NULL) {
            *ret_missing = part->text;
            return TEMPLATE_MISSING;
        }
        value_count++;
    }
    text = arena_reserve(arena, template->max_bytes);
    value_count = 0;
    for (size_t i = 0; i < template->part_count; i++) {
        const struct part *part = &template->parts[i];

        if (part->kind == PART_LITERAL) {
            memcpy(text + len, part->text.at, part->text.len);
            len += part->text.len;
        } else {
            len += write_value(part->kind, values[value_count++], text + len);
        }
    }
    arena_commit(arena, len);
    *ret_value = slice_from(text, len);
    return TEMPLATE_OK;
}
