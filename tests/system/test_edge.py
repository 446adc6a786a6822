"""What Lockkeeper takes from the hop before it and tells the service: forwarding fields, request ids and
traces; and which requests the access log keeps."""

import re
import socket

import pytest

import harness
from policies import limited, policy

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
SPOOFED = [("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "2.2.2.2"), ("X-Forwarded-Proto", "https"),
           ("X-Forwarded-Host", "bank.example")]


def forwarded(proxy, headers=()):
    """What the service got of these fields."""
    answer = proxy.request("GET", "/", [("Host", "shop.example:81"), *headers])
    assert answer.status == 200
    fields = {}
    for name, value in answer.json()["headers"]:
        fields.setdefault(name.lower(), []).append(value)
    return {name: ", ".join(values) for name, values in fields.items()
            if name in ("forwarded", "traceparent", "tracestate", "x-request-id") or name.startswith("x-forwarded-")}


def own(peer="127.0.0.1", by="127.0.0.1"):
    return f'for={peer};proto=http;host="shop.example:81";by={by}'


@pytest.mark.parametrize("headers, trusted, expected", [
    ("x_forwarded", False, {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http",
                            "x-forwarded-host": "shop.example:81"}),
    ("x_forwarded", True, {"x-forwarded-for": "2.2.2.2, 127.0.0.1", "x-forwarded-proto": "https",
                           "x-forwarded-host": "bank.example"}),
    ("forwarded", False, {"forwarded": own()}),
    ("forwarded", True, {"forwarded": "for=1.1.1.1, " + own()}),
    ("both", False, {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http",
                     "x-forwarded-host": "shop.example:81", "forwarded": own()}),
    ("both", True, {"x-forwarded-for": "2.2.2.2, 127.0.0.1", "x-forwarded-proto": "https",
                    "x-forwarded-host": "bank.example",
                    "forwarded": "for=2.2.2.2;proto=https;host=bank.example, " + own()}),
])
def test_forwarding_fields(start, origin, headers, trusted, expected):
    proxy = start(policy(origin.url, forwarding={"headers": headers},
                         trusted_proxies=["127.0.0.1"] if trusted else ["192.0.2.1"]))
    got = forwarded(proxy, SPOOFED)
    got.pop("x-request-id")
    assert got == expected
    client = {"x_forwarded": "2.2.2.2", "forwarded": "1.1.1.1", "both": "2.2.2.2"}[headers] if trusted else "127.0.0.1"
    assert proxy.wait_access(lambda line: "path" in line)["client_ip"] == client


def test_forwarded_over_ipv6(start, origin):
    if not has_ipv6():
        pytest.fail("::1 is needed")
    proxy = start(policy(origin.url, listen="[::1]:0", forwarding={"headers": "forwarded"}))
    assert forwarded(proxy)["forwarded"] == own('"[::1]"', '"[::1]"')


def has_ipv6():
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


def test_limits_count_by_forwarded(start, origin):
    bucket = {"name": "b", "key": "{client.ip}", "rate": "1/day", "burst": 1}
    proxy = start(policy(origin.url, [limited("/", bucket)], trusted_proxies=["127.0.0.1"],
                         forwarding={"headers": "forwarded"}))

    def status(value):
        return proxy.request("GET", "/", {"Forwarded": value}).status

    assert [status("for=192.0.2.1"), status('for="192.0.2.2:80"'), status("for=192.0.2.1")] == [200, 200, 429]
    # An open quote hides nobody: its sender is counted with the proxy.
    assert [status('for=9.9.9.9, for="192.0.2.3'), status('for=8.8.8.8, for="192.0.2.4')] == [200, 429]


def test_request_ids(start, origin):
    proxy = start(policy(origin.url))
    assert forwarded(proxy, [("X-Request-Id", "mine-1")])["x-request-id"] == "mine-1"
    made = [forwarded(proxy, headers)["x-request-id"]
            for headers in ([], [("X-Request-Id", 'a"b')], [("X-Request-Id", "x" * 129)])]
    assert len(set(made)) == 3 and all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    # Client, service and log know the same one.
    answer = proxy.request("GET", "/")
    sent = dict((name.lower(), value) for name, value in answer.json()["headers"])["x-request-id"]
    assert answer.header("x-request-id") == sent
    proxy.wait_access(lambda line: line.get("request_id") == sent)


@pytest.mark.parametrize("mode", ["pass", "make"])
def test_good_traces_pass(start, origin, mode):
    proxy = start(policy(origin.url, forwarding={"trace": mode}))
    got = forwarded(proxy, [("Traceparent", TRACEPARENT), ("tracestate", "a=1,b=2"), ("tracestate", "c=3")])
    assert (got["traceparent"], got["tracestate"]) == (TRACEPARENT, "a=1,b=2, c=3")
    assert proxy.wait_access(lambda line: "path" in line)["trace_id"] == TRACE_ID


@pytest.mark.parametrize("headers", [
    [], [("traceparent", TRACEPARENT[:-1])], [("traceparent", TRACEPARENT.upper())],
    [("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)],
    [("traceparent", "00-" + "0" * 32 + "-b7ad6b7169203331-01")],
])
def test_bad_traces_end_here(start, origin, headers):
    passing = start(policy(origin.url))
    got = forwarded(passing, [*headers, ("tracestate", "a=1")])
    assert "traceparent" not in got and "tracestate" not in got
    assert "trace_id" not in passing.wait_access(lambda line: "path" in line)
    making = start(policy(origin.url, forwarding={"trace": "make"}))
    got = forwarded(making, [*headers, ("tracestate", "a=1")])
    made = re.fullmatch("00-([0-9a-f]{32})-[0-9a-f]{16}-01", got["traceparent"])
    assert made and "tracestate" not in got
    assert making.wait_access(lambda line: "path" in line)["trace_id"] == made[1] != TRACE_ID


def test_made_traces_may_not_be_sampled(start, origin):
    proxy = start(policy(origin.url, forwarding={"trace": "make", "trace_sample": 0}))
    assert all(forwarded(proxy)["traceparent"].endswith("-00") for _ in range(20))


def trace_with(last_digits):
    return {"traceparent": f"00-{'1' * 18}{last_digits}-b7ad6b7169203331-01"}


def test_access_log_sampling(start, make_origin):
    def handler(request, connection):
        connection.answer(404 if request.target == "/lost" else 200)

    origin = make_origin(handler)
    bucket = {"name": "b", "rate": "1/day", "burst": 1}
    proxy = start(policy(origin.url, [limited("/full", bucket), limited("/watched", {**bucket, "mode": "shadow"}),
                                      {"name": "rest"}],
                         access_log_options={"sample": "1/4", "slow": "1h"}))
    # The same traces are in the sample everywhere: those that end high.
    assert proxy.request("GET", "/in", trace_with("c0000000000000")).status == 200
    assert proxy.request("GET", "/out", trace_with("bfffffffffffff")).status == 200
    # What went wrong, was refused, or would have been, is never left out.
    for path in ("/full", "/full", "/watched", "/watched", "/lost"):
        proxy.request("GET", path, trace_with("00000000000000"))
    proxy.request("GET", "/end", trace_with("ffffffffffffff"))
    proxy.wait_access(lambda line: line.get("path") == "/end")
    lines = [(line["path"], line["status"], line.get("sample_rate")) for line in proxy.access_log()]
    assert lines == [("/in", 200, 0.25), ("/full", 429, None), ("/watched", 200, None), ("/lost", 404, None),
                     ("/end", 200, 0.25)]
    assert proxy.metric("access_log_sampled_out_total") == 3


def test_slow_requests_are_always_logged(start, origin):
    proxy = start(policy(origin.url, access_log_options={"sample": 0, "slow": "1ms"}))
    released = harness.threading.Event()
    origin.handler = lambda request, connection: (released.wait(0.05), connection.answer(200))
    proxy.request("GET", "/slow")
    line = proxy.wait_access(lambda line: line.get("path") == "/slow")
    assert line["duration_us"] >= 1000 and "sample_rate" not in line


def test_without_a_trace_the_request_id_decides(start, origin):
    """Two hops leave out the same requests."""
    inner = start(policy(origin.url, access_log_options={"sample": "1/2", "slow": "1h"}))
    outer = start(policy(f"http://127.0.0.1:{inner.port}", access_log_options={"sample": "1/2", "slow": "1h"}))
    for number in range(40):
        assert outer.request("GET", "/", {"X-Request-Id": f"request-{number}"}).status == 200
    left_out = outer.metric("access_log_sampled_out_total")
    assert 5 < left_out < 35
    assert inner.metric("access_log_sampled_out_total") == left_out

    def ids(proxy):
        return sorted(line["request_id"] for line in proxy.access_log())

    for proxy in (inner, outer):
        harness.wait_until(lambda proxy=proxy: len(ids(proxy)) == 40 - left_out, 30, "the lines")
    assert ids(inner) == ids(outer)
