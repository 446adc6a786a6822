"""Requests that reach a worker in one tick travel in one call of the store; what each gets is its own."""

import contextlib
import http.client
import signal
from collections import Counter

import pytest

import harness
from harness import wait_until
from policies import limited, policy

PER_USER = {"name": "user", "key": "{header.x-user}", "on_missing_key": "deny", "rate": "3/hour", "burst": 3,
            "on_store_failure": "deny"}
ALL = {"name": "all", "rate": "30/hour", "burst": 30, "on_store_failure": "deny"}


@contextlib.contextmanager
def connections(proxy, count):
    host, port = proxy.listen
    opened = [http.client.HTTPConnection(host, port, timeout=30) for _ in range(count)]
    try:
        for one in opened:  # the worker has accepted it
            one.request("GET", "/free")
            assert one.getresponse().read() == b"ok"
        yield opened
    finally:
        for one in opened:
            one.close()


def ask_at_once(proxy, users, target="/limited"):
    """The statuses, in the order of users.  The worker finds all of the requests when it wakes up."""
    with connections(proxy, len(users)) as opened:
        proxy.send_signal(signal.SIGSTOP)
        for one, user in zip(opened, users):
            one.request("GET", target, headers={"X-User": user})
        proxy.send_signal(signal.SIGCONT)
        answers = [one.getresponse() for one in opened]
        return [(answer.read(), answer.status)[1] for answer in answers]


@pytest.fixture
def service(make_origin):
    return make_origin(lambda _request, connection: connection.answer(200, b"ok"))


def start_proxy(start, service, store, *limits):
    return start(policy(service.url, [limited("/limited", *limits), {"name": "free", "match": {"path": "/free"}}],
                        store=store))


def store_calls(proxy):
    return proxy.metric("store_calls_total", script="limits")


def test_each_user_gets_what_is_his(start, service, redis_server):
    proxy = start_proxy(start, service, redis_server.unix_url, PER_USER)
    users = [f"u{number % 20}" for number in range(100)]
    statuses = ask_at_once(proxy, users)
    assert Counter(user for user, status in zip(users, statuses) if status == 200) == {f"u{n}": 3 for n in range(20)}
    assert Counter(statuses) == {200: 60, 429: 40}
    # 20 groups fit one call; the requests may be found in two or three ticks.
    assert store_calls(proxy) <= 10


def test_two_limits_are_charged_together(start, service, redis_server):
    """All groups share the key of the second limit, which has room for half of them."""
    proxy = start_proxy(start, service, redis_server.unix_url, PER_USER, ALL)
    users = [f"u{number}" for number in range(60)]
    statuses = ask_at_once(proxy, users)
    assert Counter(statuses) == {200: 30, 429: 30}
    keys = {key for key in redis_server.client().scan_iter("lk:limited/user:*")}
    assert keys == {f"lk:limited/user:{{{user}}}".encode() for user, status in zip(users, statuses) if status == 200}
    assert store_calls(proxy) <= 10


@pytest.mark.parametrize("plant", [("set", "hello"), ("hset", "field", "value")])
def test_a_key_that_is_not_ours_troubles_nobody_else(start, service, redis_server, plant):
    proxy = start_proxy(start, service, redis_server.unix_url, PER_USER)
    proxy.allow_errors("store refuses calls")
    client = redis_server.client()
    client.execute_command(plant[0], "lk:limited/user:{u3}", *plant[1:])
    users = [f"u{number}" for number in range(30)]
    assert ask_at_once(proxy, users) == [503 if user == "u3" else 200 for user in users]
    assert proxy.metric("decisions_total", limit="user", decision="error_denied") == 1
    lines = [line for line in proxy.log() if line["event"] == "store refuses calls"]
    assert len(lines) == 1 and "u3" not in str(lines) and "Lockkeeper has not written" in lines[0]["reason"]
    assert client.type("lk:limited/user:{u3}") == {"set": b"string", "hset": b"hash"}[plant[0]]


class ClusterNode(harness.Redis):
    """A cluster of one node, which has all hash slots."""

    def arguments(self):
        return [*super().arguments(), "--cluster-enabled", "yes", "--cluster-port", str(harness.free_port())]

    def start(self):
        super().start()
        client = self.client()
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")), 20, "a cluster")


@pytest.fixture
def cluster_node(tmp_path):
    server = ClusterNode(str(tmp_path / "node"))
    yield server
    server.close()


def test_a_node_of_a_cluster_gets_keys_of_one_slot(start, service, cluster_node):
    proxy = start_proxy(start, service, cluster_node.unix_url, PER_USER)
    users = [f"u{number}" for number in range(40)]
    assert set(ask_at_once(proxy, users)) == {200}
    assert store_calls(proxy) == 40


def test_a_cluster_that_hides_is_found_out(start, service, cluster_node):
    """Its user may not ask what it is: the first call with keys of several slots tells."""
    cluster_node.client().execute_command("ACL", "SETUSER", "default", "-info")
    proxy = start_proxy(start, service, cluster_node.unix_url, PER_USER)
    proxy.allow_errors("store refuses calls")
    wait_until(lambda: 503 in ask_at_once(proxy, [f"a{number}" for number in range(20)]), 20, "a refused call")
    assert set(ask_at_once(proxy, [f"b{number}" for number in range(40)])) == {200}
    assert proxy.metric("store_calls_total", script="limits", result="refused") > 0
