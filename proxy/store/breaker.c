#include "store/breaker.h"

#include "base/check.h"

void breaker_init(struct breaker *breaker, uint32_t max_failures, uint64_t open_ms)
{
    CHECK(max_failures > 0);
    *breaker = (struct breaker){.max_failures = max_failures, .open_ms = open_ms};
}

void breaker_set(struct breaker *breaker, uint32_t max_failures, uint64_t open_ms)
{
    CHECK(max_failures > 0);
    breaker->max_failures = max_failures;
    breaker->open_ms = open_ms;
}

static void breaker_trip(struct breaker *breaker, uint64_t now_ms)
{
    breaker->state = BREAKER_OPEN;
    breaker->open_until_ms = now_ms + breaker->open_ms;
}

enum breaker_answer breaker_ask(struct breaker *breaker, uint64_t now_ms)
{
    if (breaker->state == BREAKER_CLOSED)
        return BREAKER_PASS;
    if (breaker->state == BREAKER_HALF_OPEN || now_ms < breaker->open_until_ms)
        return BREAKER_STOP;
    breaker->state = BREAKER_HALF_OPEN;
    return BREAKER_PROBE;
}

void breaker_succeeded(struct breaker *breaker)
{
    breaker->state = BREAKER_CLOSED;
    breaker->failure_count = 0;
}

void breaker_failed(struct breaker *breaker, bool is_probe, uint64_t now_ms)
{
    if (breaker->state == BREAKER_CLOSED && ++breaker->failure_count >= breaker->max_failures)
        breaker_trip(breaker, now_ms);
    else if (breaker->state == BREAKER_HALF_OPEN && is_probe)
        breaker_trip(breaker, now_ms);
}

void breaker_probe_gone(struct breaker *breaker, uint64_t now_ms)
{
    if (breaker->state != BREAKER_HALF_OPEN)
        return;
    breaker->state = BREAKER_OPEN;
    breaker->open_until_ms = now_ms;
}

void breaker_hurry(struct breaker *breaker, uint64_t now_ms)
{
    if (breaker->state == BREAKER_OPEN && breaker->open_until_ms > now_ms)
        breaker->open_until_ms = now_ms;
}
