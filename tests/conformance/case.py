"""What a case is, and how one is run against a proxy.

A case says what a client sends, what the service must see and answers, and what the client must get.
Two things hold for every case, whatever it says: the bytes that reach the service are strict HTTP/1.1
(wire.py) and hold exactly the requests that the case lists; and after the case a fresh client gets the
answer to its own request.
"""

import collections
import contextlib
import itertools
import socket
import struct
import time

from wire import ResponseReader, Violation

# Steps of a client besides bytes to send.
SHUT, CLOSE, ABORT = "shut", "close", "abort"
Signal = collections.namedtuple("Signal", "name")        # lets a script of the service go on
Arrived = collections.namedtuple("Arrived", "count")     # until the service has seen so many heads
Whole = collections.namedtuple("Whole", "count")         # ... so many complete requests
BodyHas = collections.namedtuple("BodyHas", "data")      # ... this in the latest request's body
Ended = collections.namedtuple("Ended", "count")         # until the proxy has ended so many of its connections
Read = collections.namedtuple("Read", "count")           # until so many answers have come
Drip = collections.namedtuple("Drip", "data pause_s")    # single bytes at intervals, until answered
Reconnect = collections.namedtuple("Reconnect", "")      # go on over a new connection
Gets = collections.namedtuple("Gets", "data")            # until these bytes, and no others, have come through a tunnel

# After the answers: the connection is closed by the proxy; it serves another request; or either.
CLOSED, KEPT, EITHER = "closed", "kept", "either"


class Seen:
    """A request the service must get.  fields: value that a field has in all, or None for absent, or a
    predicate on the list of values.  is_complete False: its end never comes, so a proxy may hold all of it
    back; None: it may come.  tunnel: what comes after it once the script has said TUNNEL."""

    def __init__(self, method="GET", target="/", body=b"", fields=None, framing=None, is_complete=True, tunnel=b""):
        self.method, self.target, self.body, self.tunnel = method, target, body, tunnel
        self.fields, self.framing, self.is_complete = fields or {}, framing, is_complete

    def check(self, request):
        assert (request.method, request.target) == (self.method, self.target), \
            f"the service saw {request.line!r}, not {self.method} {self.target}"
        check_fields(request, self.fields, "the request")
        assert self.is_complete is None or request.is_complete == self.is_complete, \
            "the request is whole at the service" if request.is_complete else "the service got a part of a request"
        if self.body is not None and self.is_complete:
            assert request.body == self.body, f"the service got the body {request.body[:200]!r}"
            assert not request.trailers, f"trailers: {request.trailers}"
        if self.framing:
            assert request.framing == self.framing, f"framing: {request.framing}"
        assert request.tunnel == self.tunnel, f"through the tunnel came {request.tunnel[:200]!r}"


class Answer:
    """What the client must get.  body None is any; is_cut: it must end before it is complete (with 502
    among the statuses, an answer of the proxy's own or none will do)."""

    def __init__(self, status=200, body=None, fields=None, to="GET", framing=None, is_cut=False):
        self.statuses = status if isinstance(status, set) else {status}
        self.body, self.fields, self.to, self.framing, self.is_cut = body, fields or {}, to, framing, is_cut

    @property
    def may_be_refused(self):
        return self.is_cut and 502 in self.statuses

    def check(self, message):
        assert message.status in self.statuses, f"status {message.status}, not {sorted(self.statuses)}"
        check_fields(message, self.fields, "the answer")
        if self.body is not None and self.is_cut:
            assert self.body.startswith(message.body), f"body {message.body[:200]!r}, not {self.body[:200]!r}"
        elif self.body is not None:
            assert message.body == self.body, f"body {message.body[:200]!r}, not {self.body[:200]!r}"
        if self.framing:
            assert message.framing == self.framing, f"framing: {message.framing}"


def check_fields(message, wanted, what):
    for name, value in wanted.items():
        if callable(value):
            assert value(message.values(name)), f"{name} of {what}: {message.values(name)}"
        else:
            assert message.value(name) == value, f"{name} of {what}: {message.value(name)!r}, not {value!r}"


class Case:
    """basis: "must" when the RFC demands it (MUST, SHOULD or the grammar), "choice" when the RFC
    leaves it open and Lockkeeper takes the strict side; note says which and why."""

    def __init__(self, name, group, rfc, send, seen, answers, after, service=(), basis="must", note="",
                 profile="plain"):
        assert basis == "must" or note, f"{name}: a choice needs a reason"
        self.name, self.group, self.rfc = name, group, rfc
        self.send = [send] if isinstance(send, bytes) else list(send)
        self.seen, self.answers, self.after = seen, answers, after
        self.service, self.basis, self.note, self.profile = service, basis, note, profile

    def in_bytes(self):
        """The same case with every byte sent for itself: it must make no difference.  None if that
        says nothing."""
        if self.profile != "plain" or not all(isinstance(step, bytes) for step in self.send) or sum(map(len, self.send)) > 700:
            return None
        other = Case(self.name, self.group, self.rfc, [], self.seen, self.answers, self.after, self.service,
                     self.basis, self.note, self.profile)
        other.send = [bytes([byte]) for step in self.send for byte in step]
        return other


class Cut(Exception):
    """The connection ended within an answer."""


class Client:
    def __init__(self, address, deadline):
        self.address, self.deadline = address, deadline
        self.connect()

    def connect(self):
        self.sock = socket.create_connection(self.address, timeout=max(self.deadline(), 0.1))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader, self.is_ended, self.is_closed = ResponseReader(), False, False

    def send(self, data):
        """A proxy that has refused need not take the rest."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data)

    def receive(self, seconds):
        """False when nothing came; at the end of input is_ended becomes true."""
        self.sock.settimeout(max(seconds, 0.001))
        try:
            data = self.sock.recv(65536)
        except (socket.timeout, BlockingIOError):
            return False
        except ConnectionResetError:
            data = b""
        finally:
            self.sock.settimeout(max(self.deadline(), 0.1))
        if data:
            self.reader.feed(data)
        else:
            self.is_ended = True
        return True

    def next_answer(self, method):
        self.reader.method = method
        while True:
            while self.reader.step():
                pass
            if self.reader.state == "between":
                return self.reader.take()
            if self.is_ended:
                if self.reader.end_of_input():
                    return self.reader.take()
                raise Cut()
            if self.deadline() <= 0:
                raise AssertionError(f"no complete answer in time; so far: {self.so_far()!r}")
            self.receive(self.deadline())

    def gets(self, data):
        """Through a tunnel."""
        while len(self.reader.data) < len(data) and not self.is_ended:
            assert self.deadline() > 0, f"not in time through the tunnel: {data[:100]!r}"
            self.receive(self.deadline())
        assert self.reader.data[:len(data)] == data, f"through the tunnel came {self.reader.data[:200]!r}"
        self.reader.data = self.reader.data[len(data):]

    def so_far(self):
        message = self.reader.message
        return (message.line, message.body[:100]) if message else self.reader.data[:200]

    def close(self, with_reset=False):
        if with_reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        self.is_closed = True


def deadline_in(seconds):
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()


probe_numbers = itertools.count(1)


class Run:
    """One case, once, against one proxy."""

    def __init__(self, case, address, service, seconds=5.0):
        self.case, self.address, self.service = case, address, service
        self.deadline = deadline_in(seconds)
        self.got = []

    def run(self):
        self.service.begin(self.case.service)
        client = Client(self.address, self.deadline)
        try:
            for step in self.case.send:
                self.take_step(client, step)
            if not client.is_closed:
                self.read_answers(client, len(self.case.answers))
                self.check_after(client)
        finally:
            client.close()
            problem = self.clean_up()
        assert problem is None, problem

    def wait(self, condition, what):
        assert self.service.wait(condition, self.deadline), f"not in time: {what}"

    def take_step(self, client, step):
        seen = self.service.seen
        if isinstance(step, bytes):
            client.send(step)
        elif step == SHUT:
            client.sock.shutdown(socket.SHUT_WR)
        elif step == ABORT:
            client.close(with_reset=True)
        elif step == CLOSE:
            client.close()
        elif isinstance(step, Signal):
            self.service.signal(step.name)
        elif isinstance(step, Arrived):
            self.wait(lambda: len(seen) >= step.count, f"{step.count} request heads at the service")
        elif isinstance(step, Whole):
            self.wait(lambda: sum(one.is_complete for one in seen) >= step.count,
                      f"{step.count} requests at the service")
        elif isinstance(step, BodyHas):
            self.wait(lambda: seen and step.data in seen[-1].body, f"{step.data!r} at the service")
        elif isinstance(step, Ended):
            self.wait(lambda: sum(one.is_ended for one in self.service.connections) >= step.count,
                      "the proxy ends its connection to the service")
        elif isinstance(step, Read):
            self.read_answers(client, step.count)
        elif isinstance(step, Drip):
            self.drip(client, step)
        elif isinstance(step, Gets):
            client.gets(step.data)
        elif isinstance(step, Reconnect):
            client.close()
            client.connect()
        else:
            raise TypeError(step)

    def drip(self, client, step):
        for byte in step.data:
            client.send(bytes([byte]))
            client.receive(step.pause_s)
            if client.is_ended or client.reader.data or self.deadline() <= 0:
                return

    def read_answers(self, client, count):
        while len(self.got) < count:
            wanted = self.case.answers[len(self.got)]
            try:
                message = client.next_answer(wanted.to)
            except Violation as violation:
                raise AssertionError(f"the answer is not HTTP: {violation}") from None
            except Cut:
                message = client.reader.message
                if message is None and wanted.may_be_refused:
                    return
                assert message is not None, "the connection was closed instead of answered"
                assert wanted.is_cut, f"the answer was cut: {client.so_far()}"
                wanted.check(message)
                self.got.append(message)
                return
            assert not wanted.is_cut or (wanted.may_be_refused and message.status == 502), \
                f"the answer looks complete: {message.line!r} {message.body[:100]!r}"
            wanted.check(message)
            self.got.append(message)

    def check_after(self, client):
        if self.case.after == CLOSED:
            while not client.is_ended:
                assert self.deadline() > 0, "the connection was not closed"
                client.receive(self.deadline())
            assert not client.reader.data, f"more than was asked for: {client.reader.data[:200]!r}"
        elif self.case.after == KEPT:
            self.ask(client, f"/probe-{next(probe_numbers)}")

    def ask(self, client, target):
        """A plain request, which must get its own answer."""
        client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        try:
            message = client.next_answer("GET")
        except Cut:
            raise AssertionError("the connection was closed, and should have been kept") from None
        except Violation as violation:
            raise AssertionError(f"the next answer is not HTTP: {violation}") from None
        assert message.body == f"GET {target}".encode(), \
            f"{target} got {message.line!r} {message.body[:200]!r}"

    def clean_up(self):
        """What the service has seen by now, judged; then nothing of this case is left.  Returns the
        problem or None: a failure before this must be the one that is told."""
        self.deadline = deadline_in(max(self.deadline(), 0) + 5)
        try:
            try:
                self.barrier()
                self.check_service()
            finally:
                while self.service.close_all() > 0:
                    self.barrier()
        except AssertionError as problem:
            return problem
        return None

    def barrier(self):
        """A request of a fresh client: once it is answered, the proxy has done with what came before."""
        target = f"/barrier-{next(probe_numbers)}"
        client = Client(self.address, self.deadline)
        client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        try:
            message = client.next_answer("GET")
        except (Cut, Violation) as fault:
            raise AssertionError(f"a fresh client got no answer: {fault!r}") from None
        finally:
            client.close()
        assert message.body == f"GET {target}".encode(), \
            f"a fresh client got {message.line!r} {message.body[:200]!r}"

    def check_service(self):
        seen, connections = self.service.call(
            lambda: (list(self.service.seen), list(self.service.connections)))
        for connection in connections:
            assert connection.violation is None, \
                f"not a request: {connection.violation} in {connection.raw[-400:]!r}"
            assert not connection.reader.data, f"left at the service: {connection.reader.data[:200]!r}"
        wanted = list(self.case.seen)
        for request in seen:
            assert wanted, f"the service saw a request too many: {request.line!r}"
            while not wanted[0].is_complete and len(wanted) > len(seen):
                wanted.pop(0)
            wanted.pop(0).check(request)
        assert all(not one.is_complete for one in wanted), f"the service did not see {wanted[0].target}"
        # What will never be whole must not keep a connection, and none is used again after it.
        for connection in connections:
            if connection.request is not None and not connection.request.is_complete:
                assert self.service.wait(lambda: connection.is_ended or connection.is_closed, self.deadline), \
                    "an incomplete request was left to wait"
