"""Processes under test: Lockkeeper and redis-server, started on free ports, stopped by pid.

Nothing here sleeps to synchronise: wait_until() watches for a condition until its deadline, and the
log readers wake whoever waits for a line.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import redis

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("LOCKKEEPER_BUILD", "release")
# Sanitizers cost time; what a test allows for scheduling is multiplied by this.
SLOWNESS = {"release": 1, "asan": 3, "tsan": 8}.get(BUILD, 1)
SANITIZER_MARKS = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|CHECK failed")


def binary():
    return os.environ.get("LOCKKEEPER", os.path.join(TOP, "build", "lockkeeper"))


def wait_until(condition, seconds=30.0, what="condition", every_s=0.01):
    """The first true value of condition(); fails when there is none within the time."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        pause.wait(every_s)


def free_port():
    """A port nobody listens on now.  For servers that cannot bind port 0 and say what they got."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LineReader(threading.Thread):
    """Collects the lines of a pipe; wait() returns the first one that satisfies a predicate."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe, self.lines, self.changed, self.is_over = pipe, [], threading.Condition(), False
        self.start()

    def run(self):
        for raw in self.pipe:
            with self.changed:
                self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def wait(self, predicate, seconds, what):
        deadline = time.monotonic() + seconds
        seen = 0
        with self.changed:
            while True:
                for line in self.lines[seen:]:
                    if predicate(line):
                        return line
                seen = len(self.lines)
                left = deadline - time.monotonic()
                if self.is_over or left <= 0:
                    raise AssertionError(f"{what}: not seen in:\n" + "\n".join(self.lines[-30:]))
                self.changed.wait(left)

    def snapshot(self):
        with self.changed:
            return list(self.lines)


def parse_json_line(line):
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


# Moves them out of the way, then to 3, 4, ...
PASS_SOCKETS = """
import fcntl, os, sys
fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, 100) for fd in sys.argv[1].split(",")]
for number, fd in enumerate(fds):
    os.dup2(fd, 3 + number, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Process:
    """A child process whose output is read line by line."""

    def __init__(self, command, env=None, cwd=None, sockets=()):
        """sockets are passed as a service manager does it (LISTEN_FDS)."""
        fds = [one.fileno() for one in sockets]
        if fds:
            command = ["/usr/bin/python3", "-c", PASS_SOCKETS, ",".join(map(str, fds)), *command]
        self.child = subprocess.Popen(command, env={**os.environ, **(env or {})}, cwd=cwd,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, pass_fds=fds)
        self.pid = self.child.pid
        self.out, self.err = LineReader(self.child.stdout), LineReader(self.child.stderr)

    def is_running(self):
        return self.child.poll() is None

    def send_signal(self, number):
        self.child.send_signal(number)

    def wait_exit(self, seconds):
        status = self.child.wait(seconds)
        self.out.join(5)
        self.err.join(5)
        return status

    def kill(self):
        if self.is_running():
            # A stopped process dies of SIGKILL, too.
            self.child.kill()
        self.wait_exit(10)


class Lockkeeper(Process):
    """One `lockkeeper run`.  policy is the YAML text; {name} places in it are not interpreted.  With
    path it runs on what is there (seen from cwd) instead."""

    def __init__(self, directory, policy, env=None, wait_ready=True, path=None, cwd=None, sockets=()):
        os.makedirs(directory, exist_ok=True)
        self.policy_path = path or os.path.join(directory, "policy.yaml")
        if path is None:
            with open(self.policy_path, "w") as file:
                file.write(policy)
        super().__init__([binary(), "run", self.policy_path], env=env, cwd=cwd or directory, sockets=sockets)
        self.allowed_errors = []
        self.listen = self.metrics_address = self.admin_address = None
        if wait_ready:
            self.wait_ready()

    def wait_connected(self):
        """Until every worker has its connection to the store: before that, limits fail over."""
        wait_until(lambda: self.metric("store_connections") == self.metric("workers"), 30,
                   "connected to the store")
        return self

    def wait_ready(self):
        line = self.err.wait(lambda text: (parse_json_line(text) or {}).get("event") == "ready",
                             30, "ready line")
        ready = parse_json_line(line)
        self.listen = split_address(ready["listen"])
        if ready.get("metrics") not in (None, "", "off"):
            self.metrics_address = split_address(ready["metrics"])
        if ready.get("admin", "off") != "off" and not ready["admin"].startswith("unix:"):
            self.admin_address = split_address(ready["admin"])

    @property
    def port(self):
        return self.listen[1]

    def allow_errors(self, *patterns):
        """Error log lines that match are expected; any other fails the test."""
        self.allowed_errors += [re.compile(pattern) for pattern in patterns]

    def connect(self, timeout_s=30):
        return socket.create_connection(self.listen, timeout=timeout_s)

    def request(self, method, target, headers=None, body=None, timeout_s=30):
        """One request on a connection of its own; a response with .status, .body, .header(name)."""
        return request(self.listen, method, target, headers, body, timeout_s)

    def scrape(self, path="/metrics"):
        return request(self.metrics_address, "GET", path)

    def admin(self, method, target, headers=None, body=None):
        return request(self.admin_address, method, target, headers, body)

    def metric(self, name, **labels):
        """The sum of all series of this name whose labels include these."""
        return Metrics(self.scrape().body.decode()).sum(name, **labels)

    def log(self):
        return [entry for entry in map(parse_json_line, self.err.snapshot()) if entry]

    def access_log(self):
        return [entry for entry in map(parse_json_line, self.out.snapshot()) if entry]

    def wait_access(self, predicate, seconds=30):
        line = self.out.wait(lambda text: predicate(parse_json_line(text) or {}), seconds,
                             "access log line")
        return parse_json_line(line)

    def resident_kib(self, field="VmRSS"):
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.search(rf"{field}:\s+(\d+) kB", file.read()).group(1))

    def stop(self):
        """SIGTERM, exit 0, no sanitizer report, no error nobody announced."""
        if self.is_running():
            self.send_signal(signal.SIGTERM)
        try:
            status = self.wait_exit(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("did not end after SIGTERM:\n" + "\n".join(self.err.lines[-30:]))
        self.check_output()
        assert status == 0, f"exit status {status}:\n" + "\n".join(self.err.lines[-60:])

    def check_output(self):
        lines = self.err.snapshot()
        assert not any(SANITIZER_MARKS.search(line) for line in lines), "\n".join(lines[-80:])
        for line in lines:
            entry = parse_json_line(line)
            assert entry is not None, f"a log line that is not JSON: {line!r}"
            if entry.get("level") == "error":
                assert any(pattern.search(line) for pattern in self.allowed_errors), line


def split_address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


class Response:
    def __init__(self, status, headers, body, version=11):
        self.status, self.headers, self.body, self.version = status, headers, body, version

    def header(self, name, default=None):
        """The value, or values joined by ", "."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else default

    def json(self):
        return json.loads(self.body)


def request(address, method, target, headers=None, body=None, timeout_s=30):
    connection = http.client.HTTPConnection(*address, timeout=timeout_s)
    with contextlib.closing(connection):
        names = {name.lower() for name, _ in header_items(headers)}
        connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            connection.putheader("Content-Length", str(len(body)))
        for name, value in header_items(headers):
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return Response(answer.status, answer.getheaders(), answer.read(), answer.version)


def header_items(headers):
    if headers is None:
        return []
    return list(headers.items()) if isinstance(headers, dict) else list(headers)


SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """A scraped page."""

    def __init__(self, text):
        self.samples = []
        for line in text.splitlines():
            match = SAMPLE.match(line)
            if match:
                self.samples.append((match[1], dict(LABEL.findall(match[2] or "")), float(match[3])))

    def sum(self, name, **labels):
        if not name.startswith("lockkeeper_"):
            name = "lockkeeper_" + name
        return sum(value for sample, has, value in self.samples
                   if sample == name and all(has.get(k) == v for k, v in labels.items()))


class Redis:
    """A redis-server without persistence, on a unix socket and a TCP port of its own."""

    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        self.directory = directory
        self.socket_path = os.path.join(directory, "redis.sock")
        self.port = free_port()
        self.process = None
        self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix_url(self):
        return f"unix://{self.socket_path}"

    def start(self):
        server = shutil.which("redis-server")
        assert server, "redis-server is not installed; run: make deps"
        self.process = Process([server, *self.arguments()])
        wait_until(self.answers, 30, "redis-server answers")

    def arguments(self):
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket_path, "--save", "",
                "--appendonly", "no", "--dir", self.directory, "--enable-debug-command", "yes"]

    def answers(self):
        assert self.process.is_running(), "\n".join(self.process.out.lines[-10:])
        try:
            with contextlib.closing(self.client(timeout_s=0.5)) as client:
                return client.ping()
        except (redis.RedisError, OSError):
            return False

    def client(self, timeout_s=5, password=None):
        return redis.Redis(unix_socket_path=self.socket_path, socket_timeout=timeout_s, password=password)

    def time_us(self, client):
        seconds, micros = client.time()
        return seconds * 1_000_000 + micros

    def kill(self):
        self.process.kill()

    def stop_process(self):
        """Alive, connected, and not answering."""
        self.process.send_signal(signal.SIGSTOP)

    def continue_process(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        self.process.kill()
