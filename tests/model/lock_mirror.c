#include "model/lock_mirror.h"

static bool is_shared(const struct acquisition *a)
{
    return a->id[0] == 's';
}

static bool is_alone(const struct acquisition *a)
{
    return !is_shared(a) && a->asker.permits == 1;
}

static bool uses(const struct acquisition *a, size_t key_number)
{
    for (size_t i = 0; i < a->asker.key_count; i++)
        if (a->key_numbers[i] == key_number)
            return true;
    return false;
}

static bool shares_a_key(const struct acquisition *a, const struct acquisition *b)
{
    for (size_t i = 0; i < a->asker.key_count; i++)
        if (uses(b, a->key_numbers[i]))
            return true;
    return false;
}

static void list_it(struct mirror *mirror, struct acquisition *a)
{
    if (a->is_listed)
        return;
    CHECK(mirror->listed_count < COUNT_OF(mirror->listed));
    mirror->listed[mirror->listed_count++] = a;
    a->is_listed = true;
}

static bool closes(const struct mirror *mirror, const struct acquisition *a)
{
    return (a->state == MIRROR_GRANTED || a->state == MIRROR_HOLDING) &&
           a->closed_until_us > mirror->now_us;
}

static bool holds(const struct mirror *mirror, const struct acquisition *a)
{
    return closes(mirror, a) && a->held_until_us > mirror->now_us;
}

static bool waits(const struct mirror *mirror, const struct acquisition *a)
{
    return a->state == MIRROR_WAITING && a->alive_until_us > mirror->now_us &&
           a->wait_until_us > mirror->now_us;
}

static bool is_before(const struct acquisition *a, const struct acquisition *b)
{
    return a->place < b->place || (a->place == b->place && strcmp(a->id, b->id) < 0);
}

/* Whether a may hold this key beside those who do. */
static bool has_room(const struct mirror *mirror, const struct acquisition *a, size_t key_number)
{
    int64_t beside = 0;

    for (size_t i = 0; i < mirror->listed_count; i++) {
        const struct acquisition *other = mirror->listed[i];

        if (other == a || !uses(other, key_number) || !closes(mirror, other))
            continue;
        if (is_shared(other) != is_shared(a) || is_alone(other))
            return false;
        beside++;
    }
    return is_shared(a) || beside < a->asker.permits;
}

/* The store need not remember for ever those whose time is over long ago. */
void mirror_begin(struct mirror *mirror, int64_t now_us)
{
    size_t kept = 0;

    mirror->now_us = now_us;
    mirror->granted_count = 0;
    for (size_t i = 0; i < mirror->listed_count; i++) {
        struct acquisition *a = mirror->listed[i];
        bool is_over =
            a->closed_until_us < now_us - 30000000 && a->alive_until_us < now_us - 30000000;

        if (is_over || (a->state == MIRROR_UNKNOWN && (a->was_let_go || a->token == 0)))
            a->is_listed = false;
        else
            mirror->listed[kept++] = a;
    }
    mirror->listed_count = kept;
}

int64_t mirror_last_end(const struct mirror *mirror)
{
    int64_t last_us = mirror->now_us - 60000000;

    for (size_t i = 0; i < mirror->listed_count; i++) {
        const struct acquisition *a = mirror->listed[i];
        const int64_t ends_us[] = {a->closed_until_us, a->held_until_us, a->wait_until_us,
                                   a->alive_until_us};

        for (size_t j = 0; j < COUNT_OF(ends_us); j++)
            if (ends_us[j] <= mirror->now_us && ends_us[j] > last_us)
                last_us = ends_us[j];
    }
    return last_us;
}

/*
 * Grants
 */

static void check_tokens(struct mirror *mirror, const struct acquisition *a, int64_t token)
{
    if ((token % 2 == 0) != is_alone(a))
        simulation_failed(a, "token %" PRId64 " does not tell who holds it", token);
    for (size_t i = 0; i < a->asker.key_count; i++) {
        int64_t *last = &mirror->last_token[a->key_numbers[i]];

        if (token <= *last)
            simulation_failed(a, "token %" PRId64 " after %" PRId64, token, *last);
        *last = token;
    }
}

static void check_order(const struct mirror *mirror, const struct acquisition *a, bool was_waiting)
{
    for (size_t i = 0; i < mirror->listed_count; i++) {
        const struct acquisition *other = mirror->listed[i];

        if (other != a && waits(mirror, other) && shares_a_key(a, other) &&
            (!was_waiting || is_before(other, a)))
            simulation_failed(a,
                              "it overtakes %s, which waits at place %" PRId64 " before %" PRId64,
                              other->id, other->place, a->place);
    }
}

static void note_lapsed(struct mirror *mirror, const struct acquisition *a)
{
    for (size_t i = 0; i < mirror->listed_count; i++) {
        struct acquisition *other = mirror->listed[i];

        if (other == a || other->was_let_go || other->token == 0 || closes(mirror, other) ||
            !shares_a_key(a, other))
            continue;
        if (!is_shared(a) || !is_shared(other))
            other->was_taken = true;
    }
}

static void grant(struct mirror *mirror, struct acquisition *a, int64_t token, bool was_waiting)
{
    check_tokens(mirror, a, token);
    check_order(mirror, a, was_waiting);
    for (size_t i = 0; i < a->asker.key_count; i++)
        if (!has_room(mirror, a, a->key_numbers[i]))
            simulation_failed(a, "key %zu is given while it is closed", a->key_numbers[i]);
    note_lapsed(mirror, a);
    a->token = token;
    a->was_taken = a->was_broken = false;
    mirror->grants++;
    list_it(mirror, a);
}

void mirror_granted(struct mirror *mirror, struct acquisition *a, int64_t token, int64_t grant_us)
{
    size_t at = mirror->granted_count++;

    CHECK(at < COUNT_OF(mirror->granted));
    mirror->granted[at].acquisition = a;
    mirror->granted[at].token = token;
    mirror->granted[at].grant_us = grant_us;
}

/* Those granted by messages, in order, up to a token: the one who asks had its turn among them. */
static void hand_over(struct mirror *mirror, int64_t below)
{
    size_t done = 0;

    for (; done < mirror->granted_count && mirror->granted[done].token < below; done++) {
        struct acquisition *a = mirror->granted[done].acquisition;

        if (!waits(mirror, a))
            simulation_failed(a, "it is granted a lock, but does not wait or is dead");
        if (a->asker.key_count > 1)
            simulation_failed(a, "it is granted one of several locks");
        grant(mirror, a, mirror->granted[done].token, true);
        mirror->message_grants++;
        a->state = MIRROR_GRANTED;
        a->held_until_us = a->closed_until_us = mirror->now_us + mirror->granted[done].grant_us;
    }
    mirror->granted_count -= done;
    memmove(mirror->granted, mirror->granted + done,
            mirror->granted_count * sizeof mirror->granted[0]);
}

/* Asked or renewed once more by one who was granted it: held on, also past its end, if nobody came
 * between. */
static void hold_on(struct mirror *mirror, struct acquisition *a)
{
    if (holds(mirror, a))
        return;
    if (a->was_taken || a->was_broken || a->was_let_go)
        simulation_failed(a, "it holds again what is not its own any more");
    for (size_t i = 0; i < a->asker.key_count; i++)
        if (!has_room(mirror, a, a->key_numbers[i]))
            simulation_failed(a, "it holds key %zu again, which is closed", a->key_numbers[i]);
    mirror->revivals++;
}

static bool was_granted(const struct acquisition *a)
{
    return a->state == MIRROR_GRANTED || a->state == MIRROR_HOLDING;
}

/*
 * After a script
 */

/* Whoever is first, lives, and has room must not sleep on. */
static void check_nobody_sleeps(const struct mirror *mirror, const struct acquisition *a)
{
    for (size_t k = 0; k < a->asker.key_count; k++) {
        size_t key_number = a->key_numbers[k];
        const struct acquisition *first = NULL;

        for (size_t i = 0; i < mirror->listed_count; i++) {
            const struct acquisition *other = mirror->listed[i];

            if (uses(other, key_number) && waits(mirror, other) &&
                (first == NULL || is_before(other, first)))
                first = other;
        }
        if (first != NULL && first->asker.key_count == 1 && has_room(mirror, first, key_number))
            simulation_failed(first, "it is first, key %zu is free, and it was not granted (by %s)",
                              key_number, a->id);
    }
}

static void check_charge(struct mirror *mirror, struct acquisition *a,
                         const struct lock_asker *asked, const struct lock_admitted *got)
{
    bool is_new = asked->place == 0 && a->charged_epoch != mirror->epoch;

    if (asked->limit_key == NULL || asked->limit_count != MIRROR_LIMIT_COUNT)
        return;
    if (is_new && got->state >= ADMIT_QUEUED) {
        mirror->used++;
        a->charged_epoch = mirror->epoch;
    }
    /* What was forgotten before its time, or is asked twice at a time, may be charged twice. */
    if (a->may_be_late || a->was_broken || a->first_trust != mirror->trust)
        mirror->used = MIRROR_LIMIT_COUNT - got->remaining;
    if (got->remaining != MIRROR_LIMIT_COUNT - mirror->used)
        simulation_failed(a, "%" PRId64 " charged instead of %" PRId64,
                          MIRROR_LIMIT_COUNT - got->remaining, mirror->used);
}

static bool could_take(const struct mirror *mirror, const struct acquisition *a)
{
    for (size_t i = 0; i < mirror->listed_count; i++) {
        const struct acquisition *other = mirror->listed[i];

        if (other != a && waits(mirror, other) && shares_a_key(a, other) && is_before(other, a))
            return false;
    }
    for (size_t i = 0; i < a->asker.key_count; i++)
        if (!has_room(mirror, a, a->key_numbers[i]))
            return false;
    return true;
}

void mirror_admitted(struct mirror *mirror, struct acquisition *a, const struct lock_asker *asked,
                     const struct lock_admitted *got)
{
    bool was_holding = holds(mirror, a), is_again = false;

    check_charge(mirror, a, asked, got);
    if (got->state == ADMIT_HELD) {
        hand_over(mirror, got->token);
        is_again = was_granted(a) && got->token == a->token;
        if (is_again) {
            hold_on(mirror, a);
            mirror->duplicates++;
        } else {
            grant(mirror, a, got->token, a->state == MIRROR_WAITING || asked->place > 0);
        }
        a->state = MIRROR_HOLDING;
        a->epoch = mirror->epoch;
        a->trust = mirror->trust;
        a->held_until_us = mirror->now_us + asked->lease_us;
        a->closed_until_us = a->held_until_us + asked->delay_us;
    } else if (got->state == ADMIT_QUEUED) {
        if (was_holding)
            simulation_failed(a, "it holds, and is told to wait");
        /* Before it stood in the queue, maybe at an earlier place, if the clock has stepped back.
         */
        if (a->state != MIRROR_WAITING)
            hand_over(mirror, INT64_MAX);
        if (asked->place > 0 && got->place != asked->place)
            simulation_failed(a, "its place was %" PRId64 ", and now is %" PRId64, asked->place,
                              got->place);
        a->state = MIRROR_WAITING;
        a->place = got->place;
        a->wait_until_us = got->wait_until_us;
        a->alive_until_us = mirror->now_us + asked->heartbeat_us;
        list_it(mirror, a);
    } else if (got->state == ADMIT_DENIED) {
        if (asked->limit_count == MIRROR_LIMIT_COUNT)
            simulation_failed(a, "a limit denies that has plenty");
        return; /* the locks were not touched */
    } else {
        a->state = MIRROR_UNKNOWN;
    }
    hand_over(mirror, INT64_MAX);
    if (is_again)
        return; /* then only its lease was renewed */
    check_nobody_sleeps(mirror, a);
    if (a->state == MIRROR_WAITING && could_take(mirror, a))
        simulation_failed(a, "its locks are free, it is first, and is told to wait");
}

void mirror_renewed(struct mirror *mirror, struct acquisition *a, int64_t state, int64_t token)
{
    if (state == RENEW_HELD) {
        if (!was_granted(a))
            simulation_failed(a, "a renewal makes a holder of it");
        hold_on(mirror, a);
        if (token != a->token)
            simulation_failed(a, "renewed with token %" PRId64 " instead of %" PRId64, token,
                              a->token);
        a->state = MIRROR_HOLDING;
        a->epoch = mirror->epoch;
        a->trust = mirror->trust;
        a->held_until_us = mirror->now_us + a->asker.lease_us;
        a->closed_until_us = a->held_until_us + a->asker.delay_us;
        return;
    }
    if (holds(mirror, a))
        simulation_failed(a, "it holds, and its renewal is refused");
    if (state == RENEW_WAITING) {
        if (a->state != MIRROR_WAITING)
            simulation_failed(a, "a renewal makes a waiter of it");
        a->alive_until_us = mirror->now_us + a->asker.heartbeat_us;
    } else if (waits(mirror, a)) {
        simulation_failed(a, "it waits, and its heartbeat is refused");
    }
    hand_over(mirror, INT64_MAX);
    check_nobody_sleeps(mirror, a);
}

void mirror_released(struct mirror *mirror, struct acquisition *a, int64_t token, int64_t verdict)
{
    bool was_holding = holds(mirror, a), was_taken = a->was_taken;
    bool is_known = a->epoch == mirror->epoch && !a->was_let_go;

    if (token > 0 && is_known && a->token == token) {
        if (was_holding && verdict != RELEASE_HELD)
            simulation_failed(a, "it held until now, but the verdict is %" PRId64, verdict);
        if (!was_holding && verdict == RELEASE_HELD)
            simulation_failed(a, "it lapsed, but the verdict is that it held");
        if ((was_taken || a->was_broken) && verdict != RELEASE_TAKEN && a->asker.permits == 1)
            simulation_failed(a, "somebody took it, but the verdict is %" PRId64, verdict);
        if (!was_holding && !was_taken && !a->was_broken && verdict != RELEASE_LAPSED &&
            a->asker.permits == 1)
            simulation_failed(a, "it lapsed and nobody took it, but the verdict is %" PRId64,
                              verdict);
        mirror->lapses_taken += verdict == RELEASE_TAKEN;
    }
    a->state = MIRROR_UNKNOWN;
    a->was_let_go = true;
    hand_over(mirror, INT64_MAX);
    check_nobody_sleeps(mirror, a);
}

void mirror_fenced(struct mirror *mirror, struct acquisition *a, size_t key_number, int64_t token,
                   int64_t verdict)
{
    int64_t *alone = &mirror->passed_alone[key_number], *any = &mirror->passed_any[key_number];

    if (verdict != FENCE_PASS) {
        mirror->stale_writes++;
        if (holds(mirror, a) && a->token == token && a->epoch == mirror->epoch)
            simulation_failed(a, "it holds the lock, and the fence refuses it");
        return;
    }
    if (token < (token % 2 == 0 ? *any : *alone))
        simulation_failed(a, "a write with token %" PRId64 " after one with %" PRId64, token,
                          token % 2 == 0 ? *any : *alone);
    if (token > *any)
        *any = token;
    if (token % 2 == 0)
        *alone = token;
}

void mirror_broken(struct mirror *mirror, size_t key_number)
{
    for (size_t i = 0; i < mirror->listed_count; i++) {
        struct acquisition *a = mirror->listed[i];

        if (uses(a, key_number) && a->token != 0 && a->state != MIRROR_WAITING &&
            a->state != MIRROR_UNKNOWN) {
            a->was_broken = true;
            a->believes_until_us = 0; /* its service is out of the game, by order */
            a->state = MIRROR_UNKNOWN;
        }
    }
    /* Its token rose, too, for nobody. */
    mirror->last_token[key_number]++;
    hand_over(mirror, INT64_MAX);
}

void mirror_emptied(struct mirror *mirror)
{
    for (size_t i = 0; i < mirror->listed_count; i++)
        mirror->listed[i]->state = MIRROR_UNKNOWN;
    mirror->epoch++;
    mirror->used = 0;
}

void mirror_believes(struct mirror *mirror, struct acquisition *a, int64_t now_us)
{
    for (size_t k = 0; k < a->asker.key_count; k++) {
        int64_t beside = 0;

        for (size_t i = 0; i < mirror->listed_count; i++) {
            const struct acquisition *other = mirror->listed[i];

            if (other == a || other->believes_until_us <= now_us || other->epoch != a->epoch ||
                other->trust != a->trust || !uses(other, a->key_numbers[k]))
                continue;
            if (is_shared(other) != is_shared(a) || is_alone(other))
                simulation_failed(a, "it works, and so does %s", other->id);
            beside++;
        }
        if (!is_shared(a) && beside >= a->asker.permits)
            simulation_failed(a, "it works, and so do %" PRId64 " more", beside);
    }
}
