"""`lockkeeper top`, on a terminal of its own and for programs."""

import contextlib
import fcntl
import http.server
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest

from harness import SLOWNESS, SANITIZER_MARKS, binary
from lock_service import LockService
from policies import limited, policy

BY_USER = {"name": "user", "key": "{header.x-user}", "rate": "5/day", "burst": 5, "on_missing_key": "shared"}
LOCK = {"name": "stock", "match": {"path": "/stock/{sku}"}, "lock": {"key": "stock:{path.sku}", "wait": "20s"}}


def address_of(lk):
    return "%s:%d" % lk.admin_address


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, *command, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(binary(), ["lockkeeper", *command])
        self.resize(rows, columns)
        self.screen, self.status = b"", None

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def echoes(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def read(self, seconds):
        """False: the program has ended."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.screen += data
        return bool(data)

    def wait_for(self, condition, what):
        """Until condition(what was written since the last call) holds."""
        deadline = time.monotonic() + 10 * SLOWNESS
        while not condition(self.screen):
            assert time.monotonic() < deadline, f"{what}: not in {self.screen[-3000:]!r}"
            assert self.read(0.1), f"ended before {what}: {self.screen[-3000:]!r}"
        seen, self.screen = self.screen, b""
        return seen

    def press(self, keys):
        os.write(self.fd, keys)

    def wait_end(self):
        while self.read(10 * SLOWNESS):
            pass
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert not SANITIZER_MARKS.search(self.screen.decode("latin-1")), self.screen
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal():
    made = []

    def make(*command, **size):
        made.append(Terminal(*command, **size))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def busy(start, make_origin):
    """A process with somebody over the limit, a lock that is held, and one who waits for it."""
    service = LockService()
    lk = start(policy(make_origin(service.visit).url, [limited("/l", BY_USER), LOCK], workers=2))
    for _ in range(8):
        lk.request("GET", "/l", {"X-User": "ann"})
    service.hold("7")
    threads = [threading.Thread(target=lk.request, args=("PUT", "/stock/7", {"X-Request-Id": f"order-{i}"}))
               for i in range(2)]
    for thread in threads:
        thread.start()
    service.wait_inside("7")
    yield lk
    service.release("7")
    for thread in threads:
        thread.join()


def test_on_a_terminal(busy, terminal):
    top = terminal("top", "--admin", address_of(busy), "--interval", "200ms")
    page = top.wait_for(lambda seen: b"LOCKS HELD" in seen and b"WAITING FOR LOCKS" in seen and b"p99" in seen,
                        "the page")
    assert page.startswith(b"\x1b[?1049h") and b"ann" in page and b"stock:7" in page
    assert b"running" in page and b"2 workers" in page and not top.echoes()
    # What is over is over; what is new appears.
    for _ in range(9):
        busy.request("GET", "/l", {"X-User": "bob"})
    top.wait_for(lambda seen: b"bob" in seen, "the next page")
    # It follows the size of its terminal.
    top.resize(12, 60)
    top.wait_for(lambda seen: b"\x1b[2J" in seen, "a new size")
    page = top.wait_for(lambda seen: seen.count(b"\x1b[H") >= 2, "a whole page")
    lines = page.split(b"\x1b[H")[1].split(b"\n")
    assert len(lines) <= 12
    top.press(b"q")
    assert top.wait_end() == 0
    assert top.screen.endswith(b"\x1b[?25h\x1b[?1049l") and top.echoes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_put_back(busy, terminal, number):
    top = terminal("top", "--admin", address_of(busy))
    top.wait_for(lambda seen: b"DENIED" in seen, "the page")
    os.kill(top.pid, number)
    assert top.wait_end() == 0 and top.screen.endswith(b"\x1b[?1049l") and top.echoes()


def test_it_waits_for_a_process_that_is_not_there(start, origin, terminal):
    lk = start(policy(origin.url, admin="127.0.0.1:0"))
    address = address_of(lk)
    top = terminal("top", "--admin", address, "--interval", "100ms")
    top.wait_for(lambda seen: b"running" in seen, "the page")
    lk.stop()
    top.wait_for(lambda seen: b"onnection refused" in seen, "that it is gone")
    start(policy(origin.url, admin=address))
    top.wait_for(lambda seen: b"running" in seen, "the page again")
    top.press(b"\x03")
    assert top.wait_end() == 0


def run_top(*arguments):
    return subprocess.run([binary(), "top", *arguments], capture_output=True, text=True, timeout=60)


def test_for_programs(busy, tmp_path):
    done = run_top("--format", "json", "--interval", "200ms", "--admin", address_of(busy))
    assert done.returncode == 0 and done.stderr == ""
    page = json.loads(done.stdout)
    assert (page["state"], page["workers"], page["held_count"], page["waiting_count"]) == ("running", 2, 1, 1)
    assert page["interval_s"] >= 0.2 and page["requests_per_s"] == 0 and page["store_p99_ms"] is None
    assert [(one["limit"], one["key"], one["count"]) for one in page["denied"]] == [("l/user", "ann", 3)]
    assert [(one["keys"], one["mode"]) for one in page["held"]] == [("stock:7", "exclusive")]
    assert {page["held"][0]["request_id"], page["waiting"][0]["request_id"]} == {"order-0", "order-1"}
    # The policy says where the process is.
    with open(busy.policy_path) as file:
        document = {**json.load(file), "admin": address_of(busy)}
    own = tmp_path / "with-address.yaml"
    own.write_text(json.dumps(document))
    done = run_top("--once", "--interval", "100ms", str(own))
    assert done.returncode == 0 and "\x1b" not in done.stdout
    assert "DENIED" in done.stdout and "stock:7" in done.stdout


def test_wrong_use(tmp_path):
    assert run_top("--admin", "127.0.0.1:1", "--once").returncode == 1
    for wrong in (["--interval", "1ms"], ["--interval"], ["--nothing"], ["--format", "xml"],
                  ["--admin", "127.0.0.1:1", str(tmp_path)]):
        done = run_top(*wrong)
        assert done.returncode == 2 and "usage: lockkeeper top" in done.stderr


EVIL = "\x1b]0;owned\x07\x1b[2J\u202e\u009b"


class EvilHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        key = {"key": EVIL, "count": 5, "error": 0, "remaining": 0, "ms_ago": 1}
        top = {"period_ms": 40000, **{kind: {"keys": [key]} for kind in ("requests", "denied", "near")}}
        pages = {"/": {"version": EVIL, "state": EVIL},
                 "/limits": {"limits": [{"route": EVIL, "limit": EVIL, "capacity": 5, "top": top}]},
                 "/locks": {"held": [{"keys": [EVIL], "route": EVIL, "request_id": EVIL, "state": EVIL}]}}
        body = (f"lockkeeper_workers{{{EVIL}}} 1\n" if self.path == "/metrics"
                else json.dumps(pages[self.path.split("?")[0]])).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_nothing_that_is_shown_can_take_over_the_terminal(terminal):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), EvilHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with contextlib.closing(server.socket):
        top = terminal("top", "--admin", f"127.0.0.1:{server.server_port}", columns=250)
        page = top.wait_for(lambda seen: b"BUSIEST" in seen and b"\x1b[J" in seen, "the page")
        top.press(b"q")
        assert top.wait_end() == 0
        server.shutdown()
    assert b"\\x1b]0;owned\\x07" in page
    for escape in (b"\x1b]", b"\x07", b"\xe2\x80\xae", b"\xc2\x9b"):
        assert escape not in page
    # Once when it begins, and by nobody else.
    assert page.count(b"\x1b[2J") == 1
