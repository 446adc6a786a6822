"""HTTP/1.1 messages as RFC 9112 writes them, and nothing else: the judge of what the proxy sends.

Independent of the proxy and stricter than any peer may be: whatever two readers could understand in two
ways (bare LF, both framings, a list of lengths, a chunk extension, a control byte) is a Violation, so
that every service behind the proxy reads the same requests, and every client the same answers.
"""

import re

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(rb"(%s) ([!-~]+) HTTP/1\.([01])" % TOKEN)
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t -~\x80-\xff]*)")
FIELD_LINE = re.compile(rb"(%s):[ \t]*([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?[ \t]*" % TOKEN)
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
LENGTH = re.compile(rb"[0-9]{1,18}")


class Violation(Exception):
    """The bytes are not a message that everybody reads alike."""


class Message:
    """A head, and as much of the body as has come."""

    def __init__(self, line, fields):
        self.line, self.fields, self.trailers = line, fields, []
        self.framing, self.body, self.is_complete, self.tunnel = None, b"", False, b""

    def values(self, name):
        return [value for key, value in self.fields if key == name.lower()]

    def value(self, name):
        """All values in one, or None without such a field."""
        values = self.values(name)
        return ", ".join(values) if values else None


def parse_lines(data):
    """Splits at CR LF; no other control byte but tab may be in there."""
    lines = data.split(b"\r\n")
    for line in lines:
        if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line):
            raise Violation(f"a control byte in {line!r}")
    return lines


def parse_fields(lines):
    fields = []
    for line in lines:
        match = FIELD_LINE.fullmatch(line)
        if not match:
            raise Violation(f"not a field: {line!r}")
        fields.append((match[1].decode().lower(), (match[2] or b"").decode("latin-1")))
    return fields


class Reader:
    """Feed bytes; messages come out one after the other.  A subclass says what first lines look like
    and how a head frames its body."""

    def __init__(self):
        self.data, self.message, self.chunk_left, self.state = b"", None, 0, "head"

    def feed(self, data):
        self.data += data

    def step(self):
        """Reads on; True when there may be more to do.  self.message is the current message."""
        return getattr(self, "step_" + self.state)()

    def step_head(self):
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            # Also half a head must be one: a fault in it shows at once.
            whole = self.data[:-1] if self.data.endswith(b"\r") else self.data
            if self.data[:2] == b"\r\n":
                raise Violation("an empty line instead of a head")
            parse_lines(whole)
            return False
        lines = parse_lines(self.data[:end])
        self.data = self.data[end + 4:]
        self.message = self.make_message(lines[0], parse_fields(lines[1:]))
        self.begin_body(self.message)
        return True

    def read_framing(self, message):
        """("length", n), ("chunked", None) or (None, None)."""
        lengths, codings = message.values("content-length"), message.values("transfer-encoding")
        if codings:
            if lengths or [coding.lower() for coding in codings] != ["chunked"]:
                raise Violation(f"framed by {codings} and {lengths}")
            return "chunked", None
        if lengths:
            if len(lengths) != 1 or not LENGTH.fullmatch(lengths[0].encode("latin-1")):
                raise Violation(f"Content-Length: {lengths}")
            return "length", int(lengths[0])
        return None, None

    def expect_body(self, message, framing, length):
        message.framing = framing
        if framing == "chunked":
            self.state = "size"
        elif framing == "length" and length > 0:
            self.state, self.chunk_left = "body", length
        elif framing == "close":
            self.state = "until_close"
        else:
            self.end_message()

    def end_message(self):
        self.message.is_complete = True
        self.state = "between"

    def step_between(self):
        """The owner has to take the message before the next one begins."""
        return False

    def take(self):
        assert self.state == "between"
        message, self.message, self.state = self.message, None, "head"
        return message

    def step_body(self):
        taken, self.data = self.data[:self.chunk_left], self.data[self.chunk_left:]
        self.message.body += taken
        self.chunk_left -= len(taken)
        if self.chunk_left == 0:
            if self.message.framing == "chunked":
                self.state = "chunk_end"
            else:
                self.end_message()
        return self.chunk_left == 0

    def step_until_close(self):
        self.message.body += self.data
        self.data = b""
        return False

    def step_size(self):
        line, found, rest = self.data.partition(b"\r\n")
        if not found:
            if not re.fullmatch(rb"[0-9A-Fa-f]{0,15}\r?", line):
                raise Violation(f"chunk size: {line!r}")
            return False
        if not CHUNK_SIZE.fullmatch(line):
            raise Violation(f"chunk size: {line!r}")
        self.data, self.chunk_left = rest, int(line, 16)
        self.state = "body" if self.chunk_left else "trailers"
        return True

    def step_chunk_end(self):
        if len(self.data) < 2:
            return False
        if self.data[:2] != b"\r\n":
            raise Violation(f"after a chunk: {self.data[:8]!r}")
        self.data, self.state = self.data[2:], "size"
        return True

    def step_trailers(self):
        line, found, rest = self.data.partition(b"\r\n")
        if not found:
            return False
        self.data = rest
        if line:
            self.message.trailers += parse_fields(parse_lines(line))
        else:
            self.end_message()
        return True


class RequestReader(Reader):
    def make_message(self, line, fields):
        match = REQUEST_LINE.fullmatch(line)
        if not match:
            raise Violation(f"request line: {line!r}")
        message = Message(line, fields)
        message.method, message.target = match[1].decode(), match[2].decode()
        if len(message.values("host")) != 1:
            raise Violation(f"Host: {message.values('host')}")
        return message

    def begin_body(self, message):
        self.expect_body(message, *self.read_framing(message))


class ResponseReader(Reader):
    """method: of the request that the next answer is for."""

    def __init__(self):
        super().__init__()
        self.method = "GET"

    def make_message(self, line, fields):
        match = STATUS_LINE.fullmatch(line)
        if not match:
            raise Violation(f"status line: {line!r}")
        message = Message(line, fields)
        message.status, message.reason = int(match[1]), match[2].decode("latin-1")
        return message

    def begin_body(self, message):
        framing, length = self.read_framing(message)
        if message.status < 200 or message.status == 204:
            if framing:
                raise Violation(f"{message.status} with framing fields")
        if message.status < 200 or message.status in (204, 304) or self.method == "HEAD":
            self.end_message()
            message.framing = framing
        else:
            self.expect_body(message, framing or "close", length)

    def end_of_input(self):
        """True when the end of the connection completes what was being read."""
        if self.state == "until_close":
            self.end_message()
            return True
        return False
