"""Many keep-alive clients at once, from one asyncio loop, and what each of their requests got."""

import asyncio
import time


class Sample:
    """One request: when it went out, when its answer was complete (time.monotonic), what it was."""

    __slots__ = ("sent_at", "done_at", "status", "error")

    def __init__(self, sent_at, done_at, status, error=None):
        self.sent_at, self.done_at, self.status, self.error = sent_at, done_at, status, error

    @property
    def seconds(self):
        return self.done_at - self.sent_at


class Client(asyncio.Protocol):
    """Sends the same bytes again and again, the next request when the last answer is complete."""

    def __init__(self, payload, samples, is_over, finished):
        self.payload, self.samples, self.is_over, self.finished = payload, samples, is_over, finished
        self.buffer, self.transport, self.sent_at = b"", None, None

    def connection_made(self, transport):
        self.transport = transport
        self.send_next()

    def send_next(self):
        if self.is_over():
            self.sent_at = None
            self.transport.close()
            return
        self.sent_at = time.monotonic()
        self.transport.write(self.payload)

    def data_received(self, data):
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15:].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        self.buffer = self.buffer[end + 4 + length:]
        self.samples.append(Sample(self.sent_at, time.monotonic(), int(head[9:12])))
        self.send_next()

    def connection_lost(self, error):
        if self.sent_at is not None:
            self.samples.append(Sample(self.sent_at, time.monotonic(), 0, repr(error)))
        if not self.finished.done():
            self.finished.set_result(None)


async def run_clients(addresses, client_count, target, seconds, headers, stop):
    loop = asyncio.get_running_loop()
    lines = [f"GET {target} HTTP/1.1", "Host: load"] + [f"{k}: {v}" for k, v in headers]
    payload = ("\r\n".join(lines) + "\r\n\r\n").encode()
    deadline = time.monotonic() + seconds
    samples = []

    def is_over():
        return time.monotonic() >= deadline or (stop is not None and stop.is_set())

    async def one(number):
        while not is_over():
            finished = loop.create_future()
            host, port = addresses[number % len(addresses)]
            await loop.create_connection(lambda: Client(payload, samples, is_over, finished), host, port)
            # Once the time is over an answer may still be owed; it must come all the same.
            await asyncio.wait_for(finished, seconds + 60)

    await asyncio.gather(*(one(number) for number in range(client_count)))
    return samples


def run_load(addresses, target="/", seconds=1.0, client_count=64, headers=(), stop=None):
    """The samples of all requests.  A request under way at the end is waited for."""
    return asyncio.run(run_clients(addresses, client_count, target, seconds, headers, stop))


def count(samples, status):
    return sum(1 for sample in samples if sample.status == status)


def most_in_window(samples, window_s):
    """The most requests that lie, from first byte out to last byte in, within one window: a lower
    bound of what was admitted in it, so more than the limit is a violation beyond doubt."""
    best = 0
    ends = sorted(sample.done_at for sample in samples)
    for end in ends:
        inside = sum(1 for s in samples if s.sent_at >= end - window_s and s.done_at <= end)
        best = max(best, inside)
    return best
