"""Several services: routes choose, addresses share the load, and what fails is left out."""

import json

import pytest

import harness
from policies import policy
from tls_files import Authority, TlsOrigin


def named(document, *upstreams, **changes):
    """A policy of policy() with upstreams instead of upstream."""
    document = json.loads(document)
    document.pop("upstream", None)
    return json.dumps({**document, "upstreams": list(upstreams), **changes})


def closed_port():
    return f"http://127.0.0.1:{harness.free_port()}"


def test_routes_choose_their_service(start, make_origin):
    first, second = make_origin(), make_origin()
    routes = [{"name": "b", "match": {"path": "/b"}, "upstream": "second"}, {"name": "rest"}]
    proxy = start(policy(first.url, routes, upstreams=[{"name": "second", "url": second.url}]))
    assert proxy.request("GET", "/a").status == 200
    assert proxy.request("GET", "/b").status == 200
    assert (first.seen(), second.seen()) == ([("GET", "/a")], [("GET", "/b")])
    assert proxy.metric("upstream_connections", upstream="default", state="idle") == 1
    assert proxy.metric("upstream_connections", upstream="second", state="idle") == 1


def test_without_upstream_the_first_of_the_list_serves(start, make_origin):
    first, second = make_origin(), make_origin()
    proxy = start(named(policy(""), {"name": "x", "url": first.url}, {"name": "y", "url": second.url}))
    assert proxy.request("GET", "/").status == 200
    assert len(first.seen()) == 1 and not second.seen()


@pytest.mark.parametrize("balance", ["round_robin", "least_connections"])
def test_addresses_share_the_load(start, make_origin, balance):
    origins = [make_origin() for _ in range(3)]
    proxy = start(named(policy(""), {"name": "x", "addresses": [one.url for one in origins], "balance": balance}))
    for _ in range(9):
        assert proxy.request("GET", "/").status == 200
    assert [len(one.seen()) for one in origins] == [3, 3, 3]


def test_a_dead_address_costs_no_request_and_is_left_out(start, origin):
    upstream = {"name": "x", "addresses": [closed_port(), origin.url], "health": {"failures": 2, "eject": "1h"}}
    proxy = start(named(policy(""), upstream))
    for _ in range(8):
        assert proxy.request("POST", "/", body=b"x").status == 200
    assert proxy.metric("upstream_ejections_total", upstream="x") == 1
    assert proxy.metric("upstream_retries_total", upstream="x") == 2
    assert proxy.metric("upstream_failures_total", upstream="x") == 2


def test_an_address_comes_back(start, make_origin):
    broken = []

    def fail_first(request, connection):
        if not broken:
            broken.append(True)
            connection.end()
            return
        connection.answer(200, b"back")

    flaky, steady = make_origin(fail_first), make_origin()
    upstream = {"name": "x", "addresses": [flaky.url, steady.url], "health": {"failures": 1, "eject": "300ms"}}
    proxy = start(named(policy(""), upstream))
    assert proxy.request("GET", "/").status == 502
    assert proxy.metric("upstream_ejections_total", upstream="x") == 1
    harness.wait_until(lambda: proxy.request("GET", "/").body == b"back", 30, "the address serves again")
    proxy.err.wait(lambda line: "address works again" in line, 30, "the address is announced")


def test_all_addresses_dead_is_a_502(start):
    proxy = start(named(policy(""), {"name": "x", "addresses": [closed_port(), closed_port()]}))
    answer = proxy.request("GET", "/")
    assert answer.status == 502 and answer.json()["executed"] == "no"


@pytest.mark.parametrize("host, seen", [("keep", "shop.example"), ("rewrite", None)])
def test_host(start, origin, host, seen):
    proxy = start(named(policy(""), {"name": "x", "url": origin.url, "host": host}))
    headers = dict(map(tuple, proxy.request("GET", "/", {"Host": "shop.example"}).json()["headers"]))
    assert headers["Host"] == (seen or origin.url.removeprefix("http://"))
    assert headers["X-Forwarded-Host"] == "shop.example"


def test_old_connections_are_not_used_again(start, origin):
    proxy = start(named(policy(""), {"name": "x", "url": origin.url, "max_age": "1ms"}))
    with_age = proxy.request("GET", "/").status
    harness.wait_until(lambda: proxy.request("GET", "/").status == 200 and origin.connection_count >= 2, 30,
                       "a fresh connection")
    assert with_age == 200


def test_a_reload_swaps_services(start, make_origin):
    old, new = make_origin(), make_origin()
    proxy = start(policy(old.url))
    assert proxy.request("GET", "/").status == 200
    with open(proxy.policy_path, "w") as file:
        file.write(policy(new.url))
    proxy.send_signal(harness.signal.SIGHUP)
    harness.wait_until(lambda: proxy.request("GET", "/").status == 200 and new.seen(), 30, "the new service")
    harness.wait_until(lambda: proxy.metric("upstream_connections") == 1, 30, "connections of the old pool are gone")


def test_https_is_verified_and_names_itself(start, tmp_path):
    authority = Authority(tmp_path / "tls")
    origin = TlsOrigin(*authority.issue("server"))
    try:
        upstream = {"name": "x", "url": origin.url, "tls": {"ca_file": authority.ca_file}}
        proxy = start(named(policy(""), upstream))
        assert [proxy.request("GET", "/").status for _ in range(2)] == [200, 200]
        assert origin.server_names == ["localhost"] and origin.protocols == ["http/1.1"]
    finally:
        origin.close()


@pytest.mark.parametrize("tls, status", [
    ({}, 502),                              # the system's authorities did not sign it
    ({"ca_file": True, "server_name": "other.example"}, 502),
    ({"verify": False}, 200),
])
def test_https_refuses_what_it_cannot_verify(start, tmp_path, tls, status):
    authority = Authority(tmp_path / "tls")
    origin = TlsOrigin(*authority.issue("server"))
    try:
        if tls.get("ca_file"):
            tls = {**tls, "ca_file": authority.ca_file}
        proxy = start(named(policy(""), {"name": "x", "url": origin.url, "tls": tls}))
        assert proxy.request("GET", "/").status == status
        assert len(origin.seen()) == (1 if status == 200 else 0)
    finally:
        origin.close()


def test_https_with_a_client_certificate(start, tmp_path):
    authority = Authority(tmp_path / "tls")
    origin = TlsOrigin(*authority.issue("server"), client_ca=authority.ca_file)
    certificate, key = authority.issue("client")
    try:
        tls = {"ca_file": authority.ca_file, "certificate": certificate, "key": key}
        proxy = start(named(policy(""), {"name": "x", "url": origin.url, "tls": tls}))
        assert proxy.request("GET", "/").status == 200
        assert origin.clients[0]["subject"] == ((("commonName", "client"),),)
    finally:
        origin.close()
