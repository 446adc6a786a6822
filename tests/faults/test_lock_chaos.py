"""Everything breaks at random, behind a fence: two may believe that they hold the same lock, and still
nothing older reaches the service after something newer.  LOCK_SOAK_SECONDS as in test_lock_safety.py."""

import collections
import os
import random
import threading

import pytest

import checkers
from clients import describe_waits
from harness import Lockkeeper, wait_until
from nemesis import Nemesis
from slow_wire import SlowWire
from soak import Kind, Load, kind_of, wait_queues_empty
from world import ask, fenced, lock_policy

SECONDS = float(os.environ.get("LOCK_SOAK_SECONDS", "8"))
LEASE_MS = 1600
KINDS = [Kind("x", 4, 3000, 50, lease=f"{LEASE_MS}ms"),
         Kind("stubborn", 3, 3000, 40, lease=f"{LEASE_MS}ms", on_lost="finish"),
         Kind("hasty", 1, 100, 10, lease=f"{LEASE_MS}ms")]


class Sidecar:
    """One that may be killed and started anew; addresses[number] is always where it listens."""

    def __init__(self, directory, policy, addresses, number):
        self.directory, self.policy, self.addresses, self.number = directory, policy, addresses, number
        self.proxy, self.killed = None, []
        self.start()

    def start(self):
        self.proxy = Lockkeeper(self.directory, self.policy)
        self.addresses[self.number] = self.proxy.listen

    def restart(self):
        self.proxy.kill()
        self.killed.append(self.proxy)
        self.start()

    def end(self):
        self.proxy.stop()
        for one in self.killed:
            one.check_output()


@pytest.fixture
def fenced_sidecars(start, ledger, redis_server, tmp_path):
    """Three sidecars, one of them behind a wire that can hold replies, and a fence in front of the service."""
    plain = {"name": "plain", "match": {"path": "/plain/{any}"}}
    fence = start(lock_policy(ledger.url, redis_server.url, [
        fenced(f"/{kind.name}/{{key}}", f"{kind.name}:{{path.key}}") for kind in KINDS] + [plain]))
    wire = SlowWire(redis_server.port)
    addresses, sidecars = [None] * 3, []
    for i in range(3):
        policy = lock_policy(f"http://127.0.0.1:{fence.port}", wire.url if i == 0 else redis_server.url,
                             [kind.route() for kind in KINDS] + [plain])
        sidecars.append(Sidecar(str(tmp_path / f"sidecar-{i}"), policy, addresses, i))
    yield fence, sidecars, wire, addresses
    for one in sidecars:
        one.end()
    wire.close()


def test_chaos(fenced_sidecars, ledger, redis_server):
    fence, sidecars, wire, addresses = fenced_sidecars
    seed = os.environ.get("LOCK_SOAK_SEED") or str(random.randrange(10**6))
    print(f"LOCK_SOAK_SEED={seed}")
    nemesis = Nemesis(seed, redis_server, sidecars, wire, LEASE_MS / 1000)
    load = Load(addresses, SECONDS, 60, seed, KINDS)
    clients = threading.Thread(target=load.run)
    clients.start()
    nemesis.start()
    nemesis.stop_now.wait(SECONDS)
    nemesis.end()
    clients.join(90)
    assert not clients.is_alive(), "clients were left without an answer"
    ledger.wait_idle()
    visits = kind_of(ledger.visits(), *(kind.name for kind in KINDS))
    print(describe(load, visits, nemesis, fence))
    assert (checkers.tokens_rise(visits) + checkers.tokens_given(visits)
            + checkers.answers_are_true(visits, load.outcomes)) == []
    assert sum(one.status == 200 for one in load.outcomes) > 50
    # Everything works again, for everybody.
    for sidecar in sidecars:
        sidecar.proxy.wait_connected()
        wait_until(lambda one=sidecar: ask(one.proxy, None, "plain/again") is not None, 30, "answers")
        for kind in KINDS[:2]:
            for key in range(kind.key_count):
                assert ask(sidecar.proxy, "again", f"{kind.name}/k{key}").status == 200
    wait_queues_empty(redis_server, LEASE_MS / 1000)


def describe(load, visits, nemesis, fence):
    statuses = collections.Counter(one.status or ("left" if one.has_left else "cut off") for one in load.outcomes)
    waits = [one.seconds for one in load.outcomes if one.status == 200]
    return (f"{dict(collections.Counter(nemesis.done))}\n{dict(statuses)}; answers after {describe_waits(waits)}; "
            f"{len(checkers.no_overlaps(visits))} overlaps at work, revoked: {fence.metric('fence_revoked_total'):.0f}")
