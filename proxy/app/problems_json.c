#include "app/problems_json.h"

#include <jansson.h>

#include "policy/problems.h"

struct json_t *problems_json_list(const struct policy_problems *problems)
{
    json_t *list = json_array();

    for (size_t i = 0; i < problems->count; i++) {
        const struct policy_problem *p = &problems->items[i];

        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:i, s:i, s:s, s:s}", "severity",
                                        p->severity == POLICY_ERROR ? "error" : "warning", "file",
                                        p->file, "line", (int)p->line, "column", (int)p->column,
                                        "where", p->where, "message", p->message));
    }
    return list;
}
