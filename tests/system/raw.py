"""An HTTP client that sends exactly the bytes it is given, and reads answers one by one."""

import socket

from harness import Response


class RawClient:
    def __init__(self, address, timeout_s=30):
        self.sock = socket.create_connection(address, timeout=timeout_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb", buffering=65536)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def read_head(self):
        """(status, reason, version, fields)."""
        line = self.file.readline(65536)
        if not line:
            raise EOFError("the connection was closed instead of answered")
        version, status, reason = (line.decode("latin-1").rstrip("\r\n").split(" ", 2) + [""])[:3]
        fields = []
        while True:
            line = self.file.readline(65536)
            if line in (b"\r\n", b"\n"):
                return int(status), reason, version, fields
            if not line:
                raise EOFError("the head was cut")
            name, value = line.decode("latin-1").rstrip("\r\n").split(":", 1)
            fields.append((name, value.strip()))

    def read_response(self, method="GET"):
        """A whole answer; EOFError when it is cut."""
        status, _, version, fields = self.read_head()
        answer = Response(status, fields, b"", 10 if version == "HTTP/1.0" else 11)
        if method == "HEAD" or status in (204, 304) or status < 200:
            return answer
        if "chunked" in (answer.header("transfer-encoding") or ""):
            answer.body = self.read_chunked()
        elif answer.header("content-length") is not None:
            answer.body = self.read_exactly(int(answer.header("content-length")))
        else:
            answer.body = self.file.read()
        return answer

    def read_exactly(self, size):
        data = self.file.read(size)
        if len(data) != size:
            raise EOFError(f"{len(data)} of {size} bytes")
        return data

    def read_chunked(self):
        body = b""
        while True:
            line = self.file.readline(256)
            if not line.endswith(b"\r\n"):
                raise EOFError("cut within the chunks")
            size = int(line.split(b";")[0], 16)
            if size == 0:
                while self.file.readline(65536) not in (b"\r\n", b""):
                    pass
                return body
            body += self.read_exactly(size)
            if self.file.read(2) != b"\r\n":
                raise EOFError("cut after a chunk")

    def is_closed(self):
        """True when the other side has closed and nothing more comes."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.file.close()
        self.sock.close()
