"""Clients' connections: how many there may be, what the next one hears, and who serves them."""

import contextlib
import json
import os
import re
import socket
import ssl

import pytest

import harness
from policies import policy
from raw import RawClient
from tls_files import Authority

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def hold(stack, proxy, count):
    """So many connections, each of which has been served."""
    clients = [stack.enter_context(RawClient(proxy.listen)) for _ in range(count)]
    for client in clients:
        client.send(GET)
        assert client.read_response().status == 200
    return clients


def check_refusal(answer):
    assert answer.status == 503
    assert answer.header("retry-after") == "1"
    assert answer.header("connection") == "close"
    assert (answer.json()["reason"], answer.json()["executed"]) == ("max-connections", "no")


def refused(proxy):
    with RawClient(proxy.listen) as client:
        answer = client.read_response()
        assert client.is_closed()
    return answer


@pytest.mark.parametrize("workers", [1, 2])
def test_max_connections(start, origin, workers):
    """They are counted for the process, however the kernel shares them out among workers."""
    proxy = start(policy(origin.url, max_connections=10, workers=workers))
    with contextlib.ExitStack() as stack:
        clients = hold(stack, proxy, 10)
        check_refusal(refused(proxy))
        assert proxy.metric("client_refused_total", reason="max-connections") == 1
        # Those that are there go on, and the place of one that leaves is free again.
        clients[3].send(GET)
        assert clients[3].read_response().status == 200
        clients[7].close()
        harness.wait_until(lambda: proxy.metric("client_connections") == 9, 30, "a free place")
        hold(stack, proxy, 1)
    assert len(origin.seen()) == 12


def test_max_connections_over_tls(start, origin, tmp_path):
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.issue("server")
    proxy = start(policy(origin.url, max_connections=2, tls={"certificate": certificate, "key": key}))
    context = ssl.create_default_context(cafile=authority.ca_file)

    def dial(stack):
        plain = stack.enter_context(socket.create_connection(proxy.listen, timeout=10))
        return stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))

    with contextlib.ExitStack() as stack:
        for _ in range(2):
            sock = dial(stack)
            sock.sendall(GET)
            assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        answer = b"".join(iter(lambda sock=dial(stack): sock.recv(1000), b""))
        head, body = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 503")
        assert json.loads(body)["reason"] == "max-connections"


def wakeups(pid):
    """How often each thread of a process has waited."""
    counts = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as file:
            counts[task] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M).group(1))
    return counts


def test_all_workers_serve(start, origin):
    """The kernel hashes addresses and ports: of 200 connections neither of two workers is left with fewer
    than 50, but once in 10^12."""
    proxy = start(policy(origin.url, workers=2))
    before = wakeups(proxy.pid)
    for _ in range(200):
        with contextlib.ExitStack() as stack:
            hold(stack, proxy, 1)
    after = wakeups(proxy.pid)
    busy = sorted((after[task] - before.get(task, 0) for task in after), reverse=True)
    # A connection wakes its worker at least once; nothing else does so as often.
    assert busy[1] >= 50, busy
