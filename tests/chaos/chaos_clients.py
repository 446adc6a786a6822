"""The chaotic clients: they send good and bad requests in all ways there are, leave at any moment, and
check everything they get.  What a connection does follows from the seed and its number alone."""

import asyncio
import collections
import itertools
import socket
import ssl

from chaos_service import BROKEN, FAILURES, PLANS, WHOLE_WITH_HEAD
from chaos_wire import Body, chunked, cut_up, noise, parse_fields, pattern, reset, rng_of

# Longer than every timeout of the proxy taken together.
STUCK_S = 60
GRACE_S = 3
SIZES = [0, 1, 10, 100, 3000, 3000, 20000, 70000, 300000]


class Violation(Exception):
    pass


class Gone(Exception):
    """The connection has ended; what came before is no whole answer."""


class Request:
    """A good one, in bytes, with all that its answer must be."""

    def __init__(self, rng, number, is_last=False, may_expect=True, may_be_old=True):
        self.number, self.rng = number, rng
        self.plan = rng.choice(sorted(PLANS)) if rng.random() < 0.6 else rng.choice(["length", "chunks"])
        self.size = rng.choice(SIZES)
        self.method = rng.choice(["GET", "GET", "HEAD", "DELETE", "POST", "POST", "PUT"])
        self.is_old = may_be_old and is_last and rng.random() < 0.2
        path = rng.choice(["/c/x", "/c/x?q=1", "/c/limited", "/c/locked/%d" % rng.randrange(40)])
        lines = [f"{self.method} {path} HTTP/1.{0 if self.is_old else 1}", "Host: chaos", f"X-Id: {number}",
                 f"X-Request-Id: {number:08x}", f"X-Plan: {self.plan}:{self.size}"]
        self.body, self.expects = b"", False
        if self.method in ("POST", "PUT"):
            self.add_body(lines, may_expect)
        if is_last and not self.is_old and rng.random() < 0.5:
            lines.append("Connection: close")
        self.head = "\r\n".join(lines).encode() + b"\r\n\r\n"

    def add_body(self, lines, may_expect):
        data = pattern(self.number, self.rng.choice(SIZES))
        if self.rng.random() < 0.5 and not self.is_old:
            lines.append("Transfer-Encoding: chunked")
            self.body = chunked(self.rng, data)
        else:
            lines.append(f"Content-Length: {len(data)}")
            self.body = data
        if may_expect and data and not self.is_old and self.rng.random() < 0.3:
            lines.append("Expect: 100-continue")
            self.expects = True

    def check_whole(self, status, fields, size):
        """An answer came as a whole: may it?"""
        if "x-id" not in fields:
            if fields.get("content-type") != "application/problem+json" or status < 400:
                raise Violation(f"an answer of nobody: {status} {fields}")
            return
        if self.plan in BROKEN and not (self.method == "HEAD" and self.plan in WHOLE_WITH_HEAD):
            raise Violation(f"{self.plan} looks whole: {status} {fields}, {size} bytes")
        expected = min(self.size, 2000) if self.plan == "two" else self.size
        if self.method == "HEAD" or self.plan in ("empty", "not-modified"):
            expected = 0
        if size != expected:
            raise Violation(f"{size} bytes for {expected} look whole: {self.plan}, {fields}")


class Offer(Request):
    """A GET that offers to switch to another protocol."""

    def __init__(self, rng, number):
        super().__init__(rng, number, may_expect=False, may_be_old=False)
        self.plan, self.method, self.body = rng.choice(["tunnel", "tunnel", "tunnel-cut"]), "GET", b""
        self.head = (f"GET {rng.choice(['/c/x', '/c/locked/1'])} HTTP/1.1\r\nHost: chaos\r\nX-Id: {number}\r\n"
                     f"X-Request-Id: {number:08x}\r\nX-Plan: {self.plan}:{self.size}\r\n"
                     "Connection: Upgrade\r\nUpgrade: chaos\r\n\r\n").encode()

    def check_whole(self, status, fields, size):
        if status == 101 and (fields.get("x-id"), fields.get("upgrade")) != (str(self.number), "chaos"):
            raise Violation(f"somebody else's tunnel: {fields}, not {self.number}")
        if status != 101 and "x-id" in fields:
            raise Violation(f"a tunnel is answered {status} {fields}")


class Connection:
    def __init__(self, reader, writer, number):
        self.reader, self.writer = reader, writer
        self.numbers = itertools.count(number * 8 + 1)  # of its requests, fewer than 8

    async def read_until(self, mark):
        try:
            return await self.reader.readuntil(mark)
        except FAILURES as error:
            raise Gone from error

    async def read_some(self, most):
        try:
            data = await self.reader.read(most)
        except FAILURES as error:
            raise Gone from error
        return data

    async def read_head(self):
        head = await self.read_until(b"\r\n\r\n")
        line, *lines = head[:-4].split(b"\r\n")
        words = line.split(b" ", 2)
        if words[0] != b"HTTP/1.1" or not words[1].isdigit():
            raise Violation(f"no status line: {head}")
        return int(words[1]), parse_fields(lines)

    async def read_body(self, request, fields, take, is_slow):
        """Gives pieces to take; ends with the body, or with Gone."""
        async def read(left):
            while left > 0:
                if is_slow:
                    await asyncio.sleep(0.001)
                data = await self.read_some(min(left, 4096 if is_slow else 65536))
                if not data:
                    raise Gone
                left -= len(data)
                take(data)

        if fields.get("transfer-encoding") == "chunked":
            while True:
                size = int((await self.read_until(b"\r\n")).split(b";")[0], 16)
                if size == 0:
                    while await self.read_until(b"\r\n") != b"\r\n":
                        pass
                    return
                await read(size)
                if await self.read_until(b"\n") != b"\r\n":
                    raise Violation("a chunk that does not end")
        elif "content-length" in fields:
            await read(int(fields["content-length"]))
        else:
            while data := await self.read_some(65536):
                take(data)

    async def read_answer(self, request, on_continue=None, is_slow=False):
        """The status of a whole answer that is the request's; else Gone, or Violation."""
        while True:
            status, fields = await self.read_head()
            if status == 100 and on_continue is not None:
                on_continue()
            if status >= 200 or status == 101:
                break
        for name, right in (("x-id", str(request.number)), ("x-request-id", f"{request.number:08x}")):
            if fields.get(name, right) != right:
                raise Violation(f"the answer to another request: {fields}, not {request.number}")
        body = Body(request.number)

        def take(data):
            if not body.take(data) and "x-id" in fields:
                raise Violation(f"bytes of another body: {data[:80]}, at {body.size} of {request.number}")

        if request.method != "HEAD" and status not in (101, 204, 304):
            await self.read_body(request, fields, take, is_slow)
        request.check_whole(status, fields, body.size)
        return status, fields.get("connection") == "close"


class Clients:
    """addresses: (host, port, SSLContext or None); weights: how often each is connected to."""

    def __init__(self, addresses, weights, seed):
        self.addresses, self.weights, self.seed = addresses, weights, seed
        self.counts = collections.Counter()
        self.violations = []

    async def connect(self, rng, number, is_slow):
        host, port, context = rng.choices(self.addresses, self.weights)[0]
        sock = socket.socket()
        sock.setblocking(False)
        if is_slow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname="localhost" if context else None,
            limit=8192 if is_slow else 1 << 17)
        return Connection(reader, writer, number), context is not None

    def note(self, request, status):
        kind = "whole" if status < 400 else f"refused {status}"
        self.counts[kind] += 1
        self.counts[f"plan {request.plan}"] += status < 400

    async def send(self, connection, rng, data):
        try:
            for piece in cut_up(rng, data):
                connection.writer.write(piece)
                await connection.writer.drain()
        except FAILURES:
            pass  # reading tells

    # ---- what connections do ----

    async def ask(self, connection, rng, is_slow=False, **options):
        """One request and its answer; whether the connection goes on."""
        request = Request(rng, next(connection.numbers), **options)
        may_send = asyncio.Event()

        async def send():
            await self.send(connection, rng, request.head)
            if request.expects:
                await may_send.wait()
            await self.send(connection, rng, request.body)

        sending = asyncio.ensure_future(send())
        try:
            status, is_over = await connection.read_answer(request, may_send.set, is_slow)
        finally:
            sending.cancel()
        self.note(request, status)
        return not is_over and sending.done()

    async def in_turn(self, connection, rng, is_slow):
        for left in reversed(range(rng.randrange(1, 6))):
            if not await self.ask(connection, rng, is_slow, is_last=left == 0):
                break

    async def pipelined(self, connection, rng, is_slow):
        count = rng.randrange(2, 7)
        requests = [Request(rng, next(connection.numbers), is_last=i == count - 1, may_expect=False) for i in range(count)]
        sending = asyncio.ensure_future(
            self.send(connection, rng, b"".join(request.head + request.body for request in requests)))
        try:
            for request in requests:
                status, is_over = await connection.read_answer(request, is_slow=is_slow)
                self.note(request, status)
                if is_over:
                    break
        finally:
            sending.cancel()

    async def half_closed(self, connection, rng, is_slow):
        request = Request(rng, next(connection.numbers), is_last=True, may_expect=False, may_be_old=False)
        await self.send(connection, rng, request.head + request.body)
        try:
            if connection.writer.can_write_eof():
                connection.writer.write_eof()
        except FAILURES:
            pass
        status, _ = await connection.read_answer(request, is_slow=is_slow)
        self.note(request, status)

    async def leaving(self, connection, rng, is_slow):
        """Leaves somewhere within a request, or within its answer."""
        request = Request(rng, next(connection.numbers), is_last=True, may_expect=False)
        data = request.head + request.body
        stage = rng.random()
        await self.send(connection, rng, data if stage > 0.5 else data[:rng.randrange(len(data))])
        if stage > 0.7:
            await connection.read_some(rng.randrange(1, 5000))
        elif rng.random() < 0.5:
            await asyncio.sleep(rng.random() * 0.02)
        if rng.random() < 0.5:
            reset(connection.writer)
        self.counts["left"] += 1

    async def tunnelling(self, connection, rng, is_slow):
        """Bytes go through a tunnel and come back, all of them unless it is cut, and no others."""
        request = Offer(rng, next(connection.numbers))
        data = pattern(request.number, request.size)
        sending = asyncio.ensure_future(self.send(connection, rng, request.head + data))
        try:
            status, _ = await connection.read_answer(request)
            self.counts["tunnels" if status == 101 else f"refused {status}"] += 1
            if status != 101:
                return
            if rng.random() < 0.2:
                self.counts["tunnels left"] += 1
                return
            echo = Body(request.number)
            while echo.size < len(data) and (piece := await connection.read_some(4096 if is_slow else 65536)):
                if is_slow:
                    await asyncio.sleep(0.001)
                if not echo.take(piece):
                    raise Violation(f"bytes of another tunnel: {piece[:80]}, at {echo.size} of {request.number}")
            if echo.size == len(data):
                self.counts["tunnels echoed"] += 1
                await sending
                if connection.writer.can_write_eof():  # not over TLS
                    connection.writer.write_eof()
                    if await connection.read_some(1):
                        raise Violation(f"more than was sent comes out of a tunnel: {request.number}")
        finally:
            sending.cancel()

    async def stalling(self, connection, rng, is_slow):
        """Stops within a request and waits for what comes of it."""
        request = Request(rng, next(connection.numbers), is_last=True, may_expect=False)
        data = request.head + request.body
        await self.send(connection, rng, data[:rng.randrange(len(data))])
        status, _ = await connection.read_answer(request, is_slow=is_slow)
        self.note(request, status)

    async def babbling(self, connection, rng, is_slow):
        """Garbage, and requests that two readers could read differently: nothing is to come of it."""
        hidden = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
        bad = [noise(rng), b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n" + hidden,
               b"POST /c/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
               b"POST /c/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n" + hidden,
               b"POST /c/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + hidden,
               b"GET /c/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n" + hidden,
               b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise(rng)]
        await self.send(connection, rng, rng.choice(bad) + b"\r\n\r\n")
        while True:
            status, fields = await connection.read_head()
            if status < 400 or "x-id" in fields:
                raise Violation(f"an answer to garbage: {status} {fields}")
            self.counts["refused garbage"] += 1
            if fields.get("connection") != "close":
                raise Violation(f"goes on after garbage: {fields}")
            await connection.read_body(None, fields, lambda data: None, False)

    async def run_one(self, number):
        rng = rng_of(self.seed, number)
        kinds = [self.in_turn] * 9 + [self.pipelined] * 4 + [self.half_closed] * 2 + [self.leaving] * 5 + \
                [self.stalling] + [self.babbling] * 2 + [self.tunnelling] * 2
        kind, is_slow = rng.choice(kinds), rng.random() < 0.1
        connection = None
        try:
            connection, is_tls = await self.connect(rng, number, is_slow)
            self.counts["connections over TLS" if is_tls else "connections"] += 1
            await asyncio.wait_for(kind(connection, rng, is_slow), STUCK_S)
        except (Gone, *FAILURES) as error:
            self.counts["cut" if isinstance(error, Gone) else "failed to connect"] += 1
        except asyncio.TimeoutError:
            self.violations.append(f"connection {number}, {kind.__name__}: stuck")
        except Violation as violation:
            self.violations.append(f"connection {number}, {kind.__name__}: {violation}")
        finally:
            if connection is not None:
                connection.writer.transport.abort()

    async def run(self, seconds, width):
        """width connections at a time until the time is over or something is wrong; who is still busy a
        little later leaves."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: None)
        until = loop.time() + seconds
        connections = itertools.count()

        async def one_after_the_other():
            while loop.time() < until and not self.violations:
                await self.run_one(next(connections))

        tasks = [asyncio.ensure_future(one_after_the_other()) for _ in range(width)]
        _, busy = await asyncio.wait(tasks, timeout=seconds + GRACE_S)
        for task in busy:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


def tls_context(ca_file):
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
