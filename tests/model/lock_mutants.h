/* Faults that the simulation must find, each a change of one script or of its callers.  A run with
 * one of them that finds nothing says that the simulation looks at nothing. */
#ifndef TESTS_MODEL_LOCK_MUTANTS_H
#define TESTS_MODEL_LOCK_MUTANTS_H

#include "store/script.h"

struct lock_mutant {
    const char *name;
    enum script_id script; /* SCRIPT_COUNT: the callers */
    const char *from, *to; /* in the script's text */
};

static const struct lock_mutant lock_mutants[] = {
    {"renewal-creates", SCRIPT_RENEW, "    return GONE, 0\n",
     "    local new = lock_next_token({lock}, lock_is_alone(id, 1))\n"
     "    lock_take(lock, id, 1, 'h', new, clock + lease + delay)\n"
     "    return HELD, new\n"},
    {"cancel-without-hand-over", SCRIPT_RELEASE, "    lock_hand_over(lock)\n",
     "    if mine > 0 then lock_hand_over(lock) end\n"},
    {"renewal-without-hand-over", SCRIPT_RENEW, "lock_hand_over(lock_open(i * 3 - 2, ''))", ""},
    {"no-heartbeat", SCRIPT_RELEASE, " or waiter.alive_until <= clock", ""},
    {"long-grant", SCRIPT_RELEASE, "clock + waiter.grant)", "clock + 60000000)"},
    {"newcomers-overtake", SCRIPT_ADMIT, "if head and head ~= id or (held or lock.was_given) and",
     "if (held or lock.was_given) and"},
    {"charged-again", SCRIPT_ADMIT, "was_charged = was_charged or locks[i].record",
     "was_charged = was_charged"},
    {"charged-when-refused", SCRIPT_ADMIT, "if intent == 'w' and reply[1] < QUEUED then",
     "if intent == '-' then"},
    {"counted-tokens", SCRIPT_ADMIT, "local token = clock - TOKEN_EPOCH_US",
     "local token = 900000000000"},
    {"place-is-lost", SCRIPT_ADMIT, "or place > 0 and place or last_place()", "or last_place()"},
    {"lapse-is-harmless", SCRIPT_RELEASE, "return newer > mine and TAKEN or LAPSED",
     "return LAPSED"},
    {"lapsed-are-kept", SCRIPT_ADMIT, "if lock.ends > clock then", "if lock.ends > 0 then"},
    {"one-permit-too-many", SCRIPT_ADMIT, "redis.call('ZCARD', lock.holders) < permits\n",
     "redis.call('ZCARD', lock.holders) <= permits\n"},
    {"several-beside-one", SCRIPT_ADMIT, "lock_is_open(lock) and ", ""},
    {"readers-with-writers", SCRIPT_ADMIT,
     "    if held ~= mode then\n        return false\n    end\n", ""},
    {"one-of-several", SCRIPT_RELEASE, "elseif waiter.keys > 1 then", "elseif false then"},
    {"keys-for-ever", SCRIPT_ADMIT, "redis.call('PEXPIRE', lock.queue, LOCK_TTL_MS)", ""},
    {"readers-have-order", SCRIPT_FENCE, "local lowest = is_alone and any or alone",
     "local lowest = any"},
    {"no-floor-after-loss", SCRIPT_ADMIT,
     "redis.call('HSET', lock.records, 't', text, 'u', text)\n    end", "end"},
    {"no-fence", SCRIPT_COUNT, NULL, NULL},
    {"no-guard", SCRIPT_COUNT, NULL, NULL},
    {"believes-from-the-reply", SCRIPT_COUNT, NULL, NULL},
};

#endif
