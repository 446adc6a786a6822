/* The process log (JSON, one object per line) and the sink of the access log.
 *
 * A line is: time, level, a fixed event phrase, the fields of the context chain, the fields of the
 * call.  Lines with the same event phrase and level are collapsed: after 10 in one second the rest
 * of that second is counted and reported as "repeated" on the next line.  Thread-safe.
 *
 *     log_warn(&conn->log, "upstream timed out", LOG_UINT("after_ms", waited_ms));
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/slice.h"

/* error: an operator must act; warn: we degraded; info: start, stop, reload, topology;
 * debug: per request. */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum log_field_kind {
    LOG_FIELD_END,
    LOG_FIELD_STR,
    LOG_FIELD_SLICE,
    LOG_FIELD_INT,
    LOG_FIELD_UINT,
    LOG_FIELD_BOOL
};

struct log_field {
    enum log_field_kind kind;
    const char *key;
    union {
        const char *str; /* NULL is written as null */
        struct slice slice;
        int64_t integer;
        uint64_t uint;
        bool boolean;
    } value;
};

#define LOG_STR(k, v) ((struct log_field){LOG_FIELD_STR, (k), {.str = (v)}})
#define LOG_SLICE(k, v) ((struct log_field){LOG_FIELD_SLICE, (k), {.slice = (v)}})
#define LOG_INT(k, v) ((struct log_field){LOG_FIELD_INT, (k), {.integer = (v)}})
#define LOG_UINT(k, v) ((struct log_field){LOG_FIELD_UINT, (k), {.uint = (v)}})
#define LOG_BOOL(k, v) ((struct log_field){LOG_FIELD_BOOL, (k), {.boolean = (v)}})

/* Context carried by a long-lived object; parent may be NULL.  What it points to must outlive it.
 */
struct log_context {
    const struct log_context *parent;
    struct log_field field;
};

/* Lines go to fd (default 2) from level (default LOG_INFO) on.  Legal at any time. */
void log_set_fd(int fd);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* "error", "warn", "info", "debug"; false for anything else. */
MUST_USE bool log_level_from(struct slice name, enum log_level *ret_level);
const char *log_level_name(enum log_level level);

void log_write(enum log_level level, const struct log_context *context, const char *event,
               const struct log_field *fields);

#define LOG_AT(level, context, event, ...)                                                         \
    do {                                                                                           \
        if ((level) <= log_get_level())                                                            \
            log_write((level), (context), (event),                                                 \
                      (const struct log_field[]){                                                  \
                          __VA_ARGS__ __VA_OPT__(, ){LOG_FIELD_END, NULL, {NULL}}});               \
    } while (0)

#define log_error(context, ...) LOG_AT(LOG_ERROR, context, __VA_ARGS__)
#define log_warn(context, ...) LOG_AT(LOG_WARN, context, __VA_ARGS__)
#define log_info(context, ...) LOG_AT(LOG_INFO, context, __VA_ARGS__)
#define log_debug(context, ...) LOG_AT(LOG_DEBUG, context, __VA_ARGS__)

/* Append s to out as a JSON string with its quotes; bytes that are not valid UTF-8 become U+FFFD.
 * Writes at most room bytes and gives the number written; a value too long ends in "..." inside
 * the quotes.  room must be at least 8. */
size_t log_json_string(char *out, size_t room, struct slice s);

/* A line sink with a bounded buffer, for access logs: one per worker, flushed by its owner.
 * Whole lines only; a line that finds no room is dropped and counted. */
struct log_sink;
struct log_sink *log_sink_open(int fd, size_t max_bytes);
/* Flushes what the descriptor takes without blocking for long, then frees. */
void log_sink_close(struct log_sink **sink);
/* line includes its newline. */
void log_sink_write(struct log_sink *sink, struct slice line);
/* Write out what is held; false when the descriptor took less than all. */
bool log_sink_flush(struct log_sink *sink);
size_t log_sink_pending_bytes(const struct log_sink *sink);
uint64_t log_sink_dropped(const struct log_sink *sink);

#endif
