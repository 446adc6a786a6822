/* Sidecars, their clients and a store, simulated: the lock scripts run on the embedded engine with
 * a clock of ours, everything else is random.  Sidecars stop for longer than a lease, or die; calls
 * and replies are lost, run late or twice; messages are lost, doubled and reordered; the store's
 * clock wanders, stands still and steps far ahead or back; the store is emptied.  lock_mirror.c
 * judges every step.
 *
 *     simulate_locks [--seed N] [--steps N]      one run; the same seed is the same run
 *     simulate_locks --mutants [--seed N]        every fault of lock_mutants.h must be found
 *     simulate_locks --mutant NAME [--seed N]    one of them, to watch */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "model/simulation.h"

struct simulation world;

static const char *const key_names[MIRROR_KEYS] = {"k0", "k1", "k2", "k3", "k4"};

/*
 * Chance and time
 */

uint64_t pick(uint64_t below)
{
    world.random ^= world.random << 13;
    world.random ^= world.random >> 7;
    world.random ^= world.random << 17;
    return (world.random >> 11) % below;
}

bool chance(unsigned in_thousand)
{
    return pick(1000) < in_thousand;
}

int64_t between(int64_t low_us, int64_t high_us)
{
    return low_us + (int64_t)pick((uint64_t)(high_us - low_us + 1));
}

int64_t latency(void)
{
    return chance(20) ? between(MS, 60 * MS) : between(50, 2 * MS);
}

bool is_mutant(const char *name)
{
    return world.mutant != NULL && strcmp(world.mutant->name, name) == 0;
}

static uint64_t store_clock(void *owner)
{
    int64_t now_us = world.now_us + world.ahead_us + world.stepped_us;

    UNUSED(owner);
    if (now_us > world.store_us)
        world.store_us = now_us;
    return (uint64_t)world.store_us;
}

_Noreturn void simulation_failed(const struct acquisition *a, const char *format, ...)
{
    va_list args;

    printf("FAILED  seed %" PRIu64 " step %" PRIu64 " at %.6f s: %s: ", world.seed, world.steps,
           (double)(world.now_us - START_US) / 1e6, a != NULL ? a->id : "-");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

/*
 * Events: a heap, the first is first
 */

static bool is_sooner(const struct event *a, const struct event *b)
{
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->order < b->order);
}

void push(const struct event *event, int64_t at_us)
{
    struct event *copy = mem_alloc(sizeof *copy);
    size_t at = world.event_count++;

    CHECK(world.event_count < MAX_EVENTS);
    *copy = *event;
    copy->at_us = at_us;
    copy->order = world.next_order++;
    for (; at > 0 && is_sooner(copy, world.events[(at - 1) / 2]); at = (at - 1) / 2)
        world.events[at] = world.events[(at - 1) / 2];
    world.events[at] = copy;
}

static struct event pop(void)
{
    struct event first = *world.events[0], *last = world.events[--world.event_count];
    size_t at = 0;

    free(world.events[0]);
    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < world.event_count &&
            is_sooner(world.events[child + 1], world.events[child]))
            child++;
        if (child >= world.event_count || is_sooner(last, world.events[child]))
            break;
        world.events[at] = world.events[child];
        at = child;
    }
    world.events[at] = last;
    return first;
}

/*
 * The store
 */

static void run_script(enum script_id script, const struct embedded_call *call, struct reply *reply)
{
    if (world.changed[script].at == NULL)
        embedded_eval(world.embedded, script, call, &world.arena, reply);
    else
        embedded_eval_text(world.embedded, world.mutant->name, world.changed[script], call,
                           &world.arena, reply);
}

static int64_t ask_store(const char *text)
{
    struct embedded_call call = {.key_count = 0};
    struct reply reply;

    embedded_eval_text(world.embedded, "look", slice_of(text), &call, &world.arena, &reply);
    CHECK(reply.type == REPLY_INTEGER);
    return reply.integer;
}

static struct acquisition *find(const char *id)
{
    struct acquisition *a = &world.acquisitions[strtoull(id + 2, NULL, 16) % ACQUISITIONS];

    CHECK(strcmp(a->id, id) == 0);
    return a;
}

static int64_t on_publish(void *owner, struct slice channel, struct slice message)
{
    char kind, id[24];
    int64_t token = 0, grant_us = 0;
    struct event event = {.kind = MESSAGE};

    UNUSED(owner);
    CHECK(sscanf(message.at, "%c %23s %" SCNd64 " %" SCNd64, &kind, id, &token, &grant_us) >= 2);
    event.acquisition = find(id);
    event.number = event.acquisition->number;
    event.sidecar = (unsigned)(channel.at[1] - '0');
    if (kind == 'G')
        mirror_granted(&world.mirror, event.acquisition, token, grant_us);
    for (int copies = chance(50) ? 0 : chance(50) ? 2 : 1; copies > 0; copies--)
        push(&event, world.now_us + latency());
    return 1;
}

static void empty_store(void)
{
    if (world.embedded != NULL)
        embedded_unref(&world.embedded);
    world.embedded = embedded_open(64u << 20);
    embedded_set_clock(world.embedded, store_clock, NULL);
    embedded_set_publish(world.embedded, on_publish, NULL);
}

/*
 * What happens
 */

static void run_call(struct event *event)
{
    struct acquisition *a = event->acquisition;
    struct mirror *mirror = &world.mirror;

    mirror_begin(mirror, (int64_t)store_clock(NULL));
    switch (event->call) {
    case CALL_ADMIT:
        event->got = lock_admit(run_script, &event->asked);
        mirror_admitted(mirror, a, &event->asked, &event->got);
        break;
    case CALL_RENEW:
        event->state = lock_renew(run_script, &event->asked, &event->token);
        mirror_renewed(mirror, a, event->state, event->token);
        break;
    case CALL_RELEASE:
        mirror_released(mirror, a, event->token,
                        lock_release(run_script, &event->asked, event->token));
    }
}

static void stop(unsigned sidecar)
{
    int64_t us = chance(500) ? between(20 * MS, SECOND) : between(SECOND, 3 * LEASE);

    world.stopped++;
    world.sidecars[sidecar].stopped_until_us = world.now_us + us;
}

/* A call whose connection broke is not run, or run without an answer, or run much later. */
static void on_arrival(struct event *event)
{
    const struct sidecar *sidecar = &world.sidecars[event->sidecar];

    if (event->acquisition->number != event->number)
        return;
    if (event->connection == sidecar->connection) {
        run_call(event);
        event->kind = REPLY;
        if (!chance(10))
            push(event, world.now_us + latency());
        /* Just when the store has answered is the worst time. */
        if (chance(2) && !world.is_ending)
            stop(event->sidecar);
    } else if (event->tries < 100 && chance(300)) {
        event->tries = 100;
        event->acquisition->may_be_late = true;
        push(event, world.now_us + between(0, SECOND));
    } else if (event->tries == 100 || chance(500)) {
        event->acquisition->may_be_late = true;
        run_call(event);
    }
}

static void on_written(const struct event *event)
{
    struct acquisition *a = event->acquisition;
    int64_t verdict;

    if (a->number != event->number)
        return;
    mirror_begin(&world.mirror, (int64_t)store_clock(NULL));
    verdict = lock_fence(run_script, key_names[event->key_number], event->token, true);
    if (is_mutant("no-fence"))
        verdict = FENCE_PASS;
    mirror_fenced(&world.mirror, a, event->key_number, event->token, verdict);
}

static void crash(unsigned sidecar)
{
    world.crashed++;
    world.sidecars[sidecar].connection++;
    world.sidecars[sidecar].life++;
    for (unsigned i = 0; i < CLIENTS; i++)
        if (world.clients[i].sidecar == sidecar && world.clients[i].state != IDLE)
            client_rest(i);
}

/* Tokens rise over a loss because time does: it must have caught up with those that ran ahead. */
static void lose_store(void)
{
    int64_t now_us = (int64_t)store_clock(NULL);

    for (size_t i = 0; i < MIRROR_KEYS; i++)
        if (world.mirror.last_token[i] + 2 >= now_us - LOCK_EPOCH_US)
            return;
    world.emptied++;
    world.emptied_us = now_us;
    empty_store();
    mirror_emptied(&world.mirror);
}

/* Far ahead: leases end before their time, and only the fence is left, until all have been given
 * anew. Back: whatever ended stays ended, as nobody could say whether the store has noticed it. */
static void step_clock(void)
{
    struct mirror *mirror = &world.mirror;
    int64_t now_us = (int64_t)store_clock(NULL), earliest_us;

    world.stepped++;
    if (chance(500)) {
        world.stepped_us += between(GUARD, 15 * SECOND);
        mirror->trust++;
        return;
    }
    mirror_begin(mirror, now_us);
    earliest_us = mirror_last_end(mirror);
    if (earliest_us < world.emptied_us)
        earliest_us = world.emptied_us;
    world.store_us = between(earliest_us, now_us);
    world.stepped_us = world.store_us - world.now_us - world.ahead_us;
}

static void on_nemesis(void)
{
    struct event again = {.kind = NEMESIS, .client = CLIENTS};
    unsigned victim = (unsigned)pick(SIDECARS);
    uint64_t blow = pick(100);

    if (blow < 10) {
        stop(victim);
    } else if (blow < 14) {
        crash(victim);
    } else if (blow < 35) {
        world.sidecars[victim].connection++;
    } else if (blow < 50) {
        world.jumped++;
        world.ahead_us = between(0, GUARD);
    } else if (blow < 56) {
        mirror_begin(&world.mirror, (int64_t)store_clock(NULL));
        lock_break(run_script, key_names[BROKEN_KEY]);
        mirror_broken(&world.mirror, BROKEN_KEY);
    } else if (blow < 57) {
        lose_store();
    } else if (blow < 60) {
        step_clock();
    }
    push(&again, world.now_us + between(20 * MS, 600 * MS));
}

/* What a stopped process does not do. */
static bool is_sidecars(enum event_kind kind)
{
    return kind != ARRIVAL && kind != WRITTEN && kind != NEMESIS;
}

static void happen(struct event *event)
{
    const struct sidecar *sidecar = &world.sidecars[event->sidecar];

    if (is_sidecars(event->kind) && sidecar->stopped_until_us > world.now_us) {
        push(event, sidecar->stopped_until_us);
        return;
    }
    switch (event->kind) {
    case START:
        if (!world.is_ending)
            client_start(event->client);
        break;
    case ARRIVAL:
        on_arrival(event);
        break;
    case REPLY:
        if (event->connection == sidecar->connection)
            client_on_reply(event);
        break;
    case OVERDUE:
        client_on_overdue(event);
        break;
    case MESSAGE:
        client_on_message(event);
        break;
    case WRITTEN:
        on_written(event);
        break;
    case NEMESIS:
        if (!world.is_ending)
            on_nemesis();
        break;
    default:
        client_on_timer(event);
    }
}

/*
 * A run
 */

static void check_times_to_live(void)
{
    static const char text[] =
        "for i = 0, 4 do for _, part in ipairs{'h', 'q', 'r'} do\n"
        "    if redis.call('PTTL', 'lk:lock:{k' .. i .. '}:' .. part) == -1 then return 1 end\n"
        "end end\n"
        "return 0";

    if (ask_store(text) != 0)
        simulation_failed(NULL, "a key lives for ever");
}

/* Once everybody has gone, nothing is held and nobody waits; later, nothing is left. */
static void check_end(void)
{
    static const char live[] =
        "local count = 0\n"
        "for i = 0, 4 do\n"
        "    count = count + redis.call('EXISTS', 'lk:lock:{k' .. i .. '}:q')\n"
        "        + redis.call('ZCARD', 'lk:lock:{k' .. i .. '}:h')\n"
        "end\n"
        "return count";
    static const char left[] =
        "local count = 0\n"
        "for i = 0, 4 do for _, part in ipairs{'h', 'q', 'r'} do\n"
        "    count = count + redis.call('EXISTS', 'lk:lock:{k' .. i .. '}:' .. part)\n"
        "end end\n"
        "return count";
    struct lock_asker nobody = {.id = "x-nobody00", .key_count = 1, .channel = "w0", .permits = 1};
    int64_t token;

    world.now_us += 60 * SECOND;
    for (size_t i = 0; i < MIRROR_KEYS; i++) {
        nobody.keys[0] = key_names[i];
        mirror_begin(&world.mirror, (int64_t)store_clock(NULL));
        CHECK(lock_renew(run_script, &nobody, &token) == RENEW_GONE);
        lock_release(run_script, &nobody, 0);
        nobody.intent = "w";
        nobody.lease_us = 1;
        CHECK(lock_admit(run_script, &nobody).state == ADMIT_HELD);
        lock_release(run_script, &nobody, 1);
    }
    if (ask_store(live) != 0)
        simulation_failed(NULL, "somebody still holds or waits in the end");
    world.now_us += 2 * 3600 * SECOND;
    if (ask_store(left) != 0)
        simulation_failed(NULL, "keys are left over");
}

/* So that a run that never got into trouble is not taken for a good one. */
static void check_coverage(void)
{
    const struct mirror *mirror = &world.mirror;
    const uint64_t counts[] = {world.worked,       world.gave_up,        world.crashed,
                               world.stopped,      world.emptied,        world.jumped,
                               world.lost,         world.lapsed,         mirror->message_grants,
                               mirror->duplicates, mirror->stale_writes, mirror->lapses_taken,
                               mirror->revivals};

    for (size_t i = 0; i < COUNT_OF(counts); i++)
        if (counts[i] == 0)
            simulation_failed(NULL, "count %zu of what should have happened is 0", i);
}

static void print_summary(void)
{
    const struct mirror *mirror = &world.mirror;

    printf("ok      seed %" PRIu64 ", %" PRIu64 " steps, %.0f s: %" PRIu64 " grants (%" PRIu64
           " by hand-over), %" PRIu64 " asked twice, %" PRIu64 " worked, %" PRIu64 " gave up\n",
           world.seed, world.steps, (double)(world.now_us - START_US) / 1e6, mirror->grants,
           mirror->message_grants, mirror->duplicates, world.worked, world.gave_up);
    printf("        %" PRIu64 " stops, %" PRIu64 " crashes, %" PRIu64
           " calls without reply, the store's clock moved %" PRIu64 " and stepped %" PRIu64
           " times, the store emptied %" PRIu64 " times\n",
           world.stopped, world.crashed, world.lost, world.jumped, world.stepped, world.emptied);
    printf("        %" PRIu64 " holds lapsed, %" PRIu64 " of them taken, %" PRIu64
           " stale writes refused\n",
           world.lapsed, mirror->lapses_taken, mirror->stale_writes);
}

/* The script with the mutant's change, wherever a part that has it is included. */
static void change_script(const struct lock_mutant *mutant)
{
    const char *rest = script_get(mutant->script)->text.at, *at;
    char *changed = mem_alloc(4 * strlen(rest)), *out = changed;

    while ((at = strstr(rest, mutant->from)) != NULL) {
        out += sprintf(out, "%.*s%s", (int)(at - rest), rest, mutant->to);
        rest = at + strlen(mutant->from);
    }
    if (out == changed) {
        fprintf(stderr, "%s does not fit the script any more\n", mutant->name);
        _exit(2);
    }
    sprintf(out, "%s", rest);
    world.changed[mutant->script] = slice_of(changed);
}

static void simulate(uint64_t seed, uint64_t steps, const struct lock_mutant *mutant)
{
    struct event event = {.kind = NEMESIS, .client = CLIENTS};

    world.seed = seed;
    world.random = seed * 0x9e3779b97f4a7c15ull | 1;
    world.now_us = START_US;
    world.mirror.epoch = 1;
    world.mutant = mutant;
    if (mutant != NULL && mutant->from != NULL)
        change_script(mutant);
    arena_init(&world.arena, NULL);
    empty_store();
    push(&event, world.now_us);
    for (unsigned i = 0; i < CLIENTS; i++) {
        world.clients[i].sidecar = i % SIDECARS;
        client_rest(i);
    }
    while (world.event_count > 0) {
        event = pop();
        if (event.at_us > world.now_us)
            world.now_us = event.at_us;
        happen(&event);
        if (++world.steps >= steps)
            world.is_ending = true;
        if (world.steps % 5000 == 0)
            check_times_to_live();
    }
    check_end();
    embedded_unref(&world.embedded);
    arena_clear(&world.arena);
    free((void *)(uintptr_t)(mutant != NULL && mutant->from != NULL
                                 ? world.changed[mutant->script].at
                                 : NULL));
}

/* In a process of its own, as it ends in failure. */
static bool is_found(const struct lock_mutant *mutant, uint64_t seed)
{
    pid_t child = fork();
    int status;

    CHECK(child >= 0);
    if (child == 0) {
        if (freopen("/dev/null", "w", stdout) == NULL)
            _exit(2);
        simulate(seed, MUTANT_STEPS, mutant);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

/* Some do harm only when several things happen at a time: not with every seed. */
static int run_mutants(uint64_t seed)
{
    int missed = 0;

    for (size_t i = 0; i < COUNT_OF(lock_mutants); i++) {
        uint64_t tried = 0;
        bool found = false;

        while (!found && tried < MUTANT_RUNS)
            found = is_found(&lock_mutants[i], seed + tried++);
        printf("%s %s in %" PRIu64 " runs from seed %" PRIu64 "\n",
               found ? "ok      found" : "FAILED  nothing found with", lock_mutants[i].name, tried,
               seed);
        fflush(stdout);
        missed += !found;
    }
    return missed > 0;
}

static const struct lock_mutant *find_mutant(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(lock_mutants); i++)
        if (strcmp(lock_mutants[i].name, name) == 0)
            return &lock_mutants[i];
    fprintf(stderr, "no mutant is called %s\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    const struct lock_mutant *mutant = NULL;
    uint64_t seed = (uint64_t)time(NULL), steps = DEFAULT_STEPS;
    bool are_mutants = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--mutants") == 0)
            are_mutants = true;
        else if (i + 1 == argc)
            return 2;
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--steps") == 0)
            steps = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--mutant") == 0)
            mutant = find_mutant(argv[++i]);
        else
            return 2;
    }
    /* At once, as a failed CHECK says nothing of it. */
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    if (are_mutants)
        return run_mutants(seed);
    simulate(seed, steps, mutant);
    if (steps >= DEFAULT_STEPS)
        check_coverage();
    print_summary();
    return 0;
}
