/* Texts to values: durations, sizes, rates, addresses.  Nothing here knows of keys or files. */
#ifndef POLICY_SCALAR_H
#define POLICY_SCALAR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define SCALAR_SECOND_US UINT64_C(1000000)
#define SCALAR_DAY_US (UINT64_C(86400) * SCALAR_SECOND_US)
/* Months and years as long as they can be. */
#define SCALAR_MONTH_US (31 * SCALAR_DAY_US)
#define SCALAR_YEAR_US (366 * SCALAR_DAY_US)

/* Why a text is not what it should be.  verdict follows the quoted text and never repeats a part of
 * it ("is not a rate"); detail may ("unknown unit \"minut\""), so it is not shown for secrets. */
struct scalar_fault {
    char verdict[200];
    char detail[240];
    size_t offset, len; /* the part that is wrong; len == 0: all of it */
};

/* Always false, so that a reader can end with it. */
bool scalar_fail(struct scalar_fault *fault, const char *verdict, const char *detail_format, ...)
    PRINTF_LIKE(3, 4);

MUST_USE bool scalar_read_bool(struct slice text, bool *ret_value, struct scalar_fault *fault);
MUST_USE bool scalar_read_count(struct slice text, uint64_t *ret_value, struct scalar_fault *fault);
/* "64MiB", "16k", "512" */
MUST_USE bool scalar_read_bytes(struct slice text, uint64_t *ret_value, struct scalar_fault *fault);
/* "50ms", "1m30s".  A bare number is refused; likely_unit is what the message proposes. */
MUST_USE bool scalar_read_duration(struct slice text, const char *likely_unit, uint64_t *ret_us,
                                   struct scalar_fault *fault);
/* The number of the choice; the list ends with NULL.  An empty text in it cannot be chosen. */
MUST_USE bool scalar_read_choice(struct slice text, const char *const *choices,
                                 unsigned *ret_number, struct scalar_fault *fault);
/* "+02:00", "-05:30", "Z" */
MUST_USE bool scalar_read_utc_offset(struct slice text, int64_t *ret_us,
                                     struct scalar_fault *fault);
/* Lower-case letters, digits, '.', '_', '-'; the first a letter or digit; at most 64. */
MUST_USE bool scalar_read_name(struct slice text, struct scalar_fault *fault);

/* "1/100", "0.01", "1": from 0 to 1, in millionths. */
MUST_USE bool scalar_read_ratio(struct slice text, uint64_t *ret_ppm, struct scalar_fault *fault);

enum scalar_calendar { SCALAR_EXACT, SCALAR_MONTH, SCALAR_YEAR };

struct scalar_rate {
    uint64_t count, period_us;
    enum scalar_calendar calendar;
};

/* "10/minute", "5/10s", "1000/month" */
MUST_USE bool scalar_read_rate(struct slice text, struct scalar_rate *ret_rate,
                               struct scalar_fault *fault);

/* "10.0.0.0/8", "192.0.2.1", "2001:db8::/32"; IPv4 becomes v4-mapped. */
MUST_USE bool scalar_read_cidr(struct slice text, struct in6_addr *ret_network,
                               unsigned *ret_prefix_bits, struct scalar_fault *fault);
/* Where to listen: "0.0.0.0:8080", "[::]:8080", ":8080", "unix:/run/lockkeeper.sock". */
MUST_USE bool scalar_read_listen(struct slice text, struct scalar_fault *fault);

#endif
