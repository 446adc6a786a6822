/* Field tables: one record per key of a policy file.
 *
 * A table binds YAML into structs by offset, checks type and range, applies defaults (texts that go
 * through the same reader), finds unknown keys, and writes the JSON Schema and the reference
 * (schema_write.h).  What spans several fields is checked by the section's own finish(). */
#ifndef POLICY_SCHEMA_H
#define POLICY_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"
#include "policy/problems.h"
#include "policy/scalar.h"
#include "policy/yaml.h"

struct schema;
struct schema_field;

/* What a field holds.  Either read (scalars) or bind (lists and sections) is set. */
struct schema_type {
    const char *name;   /* for the reference: "duration" */
    const char *phrase; /* for messages: "a duration" */
    const char *form;   /* "like 50ms, 2s or 1m30s" */
    enum yaml_kind kind;
    /* text: expanded and terminated, in the snapshot's arena; NULL-free.  Writes *ret on success.
     */
    bool (*read)(struct schema *schema, const struct schema_field *field, struct slice text,
                 void *ret, struct scalar_fault *fault);
    /* Report every problem; false when there was one. */
    bool (*bind)(struct schema *schema, const struct schema_field *field,
                 const struct yaml_node *node, void *record);
    /* For the JSON Schema: the JSON type of a value that is not text, or NULL, and a pattern for
     * text, or NULL.  Types with choices, items or sections are written from those. */
    const char *json_type, *json_pattern;
    size_t item_size; /* of what read() writes, when the type is the item of a list */
};

struct schema_field {
    const char *name;
    const struct schema_type *type;
    size_t offset, size;
    size_t count_offset;      /* lists: where their length goes (size_t) */
    const char *default_text; /* NULL: the record keeps what begin() put there, or zero */
    const char *default_note; /* for the reference, when the default is not a text */
    bool is_required;
    bool is_secret; /* its value is never shown */
    bool is_url;    /* its value is not shown where it holds a user, as there may be a password */
    uint64_t min, max; /* counts, bytes, and durations in the field's unit; max == 0: no bound */
    const char *word;  /* a word that stands for 0 ("auto") or for itself ("off") */
    const char *const *choices, *const *choice_help; /* end with NULL; help by the same number */
    const struct schema_section *section;            /* of sections and lists of sections */
    const struct schema_type *item;                  /* of lists */
    const char *help;                                /* one line */
    const char *doc;                                 /* more, or NULL */
    const char *example;                             /* or NULL */
};

#define SCHEMA_FIELD(record, member)                                                               \
    .offset = offsetof(struct record, member), .size = sizeof(((struct record *)0)->member)
#define SCHEMA_COUNTED(record, member, count_member)                                               \
    SCHEMA_FIELD(record, member), .count_offset = offsetof(struct record, count_member)
/* For sections whose fields live in the record around them. */
#define SCHEMA_INLINE .offset = 0, .size = 0

struct schema_section {
    const char *name;  /* in the JSON Schema and the reference: "limit" */
    const char *title; /* "limits[]" */
    const char *help;
    const struct schema_field *fields; /* at most 64, read in this order */
    size_t field_count;
    size_t record_size; /* of lists of sections: each gets a record of its own */
    void (*begin)(struct schema *schema, const struct yaml_node *node, void *record);
    /* Cross-field checks; fields that failed are not sound (schema_is_sound). */
    void (*finish)(struct schema *schema, void *record);
};

/* The section being bound, and those around it. */
struct schema_frame {
    struct schema_frame *parent;
    const struct schema_section *section;
    const struct yaml_node *node; /* NULL when the whole section is left out */
    const char *key;              /* how the section is reached */
    unsigned index;
    bool is_indexed;
    uint64_t failed;   /* by field number */
    uint64_t misspelt; /* keys that an unknown key was taken for */
};

struct schema {
    struct arena *arena;   /* of what is bound */
    struct arena *scratch; /* until the load ends */
    struct policy_problems *problems;
    struct schema_frame *frame;
    bool is_partial; /* a file could not be read, so what is missing at the top may be in it */
    void *owner;     /* of the tables: for begin, finish, read and bind */
    /* Told every value that came from outside (environment, files); may be NULL. */
    void (*on_expanded)(void *owner, struct slice value);
    /* Told every file that values came from, its path in arena; may be NULL. */
    void (*on_file)(void *owner, const char *path);
};

/* Bind the tree to record.  Problems are added; the caller looks at their number. */
void schema_bind(struct schema *schema, const struct schema_section *section,
                 const struct yaml_node *node, void *record);

/* For patterns of the JSON Schema: the units that scalar.c knows. */
#define SCHEMA_TIME_UNIT "(ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?|weeks?)"

/* For finish(): the key is written in the file / its field holds a good value or default. */
bool schema_is_given(const struct schema *schema, const char *key);
bool schema_is_sound(const struct schema *schema, const char *key);
/* An unknown key was taken for this one. */
bool schema_is_misspelt(const struct schema *schema, const char *key);
/* The value's node, or NULL. */
const struct yaml_node *schema_value(const struct schema *schema, const char *key);

/* Report at the key's value, or at the section when the key is not written.  key NULL: the section.
 */
void schema_problem(struct schema *schema, enum policy_severity severity, const char *key,
                    const char *format, ...) PRINTF_LIKE(4, 5);

/* For bind() of types: report at node; suffix ("[3]", ".name") follows the field's name. */
void schema_node_problem(struct schema *schema, const struct schema_field *field,
                         const char *suffix, const struct yaml_node *node, const char *format, ...)
    PRINTF_LIKE(5, 6);

/* Bind node (NULL: only defaults) to a record that is not part of the record around it. */
bool schema_bind_apart(struct schema *schema, const struct schema_field *field,
                       const struct yaml_node *node, void *record);

/* Expand and read one scalar with the given reader; reports what is wrong. */
bool schema_read_scalar(struct schema *schema, const struct schema_field *field,
                        const struct schema_type *type, const char *suffix,
                        const struct yaml_node *node, void *ret);

extern const struct schema_type schema_string, schema_name, schema_bool, schema_count, schema_bytes,
    schema_duration_ms, schema_enum, schema_list, schema_section, schema_sections;

#endif
