/* One lock, its waiters, and a fence in front of what it protects.
 *
 * Time is left out: a lease or a grant may end at any moment, so a holder may be stopped for as long as
 * you like between any two of its steps, and its bytes may be under way for as long as you like.  Each
 * script is one atomic step.  A message may be lost, so a waiter also asks by its timer.
 *
 * What must hold:
 *   safe     no write with an older token is accepted after one with a newer token
 *   awake    no script leaves the lock free while a waiter who lives is in the queue (an assertion)
 *   created  a renewal makes nobody a holder (an assertion)
 *   served   with -DLIVE and fairness: who waits does not wait for ever
 *
 * Faults that must be found: -DNO_FENCE -DCOUNTED_TOKENS -DFORGETFUL_FENCE -DRENEWAL_CREATES
 * -DQUIET_CANCEL, and with -DLIVE also -DNO_TIMER.
 *
 * CLIENTS (2 or 3), ROUNDS: how often each takes the lock, LOSSES: how often the store is emptied,
 * ENDS: how many leases and grants end by themselves (as many as you like, with LIVE). */

#ifndef CLIENTS
#define CLIENTS 3
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef ENDS
#define ENDS 3
#endif
#define NOBODY 255

/* The store.  An id is one acquisition, so each client has ROUNDS of them. */
byte holder = NOBODY;
byte queue[CLIENTS];
byte length;
byte last;   /* token given last; 0: the store knows nothing of the lock */
byte lowest; /* token the fence accepts */
byte clock;
byte losses, ends;

byte token[CLIENTS];
bool waiting[CLIENTS];
bool told[CLIENTS]; /* a message of a hand-over has arrived */
bool dead[CLIENTS];

/* The resource. */
byte under_way[CLIENTS]; /* token of a write that was sent; 0: none */
byte newest;             /* token of the newest write that was accepted */
bool overtaken;          /* an older one was accepted after it */

/* max(last + 1, time).  Time goes on between any two grants, and while the store is emptied. */
inline take(an_id) {
    clock++;
#ifndef FORGETFUL_FENCE
    is_first = (last == 0);
#endif
#ifdef COUNTED_TOKENS
    last++;
#else
    last = (last + 1 > clock -> last + 1 : clock);
#endif
    if
    :: is_first -> lowest = last; is_first = false
    :: else
    fi;
    holder = an_id;
    token[an_id / ROUNDS] = last
}

/* Takes the entry at queue[at] out. */
inline leave_queue() {
    do
    :: at + 1 < length -> queue[at] = queue[at + 1]; at++
    :: else -> break
    od;
    length--;
    queue[length] = 0;
    at = 0
}

/* at: where id is in the queue, or length. */
inline find(id) {
    at = 0;
    do
    :: at < length && queue[at] != id -> at++
    :: else -> break
    od
}

/* To the first who lives, and a message that may be lost.  Stops at the one who asks. */
inline hand_over(asking) {
    do
    :: holder == NOBODY && length > 0 && queue[0] != asking ->
        at = 0;
        next = queue[0];
        leave_queue();
        if
        :: dead[next / ROUNDS] -> skip
        :: else ->
            take(next);
            if
            :: told[next / ROUNDS] = true
            :: skip
            fi
        fi;
        next = 0
    :: else -> break
    od
}

/* For the first time, or again: held says how it went. */
inline admit() {
    if
    :: holder == id -> held = true
    :: else ->
        hand_over(id);
        find(id);
        if
        :: holder == NOBODY && (length == 0 || queue[0] == id) ->
            if
            :: length > 0 -> leave_queue()
            :: else
            fi;
            take(id);
            held = true
        :: else ->
            held = false;
            if
            :: at == length -> queue[length] = id; length++
            :: else
            fi
        fi
    fi;
    at = 0;
    told[who] = false;
    waiting[who] = !held
}

inline let_go() {
    if
    :: holder == id -> holder = NOBODY
    :: else
    fi;
    find(id);
    if
    :: at < length -> leave_queue()
    :: else
    fi;
    at = 0;
#ifdef QUIET_CANCEL
    if
    :: !held
    :: held -> hand_over(NOBODY)
    fi;
#else
    hand_over(NOBODY);
#endif
    assert(holder != NOBODY || length == 0);
    held = false;
    waiting[who] = false
}

proctype client(byte who) {
    byte round, id, next, at;
    bool held, is_first;

    do
    :: round < ROUNDS ->
        atomic { id = who * ROUNDS + round; admit() }
        do
        :: atomic { waiting[who] && told[who] -> admit() }
#ifndef NO_TIMER
        :: atomic { waiting[who] -> admit() }
#endif
#ifdef LIVE
        :: atomic { waiting[who] && who != 0 -> let_go(); break }
        :: atomic { waiting[who] && who != 0 -> dead[who] = true; waiting[who] = false; goto end }
#else
        :: atomic { waiting[who] -> let_go(); break }
        :: atomic { waiting[who] -> dead[who] = true; waiting[who] = false; goto end }
#endif
        :: atomic { !waiting[who] -> break }
        od;
        /* It works.  Whether it holds still is not looked at: it may be stopped right after that. */
        do
        :: atomic { held && under_way[who] == 0 -> under_way[who] = token[who]; break }
        :: atomic { held && holder == id -> break }
        :: atomic {
            held && holder != id ->
#ifdef RENEWAL_CREATES
            assert(holder == NOBODY); /* it would have taken it from somebody */
            holder = id;
#else
            held = false;
#endif
            break
           }
        :: atomic { !held -> break }
        od;
        if
        :: atomic { let_go(); round++ }
        :: atomic { dead[who] = true; goto end }
        fi
    :: else -> break
    od;
end:
    skip
}

/* Leases and grants end at any time.  The store forgets, which takes some time. */
active proctype time() {
end_time:
    do
#ifdef LIVE
    :: atomic { holder != NOBODY -> holder = NOBODY }
#else
    :: atomic { holder != NOBODY && ends < ENDS -> holder = NOBODY; ends++ }
#endif
    :: atomic {
        losses < LOSSES ->
        losses++;
        clock++;
        holder = NOBODY;
        last = 0;
        lowest = 0;
        do
        :: length > 0 -> length--; queue[length] = 0
        :: else -> break
        od
       }
    od
}

/* Bytes arrive in any order, and pass the fence or not. */
active proctype resource() {
    byte who, now;

end_resource:
    do
    :: atomic {
        if
        :: under_way[0] != 0 -> who = 0
        :: under_way[1] != 0 -> who = 1
#if CLIENTS > 2
        :: under_way[2] != 0 -> who = 2
#endif
        fi;
        now = under_way[who];
        under_way[who] = 0;
        if
#ifdef NO_FENCE
        :: true ->
#else
        :: now > last || now < lowest -> skip /* never issued, or stale */
        :: else ->
#endif
            overtaken = overtaken || now < newest;
            newest = (now > newest -> now : newest);
            lowest = (now > lowest -> now : lowest)
        fi;
        now = 0;
        who = 0
       }
    od
}

init {
    byte i;

    atomic {
        do
        :: i < CLIENTS -> run client(i); i++
        :: else -> break
        od
    }
}

#ifdef LIVE
ltl served { [] (waiting[0] -> <> !waiting[0]) }
#else
ltl safe { [] !overtaken }
#endif
