/* The process_* metrics that Prometheus clients agree on, from /proc. */
#ifndef APP_PROCESS_METRICS_H
#define APP_PROCESS_METRICS_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/metrics.h"

/* Append them; what /proc does not tell is left out.  False when out's ceiling was reached. */
MUST_USE bool process_metrics_text(enum metrics_format format, struct buf *out);

#endif
