"""Fencing tokens at the resource, locks across services, and what happens when the store fails."""

import base64
import concurrent.futures
import contextlib
import hashlib
import hmac

import pytest

from harness import Lockkeeper, request, wait_until
from lock_service import LockService
from policies import policy
from raw import RawClient

SECRET = "a secret of at least thirty-two bytes"


def locked(path, key, name=None, **lock):
    return {"name": name or path.strip("/").split("/")[0], "match": {"path": path},
            "lock": {"key": key, "lease": "2s", "fencing": "inject", **lock}}


def fenced(path, key, **fence):
    return {"name": "fenced", "match": {"path": path}, "fence": {"key": key, **fence}}


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        yield threads


@pytest.fixture
def service():
    return LockService()


@pytest.fixture
def begin(start, redis_server):
    """begin(upstream, routes...) starts a Lockkeeper on the test's Redis."""
    def make(upstream, *routes, workers=1, timeout="400ms", **settings):
        return start(policy(upstream, routes, store=redis_server.url, workers=workers,
                            store_options={"timeout": timeout, "breaker_open": "200ms"}, **settings))
    return make


def put(lk, target, headers=None, method="PUT"):
    return request(lk.listen, method, target, headers, timeout_s=30)


def token_of(lk, service, key):
    """A token that has just been issued for the key."""
    assert put(lk, f"/x/{key}").status == 200
    return service.of(key)[-1].token


def refusal(answer):
    return answer.status, answer.json()["reason"], answer.json()["executed"]


# ---- fences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["local", "shared"])
def test_tokens_at_the_fence(begin, service, make_origin, scope):
    origin = make_origin(service.visit)
    lk = begin(origin.url, locked("/x/{key}", "k:{path.key}"))
    fence = begin(origin.url, fenced("/f/{key}", "k:{path.key}", scope=scope), workers=2)
    old, new = token_of(lk, service, "a"), token_of(lk, service, "a")
    assert refusal(put(fence, "/f/a")) == (428, "missing-fencing-token", "no")
    for bad in ("x", "-1", "0", "1.5", "1234567890123456", str(new + 10**9)):
        assert refusal(put(fence, "/f/a", {"Fencing-Token": bad})) == (400, "invalid-fencing-token", "no")
    # Of two the service might believe the other one.
    with RawClient(fence.listen) as client:
        client.send(f"PUT /f/a HTTP/1.1\r\nHost: h\r\nFencing-Token: {new}\r\nFencing-Token: {old}\r\n\r\n")
        assert refusal(client.read_response()) == (400, "invalid-fencing-token", "no")
    # A token of another lock is none of this one.
    assert put(fence, "/f/b", {"Fencing-Token": str(new)}).status == 400
    visits = len(service.of("a"))
    assert [put(fence, "/f/a", {"Fencing-Token": str(token)}).status
            for token in (old, old, new, new, old)] == [200, 200, 200, 200, 412]
    assert [one.token for one in service.of("a")[visits:]] == [old, old, new, new]
    assert refusal(put(fence, "/f/a", {"Fencing-Token": str(old)})) == (412, "stale-fencing-token", "no")
    assert fence.metric("fence_checks_total", outcome="stale") == 2
    # Another instance knows of it only when the floor is shared.
    other = begin(origin.url, fenced("/f/{key}", "k:{path.key}", scope=scope))
    status = put(other, "/f/a", {"Fencing-Token": str(old)}).status
    assert status == (412 if scope == "shared" else 200)


def test_a_fence_that_requires_no_token(begin, service, make_origin):
    origin = make_origin(service.visit)
    lk = begin(origin.url, locked("/x/{key}", "k:{path.key}"))
    fence = begin(origin.url, fenced("/f/{key}", "k:{path.key}", required=False, header="x-token"))
    token = token_of(lk, service, "a")
    assert put(fence, "/f/a").status == 200
    assert put(fence, "/f/a", {"X-Token": str(token)}).status == 200
    assert put(fence, "/f/a", {"X-Token": str(token + 10**9)}).status == 400


def test_older_requests_are_broken_off(begin, service, make_origin, pool):
    """In whatever worker they run, before the newer one reaches the service."""
    origin = make_origin(service.visit)
    lk = begin(origin.url, locked("/x/{key}", "k:{path.key}"))
    fence = begin(origin.url, fenced("/f/{key}", "k:{path.key}"), workers=2)
    old, new = token_of(lk, service, "a"), token_of(lk, service, "a")
    service.hold("a")
    running = [pool.submit(put, fence, "/f/a", {"Fencing-Token": str(old)}) for _ in range(6)]
    service.wait_inside("a", 6)
    newer = pool.submit(put, fence, "/f/a", {"Fencing-Token": str(new)})
    for one in running:
        assert refusal(one.result()) == (412, "stale-fencing-token", "unknown")
    service.wait_inside("a", 7)
    service.release("a")
    assert newer.result().status == 200
    assert fence.metric("fence_revoked_total") == 6


@pytest.mark.parametrize("scope", ["local", "shared"])
@pytest.mark.parametrize("lock", [{"mode": "by_method"}, {"permits": 3}])
def test_those_who_hold_together_have_no_order(begin, service, make_origin, pool, lock, scope):
    """The fence neither refuses nor breaks off one of them for another, but for one who holds alone."""
    origin = make_origin(service.visit)
    lk = begin(origin.url, locked("/x/{key}", "k:{path.key}", **lock), locked("/alone/{key}", "k:{path.key}"))
    fence = begin(origin.url, fenced("/f/{key}", "k:{path.key}", scope=scope), workers=2)

    def token(path, method):
        assert put(lk, path, method=method).status == 200
        return {"Fencing-Token": str(service.of("a")[-1].token)}

    before, old, new, alone, after = (token(path, method) for path, method in (
        ("/alone/a", "PUT"), ("/x/a", "GET"), ("/x/a", "GET"), ("/alone/a", "PUT"), ("/x/a", "GET")))
    assert put(fence, "/f/a", before).status == 200
    visits = len(service.of("a"))
    service.hold("a")
    running = [pool.submit(put, fence, "/f/a", one) for one in (new, old, new)]
    service.wait_inside("a", 3)
    assert fence.metric("fence_revoked_total") == 0
    assert refusal(put(fence, "/f/a", before)) == (412, "stale-fencing-token", "no")
    last = pool.submit(put, fence, "/f/a", alone)
    for one in running:
        assert refusal(one.result()) == (412, "stale-fencing-token", "unknown")
    service.release("a")
    assert last.result().status == put(fence, "/f/a", after).status == 200
    assert put(fence, "/f/a", new).status == put(fence, "/f/a", alone).status == 412
    assert len(service.of("a")) == visits + 5


# ---- chains of calls -------------------------------------------------------------------------------


class Chain:
    """Two services: the first calls the second on behalf of its request, headers handed on."""

    def __init__(self, begin, service, make_origin, inner, trusted=True, **outer):
        settings = {"lock_context": {"secret": SECRET}}
        if trusted:
            settings["trusted_proxies"] = ["127.0.0.1"]
        self.inner = begin(make_origin(service.visit).url, *inner, **settings)
        self.answers = []
        self.outer = begin(make_origin(self.call).url,
                           locked("/outer/{to}/{key}", "k:{path.key}", wait="5s", **outer), **settings)

    def call(self, received, connection):
        """/outer/TO/KEY calls /TO/KEY."""
        connection.read_body(received)
        _, _, to, key = received.target.split("/")
        handed = {"Lock-Context": received.header("lock-context")}
        answer = put(self.inner, f"/{to}/{key}", handed, received.method)
        self.answers.append((received, answer))
        connection.answer(answer.status, answer.body)


def test_a_nested_call_passes_the_lock_of_its_chain(begin, service, make_origin):
    chain = Chain(begin, service, make_origin, [locked("/x/{key}", "k:{path.key}")])
    assert put(chain.outer, "/outer/x/a").status == 200
    received, answer = chain.answers[0]
    assert answer.header("lock-status").startswith("reentered; mode=x")
    inner = service.of("a")[0]
    assert inner.token == int(received.header("fencing-token")) > 0
    # It goes on to further hops, and nobody but the outermost gave the lock back.
    assert inner.context and inner.context != received.header("lock-context")
    assert chain.inner.metric("lock_acquires_total", outcome="reentered") == 1
    assert chain.inner.metric("store_calls_total", script="release") == 0
    assert put(chain.outer, "/outer/x/a").status == 200


def test_contexts_that_are_not_believed(begin, service, make_origin, pool):
    chain = Chain(begin, service, make_origin, [locked("/x/{key}", "k:{path.key}"),
                                                {"name": "plain", "match": {"path": "/plain/{key}"}}])
    assert put(chain.outer, "/outer/x/a").status == 200
    good = chain.answers[0][0].header("lock-context")
    # The chain has ended, and with it what the context says.
    assert refusal(put(chain.inner, "/x/a", {"Lock-Context": good})) == (503, "lock-lost", "no")
    service.hold("a")
    running = pool.submit(put, chain.inner, "/x/a")
    service.wait_inside("a")
    body, mac = good.split(".")
    other = base64.urlsafe_b64encode(
        hmac.new(b"another secret", body.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
    for bad in (good[:-1], "A" + good[1:], f"{body}.{other}", body, ".", "", f"{body}.{mac}="):
        assert refusal(put(chain.inner, "/x/a", {"Lock-Context": bad})) == (423, "locked", "no")
        assert put(chain.inner, "/plain/p", {"Lock-Context": bad}).status == 200
    service.release("a")
    assert running.result().status == 200
    assert {one.context for one in service.of("p")} == {None}
    assert put(chain.inner, "/plain/q", {"Lock-Context": good}).status == 200
    assert service.of("q")[0].context is not None


def test_contexts_of_peers_that_are_not_trusted(begin, service, make_origin):
    chain = Chain(begin, service, make_origin, [locked("/x/{key}", "k:{path.key}")], trusted=False)
    assert put(chain.outer, "/outer/x/a").status == 423
    assert chain.answers[0][1].json()["reason"] == "locked"


def test_locks_out_of_order_are_only_tried(begin, service, make_origin, pool):
    chain = Chain(begin, service, make_origin,
                  [locked("/before/{key}", "a:{path.key}", wait="10s"),
                   locked("/after/{key}", "z:{path.key}", wait="10s")])
    assert put(chain.outer, "/outer/before/1").status == put(chain.outer, "/outer/after/1").status == 200
    service.hold("2")
    running = [pool.submit(put, chain.inner, "/before/2"), pool.submit(put, chain.inner, "/after/2")]
    service.wait_inside("2", 2)
    assert refusal(put(chain.outer, "/outer/before/2")) == (409, "deadlock-avoided", "no")
    later = pool.submit(put, chain.outer, "/outer/after/2")
    wait_until(lambda: chain.inner.metric("lock_waiting_requests") == 1, 30, "waits in order")
    service.release("2")
    assert later.result().status == 200 and all(one.result().status == 200 for one in running)


@pytest.mark.parametrize("outer, inner", [({"mode": "shared"}, {}), ({"permits": 2}, {}),
                                          ({"permits": 2}, {"mode": "shared"})])
def test_a_hold_beside_others_is_not_made_another(begin, service, make_origin, outer, inner):
    chain = Chain(begin, service, make_origin, [locked("/x/{key}", "k:{path.key}", wait="10s", **inner),
                                                locked("/same/{key}", "k:{path.key}", **outer)], **outer)
    assert refusal(put(chain.outer, "/outer/x/a")) == (409, "deadlock-avoided", "no")
    assert put(chain.outer, "/outer/same/a").status == 200
    assert chain.answers[-1][1].header("lock-status").startswith("reentered")


def test_depth_is_bounded(begin, service, make_origin, start):
    """A service that calls itself through its own sidecar, for ever."""
    proxies = []

    def call(received, connection):
        connection.read_body(received)
        answer = put(proxies[0], received.target, {"Lock-Context": received.header("lock-context")})
        connection.answer(answer.status, answer.body)

    proxies.append(begin(make_origin(call).url, locked("/x/{key}", "k:{path.key}"),
                         trusted_proxies=["127.0.0.1"], lock_context={"secret": SECRET, "max_depth": 3}))
    assert refusal(put(proxies[0], "/x/a")) == (409, "lock-depth", "no")
    assert proxies[0].metric("lock_acquires_total", outcome="reentered") == 2


# ---- the store -------------------------------------------------------------------------------------


def test_the_store_is_down(begin, service, make_origin, redis_server):
    lk = begin(make_origin(service.visit).url, locked("/deny/{key}", "k:{path.key}"),
               locked("/allow/{key}", "k:{path.key}", on_store_failure="allow"), timeout="200ms")
    redis_server.kill()
    answer = put(lk, "/deny/a")
    assert refusal(answer) == (503, "store-unavailable", "no") and answer.header("retry-after")
    answer = put(lk, "/allow/a")
    assert answer.status == 200 and answer.header("lock-status").startswith("bypassed; reason=store")
    assert [one.token for one in service.of("a")] == [0]
    assert lk.metric("lock_acquires_total", outcome="bypassed") == 1


def test_the_store_does_not_answer(begin, service, make_origin, redis_server):
    """What may have been taken is given back once the store answers again."""
    lk = begin(make_origin(service.visit).url, locked("/x/{key}", "k:{path.key}"), timeout="200ms")
    redis_server.stop_process()
    assert refusal(put(lk, "/x/a")) == (503, "store-unavailable", "no")
    redis_server.continue_process()
    wait_until(lambda: put(lk, "/x/a").status == 200, 30, "free again")
    wait_until(lambda: not redis_server.client().zcard("lk:lock:{k:a}:h"), 30, "nobody holds it")


def test_the_store_is_away_for_longer_than_the_lease(begin, service, make_origin, redis_server, pool):
    """Nobody can say who has the lock: the request is broken off."""
    lk = begin(make_origin(service.visit).url, locked("/x/{key}", "k:{path.key}", lease="1s"),
               locked("/finish/{key}", "f:{path.key}", lease="1s", on_lost="finish"),
               locked("/watched/{key}", "w:{path.key}", lease="1s", shadow=True), timeout="200ms")
    service.hold("a")
    lost, finished, watched = (pool.submit(put, lk, path) for path in ("/x/a", "/finish/a", "/watched/a"))
    service.wait_inside("a", 3)
    redis_server.stop_process()
    assert refusal(lost.result()) == (500, "lock-lost", "unknown")
    service.release("a")
    assert finished.result().status == watched.result().status == 200
    redis_server.continue_process()


def test_messages_that_do_not_come(begin, service, make_origin, redis_server, pool):
    """Timers serve who waits; the subscription is made again."""
    lk = begin(make_origin(service.visit).url, locked("/x/{key}", "k:{path.key}", wait="20s"))
    service.hold("a")
    running = [pool.submit(put, lk, "/x/a") for _ in range(5)]
    wait_until(lambda: lk.metric("lock_waiting_requests") == 4, 30, "four wait")
    with contextlib.closing(redis_server.client()) as client:
        client.client_kill_filter(_type="pubsub")
        service.release("a")
        assert [one.result().status for one in running] == [200] * 5
        wait_until(lambda: client.pubsub_channels(), 30, "subscribed again")
    assert service.most["a"] == 1


def test_a_holder_that_is_killed(begin, service, make_origin, redis_server, tmp_path, pool):
    origin = make_origin(service.visit)
    doomed = Lockkeeper(str(tmp_path / "doomed"), policy(
        origin.url, [locked("/x/{key}", "k:{path.key}")], store=redis_server.url,
        store_options={"timeout": "400ms"})).wait_connected()
    lk = begin(origin.url, locked("/x/{key}", "k:{path.key}", wait="20s"))
    service.hold("a")
    lost = pool.submit(put, doomed, "/x/a")
    service.wait_inside("a")
    waiting = pool.submit(put, lk, "/x/a")
    wait_until(lambda: lk.metric("lock_waiting_requests") == 1, 30, "waits")
    doomed.kill()
    with pytest.raises(OSError):
        lost.result()
    service.release("a")
    assert waiting.result().status == 200
    tokens = [one.token for one in service.of("a")]
    assert tokens[0] < tokens[1]
