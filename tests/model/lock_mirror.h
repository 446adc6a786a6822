/* What the simulation knows of the store by itself: who holds, who waits, in which order, what was
 * charged.  Told of every script that was run and of its reply, it says what cannot be right.
 *
 * All times are the server's, in us, but for believes_until, which is the time of the sidecars. */
#ifndef TESTS_MODEL_LOCK_MIRROR_H
#define TESTS_MODEL_LOCK_MIRROR_H

#include "model/lock_calls.h"

#define MIRROR_KEYS 5
#define MIRROR_MAX_KEYS_PER_REQUEST 2
#define MIRROR_LIMIT_COUNT INT64_C(1000000000)

enum mirror_state {
    MIRROR_UNKNOWN, /* the store does not know it, or need not */
    MIRROR_WAITING,
    MIRROR_GRANTED, /* and not confirmed */
    MIRROR_HOLDING
};

/* One acquisition, in the caller's memory, which must live as long as the mirror may look at it. */
struct acquisition {
    uint64_t number;
    char id[24], channel[8];
    struct lock_asker asker;
    size_t key_numbers[MIRROR_MAX_KEYS_PER_REQUEST];
    /* what the store should know of it */
    enum mirror_state state;
    int64_t token, closed_until_us, held_until_us, place, wait_until_us, alive_until_us;
    bool was_let_go;  /* by its owner, knowingly */
    bool was_taken;   /* somebody else got what it lost */
    bool was_broken;  /* by an operator */
    bool may_be_late; /* a question of it may be run after it was given up */
    unsigned charged_epoch;
    bool is_listed;
    /* what its owner believes */
    int64_t believes_until_us;
    unsigned epoch;       /* of the store that last said it holds */
    unsigned trust;       /* of its clock then */
    unsigned first_trust; /* of its clock at the first question */
};

struct mirror {
    struct acquisition *listed[512];
    size_t listed_count;
    int64_t now_us;
    unsigned epoch; /* how often the store was emptied, plus 1 */
    unsigned trust; /* how often its clock has stepped ahead: leases from before may end early */
    int64_t used;   /* of the limit */
    int64_t last_token[MIRROR_KEYS], passed_alone[MIRROR_KEYS], passed_any[MIRROR_KEYS];
    /* By messages, of the script that runs. */
    struct {
        struct acquisition *acquisition;
        int64_t token, grant_us;
    } granted[64];
    size_t granted_count;
    uint64_t grants, message_grants, lapses_taken, stale_writes, duplicates, revivals;
};

/* Prints what is wrong and ends the run. */
_Noreturn void simulation_failed(const struct acquisition *acquisition, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Before a script runs: now_us is the store's time. */
void mirror_begin(struct mirror *mirror, int64_t now_us);
/* When the last of what has ended by now did so; at least one minute ago. */
int64_t mirror_last_end(const struct mirror *mirror);
/* While a script runs: it published a grant for this acquisition. */
void mirror_granted(struct mirror *mirror, struct acquisition *acquisition, int64_t token,
                    int64_t grant_us);
/* After it ran. */
void mirror_admitted(struct mirror *mirror, struct acquisition *acquisition,
                     const struct lock_asker *asked, const struct lock_admitted *got);
void mirror_renewed(struct mirror *mirror, struct acquisition *acquisition, int64_t state,
                    int64_t token);
void mirror_released(struct mirror *mirror, struct acquisition *acquisition, int64_t token,
                     int64_t verdict);
void mirror_fenced(struct mirror *mirror, struct acquisition *acquisition, size_t key_number,
                   int64_t token, int64_t verdict);
void mirror_broken(struct mirror *mirror, size_t key_number);
void mirror_emptied(struct mirror *mirror);

/* Somebody begins, or goes on, to believe that it holds: nobody else may who excludes it. */
void mirror_believes(struct mirror *mirror, struct acquisition *acquisition, int64_t now_us);

#endif
