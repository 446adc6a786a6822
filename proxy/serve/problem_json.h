/* Answers that Lockkeeper gives by itself: application/problem+json (RFC 9457). */
#ifndef SERVE_PROBLEM_JSON_H
#define SERVE_PROBLEM_JSON_H

#include "base/arena.h"
#include "guard/verdict.h"
#include "http/http_message.h"

/* Head and body in arena.  Never to be stored by a cache. */
void problem_json_write(const struct verdict *verdict, struct slice request_id, struct arena *arena,
                        struct http_response *ret_head, struct slice *ret_body);

#endif
