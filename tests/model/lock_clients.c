/* What the clients of the simulated sidecars do: they ask, wait, work, renew and release as
 * lua/README.md says that callers must. */
#include "model/simulation.h"

/*
 * Clients: what they send
 */

static void send_call(unsigned sidecar, const struct event *call)
{
    struct sidecar *s = &world.sidecars[sidecar];
    struct event event = *call;
    int64_t arrives_us = world.now_us + latency();

    event.kind = ARRIVAL;
    event.sidecar = sidecar;
    event.connection = s->connection;
    event.sent_us = world.now_us;
    if (arrives_us <= s->last_arrival_us)
        arrives_us = s->last_arrival_us + 1;
    s->last_arrival_us = arrives_us;
    push(&event, arrives_us);
    event.kind = OVERDUE;
    push(&event, world.now_us + TIMEOUT);
}

static void call_store(unsigned number, enum call_kind kind)
{
    struct client *client = &world.clients[number];
    struct acquisition *a = client->acquisition;
    struct event event = {.call = kind, .client = number, .acquisition = a, .number = a->number};

    client->pending = event.serial = ++world.serial;
    event.asked = a->asker;
    send_call(client->sidecar, &event);
}

/* Nobody waits for the answer, but it is sent again when none comes. */
static void let_go(unsigned sidecar, struct acquisition *a, int64_t token, unsigned tries)
{
    struct event event = {.call = CALL_RELEASE,
                          .client = CLIENTS,
                          .acquisition = a,
                          .number = a->number,
                          .token = token,
                          .tries = tries};

    event.asked = a->asker;
    event.serial = world.sidecars[sidecar].life;
    send_call(sidecar, &event);
}

static void set_timer(unsigned number, enum event_kind kind, int64_t at_us)
{
    struct client *client = &world.clients[number];
    struct event event = {.kind = kind,
                          .client = number,
                          .sidecar = client->sidecar,
                          .acquisition = client->acquisition,
                          .number = client->acquisition->number};

    if (kind == LOOK)
        client->timer = event.serial = ++world.serial;
    push(&event, at_us);
}

void client_rest(unsigned number)
{
    struct event event = {
        .kind = START, .client = number, .sidecar = world.clients[number].sidecar};

    world.clients[number].state = IDLE;
    world.clients[number].acquisition = NULL;
    push(&event, world.now_us + between(0, chance(100) ? SECOND : 60 * MS));
}

static void give_up(unsigned number)
{
    struct client *client = &world.clients[number];

    world.gave_up++;
    let_go(client->sidecar, client->acquisition, 0, 0);
    client_rest(number);
}

/* Which keys, and how. */
static char choose_locks(struct acquisition *a)
{
    static const struct {
        size_t key_count, keys[MIRROR_MAX_KEYS_PER_REQUEST];
        unsigned shared_in_thousand;
        int64_t permits, delay_us;
    } kinds[] = {{1, {0, 0}, 0, 1, 0},   {1, {1, 0}, 0, 1, 0},
                 {2, {0, 1}, 0, 1, 0},   {1, {2, 0}, 700, 1, 0},
                 {1, {2, 0}, 700, 1, 0}, {2, {1, 2}, 500, 1, 0},
                 {1, {3, 0}, 0, 3, 0},   {1, {BROKEN_KEY, 0}, 0, 1, 500 * MS},
                 {1, {3, 0}, 0, 3, 0},   {1, {3, 0}, 200, 1, 0}};
    static const char *const names[MIRROR_KEYS] = {"k0", "k1", "k2", "k3", "k4"};
    size_t kind = pick(COUNT_OF(kinds));

    a->asker.key_count = kinds[kind].key_count;
    for (size_t i = 0; i < a->asker.key_count; i++) {
        a->key_numbers[i] = kinds[kind].keys[i];
        a->asker.keys[i] = names[kinds[kind].keys[i]];
    }
    a->asker.permits = kinds[kind].permits;
    a->asker.delay_us = kinds[kind].delay_us;
    return chance(kinds[kind].shared_in_thousand) ? 's' : 'x';
}

void client_start(unsigned number)
{
    struct client *client = &world.clients[number];
    uint64_t serial = ++world.next_number;
    struct acquisition *a = &world.acquisitions[serial % ACQUISITIONS];
    char mode;

    CHECK(!a->is_listed);
    *a = (struct acquisition){.number = serial, .first_trust = world.mirror.trust};
    mode = choose_locks(a);
    snprintf(a->id, sizeof a->id, "%c-%08" PRIx64, mode, serial);
    snprintf(a->channel, sizeof a->channel, "w%u", client->sidecar);
    a->asker.intent = "w";
    a->asker.id = a->id;
    a->asker.channel = a->channel;
    a->asker.wait_us = chance(200) ? 0 : between(10 * MS, 4 * SECOND);
    a->asker.lease_us = LEASE;
    a->asker.grant_us = GRANT;
    a->asker.heartbeat_us = HEARTBEAT;
    a->asker.queue_max = 8;
    if (chance(400)) {
        a->asker.limit_key = chance(900) ? "lk:limit" : "lk:tight";
        a->asker.limit_count = a->asker.limit_key[3] == 'l' ? MIRROR_LIMIT_COUNT : 1;
    }
    client->acquisition = a;
    client->state = ASKING;
    client->first_sent_us = world.now_us;
    client->wait_over_us = world.now_us + a->asker.wait_us;
    call_store(number, CALL_ADMIT);
}

static void believe(struct client *client, int64_t sent_us)
{
    struct acquisition *a = client->acquisition;
    int64_t from_us = is_mutant("believes-from-the-reply") ? world.now_us : sent_us;
    int64_t until_us = from_us + LEASE - (is_mutant("no-guard") ? 0 : GUARD);

    if (until_us > client->deadline_us)
        client->deadline_us = until_us;
    /* What an operator broke is the operator's business. */
    if (world.now_us >= client->deadline_us || a->was_broken)
        return;
    a->believes_until_us = client->deadline_us;
    mirror_believes(&world.mirror, a, world.now_us);
}

static void lose(unsigned number)
{
    struct client *client = &world.clients[number];

    world.lapsed++;
    client->acquisition->believes_until_us = 0;
    let_go(client->sidecar, client->acquisition, client->token, 0);
    client_rest(number);
}

static void start_work(unsigned number, int64_t sent_us, int64_t token)
{
    struct client *client = &world.clients[number];
    int64_t takes_us = chance(40) ? between(0, 3 * LEASE) : between(MS, 40 * MS);

    client->state = WORKING;
    client->token = token;
    client->deadline_us = 0;
    believe(client, sent_us);
    if (world.now_us >= client->deadline_us) {
        lose(number);
        return;
    }
    set_timer(number, DONE, world.now_us + takes_us);
    set_timer(number, RENEWAL, world.now_us + LEASE / 3);
    set_timer(number, WRITE, world.now_us + between(0, takes_us));
}

static void wait_for(unsigned number, int64_t us)
{
    struct client *client = &world.clients[number];
    int64_t at_us = world.now_us + us;

    set_timer(number, LOOK, at_us < client->wait_over_us ? at_us : client->wait_over_us);
}

/*
 * Clients: what comes back
 */

static void on_admit_reply(unsigned number, const struct event *event)
{
    struct client *client = &world.clients[number];
    struct acquisition *a = client->acquisition;

    switch (event->got.state) {
    case ADMIT_HELD:
        start_work(number, event->sent_us, event->got.token);
        break;
    case ADMIT_QUEUED:
        client->state = WAITING;
        a->asker.place = event->got.place;
        a->asker.wait_until_us = event->got.wait_until_us;
        wait_for(number, event->got.again_us);
        break;
    default:
        client_rest(number);
    }
}

static void on_renew_reply(unsigned number, const struct event *event)
{
    struct client *client = &world.clients[number];

    if (client->state == WORKING) {
        if (event->state == RENEW_HELD)
            believe(client, event->sent_us);
        else
            lose(number);
    } else if (event->state == RENEW_HELD) {
        start_work(number, event->sent_us, event->token);
    } else if (event->state == RENEW_WAITING) {
        wait_for(number, HEARTBEAT / 3);
    } else {
        call_store(number, CALL_ADMIT);
    }
}

static bool is_meant(const struct event *event)
{
    const struct client *client = &world.clients[event->client];

    return event->client < CLIENTS && client->acquisition == event->acquisition &&
           client->acquisition != NULL && client->acquisition->number == event->number;
}

void client_on_reply(const struct event *event)
{
    if (!is_meant(event) || world.clients[event->client].pending != event->serial)
        return;
    world.clients[event->client].pending = 0;
    if (event->call == CALL_ADMIT)
        on_admit_reply(event->client, event);
    else
        on_renew_reply(event->client, event);
}

/* After a first question without answer only as long as the store cannot have forgotten it. */
static bool may_ask_again(const struct client *client)
{
    int64_t until_us = client->wait_over_us;

    if (client->state == ASKING) {
        until_us = client->first_sent_us + GRANT;
        if (client->acquisition->asker.wait_us > 0 && client->wait_over_us < until_us)
            until_us = client->wait_over_us;
        until_us -= 2 * TIMEOUT;
    }
    return world.now_us < until_us;
}

void client_on_overdue(const struct event *event)
{
    struct client *client = &world.clients[event->client];

    if (event->client == CLIENTS) {
        if (event->tries < 3 && event->acquisition->number == event->number &&
            (!event->acquisition->was_let_go || chance(100)) &&
            event->serial == world.sidecars[event->sidecar].life)
            let_go(event->sidecar, event->acquisition, event->token, event->tries + 1);
        return;
    }
    if (!is_meant(event) || client->pending != event->serial)
        return;
    world.lost++;
    client->pending = 0;
    if (client->state == WORKING) {
        if (world.now_us < client->deadline_us)
            call_store(event->client, CALL_RENEW);
    } else if (may_ask_again(client)) {
        call_store(event->client, CALL_ADMIT);
    } else {
        give_up(event->client);
    }
}

static void look_again(unsigned number)
{
    struct client *client = &world.clients[number];

    if (client->pending != 0)
        return; /* its end, or its being overdue, goes on */
    if (world.now_us >= client->wait_over_us)
        give_up(number);
    else
        call_store(number, client->acquisition->asker.key_count == 1 && chance(500) ? CALL_RENEW
                                                                                    : CALL_ADMIT);
}

static void on_done(unsigned number)
{
    struct client *client = &world.clients[number];
    struct acquisition *a = client->acquisition;

    if (world.now_us >= client->deadline_us) {
        lose(number);
        return;
    }
    world.worked++;
    if (chance(20)) { /* its own client left; the service may still be at work, so it lapses */
        client_rest(number);
        return;
    }
    a->believes_until_us = 0;
    let_go(client->sidecar, a, client->token, 0);
    client_rest(number);
}

static void on_renewal(unsigned number)
{
    struct client *client = &world.clients[number];

    if (world.now_us >= client->deadline_us) {
        lose(number);
        return;
    }
    if (client->pending == 0)
        call_store(number, CALL_RENEW);
    set_timer(number, RENEWAL, world.now_us + LEASE / 3);
}

/* Bytes to the service leave in time, but may arrive when the lease is over. */
static void on_write(unsigned number)
{
    struct client *client = &world.clients[number];
    struct acquisition *a = client->acquisition;
    struct event event = {.kind = WRITTEN,
                          .client = CLIENTS,
                          .acquisition = a,
                          .number = a->number,
                          .token = client->token,
                          .key_number = a->key_numbers[pick(a->asker.key_count)]};

    if (world.now_us < client->deadline_us)
        push(&event, world.now_us + (chance(100) ? between(0, 3 * LEASE) : latency()));
}

void client_on_timer(const struct event *event)
{
    const struct client *client = &world.clients[event->client];

    if (!is_meant(event))
        return;
    if (event->kind == LOOK) {
        if (client->state == WAITING && client->timer == event->serial)
            look_again(event->client);
    } else if (client->state == WORKING) {
        if (event->kind == DONE)
            on_done(event->client);
        else if (event->kind == RENEWAL)
            on_renewal(event->client);
        else
            on_write(event->client);
    }
}

void client_on_message(const struct event *event)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        if (world.clients[i].acquisition == event->acquisition &&
            world.clients[i].state == WAITING && event->acquisition->number == event->number &&
            world.clients[i].pending == 0)
            look_again(i);
}
