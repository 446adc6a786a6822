/* The TLS contexts that a set of policies asks for, made from its files: one for each upstream with
 * https:// addresses, and one for the listener.  Immutable and shared by all workers. */
#ifndef APP_CERTIFICATES_H
#define APP_CERTIFICATES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"

struct certificates;
struct policy;
struct tls_context;

/* NULL when a file cannot be used, which has been logged then. */
struct certificates *certificates_open(const struct policy *policy);
struct certificates *certificates_ref(struct certificates *certificates);
void certificates_unref(struct certificates **certificates);

/* By policy_upstream.index; NULL where there is nothing to encrypt. */
struct tls_context *const *certificates_upstreams(const struct certificates *certificates);
struct tls_context *certificates_listener(const struct certificates *certificates); /* or NULL */

/* One of the files is not the one it was.  Reads only their times and sizes. */
bool certificates_have_changed(const struct certificates *certificates);

#endif
