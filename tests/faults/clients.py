"""Many clients from one asyncio loop: what each asks, when it loses patience, and what it got."""

import asyncio
import re
import time
from typing import Optional

WAIT_MS = re.compile(rb"\r\nlock-status:[^\r]*\bwait-ms=(\d+)", re.I)
TOKEN = re.compile(rb"\r\nlock-status:[^\r]*\btoken=(\d+)", re.I)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
EXECUTED = re.compile(rb'"executed": *"([^"]+)"')
REASON = re.compile(rb'"reason": *"([^"]+)"')
# Between two requests of the control.
CONTROL_S = 0.01


class Outcome:
    """One request as its client saw it.  status 0: no answer, because it left or was cut off."""

    __slots__ = ("id", "target", "method", "sidecar", "sent_ns", "done_ns", "status", "wait_ms",
                 "token", "wait_limit_ms", "reason", "executed", "has_left")

    def __init__(self, name, target="/", method="POST", sidecar=0, sent_ns=0, wait_limit_ms=0):
        self.id, self.target, self.method, self.sidecar = name, target, method, sidecar
        self.sent_ns, self.done_ns, self.status, self.wait_limit_ms = sent_ns, 0, 0, wait_limit_ms
        self.wait_ms: Optional[int] = None
        self.token: Optional[int] = None
        self.reason = self.executed = None
        self.has_left = False

    @property
    def seconds(self):
        return (self.done_ns - self.sent_ns) / 1e9


class Exchange(asyncio.Protocol):
    """One connection; ask() sends a request and gives the future of its answer's bytes (b"": none)."""

    def __init__(self):
        self.buffer, self.answer, self.transport, self.is_open = b"", None, None, True

    def connection_made(self, transport):
        self.transport = transport

    def ask(self, data):
        self.answer = asyncio.get_running_loop().create_future()
        self.buffer = b""
        if self.is_open:
            self.transport.write(data)
        else:
            self.answer.set_result(b"")
        return self.answer

    def data_received(self, data):
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = LENGTH.search(self.buffer, 0, end + 2)
        if len(self.buffer) >= end + 4 + (int(length[1]) if length else 0):
            self.give(self.buffer)

    def connection_lost(self, _error):
        self.is_open = False
        self.give(b"")

    def leave(self):
        self.is_open = False
        self.transport.abort()

    def give(self, data):
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(data)


class Client:
    """Keeps its connections, one for each sidecar."""

    def __init__(self, addresses):
        self.addresses, self.open = addresses, {}

    async def exchange(self, sidecar):
        one = self.open.get(sidecar)
        if one is None or not one.is_open:
            _, one = await asyncio.get_running_loop().create_connection(Exchange, *self.addresses[sidecar])
            self.open[sidecar] = one
        return one

    async def ask(self, outcome, leave_after_s=None, fields=()):
        """Fills in the outcome.  leave_after_s: closes the connection when there is no answer by then."""
        lines = [f"{outcome.method} {outcome.target} HTTP/1.1", "Host: shop", f"X-Id: {outcome.id}"]
        if outcome.method not in ("GET", "HEAD"):
            lines.append("Content-Length: 0")
        data = ("\r\n".join([*lines, *fields]) + "\r\n\r\n").encode()
        try:
            exchange = await self.exchange(outcome.sidecar)
            outcome.sent_ns = time.monotonic_ns()
            answer = exchange.ask(data)
            await asyncio.wait([answer], timeout=leave_after_s)
        except OSError:
            outcome.done_ns = time.monotonic_ns()
            return outcome
        outcome.done_ns = time.monotonic_ns()
        if not answer.done():
            outcome.has_left = True
            exchange.leave()
            return outcome
        read_answer(outcome, answer.result())
        return outcome

    def close(self):
        for one in self.open.values():
            one.transport.abort()


def read_answer(outcome, data):
    if not data:
        return
    outcome.status = int(data[9:12])
    wait = WAIT_MS.search(data)
    outcome.wait_ms = int(wait[1]) if wait else None
    token = TOKEN.search(data)
    outcome.token = int(token[1]) if token else None
    if outcome.status >= 400:
        reason, executed = REASON.search(data), EXECUTED.search(data)
        outcome.executed = executed[1].decode() if executed else None
        outcome.reason = reason[1].decode() if reason else None


class Control:
    """Requests to a route without a lock, to each sidecar, all the time: how long the worst of them took is
    how late the machine, the sidecars, the service and this loop were together."""

    def __init__(self, addresses, target="/plain/control"):
        self.worst_ns, self.target = 0, target
        self.tasks = [asyncio.get_running_loop().create_task(self.run(addresses, i))
                      for i in range(len(addresses))]

    async def run(self, addresses, sidecar):
        client, turn = Client(addresses), 0
        try:
            while True:
                one = await client.ask(Outcome(f"control-{sidecar}-{turn}", self.target, "GET", sidecar))
                self.worst_ns = max(self.worst_ns, one.done_ns - one.sent_ns)
                turn += 1
                await asyncio.sleep(CONTROL_S)
        finally:
            client.close()

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.worst_ns


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


def describe_waits(seconds):
    """"p50 1 ms, p90 2 ms, p99 3 ms, max 4 ms"."""
    shares = [(f"p{share * 100:.0f}", percentile(seconds, share)) for share in (0.5, 0.9, 0.99)]
    shares.append(("max", max(seconds, default=float("nan"))))
    return ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in shares)


async def ask_all(addresses, outcomes, fields=()):
    """All requests at once, each on a connection of its own."""
    clients = [Client(addresses) for _ in outcomes]
    try:
        await asyncio.gather(*(client.ask(one, fields=fields) for client, one in zip(clients, outcomes)))
    finally:
        for client in clients:
            client.close()
    return outcomes
