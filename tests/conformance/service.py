"""The service behind the proxy: records what arrives byte by byte, answers what the case says.

One thread with a selector holds all connections, so that "everything that has arrived" is one pass over
them.  What happens for a request is a script, a list of steps:

    bytes            sent as they are
    EARLY            (first) begin once the head is here; else scripts begin when the request is complete
    WHOLE            wait for the rest of the request
    Until("name")    wait for the client's Signal("name")
    TUNNEL           (after a 101) what comes from now on is no request
    Takes(data)      wait until this has come through the tunnel
    ENDED            wait until the proxy has ended its side of the tunnel
    FIN, RESET       end the connection; the script is over
"""

import collections
import contextlib
import queue
import selectors
import socket
import struct
import threading

from wire import RequestReader, Violation

EARLY, WHOLE, FIN, RESET, TUNNEL, ENDED = "early", "whole", "fin", "reset", "tunnel", "ended"
Until = collections.namedtuple("Until", "name")
Takes = collections.namedtuple("Takes", "data")


def plain_answer(request):
    """What a request without a script gets: an answer that tells which request it is for."""
    body = f"{request.method} {request.target}".encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + (
        b"" if request.method == "HEAD" else body)


class Connection:
    def __init__(self, sock):
        self.sock, self.reader, self.raw = sock, RequestReader(), b""
        self.script, self.request, self.violation = None, None, None
        self.is_tunnel = False
        self.is_ended = False  # by the proxy
        self.is_closed = False  # by us, wholly


class Service(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.wake_receiver, self.wake_sender = socket.socketpair()
        self.wake_receiver.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.selector.register(self.wake_receiver, selectors.EVENT_READ, "wake")
        self.commands, self.changed = queue.Queue(), threading.Condition()
        self.is_running = True
        self.reset_case([])
        self.connections = []
        self.start()

    def reset_case(self, scripts):
        self.scripts, self.seen, self.signals = list(scripts), [], set()
        self.connections = []
        self.connection_count = 0

    # ---- for the client's thread ------------------------------------------------------------------

    def call(self, function):
        """Runs the function in the service's thread, after a look at everything that has arrived."""
        done, result = threading.Event(), []

        def run():
            while self.look(0):
                pass
            result.append(function())
            done.set()

        self.commands.put(run)
        self.wake_sender.send(b"!")
        assert done.wait(20), "the service's thread is stuck"
        return result[0]

    def begin(self, scripts):
        self.call(lambda: self.reset_case(scripts))

    def signal(self, name):
        def add():
            self.signals.add(name)
            for connection in self.connections:
                self.advance(connection)

        self.call(add)

    def wait(self, condition, deadline):
        """True when condition() became true; deadline() is the time left."""
        with self.changed:
            while not condition():
                if deadline() <= 0:
                    return False
                self.changed.wait(deadline())
            return True

    def close_all(self):
        """Ends what is still open; the number of connections that were."""
        def close():
            still_open = [one for one in self.connections if not one.is_closed]
            for connection in still_open:
                self.drop(connection)
            return len(still_open)

        return self.call(close)

    def stop(self):
        self.is_running = False
        self.wake_sender.send(b"!")
        self.join(10)
        self.listener.close()

    # ---- in its own thread ------------------------------------------------------------------------

    def run(self):
        while self.is_running:
            self.look(None)
            while not self.commands.empty():
                self.commands.get()()

    def look(self, timeout_s):
        """One pass over what is readable; True when there was something."""
        ready = [key for key, _ in self.selector.select(timeout_s) if key.data != "wake"]
        try:
            self.wake_receiver.recv(4096)
        except BlockingIOError:
            pass
        with self.changed:
            for key in ready:
                if key.data is None:
                    self.accept()
                else:
                    self.receive(key.data)
            self.changed.notify_all()
        return bool(ready)

    def accept(self):
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        sock.settimeout(10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock)
        self.connections.append(connection)
        self.connection_count += 1
        self.selector.register(sock, selectors.EVENT_READ, connection)

    def receive(self, connection):
        try:
            data = connection.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            connection.is_ended = True
            if connection.is_tunnel:
                self.selector.unregister(connection.sock)
                self.advance(connection)
            else:
                self.drop(connection)
            return
        connection.raw += data
        connection.reader.feed(data)
        self.advance(connection)

    def drop(self, connection, with_reset=False):
        if connection.is_closed:
            return
        connection.is_closed = True
        if not (connection.is_tunnel and connection.is_ended):
            self.selector.unregister(connection.sock)
        if with_reset:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sock.close()

    def read(self, connection):
        reader = connection.reader
        if connection.is_tunnel:
            connection.request.tunnel += reader.data
            reader.data = b""
            return
        try:
            while reader.step():
                if reader.message is not None and reader.message is not connection.request:
                    self.begin_request(connection, reader.message)
            if reader.message is not None and reader.message is not connection.request:
                self.begin_request(connection, reader.message)
        except Violation as violation:
            connection.violation = violation
            self.drop(connection, with_reset=True)

    def begin_request(self, connection, request):
        """The head has come.  Requests of the harness itself are answered and not recorded."""
        connection.request = request
        if request.target.startswith(("/probe", "/barrier")) and request.method == "GET":
            answer = plain_answer(request)
            if request.target.startswith("/barrier"):
                answer = answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            connection.script = [answer] + ([FIN] if request.target.startswith("/barrier") else [])
            return
        script = self.scripts[len(self.seen)] if len(self.seen) < len(self.scripts) else None
        connection.script = list(script) if script is not None else [plain_answer(request)]
        if connection.script and connection.script[0] == EARLY:
            connection.script.pop(0)
        else:
            connection.script.insert(0, WHOLE)
        self.seen.append(request)

    def advance(self, connection):
        """As far as the bytes and the script allow."""
        if connection.is_closed or connection.violation:
            return
        while True:
            self.read(connection)
            if connection.is_closed or connection.script is None:
                return
            if not self.play(connection) or connection.is_tunnel:
                return
            if not connection.request.is_complete:
                return  # the answer is out, the request still comes
            connection.reader.take()
            connection.script = connection.request = None

    def play(self, connection):
        """True when the script has come to its end."""
        while connection.script:
            step = connection.script[0]
            if step == WHOLE and not connection.request.is_complete:
                return False
            if isinstance(step, Until) and step.name not in self.signals:
                return False
            if isinstance(step, Takes) and step.data not in connection.request.tunnel:
                return False
            if step == ENDED and not connection.is_ended:
                return False
            connection.script.pop(0)
            if step == TUNNEL:
                connection.is_tunnel = True
                self.read(connection)
            if isinstance(step, bytes) and not self.send(connection, step):
                return False
            if step == FIN:
                with contextlib.suppress(OSError):  # the proxy has reset it
                    connection.sock.shutdown(socket.SHUT_WR)
                return False
            if step == RESET:
                self.drop(connection, with_reset=True)
                return False
        return True

    def send(self, connection, data):
        try:
            connection.sock.sendall(data)
        except OSError:
            self.drop(connection)
            return False
        return True
