"""WebSocket (RFC 6455) as far as a tunnel needs it: handshakes, and messages in one frame each."""

import base64
import hashlib
import os
import struct

from raw import RawClient

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BINARY, CLOSE = 2, 8


def accept_for(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def frame(opcode, payload, mask=b""):
    """One whole message; clients mask theirs."""
    size = len(payload)
    length = bytes([size]) if size < 126 else (
        struct.pack("!BH", 126, size) if size < 65536 else struct.pack("!BQ", 127, size))
    if mask:
        length = bytes([length[0] | 0x80]) + length[1:] + mask
        payload = masked(payload, mask)
    return bytes([0x80 | opcode]) + length + payload


def masked(payload, mask):
    whole = mask * (len(payload) // 4 + 1)
    return (int.from_bytes(payload, "little") ^ int.from_bytes(whole[:len(payload)], "little")).to_bytes(len(payload), "little")


def read_frame(file):
    """(opcode, payload), or None at a clean end."""
    first = file.read(2)
    if not first:
        return None
    size, is_masked = first[1] & 0x7f, first[1] & 0x80
    if size == 126:
        size, = struct.unpack("!H", file.read(2))
    elif size == 127:
        size, = struct.unpack("!Q", file.read(8))
    mask = file.read(4) if is_masked else b""
    payload = file.read(size)
    assert len(payload) == size, "cut within a frame"
    return first[0] & 0x0f, masked(payload, mask) if is_masked else payload


class WebSocket(RawClient):
    """A client; status is what its handshake was answered with, answer the whole of it."""

    def __init__(self, address, target="/ws", fields="", context=None, timeout_s=20, behind=b""):
        super().__init__(address, timeout_s)
        if context is not None:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
            self.file = self.sock.makefile("rb", buffering=65536)
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n".encode() + behind)
        self.answer = self.read_response()
        self.status = self.answer.status
        if self.status == 101:
            assert self.answer.header("upgrade").lower() == "websocket"
            assert self.answer.header("connection").lower() == "upgrade"
            assert self.answer.header("sec-websocket-accept") == accept_for(key)

    def say(self, payload, opcode=BINARY):
        self.send(frame(opcode, payload, os.urandom(4)))

    def hear(self):
        return read_frame(self.file)


def accept(request, connection):
    """A service's side of the handshake."""
    assert request.header("upgrade") == "websocket" and request.header("connection").lower() == "upgrade"
    connection.answer(101, headers=[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Content-Length", "0"),
                                    ("Sec-WebSocket-Accept", accept_for(request.header("sec-websocket-key")))],
                      reason="Switching Protocols")


def echo(request, connection):
    """A handler for Origin: says what it hears, until the client closes."""
    connection.end()
    accept(request, connection)
    while True:
        heard = read_frame(connection.file)
        if heard is None:
            return
        connection.send(frame(*heard))
        if heard[0] == CLOSE:
            return
