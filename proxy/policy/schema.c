#include "policy/schema.h"

#include <stdarg.h>
#include <stdio.h>

#include "policy/expand.h"
#include "policy/suggest.h"

#define SHOWN_VALUE_BYTES 60
#define MAX_FIELDS 64

static const struct schema_field *find_field(const struct schema_section *section,
                                             struct slice name)
{
    for (size_t i = 0; i < section->field_count; i++)
        if (slice_equal(name, slice_of(section->fields[i].name)))
            return &section->fields[i];
    return NULL;
}

/* "routes[2].limits[0]", in scratch. */
static const char *frame_path(struct schema *schema, const struct schema_frame *frame)
{
    const char *parent;

    if (frame->parent == NULL)
        return "";
    parent = frame_path(schema, frame->parent);
    if (frame->is_indexed)
        return arena_printf(schema->scratch, "%s%s%s[%u]", parent, parent[0] != '\0' ? "." : "",
                            frame->key, frame->index)
            .at;
    return arena_printf(schema->scratch, "%s%s%s", parent, parent[0] != '\0' ? "." : "", frame->key)
        .at;
}

static const char *key_path(struct schema *schema, const char *key, const char *suffix)
{
    const char *path = frame_path(schema, schema->frame);

    if (key == NULL)
        return path;
    return arena_printf(schema->scratch, "%s%s%s%s", path, path[0] != '\0' ? "." : "", key, suffix)
        .at;
}

/* The nearest section around that is written in the file. */
static struct source_mark frame_mark(const struct schema_frame *frame)
{
    while (frame->node == NULL)
        frame = frame->parent;
    return frame->node->mark;
}

const struct yaml_node *schema_value(const struct schema *schema, const char *key)
{
    const struct yaml_node *node = schema->frame->node;
    const struct yaml_entry *entry =
        node != NULL && node->kind == YAML_MAPPING ? yaml_find(node, slice_of(key)) : NULL;

    return entry != NULL ? entry->value : NULL;
}

bool schema_is_given(const struct schema *schema, const char *key)
{
    return schema_value(schema, key) != NULL;
}

bool schema_is_sound(const struct schema *schema, const char *key)
{
    const struct schema_section *section = schema->frame->section;
    const struct schema_field *field = find_field(section, slice_of(key));

    CHECK(field != NULL);
    return (schema->frame->failed & UINT64_C(1) << (field - section->fields)) == 0;
}

bool schema_is_misspelt(const struct schema *schema, const char *key)
{
    const struct schema_section *section = schema->frame->section;
    const struct schema_field *field = find_field(section, slice_of(key));

    CHECK(field != NULL);
    return (schema->frame->misspelt & UINT64_C(1) << (field - section->fields)) != 0;
}

static bool is_hidden(const struct schema_field *field, const struct yaml_node *node)
{
    return field->is_secret || (field->is_url && slice_find(node->text, '@') < node->text.len);
}

/* A secret's line is shown only where it names the secret instead of holding it. */
static bool hides_line(const struct schema_field *field, const struct yaml_node *node)
{
    if (field == NULL || node == NULL || node->kind != YAML_SCALAR || !is_hidden(field, node))
        return false;
    return !slice_starts_with(node->text, SLICE("${")) &&
           (field->type->json_pattern == NULL || slice_find(node->text, '@') < node->text.len);
}

void schema_problem(struct schema *schema, enum policy_severity severity, const char *key,
                    const char *format, ...)
{
    const struct yaml_node *node = key != NULL ? schema_value(schema, key) : NULL;
    const struct schema_field *field =
        key != NULL ? find_field(schema->frame->section, slice_of(key)) : NULL;
    struct problems_place place = {node != NULL ? node->mark : frame_mark(schema->frame),
                                   key_path(schema, key, ""), hides_line(field, node)};
    char message[900];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    policy_problems_add(schema->problems, severity, &place, "%s", message);
}

void schema_node_problem(struct schema *schema, const struct schema_field *field,
                         const char *suffix, const struct yaml_node *node, const char *format, ...)
{
    struct problems_place place = {node->mark, key_path(schema, field->name, suffix),
                                   hides_line(field, node)};
    char message[900];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    policy_problems_add(schema->problems, POLICY_ERROR, &place, "%s", message);
}

static bool check_kind(struct schema *schema, const struct schema_field *field,
                       const struct schema_type *type, const char *suffix,
                       const struct yaml_node *node)
{
    const char *gap = type->form[0] != '\0' ? ", " : "";

    if (node->kind == YAML_SCALAR && node->is_null) {
        schema_node_problem(schema, field, suffix, node, "has no value: give it %s%s%s",
                            type->phrase, gap, type->form);
        return false;
    }
    if (node->kind == type->kind)
        return true;
    schema_node_problem(schema, field, suffix, node, "must be %s%s%s, not %s", type->phrase, gap,
                        type->form, yaml_kind_phrase(node->kind));
    return false;
}

static void report_fault(struct schema *schema, const struct schema_field *field,
                         const char *suffix, const struct yaml_node *node,
                         const struct scalar_fault *fault)
{
    bool has_detail = fault->detail[0] != '\0';
    struct slice text = node->text;

    schema_node_problem(schema, field, suffix, node, "\"%.*s%s\" %s%s%s",
                        (int)(text.len < SHOWN_VALUE_BYTES ? text.len : SHOWN_VALUE_BYTES), text.at,
                        text.len > SHOWN_VALUE_BYTES ? "..." : "", fault->verdict,
                        !has_detail               ? ""
                        : fault->detail[0] == '(' ? " "
                                                  : ": ",
                        fault->detail);
}

/* The value may not show, nor anything cut from it if it came from outside.  (What a reader of
 * secrets says in detail holds no secret.) */
static void report_secret_fault(struct schema *schema, const struct schema_field *field,
                                const struct schema_type *type, const char *suffix,
                                const struct yaml_node *node, const struct scalar_fault *fault)
{
    if (is_hidden(field, node) && !slice_starts_with(node->text, SLICE("${")))
        schema_node_problem(schema, field, suffix, node, "the value %s%s%s", fault->verdict,
                            fault->detail[0] == '\0'  ? ""
                            : fault->detail[0] == '(' ? " "
                                                      : ": ",
                            fault->detail);
    else
        schema_node_problem(
            schema, field, suffix, node, "what \"%.*s\" expands to %s; expected %s%s%s",
            (int)(node->text.len < SHOWN_VALUE_BYTES ? node->text.len : SHOWN_VALUE_BYTES),
            node->text.at, fault->verdict, type->phrase, type->form[0] != '\0' ? ", " : "",
            type->form);
}

static bool expand_scalar(struct schema *schema, const struct schema_field *field,
                          const char *suffix, const struct yaml_node *node,
                          struct expand_result *ret_result)
{
    struct expand_fault fault;
    struct yaml_node part = *node;

    if (expand_text(schema->arena, node->mark.source->name, node->text, ret_result, &fault)) {
        if (ret_result->is_expanded && schema->on_expanded != NULL)
            schema->on_expanded(schema->owner, ret_result->text);
        for (const struct expand_file *file = ret_result->files; file != NULL; file = file->next)
            if (schema->on_file != NULL)
                schema->on_file(schema->owner, file->path);
        return true;
    }
    part.mark = yaml_part_mark(node, fault.offset, fault.len);
    schema_node_problem(schema, field, suffix, &part, "%s", fault.message);
    return false;
}

bool schema_read_scalar(struct schema *schema, const struct schema_field *field,
                        const struct schema_type *type, const char *suffix,
                        const struct yaml_node *node, void *ret)
{
    struct scalar_fault fault = {0};
    struct yaml_node part = *node;
    struct expand_result expanded;

    if (!check_kind(schema, field, type, suffix, node) ||
        !expand_scalar(schema, field, suffix, node, &expanded))
        return false;
    if (memchr(expanded.text.at, '\0', expanded.text.len) != NULL)
        scalar_fail(&fault, "holds a zero byte", "%s", "");
    else if (type->read(schema, field, expanded.text, ret, &fault))
        return true;
    if (expanded.is_expanded || is_hidden(field, node)) {
        report_secret_fault(schema, field, type, suffix, node, &fault);
        return false;
    }
    if (fault.len > 0)
        part.mark = yaml_part_mark(node, fault.offset, fault.len);
    report_fault(schema, field, suffix, &part, &fault);
    return false;
}

static void report_unknown_key(struct schema *schema, const struct yaml_node *key)
{
    const struct schema_section *section = schema->frame->section;
    struct slice words[MAX_FIELDS], guess;
    struct problems_place place = {key->mark, frame_path(schema, schema->frame), false};
    int shown = (int)(key->text.len < SHOWN_VALUE_BYTES ? key->text.len : SHOWN_VALUE_BYTES);
    char list[400] = "";
    size_t len = 0;

    for (size_t i = 0; i < section->field_count; i++) {
        words[i] = slice_of(section->fields[i].name);
        if (len < sizeof(list))
            len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i > 0 ? ", " : "",
                                    section->fields[i].name);
    }
    guess = suggest_word(key->text, words, section->field_count);
    if (guess.at != NULL) {
        policy_problems_add(schema->problems, POLICY_ERROR, &place,
                            "unknown key \"%.*s\" (did you mean \"%.*s\"?)", shown, key->text.at,
                            SLICE_ARGS(guess));
        schema->frame->misspelt |= UINT64_C(1) << (find_field(section, guess) - section->fields);
    } else {
        policy_problems_add(schema->problems, POLICY_ERROR, &place,
                            "unknown key \"%.*s\"; here may stand: %s", shown, key->text.at, list);
    }
}

/* A default that its own reader refuses is a mistake in the table. */
static void apply_default(struct schema *schema, const struct schema_field *field, char *record)
{
    struct scalar_fault fault;

    CHECK(field->type->read(schema, field, slice_of(field->default_text), record + field->offset,
                            &fault));
}

static bool bind_field(struct schema *schema, const struct schema_field *field, char *record)
{
    const struct yaml_node *node = schema_value(schema, field->name);

    if (node != NULL && field->type->read != NULL)
        return schema_read_scalar(schema, field, field->type, "", node, record + field->offset);
    if (node != NULL)
        return check_kind(schema, field, field->type, "", node) &&
               field->type->bind(schema, field, node, record);
    if (field->is_required) {
        uint64_t bit = UINT64_C(1) << (field - schema->frame->section->fields);

        /* What is misspelt, or may stand in a file that could not be read, is not missing too. */
        if ((schema->frame->misspelt & bit) != 0 ||
            (schema->is_partial && schema->frame->parent == NULL))
            return false;
        schema_problem(schema, POLICY_ERROR, NULL, "the required key \"%s\" is missing (%s)",
                       field->name, field->help);
        return false;
    }
    if (field->default_text != NULL)
        apply_default(schema, field, record);
    /* A section that is left out still has its defaults. */
    else if (field->type == &schema_section)
        field->type->bind(schema, field, NULL, record);
    return true;
}

static void bind_frame(struct schema *schema, struct schema_frame *frame, void *record)
{
    const struct schema_section *section = frame->section;

    CHECK(section->field_count <= MAX_FIELDS);
    schema->frame = frame;
    if (section->begin != NULL)
        section->begin(schema, frame->node, record);
    if (frame->node != NULL)
        for (struct yaml_entry *entry = frame->node->first; entry != NULL; entry = entry->next)
            if (find_field(section, entry->key->text) == NULL)
                report_unknown_key(schema, entry->key);
    for (size_t i = 0; i < section->field_count; i++)
        if (!bind_field(schema, &section->fields[i], record))
            frame->failed |= UINT64_C(1) << i;
    if (section->finish != NULL)
        section->finish(schema, record);
    schema->frame = frame->parent;
}

void schema_bind(struct schema *schema, const struct schema_section *section,
                 const struct yaml_node *node, void *record)
{
    struct schema_frame frame = {.section = section, .node = node, .key = ""};

    CHECK(node->kind == YAML_MAPPING);
    bind_frame(schema, &frame, record);
}

bool schema_bind_apart(struct schema *schema, const struct schema_field *field,
                       const struct yaml_node *node, void *record)
{
    struct schema_frame frame = {
        .parent = schema->frame, .section = field->section, .node = node, .key = field->name};
    size_t errors = schema->problems->error_count;

    bind_frame(schema, &frame, record);
    return schema->problems->error_count == errors;
}

static bool bind_section(struct schema *schema, const struct schema_field *field,
                         const struct yaml_node *node, void *record)
{
    return schema_bind_apart(schema, field, node, (char *)record + field->offset);
}

static bool bind_sections(struct schema *schema, const struct schema_field *field,
                          const struct yaml_node *node, void *record)
{
    static const struct schema_type item = {
        .phrase = "a section of keys", .form = "", .kind = YAML_MAPPING};
    void **items = arena_calloc(schema->arena, node->count + 1, sizeof(*items));
    size_t errors = schema->problems->error_count, count = 0;
    char suffix[32];

    for (struct yaml_entry *entry = node->first; entry != NULL; entry = entry->next) {
        struct schema_frame frame = {.parent = schema->frame,
                                     .section = field->section,
                                     .node = entry->value,
                                     .key = field->name,
                                     .index = entry->index,
                                     .is_indexed = true};

        snprintf(suffix, sizeof(suffix), "[%u]", entry->index);
        if (!check_kind(schema, field, &item, suffix, entry->value))
            continue;
        items[count] = arena_calloc(schema->arena, 1, field->section->record_size);
        bind_frame(schema, &frame, items[count++]);
    }
    memcpy((char *)record + field->offset, &items, sizeof(items));
    memcpy((char *)record + field->count_offset, &count, sizeof(count));
    return schema->problems->error_count == errors;
}

static bool read_string(struct schema *schema, const struct schema_field *field, struct slice text,
                        void *ret, struct scalar_fault *fault)
{
    UNUSED(schema);
    if (text.len == 0 && field->min > 0)
        return scalar_fail(fault, "is empty", "%s", "");
    if (field->max > 0 && text.len > field->max)
        return scalar_fail(fault, "is too long", "at most %ju bytes", (uintmax_t)field->max);
    memcpy(ret, &text.at, sizeof(text.at));
    return true;
}

static bool read_name(struct schema *schema, const struct schema_field *field, struct slice text,
                      void *ret, struct scalar_fault *fault)
{
    return scalar_read_name(text, fault) && read_string(schema, field, text, ret, fault);
}

static bool bind_list(struct schema *schema, const struct schema_field *field,
                      const struct yaml_node *node, void *record)
{
    size_t item_size = field->item->item_size, count = 0;
    char *items = arena_calloc(schema->arena, node->count + 1, item_size);
    bool is_good = true;
    char suffix[32];

    for (struct yaml_entry *entry = node->first; entry != NULL; entry = entry->next) {
        snprintf(suffix, sizeof(suffix), "[%u]", entry->index);
        if (schema_read_scalar(schema, field, field->item, suffix, entry->value,
                               items + count * item_size))
            count++;
        else
            is_good = false;
    }
    memcpy((char *)record + field->offset, &items, sizeof(items));
    memcpy((char *)record + field->count_offset, &count, sizeof(count));
    return is_good;
}

static bool read_bool(struct schema *schema, const struct schema_field *field, struct slice text,
                      void *ret, struct scalar_fault *fault)
{
    UNUSED(schema);
    UNUSED(field);
    return scalar_read_bool(text, ret, fault);
}

static bool store_number(const struct schema_field *field, uint64_t number, void *ret)
{
    unsigned narrow = (unsigned)number;

    CHECK(field->size == sizeof(number) || field->size == sizeof(narrow));
    if (field->size == sizeof(number))
        memcpy(ret, &number, sizeof(number));
    else
        memcpy(ret, &narrow, sizeof(narrow));
    return true;
}

/* The units of a kind of number, from small to large; each is a multiple of the one before. */
struct unit_step {
    const char *name;
    uint64_t size;
};

static const struct unit_step plain_steps[] = {{"", 1}};
static const struct unit_step byte_steps[] = {
    {" bytes", 1}, {"KiB", 1024}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
static const struct unit_step time_steps[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};

static bool check_range(const struct schema_field *field, uint64_t number,
                        const struct unit_step *steps, size_t step_count,
                        struct scalar_fault *fault)
{
    bool is_small = number < field->min;
    uint64_t bound = is_small ? field->min : field->max;
    char verdict[100];
    size_t at = step_count - 1;

    if (!is_small && (field->max == 0 || number <= field->max))
        return true;
    while (at > 0 && bound % steps[at].size != 0)
        at--;
    snprintf(verdict, sizeof(verdict), "is too %s %ju%s",
             is_small ? "small: the least is" : "large: the most is",
             (uintmax_t)(bound / steps[at].size), steps[at].name);
    return scalar_fail(fault, verdict, "%s", "");
}

static bool read_count(struct schema *schema, const struct schema_field *field, struct slice text,
                       void *ret, struct scalar_fault *fault)
{
    uint64_t number;
    char verdict[100];

    UNUSED(schema);
    if (field->word != NULL && slice_equal(text, slice_of(field->word)))
        return store_number(field, 0, ret);
    if (!scalar_read_count(text, &number, fault)) {
        snprintf(verdict, sizeof(verdict), "is neither a whole number nor \"%s\"", field->word);
        return field->word != NULL ? scalar_fail(fault, verdict, "%s", "") : false;
    }
    return check_range(field, number, plain_steps, 1, fault) && store_number(field, number, ret);
}

static bool read_bytes(struct schema *schema, const struct schema_field *field, struct slice text,
                       void *ret, struct scalar_fault *fault)
{
    uint64_t number;

    UNUSED(schema);
    return scalar_read_bytes(text, &number, fault) &&
           check_range(field, number, byte_steps, COUNT_OF(byte_steps), fault) &&
           store_number(field, number, ret);
}

/* The unit of the default is the one people think in. */
static const char *likely_unit(const struct schema_field *field)
{
    const char *unit = field->default_text;

    while (unit != NULL && *unit >= '0' && *unit <= '9')
        unit++;
    return unit != NULL && *unit != '\0' ? unit : "s";
}

static bool read_duration_ms(struct schema *schema, const struct schema_field *field,
                             struct slice text, void *ret, struct scalar_fault *fault)
{
    uint64_t us;

    UNUSED(schema);
    return scalar_read_duration(text, likely_unit(field), &us, fault) &&
           check_range(field, us / 1000, time_steps, COUNT_OF(time_steps), fault) &&
           store_number(field, us / 1000, ret);
}

/* Enums are ints in our ABI; their values are the numbers of the choices. */
static bool read_enum(struct schema *schema, const struct schema_field *field, struct slice text,
                      void *ret, struct scalar_fault *fault)
{
    unsigned number;

    UNUSED(schema);
    CHECK(field->size == sizeof(number));
    if (!scalar_read_choice(text, field->choices, &number, fault))
        return false;
    memcpy(ret, &number, sizeof(number));
    return true;
}

const struct schema_type schema_string = {
    .name = "text", .phrase = "a text", .form = "", .kind = YAML_SCALAR, .read = read_string};
const struct schema_type schema_name = {.name = "name",
                                        .phrase = "a name",
                                        .form = "like per-user",
                                        .kind = YAML_SCALAR,
                                        .read = read_name,
                                        .json_pattern = "^[a-z0-9][a-z0-9._-]{0,63}$"};
const struct schema_type schema_bool = {.name = "true or false",
                                        .phrase = "true or false",
                                        .form = "",
                                        .kind = YAML_SCALAR,
                                        .read = read_bool,
                                        .json_type = "boolean",
                                        .json_pattern = "^(true|false)$"};
const struct schema_type schema_count = {.name = "number",
                                         .phrase = "a whole number",
                                         .form = "",
                                         .kind = YAML_SCALAR,
                                         .read = read_count,
                                         .json_type = "integer",
                                         .json_pattern = "^[0-9]+$"};
const struct schema_type schema_bytes = {.name = "size",
                                         .phrase = "a size",
                                         .form = "like 16KiB or 64MiB",
                                         .kind = YAML_SCALAR,
                                         .read = read_bytes,
                                         .json_type = "integer",
                                         .json_pattern = "^[0-9]+([bB]|[kKmMgG]([iI][bB]?)?)?$"};
const struct schema_type schema_duration_ms = {.name = "duration",
                                               .phrase = "a duration",
                                               .form = "like 50ms, 2s or 1m30s",
                                               .kind = YAML_SCALAR,
                                               .read = read_duration_ms,
                                               .json_pattern =
                                                   "^(0|([0-9]+" SCHEMA_TIME_UNIT ")+)$"};
const struct schema_type schema_enum = {
    .name = "choice", .phrase = "one word", .form = "", .kind = YAML_SCALAR, .read = read_enum};
const struct schema_type schema_list = {.name = "list",
                                        .phrase = "a list",
                                        .form = "in [ ] or with \"- \" before each item",
                                        .kind = YAML_SEQUENCE,
                                        .bind = bind_list};
const struct schema_type schema_section = {.name = "section",
                                           .phrase = "a section of keys",
                                           .form = "",
                                           .kind = YAML_MAPPING,
                                           .bind = bind_section};
const struct schema_type schema_sections = {.name = "list of sections",
                                            .phrase = "a list of sections",
                                            .form = "each beginning with \"- \"",
                                            .kind = YAML_SEQUENCE,
                                            .bind = bind_sections};
