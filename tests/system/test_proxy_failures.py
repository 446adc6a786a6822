"""What clients and services do wrong, and what the other side gets to see of it."""

import socket
import struct
import threading
import time

import pytest

from harness import SLOWNESS, free_port, wait_until
from policies import policy
from raw import RawClient

SHORT = {"header": "300ms", "body": "300ms", "idle": "300ms", "response": "300ms", "connect": "300ms",
         "response_body": "300ms", "write": "1s"}


def assert_problem(answer, status, reason, executed):
    assert answer.status == status
    assert answer.header("content-type") == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["reason"], body["executed"]) == (status, reason, executed)
    assert body["type"] and body["title"]


def never_answers(until):
    def handler(request, connection):
        connection.read_body(request)
        until.wait(20)
    return handler


@pytest.fixture
def released():
    """Set at the end of the test, so that handlers that hang let go."""
    event = threading.Event()
    yield event
    event.set()


def test_service_that_refuses_connections(start):
    proxy = start(policy(f"http://127.0.0.1:{free_port()}"))
    assert_problem(proxy.request("GET", "/"), 502, "upstream-unreachable", "no")
    assert proxy.metric("upstream_failures_total") == 1


def test_service_that_is_too_slow(start, make_origin, released):
    proxy = start(policy(make_origin(never_answers(released)).url, timeouts=SHORT))
    began = time.monotonic()
    assert_problem(proxy.request("GET", "/"), 504, "upstream-timeout", "unknown")
    assert 0.29 < time.monotonic() - began < 5


@pytest.mark.parametrize("answer", [b"this is not HTTP\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n",
                                    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"])
def test_service_that_does_not_speak_http(start, make_origin, answer):
    def handler(_request, connection):
        connection.send(answer)
        connection.end()

    proxy = start(policy(make_origin(handler).url))
    assert_problem(proxy.request("GET", "/"), 502, "upstream-bad-answer", "unknown")


def test_service_that_hangs_up_without_an_answer(start, make_origin):
    def handler(_request, connection):
        connection.end()

    proxy = start(policy(make_origin(handler).url))
    assert_problem(proxy.request("POST", "/", body=b"x"), 502, "upstream-closed", "unknown")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_service_that_hangs_up_within_its_answer_is_visible(start, make_origin, framing):
    def handler(_request, connection):
        field = "Content-Length: 100" if framing == "length" else "Transfer-Encoding: chunked"
        connection.send(f"HTTP/1.1 200 OK\r\n{field}\r\n\r\n" + ("5\r\nhello\r\n" if framing == "chunked" else "hello"))
        connection.end()

    proxy = start(policy(make_origin(handler).url))
    with RawClient(proxy.listen) as client:
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read_response()
    wait_until(lambda: proxy.metric("upstream_failures_total") == 1, what="the failure is counted")


def test_service_that_stalls_within_its_answer(start, make_origin, released):
    def handler(_request, connection):
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        released.wait(20)

    proxy = start(policy(make_origin(handler).url, timeouts=SHORT))
    with RawClient(proxy.listen) as client:
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read_response()


def test_stale_pooled_connection_is_replaced_without_the_client_noticing(start, make_origin):
    def handler(request, connection):
        connection.answer(200, request.target.encode())
        connection.end()  # although it said nothing of closing

    origin = make_origin(handler)
    proxy = start(policy(origin.url))
    with RawClient(proxy.listen) as client:
        for number in range(20):
            client.send(f"GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.read_response()
            assert (answer.status, answer.body.decode()) == (200, f"/{number}")


def test_client_that_sends_its_head_too_slowly(start, origin):
    proxy = start(policy(origin.url, timeouts=SHORT))
    with RawClient(proxy.listen) as client:
        client.send("GET / HTTP/1.1\r\nHos")
        answer = client.read_response()
        assert answer.status == 408
        assert client.is_closed()
    assert not origin.seen()


def test_client_that_sends_its_body_too_slowly(start, make_origin):
    def handler(request, connection):
        connection.read_body(request)
        connection.answer(200)

    proxy = start(policy(make_origin(handler).url, timeouts={**SHORT, "response": "5s"}))
    with RawClient(proxy.listen) as client:
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        assert client.read_response().status == 408
        assert client.is_closed()


def test_idle_connections_are_closed_quietly(start, origin):
    proxy = start(policy(origin.url, timeouts=SHORT))
    with RawClient(proxy.listen) as client:
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().status == 200
        assert client.is_closed()


@pytest.mark.parametrize("text, status", [
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX-Bad: a\x00b\r\n\r\n", 400),
    (b"G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX-Big: " + b"x" * 200_000 + b"\r\n\r\n", 431),
], ids=range(10))
def test_malformed_requests(start, origin, text, status):
    proxy = start(policy(origin.url))
    with RawClient(proxy.listen) as client:
        try:
            client.send(text)
        except ConnectionError:
            pass  # refused before all of it was sent
        answer = client.read_response()
        assert answer.status == status
        assert answer.header("content-type") == "application/problem+json"
        assert answer.json()["executed"] == "no"
        assert client.is_closed()
    assert not origin.seen()


def test_a_body_beyond_the_limit(start, origin):
    proxy = start(policy(origin.url, sizes={"max_body_bytes": 1000}))
    assert proxy.request("POST", "/", body=b"x" * 1000).status == 200
    with RawClient(proxy.listen) as client:
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
        assert client.read_response().status == 413
    assert len(origin.seen()) == 1


def reset(sock):
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("choice", [None, "abort", "finish"])
def test_client_that_leaves_while_the_service_works(start, make_origin, choice):
    """on_client_abort: by default the service's connection is closed; finish lets it come to its end."""
    arrived, left = threading.Event(), threading.Event()
    noticed = []

    def handler(request, connection):
        connection.read_body(request)
        if request.target == "/long":
            arrived.set()
            assert left.wait(20)
            if choice != "finish":
                connection.sock.settimeout(10 * SLOWNESS)
                noticed.append(connection.sock.recv(1))
                return
        connection.answer(200, b"x" * 200_000)
        noticed.append(request.target)

    route = {"name": "all", **({"on_client_abort": choice} if choice else {})}
    origin = make_origin(handler)
    proxy = start(policy(origin.url, [route]))
    client = RawClient(proxy.listen)
    client.send("POST /long HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    assert arrived.wait(5 * SLOWNESS)
    client.file.close()
    reset(client.sock)
    wait_until(lambda: proxy.metric("client_connections") == 0, 30, "the client has gone")
    left.set()
    assert proxy.wait_access(lambda entry: entry.get("path") == "/long")["reason"] == "client-gone"
    assert proxy.request("GET", "/next").status == 200
    wait_until(lambda: len(noticed) == 2, 30, "the service is done")
    assert noticed == ([b"", "/next"] if choice != "finish" else ["/long", "/next"])
    # What came to its end leaves its connection to the next.
    assert origin.connection_count == (2 if choice != "finish" else 1)


@pytest.mark.parametrize("choice", [None, "abort_on_close"])
def test_client_that_closes_its_side_while_the_service_works(start, make_origin, choice):
    """Without a reset it cannot be told from a client that half-closes: which it is, on_client_abort says."""
    arrived, noticed = threading.Event(), threading.Event()

    def handler(request, connection):
        arrived.set()
        if choice is None:
            connection.answer(200, b"late")
        elif connection.sock.recv(1) == b"":
            noticed.set()

    route = {"name": "all", **({"on_client_abort": choice} if choice else {})}
    proxy = start(policy(make_origin(handler).url, [route]))
    with RawClient(proxy.listen) as client:
        client.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        if choice is not None:
            assert arrived.wait(5 * SLOWNESS)
        client.sock.shutdown(socket.SHUT_WR)
        if choice is None:
            assert client.read_response().body == b"late"
        else:
            assert noticed.wait(5 * SLOWNESS)
        assert client.is_closed()
    line = proxy.wait_access(lambda entry: entry.get("path") == "/long")
    assert (line["status"], line.get("reason")) == ((200, None) if choice is None else (0, "client-gone"))
    wait_until(lambda: proxy.metric("client_connections") == 0, 30, "the client has gone")


def test_a_request_the_service_has_only_in_part_is_never_finished(start, make_origin):
    arrived, cut = threading.Event(), threading.Event()

    def handler(request, connection):
        arrived.set()
        try:
            connection.read_body(request)
        except ConnectionError:
            cut.set()

    proxy = start(policy(make_origin(handler).url, [{"name": "all", "on_client_abort": "finish"}]))
    client = RawClient(proxy.listen)
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
    assert arrived.wait(5 * SLOWNESS)
    client.file.close()
    reset(client.sock)
    assert cut.wait(5 * SLOWNESS)


def test_clients_that_leave_at_every_moment(start, make_origin):
    """Resets in the middle of heads, bodies and answers: nothing is left open, nothing crashes."""
    def handler(request, connection):
        connection.read_body(request)
        connection.answer(200, b"x" * 200_000)

    proxy = start(policy(make_origin(handler).url))
    text = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n" + b"b" * 2000
    for cut in list(range(1, 60, 3)) + [100, 500, 2000, len(text)]:
        client = RawClient(proxy.listen)
        client.send(text[:cut])
        if cut == len(text):
            client.file.read(1000)
        client.file.close()
        reset(client.sock)
    wait_until(lambda: proxy.metric("client_connections") == 0, 30, "all connections are gone")
    assert proxy.request("POST", "/p", body=b"ok").status == 200
