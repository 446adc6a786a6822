"""WebSocket and other tunnels: bytes both ways, ends, and what guards have to say of them."""

import socket
import ssl
import struct
import threading
import time

import pytest

from harness import SLOWNESS, wait_until
from policies import policy
from raw import RawClient
from tls_files import Authority, TlsOrigin
from websocket import BINARY, CLOSE, WebSocket, accept, echo

MIB = 1 << 20
LOCKED = {"name": "ws", "match": {"path": "/ws"}, "lock": {"key": "ws", "lease": "2s", "expose": "token"}}

HASTY = {"store_options": {"timeout": "300ms"}}


class Talk:
    """A service whose side of the tunnel the test plays: connections come out of next()."""

    def __init__(self):
        self.changed, self.connections, self.is_over = threading.Condition(), [], False

    def handle(self, request, connection):
        connection.end()
        accept(request, connection)
        with self.changed:
            self.connections.append(connection)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.is_over, 60)

    def next(self):
        with self.changed:
            assert self.changed.wait_for(lambda: self.connections, 10 * SLOWNESS), "no tunnel at the service"
            return self.connections.pop(0)

    def end(self):
        with self.changed:
            self.is_over = True
            self.changed.notify_all()


@pytest.fixture
def talk():
    made = Talk()
    yield made
    made.end()


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def is_reset(sock):
    """The other side has reset the connection, rather than ended it."""
    try:
        return sock.recv(65536) == b"never"
    except ConnectionResetError:
        return True


def gone(proxy):
    """Until no tunnel is open and nothing of one is left."""
    wait_until(lambda: proxy.metric("tunnels") == 0 and proxy.metric("upstream_connections", state="active") == 0,
               30, "the tunnel is gone")


def test_echo(start, make_origin):
    proxy = start(policy(make_origin(echo).url))
    with WebSocket(proxy.listen) as client:
        for size in (0, 1, 125, 126, 65535, 65536, MIB):
            payload = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            client.say(payload)
            assert client.hear() == (BINARY, payload)
        assert proxy.metric("tunnels", route="everything") == 1
        client.say(b"", CLOSE)
        assert client.hear() == (CLOSE, b"")
        assert client.hear() is None
    gone(proxy)


def test_over_tls_on_both_sides(start, tmp_path):
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.issue("server")
    origin = TlsOrigin(certificate, key, echo)
    try:
        proxy = start(policy(origin.url, tls={"certificate": certificate, "key": key}).replace(
            f'"upstream": "{origin.url}"',
            f'"upstreams": [{{"name": "x", "url": "{origin.url}", "tls": {{"ca_file": "{authority.ca_file}"}}}}]'))
        context = ssl.create_default_context(cafile=authority.ca_file)
        with WebSocket(proxy.listen, context=context) as client:
            client.say(b"z" * MIB)
            assert client.hear() == (BINARY, b"z" * MIB)
            client.say(b"", CLOSE)
            assert client.hear() == (CLOSE, b"") and client.hear() is None
        gone(proxy)
    finally:
        origin.close()


def test_what_is_counted_and_logged(start, make_origin):
    proxy = start(policy(make_origin(echo).url))
    with WebSocket(proxy.listen) as client:
        client.say(b"x" * 100)
        client.hear()
        # The request is counted with its handshake, not with the tunnel's end.
        assert proxy.metric("http_requests_total", code="1xx") == 1
        assert proxy.metric("http_request_duration_seconds_count") == 1
        assert proxy.metric("tunnel_bytes_total", way="to_service") == 106
        assert proxy.metric("tunnel_bytes_total", way="to_client") == 102
        pause = 0.2
        threading.Event().wait(pause)
        client.say(b"", CLOSE)
        while client.hear():
            pass
    line = proxy.wait_access(lambda entry: entry.get("status") == 101)
    assert line["duration_us"] > pause * 1_000_000 > line["upstream_us"] or SLOWNESS > 1
    assert line["received_bytes"] > 106 and line["sent_bytes"] > 102 and "reason" not in line
    assert proxy.metric("http_requests_total") == 1


def test_bytes_behind_the_handshake_are_the_tunnels(start, talk, make_origin):
    """They look like a request, and are none once the service has switched."""
    proxy = start(policy(make_origin(talk.handle).url))
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    with WebSocket(proxy.listen, behind=smuggled) as client:
        service = talk.next()
        assert service.read_exactly(len(smuggled)) == smuggled
        service.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
    assert proxy.metric("http_requests_total") == 1


def test_a_slow_reader_stops_the_other_side(start, talk, make_origin):
    """Each way: what nobody takes is not kept, and comes when it is taken."""
    total = 48 * MIB
    proxy = start(policy(make_origin(talk.handle).url))
    with WebSocket(proxy.listen, timeout_s=60) as client:
        service = talk.next()
        before = proxy.resident_kib()
        for source, target in ((service.sock, client.file), (client.sock, service.file)):
            sender = threading.Thread(target=source.sendall, args=(b"s" * total,), daemon=True)
            sender.start()
            # The sender gets stuck: nobody reads.
            moved = -1
            while moved != (now := proxy.metric("tunnel_bytes_total")):
                moved = now
                threading.Event().wait(0.3)
            assert sender.is_alive() and moved < 3 * total
            assert proxy.resident_kib() - before < 4096 * SLOWNESS
            got = 0
            while got < total:
                data = target.read1(65536)
                assert data and data.count(b"s") == len(data)
                got += len(data)
            sender.join(10)
            assert not sender.is_alive()


def test_each_side_ends_for_itself(start, talk, make_origin):
    proxy = start(policy(make_origin(talk.handle).url))
    with WebSocket(proxy.listen) as client:
        service = talk.next()
        client.send(b"question")
        client.sock.shutdown(socket.SHUT_WR)
        assert service.file.read() == b"question"
        service.send(b"x" * MIB)
        assert client.read_exactly(MIB) == b"x" * MIB
        assert proxy.metric("tunnels") == 1
        service.sock.shutdown(socket.SHUT_WR)
        assert client.is_closed()
    gone(proxy)
    with WebSocket(proxy.listen) as client:
        service = talk.next()
        service.send(b"goodbye")
        service.sock.shutdown(socket.SHUT_WR)
        assert client.file.read() == b"goodbye"
        client.send(b"y" * MIB)
        client.sock.shutdown(socket.SHUT_WR)
        assert service.file.read() == b"y" * MIB
    gone(proxy)


def test_a_reset_is_handed_on(start, talk, make_origin):
    proxy = start(policy(make_origin(talk.handle).url))
    with WebSocket(proxy.listen) as client:
        service = talk.next()
        reset(client.sock)
        client.close()
        assert is_reset(service.sock)
    with WebSocket(proxy.listen) as client:
        service = talk.next()
        reset(service.sock)
        service.file.close()
        service.sock.close()
        assert is_reset(client.sock)
    gone(proxy)
    for reason in ("client-gone", "upstream-cut"):
        assert proxy.wait_access(lambda entry: entry.get("reason") == reason)["status"] == 101


def test_an_idle_tunnel_ends(start, make_origin):
    """Bytes either way keep it; without any it is reset, so that nobody takes it for an end."""
    proxy = start(policy(make_origin(echo).url, timeouts={"tunnel": f"{500 * SLOWNESS}ms"}))
    with WebSocket(proxy.listen) as client:
        for _ in range(5):
            threading.Event().wait(0.2 * SLOWNESS)
            client.say(b"still here")
            assert client.hear() == (BINARY, b"still here")
        assert is_reset(client.sock)
    gone(proxy)
    assert proxy.wait_access(lambda entry: entry.get("status") == 101)["reason"] == "tunnel-idle"


def test_bytes_one_way_keep_a_tunnel(start, talk, make_origin):
    proxy = start(policy(make_origin(talk.handle).url, timeouts={"tunnel": f"{500 * SLOWNESS}ms"}))
    with WebSocket(proxy.listen) as client:
        service = talk.next()
        for _ in range(6):
            service.send(b"tick")
            assert client.read_exactly(4) == b"tick"
            threading.Event().wait(0.2 * SLOWNESS)
        service.send(b"last")
        assert client.read_exactly(4) == b"last"


def test_limits_apply_to_the_handshake(start, make_origin):
    route = {"name": "ws", "match": {"path": "/ws"}, "limits": [{"name": "few", "rate": "2/hour"}]}
    proxy = start(policy(make_origin(echo).url, [route]))
    with WebSocket(proxy.listen) as first, WebSocket(proxy.listen) as second, WebSocket(proxy.listen) as third:
        assert (first.status, second.status, third.status) == (101, 101, 429)
        assert "r=1" in first.answer.header("ratelimit")
        first.say(b"unharmed")
        assert first.hear() == (BINARY, b"unharmed")


def test_a_lock_is_held_as_long_as_the_tunnel(start, make_origin):
    proxy = start(policy(make_origin(echo).url, [LOCKED]))
    with WebSocket(proxy.listen) as first:
        assert first.status == 101 and "acquired" in first.answer.header("lock-status")
        with WebSocket(proxy.listen) as second:
            assert second.status == 423
        # Beyond its lease: it is renewed.
        until = time.monotonic() + 3
        while time.monotonic() < until:
            first.say(b"work")
            assert first.hear() == (BINARY, b"work")
            threading.Event().wait(0.1)
        assert proxy.metric("lock_held") == 1
        with WebSocket(proxy.listen) as second:
            assert second.status == 423
        first.say(b"", CLOSE)
        while first.hear():
            pass
    wait_until(lambda: proxy.metric("lock_held") == 0, 30, "the lock is given back")
    assert proxy.metric("lock_ends_total", verdict="held") == 1
    with WebSocket(proxy.listen) as second:
        assert second.status == 101


def test_max_hold_cuts_the_tunnel(start, talk, make_origin):
    route = {**LOCKED, "lock": {**LOCKED["lock"], "max_hold": "2s"}}
    proxy = start(policy(make_origin(talk.handle).url, [route]))
    with WebSocket(proxy.listen) as client:
        service = talk.next()
        assert is_reset(client.sock) and is_reset(service.sock)
    gone(proxy)
    assert proxy.metric("lock_ends_total", verdict="max_hold") == 1
    assert proxy.wait_access(lambda entry: entry.get("status") == 101)["reason"] == "max-hold"


def test_a_lost_lock_cuts_the_tunnel(start, redis_server, talk, make_origin):
    """Somebody else has it: not one byte more goes through."""
    proxy = start(policy(make_origin(talk.handle).url, [LOCKED], store=redis_server.url, **HASTY))
    with WebSocket(proxy.listen) as client:
        service = talk.next()
        client.send(b"before")
        assert service.read_exactly(6) == b"before"
        proxy.send_signal(19)  # SIGSTOP: past its lease
        other = start(policy(make_origin(talk.handle).url, [{**LOCKED, "lock": {**LOCKED["lock"], "wait": "20s"}}],
                             store=redis_server.url, **HASTY))
        with WebSocket(other.listen, timeout_s=60) as successor:
            assert successor.status == 101
            talk.next()
            client.send(b"after")
            proxy.send_signal(18)
            assert is_reset(client.sock)
            assert is_reset(service.sock)
    assert proxy.wait_access(lambda entry: entry.get("status") == 101)["reason"] == "lock-lost"


def test_drain_waits_for_tunnels_and_cuts_them_in_the_end(start, make_origin):
    proxy = start(policy(make_origin(echo).url, drain_timeout=f"{1500 * SLOWNESS}ms"))
    with WebSocket(proxy.listen) as first, WebSocket(proxy.listen) as second:
        proxy.send_signal(15)
        wait_until(lambda: proxy.metric("draining") == 1, 30, "draining")
        for client in (first, second):
            client.say(b"go on")
            assert client.hear() == (BINARY, b"go on")
        first.say(b"", CLOSE)
        while first.hear():
            pass
        assert is_reset(second.sock)
    assert proxy.wait_exit(20) == 0


def test_a_tunnel_survives_a_reload(start, make_origin):
    proxy = start(policy(make_origin(echo).url))
    with WebSocket(proxy.listen) as client:
        proxy.send_signal(1)
        wait_until(lambda: proxy.metric("config_reloads_total", result="success") == 1, 30, "reloaded")
        client.say(b"still")
        assert client.hear() == (BINARY, b"still")


def test_upgrade_ignored(start, make_origin):
    def handler(request, connection):
        connection.answer(200, repr(request.header("upgrade")).encode())

    routes = [{"name": "ws", "match": {"path": "/ws"}, "upgrade": "forward"}, {"name": "rest"}]
    proxy = start(policy(make_origin(handler).url, routes, upgrade="ignore"))
    with RawClient(proxy.listen) as client:
        for target, seen in (("/ws", b"'foo'"), ("/other", b"None")):
            client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n")
            assert client.read_response().body == seen


def test_tunnels_take_connections_of_the_pool(start, make_origin):
    def handler(request, connection):
        (echo if request.target == "/ws" else lambda *_: connection.answer(200))(request, connection)

    proxy = start(policy(make_origin(handler).url, timeouts={"connect": "300ms"},
                         upstream_options={"max_connections": 1, "max_waiting": 10}))
    with WebSocket(proxy.listen) as client:
        assert client.status == 101
        assert proxy.request("GET", "/").json()["reason"] == "upstream-busy"
        client.say(b"", CLOSE)
        while client.hear():
            pass
    gone(proxy)
    assert proxy.request("GET", "/").status == 200


def test_how_tunnels_end_does_not_eject_an_address(start, talk, make_origin):
    origins = [make_origin(talk.handle) for _ in range(2)]
    document = policy("", upstreams=[{"name": "x", "addresses": [one.url for one in origins], "health": {"failures": 1}}])
    proxy = start(document.replace('"upstream": "",', ""))
    for _ in range(4):
        with WebSocket(proxy.listen) as client:
            service = talk.next()
            reset(service.sock)
            service.file.close()
            service.sock.close()
            assert is_reset(client.sock)
    assert proxy.metric("upstream_ejections_total") == 0
