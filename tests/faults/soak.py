"""The load of the safety checker: many clients, few keys, random work, random impatience."""

import asyncio
import collections
import random
import time

import checkers
from clients import Client, Control, Outcome, describe_waits
from harness import wait_until
from world import lock_policy, locked

PERMITS = 3
# From the client's request to the script in Redis: what first_come_first_served allows.
TOLERANCE_NS = 100 * checkers.MS
# Beyond its wait, before a refusal is with the client.
SLACK_NS = 100 * checkers.MS


class Kind:
    """A route of the soak.  share: how many of 100 clients' requests go to it."""

    def __init__(self, name, key_count, wait_ms, share, methods=("POST",), **lock):
        self.name, self.key_count, self.wait_ms, self.share, self.methods = name, key_count, wait_ms, share, methods
        self.lock = lock

    def route(self):
        lock = {"lease": "5s", "queue_max": 1000, "expose": "token", **self.lock}
        return locked(f"/{self.name}/{{key}}", f"{self.name}:{{path.key}}", wait=f"{self.wait_ms}ms", **lock)


# 20 keys.
KINDS = [
    Kind("x", 8, 5000, 40),
    Kind("hasty", 2, 150, 15),
    Kind("rw", 5, 5000, 25, methods=("GET", "GET", "GET", "PUT"), mode="by_method"),
    # Tokens of several holders are no good to a fence, so the service is not given them.
    Kind("p", 4, 5000, 15, permits=PERMITS, fencing="off"),
    # The connection to the service is cut with the client's; the service may still be writing, so the
    # lock lapses.
    Kind("cut", 1, 2000, 5, on_client_abort="abort", lease="1600ms"),
]


class Load:
    def __init__(self, addresses, seconds, client_count, seed, kinds=KINDS):
        self.addresses, self.seconds, self.client_count, self.seed = addresses, seconds, client_count, seed
        self.kinds = kinds
        self.outcomes, self.late_ns = [], 0

    def pick(self, chance, name):
        kind = chance.choices(self.kinds, [one.share for one in self.kinds])[0]
        work_ms = min(chance.expovariate(1 / 4), 40)
        outcome = Outcome(name, f"/{kind.name}/k{chance.randrange(kind.key_count)}?ms={work_ms:.1f}",
                          chance.choice(kind.methods), chance.randrange(len(self.addresses)),
                          wait_limit_ms=kind.wait_ms)
        fields = []
        if chance.random() < 0.05:
            fields, outcome.wait_limit_ms = ["Prefer: wait=0"], 0
        leave_after_s = chance.uniform(0, 0.15) if chance.random() < 0.08 else None
        return outcome, leave_after_s, fields

    async def client(self, number, deadline):
        chance, client = random.Random(f"{self.seed}-{number}"), Client(self.addresses)
        turn = 0
        try:
            while time.monotonic() < deadline:
                outcome, leave_after_s, fields = self.pick(chance, f"c{number}-{turn}")
                self.outcomes.append(await client.ask(outcome, leave_after_s, fields))
                turn += 1
                if outcome.status == 0 and not outcome.has_left:
                    await asyncio.sleep(0.02)  # nobody is there; no need to ask ten thousand times
        finally:
            client.close()

    async def run_all(self):
        control = Control(self.addresses)
        deadline = time.monotonic() + self.seconds
        await asyncio.wait_for(asyncio.gather(*(self.client(i, deadline) for i in range(self.client_count))),
                               self.seconds + 60)
        self.late_ns = await control.stop()

    def run(self):
        asyncio.run(self.run_all())
        return self


def soak_policy(ledger, redis_server, kinds=KINDS):
    plain = {"name": "plain", "match": {"path": "/plain/{any}"}}
    return lock_policy(ledger.url, redis_server.url, [kind.route() for kind in kinds] + [plain])


def kind_of(visits, *names):
    return [visit for visit in visits if visit.key.split("/")[0] in names]


def with_told_tokens(visits, outcomes):
    """For locks without fencing: the token that Lock-Status told the client."""
    told = {one.id: one.token for one in outcomes}
    return [visit._replace(token=told.get(visit.id)) for visit in visits]


def told_as_given(visits, outcomes):
    """The client and the service were told the same token."""
    told = with_told_tokens(visits, outcomes)
    return checkers.shorten(f"{one.id} was told token {other.token}, and the service {one.token}"
                            for one, other in zip(visits, told) if other.token not in (None, one.token))


def check_history(visits, load):
    """Everything the safety checker demands of who worked when."""
    visits = kind_of(visits, *(kind.name for kind in load.kinds))
    executed, all_permits = visits, kind_of(visits, "p")
    permits = with_told_tokens(all_permits, load.outcomes)
    # Who left was told nothing, so he cannot be compared.
    permits = [visit for visit in permits if visit.token is not None]
    visits = [visit for visit in visits if not visit.key.startswith("p/")] + permits
    exclusive = kind_of(visits, "x", "hasty", "cut")
    shared = kind_of(visits, "rw")
    # What requests without a lock took at worst at the same time is not the locks' doing; one with a lock
    # waits for its turn on the CPUs twice, as the store does, too.
    late_ns = 2 * load.late_ns
    return (checkers.no_overlaps(exclusive) + checkers.tokens_rise(exclusive)
            + checkers.no_writer_with_others(shared) + checkers.tokens_rise_around_writers(shared)
            + checkers.at_most(all_permits, PERMITS)
            + checkers.tokens_given(visits)
            + checkers.first_come_first_served(visits, load.outcomes, TOLERANCE_NS + late_ns)
            + checkers.refused_in_time(load.outcomes, SLACK_NS + late_ns)
            + checkers.answers_are_true(executed, load.outcomes)
            + told_as_given(visits, load.outcomes))


def wait_queues_empty(redis_server, lease_s=5):
    with redis_server.client() as client:
        wait_until(lambda: not checkers.queued_keys(client), 30, "the queues are empty", every_s=0.05)
        wait_until(lambda: not checkers.held_keys(client) or holders_lapsed(client), lease_s + 2,
                   "nobody holds a lock", every_s=0.1)
        assert checkers.immortal_keys(client) == []


def holders_lapsed(client):
    """Holders that left without a release are dropped by whoever comes next; nobody does now."""
    seconds, micros = client.time()
    now_us = seconds * 1_000_000 + micros
    return all(client.zcount(key, now_us, "+inf") == 0 for key in checkers.held_keys(client))


def summary(load, visits):
    count = collections.Counter(str(one.status) if one.status else "left" if one.has_left else "cut off"
                                for one in load.outcomes)
    waits = [one.wait_ms / 1000 for one in load.outcomes if one.status == 200 and one.wait_ms is not None]
    return (f"{len(load.outcomes)} requests in {load.seconds} s, {len(visits)} executed; "
            + ", ".join(f"{name}: {number}" for name, number in sorted(count.items()))
            + f"; waits: {describe_waits(waits)}; without a lock a request took {load.late_ns / 1e6:.0f} ms at worst")
