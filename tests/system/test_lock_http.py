"""What clients and services see of locks: on the embedded engine and on Redis."""

import concurrent.futures
import contextlib
import re
import signal
import socket
import struct
import time

import pytest

from harness import SLOWNESS, request, wait_until
from lock_service import LockService
from policies import policy
from raw import RawClient


def locked(path, key, name=None, **lock):
    return {"name": name or path.strip("/").split("/")[0], "match": {"path": path},
            "lock": {"key": key, "lease": "2s", "fencing": "inject", "expose": "token", **lock}}


@pytest.fixture(params=["embedded", "redis"])
def store(request):
    return "embedded" if request.param == "embedded" else request.getfixturevalue("redis_server").url


@pytest.fixture
def service():
    return LockService()


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(32) as threads:
        yield threads


@pytest.fixture
def world(store, service, make_origin, start):
    """world(routes...) starts a Lockkeeper of two workers in front of the service."""
    origin = make_origin(service.visit)

    def make(*routes, **settings):
        options = {"store_options": {"timeout": "400ms"}} if store != "embedded" else {}
        return start(policy(origin.url, routes, store=store, workers=2, **options, **settings))

    return make


def put(lk, target, method="PUT", headers=None):
    return request(lk.listen, method, target, headers, timeout_s=30)


def waiting(lk, count):
    wait_until(lambda: lk.metric("lock_waiting_requests") == count, 30, f"{count} waiting")


def test_exclusive(world, service, pool):
    lk = world(locked("/x/{key}", "x:{path.key}", wait="20s"))
    answers = [pool.submit(put, lk, "/x/a?ms=20") for _ in range(12)]
    assert [one.result().status for one in answers] == [200] * 12
    visits = service.of("a")
    assert service.most["a"] == 1
    tokens = [one.token for one in visits]
    assert tokens == sorted(set(tokens)) and tokens[0] > 0
    assert {(one.lock_key, one.mode) for one in visits} == {('"x:a"', "x")}
    assert lk.metric("lock_held") == lk.metric("lock_waiting_requests") == 0
    assert lk.metric("lock_ends_total", verdict="held") == 12


def test_other_keys_do_not_wait(world, service, pool):
    lk = world(locked("/x/{key}", "x:{path.key}"))
    service.hold("a")
    first = pool.submit(put, lk, "/x/a")
    service.wait_inside("a")
    assert put(lk, "/x/b").status == 200
    service.release("a")
    assert first.result().status == 200


def test_statuses_of_a_conflict(world, service, pool):
    lk = world(locked("/x/{key}", "k:{path.key}"), locked("/c/{key}", "k:{path.key}", on_conflict="409"),
               locked("/m/{key}", "k:{path.key}", on_conflict="429", expose="none"))
    service.hold("a")
    first = pool.submit(put, lk, "/x/a")
    service.wait_inside("a")
    for path, status in (("/x/a", 423), ("/c/a", 409), ("/m/a", 429)):
        answer = put(lk, path)
        problem = answer.json()
        assert (answer.status, problem["reason"], problem["executed"]) == (status, "locked", "no")
        assert 1 <= int(answer.header("retry-after")) <= 2
        assert (answer.header("lock-status") is None) == (path == "/m/a")
    assert put(lk, "/x/a").header("lock-status").startswith("refused; reason=locked; mode=x")
    service.release("a")
    status = first.result().header("lock-status")
    # It did not wait, but the store may have taken its time.
    assert re.fullmatch(rf"acquired; mode=x; wait-ms=\d+; token={service.of('a')[0].token}", status)
    assert len(service.of("a")) == 1


def test_the_next_request_does_not_meet_its_own_lock(world):
    """The lock is given back before the client can see the end of the answer."""
    lk = world(locked("/x/{key}", "x:{path.key}"))
    with RawClient(lk.listen) as client:
        for i in range(200):
            method = ("GET", "HEAD", "PUT")[i % 3]
            client.send(f"{method} /x/a HTTP/1.1\r\nHost: h\r\n\r\n")
            assert client.read_response(method).status == 200


def test_shared_and_by_method(world, service, pool):
    lk = world(locked("/rw/{key}", "rw:{path.key}", mode="by_method", wait="10s"))
    service.hold("a")
    readers = [pool.submit(put, lk, "/rw/a", "GET") for _ in range(3)]
    service.wait_inside("a", 3)
    writer = pool.submit(put, lk, "/rw/a", "PUT")
    waiting(lk, 1)
    # A reader that comes now stands behind the writer.
    late = pool.submit(put, lk, "/rw/a", "HEAD")
    waiting(lk, 2)
    service.release("a")
    assert all(one.result().status == 200 for one in [*readers, writer, late])
    assert [one.method for one in service.of("a")][3:] == ["PUT", "HEAD"]
    assert [one.mode for one in service.of("a")] == ["s", "s", "s", "x", "s"]
    last_reader = max(one.left_s for one in service.of("a")[:3])
    assert service.of("a")[3].entered_s >= last_reader


def test_permits(world, service, pool):
    lk = world(locked("/p/{key}", "p:{path.key}", permits=3, wait="20s", fencing="off"))
    answers = [pool.submit(put, lk, "/p/a?ms=20") for _ in range(12)]
    assert [one.result().status for one in answers] == [200] * 12
    assert service.most["a"] == 3


def test_several_keys_all_or_none(world, service, pool):
    route = locked("/move/{from}/{to}", None, name="move", wait="10s",
                   keys=["acc:{path.from}", "acc:{path.to}"])
    del route["lock"]["key"]
    lk = world(route, locked("/acc/{key}", "acc:{path.key}"))
    service.hold("b")
    move = pool.submit(put, lk, "/move/a/b")
    service.wait_inside("b")
    assert [put(lk, f"/acc/{key}").status for key in "abc"] == [423, 423, 200]
    back = pool.submit(put, lk, "/move/b/a")
    waiting(lk, 1)
    service.release("b")
    assert move.result().status == back.result().status == 200
    assert service.of("b")[0].lock_key == '"acc:a", "acc:b"'


def test_first_come_first_served(world, service, pool):
    lk = world(locked("/x/{key}", "x:{path.key}", wait="20s"))
    service.hold("a")
    answers = [pool.submit(put, lk, "/x/a", "PUT", {"X-Name": "0"})]
    service.wait_inside("a")
    for i in range(1, 8):
        answers.append(pool.submit(put, lk, "/x/a", "PUT", {"X-Name": str(i)}))
        waiting(lk, i)
    service.release("a")
    assert all(one.result().status == 200 for one in answers)
    assert [one.name for one in service.of("a")] == [str(i) for i in range(8)]
    assert lk.metric("lock_handovers_total", by="message") > 0


def test_wait_is_over(world, service, pool):
    lk = world(locked("/x/{key}", "x:{path.key}", wait="300ms"))
    service.hold("a")
    first = pool.submit(put, lk, "/x/a")
    service.wait_inside("a")
    begin_s = time.monotonic()
    answer = put(lk, "/x/a")
    assert 0.3 <= time.monotonic() - begin_s < 5
    assert (answer.status, answer.json()["reason"]) == (423, "wait-timeout")
    service.release("a")
    assert first.result().status == 200
    assert put(lk, "/x/a").status == 200


def test_queue_full(world, service, pool):
    lk = world(locked("/x/{key}", "x:{path.key}", wait="20s", queue_max=2))
    service.hold("a")
    running = [pool.submit(put, lk, "/x/a")]
    service.wait_inside("a")
    for i in (1, 2):
        running.append(pool.submit(put, lk, "/x/a"))
        waiting(lk, i)
    answer = put(lk, "/x/a")
    assert (answer.status, answer.json()["reason"]) == (429, "queue-full")
    service.release("a")
    assert all(one.result().status == 200 for one in running)


def test_prefer_wait(world, service, pool):
    lk = world(locked("/x/{key}", "x:{path.key}", wait="20s"))
    service.hold("a")
    first = pool.submit(put, lk, "/x/a")
    service.wait_inside("a")
    for preference, applied in (("wait=0", "wait=0"), ("respond-async, wait=1", "wait=1")):
        answer = put(lk, "/x/a", headers={"Prefer": preference})
        assert (answer.status, answer.header("preference-applied")) == (423, applied)
    # It may stand in any of several fields.
    with RawClient(lk.listen) as client:
        client.send("PUT /x/a HTTP/1.1\r\nHost: h\r\nPrefer: respond-async\r\nPrefer: wait=0\r\n\r\n")
        assert client.read_response().header("preference-applied") == "wait=0"
    service.release("a")
    assert first.result().status == 200
    answer = put(lk, "/x/a", headers={"Prefer": "wait=600"})
    assert (answer.status, answer.header("preference-applied")) == (200, "wait=20")


def test_the_body_is_not_asked_for_while_waiting(world, service, pool):
    lk = world(locked("/x/{key}", "x:{path.key}", wait="20s"))
    service.hold("a")
    first = pool.submit(put, lk, "/x/a")
    service.wait_inside("a")
    with RawClient(lk.listen) as client:
        client.send("PUT /x/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        waiting(lk, 1)
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        client.sock.settimeout(10)
        service.release("a")
        assert client.sock.recv(100).startswith(b"HTTP/1.1 100 ")
        client.send("body")
        client.file = client.sock.makefile("rb")
        assert client.read_response().status == 200
    assert first.result().status == 200


@pytest.mark.parametrize("how", ["close", "half_close"])
def test_a_client_that_leaves_the_queue(world, service, pool, how):
    lk = world(locked("/x/{key}", "x:{path.key}", wait="20s"))
    service.hold("a")
    first = pool.submit(put, lk, "/x/a")
    service.wait_inside("a")
    client = RawClient(lk.listen)
    client.send("PUT /x/a HTTP/1.1\r\nHost: h\r\nX-Name: gone\r\n\r\n")
    waiting(lk, 1)
    next_one = pool.submit(put, lk, "/x/a")
    waiting(lk, 2)
    if how == "close":
        client.close()
    else:
        client.sock.shutdown(1)
    waiting(lk, 1)
    service.release("a")
    assert first.result().status == next_one.result().status == 200
    assert "gone" not in [one.name for one in service.of("a")]
    assert lk.metric("lock_acquires_total", outcome="client_gone") == 1
    client.close()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_during_the_work(world, service, pool, how):
    """The service finishes, then the lock is free; nothing of it is left to lapse."""
    lk = world(locked("/x/{key}", "x:{path.key}", wait="20s", lease="30s"))
    service.hold("a")
    client = RawClient(lk.listen)
    client.send("PUT /x/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
    service.wait_inside("a")
    if how == "reset":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.file.close()
    client.close()
    next_one = pool.submit(put, lk, "/x/a")
    waiting(lk, 1)
    service.release("a")
    assert next_one.result().status == 200
    assert service.most["a"] == 1
    if how == "reset":
        assert lk.wait_access(lambda entry: entry.get("reason") == "client-gone")["lock"] == "acquired"
    assert lk.metric("lock_ends_total", verdict="left") == 0


@pytest.mark.parametrize("on_lost", ["abort", "finish"])
def test_a_lock_lost_while_waiting_for_a_connection(start, redis_server, service, make_origin, pool, on_lost):
    """The request has its lock, but no connection yet; its sidecar stands still, and another takes the
    lock.  Then the connection is free.  Without the protection (on_lost: finish) both are at work."""
    options = {"store": redis_server.url, "store_options": {"timeout": "300ms"}}
    route = locked("/x/{key}", "x:{path.key}", wait="30s", lease="2s", on_lost=on_lost)
    url = make_origin(service.visit).url
    lk = start(policy(url, [route, {"name": "free"}], timeouts={"connect": "60s"},
                      upstream_options={"max_connections": 1}, **options))
    other = start(policy(url, [route], **options))
    service.hold("busy")
    service.hold("a")
    busy = pool.submit(put, lk, "/busy")
    service.wait_inside("busy")
    first = pool.submit(put, lk, "/x/a")
    wait_until(lambda: lk.metric("upstream_waiting_requests") == 1, 30, "it waits for its connection")
    assert lk.metric("lock_held") == 1
    lk.send_signal(signal.SIGSTOP)
    second = pool.submit(put, other, "/x/a")
    service.wait_inside("a", seconds=30)
    service.release("busy")
    service.wait_left("busy")
    lk.send_signal(signal.SIGCONT)
    assert busy.result().status == 200
    if on_lost == "finish":
        service.wait_inside("a", 2, 10 * SLOWNESS)
    else:
        answer = first.result()
        assert (answer.status, answer.json()["reason"], answer.json()["executed"]) == (503, "lock-lost", "no")
    service.release("a")
    assert second.result().status == 200 and first.result().status in (200, 503)
    assert service.most["a"] == (2 if on_lost == "finish" else 1)


@pytest.mark.parametrize("lock_delay_s, is_waited_for", [(0, False), (30, False), (30, True)])
def test_a_lapsed_lease_that_nobody_took(start, redis_server, service, make_origin, pool, lock_delay_s,
                                         is_waited_for):
    """The holder's sidecar stands still past the lease.  As long as nobody has taken the lock it is still its
    own: it is not free while the work goes on, and nobody is let in."""
    options = {"store": redis_server.url, "store_options": {"timeout": "200ms"}}
    route = locked("/x/{key}", "x:{path.key}", wait="30s", lease="1s", lock_delay=f"{lock_delay_s}s")
    url = make_origin(service.visit).url
    lk, other = (start(policy(url, [route], **options)) for _ in range(2))
    service.hold("a")
    first = pool.submit(put, lk, "/x/a")
    service.wait_inside("a")
    if is_waited_for:
        second = pool.submit(put, other, "/x/a")
        waiting(other, 1)
    with contextlib.closing(redis_server.client()) as client:
        key = "lk:lock:{x:a}:h"
        holder = client.zrange(key, 0, 0)[0]
        lk.send_signal(signal.SIGSTOP)
        wait_until(lambda: client.zscore(key, holder) - lock_delay_s * 1_000_000 < redis_server.time_us(client),
                   30, "the lease is over")
        ended_us = client.zscore(key, holder)
        lk.send_signal(signal.SIGCONT)
        wait_until(lambda: client.zscore(key, holder) != ended_us, 30, "its sidecar has asked")
    try:
        assert service.running["a"] == 1
        if not is_waited_for:
            assert put(other, "/x/a", headers={"Prefer": "wait=0"}).status == 423
    finally:
        service.release("a")
    assert first.result().status == 200
    if is_waited_for:
        assert second.result().status == 200
    assert service.most["a"] == 1


def test_client_abort(world, service, pool):
    """on_client_abort: abort breaks the request off; the lock lapses, as the service may be at work."""
    lk = world(locked("/x/{key}", "x:{path.key}", wait="20s", lease="2s", on_client_abort="abort"))
    service.hold("a")
    client = RawClient(lk.listen)
    client.send("PUT /x/a HTTP/1.1\r\nHost: h\r\n\r\n")
    service.wait_inside("a")
    client.close()
    wait_until(lambda: lk.metric("lock_ends_total", verdict="left") == 1, 30, "left to lapse")
    begin_s = time.monotonic()
    service.release("a")
    assert put(lk, "/x/a").status == 200
    assert time.monotonic() - begin_s > 0.5


def test_max_hold(world, service):
    lk = world(locked("/x/{key}", "x:{path.key}", wait="10s", lease="2s", max_hold="2s"))
    service.hold("a")
    answer = put(lk, "/x/a")
    assert (answer.status, answer.json()["reason"], answer.json()["executed"]) == (504, "max-hold", "unknown")
    assert lk.metric("lock_ends_total", verdict="max_hold") == 1
    service.release("a")
    assert put(lk, "/x/a").status == 200


def test_renewals_keep_it(world, service, pool):
    lk = world(locked("/x/{key}", "x:{path.key}", lease="2s"))
    service.hold("a")
    first = pool.submit(put, lk, "/x/a")
    service.wait_inside("a")
    wait_until(lambda: lk.metric("lock_renewals_total", result="held") >= 5, 30, "renewals")
    assert put(lk, "/x/a").status == 423
    service.release("a")
    assert first.result().header("lock-status").startswith("acquired")


def test_what_is_told_of_waiting_and_holding(world, service, pool):
    """The histograms, and the fields of the access log, of one who waited and of the one he waited for."""
    lk = world(locked("/x/{key}", "x:{path.key}", wait="20s"), access_log="all")
    service.hold("a")
    began = time.monotonic()
    first = pool.submit(put, lk, "/x/a")
    service.wait_inside("a")
    second = pool.submit(put, lk, "/x/a")
    waiting(lk, 1)
    waits_since = time.monotonic()
    wait_until(lambda: time.monotonic() - waits_since > 0.25, 30, "a wait that can be told from none")
    service.release("a")
    answers = [first.result(), second.result()]
    most = time.monotonic() - began
    assert [answer.status for answer in answers] == [200, 200]
    tokens = [visit.token for visit in service.of("a")]
    entries = [lk.wait_access(lambda entry, token=token: entry.get("lock_token") == token) for token in tokens]
    assert [entry["lock"] for entry in entries] == ["acquired", "waited"]
    assert 250_000 <= entries[1]["lock_wait_us"] <= most * 1e6 and entries[0]["lock_wait_us"] < entries[1]["lock_wait_us"]
    for name, count in (("lock_wait_seconds", 1), ("lock_hold_seconds", 2)):
        assert lk.metric(f"{name}_count", route="x") == count
        assert 0.25 <= lk.metric(f"{name}_sum", route="x") <= 2 * most, name


def test_limits_and_lock_together(world, service, pool):
    """Who does not get the lock is not charged, and who waits is charged once."""
    route = locked("/x/{key}", "x:{path.key}")
    route["limits"] = [{"name": "few", "rate": "4/hour", "algorithm": "fixed_window", "align": "first_hit"}]
    patient = locked("/y/{key}", "y:{path.key}", wait="20s")
    patient["limits"] = [{"name": "few", "rate": "3/hour", "algorithm": "fixed_window", "align": "first_hit"}]
    lk = world(route, patient)
    service.hold("a")
    first = pool.submit(put, lk, "/x/a")
    service.wait_inside("a")
    for _ in range(10):
        assert put(lk, "/x/a").status == 423
    service.release("a")
    assert first.result().status == 200
    assert [put(lk, "/x/b").status for _ in range(4)] == [200, 200, 200, 429]
    answer = put(lk, "/x/b")
    assert answer.json()["reason"] == "quota-exceeded" and len(service.of("b")) == 3

    service.hold("c")
    running = [pool.submit(put, lk, "/y/c")]
    service.wait_inside("c")
    running.append(pool.submit(put, lk, "/y/c"))
    waiting(lk, 1)
    service.release("c")
    assert [one.result().status for one in running] == [200, 200]
    assert [put(lk, "/y/c").status for _ in range(2)] == [200, 429]


def test_shadow(world, service, pool):
    lk = world(locked("/x/{key}", "x:{path.key}", name="watched", shadow=True),
               locked("/real/{key}", "x:{path.key}"))
    service.hold("a")
    running = [pool.submit(put, lk, "/x/a") for _ in range(3)]
    service.wait_inside("a", 3)
    assert lk.metric("lock_acquires_total", route="watched", outcome="shadow_conflict") == 2
    service.release("a")
    assert all(one.result().status == 200 for one in running)
    assert {one.token for one in service.of("a")} == {0}


def test_shadow_breaks_nothing_off(world, service):
    """After max_hold; a lease that is lost is in test_lock_fence.py."""
    lk = world(locked("/x/{key}", "x:{path.key}", shadow=True, max_hold="1s"))
    assert put(lk, "/x/a?ms=1500").status == 200
    assert lk.metric("lock_ends_total", verdict="max_hold") == 1


def test_missing_keys(world, service):
    lk = world(locked("/deny", "{header.x-key}", on_missing_key="deny"),
               locked("/skip", "{header.x-key}", on_missing_key="skip"),
               locked("/shared", "{header.x-key}", on_missing_key="shared"))
    answer = put(lk, "/deny")
    assert (answer.status, answer.json()["reason"]) == (400, "missing-key")
    assert put(lk, "/skip").header("lock-status").startswith("bypassed; reason=no-key")
    assert put(lk, "/shared").header("lock-status").startswith("acquired")
    assert service.of("skip")[0].token == 0 < service.of("shared")[0].token


def test_clients_cannot_speak_for_us(world, service):
    lk = world(locked("/x/{key}", "x:{path.key}"), {"name": "plain", "match": {"path": "/plain/{key}"}})
    forged = {"Fencing-Token": "7", "Lock-Key": '"y"', "Lock-Mode": "s", "Lock-Context": "a.b"}
    assert put(lk, "/x/a", headers=forged).status == put(lk, "/plain/b", headers=forged).status == 200
    assert service.of("a")[0].token > 7 and service.of("a")[0].lock_key == '"x:a"'
    plain = service.of("b")[0]
    assert (plain.token, plain.lock_key, plain.mode, plain.context) == (0, None, None, None)


def test_drain(world, service, pool):
    """Who waits is refused, who works finishes, and its lock is given back."""
    lk = world(locked("/x/{key}", "x:{path.key}", wait="20s"))
    service.hold("a")
    first = pool.submit(put, lk, "/x/a")
    service.wait_inside("a")
    second = pool.submit(put, lk, "/x/a")
    waiting(lk, 1)
    lk.send_signal(15)
    answer = second.result()
    assert (answer.status, answer.json()["reason"], answer.json()["executed"]) == (503, "draining", "no")
    service.release("a")
    assert first.result().status == 200
    assert lk.wait_exit(10) == 0
