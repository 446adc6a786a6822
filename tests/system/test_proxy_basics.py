"""What a reverse proxy must do before it may decide anything: pass requests and answers on, whole."""

import hashlib
import json
import os
import threading
import time

import pytest

from harness import SLOWNESS, wait_until
from policies import policy
from raw import RawClient

MIB = 1024 * 1024


def test_request_and_answer_pass_unchanged(start, origin):
    proxy = start(policy(origin.url))
    answer = proxy.request("POST", "/a/b%20c?x=1&y=%2F", {"X-Own": "Mixed-Case value", "Host": "shop.test"},
                           b"hello")
    seen = answer.json()
    assert answer.status == 200
    assert (seen["method"], seen["target"], seen["length"]) == ("POST", "/a/b%20c?x=1&y=%2F", 5)
    assert ["X-Own", "Mixed-Case value"] in seen["headers"]
    assert seen["sha256"] == hashlib.sha256(b"hello").hexdigest()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_upload_arrives_whole_in_bounded_memory(start, origin, framing):
    proxy = start(policy(origin.url))
    proxy.request("GET", "/warm")
    before_kib = proxy.resident_kib()
    block = os.urandom(MIB)
    digest = hashlib.sha256()
    with RawClient(proxy.listen, 60) as client:
        field = f"Content-Length: {64 * MIB}" if framing == "length" else "Transfer-Encoding: chunked"
        client.send(f"PUT /upload HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")
        for number in range(64):
            piece = bytes([number]) + block[1:]
            digest.update(piece)
            client.send(piece if framing == "length" else b"%x\r\n%s\r\n" % (len(piece), piece))
        if framing == "chunked":
            client.send("0\r\n\r\n")
        seen = client.read_response().json()
    assert seen["length"] == 64 * MIB
    assert seen["sha256"] == digest.hexdigest()
    assert proxy.resident_kib("VmHWM") - before_kib < 16 * 1024 * SLOWNESS


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_large_download_arrives_whole_in_bounded_memory(start, make_origin, framing):
    block = os.urandom(MIB)
    digest = hashlib.sha256()
    for number in range(64):
        digest.update(bytes([number]) + block[1:])

    def send_it(request, connection):
        if request.target == "/warm":
            connection.answer(200)
            return
        field = {"length": f"Content-Length: {64 * MIB}\r\n", "chunked": "Transfer-Encoding: chunked\r\n",
                 "close": "Connection: close\r\n"}[framing]
        connection.send(f"HTTP/1.1 200 OK\r\n{field}\r\n")
        for number in range(64):
            piece = bytes([number]) + block[1:]
            connection.send(b"%x\r\n%s\r\n" % (len(piece), piece) if framing == "chunked" else piece)
        if framing == "chunked":
            connection.send("0\r\n\r\n")
        if framing == "close":
            connection.end()

    proxy = start(policy(make_origin(send_it).url))
    proxy.request("GET", "/warm")
    before_kib = proxy.resident_kib()
    answer = proxy.request("GET", "/download", timeout_s=60)
    assert len(answer.body) == 64 * MIB
    assert hashlib.sha256(answer.body).digest() == digest.digest()
    assert proxy.resident_kib("VmHWM") - before_kib < 16 * 1024 * SLOWNESS


def test_a_slow_reader_does_not_fill_memory(start, make_origin):
    sent = []

    def send_it(_request, connection):
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {64 * MIB}\r\n\r\n")
        for _ in range(64):
            connection.send(b"x" * MIB)
            sent.append(1)

    proxy = start(policy(make_origin(send_it).url))
    before_kib = proxy.resident_kib()
    with RawClient(proxy.listen, 60) as client:
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.read_head()
        # Nothing is read: the service must come to a halt long before it has sent everything.
        steady = [0, -1]

        def halted():
            steady.append(len(sent))
            return len(steady) > 40 and len(set(steady[-40:])) == 1

        wait_until(halted, 20, "the service stops sending", every_s=0.02)
        assert len(sent) < 60
        assert proxy.resident_kib() - before_kib < 16 * 1024 * SLOWNESS
        assert len(client.read_exactly(64 * MIB)) == 64 * MIB


def test_chunked_answer_stays_streaming(start, make_origin):
    """The first chunk must be seen while the service still holds back the second."""
    may_go_on = threading.Event()

    def drip(_request, connection):
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        may_go_on.wait(10)
        connection.send("6\r\nsecond\r\n0\r\n\r\n")

    proxy = start(policy(make_origin(drip).url))
    with RawClient(proxy.listen) as client:
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.read_head()
        assert client.file.readline() == b"5\r\n"
        assert client.read_exactly(7) == b"first\r\n"
        may_go_on.set()
        assert client.read_chunked() == b"second"


def test_head_answers_carry_the_length_and_no_body(start, origin):
    proxy = start(policy(origin.url))
    with RawClient(proxy.listen) as client:
        client.send("HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = client.read_response("HEAD")
        assert answer.status == 200 and int(answer.header("content-length")) > 0
        client.send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().json()["target"] == "/after"


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(start, make_origin, status):
    def answer_it(request, connection):
        connection.answer(status if request.target == "/none" else 200, b"" if request.target == "/none" else b"ok",
                          [("ETag", '"1"')])

    proxy = start(policy(make_origin(answer_it).url))
    with RawClient(proxy.listen) as client:
        client.send("GET /none HTTP/1.1\r\nHost: a\r\n\r\nGET /more HTTP/1.1\r\nHost: a\r\n\r\n")
        first = client.read_response()
        assert first.status == status and first.header("etag") == '"1"'
        assert first.header("transfer-encoding") is None
        assert status != 204 or first.header("content-length") is None
        assert client.read_response().body == b"ok"


def test_http_1_0_clients(start, make_origin):
    def answer_it(_request, connection):
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")

    proxy = start(policy(make_origin(answer_it).url))
    with RawClient(proxy.listen) as client:
        client.send("GET / HTTP/1.0\r\n\r\n")
        answer = client.read_response()
        # A 1.0 client knows no chunks: the end of the connection is the end of the body.
        assert answer.header("transfer-encoding") is None
        assert answer.body == b"abc"
        assert client.is_closed()


def test_http_1_0_keep_alive(start, origin):
    proxy = start(policy(origin.url))
    with RawClient(proxy.listen) as client:
        for _ in range(2):
            client.send("GET /k HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            answer = client.read_response()
            assert answer.json()["target"] == "/k"
            assert (answer.header("connection") or "").lower() == "keep-alive"


def test_connection_close_is_honoured(start, origin):
    proxy = start(policy(origin.url))
    with RawClient(proxy.listen) as client:
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = client.read_response()
        assert answer.header("connection").lower() == "close"
        assert client.is_closed()


def test_pipelined_requests_are_answered_in_order(start, make_origin):
    def answer_it(request, connection):
        connection.read_body(request)
        connection.answer(200, request.target.encode())

    proxy = start(policy(make_origin(answer_it).url))
    burst = "".join(f"GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n" if n % 3 else
                    f"POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" for n in range(60))
    with RawClient(proxy.listen) as client:
        client.send(burst)
        assert [client.read_response().body.decode() for _ in range(60)] == [f"/{n}" for n in range(60)]


def test_a_request_in_single_bytes(start, origin):
    proxy = start(policy(origin.url))
    with RawClient(proxy.listen) as client:
        for byte in b"POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n":
            client.send(bytes([byte]))
        assert client.read_response().json()["length"] == 2


def test_the_largest_heads_that_a_policy_may_allow(start, make_origin):
    """Both ways, so that with what is added they are larger than what was allowed."""
    size, step = 16 << 20, 60_000
    fields = [(f"X-{number:04}", "v" * (step - 10)) for number in range(size // step)]
    fields.append(("X-Last", "v" * (size % step - 50)))

    def handler(request, connection):
        sent = sum(len(name) + len(value) for name, value in request.headers if name.startswith("X-"))
        connection.answer(200, str(sent).encode(), headers=fields if request.target == "/both" else ())

    origin = make_origin(handler)
    proxy = start(policy(origin.url, sizes={"max_header_bytes": "16MiB", "max_header_count": 1000}))
    with RawClient(proxy.listen, timeout_s=20 * SLOWNESS) as client:
        for target in ("/request", "/both"):
            client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields) + "\r\n")
            response = client.read_response()
            assert response.status == 200 and int(response.body) > size - 10_000
            assert (response.header("X-Last") is not None) == (target == "/both")
    assert origin.connection_count == 1


def test_hop_by_hop_fields_stay_on_their_hop(start, make_origin):
    def answer_it(request, connection):
        body = json.dumps(request.headers).encode()
        connection.answer(200, body, [("Connection", "X-Answer-Hop"), ("X-Answer-Hop", "1"),
                                      ("Keep-Alive", "timeout=5"), ("Proxy-Authenticate", "Basic"),
                                      ("X-Answer-End", "2")])

    proxy = start(policy(make_origin(answer_it).url))
    answer = proxy.request("GET", "/", [("Connection", "X-Hop, close"), ("X-Hop", "1"), ("TE", "trailers"),
                                        ("Keep-Alive", "timeout=1"), ("Proxy-Authorization", "secret"),
                                        ("Proxy-Connection", "keep-alive"), ("Upgrade", "h2c"),
                                        ("X-End", "2")])
    names = {name.lower() for name, _ in answer.json()}
    assert not names & {"x-hop", "te", "keep-alive", "proxy-authorization", "proxy-connection", "upgrade"}
    assert "x-end" in names
    got = {name.lower() for name, _ in answer.headers}
    assert not got & {"x-answer-hop", "keep-alive", "proxy-authenticate"}
    assert "x-answer-end" in got


def test_forwarding_fields(start, origin):
    proxy = start(policy(origin.url))
    seen = proxy.request("GET", "/", {"Host": "shop.test:81"}).json()
    fields = {name.lower(): value for name, value in seen["headers"]}
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert fields["x-forwarded-host"] == "shop.test:81"
    assert fields["via"].startswith("1.1 ")
    assert fields["host"] == "shop.test:81"


def test_forwarding_fields_of_an_untrusted_client(start, origin):
    proxy = start(policy(origin.url))
    seen = proxy.request("GET", "/", {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https",
                                      "X-Forwarded-Host": "bank.test", "Host": "shop.test"}).json()
    fields = {name.lower(): value for name, value in seen["headers"]}
    # Nobody vouches for what this client says about itself: the last hop is what we saw.
    assert fields["x-forwarded-for"].split(",")[-1].strip() == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert fields["x-forwarded-host"] == "shop.test"


def test_forwarding_fields_of_a_trusted_proxy(start, origin):
    proxy = start(policy(origin.url, trusted_proxies=["127.0.0.0/8"]))
    seen = proxy.request("GET", "/", {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https",
                                      "X-Forwarded-Host": "shop.test"}).json()
    fields = {name.lower(): value for name, value in seen["headers"]}
    assert [hop.strip() for hop in fields["x-forwarded-for"].split(",")] == ["203.0.113.7", "127.0.0.1"]
    assert fields["x-forwarded-proto"] == "https"
    assert fields["x-forwarded-host"] == "shop.test"


def test_answers_name_the_proxy(start, origin):
    assert "lockkeeper" in start(policy(origin.url)).request("GET", "/").header("via").lower()


def test_connections_to_the_service_are_kept(start, origin):
    proxy = start(policy(origin.url))
    with RawClient(proxy.listen) as client:
        for _ in range(50):
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            client.read_response()
    assert origin.connection_count == 1


def test_expect_continue(start, origin):
    proxy = start(policy(origin.url))
    with RawClient(proxy.listen) as client:
        client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert client.read_head()[0] == 100
        client.send("body")
        assert client.read_response().json()["length"] == 4


def test_an_upstream_may_be_named(start, origin):
    """A service may be named, not only numbered."""
    proxy = start(policy(f"http://localhost:{origin.port}"))
    assert proxy.request("GET", "/named").json()["target"] == "/named"


def test_a_client_that_does_not_wait_for_100_continue_is_not_held_up(start, make_origin):
    """The service sends none, either.  Waiting for it would take a second for each."""
    proxy = start(policy(make_origin().url))
    began = time.monotonic()
    with RawClient(proxy.listen) as client:
        for _ in range(10):
            client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
            client.send("body")
            answer = client.read_response()
            assert (answer.status, answer.json()["length"]) == (200, 4)
    assert time.monotonic() - began < 9


TRAILING = b"5\r\nhello\r\n0\r\nX-Checksum: 42\r\nX-Other: 1\r\nHost: evil\r\nX-Checksum: 43\r\n\r\n"


def read_trailing(client):
    """The head's fields, and what follows them, up to the end of the chunks."""
    status, _, _, fields = client.read_head()
    lines = []
    while lines[-1:] != [b"\r\n"] or not any(line == b"0\r\n" for line in lines):
        lines.append(client.file.readline())
        assert lines[-1]
    assert status == 200
    return dict((name.lower(), value) for name, value in fields), b"".join(lines)


def test_trailers_of_the_list_go_on_both_ways(start, make_origin):
    seen = []

    def handler(request, connection):
        assert connection.read_body(request) == b"hello"
        seen.append((request.header("te"), request.header("connection"), request.header("trailer"), request.trailers))
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Other, X-Checksum\r\n\r\n", TRAILING)

    proxy = start(policy(make_origin(handler).url, trailers=["x-checksum", "x-unused"]))
    head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-checksum, x-other\r\n{}\r\n"
    went_on = [("X-Checksum", "42"), ("X-Checksum", "43")]
    with RawClient(proxy.listen) as client:
        client.send(head.format("TE: trailers\r\nConnection: TE\r\n"))
        client.send(TRAILING)
        fields, text = read_trailing(client)
        assert fields["trailer"] == "x-checksum"
        assert text == b"5\r\nhello\r\n0\r\nX-Checksum: 42\r\nX-Checksum: 43\r\n\r\n"
        # A client that has not asked gets none; the service gets them all the same.
        client.send(head.format(""))
        for byte in TRAILING:
            client.send(bytes([byte]))
        fields, text = read_trailing(client)
        assert "trailer" not in fields and text == b"5\r\nhello\r\n0\r\n\r\n"
    assert seen == [("trailers", "TE", "x-checksum", went_on), (None, None, "x-checksum", went_on)]


def test_trailers_of_a_locked_request_come_with_its_end(start, make_origin):
    def handler(request, connection):
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", TRAILING)

    proxy = start(policy(make_origin(handler).url, [{"name": "all", "lock": {"key": "k"}}], trailers=["x-checksum"]))
    with RawClient(proxy.listen) as client:
        for _ in range(3):
            client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
            assert read_trailing(client)[1].endswith(b"0\r\nX-Checksum: 42\r\nX-Checksum: 43\r\n\r\n")


def test_trailers_go_nowhere_where_no_chunks_go(start, make_origin):
    def handler(request, connection):
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", TRAILING)

    proxy = start(policy(make_origin(handler).url, trailers=["x-checksum"]))
    with RawClient(proxy.listen) as client:
        client.send("GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n\r\n")
        answer = client.read_response()
        assert answer.body == b"hello" and answer.header("trailer") is None
