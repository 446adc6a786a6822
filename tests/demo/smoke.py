#!/usr/bin/python3
"""Runs `make run` as a user would on a terminal: waits for the invitation, asks the service through
Lockkeeper, presses Ctrl-C, and demands exit status 0.

    tests/demo/smoke.py make run            or whatever leads to it: chroot ROOT make -C DIR run
"""

import os
import pty
import re
import select
import sys
import time
import urllib.request

CTRL_C = b"\x03"


class Terminal:
    """The command on a terminal of its own, so that Ctrl-C is what it is for a user."""

    def __init__(self, command):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)

    def read(self, seconds):
        """More output; False at its end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def read_until(self, pattern, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            more = self.read(0.5)
            found = re.search(pattern, self.text)
            if found:
                return found
            if not more:
                break
        sys.exit(f"smoke: {pattern!r} did not appear")

    def exit_status(self):
        while self.read(30):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def try_it(terminal):
    address = terminal.read_until(r"listens on http://(\S+),", 900)[1]
    terminal.read_until("Ctrl-C", 10)
    with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
        assert answer.status == 200 and "Lockkeeper".lower() in answer.headers["Via"].lower()
    os.write(terminal.fd, CTRL_C)
    status = terminal.exit_status()
    if status != 0:
        sys.exit(f"smoke: make run ended with status {status}")
    print("smoke: make run answered and ended with status 0")


def main():
    terminal = Terminal(sys.argv[1:] or ["make", "run"])
    try:
        try_it(terminal)
    finally:
        os.close(terminal.fd)  # hangs up, which ends whatever still runs there


if __name__ == "__main__":
    main()
