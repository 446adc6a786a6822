/* Path templates as segments.  Internal to policy/router; the rules are in router.h. */
#ifndef POLICY_ROUTER_PATH_H
#define POLICY_ROUTER_PATH_H

#include "base/arena.h"
#include "base/slice.h"
#include "policy/facts.h"

#define ROUTER_PATH_MAX_SEGMENTS 32

enum router_segment_kind { ROUTER_LITERAL, ROUTER_PARAM, ROUTER_REST };

struct router_segment {
    enum router_segment_kind kind;
    struct slice prefix; /* the whole text of a literal; what stands before a parameter */
    struct slice suffix; /* what stands behind it */
    struct slice name;
};

enum router_path_kind {
    ROUTER_PATH_ANY,      /* no template: every path */
    ROUTER_PATH_ASTERISK, /* "*" */
    ROUTER_PATH_SEGMENTS  /* "/a/b" has two, "/" one empty one, "/a/" ends with an empty one */
};

struct router_path {
    enum router_path_kind kind;
    struct router_segment segments[ROUTER_PATH_MAX_SEGMENTS];
    size_t segment_count;
};

/* Slices point into text.  NULL, or what is wrong, in arena or static. */
MUST_USE const char *router_path_parse(struct arena *arena, struct slice text,
                                       struct router_path *ret_path, size_t *ret_error_offset);

/* The parameter's value when segment has the template's prefix and suffix and something in between;
 * at == NULL otherwise. */
static inline struct slice router_segment_value(const struct router_segment *template,
                                                struct slice segment)
{
    size_t around = template->prefix.len + template->suffix.len;

    if (segment.len <= around || !slice_starts_with(segment, template->prefix) ||
        !slice_ends_with(segment, template->suffix))
        return SLICE_NONE;
    return slice_from(segment.at + template->prefix.len, segment.len - around);
}

#endif
