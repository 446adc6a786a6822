/* One JSON line per request.  Fields that do not apply are left out.
 *
 * Nothing of a query, of keys or of bodies is written: they hold what is nobody's business. */
#ifndef SERVE_ACCESS_LOG_H
#define SERVE_ACCESS_LOG_H

#include <stdint.h>

#include "base/log.h"
#include "base/slice.h"

#define ACCESS_LOG_NONE UINT64_MAX

struct access_log_entry {
    uint64_t wall_us;          /* when the request ended */
    struct slice method, path; /* the path as sent, without its query */
    unsigned status;           /* of the answer; 0 = none was given */
    const char *route;
    const char *decision, *limit; /* may be NULL */
    const char *reason;           /* why Lockkeeper answered itself or gave up, or NULL */
    uint64_t duration_us;
    uint64_t upstream_us; /* until the service's head came, or ACCESS_LOG_NONE */
    uint64_t store_us;    /* waiting for the store, or ACCESS_LOG_NONE */
    uint64_t received_bytes, sent_bytes;
    const char *lock;                  /* what became of the request at its lock, or NULL */
    uint64_t lock_wait_us, lock_token; /* or ACCESS_LOG_NONE */
    struct slice client_ip, request_id, trace_id, user_agent; /* at == NULL: left out */
    struct slice upstream;                                    /* address, or empty */
    uint64_t sample_ppm; /* the line stands for others that have none: it is one of so many in a
                            million; 0: for itself */
};

/* The date text of the last second seen; one per worker; zero is its fresh state. */
struct access_log_clock {
    uint64_t second;
    char text[24];
};

/* The longest line; longer values are cut. */
#define ACCESS_LOG_LINE_BYTES 13312

/* The line with its newline; room is ACCESS_LOG_LINE_BYTES. */
size_t access_log_format(struct access_log_clock *clock, const struct access_log_entry *entry,
                         char *ret_line);
void access_log_write(struct log_sink *sink, struct access_log_clock *clock,
                      const struct access_log_entry *entry);

#endif
