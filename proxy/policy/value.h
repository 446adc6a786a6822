/* Where values hide in a request: query pairs, cookies, escapes.  For the variables of templates,
 * and for the process's own ports. */
#ifndef POLICY_VALUE_H
#define POLICY_VALUE_H

#include "base/arena.h"
#include "base/slice.h"

/* Each gives at == NULL when there is no such value; an empty one has at != NULL and len 0.
 * Memory comes from arena only when something had to be decoded. */

/* The first pair of query whose decoded name is name; the value decoded.  A "%" that is not
 * followed by two hex digits stands for itself. */
struct slice value_from_query(struct slice query, struct slice name, struct arena *arena);

/* The first pair of that exact name (RFC 6265, section 4.2.1); quotes stay. */
struct slice value_from_cookie(struct slice cookie, struct slice name);

/* A capture of a normalised path: every escape decoded but %2F and %25, so that two different
 * captures never decode to the same text. */
struct slice value_from_path(struct slice capture, struct arena *arena);

/* 0 to 15, or -1. */
int value_hex_digit(char c);

#endif
