"""4 Lockkeepers on one Redis, 200 clients, 20 keys: who may not be at work together never is.

LOCK_SOAK_SECONDS says for how long (make soak-locks: 60)."""

import os
import random

import checkers
from soak import (KINDS, Kind, Load, check_history, kind_of, soak_policy, summary, wait_queues_empty)
from world import lock_policy

SECONDS = float(os.environ.get("LOCK_SOAK_SECONDS", "8"))
CLIENTS = 200


def test_locks_are_safe(start, ledger, redis_server):
    seed = os.environ.get("LOCK_SOAK_SEED") or str(random.randrange(10**6))
    print(f"LOCK_SOAK_SEED={seed}")
    proxies = [start(soak_policy(ledger, redis_server)) for _ in range(4)]
    load = Load([proxy.listen for proxy in proxies], SECONDS, CLIENTS, seed).run()
    ledger.wait_idle()
    visits = [visit for visit in ledger.visits() if not visit.key.startswith("plain/")]
    print(summary(load, visits))
    assert check_history(visits, load) == []
    wait_queues_empty(redis_server)
    # It was a contest on every kind of lock, not a walk.
    for kind in KINDS:
        assert len(kind_of(visits, kind.name)) > 20
    assert sum(one.status == 423 for one in load.outcomes) > 10
    assert sum(one.has_left for one in load.outcomes) > 10
    assert sum((one.wait_ms or 0) > 0 for one in load.outcomes if one.status == 200) > len(visits) / 4


def test_without_locks_the_same_load_collides(start, ledger, redis_server):
    """What the checker is for: it sees what happens when nobody keeps the locks."""
    kinds = [Kind("x", 4, 0, 50), Kind("rw", 4, 0, 25, methods=("GET", "PUT")), Kind("p", 4, 0, 25)]
    proxy = start(lock_policy(ledger.url, redis_server.url, []))
    Load([proxy.listen], 0.5, 50, "any", kinds).run()
    ledger.wait_idle()
    visits = ledger.visits()
    assert checkers.no_overlaps(kind_of(visits, "x"))
    assert checkers.no_writer_with_others(kind_of(visits, "rw"))
    assert checkers.at_most(kind_of(visits, "p"), 3)
    assert checkers.tokens_given(visits)
