#include "policy/yaml.h"

#include <stdlib.h>
#include <yaml.h>

struct anchor {
    struct slice name;
    struct yaml_node *node;
};

struct builder {
    struct arena *arena;
    const struct source *source;
    struct policy_problems *problems;
    struct yaml_node *root;
    struct yaml_node *open[YAML_MAX_DEPTH];
    struct yaml_node
        *keys[YAML_MAX_DEPTH]; /* of the mapping at the same depth, waiting for a value */
    unsigned depth, document_count;
    struct anchor anchors[YAML_MAX_ANCHORS];
    size_t anchor_count;
};

/* libyaml's messages in plain words.  The first line whose context (if any) and problem are found
 * in libyaml's is taken; '*' stands for the character at the place. */
static const struct {
    const char *context, *problem, *message;
} plain_words[] = {
    {NULL, "found character that cannot start any token",
     "a value cannot begin with this character; put the value in quotes"},
    {NULL, "a tab character", "tabs cannot indent; use spaces"},
    {"simple key", "could not find expected ':'",
     "expected \"key: value\"; the ':' or the space after it is missing, or the line belongs to a "
     "value above and is not indented"},
    {NULL, "mapping values are not allowed",
     "a \"key: value\" cannot stand here; check the indentation, and put values that contain \": "
     "\" "
     "in quotes"},
    {NULL, "block sequence entries are not allowed",
     "a list item (\"- ...\") cannot stand here; begin the list on its own line"},
    {NULL, "mapping keys are not allowed", "a key cannot stand here; check the indentation"},
    {"quoted scalar", "found unexpected end of stream", "this quoted text is never closed"},
    {"quoted scalar", "unexpected document indicator", "this quoted text is never closed"},
    {NULL, "found unknown escape character",
     "unknown escape in double quotes; write \\\\ for a backslash, or use single quotes"},
    {NULL, "hexdecimal number", "this escape needs hexadecimal digits"},
    {NULL, "invalid Unicode character escape", "this escape is not a Unicode character"},
    {"block mapping", "did not find expected key",
     "expected a key here; check the indentation and the quotes of the lines above"},
    {"block collection", "did not find expected '-'",
     "expected a list item (\"- ...\") here; check the indentation"},
    {NULL, "did not find expected ',' or ']'", "a list in [ ] misses a ',' or its ']' here"},
    {NULL, "did not find expected ',' or '}'",
     "a section in { } misses a ',' or its '}' here; values that hold braces need quotes"},
    {NULL, "did not find expected node content", "expected a value here"},
    {NULL, "alphabetic or numeric character",
     "'&' and '*' begin anchors and aliases; put the value in quotes if it is meant as text"},
    {NULL, "expected <document start>", "expected the end of the file; check the indentation"},
    {NULL, "expected comment or line break", "only a comment may follow on this line"},
    {"directive", "", "\"%\" at the beginning of a line is a directive, which policies do not use"},
    {NULL, "YAML document", "directives (\"%YAML\") are not used in policies"},
    {NULL, "undefined tag handle", "tags (\"!...\") are not supported"},
    {"a tag", "", "tags (\"!...\") are not supported"},
    {NULL, "control characters are not allowed", "control characters are not allowed"},
    {NULL, "UTF-8", "this is not UTF-8 text"},
    {NULL, "invalid Unicode character", "this is not a Unicode character"},
};

static bool has_text(const char *text, const char *part)
{
    return text != NULL && strstr(text, part) != NULL;
}

static const char *in_plain_words(const yaml_parser_t *parser)
{
    for (size_t i = 0; i < COUNT_OF(plain_words); i++)
        if ((plain_words[i].context == NULL || has_text(parser->context, plain_words[i].context)) &&
            has_text(parser->problem, plain_words[i].problem))
            return plain_words[i].message;
    return parser->problem != NULL ? parser->problem : "this is not YAML";
}

static struct source_mark mark_of(const struct builder *b, yaml_mark_t start, yaml_mark_t end)
{
    struct source_mark mark = {b->source, (unsigned)start.line + 1, (unsigned)start.column + 1, 1};

    if (end.line == start.line && end.column > start.column)
        mark.width = (unsigned)(end.column - start.column);
    return mark;
}

/* Always false, so that a handler can end with it. */
static bool complain(struct builder *b, struct source_mark mark, const char *message)
{
    struct problems_place place = {mark, NULL, false};

    policy_problems_add(b->problems, POLICY_ERROR, &place, "%s", message);
    return false;
}

/* What stands at the place decides between messages libyaml does not tell apart. */
static const char *sharpen(const struct source_mark *mark, const char *message)
{
    struct slice line = source_line(mark->source, mark->line);
    char byte = mark->column <= line.len ? line.at[mark->column - 1] : '\0';

    for (size_t i = 0; i < line.len && (line.at[i] == ' ' || line.at[i] == '\t'); i++)
        if (line.at[i] == '\t' && (mark->column <= i + 1 || byte == '\t'))
            return "tabs cannot indent; use spaces";
    return message;
}

static bool complain_syntax(struct builder *b, const yaml_parser_t *parser)
{
    struct source_mark mark = mark_of(b, parser->problem_mark, parser->problem_mark);
    const char *message = in_plain_words(parser);

    if (parser->error == YAML_READER_ERROR)
        return complain(b, source_mark_at(b->source, parser->problem_offset), message);
    /* An unclosed quote is noticed at the end of the file, and a missing colon after the line
     * break; where it began says more. */
    if ((has_text(parser->context, "quoted scalar") &&
         has_text(parser->problem, "end of stream")) ||
        has_text(parser->context, "simple key"))
        mark = mark_of(b, parser->context_mark, parser->context_mark);
    if (has_text(parser->problem, "expected ',' or") &&
        parser->context_mark.line != parser->problem_mark.line)
        return complain(b, mark_of(b, parser->context_mark, parser->context_mark),
                        "this bracket is not closed, or a ',' is missing after it");
    return complain(b, mark, sharpen(&mark, message));
}

static bool complain_duplicate(struct builder *b, const struct yaml_node *first,
                               const struct yaml_node *second)
{
    struct problems_place place = {second->mark, NULL, false};

    policy_problems_add(b->problems, POLICY_ERROR, &place,
                        "duplicate key \"%.64s\": it is already given at line %u, column %u",
                        second->text.at, first->mark.line, first->mark.column);
    return false;
}

static int compare_slices(struct slice a, struct slice b)
{
    int order = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_keys(const void *left, const void *right)
{
    const struct yaml_entry *a = *(struct yaml_entry *const *)left;
    const struct yaml_entry *b = *(struct yaml_entry *const *)right;
    int order = compare_slices(a->key->text, b->key->text);

    return order != 0 ? order : (a->index > b->index) - (a->index < b->index);
}

/* Sorted, so that a mapping of many keys costs n log n. */
static void check_duplicates(struct builder *b, const struct yaml_node *mapping)
{
    struct yaml_entry **sorted, *first = mapping->first;
    size_t count = 0;

    if (mapping->count < 2)
        return;
    sorted = mem_alloc(mapping->count * sizeof(*sorted));
    for (struct yaml_entry *at = first; at != NULL; at = at->next)
        sorted[count++] = at;
    qsort(sorted, count, sizeof(*sorted), compare_keys);
    for (size_t i = 1, group = 0; i < count; i++) {
        if (slice_equal(sorted[group]->key->text, sorted[i]->key->text))
            complain_duplicate(b, sorted[group]->key, sorted[i]->key);
        else
            group = i;
    }
    free(sorted);
}

struct yaml_node *yaml_node_add(struct arena *arena, enum yaml_kind kind, struct source_mark mark)
{
    struct yaml_node *node = arena_calloc(arena, 1, sizeof(*node));

    node->kind = kind;
    node->mark = mark;
    node->weight = 1;
    return node;
}

void yaml_append(struct arena *arena, struct yaml_node *parent, struct yaml_node *key,
                 struct yaml_node *value)
{
    struct yaml_entry *entry = arena_calloc(arena, 1, sizeof(*entry));

    *entry = (struct yaml_entry){key, value, (unsigned)parent->count, NULL};
    if (parent->last != NULL)
        parent->last->next = entry;
    else
        parent->first = entry;
    parent->last = entry;
    parent->count++;
    parent->weight += value->weight + (key != NULL ? 1 : 0);
}

static bool check_key(struct builder *b, const struct yaml_node *key)
{
    if (key->kind != YAML_SCALAR)
        return complain(b, key->mark, "a key must be a word, not a list or a section");
    if (slice_equal(key->text, SLICE("<<")) && key->is_plain)
        return complain(b, key->mark,
                        "merge keys (\"<<\") are not supported; repeat the keys, or use "
                        "an alias (*name) for a whole value");
    if (key->text.len == 0)
        return complain(b, key->mark, "a key must not be empty");
    return true;
}

/* A complete or just opened node goes to where the stream stands. */
static bool place_node(struct builder *b, struct yaml_node *node)
{
    struct yaml_node *parent = b->depth > 0 ? b->open[b->depth - 1] : NULL;
    struct yaml_node *key = b->depth > 0 ? b->keys[b->depth - 1] : NULL;

    if (parent == NULL) {
        b->root = node;
        return true;
    }
    if (parent->kind == YAML_MAPPING && key == NULL) {
        if (!check_key(b, node))
            return false;
        b->keys[b->depth - 1] = node;
        return true;
    }
    b->keys[b->depth - 1] = NULL;
    yaml_append(b->arena, parent, key, node);
    if (parent->weight > YAML_MAX_NODES)
        return complain(b, node->mark,
                        "the file is too large: too many values (aliases count as "
                        "often as they are used)");
    return true;
}

static struct anchor *find_anchor(struct builder *b, struct slice name)
{
    for (size_t i = 0; i < b->anchor_count; i++)
        if (slice_equal(b->anchors[i].name, name))
            return &b->anchors[i];
    return NULL;
}

static bool add_anchor(struct builder *b, const yaml_char_t *name_bytes, struct yaml_node *node)
{
    struct slice name = slice_of((const char *)name_bytes);

    if (name.at == NULL)
        return true;
    if (find_anchor(b, name) != NULL)
        return complain(b, node->mark, "this anchor name is already used above");
    if (b->anchor_count == YAML_MAX_ANCHORS)
        return complain(b, node->mark, "too many anchors in one file");
    b->anchors[b->anchor_count++] = (struct anchor){arena_copy(b->arena, name), node};
    return true;
}

static bool check_tag(struct builder *b, const yaml_char_t *tag, struct source_mark mark)
{
    return tag == NULL || complain(b, mark, "tags (\"!...\") are not supported");
}

static bool on_alias(struct builder *b, const yaml_event_t *event)
{
    struct source_mark mark = mark_of(b, event->start_mark, event->end_mark);
    struct anchor *anchor = find_anchor(b, slice_of((const char *)event->data.alias.anchor));

    if (anchor == NULL)
        return complain(b, mark,
                        "no anchor (&name) above has this name; put the value in quotes if "
                        "'*' is meant as text");
    if (anchor->node->is_open)
        return complain(b, mark, "this alias stands inside its own anchor");
    return place_node(b, anchor->node);
}

static bool is_null_text(struct slice text)
{
    return text.len == 0 || slice_equal(text, SLICE("~")) ||
           slice_equal_nocase(text, SLICE("null"));
}

static bool on_scalar(struct builder *b, const yaml_event_t *event)
{
    struct source_mark mark = mark_of(b, event->start_mark, event->end_mark);
    struct yaml_node *node = yaml_node_add(b->arena, YAML_SCALAR, mark);
    struct slice text =
        slice_from((const char *)event->data.scalar.value, event->data.scalar.length);

    node->text = arena_copy(b->arena, text);
    node->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->is_null = node->is_plain && is_null_text(text);
    return check_tag(b, event->data.scalar.tag, mark) &&
           add_anchor(b, event->data.scalar.anchor, node) && place_node(b, node);
}

static bool open_node(struct builder *b, const yaml_event_t *event, enum yaml_kind kind,
                      const yaml_char_t *anchor, const yaml_char_t *tag)
{
    struct source_mark mark = mark_of(b, event->start_mark, event->end_mark);
    struct yaml_node *node = yaml_node_add(b->arena, kind, mark);

    node->is_open = true;
    if (b->depth == YAML_MAX_DEPTH)
        return complain(b, mark, "too many levels of nesting");
    if (!check_tag(b, tag, mark) || !add_anchor(b, anchor, node))
        return false;
    /* A key that is no scalar must be refused before the node opens. */
    if (b->depth > 0 && b->open[b->depth - 1]->kind == YAML_MAPPING &&
        b->keys[b->depth - 1] == NULL)
        return check_key(b, node);
    b->open[b->depth] = node;
    b->keys[b->depth] = NULL;
    b->depth++;
    return true;
}

/* Nodes join their parent when they are complete, so that weights are known. */
static bool close_node(struct builder *b)
{
    struct yaml_node *node = b->open[--b->depth];

    node->is_open = false;
    if (node->kind == YAML_MAPPING)
        check_duplicates(b, node);
    if (node->first != NULL) {
        struct yaml_entry *first = node->first;

        node->mark.width = (first->key != NULL ? first->key : first->value)->mark.width;
        if (first->key != NULL)
            node->mark = first->key->mark;
    }
    return place_node(b, node);
}

static bool on_document(struct builder *b, const yaml_event_t *event)
{
    if (++b->document_count > 1)
        return complain(b, mark_of(b, event->start_mark, event->start_mark),
                        "one file holds one document; put the rest into a file of its own");
    return true;
}

static bool on_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return on_document(b, event);
    case YAML_ALIAS_EVENT:
        return on_alias(b, event);
    case YAML_SCALAR_EVENT:
        return on_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_node(b, event, YAML_SEQUENCE, event->data.sequence_start.anchor,
                         event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return open_node(b, event, YAML_MAPPING, event->data.mapping_start.anchor,
                         event->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return close_node(b);
    default:
        return true;
    }
}

static bool run_parser(struct builder *b, yaml_parser_t *parser)
{
    bool is_good = true, is_over = false;

    while (is_good && !is_over) {
        yaml_event_t event;

        if (!yaml_parser_parse(parser, &event))
            return complain_syntax(b, parser);
        is_over = event.type == YAML_STREAM_END_EVENT;
        is_good = on_event(b, &event);
        yaml_event_delete(&event);
    }
    return is_good;
}

struct yaml_node *yaml_parse(struct arena *arena, const struct source *source,
                             struct policy_problems *problems)
{
    struct source_mark start = {source, 1, 1, 1};
    struct builder b = {.arena = arena, .source = source, .problems = problems};
    yaml_parser_t parser;
    bool is_good;

    CHECK(yaml_parser_initialize(&parser));
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)source->text.at, source->text.len);
    is_good = run_parser(&b, &parser);
    yaml_parser_delete(&parser);
    if (!is_good)
        return NULL;
    if (b.root == NULL || (b.root->kind == YAML_SCALAR && b.root->is_null))
        return yaml_node_add(arena, YAML_MAPPING, start);
    if (b.root->kind != YAML_MAPPING) {
        complain(&b, b.root->mark,
                 "a policy file holds keys (\"routes:\", ...), not a bare value or list");
        return NULL;
    }
    return b.root;
}

struct yaml_entry *yaml_find(const struct yaml_node *mapping, struct slice key)
{
    for (struct yaml_entry *entry = mapping->first; entry != NULL; entry = entry->next)
        if (slice_equal(entry->key->text, key))
            return entry;
    return NULL;
}

struct source_mark yaml_part_mark(const struct yaml_node *scalar, size_t offset, size_t len)
{
    struct source_mark mark = scalar->mark;
    struct slice line = source_line(mark.source, mark.line);
    size_t quote = scalar->is_plain ? 0 : 1;
    size_t start = mark.column - 1 + quote;

    /* Only where columns are bytes and the text stands there as it is. */
    if (start > line.len || line.len - start < scalar->text.len || offset >= scalar->text.len ||
        memcmp(line.at + start, scalar->text.at, scalar->text.len) != 0)
        return mark;
    mark.column = (unsigned)(start + offset) + 1;
    mark.width = len > 0 && len <= scalar->text.len - offset ? (unsigned)len : 1;
    return mark;
}

const char *yaml_kind_phrase(enum yaml_kind kind)
{
    return kind == YAML_SEQUENCE ? "a list" : kind == YAML_MAPPING ? "a section" : "a single value";
}

const char *yaml_library_version(void)
{
    return yaml_get_version_string();
}
