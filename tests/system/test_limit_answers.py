"""What a client sees of limits: statuses, fields, bodies, keys, and when it may come again."""

import math
import re

import pytest

from harness import wait_until
from policies import limited, policy

BUCKET = {"name": "b", "rate": "2/hour", "algorithm": "token_bucket", "burst": 2}


def limit_keys(client):
    """The keys of limits; what sidecars know of each other is kept beside them."""
    return [key for key in client.keys("*") if not key.endswith(b":sidecars")]


def statuses(proxy, count, target="/l", headers=None):
    return [proxy.request("GET", target, headers).status for _ in range(count)]


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "sliding_log", "fixed_window"])
@pytest.mark.parametrize("engine", ["embedded", "redis"])
def test_limit_admits_its_number_and_refuses_with_a_problem(start, origin, redis_server, engine, algorithm):
    limit = {"name": "small", "rate": "3/day", "algorithm": algorithm}
    proxy = start(policy(origin.url, [limited("/l", limit)],
                         store=redis_server.unix_url if engine == "redis" else "embedded"))
    assert statuses(proxy, 3) == [200] * 3
    answer = proxy.request("GET", "/l")
    assert answer.status == 429
    assert answer.header("content-type") == "application/problem+json"
    body = answer.json()
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert (body["status"], body["reason"], body["executed"]) == (429, "quota-exceeded", "no")
    assert body["violated-policies"] == ["small"]
    assert int(answer.header("retry-after")) >= 1
    assert len(origin.seen("/l")) == 3
    assert proxy.metric("decisions_total", limit="small", decision="allowed") == 3
    assert proxy.metric("decisions_total", limit="small", decision="limited") == 1


def test_draft_fields(start, origin):
    proxy = start(policy(origin.url, [limited("/l", {**BUCKET, "rate": "10/minute", "burst": 10})]))
    answer = proxy.request("GET", "/l")
    assert re.search(r'^"b";q=10;w=60\b', answer.header("ratelimit-policy"))
    assert re.search(r'^"b";r=9\b', answer.header("ratelimit"))
    assert answer.header("x-ratelimit-limit") is None
    for _ in range(9):
        answer = proxy.request("GET", "/l")
    assert re.search(r'^"b";r=0;t=\d+', answer.header("ratelimit"))
    refused = proxy.request("GET", "/l")
    assert refused.status == 429 and re.search(r'^"b";r=0;t=\d+', refused.header("ratelimit"))


def test_legacy_fields(start, origin):
    proxy = start(policy(origin.url, [limited("/l", BUCKET)], ratelimit_headers="legacy"))
    answer = proxy.request("GET", "/l")
    assert answer.header("x-ratelimit-limit") == "2"
    assert answer.header("x-ratelimit-remaining") == "1"
    assert int(answer.header("x-ratelimit-reset")) >= 0
    assert answer.header("ratelimit") is None


def test_fields_off(start, origin):
    proxy = start(policy(origin.url, [limited("/l", BUCKET)], ratelimit_headers="off"))
    names = {name.lower() for _ in range(3) for name, _ in proxy.request("GET", "/l").headers}
    assert "retry-after" in names
    assert not {name for name in names if "ratelimit" in name}


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "sliding_log", "fixed_window"])
def test_retry_after_is_never_early(start, origin, redis_server, algorithm):
    """Refused, wait what Retry-After says by the server's clock, and the next request passes."""
    limit = {"name": "r", "rate": "2/2s", "algorithm": algorithm}
    proxy = start(policy(origin.url, [limited("/l", limit)], store=redis_server.unix_url))
    clock = redis_server.client()
    answer = None
    for _ in range(20):
        answer = proxy.request("GET", "/l")
        if answer.status == 429:
            break
    refused_by_us = redis_server.time_us(clock)
    assert answer.status == 429
    wait_s = int(answer.header("retry-after"))
    # A whole number of seconds can be late by the part of a second that was rounded up, not more.
    assert 1 <= wait_s <= 4
    wait_until(lambda: redis_server.time_us(clock) >= refused_by_us + wait_s * 1_000_000, wait_s + 2,
               "the time Retry-After asks for", every_s=0.005)
    assert proxy.request("GET", "/l").status == 200


def test_retry_after_is_exact_in_the_bucket(start, origin, redis_server):
    """An empty bucket that gains one request in 100 s: the wait is 100 s less what has passed."""
    proxy = start(policy(origin.url, [limited("/l", {"name": "s", "rate": "36/hour", "burst": 1})],
                         store=redis_server.unix_url))
    clock = redis_server.client()
    before_us = redis_server.time_us(clock)
    assert proxy.request("GET", "/l").status == 200
    answer = proxy.request("GET", "/l")
    after_us = redis_server.time_us(clock)
    assert answer.status == 429
    low = math.ceil(100 - (after_us - before_us) / 1e6)
    assert low <= int(answer.header("retry-after")) <= 100


def test_all_or_nothing(start, origin, redis_server):
    """When the second limit denies, the first is not charged: its state in Redis does not change."""
    proxy = start(policy(origin.url, [limited("/l", {"name": "wide", "rate": "1000/hour", "burst": 1000},
                                              {"name": "narrow", "rate": "1/hour", "burst": 1})],
                         store=redis_server.unix_url))
    client = redis_server.client()
    assert proxy.request("GET", "/l").status == 200
    before = {key: (client.dump(key), client.pttl(key) > 0) for key in limit_keys(client)}
    assert len(before) == 2
    for _ in range(20):
        answer = proxy.request("GET", "/l")
        assert answer.status == 429
        assert answer.json()["violated-policies"] == ["narrow"]
    after = {key: (client.dump(key), client.pttl(key) > 0) for key in limit_keys(client)}
    assert after == before
    assert all(has_ttl for _, has_ttl in after.values())


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "sliding_log", "fixed_window"])
def test_a_limit_that_never_admits_leaves_the_other_untouched(start, origin, redis_server, algorithm):
    """The cost is above the second limit, so it denies from the first request on: no key appears."""
    proxy = start(policy(origin.url, [limited("/l", {"name": "wide", "rate": "1000/hour", "algorithm": algorithm},
                                              {"name": "never", "rate": "5/hour", "algorithm": algorithm,
                                               "cost": "{header.x-cost}", "on_missing_key": "deny"})],
                         store=redis_server.unix_url))
    assert statuses(proxy, 10, headers={"X-Cost": "6"}) == [429] * 10
    assert limit_keys(redis_server.client()) == []
    assert proxy.request("GET", "/l", {"X-Cost": "5"}).status == 200
    assert len(limit_keys(redis_server.client())) == 2


def test_cost(start, origin):
    proxy = start(policy(origin.url, [limited("/l", {"name": "c", "rate": "10/hour", "burst": 10, "cost": 4})]))
    assert statuses(proxy, 4) == [200, 200, 429, 429]


def test_shadow_counts_and_never_denies(start, origin):
    proxy = start(policy(origin.url, [limited("/l", {**BUCKET, "mode": "shadow"})]))
    assert statuses(proxy, 5) == [200] * 5
    assert proxy.metric("decisions_total", decision="allowed") == 2
    assert proxy.metric("decisions_total", decision="shadow_limited") == 3


@pytest.mark.parametrize("answer, expected, decision", [
    ("skip", [200, 200, 200, 200], "skipped"),
    ("deny", [400, 400, 400, 400], "missing_key"),
    ("shared", [200, 200, 429, 429], "limited"),
])
def test_missing_key(start, origin, answer, expected, decision):
    limit = {**BUCKET, "key": "{header.x-user}", "on_missing_key": answer}
    proxy = start(policy(origin.url, [limited("/l", limit)]))
    assert statuses(proxy, 4) == expected
    assert proxy.metric("decisions_total", decision=decision) == (2 if answer == "shared" else 4)
    # A request that names its user has a budget of its own.
    assert statuses(proxy, 3, headers={"X-User": "7"}) == [200, 200, 429]


@pytest.mark.parametrize("key, first, second", [
    ("{header.x-user}", {"X-User": "a"}, {"X-User": "b"}),
    ("{cookie.sid}", {"Cookie": "x=1; sid=a"}, {"Cookie": "sid=b; x=1"}),
    ("{host}", {"Host": "a.test"}, {"Host": "b.test:80"}),
    ("{client.ip}", {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}),
    ("{client.ip}", {"X-Forwarded-For": "2001:db8:0:1::1"}, {"X-Forwarded-For": "2001:db8:0:2::1"}),
])
def test_keys_have_budgets_of_their_own(start, origin, key, first, second):
    limit = {**BUCKET, "key": key, "on_missing_key": "deny"}
    if key in ("{host}", "{client.ip}"):
        del limit["on_missing_key"]
    proxy = start(policy(origin.url, [limited("/l", limit)], trusted_proxies=["127.0.0.1/32"]))
    assert statuses(proxy, 3, headers=first) == [200, 200, 429]
    assert statuses(proxy, 3, headers=second) == [200, 200, 429]


@pytest.mark.parametrize("target", ["/stock/{}", "/q?who={}"])
def test_keys_from_the_target(start, origin, target):
    routes = [limited("/stock/{sku}", {**BUCKET, "key": "{path.sku}"}, name="stock"),
              limited("/q", {**BUCKET, "key": "{query.who}", "on_missing_key": "skip"}, name="query")]
    proxy = start(policy(origin.url, routes))
    assert statuses(proxy, 3, target.format("42")) == [200, 200, 429]
    assert statuses(proxy, 3, target.format("43")) == [200, 200, 429]


@pytest.mark.parametrize("spoofed", ["203.0.113.9", "127.0.0.1", "::1, 203.0.113.9", "garbage"])
def test_an_untrusted_client_cannot_choose_its_address(start, origin, spoofed):
    proxy = start(policy(origin.url, [limited("/l", {**BUCKET, "key": "{client.ip}"})]))
    assert statuses(proxy, 2) == [200, 200]
    assert statuses(proxy, 2, headers={"X-Forwarded-For": spoofed}) == [429, 429]


def test_the_client_is_the_right_most_untrusted_hop(start, origin):
    proxy = start(policy(origin.url, [limited("/l", {**BUCKET, "key": "{client.ip}"})],
                         trusted_proxies=["127.0.0.1/32", "10.0.0.0/8"]))
    for spoofed in ("1.1.1.1", "2.2.2.2", "10.9.9.9"):
        # What the client itself put in front changes nothing.
        proxy.request("GET", "/l", {"X-Forwarded-For": f"{spoofed}, 203.0.113.5, 10.1.2.3"})
    assert statuses(proxy, 1, headers={"X-Forwarded-For": "203.0.113.5"}) == [429]
    assert statuses(proxy, 1, headers={"X-Forwarded-For": "203.0.113.6"}) == [200]


def test_ipv6_clients_count_by_their_network(start, origin):
    proxy = start(policy(origin.url, [limited("/l", {**BUCKET, "key": "{client.ip}"})],
                         trusted_proxies=["127.0.0.1/32"]))
    hosts = ["2001:db8:7:1::1", "2001:db8:7:1:ffff::2", "2001:db8:7:1:1:2:3:4", "2001:db8:7:2::1"]
    got = [proxy.request("GET", "/l", {"X-Forwarded-For": host}).status for host in hosts]
    assert got == [200, 200, 429, 200]


def test_v4_mapped_clients_are_folded(start, origin):
    proxy = start(policy(origin.url, [limited("/l", {**BUCKET, "key": "{client.ip}"})],
                         trusted_proxies=["127.0.0.1/32"]))
    hosts = ["203.0.113.5", "::ffff:203.0.113.5", "::ffff:cb00:7105", "::ffff:203.0.113.6"]
    got = [proxy.request("GET", "/l", {"X-Forwarded-For": host}).status for host in hosts]
    assert got == [200, 200, 429, 200]


def test_long_and_odd_keys_are_bounded(start, origin, redis_server):
    limit = {**BUCKET, "key": "{header.x-user}", "on_missing_key": "deny"}
    proxy = start(policy(origin.url, [limited("/l", limit)], store=redis_server.unix_url))
    for value in ("a" * 8000, "a" * 7999 + "b", "with {braces} and * ? [x] spaces"):
        assert statuses(proxy, 3, headers={"X-User": value}) == [200, 200, 429], value[:20]
    keys = limit_keys(redis_server.client())
    assert len(keys) == 3
    assert max(map(len, keys)) < 400


def test_two_routes_do_not_share_a_budget(start, origin):
    proxy = start(policy(origin.url, [limited("/a", BUCKET), limited("/b", BUCKET)]))
    assert statuses(proxy, 3, "/a") == [200, 200, 429]
    assert statuses(proxy, 3, "/b") == [200, 200, 429]
