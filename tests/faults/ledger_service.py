#!/usr/bin/python3
"""A service that does as it is told, takes no care of anything, and writes down what it did.

    ANY  /KIND/KEY?ms=N    works on KIND/KEY for N milliseconds, then answers 200; it goes on when the
                           client leaves meanwhile, as services do
    PUT  /state/KEY        takes the body piece by piece; each piece is a write to the state of KEY
    GET  /-/visits         who worked when: [key, id, method, token, enter_ns, exit_ns], one per line
    GET  /-/writes         what was written when: [key, id, token, time_ns, bytes], one per line

Times are CLOCK_MONOTONIC, which is one clock for all processes of a machine.  id is the field X-Id,
token the field Fencing-Token; both may be missing (null).  The first line of the output is the URL.
"""

import asyncio
import gc
import json
import re
import socket
import time

TOKEN = re.compile(rb"\r\nfencing-token: *(\d+)", re.I)
ID = re.compile(rb"\r\nx-id: *([^\r]*)", re.I)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
MS = re.compile(r"[?&]ms=([\d.]+)")


class History:
    def __init__(self):
        self.visits = []
        self.writes = []


class Request:
    __slots__ = ("key", "id", "method", "token", "length", "ms", "is_state", "visit")


def parse_head(head):
    request = Request()
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    token, name, length, ms = TOKEN.search(head), ID.search(head), LENGTH.search(head), MS.search(target)
    request.method = method
    request.key = target.partition("?")[0].lstrip("/")
    request.token = int(token[1]) if token else None
    request.id = name[1].decode() if name else None
    request.length = int(length[1]) if length else 0
    request.ms = float(ms[1]) if ms else 0
    request.is_state = request.key.startswith("state/")
    request.visit = None
    return request


class Connection(asyncio.Protocol):
    """One request at a time; pipelining is not for proxies' pools."""

    def __init__(self, history):
        self.history, self.buffer, self.request, self.transport = history, b"", None, None

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        if self.request is None:
            self.buffer += data
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data, self.buffer = self.buffer[:end], self.buffer[end + 4:], b""
            self.begin(parse_head(head))
        self.take_body(data)

    def begin(self, request):
        self.request = request
        if request.key.startswith("-/"):
            return
        request.visit = [request.key, request.id, request.method, request.token, time.monotonic_ns(), None]
        self.history.visits.append(request.visit)

    def take_body(self, data):
        request = self.request
        if data and request.is_state:
            self.history.writes.append([request.key, request.id, request.token, time.monotonic_ns(), len(data)])
        request.length -= len(data)
        if request.length > 0:
            return
        if request.ms > 0:
            asyncio.get_running_loop().call_later(request.ms / 1000, self.finish, request)
        else:
            self.finish(request)

    def finish(self, request):
        body = b"ok"
        if request.visit is not None:
            request.visit[5] = time.monotonic_ns()
        elif request.key == "-/visits":
            body = "\n".join(map(json.dumps, self.history.visits)).encode()
        elif request.key == "-/writes":
            body = "\n".join(map(json.dumps, self.history.writes)).encode()
        self.request = None
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def main():
    # The records are kept on purpose; looking for garbage among them would only stop the clock.
    gc.disable()
    history = History()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(history), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
