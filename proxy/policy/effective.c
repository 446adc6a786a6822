#include "policy/effective.h"

#include <stdlib.h>

#include "base/log.h"

static const char hidden[] = "***";

struct view {
    struct buf *out;
    bool is_full;
    unsigned depth;
    bool has_items; /* of the innermost list or object */
};

static void put(struct view *v, struct slice text)
{
    if (!v->is_full)
        v->is_full = !buf_append(v->out, text);
}

static void put_quoted(struct view *v, struct slice text)
{
    size_t room = text.len * 6 + 16;
    char *at = v->is_full ? NULL : buf_reserve(v->out, room);

    if (at == NULL)
        v->is_full = true;
    else
        buf_commit(v->out, log_json_string(at, room, text));
}

static void begin_item(struct view *v, struct slice key)
{
    put(v, v->has_items ? SLICE(",\n") : SLICE("\n"));
    for (unsigned i = 0; i < v->depth; i++)
        put(v, SLICE("  "));
    if (key.at != NULL) {
        put_quoted(v, key);
        put(v, SLICE(": "));
    }
    v->has_items = true;
}

static void put_open(struct view *v, struct slice bracket)
{
    put(v, bracket);
    v->depth++;
    v->has_items = false;
}

static void put_close(struct view *v, struct slice bracket)
{
    v->depth--;
    if (v->has_items) {
        put(v, SLICE("\n"));
        for (unsigned i = 0; i < v->depth; i++)
            put(v, SLICE("  "));
    }
    put(v, bracket);
    v->has_items = true;
}

/* "${NAME}" or "${file:...}": names a secret instead of holding it.  (A default would hold it.) */
static bool names_only(struct slice text)
{
    return slice_starts_with(text, SLICE("${")) && slice_find(text, '}') == text.len - 1 &&
           memmem(text.at, text.len, ":-", 2) == NULL;
}

/* All between "://" and the last "@" may be users and passwords. */
static void put_url(struct view *v, struct slice text)
{
    const char *begin = memmem(text.at, text.len, "://", 3);
    const char *end = begin != NULL ? memrchr(text.at, '@', text.len) : NULL;
    char *shown;
    size_t head_len, tail_len;

    if (end == NULL || end < begin) {
        put_quoted(v, text);
        return;
    }
    head_len = (size_t)(begin - text.at) + 3;
    tail_len = text.len - (size_t)(end - text.at);
    shown = mem_alloc(head_len + sizeof(hidden) + tail_len);
    memcpy(shown, text.at, head_len);
    memcpy(shown + head_len, hidden, sizeof(hidden) - 1);
    memcpy(shown + head_len + sizeof(hidden) - 1, end, tail_len);
    put_quoted(v, slice_from(shown, head_len + sizeof(hidden) - 1 + tail_len));
    free(shown);
}

/* Numbers that every reader of JSON keeps exact. */
#define MAX_JSON_NUMBER (UINT64_C(1) << 53)

/* Numbers and truth values as JSON has them; all else is text. */
static bool is_json(const struct schema_type *type, struct slice text)
{
    uint64_t number;

    if (type == NULL || type->json_type == NULL)
        return false;
    if (strcmp(type->json_type, "boolean") == 0)
        return slice_equal(text, SLICE("true")) || slice_equal(text, SLICE("false"));
    return slice_to_uint64(text, &number) && number <= MAX_JSON_NUMBER &&
           (text.len == 1 || text.at[0] != '0');
}

static void put_scalar(struct view *v, const struct schema_field *field, struct slice text)
{
    const struct schema_type *type = field->item != NULL ? field->item : field->type;

    /* A secret with a form of its own is a URL. */
    if (field->is_secret && type->json_pattern == NULL && !names_only(text))
        put_quoted(v, slice_of(hidden));
    else if (is_json(type, text))
        put(v, text);
    else
        put_url(v, text);
}

static void put_section(struct view *v, const struct schema_section *section,
                        const struct yaml_node *node);

static void put_node(struct view *v, const struct schema_field *field, const struct yaml_node *node)
{
    if (node->kind == YAML_SCALAR) {
        put_scalar(v, field, node->text);
        return;
    }
    if (node->kind == YAML_MAPPING && field->section != NULL) {
        put_section(v, field->section, node);
        return;
    }
    put_open(v, node->kind == YAML_MAPPING ? SLICE("{") : SLICE("["));
    for (const struct yaml_entry *entry = node->first; entry != NULL; entry = entry->next) {
        begin_item(v, entry->key != NULL ? entry->key->text : SLICE_NONE);
        put_node(v, field, entry->value);
    }
    put_close(v, node->kind == YAML_MAPPING ? SLICE("}") : SLICE("]"));
}

/* node NULL: the section is left out, and has its defaults. */
static void put_section(struct view *v, const struct schema_section *section,
                        const struct yaml_node *node)
{
    put_open(v, SLICE("{"));
    for (size_t i = 0; i < section->field_count; i++) {
        const struct schema_field *field = &section->fields[i];
        const struct yaml_entry *entry =
            node != NULL ? yaml_find(node, slice_of(field->name)) : NULL;

        if (entry != NULL) {
            begin_item(v, slice_of(field->name));
            put_node(v, field, entry->value);
        } else if (field->default_text != NULL) {
            begin_item(v, slice_of(field->name));
            put_scalar(v, field, slice_of(field->default_text));
        } else if (field->type == &schema_section && field->default_note == NULL) {
            begin_item(v, slice_of(field->name));
            put_section(v, field->section, NULL);
        }
    }
    put_close(v, SLICE("}"));
}

bool effective_write(struct buf *out, const struct schema_section *root,
                     const struct yaml_node *tree)
{
    struct view v = {.out = out};

    put_section(&v, root, tree);
    put(&v, SLICE("\n"));
    return !v.is_full;
}
