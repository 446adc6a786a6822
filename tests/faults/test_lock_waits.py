"""How long waiters wait when others come and are never seen again, and when a thousand come at once."""

import asyncio
import os
import sys
import time

import pytest

import checkers
from clients import Client, Outcome, describe_waits, percentile
from harness import TOP, binary
from scripts import Scripts
from world import ask, lock_policy, locked

sys.path.insert(0, os.path.join(TOP, "tests", "demo"))
import seckill  # noqa: E402

@pytest.mark.parametrize("wait, prefer, waited_ms", [
    ("150ms", "wait=0", 0), ("2500ms", "wait=0", 0), ("1500ms", "wait=1", 1000), ("300ms", "wait=9", 300)])
def test_prefer_wait(start, ledger, redis_server, background, wait, prefer, waited_ms):
    """A client may ask for less than the policy's wait, and not for more."""
    proxy = start(lock_policy(ledger.url, redis_server.url,
                              [locked("/x/{key}", "x:{path.key}", wait=wait, lease="5s")]))
    background(ask, proxy, "holder", "x/k", waited_ms + 500)
    ledger.wait_visit("holder")
    answer = proxy.request("POST", "/x/k", {"Prefer": prefer})
    assert answer.status == 423
    assert answer.json()["reason"] == ("wait-timeout" if waited_ms else "locked")
    told = int(answer.header("lock-status").split("wait-ms=")[1].split(";")[0])
    assert waited_ms <= told <= waited_ms + 200
    assert answer.header("preference-applied") == f"wait={waited_ms // 1000}"


SECONDS, CLIENTS, EVERY = 5, 12, 50


class Vanishing:
    """Clients on one key; with every 50th request somebody queues up of whom nothing is heard again."""

    def __init__(self, addresses, scripts):
        self.addresses, self.scripts = addresses, scripts
        self.outcomes, self.phantom_count = [], 0

    async def client(self, number, deadline):
        client, turn = Client(self.addresses), 0
        while time.monotonic() < deadline:
            outcome = Outcome(f"c{number}-{turn}", "/x/k?ms=3", "POST", number % len(self.addresses))
            self.outcomes.append(await client.ask(outcome))
            turn += 1
            if len(self.outcomes) % EVERY == 0:
                self.phantom_count += 1
                self.scripts.admit("x:k", f"phantom-{self.phantom_count}", wait_s=20, lease_s=1.6,
                                   grant_ms=self.grant_ms)
        client.close()

    async def run_all(self):
        deadline = time.monotonic() + SECONDS
        await asyncio.gather(*(self.client(i, deadline) for i in range(CLIENTS)))

    def run(self, grant_ms):
        self.grant_ms = grant_ms
        asyncio.run(self.run_all())
        return self


@pytest.mark.parametrize("grant_ms, is_enough", [(300, True), (1500, False)])
def test_waiters_vanish(start, ledger, redis_server, grant_ms, is_enough):
    """2 % never take their turn.  Each costs the others its grant, and no more: with a short one the
    p99 of the wait stays under 1.5 s, with a long one it does not."""
    policy = lock_policy(ledger.url, redis_server.url, [
        locked("/x/{key}", "x:{path.key}", wait="20s", lease="1600ms", grant=f"{grant_ms}ms")])
    proxies = [start(policy) for _ in range(3)]
    with redis_server.client() as client:
        load = Vanishing([proxy.listen for proxy in proxies], Scripts(client)).run(grant_ms)
    waits = [one.seconds for one in load.outcomes]
    print(f"grant {grant_ms} ms: {len(waits)} requests, {load.phantom_count} vanished; {describe_waits(waits)}")
    assert all(one.status == 200 for one in load.outcomes)
    assert load.phantom_count >= 1
    assert (percentile(waits, 0.99) < 1.5) == is_enough
    assert checkers.no_overlaps(ledger.visits()) == []


@pytest.fixture
def sale():
    seckill.raise_file_limit()
    one = seckill.Sale(binary())
    yield one
    one.close()


def test_seckill(sale):
    """1,000 buyers at once, a stock of 100, a shop that takes no care; as make demo-seckill."""
    assert sale.store != "embedded"
    careless = sale.round(with_lock=False)
    assert careless.sold > sale.stock
    careful = sale.round(with_lock=True)
    print("without: " + careless.describe() + "\nwith:    " + careful.describe())
    assert (careful.sold, careful.left, careful.answered) == (sale.stock, 0, sale.stock)
    assert {one.status for one in careful.outcomes} == {200, 410}


def test_seckill_in_memory():
    """The same with one Lockkeeper and no Redis."""
    seckill.raise_file_limit()
    sale = seckill.Sale(binary(), buyers=300, stock=30, store="embedded")
    try:
        result = sale.round(with_lock=True)
    finally:
        sale.close()
    assert (result.sold, result.left, result.answered) == (30, 0, 30)
