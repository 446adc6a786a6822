"""TLS for clients: certificates, client certificates, ALPN, and files that are renewed."""

import contextlib
import http.client
import shutil
import socket
import ssl

import harness
from policies import policy
from tls_files import Authority


def context_for(authority, certificate=None):
    context = ssl.create_default_context(cafile=authority.ca_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def get(proxy, context):
    """(status, ALPN protocol, the server's certificate)"""
    connection = http.client.HTTPSConnection("localhost", proxy.port, context=context, timeout=10)
    with contextlib.closing(connection):
        connection.connect()
        protocol, peer = connection.sock.selected_alpn_protocol(), connection.sock.getpeercert()
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        return answer.status, protocol, peer


def test_clients_over_tls(start, origin, tmp_path):
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.issue("server")
    proxy = start(policy(origin.url, tls={"certificate": certificate, "key": key}))
    status, protocol, _ = get(proxy, context_for(authority))
    assert (status, protocol) == (200, "http/1.1")
    # A client that speaks plain HTTP learns nothing and disturbs nobody.
    with socket.create_connection(proxy.listen, timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP/" not in plain.recv(100)
    harness.wait_until(lambda: proxy.metric("client_refused_total", reason="tls-handshake") == 1, 30, "the metric")
    assert get(proxy, context_for(authority))[0] == 200


def test_client_certificates(start, origin, tmp_path):
    authority, stranger = Authority(tmp_path / "tls"), Authority(tmp_path / "other", "stranger")
    certificate, key = authority.issue("server")
    proxy = start(policy(origin.url, tls={"certificate": certificate, "key": key, "client_ca": authority.ca_file}))
    assert get(proxy, context_for(authority, authority.issue("client")))[0] == 200
    for other in (None, stranger.issue("client")):
        try:
            get(proxy, context_for(authority, other))
        except (ssl.SSLError, OSError, http.client.HTTPException):
            continue
        raise AssertionError("a client without the right certificate was served")
    assert len(origin.seen()) == 1
    harness.wait_until(lambda: proxy.metric("client_refused_total", reason="tls-handshake") == 2, 30, "the metric")


def test_clients_that_do_not_finish_their_handshake(start, origin, tmp_path):
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.issue("server")
    settings = {"tls": {"certificate": certificate, "key": key}}
    proxy = start(policy(origin.url, timeouts={"header": "1h"}, **settings))
    # A reload changes the time that handshakes have, too.
    with open(proxy.policy_path, "w") as file:
        file.write(policy(origin.url, timeouts={"header": "100ms"}, **settings))
    proxy.send_signal(harness.signal.SIGHUP)
    proxy.err.wait(lambda line: "policies reloaded" in line, 30, "the reload")

    def is_cut():
        with socket.create_connection(proxy.listen, timeout=1) as slow:
            try:
                return slow.recv(1) == b""
            except TimeoutError:
                return False

    harness.wait_until(is_cut, 30, "cut off")
    assert proxy.metric("client_refused_total", reason="tls-timeout") >= 1


def test_handshakes_under_way_are_finished_when_the_process_stops(start, origin, tmp_path):
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.issue("server")
    proxy = start(policy(origin.url, tls={"certificate": certificate, "key": key}))
    with socket.create_connection(proxy.listen, timeout=10) as plain:
        proxy.send_signal(harness.signal.SIGTERM)
        harness.wait_until(lambda: is_refused(proxy), 30, "the port is closed")
        with context_for(authority).wrap_socket(plain, server_hostname="localhost") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer.lower()
    assert proxy.wait_exit(10 * harness.SLOWNESS) == 0


def is_refused(proxy):
    try:
        proxy.connect(1).close()
    except OSError:
        return True
    return False


def test_renewed_files_are_used_after_a_reload(start, origin, tmp_path):
    authority = Authority(tmp_path / "tls")
    used = tmp_path / "cert.pem", tmp_path / "key.pem"
    for source, target in zip(authority.issue("old"), used):
        shutil.copy(source, target)
    proxy = start(policy(origin.url, tls={"certificate": str(used[0]), "key": str(used[1])}))

    def common_name():
        return get(proxy, context_for(authority))[2]["subject"][0][0][1]

    assert common_name() == "old"
    for source, target in zip(authority.issue("new"), used):
        shutil.copy(source, target)
    proxy.send_signal(harness.signal.SIGHUP)
    harness.wait_until(lambda: common_name() == "new", 30, "the new certificate")
    # Files that do not belong together change nothing.
    proxy.allow_errors("cannot use TLS", "reload failed")
    shutil.copy(authority.issue("third")[1], used[1])
    proxy.send_signal(harness.signal.SIGHUP)
    proxy.err.wait(lambda line: "reload failed" in line, 30, "the failed reload")
    assert common_name() == "new"


def test_renewed_files_are_noticed_without_a_signal(start, origin, tmp_path):
    authority = Authority(tmp_path / "tls")
    used = tmp_path / "cert.pem", tmp_path / "key.pem"
    for source, target in zip(authority.issue("old"), used):
        shutil.copy(source, target)
    proxy = start(policy(origin.url, tls={"certificate": str(used[0]), "key": str(used[1])}))
    proxy.allow_errors("cannot use TLS")  # when it looks between the two copies
    for source, target in zip(authority.issue("new"), used):
        shutil.copy(source, target)
    harness.wait_until(lambda: get(proxy, context_for(authority))[2]["subject"][0][0][1] == "new", 25,
                       "the new certificate", every_s=0.2)
