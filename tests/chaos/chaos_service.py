#!/usr/bin/python3
"""The chaotic service: obeys the plan that a request carries, well or badly.

    chaos_service.py [CERTIFICATE KEY]

Prints the ports it listens on, then a line for each thing it has seen that must not happen: a request
that no client meant to send, a body that belongs to another one."""

import asyncio
import ssl
import sys

from chaos_wire import Body, chunked, cut_up, noise, parse_fields, pattern, reset, rng_of

FAILURES = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError, OSError)
# Something a client must never see.
EVIL = b"HTTP/1.1 200 OK\r\nX-Id: 0\r\nContent-Length: 4\r\n\r\nevil"


class Over(Exception):
    """The connection ends."""


class Exchange:
    def __init__(self, reader, writer, method, fields):
        self.reader, self.writer, self.method, self.fields = reader, writer, method, fields
        self.number = int(fields["x-id"])
        self.plan, self.size = fields["x-plan"].split(":")[0], int(fields["x-plan"].split(":")[1])
        self.rng = rng_of("service", self.number)
        self.body = pattern(self.number, self.size)

    def head(self, *fields, version="1.1", status="200 OK"):
        lines = [f"HTTP/{version} {status}", f"X-Id: {self.number}", *fields]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def send_body(self, data):
        if self.method != "HEAD":
            await self.send(data)

    def end(self, with_reset=False):
        if with_reset:
            reset(self.writer)
        raise Over


async def read_body(exchange):
    """Reads the request's body; says whether all of it belongs to this request."""
    body = Body(exchange.number)
    is_right = True
    if "chunked" in exchange.fields.get("transfer-encoding", ""):
        while True:
            line = await exchange.reader.readuntil(b"\r\n")
            left = int(line.split(b";")[0], 16)
            if left == 0:
                while await exchange.reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return is_right
            is_right &= body.take(await exchange.reader.readexactly(left))
            if await exchange.reader.readexactly(2) != b"\r\n":
                return False
    left = int(exchange.fields.get("content-length", "0"))
    while left > 0:
        data = await exchange.reader.read(min(left, 65536))
        if not data:
            raise ConnectionResetError
        left -= len(data)
        is_right &= body.take(data)
    return is_right


# ---- what a plan does: well ---------------------------------------------------------------------------


async def by_length(x):
    await x.send(x.head(f"Content-Length: {x.size}"))
    await x.send_body(x.body)


async def by_chunks(x):
    await x.send(x.head("Transfer-Encoding: chunked"))
    await x.send_body(chunked(x.rng, x.body))


async def by_close(x):
    await x.send(x.head("Connection: close"))
    await x.send_body(x.body)
    x.end()


async def as_1_0(x):
    await x.send(x.head(version="1.0"))
    await x.send_body(x.body)
    x.end()


async def empty(x):
    await x.send(x.head(status="204 No Content"))


async def not_modified(x):
    await x.send(x.head("Content-Length: 99", status="304 Not Modified"))


async def hints(x):
    await x.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    await by_length(x)


async def slow(x):
    await x.send(x.head("Transfer-Encoding: chunked"))
    for piece in cut_up(x.rng, chunked(x.rng, x.body), 12) if x.method != "HEAD" else []:
        await x.send(piece)
        await asyncio.sleep(x.rng.random() * 0.004)


async def two_answers(x):
    """In one write, so that the second has come when the first is complete."""
    body = b"" if x.method == "HEAD" else x.body[:2000]
    await x.send(x.head(f"Content-Length: {min(x.size, 2000)}") + body + EVIL)


async def stale(x):
    """Keeps the connection by its words, and closes it."""
    await by_length(x)
    x.end(with_reset=x.rng.random() < 0.5)


async def half_close(x):
    await by_length(x)
    if x.writer.can_write_eof():
        x.writer.write_eof()
    await x.reader.read(1)
    x.end()


async def tunnel(x):
    """Switches and echoes, until the client ends its side or the plan's bytes are through."""
    await x.send(x.head("Upgrade: chaos", "Connection: Upgrade", status="101 Switching Protocols"))
    is_cut = x.plan == "tunnel-cut"
    left = x.rng.randrange(x.size + 1) if is_cut else x.size + 1
    while left > 0 and (data := await x.reader.read(min(left, 65536))):
        await x.send(data)
        left -= len(data)
    x.end(with_reset=is_cut and x.rng.random() < 0.5)


# ---- and badly ------------------------------------------------------------------------------------------


async def cut_length(x):
    await x.send(x.head(f"Content-Length: {x.size + 10}"))
    await x.send(x.body)
    x.end(with_reset=x.rng.random() < 0.5)


async def cut_chunks(x):
    await x.send(x.head("Transfer-Encoding: chunked"))
    await x.send(chunked(x.rng, x.body, is_ended=False))
    x.end(with_reset=x.rng.random() < 0.5)


async def cut_close(x):
    await x.send(x.head("Connection: close") + x.body)
    x.end(with_reset=True)


async def cut_head(x):
    head = x.head("Content-Length: 0")
    await x.send(head[:x.rng.randrange(1, len(head) - 1)])
    x.end(with_reset=x.rng.random() < 0.5)


async def garbage(x):
    await x.send(noise(x.rng))
    x.end()


async def silence(x):
    await x.reader.read(1)
    x.end()


async def stall(x):
    await x.send(x.head(f"Content-Length: {x.size + 10}") + x.body)
    await silence(x)


async def vanish(x):
    x.end(with_reset=True)


async def bad_chunk(x):
    await x.send(x.head("Transfer-Encoding: chunked") + b"3\r\n" + pattern(x.number, 3) + b"X\r\n")
    await silence(x)


async def bad_head(x):
    bad = ["Content-Length: 1\r\nContent-Length: 2", "Content-Length: 4\r\nTransfer-Encoding: chunked",
           "Content-Length: -1", "X: a\nY: b", "X : a", "Transfer-Encoding: gzip"]
    await x.send(x.head(x.rng.choice(bad)) + b"evil")
    await silence(x)


PLANS = {"length": by_length, "chunks": by_chunks, "close": by_close, "as-1.0": as_1_0, "empty": empty,
         "not-modified": not_modified, "hints": hints, "slow": slow, "two": two_answers, "stale": stale,
         "half-close": half_close, "early": by_length,
         "cut-length": cut_length, "cut-chunks": cut_chunks, "cut-close": cut_close, "cut-head": cut_head,
         "garbage": garbage, "silence": silence, "stall": stall, "vanish": vanish, "bad-chunk": bad_chunk,
         "bad-head": bad_head}
# For requests that offer to switch.
TUNNELS = {"tunnel": tunnel, "tunnel-cut": tunnel}
# After these nobody may take what came for a whole answer; but a HEAD's answer is whole with its head.
BROKEN = {"cut-length", "cut-chunks", "cut-close", "cut-head", "garbage", "silence", "stall", "vanish",
          "bad-chunk", "bad-head"}
WHOLE_WITH_HEAD = {"cut-length", "cut-chunks", "cut-close", "stall", "bad-chunk"}


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *lines = head[:-4].split(b"\r\n")
            fields = parse_fields(lines)
            if not line.startswith((b"GET /c/", b"HEAD /c/", b"POST /c/", b"PUT /c/", b"DELETE /c/")) or \
                    "x-plan" not in fields:
                print("violation: a request that nobody sent:", head, flush=True)
                return
            exchange = Exchange(reader, writer, line.split()[0].decode(), fields)
            if exchange.plan == "early":
                await by_length(exchange)
                if "content-length" in fields or "transfer-encoding" in fields:
                    return
                continue
            if fields.get("expect"):
                await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            if not await read_body(exchange):
                print("violation: a body that is not the request's:", head, flush=True)
            await (PLANS.get(exchange.plan) or TUNNELS[exchange.plan])(exchange)
    except (Over, *FAILURES):
        pass
    finally:
        writer.close()


async def main(arguments):
    servers = [await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)]
    if arguments:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*arguments)
        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20, ssl=context))
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    print("ports", *(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
