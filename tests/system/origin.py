"""The service behind Lockkeeper, as a test wants it.

Origin(handler) listens on a free port and calls handler(request, connection) for each request, in a
thread for each connection.  The handler says everything: it may answer as HTTP should, or break it at
any byte.  Without a handler it answers 200 with a JSON description of what it received.
"""

import hashlib
import json
import socket
import threading


class Request:
    def __init__(self, method, target, version, headers):
        self.method, self.target, self.version, self.headers = method, target, version, headers
        self.trailers = []

    def header(self, name, default=None):
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else default

    def names(self):
        return [name.lower() for name, _ in self.headers]


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb", buffering=65536)
        self.is_over = False

    def read_request(self):
        """The next head, or None at the end of the connection."""
        line = self.file.readline(65536)
        if not line.endswith(b"\r\n"):
            return None
        method, target, version = line.decode("latin-1").rstrip("\r\n").split(" ", 2)
        return Request(method, target, version, self.read_fields())

    def read_fields(self):
        fields = []
        while True:
            line = self.file.readline(65536)
            if line in (b"\r\n", b""):
                return fields
            name, value = line.decode("latin-1").rstrip("\r\n").split(":", 1)
            fields.append((name, value.strip()))

    def body_chunks(self, request):
        """The body as it comes, de-chunked."""
        if "chunked" in (request.header("transfer-encoding") or ""):
            while True:
                size = int(self.file.readline(256).split(b";")[0], 16)
                if size == 0:
                    request.trailers = self.read_fields()
                    return
                yield self.read_exactly(size)
                self.file.readline(8)
        left = int(request.header("content-length") or 0)
        while left > 0:
            data = self.file.read1(min(left, 65536))
            if not data:
                raise ConnectionError("the body ended early")
            left -= len(data)
            yield data

    def read_exactly(self, size):
        data = self.file.read(size)
        if len(data) != size:
            raise ConnectionError("the body ended early")
        return data

    def read_body(self, request):
        return b"".join(self.body_chunks(request))

    def send(self, *pieces):
        for piece in pieces:
            self.sock.sendall(piece if isinstance(piece, bytes) else piece.encode("latin-1"))

    def answer(self, status=200, body=b"", headers=(), reason="X", version="HTTP/1.1"):
        """A whole answer; Content-Length is added unless the headers say otherwise."""
        lines = [f"{version} {status} {reason}"] + [f"{name}: {value}" for name, value in headers]
        names = {name.lower() for name, _ in headers}
        if not names & {"content-length", "transfer-encoding"} and status not in (204, 304):
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines) + "\r\n\r\n", body)

    def end(self):
        """Close after this request."""
        self.is_over = True


def describe(request, connection):
    """The default handler."""
    digest, length = hashlib.sha256(), 0
    for data in connection.body_chunks(request):
        digest.update(data)
        length += len(data)
    body = json.dumps({"method": request.method, "target": request.target, "version": request.version,
                       "headers": request.headers, "length": length, "sha256": digest.hexdigest(),
                       "trailers": request.trailers}).encode()
    connection.answer(200, b"" if request.method == "HEAD" else body,
                      [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])


class Origin:
    def __init__(self, handler=describe):
        self.handler = handler
        self.lock = threading.Lock()
        self.requests = []  # (method, target), in order of arrival
        self.errors = []
        self.connection_count = 0
        self.open_sockets = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connection_count += 1
                self.open_sockets.add(sock)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        connection = Connection(sock)
        try:
            while not connection.is_over:
                request = connection.read_request()
                if request is None:
                    break
                with self.lock:
                    self.requests.append((request.method, request.target))
                self.handler(request, connection)
        except OSError:
            pass  # the proxy went away; tests look at what they expect instead
        except Exception as error:
            with self.lock:
                self.errors.append(error)
        finally:
            with self.lock:
                self.open_sockets.discard(sock)
            connection.file.close()
            sock.close()

    def seen(self, target=None):
        with self.lock:
            return [one for one in self.requests if target is None or one[1] == target]

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
        self.listener.close()
        with self.lock:
            still_open = list(self.open_sockets)
        for sock in still_open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        assert not self.errors, self.errors
