#!/usr/bin/python3
"""A shop that sells without any care: it reads how many there are, thinks about it, and writes one less.

    PUT  /stock/ITEM/N   there are N now
    POST /buy/ITEM       200 "sold", or 410 "sold out"
    GET  /stock/ITEM     {"left": ..., "sold": ...}

    tests/demo/seckill_shop.py      the first line of its output is its URL
"""

import asyncio
import json
import random

# Between reading and writing: a query here, a payment there.
THINKING_S = (0.001, 0.004)


class Shop:
    def __init__(self):
        self.left, self.sold = {}, {}

    async def buy(self, item):
        left = self.left.get(item, 0)
        if left <= 0:
            return 410, b"sold out\n"
        await asyncio.sleep(random.uniform(*THINKING_S))
        self.left[item] = left - 1
        self.sold[item] = self.sold.get(item, 0) + 1
        return 200, b"sold\n"

    async def answer(self, method, path):
        what, _, item = path.strip("/").partition("/")
        if method == "POST" and what == "buy":
            return await self.buy(item)
        if method == "PUT" and what == "stock":
            item, _, count = item.partition("/")
            self.left[item], self.sold[item] = int(count), 0
            return 200, b"ok\n"
        if method == "GET" and what == "stock":
            return 200, json.dumps({"left": self.left.get(item, 0), "sold": self.sold.get(item, 0)}).encode()
        return 404, b"no such thing\n"

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
                status, body = await self.answer(method, path)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


async def main():
    server = await asyncio.start_server(Shop().serve, "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
