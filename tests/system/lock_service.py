"""A service that writes down who worked when: for each request its key (the last part of its path),
the interval, and what Lockkeeper told it of the lock.

The path says how long it works: /anything/KEY?ms=200.  hold(KEY) makes requests for KEY wait inside
the service until release(KEY)."""

import threading
import time
from urllib.parse import parse_qs, urlsplit


class Visit:
    def __init__(self, request, key):
        self.method, self.target, self.key = request.method, request.target, key
        self.name = request.header("x-name")
        self.token = int(request.header("fencing-token") or 0)
        self.lock_key, self.mode = request.header("lock-key"), request.header("lock-mode")
        self.context = request.header("lock-context")
        self.entered_s, self.left_s, self.error = time.monotonic(), None, None


class LockService:
    """Give visit() to Origin as its handler."""

    def __init__(self):
        self.changed = threading.Condition()
        self.visits, self.held = [], set()
        self.running = {}  # key -> how many are inside now
        self.most = {}     # key -> how many were inside at a time, at most

    def visit(self, request, connection):
        parts = urlsplit(request.target)
        visit = Visit(request, parts.path.rsplit("/", 1)[-1])
        with self.changed:
            self.visits.append(visit)
            self.running[visit.key] = self.running.get(visit.key, 0) + 1
            self.most[visit.key] = max(self.most.get(visit.key, 0), self.running[visit.key])
            self.changed.notify_all()
        try:
            connection.read_body(request)
            time.sleep(float(parse_qs(parts.query).get("ms", ["0"])[0]) / 1000)  # its work
            with self.changed:
                assert self.changed.wait_for(lambda: visit.key not in self.held, 20)
        finally:
            with self.changed:
                self.running[visit.key] -= 1
                visit.left_s = time.monotonic()
                self.changed.notify_all()
        connection.answer(200, b"" if request.method == "HEAD" else b"done")

    def hold(self, key):
        with self.changed:
            self.held.add(key)

    def release(self, key):
        with self.changed:
            self.held.discard(key)
            self.changed.notify_all()

    def wait_inside(self, key, count=1, seconds=30):
        """Until so many requests for key are being worked on."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.running.get(key, 0) >= count, seconds), \
                f"{self.running.get(key, 0)} of {count} inside"

    def wait_left(self, key, count=1, seconds=30):
        """Until so many requests for key have ended."""
        def left():
            return sum(1 for one in self.visits if one.key == key and one.left_s is not None)
        with self.changed:
            assert self.changed.wait_for(lambda: left() >= count, seconds), f"{left()} of {count} left"

    def of(self, key):
        with self.changed:
            return [one for one in self.visits if one.key == key]
