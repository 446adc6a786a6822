"""What breaks around a lock, and that each protection is what helps: without it, the same fault does
harm.  Times are bounded by what the policy promises, not by what a machine usually does."""

import os
import signal
import threading

import pytest

import checkers
from checkers import MS
from harness import Lockkeeper, request, wait_until
from ledger import now_ns
from raw import RawClient
from scripts import Scripts, lock_keys
from slow_wire import SlowWire
from world import ask, fenced, lock_policy, locked

GRANT_MS, HEARTBEAT_MS, LEASE_MS = 300, 2000, 1600
# For the way from Redis to the service on a machine with other things to do.
WAY_MS = 300


@pytest.fixture
def start_doomed(tmp_path):
    """Lockkeepers that the test kills."""
    running = []

    def start_one(policy):
        running.append(Lockkeeper(str(tmp_path / f"doomed-{len(running)}"), policy))
        return running[-1].wait_connected()

    yield start_one
    for one in running:
        one.kill()


def wait_queued(redis_server, key, count, seconds=30):
    with redis_server.client() as client:
        wait_until(lambda: client.zcard(lock_keys(key)[1]) == count, seconds, f"{count} wait for {key}")


# ---- the holder's sidecar, the head waiter's sidecar die -------------------------------------------


def test_killed_holder(start, start_doomed, ledger, redis_server, background):
    """The next one is served when the lease is over.  With a lease that does not end it is not."""
    routes = [locked("/x/{key}", "x:{path.key}", wait="10s", lease=f"{LEASE_MS}ms"),
              locked("/endless/{key}", "endless:{path.key}", wait="3s", lease="4m")]
    policy = lock_policy(ledger.url, redis_server.url, routes)
    doomed, survivor = start_doomed(policy), start(policy)
    for key in ("x/k", "endless/k"):
        background(ask, doomed, f"holder-{key}", key, 20_000)
        ledger.wait_visit(f"holder-{key}")
    waiters = {key: background(ask, survivor, f"waiter-{key}", key) for key in ("x/k", "endless/k")}
    wait_queued(redis_server, "x:k", 1)
    wait_queued(redis_server, "endless:k", 1)
    doomed.kill()
    killed_ns = now_ns()
    assert waiters["x/k"].result().status == 200
    served_ms = (ledger.wait_visit("waiter-x/k").enter_ns - killed_ns) / MS
    assert served_ms <= LEASE_MS + GRANT_MS + HEARTBEAT_MS + WAY_MS
    refused = waiters["endless/k"].result()
    assert refused.status == 423 and refused.json()["reason"] == "wait-timeout"


def test_killed_head_waiter(start, start_doomed, ledger, redis_server, background):
    """Its grant lapses, and the next one is served.  With a grant that does not end it is not."""
    routes = [locked("/x/{key}", "x:{path.key}", wait="10s", lease="10s"),
              locked("/endless/{key}", "endless:{path.key}", wait="4s", lease="60s", grant="60s")]
    policy = lock_policy(ledger.url, redis_server.url, routes)
    holder, doomed, survivor = start(policy), start_doomed(policy), start(policy)
    waiters = {}
    for key in ("x/k", "endless/k"):
        background(ask, holder, f"holder-{key}", key, 1500)
        ledger.wait_visit(f"holder-{key}")
        name = key.replace("/", ":")
        background(ask, doomed, f"head-{key}", key)
        wait_queued(redis_server, name, 1)
        waiters[key] = background(ask, survivor, f"next-{key}", key)
        wait_queued(redis_server, name, 2)
    doomed.kill()
    assert waiters["x/k"].result().status == 200
    over = ledger.wait_visit("holder-x/k", is_over=True)
    served_ms = (ledger.wait_visit("next-x/k").enter_ns - over.exit_ns) / MS
    assert served_ms <= GRANT_MS + HEARTBEAT_MS + WAY_MS
    assert not [visit for visit in ledger.visits() if visit.id.startswith("head")]
    refused = waiters["endless/k"].result()
    assert refused.status == 423 and refused.json()["reason"] == "wait-timeout"


def test_lock_delay(start, start_doomed, ledger, redis_server, background):
    """A lock that lapsed stays closed for longer than any of the waits above; one that is given back does not."""
    delay_ms = 5000
    policy = lock_policy(ledger.url, redis_server.url,
                         [locked("/x/{key}", "x:{path.key}", wait="20s", lease=f"{LEASE_MS}ms",
                                 lock_delay=f"{delay_ms}ms")])
    doomed, survivor = start_doomed(policy), start(policy)
    background(ask, doomed, "holder", "x/k", 20_000)
    ledger.wait_visit("holder")
    waiter = background(ask, survivor, "waiter", "x/k")
    wait_queued(redis_server, "x:k", 1)
    doomed.kill()
    killed_ns = now_ns()
    assert waiter.result().status == 200
    entered_ns = ledger.wait_visit("waiter", is_over=True).enter_ns
    assert (entered_ns - killed_ns) / MS >= delay_ms > LEASE_MS + GRANT_MS + HEARTBEAT_MS + WAY_MS
    began_ns = now_ns()
    assert ask(survivor, "next", "x/k").status == 200
    assert (now_ns() - began_ns) / MS < delay_ms


# ---- the holder's sidecar stands still -------------------------------------------------------------


class Resource:
    """Two sidecars with a lock, and, with a fence, a third in front of the service."""

    def __init__(self, start, ledger, redis_server, on_lost, with_fence):
        upstream = ledger.url
        self.fence = None
        if with_fence:
            self.fence = start(lock_policy(ledger.url, redis_server.url,
                                           [fenced("/state/{key}", "state:{path.key}")]))
            upstream = f"http://127.0.0.1:{self.fence.port}"
        policy = lock_policy(upstream, redis_server.url, [
            locked("/state/{key}", "state:{path.key}", wait="8s", lease=f"{LEASE_MS}ms", on_lost=on_lost)])
        self.first, self.second = start(policy), start(policy)
        self.ledger = ledger

    def begin_write(self):
        """A write by way of the first sidecar that has sent 10 bytes of 30."""
        client = RawClient(self.first.listen, timeout_s=15)
        client.send("PUT /state/k HTTP/1.1\r\nHost: h\r\nX-Id: old\r\nContent-Length: 30\r\n\r\n0123456789")
        wait_until(lambda: self.written("old") == 10, 30, "the first bytes are written")
        return client

    def written(self, name):
        return sum(write.size for write in self.ledger.writes() if write.id == name)

    def write_newer(self):
        answer = request(self.second.listen, "PUT", "/state/k", {"X-Id": "new"}, b"newer", 20)
        assert answer.status == 200
        assert self.written("new") == 5

    def finish_write(self, client):
        """What becomes of the rest: the status of the answer, or None when there is none."""
        try:
            return client.read_response().status
        except (EOFError, OSError, ValueError):
            return None
        finally:
            client.close()

    def stale_bytes(self):
        return checkers.stale_bytes(self.ledger.visits(), self.ledger.writes())


def is_stopped(pid):
    """All threads: until then one of them may still forward something, rightly."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat") as file:
            if file.read().rsplit(")", 1)[1].split()[0] != "T":
                return False
    return True


# on_lost: abort is the sidecar's own protection, the fence that of the resource.
PROTECTIONS = pytest.mark.parametrize("on_lost, with_fence, stale", [
    ("abort", False, 0), ("finish", True, 0), ("abort", True, 0), ("finish", False, 20)])


@PROTECTIONS
def test_stopped_holder(start, ledger, redis_server, on_lost, with_fence, stale):
    """SIGSTOP past the lease; the rest of its client's bytes waits in the socket; SIGCONT."""
    resource = Resource(start, ledger, redis_server, on_lost, with_fence)
    client = resource.begin_write()
    resource.first.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: is_stopped(resource.first.pid), 30, "the first sidecar stands still")
        client.send("A" * 20)
        resource.write_newer()
    finally:
        resource.first.send_signal(signal.SIGCONT)
    status = resource.finish_write(client)
    assert resource.stale_bytes() == stale
    assert (status == 200) == (stale > 0)
    visits = {visit.id: visit for visit in ledger.visits()}
    assert visits["new"].token > visits["old"].token
    if with_fence:
        assert resource.fence.metric("fence_revoked_total") == 1


# ---- Redis comes back empty ------------------------------------------------------------------------


@pytest.mark.parametrize("on_lost, with_fence, stale", [("abort", False, 0), ("finish", True, 0),
                                                        ("finish", False, 20)])
def test_redis_restarted_empty(start, ledger, redis_server, on_lost, with_fence, stale):
    """The holder's lock is gone and another takes it: a higher token, and the first one is found out."""
    resource = Resource(start, ledger, redis_server, on_lost, with_fence)
    client = resource.begin_write()
    redis_server.kill()
    redis_server.start()
    for proxy in filter(None, (resource.first, resource.second, resource.fence)):
        proxy.wait_connected()
    resource.write_newer()
    if on_lost == "abort":
        # Its next renewal finds out; nothing has to be forwarded for that.
        wait_until(lambda: resource.first.metric("lock_ends_total") == 1, 30, "the lost lock is noticed")
    try:
        client.send("A" * 20)
    except OSError:
        pass  # it was told already
    status = resource.finish_write(client)
    assert resource.stale_bytes() == stale
    assert (status == 200) == (stale > 0)
    visits = {visit.id: visit for visit in ledger.visits()}
    assert visits["new"].token > visits["old"].token
    wait_until(lambda: resource.first.metric("lock_ends_total") == 1, 30, "the first hold is over")
    assert resource.first.metric("lock_ends_total", verdict="held") == 0, "a double holder was not noticed"


# ---- messages are lost -----------------------------------------------------------------------------


class Cutter(threading.Thread):
    """Cuts every subscription again and again."""

    def __init__(self, redis_server, every_s=0.02):
        super().__init__(daemon=True)
        self.redis_server, self.every_s = redis_server, every_s
        self.stop_now, self.cut_count = threading.Event(), 0
        self.start()

    def run(self):
        with self.redis_server.client() as client:
            while not self.stop_now.wait(self.every_s):
                self.cut_count += client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    def stop(self):
        self.stop_now.set()
        self.join(5)
        return self.cut_count


def test_messages_lost(start, ledger, redis_server, background):
    """Timers serve everybody, in order, when the subscriptions are cut all the time."""
    policy = lock_policy(ledger.url, redis_server.url,
                         [locked("/x/{key}", "x:{path.key}", wait="10s", lease="5s", queue_max=1000)])
    proxies = [start(policy) for _ in range(3)]
    for proxy in proxies:
        assert ask(proxy, "warm-up", "x/other").status == 200
    cutter = Cutter(redis_server)
    answers = [background(ask, proxies[i % 3], f"c{i}-{turn}", f"x/k{i % 2}", 5)
               for turn in range(5) for i in range(12)]
    statuses = {answer.result().status for answer in answers}
    assert cutter.stop() > 5
    assert statuses == {200}
    visits = [visit for visit in ledger.visits() if visit.id != "warm-up"]
    assert checkers.no_overlaps(visits) + checkers.tokens_rise(visits) == []
    assert sum(proxy.metric("lock_handovers_total", by="timer") for proxy in proxies) > 0


def test_without_timers_a_lost_message_costs_the_turn(redis_server):
    """What the timers are for: one who only listens misses his turn when the message is lost."""
    with redis_server.client() as client:
        scripts = Scripts(client)
        state, token = scripts.admit("k", "holder")[:2]
        assert state == 1
        assert scripts.admit("k", "listener")[0] == 0
        assert scripts.release("k", "holder", token) == 1  # grants, and tells nobody
        wait_until(lambda: scripts.admit("k", "passer-by", wait_s=0)[0] == 1, 30, "the grant lapses")


# ---- replies come too late -------------------------------------------------------------------------


def charged(proxy):
    """How many have been charged, by the limit's own account, this request included."""
    answer = ask(proxy, "look", "x/look")
    assert answer.status == 200
    remaining = answer.header("ratelimit").split("r=")[1].split(";")[0]
    return 1000 - int(remaining)


def limited_lock(ledger, url, wait):
    route = locked("/x/{key}", "x:{path.key}", wait=wait, lease="2s")
    route["limits"] = [{"name": "all", "rate": "1000/hour", "algorithm": "fixed_window", "align": "first_hit"}]
    return lock_policy(ledger.url, url, [route], timeout_ms=150)


@pytest.fixture
def wire(redis_server):
    one = SlowWire(redis_server.port)
    yield one
    one.close()


def calls_that_failed(proxy):
    return proxy.metric("store_calls_total") - proxy.metric("store_calls_total", result="ok")


def test_late_reply_is_not_charged_twice(start, ledger, redis_server, wire, background):
    """The script has run, and its answer comes after the deadline: asked again, it is the same request."""
    near, far = start(limited_lock(ledger, redis_server.url, "3s")), start(limited_lock(ledger, wire.url, "3s"))
    before = charged(near)
    assert ask(far, "first", "x/k").status == 200
    failed = calls_that_failed(far)
    wire.hold()
    answer = background(ask, far, "late", "x/k")
    try:
        wait_until(lambda: calls_that_failed(far) > failed, 30, "the reply is late")
    finally:
        wire.let_go()
    status = answer.result().status
    assert status in (200, 503)
    assert charged(near) == before + 3
    executed = [visit for visit in ledger.visits() if visit.id == "late"]
    assert len(executed) == (status == 200)
    wait_lock_free(redis_server, near)


def wait_lock_free(redis_server, proxy):
    with redis_server.client() as client:
        wait_until(lambda: not checkers.queued_keys(client), 30, "no place in a queue has leaked")
    # Had a hold leaked, this would wait for its lease, which the wait covers.
    assert ask(proxy, "after", "x/k").status == 200


def test_asking_again_as_another_is_charged_twice(redis_server):
    """What the id of an acquisition is for."""
    with redis_server.client() as client:
        scripts = Scripts(client)
        first = scripts.admit("k", "one", limit=("limit", 10))
        again = scripts.admit("k", "one", limit=("limit", 10))
        assert (first[0], first[6][2], again[0], again[6][2]) == (1, 9, 1, 9)
        assert scripts.admit("k", "two", limit=("limit", 10))[6][2] == 8


def test_late_replies_under_load(start, ledger, redis_server, wire, background):
    """Replies are held back at random while two sidecars contend."""
    near, far = start(limited_lock(ledger, redis_server.url, "3s")), start(limited_lock(ledger, wire.url, "3s"))
    before = charged(near)
    stop_now = threading.Event()

    def disturb():
        pause = threading.Event()
        while not stop_now.is_set():
            wire.hold()
            pause.wait(0.22)
            wire.let_go()
            pause.wait(0.15)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        answers = [background(ask, (near, far)[i % 2], f"c{i}", f"x/k{i % 3}", 4) for i in range(120)]
        statuses = [answer.result().status for answer in answers]
    finally:
        stop_now.set()
        disturber.join()
        wire.let_go()
    assert wire.held_count > 1
    ledger.wait_idle()
    visits = [visit for visit in ledger.visits() if visit.id != "look"]
    assert set(statuses) <= {200, 423, 503}
    assert statuses.count(200) >= len(statuses) / 2
    assert checkers.no_overlaps(visits) + checkers.tokens_rise(visits) == []
    names = [visit.id for visit in visits]
    assert len(names) == len(set(names)), "executed twice"
    for i, status in enumerate(statuses):
        assert (f"c{i}" in names) == (status == 200), f"c{i} was answered {status}"
    assert statuses.count(200) + 1 <= charged(near) - before <= len(statuses) + 1
    wait_lock_free(redis_server, near)
