"""What a service manager gives and is told: sockets, readiness, reloads, keep-alives."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from harness import PASS_SOCKETS, SLOWNESS, binary, request, wait_until
from policies import limited, policy
from raw import RawClient

BUCKET = {"name": "b", "rate": "3/day", "burst": 3, "algorithm": "token_bucket"}
SECONDS = 20 * SLOWNESS


class Manager:
    """The end of NOTIFY_SOCKET that is told."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(SECONDS)

    def next(self, but_keep_alives=True):
        """The assignments of the next message."""
        while True:
            message = dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))
            if "WATCHDOG" not in message or not but_keep_alives:
                return message


@pytest.fixture(params=["path", "abstract"])
def told(request, tmp_path):
    """(the manager, the environment)"""
    path = str(tmp_path / "notify")
    name = path if request.param == "path" else f"@{path}"
    one = Manager(name.replace("@", "\0"))
    yield one, {"NOTIFY_SOCKET": name}
    one.socket.close()


def test_it_tells_of_its_life(start, origin, told):
    manager, env = told
    proxy = start(policy(origin.url, [limited("/l", BUCKET)]), env=env)
    ready = manager.next()
    assert ready["READY"] == "1" and ready["STATUS"].startswith("1 routes of 1 files, ")
    before_us = time.monotonic_ns() // 1000
    proxy.send_signal(signal.SIGHUP)
    reloading = manager.next()
    assert reloading["RELOADING"] == "1"
    assert before_us <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert manager.next()["READY"] == "1"
    assert proxy.admin("POST", "/drain").status == 200
    assert manager.next() == {"STATUS": "draining: serving until it is told to stop"}
    proxy.send_signal(signal.SIGTERM)
    assert manager.next()["STOPPING"] == "1"
    assert proxy.wait_exit(SECONDS) == 0


def test_a_bad_reload_is_over_too(start, origin, told):
    manager, env = told
    proxy = start(policy(origin.url, [limited("/l", BUCKET)], reload="signal"), env=env)
    proxy.allow_errors("error in a policy", "reload failed")
    assert manager.next()["READY"] == "1"
    with open(proxy.policy_path, "w") as file:
        file.write("nonsense: 1\n")
    proxy.send_signal(signal.SIGHUP)
    assert manager.next()["RELOADING"] == "1"
    over = manager.next()
    assert over["READY"] == "1" and "errors" in over["STATUS"]


def test_keep_alives(start, origin, told):
    """They depend on what /live says."""
    manager, env = told
    proxy = start(policy(origin.url), env={**env, "WATCHDOG_USEC": "200000"})
    seen = [manager.next(but_keep_alives=False) for _ in range(6)]
    assert sum("WATCHDOG" in message for message in seen) >= 4
    assert proxy.is_running()


def test_keep_alives_of_another_process_are_not_ours(start, origin, told):
    manager, env = told
    proxy = start(policy(origin.url), env={**env, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
    assert manager.next(but_keep_alives=False)["READY"] == "1"
    proxy.send_signal(signal.SIGTERM)
    assert manager.next(but_keep_alives=False)["STOPPING"] == "1"
    assert proxy.wait_exit(SECONDS) == 0


def test_nobody_listens(start, origin, tmp_path):
    """A manager that is gone is no reason to end."""
    proxy = start(policy(origin.url), env={"NOTIFY_SOCKET": str(tmp_path / "nothing")})
    assert proxy.request("GET", "/").status == 200
    wait_until(lambda: any("service manager" in entry["event"] for entry in proxy.log()), SECONDS, "it is said")


@pytest.fixture
def passed():
    with socket.create_server(("127.0.0.1", 0), backlog=512) as one:
        yield one


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("names", [None, "proxy", "lockkeeper.socket"])
def test_a_passed_socket_is_listened_on(start, origin, passed, workers, names):
    env = {"LISTEN_FDNAMES": names} if names else {}
    # `listen` would fail: nobody may bind this.
    proxy = start(policy(origin.url, workers=workers, listen="203.0.113.1:1"), env=env, sockets=[passed])
    assert proxy.listen == passed.getsockname()
    for _ in range(10):
        assert proxy.request("GET", "/").status == 200


def test_the_one_with_the_name(start, origin, passed):
    with socket.create_server(("127.0.0.1", 0)) as other:
        proxy = start(policy(origin.url), env={"LISTEN_FDNAMES": "http3:proxy"}, sockets=[other, passed])
        assert proxy.listen == passed.getsockname()


def test_a_unix_socket_is_left_to_its_owner(start, origin, tmp_path):
    path = str(tmp_path / "proxy.sock")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)
        one.listen()
        proxy = start(policy(origin.url), sockets=[one], wait_ready=False)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            client.settimeout(SECONDS)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        proxy.stop()
        assert os.path.exists(path)


@pytest.mark.parametrize("names,count,what", [("a:b", 2, "several"), ("proxy:proxy", 2, "several"), (None, 2, "several")])
def test_it_must_be_clear_which(origin, tmp_path, names, count, what):
    path = tmp_path / "p.yaml"
    path.write_text(policy(origin.url))
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        assert what in refused(path, sockets, {"LISTEN_FDNAMES": names} if names else {})


def test_it_must_listen(origin, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(policy(origin.url))
    with socket.socket() as idle, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert "not listening" in refused(path, [idle], {})
        assert "not listening" in refused(path, [datagrams], {})


def refused(path, sockets, env):
    fds = [one.fileno() for one in sockets]
    done = subprocess.run(["/usr/bin/python3", "-c", PASS_SOCKETS, ",".join(map(str, fds)), binary(), "run", str(path)],
                          env={**os.environ, **env}, pass_fds=fds, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    said = [json.loads(line) for line in done.stderr.splitlines()][-1]
    assert said["event"] == "cannot listen"
    return said["error"]


def test_sockets_for_somebody_else_are_not_ours(start, origin):
    """LISTEN_PID of another process, as left over in an environment."""
    proxy = start(policy(origin.url), env={"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    assert proxy.request("GET", "/").status == 200


def test_connections_wait_while_it_is_started_anew(start, origin, passed):
    first = start(policy(origin.url), sockets=[passed])
    assert first.request("GET", "/").status == 200
    first.stop()
    with RawClient(passed.getsockname()) as client:
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        second = start(policy(origin.url), sockets=[passed])
        assert client.read_response().status == 200
    assert request(passed.getsockname(), "GET", "/").status == 200
    assert second.is_running()
