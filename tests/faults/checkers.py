"""What a history must satisfy.  Each checker gives a list of problems in words; empty is good.

A history is what the service wrote down (Visit, Write in ledger.py) and what the clients saw (Outcome in
clients.py).  Tokens make every check linear in the sorted history: no search for an order is needed.
"""

import collections
import itertools

MS = 1_000_000
MANY = 10


def shorten(problems):
    """A broken lock breaks everywhere; a few examples say as much."""
    problems = list(problems)
    left_out = len(problems) - MANY
    return problems[:MANY] + ([f"... and {left_out} more"] if left_out > 0 else [])


def by_key(visits):
    keys = collections.defaultdict(list)
    for visit in visits:
        keys[visit.key].append(visit)
    return keys


def end_of(visit):
    return float("inf") if visit.exit_ns is None else visit.exit_ns


def is_reader(visit):
    return visit.method in ("GET", "HEAD")


def sweep(visits):
    """(visit, those at work when it entered), in order of entering.  An exit in the same instant as an
    enter comes first."""
    at_work = []
    for visit in sorted(visits, key=lambda one: one.enter_ns):
        at_work = [one for one in at_work if end_of(one) > visit.enter_ns]
        yield visit, at_work
        at_work.append(visit)


# ---- who may be at work together -----------------------------------------------------------------


def no_overlaps(visits):
    return shorten(f"{key}: {visit.id} entered while {at_work[0].id} was at work"
                   for key, some in by_key(visits).items() for visit, at_work in sweep(some) if at_work)


def no_writer_with_others(visits):
    return shorten(f"{key}: {visit.method} {visit.id} entered while {one.method} {one.id} was at work"
                   for key, some in by_key(visits).items() for visit, at_work in sweep(some)
                   for one in at_work if not (is_reader(visit) and is_reader(one)))


def at_most(visits, permits):
    return shorten(f"{key}: {visit.id} entered as number {len(at_work) + 1} of {permits}"
                   for key, some in by_key(visits).items() for visit, at_work in sweep(some)
                   if len(at_work) >= permits)


# ---- tokens --------------------------------------------------------------------------------------


def tokens_given(visits):
    """Every visit has one, and no two of a key have the same."""
    problems = []
    for key, some in by_key(visits).items():
        seen = {}
        for visit in some:
            if visit.token is None:
                problems.append(f"{key}: {visit.id} came without a token")
            elif visit.token in seen:
                problems.append(f"{key}: {visit.id} and {seen[visit.token]} have the same token {visit.token}")
            seen[visit.token] = visit.id
    return shorten(problems)


def tokens_rise(visits):
    """For exclusive locks: strictly, by the time of entering."""
    problems = []
    for key, some in by_key(visits).items():
        ordered = sorted(some, key=lambda one: one.enter_ns)
        for before, after in itertools.pairwise(ordered):
            if (after.token or 0) <= (before.token or 0):
                problems.append(f"{key}: {after.id} entered after {before.id}, token {after.token} after "
                                f"{before.token}")
    return shorten(problems)


def tokens_rise_around_writers(visits):
    """Readers at work together enter in any order; a writer is above all before it, and below all after."""
    problems = []
    for key, some in by_key(visits).items():
        highest, highest_writer = 0, 0
        for visit in sorted(some, key=lambda one: one.enter_ns):
            token = visit.token or 0
            if token <= (highest_writer if is_reader(visit) else highest):
                problems.append(f"{key}: {visit.method} {visit.id} has token {token}, not above what was before")
            highest = max(highest, token)
            if not is_reader(visit):
                highest_writer = max(highest_writer, token)
    return shorten(problems)


# ---- the queue -----------------------------------------------------------------------------------


def first_come_first_served(visits, outcomes, tolerance_ns):
    """Tokens are given in the order of grants, so: nobody has a lower token than one who had already been
    in the queue for tolerance_ns when he sent his request.

    Somebody asks for the lock, at the latest, when he enters less the wait that Lock-Status gives him; he
    cannot have asked before he sent the request.  The tolerance covers a request's way from there to the
    script in Redis.  Only those who were served are compared; who left or died is not among them."""
    known = {one.id: one for one in outcomes}
    problems = []
    for key, some in by_key(visits).items():
        latest_sent, latest = 0, None
        for visit in sorted(some, key=lambda one: one.token or 0):
            outcome = known.get(visit.id)
            if outcome is None:
                continue
            if outcome.wait_ms is not None:
                asked_by = visit.enter_ns - outcome.wait_ms * MS + MS
                if latest_sent > asked_by + tolerance_ns:
                    problems.append(f"{key}: {visit.id} asked {(latest_sent - asked_by) / MS:.0f} ms before "
                                    f"{latest} came, and was served after it")
            if outcome.sent_ns > latest_sent:
                latest_sent, latest = outcome.sent_ns, visit.id
    return shorten(problems)


def refused_in_time(outcomes, slack_ns):
    """Who was refused, or answered anything, was not kept longer than his wait and the slack."""
    return shorten(f"{one.id} was refused ({one.status}) after {(one.done_ns - one.sent_ns) / MS:.0f} ms; "
                   f"its wait is {one.wait_limit_ms} ms"
                   for one in outcomes if one.status == 423 and
                   one.done_ns - one.sent_ns > one.wait_limit_ms * MS + slack_ns)


def answers_are_true(visits, outcomes):
    """A success was executed once; what says "executed: no" never, and so does every refusal of the lock
    itself; anything once at most."""
    count = collections.Counter(visit.id for visit in visits)
    problems = [f"{name} was executed {times} times" for name, times in count.items() if times > 1]
    for one in outcomes:
        times = count[one.id]
        if one.status == 200 and times != 1:
            problems.append(f"{one.id} was answered 200 and executed {times} times")
        elif one.executed == "no" and times != 0:
            problems.append(f"{one.id} was refused with {one.status} as not executed, and executed {times} times")
        elif one.status in (423, 428, 429) and one.executed != "no":
            problems.append(f"{one.id} was refused with {one.status}, executed: {one.executed}")
    return shorten(problems)


# ---- the state -----------------------------------------------------------------------------------


def stale_bytes(visits, writes):
    """How many bytes with an older token reached the state of a key after a newer one had entered."""
    moments = [(visit.enter_ns, 0, visit.key, visit.token or 0, 0) for visit in visits]
    moments += [(write.time_ns, 1, write.key, write.token or 0, write.size) for write in writes]
    newest, count = collections.defaultdict(int), 0
    for _time_ns, _kind, key, token, size in sorted(moments):
        if token < newest[key]:
            count += size
        newest[key] = max(newest[key], token)
    return count


# ---- what is left in Redis -----------------------------------------------------------------------


def queued_keys(client):
    """Queues that are not empty (Redis removes empty ones)."""
    return list(client.scan_iter(match="*:lock:*:q", count=1000))


def held_keys(client):
    return list(client.scan_iter(match="*:lock:*:h", count=1000))


def immortal_keys(client):
    """Keys without a time to live."""
    return [key for key in client.scan_iter(count=1000) if client.ttl(key) == -1]
