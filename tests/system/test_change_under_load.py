"""Reloads and restarts while clients ask without a pause: nobody is refused, nothing is lost.

`make soak-operations` does the same for longer (OPERATIONS_RELOADS, OPERATIONS_RESTARTS)."""

import os
import signal
import socket
import threading

import pytest

from harness import SLOWNESS, wait_until
from policies import limited, policy
from raw import RawClient

RELOADS = int(os.environ.get("OPERATIONS_RELOADS", 100))
RESTARTS = int(os.environ.get("OPERATIONS_RESTARTS", 10))
CLIENTS = 8
SECONDS = 60 * SLOWNESS


class Asker(threading.Thread):
    """Keeps its connection; when that ends instead of an answer, asks again on another one, unless it was new:
    then the request has failed.  With sends_close, also opens a new one for every third request."""

    def __init__(self, address, stop, sends_close):
        super().__init__(daemon=True)
        self.address, self.stop, self.sends_close = address, stop, sends_close
        self.answered = self.repeated = 0
        self.failures = []

    def run(self):
        client = None
        try:
            while not self.stop.is_set():
                client = self.ask(client)
        except (OSError, EOFError, AssertionError) as problem:
            self.failures.append(repr(problem))
        finally:
            if client:
                client.close()

    def ask(self, client):
        """The connection to go on with, or None."""
        is_new = client is None
        client = client or RawClient(self.address, timeout_s=SECONDS)
        closes = self.sends_close and self.answered % 3 == 2
        try:
            client.send("GET /l HTTP/1.1\r\nHost: a\r\n" + ("Connection: close\r\n" if closes else "") + "\r\n")
            answer = client.read_response()
        except (OSError, EOFError):
            client.close()
            if is_new:
                raise
            self.repeated += 1
            return None
        if answer.status != 200 or answer.body != b"ok":
            self.failures.append(f"{answer.status} {answer.body!r}")
        self.answered += 1
        if (answer.header("connection") or "").lower() != "close":
            return client
        client.close()
        return None


class Crowd:
    def __init__(self, address, count=CLIENTS):
        self.stop = threading.Event()
        self.askers = [Asker(address, self.stop, number % 2 == 1) for number in range(count)]
        for one in self.askers:
            one.start()

    def answered(self):
        return sum(one.answered for one in self.askers)

    def repeated(self):
        return sum(one.repeated for one in self.askers)

    def goes_on(self):
        """Everybody gets another answer from here on."""
        before = [one.answered for one in self.askers]
        wait_until(lambda: self.failures() or all(one.answered > was for one, was in zip(self.askers, before)),
                   SECONDS, "answers")

    def failures(self):
        return [failure for one in self.askers for failure in one.failures]

    def end(self):
        self.stop.set()
        for one in self.askers:
            one.join(SECONDS)
        assert not any(one.is_alive() for one in self.askers)
        return self.failures()


@pytest.fixture
def quick(make_origin):
    return make_origin(lambda _request, connection: connection.answer(200, b"ok"))


def text(origin, number, **settings):
    """Another policy for each number: the limit, a lock or none, and other routes change."""
    route = limited("/l", {"name": "b", "rate": f"{1000000 + number}/second", "burst": 1000000,
                           "algorithm": "token_bucket", "key": "{client.ip}"},
                    **({"lock": {"key": "k{client.ip}", "permits": 100, "wait": "60s"}} if number % 3 == 1 else {}))
    others = [limited(f"/other{n}", name=f"other{n}") for n in range(number % 4)]
    return policy(origin.url, others + [route], access_log="off", **settings)


@pytest.mark.parametrize("workers", [1, 2])
def test_reloads(start, quick, workers):
    proxy = start(text(quick, 0, workers=workers))
    crowd = Crowd(proxy.listen)
    for number in range(1, RELOADS + 1):
        with open(f"{proxy.policy_path}.new", "w") as file:
            file.write(text(quick, number, workers=workers))
        os.replace(f"{proxy.policy_path}.new", proxy.policy_path)
        if number % 10 == 0:
            proxy.send_signal(signal.SIGHUP)
        done = proxy.admin("POST", "/reload")
        assert done.status == 200, done.body
        if number % 20 == 0:
            crowd.goes_on()
    crowd.goes_on()
    assert crowd.end() == []
    assert crowd.repeated() == 0
    assert crowd.answered() == len(quick.requests)
    assert proxy.metric("config_reloads_total", result="success") >= RELOADS
    assert proxy.metric("config_reloads_total", result="failure") == 0
    print(f"{RELOADS} reloads, {workers} workers: {crowd.answered()} requests, none lost")


@pytest.mark.parametrize("workers", [1, 2])
def test_restarts(start, quick, workers):
    """The socket is the service manager's, as with lockkeeper.socket; the process is started anew."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as port:
        proxy = start(text(quick, 0, workers=workers), sockets=[port])
        crowd = Crowd(port.getsockname())
        for number in range(1, RESTARTS + 1):
            crowd.goes_on()
            if number % 2 == 0:
                assert proxy.admin("POST", "/drain").status == 200
                crowd.goes_on()
            proxy.stop()
            proxy = start(text(quick, number, workers=workers), sockets=[port])
        crowd.goes_on()
        assert crowd.end() == []
        assert crowd.answered() == len(quick.requests)
        print(f"{RESTARTS} restarts, {workers} workers: {crowd.answered()} requests, "
              f"{crowd.repeated()} of them repeated on another connection, none lost")
