"""What an operator sees of a running process: who is limited, who holds which lock; and the forced
release of a lock."""

import concurrent.futures

import pytest

from harness import request, wait_until
from lock_service import LockService
from policies import limited, policy

BY_USER = {"name": "user", "key": "{header.x-user}", "rate": "5/day", "burst": 5, "on_missing_key": "shared"}


@pytest.fixture(params=["embedded", "redis"])
def store(request):
    return "embedded" if request.param == "embedded" else request.getfixturevalue("redis_server").url


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        yield threads


def get(lk, target, method="GET", status=200):
    answer = lk.admin(method, target)
    assert answer.status == status, answer.body
    return answer.json()


def ask(lk, user, count, path="/l"):
    headers = {"X-User": user} if user is not None else {}
    return [lk.request("GET", path, headers).status for _ in range(count)]


def keys_of(limit, kind):
    return {entry["key"]: entry["count"] for entry in limit["top"][kind]["keys"]}


# ---- limits ----------------------------------------------------------------------------------------


def test_who_asks_most(start, origin, store):
    lk = start(policy(origin.url, [limited("/l", BY_USER, {"name": "all", "rate": "1000/day"}),
                                   limited("/s", {**BY_USER, "mode": "shadow"})], store=store, workers=2))
    assert ask(lk, "ann", 9) == [200] * 5 + [429] * 4
    ask(lk, "bob", 3)
    ask(lk, None, 2)
    assert ask(lk, "eve", 7, "/s") == [200] * 7
    about = get(lk, "/limits")
    assert about["workers_missing"] == 0 and len(about["hash"]) == 32
    user, everybody, shadow = about["limits"]
    assert (user["route"], user["limit"], user["algorithm"], user["capacity"], user["key"]) == \
        ("l", "user", "token_bucket", 5, "{header.x-user}")
    assert user["rate"] == {"count": 5, "period_us": 86400 * 10**6}
    assert user["decisions"]["allowed"] == 10 and user["decisions"]["limited"] == 4
    # Whichever of the two workers had them.
    assert keys_of(user, "requests") == {"ann": 9, "bob": 3, None: 2}
    assert keys_of(user, "denied") == {"ann": 4}
    assert keys_of(user, "near") == {"ann": 1}
    first = user["top"]["requests"]["keys"][0]
    assert (first["key"], first["error"], first["remaining"]) == ("ann", 0, 0) and first["ms_ago"] < 60000
    assert user["top"]["requests"]["total"] == 14 and user["top"]["requests"]["others_at_most"] == 0
    assert 30000 <= user["top"]["period_ms"] <= 60000 and user["top"]["keys_watched"] == 64
    # It has no keys to tell apart.
    assert everybody["top"] is None and everybody["decisions"]["allowed"] == 14
    assert shadow["mode"] == "shadow" and keys_of(shadow, "denied") == {"eve": 2}
    one = get(lk, "/limits/l/user?count=1")
    assert keys_of(one, "requests") == {"ann": 9} and one["top"]["requests"]["others_at_most"] == 3
    # Keys are for this port alone.
    assert "ann" not in lk.scrape().body.decode() and not any("ann" in line for line in lk.err.snapshot())


def test_a_crowd_does_not_hide_who_asks_most(start, origin):
    lk = start(policy(origin.url, [limited("/l", BY_USER)], top_keys=8))
    for i in range(300):
        ask(lk, f"user-{i}", 1)
        ask(lk, "loud", 1)
    requests = get(lk, "/limits")["limits"][0]["top"]["requests"]
    # Eight for each half of the period: when one begins meanwhile there are more, of which ten are listed.
    assert requests["total"] == 600 and 8 <= len(requests["keys"]) <= 10
    first = requests["keys"][0]
    assert first["key"] == "loud" and first["count"] - first["error"] <= 300 <= first["count"]
    assert all(entry["count"] - entry["error"] <= 1 <= entry["count"] for entry in requests["keys"][1:])
    assert 1 <= requests["others_at_most"] <= 600 / 8


def test_nobody_is_watched(start, origin):
    lk = start(policy(origin.url, [limited("/l", BY_USER)], top_keys=0))
    ask(lk, "ann", 2)
    assert get(lk, "/limits")["limits"][0]["top"] is None


def test_a_reload_keeps_what_is_known(start, origin):
    lk = start(policy(origin.url, [limited("/l", BY_USER)]))
    ask(lk, "ann", 2)
    with open(lk.policy_path, "w") as file:
        file.write(policy(origin.url, [limited("/new", BY_USER), limited("/l", BY_USER)]))
    assert lk.admin("POST", "/reload").status == 200
    ask(lk, "ann", 1)
    new, old = get(lk, "/limits")["limits"]
    assert keys_of(new, "requests") == {} and keys_of(old, "requests") == {"ann": 3}


def test_a_reload_between_a_question_and_its_answer(start, origin, redis_server, pool):
    lk = start(policy(origin.url, [limited("/l", BY_USER)], store=redis_server.url))
    redis_server.stop_process()
    asked = [pool.submit(ask, lk, user, 1) for user in ("ann", "ann", "bob")]
    wait_until(lambda: lk.metric("store_pending_calls") >= 1, 30, "the store is asked")
    assert lk.admin("POST", "/reload").status == 200
    # The reload has reached the worker before this answer.
    assert keys_of(get(lk, "/limits")["limits"][0], "requests") == {}
    redis_server.continue_process()
    assert [one.result() for one in asked] == [[200]] * 3
    ask(lk, "ann", 1)
    assert keys_of(get(lk, "/limits")["limits"][0], "requests")["ann"] == 1


def test_the_state_of_a_key(start, origin, store):
    lk = start(policy(origin.url, [limited("/l", BY_USER, {"name": "all", "rate": "100/day", "algorithm":
                                                           "fixed_window"})], store=store))
    ask(lk, "ann", 3)
    for _ in range(3):  # looking costs nothing
        state = get(lk, "/limits/l/user?key=ann")
        assert (state["remaining"], state["would_pass"], state["retry_after_ms"]) == (2, True, 0)
    assert state["store_key"] == "lk:l/user:{ann}" and state["capacity"] == 5
    assert get(lk, "/limits/l/user?key=ann&cost=3")["would_pass"] is False
    assert get(lk, "/limits/l/user?key=ann&cost=6")["retry_after_ms"] is None
    ask(lk, "ann", 2)
    state = get(lk, "/limits/l/user?key=ann")
    assert state["would_pass"] is False and 0 < state["retry_after_ms"] <= 86400 / 5 * 1000
    ask(lk, None, 1)
    assert get(lk, "/limits/l/user?shared=true")["remaining"] == 4
    assert get(lk, "/limits/l/all")["remaining"] == 100 - 6
    assert get(lk, "/limits/l/user?key=nobody")["remaining"] == 5
    # Forgotten, and free again.
    assert ask(lk, "ann", 1) == [429]
    assert get(lk, "/limits/l/user?key=ann", "DELETE")["forgotten"] is True
    assert get(lk, "/limits/l/user?key=ann", "DELETE")["forgotten"] is False
    assert get(lk, "/limits/l/user?key=ann")["remaining"] == 5
    assert ask(lk, "ann", 1) == [200]
    assert lk.metric("limit_keys_forgotten_total", route="l", limit="user") == 2

    def forgotten():
        return [entry for entry in lk.log() if entry["event"] == "an operator made a limit forget a key"]

    wait_until(lambda: len(forgotten()) == 2, 30, "two lines in the log")
    told = forgotten()
    assert [entry["had_state"] for entry in told] == [1, 0] and "ann" not in str(told)


@pytest.mark.parametrize("target,status,reason", [
    ("/limits/l/nothing?key=a", 404, "no-such-limit"), ("/limits/nothing/user?key=a", 404, "no-such-limit"),
    ("/limits/l", 404, "no-such-limit"), ("/limits/l/user/more", 404, "no-such-limit"),
    ("/limits/l/user?key=a&shared=true", 400, "bad-key"), ("/limits/l/all?key=a", 400, "bad-key"),
    ("/limits/l/user?shared=maybe", 400, "bad-flag"), ("/limits/l/user?key=a&cost=-1", 400, "bad-cost"),
    ("/limits/l/user?key=a&cost=2147483649", 400, "bad-cost"), ("/limits?count=257", 400, "bad-count"),
    ("/limits?count=all", 400, "bad-count"), ("/locks?count=1001", 400, "bad-count"),
    ("/locks?key=a&shadow=1", 400, "bad-flag"),
])
def test_questions_that_make_no_sense(start, origin, target, status, reason):
    lk = start(policy(origin.url, [limited("/l", BY_USER, {"name": "all", "rate": "100/day"})]))
    assert get(lk, target, status=status)["reason"] == reason


def test_the_store_is_down(start, origin, redis_server):
    lk = start(policy(origin.url, [limited("/l", BY_USER)], store=redis_server.url,
                      store_options={"timeout": "200ms"}))
    ask(lk, "ann", 1)
    redis_server.stop_process()
    assert get(lk, "/limits/l/user?key=ann", status=503)["reason"] == "store-unavailable"
    assert get(lk, "/locks?key=a", status=503)["reason"] == "store-unavailable"
    assert get(lk, "/locks/a", "DELETE", status=503)["reason"] == "store-unavailable"
    assert keys_of(get(lk, "/limits")["limits"][0], "requests") == {"ann": 1}
    redis_server.continue_process()


def test_the_process_ends_while_an_answer_is_awaited(start, origin, redis_server, pool):
    lk = start(policy(origin.url, [limited("/l", BY_USER)], store=redis_server.url))
    redis_server.stop_process()
    asked = pool.submit(lk.admin, "GET", "/limits/l/user?key=ann")
    wait_until(lambda: lk.metric("store_pending_calls") == 1, 30, "the store is asked")
    lk.stop()
    try:
        assert asked.result().status in (503, 504)
    except OSError:
        pass  # its connection ended with the process
    redis_server.continue_process()


# ---- locks -----------------------------------------------------------------------------------------


# A third of the lease is enough for two calls of the store.
TIMEOUT = {"store_options": {"timeout": "900ms"}}


def locked(path, key, **lock):
    return {"name": path.strip("/").split("/")[0], "match": {"path": path},
            "lock": {"keys" if isinstance(key, list) else "key": key, "wait": "20s", "lease": "6s",
                     "fencing": "inject", **lock}}


def put(lk, target, headers=None):
    return request(lk.listen, "PUT", target, headers, timeout_s=30)


def test_who_holds_and_who_waits(start, make_origin, store, pool):
    service = LockService()
    lk = start(policy(make_origin(service.visit).url, [locked("/x/{key}", ["k:{path.key}", "all"]),
                                                       locked("/r/{key}", "r:{path.key}", mode="shared")],
                      store=store, workers=2, **TIMEOUT))
    service.hold("a")
    running = [pool.submit(put, lk, "/x/a", {"X-Request-Id": "first"})]
    service.wait_inside("a")
    running.append(pool.submit(put, lk, "/x/a", {"X-Request-Id": "second"}))
    running.append(pool.submit(put, lk, "/r/a", {"X-Request-Id": "reader"}))
    service.wait_inside("a", 2)
    wait_until(lambda: lk.metric("lock_waiting_requests") == 1, 30, "one waits")
    about = get(lk, "/locks")
    assert (about["held_count"], about["waiting_count"], about["workers_missing"]) == (2, 1, 0)
    first, reader = about["held"]
    assert (first["route"], first["keys"], first["mode"], first["state"], first["request_id"]) == \
        ("x", ["all", "k:a"], "exclusive", "held", "first")
    assert first["token"] == service.of("a")[0].token and 0 < first["lease_left_ms"] <= 6000
    assert (reader["route"], reader["mode"], reader["request_id"]) == ("r", "shared", "reader")
    second = about["waiting"][0]
    assert (second["request_id"], second["state"]) == ("second", "waiting")
    assert 0 < second["wait_left_ms"] <= 20000 and "token" not in second
    assert len(get(lk, "/locks?count=1")["held"]) == 1 and get(lk, "/locks?count=1")["held_count"] == 2
    # As the store sees it.
    shown = get(lk, "/locks?key=k:a")
    assert shown["holder_count"] == shown["waiter_count"] == 1
    holder = shown["holders"][0]
    assert (holder["id"], holder["token"], holder["mode"], holder["confirmed"]) == \
        (first["id"], first["token"], "exclusive", True) and 0 < holder["ends_in_ms"] <= 6000
    assert shown["waiters"][0]["id"] == second["id"] and shown["last_token"] == first["token"]
    assert [one["request_id"] for one in shown["here"]["held"] + shown["here"]["waiting"]] == ["first", "second"]
    service.release("a")
    assert [one.result().status for one in running] == [200] * 3
    wait_until(lambda: get(lk, "/locks")["held_count"] == 0, 30, "all given back")


def check_break(service, origin, pool, broken_by, holder, waiter, fence):
    """A holder is stuck; an operator breaks its lock."""
    service.hold("a")
    stuck = pool.submit(put, holder, "/x/a", {"X-Request-Id": "stuck"})
    service.wait_inside("a")
    next_one = pool.submit(put, waiter, "/x/a")
    wait_until(lambda: waiter.metric("lock_waiting_requests") == 1, 30, "waits")
    old = service.of("a")[0].token
    assert put(fence, "/f/b", {"Fencing-Token": str(old), "X-Lock": "a"}).status == 200
    assert get(broken_by, "/locks?key=k:a", "DELETE") == {"key": "k:a", "broken": 1}
    # The next waiter is served, with a newer token.
    service.wait_inside("a", 2)
    assert service.of("a")[1].token > old
    # What the broken one still writes is refused, although its sidecar has not let go of it yet.
    late = put(fence, "/f/b", {"Fencing-Token": str(old), "X-Lock": "a"})
    assert (late.status, late.json()["reason"]) == (412, "stale-fencing-token")
    assert put(fence, "/f/b", {"Fencing-Token": str(service.of("a")[1].token), "X-Lock": "a"}).status == 200
    # Its sidecar notices.
    lost = stuck.result()
    assert (lost.status, lost.json()["reason"]) == (500, "lock-lost")
    service.release("a")
    assert next_one.result().status == 200
    assert holder.metric("lock_ends_total", verdict="taken") == 1
    assert broken_by.metric("lock_breaks_total") == 1
    told = [entry for entry in broken_by.log() if entry["event"] == "a lock was broken by an operator"]
    assert [(entry["level"], entry["key"], entry["holders"]) for entry in told] == [("warn", "k:a", 1)]


FENCE = {"name": "fenced", "match": {"path": "/f/{key}"}, "fence": {"key": "k:{header.x-lock}", "scope": "shared",
                                                                   "on_missing_key": "deny"}}


def test_a_stuck_holder_is_broken_from_another_process(start, make_origin, redis_server, pool):
    service = LockService()
    origin = make_origin(service.visit)
    first, second = (start(policy(origin.url, [locked("/x/{key}", "k:{path.key}"), FENCE],
                                  store=redis_server.url, **TIMEOUT)) for _ in range(2))
    check_break(service, origin, pool, broken_by=second, holder=first, waiter=second, fence=second)


def test_a_stuck_holder_is_broken_in_its_own_process(start, make_origin, pool):
    service = LockService()
    origin = make_origin(service.visit)
    # The lease is longer than the test may take: its holder is told at once.
    lk = start(policy(origin.url, [locked("/x/{key}", "k:{path.key}", lease="10m"), FENCE], workers=2))
    check_break(service, origin, pool, broken_by=lk, holder=lk, waiter=lk, fence=lk)


def test_breaking_what_nobody_holds(start, origin):
    lk = start(policy(origin.url))
    assert get(lk, "/locks/stock%3A7", "DELETE") == {"key": "stock:7", "broken": 0}
    assert get(lk, "/locks", "DELETE", status=400)["reason"] == "bad-key"
    # Braces mean something in the store; the name that is listed has none.
    assert get(lk, "/locks?key=a%7Bb")["key"] == "a~(b"
