"""Redis dies, freezes and comes back while 16 clients never pause."""

import threading
import time

import pytest

from harness import SLOWNESS, wait_until
from load import count, run_load
from policies import limited, policy

TIMEOUT_MS = 100
# A request may take the store's whole deadline, and what the machine needs to get round to it.
LONGEST_S = TIMEOUT_MS / 1000 + 0.4 * SLOWNESS

ROUTES = {
    "allow": limited("/allow", {"name": "allow", "rate": "20/hour", "burst": 20, "on_store_failure": "allow"}),
    "deny": limited("/deny", {"name": "deny", "rate": "1000000/second", "on_store_failure": "deny"}),
    "local": limited("/local", {"name": "local", "rate": "30/hour", "burst": 30, "on_store_failure": "local"}),
}


class Load:
    """Runs until it is stopped; then .samples are there."""

    def __init__(self, proxy, target, clients=16):
        self.stop_now, self.samples = threading.Event(), None
        self.thread = threading.Thread(target=self.run, args=(proxy.listen, target, clients))
        self.thread.start()

    def run(self, address, target, clients):
        self.samples = run_load([address], target, 60, clients, stop=self.stop_now)

    def stop(self):
        self.stop_now.set()
        self.thread.join(30)
        assert self.samples is not None, "the clients did not come to an end"
        return self.samples


@pytest.fixture
def proxy(start, make_origin, redis_server):
    origin = make_origin(lambda _request, connection: connection.answer(200, b"ok"))
    return start(policy(origin.url, list(ROUTES.values()), store=redis_server.url, access_log="off",
                        store_options={"timeout": f"{TIMEOUT_MS}ms"}))


def break_redis(redis, how):
    redis.kill() if how == "killed" else redis.stop_process()


def mend_redis(redis, how):
    redis.start() if how == "killed" else redis.continue_process()


def wait_for_requests(proxy, count):
    """Until so many more have been answered."""
    before = proxy.metric("http_requests_total")
    wait_until(lambda: proxy.metric("http_requests_total") >= before + count, 20, "requests")


def run_through_failure(proxy, redis, how, target):
    """Load before, during and after; gives the samples that lie wholly in each of the three."""
    load = Load(proxy, target)
    try:
        wait_until(lambda: proxy.metric("store_calls_total", result="ok") > 50, 30, "decisions by Redis")
        failed_at = time.monotonic()
        break_redis(redis, how)
        wait_until(lambda: proxy.metric("store_breaker_open") == 1, 30, "the breaker opens")
        down_at = time.monotonic()
        wait_for_requests(proxy, 200)
        back_at = time.monotonic()
        mend_redis(redis, how)
        answering_at = time.monotonic()
        decided = proxy.metric("store_calls_total", result="ok")
        wait_until(lambda: proxy.metric("store_calls_total", result="ok") > decided + 20, 30,
                   "decisions by Redis again")
        recovered_at = time.monotonic()
        wait_for_requests(proxy, 200)
    finally:
        samples = load.stop()
    assert proxy.is_running()
    assert recovered_at - answering_at < 5
    slowest = max(samples, key=lambda sample: sample.seconds)
    assert slowest.seconds < LONGEST_S, (slowest.seconds, slowest.status)
    return [s for s in samples if s.done_at < failed_at], \
        [s for s in samples if down_at < s.sent_at and s.done_at < back_at], \
        [s for s in samples if s.sent_at > recovered_at]


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_allow(proxy, redis_server, how):
    before, during, after = run_through_failure(proxy, redis_server, how, "/allow")
    assert 0 < count(before, 200) <= 20 and count(before, 429) > 0
    assert during and count(during, 200) == len(during)
    # A frozen server kept its state; a killed one has a full bucket once more.
    assert count(after, 200) <= (20 if how == "killed" else 0) and count(after, 429) > 0
    assert proxy.metric("decisions_total", limit="allow", decision="error_allowed") >= len(during)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_deny(proxy, redis_server, how):
    before, during, after = run_through_failure(proxy, redis_server, how, "/deny")
    assert count(before, 200) == len(before) > 0
    assert during and count(during, 503) == len(during)
    assert count(after, 200) == len(after) > 0
    assert proxy.metric("decisions_total", limit="deny", decision="error_denied") >= len(during)
    assert proxy.metric("refusals_total", reason="store-unavailable") >= len(during)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_local(proxy, redis_server, how):
    _before, during, after = run_through_failure(proxy, redis_server, how, "/local")
    assert during and count(during, 200) + count(during, 429) == len(during)
    # The embedded engine has the whole budget of its own for this one sidecar, and not more.
    assert proxy.metric("decisions_total", limit="local", decision="local_allowed") == 30
    assert proxy.metric("decisions_total", limit="local", decision="local_limited") > 0
    assert proxy.metric("store_local_calls_total") > 0
    assert count(after, 200) <= (30 if how == "killed" else 0)


def test_deny_says_so(proxy, redis_server):
    redis_server.kill()
    answer = proxy.request("GET", "/deny")
    assert answer.status == 503
    assert answer.header("content-type") == "application/problem+json"
    body = answer.json()
    assert (body["reason"], body["executed"]) == ("store-unavailable", "no")
    assert int(answer.header("retry-after")) >= 1


def test_every_request_keeps_its_deadline(proxy, redis_server):
    """One after the other against a frozen server, so that nothing else wakes the proxy: each waits
    for its own deadline at most, also the one after a call that has expired already."""
    redis_server.stop_process()
    for _ in range(10):
        began = time.monotonic()
        assert proxy.request("GET", "/deny").status == 503
        assert time.monotonic() - began < LONGEST_S
    redis_server.continue_process()
    wait_until(lambda: proxy.request("GET", "/deny").status == 200, 30, "decisions by Redis")


def test_a_reload_changes_the_budget_of_a_call(start, origin, redis_server):
    """The first thing that is tried when the store is slow: both ways, and the breaker's numbers with it."""
    def of(timeout, failures=5, breaker_open="1s"):
        return policy(origin.url, list(ROUTES.values()), store=redis_server.url,
                      store_options={"timeout": timeout, "breaker_failures": failures, "breaker_open": breaker_open})

    def reload(text):
        with open(one.policy_path, "w") as file:
            file.write(text)
        hash_now = one.admin("POST", "/reload").json()["hash"]
        # Workers have it a moment after the answer; the question that asks them comes behind it.
        assert one.admin("GET", "/locks").json() is not None and one.admin("GET", "/").json()["hash"] == hash_now

    one = start(of("60s"), with_store=False)
    assert one.request("GET", "/deny").status == 200
    reload(of("50ms", failures=1000000))
    redis_server.stop_process()
    began = time.monotonic()
    assert one.request("GET", "/deny").status == 503
    assert time.monotonic() - began < 20
    assert one.metric("store_breaker_open") == 0
    reload(of("50ms", failures=1, breaker_open="1h"))
    assert one.request("GET", "/deny").status == 503
    wait_until(lambda: one.metric("store_breaker_open") == 1, 20, "the breaker opens after one failure")
    redis_server.continue_process()


def test_starting_without_redis(start, origin, redis_server):
    """A sidecar must not wait for its store: it serves at once and connects when it can."""
    redis_server.kill()
    one = start(policy(origin.url, list(ROUTES.values()), store=redis_server.url,
                       store_options={"timeout": f"{TIMEOUT_MS}ms"}), with_store=False)
    assert one.request("GET", "/allow").status == 200
    assert one.request("GET", "/deny").status == 503
    assert one.scrape("/ready").status == 200
    redis_server.start()
    wait_until(lambda: one.request("GET", "/deny").status == 200, 30, "decisions by Redis")


def test_scripts_are_loaded_again(proxy, redis_server):
    """SCRIPT FLUSH under a running connection: nobody notices."""
    for _ in range(3):
        redis_server.client().script_flush()
        assert proxy.request("GET", "/deny").status == 200
    assert proxy.metric("decisions_total", limit="deny", decision="allowed") == 3


def test_connections_cut_by_the_server(proxy, redis_server):
    client = redis_server.client()
    for _ in range(5):
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_until(lambda: proxy.request("GET", "/deny").status == 200, 30, "connected again")
    assert proxy.metric("store_reconnects_total") >= 5


def test_password_and_database(start, origin, redis_server):
    client = redis_server.client()
    client.config_set("requirepass", "s3cret")
    url = redis_server.url.replace("redis://", "redis://:s3cret@") + "/3"
    one = start(policy(origin.url, [ROUTES["deny"]], store=url))
    wait_until(lambda: one.request("GET", "/deny").status == 200, 30, "decisions by Redis")
    admin = redis_server.client(password="s3cret")
    assert set(admin.info("keyspace")) == {"db3"}


def test_a_wrong_password_is_a_failed_store(start, origin, redis_server):
    redis_server.client().config_set("requirepass", "s3cret")
    one = start(policy(origin.url, [ROUTES["deny"]], store=redis_server.url.replace("//", "//:wrong@")),
                with_store=False)
    one.allow_errors("redis|store|password|auth|AUTH")
    assert one.request("GET", "/deny").status == 503
    log = "\n".join(one.err.snapshot())
    assert "wrong" not in log.lower().replace("wrongpass", "") and "s3cret" not in log
