/* Problems of policies as JSON: what `check --format json` prints and a reload answers. */
#ifndef APP_PROBLEMS_JSON_H
#define APP_PROBLEMS_JSON_H

struct json_t; /* jansson's */
struct policy_problems;

/* A list; the caller's to free. */
struct json_t *problems_json_list(const struct policy_problems *problems);

#endif
