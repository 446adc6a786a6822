#include "policy/schema_write.h"

#include <stdlib.h>

/* Any value may be, or hold, an expansion; then its text says nothing yet. */
#define EXPANSION "\\$\\{"
#define MAX_SECTIONS 32

/* Indented JSON; commas and line breaks are put in front of what follows. */
struct writer {
    FILE *out;
    unsigned depth;
    bool has_items;
};

static void begin_item(struct writer *w, const char *key)
{
    if (w->depth > 0)
        fprintf(w->out, "%s\n%*s", w->has_items ? "," : "", (int)w->depth * 2, "");
    if (key != NULL)
        fprintf(w->out, "\"%s\": ", key);
    w->has_items = true;
}

static void put_open(struct writer *w, const char *key, char bracket)
{
    begin_item(w, key);
    fputc(bracket, w->out);
    w->depth++;
    w->has_items = false;
}

static void put_close(struct writer *w, char bracket)
{
    w->depth--;
    if (w->has_items)
        fprintf(w->out, "\n%*s", (int)w->depth * 2, "");
    fputc(bracket, w->out);
    w->has_items = true;
}

static void put_text(struct writer *w, const char *key, const char *text)
{
    begin_item(w, key);
    fputc('"', w->out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', w->out);
        fputc(*text, w->out);
    }
    fputc('"', w->out);
}

static void put_number(struct writer *w, const char *key, uint64_t number)
{
    begin_item(w, key);
    fprintf(w->out, "%ju", (uintmax_t)number);
}

static void put_flag(struct writer *w, const char *key, bool flag)
{
    begin_item(w, key);
    fputs(flag ? "true" : "false", w->out);
}

/* Help texts are Markdown; an editor shows them as they are, so links are cut to their text. */
static void put_description(struct writer *w, const struct schema_field *field)
{
    char text[1000];
    size_t len = 0;

    for (const char *at = field->help; *at != '\0' && len < sizeof(text) - 100; at++) {
        if (at[0] == ']' && at[1] == '(') {
            at = strchr(at, ')');
            CHECK(at != NULL);
        } else if (at[0] != '[' || strstr(at, "](") == NULL) {
            text[len++] = *at;
        }
    }
    text[len] = '\0';
    if (field->default_text != NULL)
        snprintf(text + len, sizeof(text) - len, " (default: %s)", field->default_text);
    else if (field->default_note != NULL)
        snprintf(text + len, sizeof(text) - len, " (default: %s)", field->default_note);
    put_text(w, "description", text);
}

/* A pattern that also lets expansions pass. */
static void put_pattern(struct writer *w, const char *pattern, const char *word)
{
    char text[400];

    snprintf(text, sizeof(text), "%s%s%s%s|" EXPANSION, pattern, word != NULL ? "|^" : "",
             word != NULL ? word : "", word != NULL ? "$" : "");
    put_text(w, "pattern", text);
}

static void put_scalar(struct writer *w, const struct schema_type *type,
                       const struct schema_field *field)
{
    /* The one duration that needs no unit. */
    bool may_be_zero = type == &schema_duration_ms && field->min == 0;

    if (type->json_type != NULL || may_be_zero) {
        put_open(w, "type", '[');
        put_text(w, NULL, may_be_zero ? "integer" : type->json_type);
        put_text(w, NULL, "string");
        put_close(w, ']');
    } else {
        put_text(w, "type", "string");
    }
    if (type->json_pattern != NULL)
        put_pattern(w, type->json_pattern, field->word);
    if (may_be_zero) {
        put_number(w, "minimum", 0);
        put_number(w, "maximum", 0);
    } else if (type->json_type != NULL && strcmp(type->json_type, "integer") == 0) {
        put_number(w, "minimum", field->min);
        if (field->max > 0)
            put_number(w, "maximum", field->max);
    } else if (field->min > 0 && type == &schema_string) {
        put_number(w, "minLength", field->min);
    }
}

/* A word of digits is a number in YAML, unless it is quoted. */
static void put_choice(struct writer *w, const char *word)
{
    if (word[strspn(word, "0123456789")] != '\0') {
        put_text(w, "const", word);
        return;
    }
    put_open(w, "enum", '[');
    begin_item(w, NULL);
    fputs(word, w->out);
    put_text(w, NULL, word);
    put_close(w, ']');
}

/* A schema with a description for each: editors show them beside the completion. */
static void put_choices(struct writer *w, const struct schema_field *field)
{
    put_open(w, "anyOf", '[');
    for (size_t i = 0; field->choices[i] != NULL; i++) {
        if (field->choices[i][0] == '\0')
            continue;
        put_open(w, NULL, '{');
        put_choice(w, field->choices[i]);
        if (field->choice_help != NULL)
            put_text(w, "description", field->choice_help[i]);
        put_close(w, '}');
    }
    put_open(w, NULL, '{');
    put_text(w, "type", "string");
    put_text(w, "pattern", EXPANSION);
    put_close(w, '}');
    put_close(w, ']');
}

static void put_reference(struct writer *w, const struct schema_section *section)
{
    char pointer[100];

    snprintf(pointer, sizeof(pointer), "#/definitions/%s", section->name);
    put_text(w, "$ref", pointer);
}

static void put_items(struct writer *w, const struct schema_field *field)
{
    put_text(w, "type", "array");
    put_open(w, "items", '{');
    if (field->section != NULL)
        put_reference(w, field->section);
    else
        put_scalar(w, field->item, field);
    put_close(w, '}');
}

/* Keys of the file's own choosing. */
static void put_free_mapping(struct writer *w)
{
    put_text(w, "type", "object");
    put_open(w, "additionalProperties", '{');
    put_open(w, "type", '[');
    put_text(w, NULL, "string");
    put_text(w, NULL, "number");
    put_text(w, NULL, "boolean");
    put_close(w, ']');
    put_close(w, '}');
}

static void put_field(struct writer *w, const struct schema_field *field)
{
    put_open(w, field->name, '{');
    put_description(w, field);
    if (field->type->kind == YAML_SEQUENCE) {
        put_items(w, field);
    } else if (field->section != NULL) {
        /* What stands beside a $ref is ignored in draft-07. */
        put_open(w, "allOf", '[');
        put_open(w, NULL, '{');
        put_reference(w, field->section);
        put_close(w, '}');
        put_close(w, ']');
    } else if (field->type->kind == YAML_MAPPING) {
        put_free_mapping(w);
    } else if (field->choices != NULL) {
        put_choices(w, field);
    } else {
        put_scalar(w, field->type, field);
    }
    if (field->example != NULL && field->type->kind == YAML_SCALAR && field->example[0] != '"') {
        put_open(w, "examples", '[');
        put_text(w, NULL, field->example);
        put_close(w, ']');
    }
    put_close(w, '}');
}

static void put_section(struct writer *w, const struct schema_section *section)
{
    put_text(w, "type", "object");
    put_text(w, "description", section->help);
    put_flag(w, "additionalProperties", false);
    put_open(w, "properties", '{');
    for (size_t i = 0; i < section->field_count; i++)
        put_field(w, &section->fields[i]);
    put_close(w, '}');
}

/* A folder's files complete each other, so that only sections of one file may demand keys. */
static void put_required(struct writer *w, const struct schema_section *section)
{
    put_open(w, "required", '[');
    for (size_t i = 0; i < section->field_count; i++)
        if (section->fields[i].is_required)
            put_text(w, NULL, section->fields[i].name);
    put_close(w, ']');
}

/* Every section below root, in the order they are met. */
static size_t list_sections(const struct schema_section *root, const struct schema_section **list,
                            size_t count)
{
    for (size_t i = 0; i < root->field_count; i++)
        if (root->fields[i].section != NULL) {
            CHECK(count < MAX_SECTIONS);
            list[count++] = root->fields[i].section;
            count = list_sections(root->fields[i].section, list, count);
        }
    return count;
}

void schema_write_json(FILE *out, const struct schema_section *root)
{
    const struct schema_section *sections[MAX_SECTIONS];
    size_t count = list_sections(root, sections, 0);
    struct writer w = {.out = out};

    put_open(&w, NULL, '{');
    put_text(&w, "$schema", "http://json-schema.org/draft-07/schema#");
    put_text(&w, "title", "Lockkeeper policy");
    put_section(&w, root);
    put_open(&w, "definitions", '{');
    for (size_t i = 0; i < count; i++) {
        put_open(&w, sections[i]->name, '{');
        put_section(&w, sections[i]);
        put_required(&w, sections[i]);
        put_close(&w, '}');
    }
    put_close(&w, '}');
    put_close(&w, '}');
    fputc('\n', out);
}

/* A cell must not end its table: "|" would. */
static void print_cell(FILE *out, const char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '|')
            fputs("\\|", out);
        else
            fputc(*text, out);
}

static void print_type(FILE *out, const struct schema_field *field)
{
    if (field->item != NULL)
        fprintf(out, "list of %ss", field->item->name);
    else
        print_cell(out, field->type->name);
}

static void print_default(FILE *out, const struct schema_field *field)
{
    if (field->is_required)
        fputs("**required**", out);
    else if (field->default_text != NULL)
        fprintf(out, "`%s`", field->default_text);
    else if (field->default_note != NULL)
        print_cell(out, field->default_note);
    else if (field->section != NULL)
        fputs("see below", out);
}

static void print_choices(FILE *out, const struct schema_field *field)
{
    fputs(": ", out);
    for (size_t i = 0, printed = 0; field->choices[i] != NULL; i++) {
        if (field->choices[i][0] == '\0')
            continue;
        fprintf(out, "%s`%s`",
                printed++ == 0               ? ""
                : field->choice_help != NULL ? "; "
                                             : ", ",
                field->choices[i]);
        if (field->choice_help != NULL) {
            fputs(" – ", out);
            print_cell(out, field->choice_help[i]);
        }
    }
}

static void print_range(FILE *out, const struct schema_field *field)
{
    bool is_count = field->type == &schema_count;

    if (is_count && field->max > 0)
        fprintf(out, " (%ju to %ju)", (uintmax_t)field->min, (uintmax_t)field->max);
}

static void print_row(FILE *out, const struct schema_field *field)
{
    fprintf(out, "| `%s` | ", field->name);
    print_type(out, field);
    fputs(" | ", out);
    print_default(out, field);
    fputs(" | ", out);
    print_cell(out, field->help);
    print_range(out, field);
    if (field->choices != NULL)
        print_choices(out, field);
    if (field->example != NULL) {
        fputs(". Example: `", out);
        print_cell(out, field->example);
        fputc('`', out);
    }
    fputs(" |\n", out);
}

static void print_section(FILE *out, const struct schema_section *section, bool is_root)
{
    fprintf(out, is_root ? "### %s\n\n%s\n\n" : "### `%s`\n\n%s\n\n", section->title,
            section->help);
    fputs("| Key | Type | Default | What it does |\n|---|---|---|---|\n", out);
    for (size_t i = 0; i < section->field_count; i++)
        print_row(out, &section->fields[i]);
}

void schema_write_reference(FILE *out, const struct schema_section *root)
{
    const struct schema_section *sections[MAX_SECTIONS];
    size_t count = list_sections(root, sections, 0);

    print_section(out, root, true);
    for (size_t i = 0; i < count; i++) {
        fputc('\n', out);
        print_section(out, sections[i], false);
    }
}
