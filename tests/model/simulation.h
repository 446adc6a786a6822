/* The simulation's world, shared by what sidecars do (lock_clients.c) and what happens to them and
 * to the store (simulate_locks.c). */
#ifndef TESTS_MODEL_SIMULATION_H
#define TESTS_MODEL_SIMULATION_H

#include "model/lock_mirror.h"
#include "model/lock_mutants.h"

#define MS INT64_C(1000)
#define SECOND (1000 * MS)
#define START_US INT64_C(1795000000123456)

#define SIDECARS 4
#define CLIENTS 28 /* of all sidecars */
#define LEASE (2 * SECOND)
#define GRANT (300 * MS)
#define HEARTBEAT (1500 * MS)
#define TIMEOUT (50 * MS)
/* The store's clock may be ahead of ours by 0 to so much: what it gains within a lease. */
#define GUARD (250 * MS)
#define ACQUISITIONS 32768
#define MAX_EVENTS 16384
#define DEFAULT_STEPS 1000000
#define MUTANT_STEPS 1000000
#define MUTANT_RUNS 5
#define BROKEN_KEY 4 /* operators break this one */

enum event_kind {
    START,   /* a client wants a lock */
    ARRIVAL, /* of a call at the store */
    REPLY,
    OVERDUE, /* no reply came in time */
    LOOK,    /* a waiter's timer */
    MESSAGE, /* of a hand-over */
    RENEWAL,
    DONE,    /* the service has answered */
    WRITE,   /* the service is about to get some bytes */
    WRITTEN, /* they arrive */
    NEMESIS
};

enum call_kind { CALL_ADMIT, CALL_RENEW, CALL_RELEASE };

struct event {
    int64_t at_us;
    uint64_t order; /* among those at the same time */
    enum event_kind kind;
    enum call_kind call;
    unsigned sidecar, client, connection;
    struct acquisition *acquisition;
    uint64_t number; /* of the acquisition, as its memory is used again */
    uint64_t serial; /* of the call or timer */
    int64_t sent_us, token, state, again_us;
    struct lock_asker asked;
    struct lock_admitted got;
    size_t key_number;
    unsigned tries;
};

enum client_state { IDLE, ASKING, WAITING, WORKING };

struct client {
    enum client_state state;
    unsigned sidecar;
    struct acquisition *acquisition;
    uint64_t pending, timer; /* serials that count */
    int64_t first_sent_us, wait_over_us, deadline_us, token;
};

struct sidecar {
    int64_t stopped_until_us, last_arrival_us;
    unsigned connection, life;
};

struct simulation {
    struct embedded *embedded;
    struct arena arena;
    int64_t now_us, ahead_us, stepped_us, store_us, emptied_us;
    uint64_t seed, random, steps, serial, next_number;
    struct event *events[MAX_EVENTS];
    size_t event_count;
    uint64_t next_order;
    struct client clients[CLIENTS];
    struct sidecar sidecars[SIDECARS];
    struct acquisition acquisitions[ACQUISITIONS];
    struct mirror mirror;
    const struct lock_mutant *mutant;
    struct slice changed[SCRIPT_COUNT];
    bool is_ending;
    uint64_t worked, gave_up, crashed, stopped, emptied, jumped, stepped, lost, lapsed;
};

extern struct simulation world;

/* 0 to below - 1. */
uint64_t pick(uint64_t below);
bool chance(unsigned in_thousand);
int64_t between(int64_t low_us, int64_t high_us);
/* Most calls and messages take little time, some take much. */
int64_t latency(void);
bool is_mutant(const char *name);
void push(const struct event *event, int64_t at_us);

/* Clients. */
void client_start(unsigned number);
/* It forgets everything, and comes back later. */
void client_rest(unsigned number);
void client_on_reply(const struct event *event);
void client_on_overdue(const struct event *event);
void client_on_timer(const struct event *event);
void client_on_message(const struct event *event);

#endif
