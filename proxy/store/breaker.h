/* A circuit breaker: after a run of failures it turns calls away at once, so that nobody waits for
 * a deadline that will pass; now and then it lets one call through to see.  No clock, no I/O. */
#ifndef STORE_BREAKER_H
#define STORE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum breaker_state {
    BREAKER_CLOSED,   /* calls pass */
    BREAKER_OPEN,     /* calls are turned away until open_until_ms */
    BREAKER_HALF_OPEN /* one call, the probe, is on its way; the others are turned away */
};

struct breaker {
    enum breaker_state state;
    uint32_t failure_count; /* in a row */
    uint32_t max_failures;
    uint64_t open_ms;
    uint64_t open_until_ms;
};

enum breaker_answer { BREAKER_PASS, BREAKER_PROBE, BREAKER_STOP };

void breaker_init(struct breaker *breaker, uint32_t max_failures, uint64_t open_ms);

/* In whatever state it is; an open one stays so for as long as it was going to. */
void breaker_set(struct breaker *breaker, uint32_t max_failures, uint64_t open_ms);

/* May a call go now?  After BREAKER_PROBE the caller must tell the call's fate with is_probe set,
 * or breaker_probe_gone. */
enum breaker_answer breaker_ask(struct breaker *breaker, uint64_t now_ms);
/* Any success closes it: the store answers.  In a breaker that is not closed only the probe's
 * failure counts. */
void breaker_succeeded(struct breaker *breaker);
void breaker_failed(struct breaker *breaker, bool is_probe, uint64_t now_ms);
/* The probe was cancelled: the next call may be the probe. */
void breaker_probe_gone(struct breaker *breaker, uint64_t now_ms);
/* There is reason to think that the store is back: do not wait for open_until_ms. */
void breaker_hurry(struct breaker *breaker, uint64_t now_ms);

#endif
