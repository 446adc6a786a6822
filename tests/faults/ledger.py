"""The handle of a ledger service (ledger_service.py) in a process of its own."""

import json
import os
import sys
import time
from typing import NamedTuple, Optional

from harness import Process, request, split_address, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))


class Visit(NamedTuple):
    key: str
    id: Optional[str]
    method: str
    token: Optional[int]
    enter_ns: int
    exit_ns: Optional[int]  # None: still at work


class Write(NamedTuple):
    key: str
    id: Optional[str]
    token: Optional[int]
    time_ns: int
    size: int


class Ledger(Process):
    def __init__(self):
        super().__init__([sys.executable, os.path.join(HERE, "ledger_service.py")])
        self.url = self.out.wait(lambda line: line.startswith("http://"), 30, "the ledger's address")
        self.address = split_address(self.url[len("http://"):])

    def read(self, what):
        lines = request(self.address, "GET", f"/-/{what}", timeout_s=60).body.decode().splitlines()
        return map(json.loads, lines)

    def visits(self):
        return [Visit(*fields) for fields in self.read("visits")]

    def writes(self):
        return [Write(*fields) for fields in self.read("writes")]

    def wait_visit(self, name, seconds=30, is_over=False):
        """The visit of the request with this id, once it has begun, or is over."""
        def find():
            return next((visit for visit in self.visits() if visit.id == name and
                         (visit.exit_ns is not None or not is_over)), None)
        return wait_until(find, seconds, f"visit of {name}")

    def wait_idle(self, seconds=30):
        """Nobody is at work any more."""
        wait_until(lambda: all(visit.exit_ns is not None for visit in self.visits()), seconds,
                   "the service is idle", every_s=0.1)


def now_ns():
    return time.monotonic_ns()
