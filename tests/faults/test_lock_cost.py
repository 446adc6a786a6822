"""What a lock costs: calls of scripts as Redis's MONITOR shows them, and messages."""

import socket

from harness import wait_until
from world import ask, lock_policy, locked


class Monitor:
    """What clients send to Redis, as MONITOR shows it; commands of scripts are left out."""

    def __init__(self, redis_server):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(redis_server.socket_path)
        self.sock.settimeout(10)
        self.file = self.sock.makefile("rb")
        self.sock.sendall(b"MONITOR\r\n")
        assert self.file.readline() == b"+OK\r\n"
        self.redis_server = redis_server

    def until_now(self):
        """[command, script, key, ...] of all calls of scripts since the last time, and the messages."""
        with self.redis_server.client() as client:
            client.echo("until-now")
        calls, messages = [], 0
        for line in self.file:
            where, _, words = line.decode().partition("] ")
            if '"until-now"' in words:
                return calls, messages
            if where.endswith("lua"):
                messages += words.lower().startswith('"publish"')
            elif words.upper().startswith('"EVAL'):
                calls.append(words)
        raise AssertionError("MONITOR ended")

    def close(self):
        self.file.close()
        self.sock.close()


def test_round_trips(start, ledger, redis_server, background):
    """Free: one to acquire and one to release.  Contended, for the two together: one more to confirm, and
    one message."""
    policy = lock_policy(ledger.url, redis_server.url,
                         [locked("/x/{key}", "x:{path.key}", wait="5s", lease="5s")])
    first, second = start(policy), start(policy)
    for proxy in (first, second):
        assert ask(proxy, "warm-up", "x/other").status == 200  # loads the scripts, and subscribes
        wait_until(lambda: subscriber_count(redis_server) > (proxy is second), 30, "subscribed")
    monitor = Monitor(redis_server)
    try:
        for i in range(10):
            assert ask(first, f"free{i}", "x/k").status == 200
        calls, messages = monitor.until_now()
        assert (len(calls), messages) == (20, 0), calls

        # Less than a waiter's heartbeat and the holder's renewal, which come beside what is counted.
        held = background(ask, first, "holds", "x/k", 300)
        ledger.wait_visit("holds")
        waited = background(ask, second, "waits", "x/k")
        assert held.result().status == waited.result().status == 200
        calls, messages = monitor.until_now()
        assert (len(calls), messages) == (2 + 3, 1), calls
    finally:
        monitor.close()


def subscriber_count(redis_server):
    with redis_server.client() as client:
        return sum(int(one.get("sub", 0)) > 0 for one in client.client_list())
