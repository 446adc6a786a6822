#!/usr/bin/python3
"""A small shop, to have something to stand in front of.

    GET  /            what there is
    GET  /orders      the orders so far
    POST /orders      one more order
    GET  /stock/SKU   how many there are; PUT /stock/SKU with a number sets it
    GET  /slow?ms=N   an answer after N milliseconds (default 500, at most 10000)
    POST /login       always welcome
    GET  /search?q=X  what in the shop has X in its name
    ANY  /echo        the request as the service saw it

    tests/demo/service.py [HOST:PORT]      port 0: any; the first line says which
"""

import http.server
import json
import signal
import socketserver
import sys
import threading
import urllib.parse

MAX_BODY_BYTES = 1024 * 1024


class Shop:
    """The state, and a lock around it: the server has a thread for each connection."""

    def __init__(self):
        self.lock = threading.Lock()
        self.orders = []
        self.stock = {"boat": 3, "rope": 120, "lock": 42}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "demo"
    timeout = 75
    disable_nagle_algorithm = True

    def answer(self, status, value):
        body = (json.dumps(value, indent=2) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read_body(self):
        """The body, or None when it is too large (the connection then ends)."""
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            return self.read_chunks()
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            return None
        return self.rfile.read(length)

    def read_chunks(self):
        body = b""
        while True:
            size = int(self.rfile.readline(64).split(b";")[0], 16)
            if size == 0:
                while self.rfile.readline(8192) not in (b"\r\n", b""):
                    pass
                return body
            body += self.rfile.read(size)
            self.rfile.readline(8)
            if len(body) > MAX_BODY_BYTES:
                self.close_connection = True
                return None

    def handle_any(self):
        try:
            body = self.read_body()
        except ValueError:
            self.close_connection = True
            self.answer(400, {"error": "malformed body"})
            return
        if body is None:
            self.answer(413, {"error": "too large"})
            return
        url = urllib.parse.urlsplit(self.path)
        first, _, rest = url.path.strip("/").partition("/")
        route = getattr(self, "on_" + (first or "index"), None)
        if route is None:
            self.answer(404, {"error": "no such thing"})
        else:
            route(rest, urllib.parse.parse_qs(url.query), body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def on_index(self, _rest, _query, _body):
        self.answer(200, {"shop": "demo", "try": ["/orders", "/stock/boat", "/search?q=o", "/slow?ms=500", "/echo"]})

    def on_orders(self, _rest, _query, body):
        shop = self.server.shop
        with shop.lock:
            if self.command != "POST":
                self.answer(200, {"orders": shop.orders[-20:], "total": len(shop.orders)})
                return
            order = {"id": len(shop.orders) + 1, "user": self.headers.get("X-User-Id"),
                     "text": body[:200].decode("utf-8", "replace")}
            shop.orders.append(order)
        self.answer(201, order)

    def on_stock(self, sku, _query, body):
        shop = self.server.shop
        with shop.lock:
            if self.command in ("PUT", "PATCH"):
                try:
                    shop.stock[sku] = int(body)
                except ValueError:
                    self.answer(400, {"error": "the body must be a number"})
                    return
            elif self.command == "DELETE":
                shop.stock.pop(sku, None)
            count = shop.stock.get(sku)
        self.answer(200 if count is not None else 404, {"sku": sku, "count": count})

    def on_login(self, _rest, _query, _body):
        self.answer(200, {"welcome": self.headers.get("X-User-Id") or "stranger"})

    def on_search(self, _rest, query, _body):
        wanted = query.get("q", [""])[0]
        shop = self.server.shop
        with shop.lock:
            self.answer(200, {"found": [sku for sku in shop.stock if wanted in sku]})

    def on_slow(self, _rest, query, _body):
        try:
            wait_ms = min(max(int(query.get("ms", ["500"])[0]), 0), 10000)
        except ValueError:
            wait_ms = 500
        threading.Event().wait(wait_ms / 1000)
        self.answer(200, {"waited_ms": wait_ms})

    def on_echo(self, _rest, _query, body):
        self.answer(200, {"method": self.command, "target": self.path, "headers": dict(self.headers),
                          "body": body.decode("utf-8", "replace")})

    def log_message(self, *_arguments):
        pass  # Lockkeeper writes the access log


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address):
        super().__init__(address, Handler)
        self.shop = Shop()


def main():
    host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:0").rpartition(":")
    server = Server((host, int(port)))
    for number in (signal.SIGINT, signal.SIGTERM):
        # shutdown() waits for the loop, so it must not be called from within it.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"http://{server.server_address[0]}:{server.server_address[1]}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
