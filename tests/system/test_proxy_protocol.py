"""PROXY headers on the listener: who is the client, who is believed, and who is turned away."""

import socket
import ssl
import struct
import time

import pytest

import harness
from policies import limited, policy
from raw import RawClient
from tls_files import Authority

V1 = b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def v2(source="203.0.113.9", command=1, tlvs=b""):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    other = "::1" if ":" in source else "10.0.0.1"
    payload = (socket.inet_pton(family, source) + socket.inet_pton(family, other)
               + struct.pack("!HH", 56324, 443) + tlvs)
    return SIGNATURE + bytes([0x20 | command, 0x21 if ":" in source else 0x11]) + struct.pack("!H", len(payload)) + payload


def fronted(start, origin, mode="require", trusted=("127.0.0.0/8",), **settings):
    return start(policy(origin.url, trusted_proxies=list(trusted), proxy_protocol=mode, **settings))


def ask(proxy, *pieces):
    with RawClient(proxy.listen) as client:
        for piece in pieces:
            client.send(piece)
        return client.read_response().json()["headers"]


def field(headers, name):
    return ", ".join(value for key, value in headers if key.lower() == name)


@pytest.mark.parametrize("header, client", [
    (V1, "203.0.113.9"),
    (b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n", "2001:db8::9"),
    (v2(), "203.0.113.9"),
    (v2("2001:db8::9"), "2001:db8::9"),
    (v2(tlvs=b"\x04\0\x02hi"), "203.0.113.9"),
])
def test_the_client_is_whom_the_header_names(start, origin, header, client):
    proxy = fronted(start, origin)
    # The request comes in the same packet: nothing behind the header may be lost.
    headers = ask(proxy, header + GET)
    assert field(headers, "x-forwarded-for") == client
    assert proxy.wait_access(lambda line: line.get("path") == "/")["client_ip"] == client


def test_a_limit_counts_by_the_named_client(start, origin):
    bucket = {"name": "b", "key": "{client.ip}", "rate": "1/day", "burst": 1}
    proxy = start(policy(origin.url, [limited("/", bucket)], trusted_proxies=["127.0.0.1"], proxy_protocol="require"))

    def status(source):
        with RawClient(proxy.listen) as client:
            client.send(v2(source) + GET)
            return client.read_response().status

    assert [status(source) for source in ("192.0.2.1", "192.0.2.2", "192.0.2.1")] == [200, 200, 429]


def test_what_the_client_says_of_itself_is_not_believed(start, origin):
    spoofed = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n")
    proxy = fronted(start, origin, trusted=["127.0.0.1", "10.9.9.9"])
    # The named source is the peer: a client, whose own field is replaced ...
    assert field(ask(proxy, V1 + spoofed), "x-forwarded-for") == "203.0.113.9"
    # ... or a trusted proxy before the balancer, whose field is extended.
    assert field(ask(proxy, v2("10.9.9.9") + spoofed), "x-forwarded-for") == "1.1.1.1, 10.9.9.9"
    # The balancer's own requests are its own; whom it does not name is nobody it vouches for.
    assert field(ask(proxy, v2(command=0) + spoofed), "x-forwarded-for") == "1.1.1.1, 127.0.0.1"
    assert field(ask(proxy, b"PROXY UNKNOWN\r\n" + spoofed), "x-forwarded-for") == "127.0.0.1"


def test_pieces(start, origin):
    proxy = fronted(start, origin)
    for header in (V1, v2()):
        everything = header + GET
        with RawClient(proxy.listen) as client:
            for at in range(len(everything)):
                client.send(everything[at:at + 1])
            assert field(client.read_response().json()["headers"], "x-forwarded-for") == "203.0.113.9"
            # The header is for the connection: the next request follows without one.
            client.send(GET)
            assert field(client.read_response().json()["headers"], "x-forwarded-for") == "203.0.113.9"


def test_tls_behind_the_header(start, origin, tmp_path):
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.issue("server")
    proxy = fronted(start, origin, tls={"certificate": certificate, "key": key})
    context = ssl.create_default_context(cafile=authority.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    for header in (V1, v2()):
        with socket.create_connection(proxy.listen, timeout=10) as plain:
            plain.sendall(header)
            with context.wrap_socket(plain, server_hostname="localhost") as sock:
                sock.sendall(GET.replace(b"Host: a", b"Host: a\r\nConnection: close"))
                answer = b"".join(iter(lambda: sock.recv(65536), b""))
                assert sock.selected_alpn_protocol() == "http/1.1"
        assert b"203.0.113.9" in answer and b'"https"' in answer


def is_turned_away(proxy, data):
    with RawClient(proxy.listen) as client:
        try:
            client.send(data)
        except OSError:
            pass
        return client.is_closed()


def test_untrusted_peers(start, origin):
    proxy = fronted(start, origin, trusted=["192.0.2.1"])
    assert is_turned_away(proxy, V1 + GET)
    assert is_turned_away(proxy, GET)
    assert proxy.metric("client_refused_total", reason="untrusted-proxy") == 2
    # With "trusted" they are ordinary clients, and their header is no request.
    mixed = fronted(start, origin, "trusted", trusted=["192.0.2.1"])
    assert field(ask(mixed, GET), "x-forwarded-for") == "127.0.0.1"
    with RawClient(mixed.listen) as client:
        client.send(V1 + GET)
        assert client.read_response().status == 400
    assert len(origin.seen()) == 1


@pytest.mark.parametrize("data, reason", [
    (GET, "missing"),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 99999\r\n" + GET, "malformed"),
    (b"PROXY UNKNOWN " + b"x" * 200, "too-long"),
    (v2(tlvs=b"\x03\0\x04abcd"), "checksum"),
])
@pytest.mark.parametrize("mode", ["trusted", "require"])
def test_malformed_headers(start, origin, mode, data, reason):
    proxy = fronted(start, origin, mode)
    assert is_turned_away(proxy, data)
    assert proxy.metric("client_refused_total", reason="proxy-header-" + reason) == 1
    proxy.err.wait(lambda line: "no good PROXY header" in line and reason in line, 30, "a log line")
    assert not origin.seen()


def test_slow_headers(start, origin):
    proxy = fronted(start, origin, timeouts={"header": "100ms"})
    assert is_turned_away(proxy, V1[:20])
    assert proxy.metric("client_refused_total", reason="proxy-header-timeout") == 1


def test_a_flood_of_bad_headers_is_not_a_flood_of_lines(start, origin):
    proxy = fronted(start, origin)
    began_at_s = time.monotonic()
    for _ in range(200):
        assert is_turned_away(proxy, b"nonsense")
    assert proxy.metric("client_refused_total", reason="proxy-header-missing") == 200
    lines = [entry for entry in proxy.log() if "PROXY header" in entry.get("event", "")]
    assert 0 < len(lines) <= 10 * (time.monotonic() - began_at_s + 2)


def test_openings_are_bounded(start, origin):
    proxy = fronted(start, origin, max_connections=2)
    with RawClient(proxy.listen) as one, RawClient(proxy.listen) as two:
        one.send(V1[:5])
        two.send(V1[:5])
        # A third one is turned away once the two are known.
        harness.wait_until(lambda: is_turned_away_at_once(proxy), 30, "turned away")
        one.send(V1[5:] + GET)
        assert one.read_response().status == 200
    assert proxy.metric("client_refused_total", reason="max-connections") >= 1


def is_turned_away_at_once(proxy):
    with RawClient(proxy.listen, timeout_s=0.5) as client:
        try:
            return client.is_closed()
        except TimeoutError:
            return False


def test_a_reload_changes_whom_headers_are_asked_of(start, origin):
    proxy = fronted(start, origin)
    with open(proxy.policy_path, "w") as file:
        file.write(policy(origin.url))
    proxy.send_signal(harness.signal.SIGHUP)

    def is_taken():
        try:
            return field(ask(proxy, GET), "x-forwarded-for") == "127.0.0.1"
        except (EOFError, ConnectionResetError):
            return False

    harness.wait_until(is_taken, 30, "taken without a header")
