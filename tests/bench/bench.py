#!/usr/bin/python3
"""Lockkeeper beside nginx and HAProxy: one worker each, the same service, the same decision.

    make bench                      or, with options:  make bench BENCH='--rounds 9 --seconds 5'

Sections, each with its rivals in interleaved rounds, so that what else the machine does hits all
of them alike; the medians are shown, and each as a ratio to Lockkeeper's.

  hot key       one token_bucket on a real Redis, one key for all requests
  many keys     the same, each request on one of 10,000 keys
  pass-through  no limit
  locks         an exclusive lock on a real Redis, on one key and on many; see bench_locks.py

The limit in nginx is lua-resty-redis calling the same script by EVALSHA with the very arguments that
Lockkeeper sends (they are read off Redis's MONITOR), so both ask for the same decision.

CPU is utime + stime of the proxy's worker (of Lockkeeper: the whole process), and of redis-server,
divided by the requests wrk counted.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import bench_locks

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
BODY_BYTES = 128
NGINX_MODULES = "/usr/lib/nginx/modules"
KEY_COUNT = 10_000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, seconds=10):
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"bench: {what}: not within {seconds} s")
        pause.wait(0.02)


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def cpu_us(pids):
    """CPU time the processes have used so far."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1_000_000 / TICKS_PER_S


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


class Bench:
    """Everything that runs; close() ends it."""

    def __init__(self, options):
        self.options = options
        self.directory = tempfile.mkdtemp(prefix="lockkeeper-bench-")
        # nginx's worker leaves root for another user, and must still reach the sockets in here.
        os.chmod(self.directory, 0o755)
        self.running = []

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def start(self, command, **options):
        log = open(self.path(f"log-{len(self.running)}"), "wb")
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 cwd=self.directory, **options)
        self.running.append(child)
        return child

    def close(self):
        for child in reversed(self.running):
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start_redis(self):
        self.redis_socket = self.path("redis.sock")
        self.redis = self.start(["redis-server", "--port", "0", "--unixsocket", self.redis_socket,
                                 "--unixsocketperm", "777", "--save", "", "--appendonly", "no"])
        wait_for(lambda: os.path.exists(self.redis_socket), "redis-server")

    def redis_cli(self, *arguments):
        return subprocess.run(["redis-cli", "-s", self.redis_socket, *arguments], check=True,
                              capture_output=True, text=True).stdout

    def start_nginx(self, name, http, modules=()):
        load = "".join(f"load_module {NGINX_MODULES}/{module}.so;\n" for module in modules)
        config = self.write(f"{name}.conf", f"""{load}worker_processes 1;
daemon off;
pid {self.path(name)}.pid;
error_log {self.path(name)}.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {self.path(name)}-body;
    proxy_temp_path {self.path(name)}-proxy;
    fastcgi_temp_path {self.path(name)}-fastcgi;
    uwsgi_temp_path {self.path(name)}-uwsgi;
    scgi_temp_path {self.path(name)}-scgi;
    keepalive_requests 1000000000;
    {http}
}}
""")
        child = self.start(["nginx", "-p", self.directory, "-c", config, "-e", f"{self.path(name)}.log"])
        return child

    def start_origin(self):
        self.origin_port = free_port()
        self.start_nginx("origin", f"""
    server {{
        listen 127.0.0.1:{self.origin_port} reuseport backlog=4096;
        default_type text/plain;
        location / {{ return 200 "{'x' * BODY_BYTES}"; }}
    }}""")
        wait_for(lambda: accepts(self.origin_port), "the origin")

    # ---- the rivals: each gives its port and how to find its workers' pids -----------------------

    def start_lockkeeper(self, key=None, wrapper=(), **settings):
        """key: of its token_bucket, "" for one key for all; None: no limit.  wrapper: a command to run it
        under.  settings: more of the policy."""
        port = free_port()
        policy = {"listen": f"127.0.0.1:{port}", "metrics": "off", "admin": "off", "workers": 1, "access_log": "off",
                  "upstream": f"http://127.0.0.1:{self.origin_port}",
                  "store": f"unix://{self.redis_socket}", **settings}
        if key is not None:
            limit = {"name": "bench", "rate": "1000000/second", "burst": 1000000,
                     "algorithm": "token_bucket"}
            if key:
                limit.update(key=key, on_missing_key="shared")
            policy["routes"] = [{"name": "bench", "match": {"path": "/"}, "limits": [limit]}]
        path = self.write(f"policy-{port}.yaml", json.dumps(policy))
        child = self.start([*wrapper, os.path.abspath(self.options.lockkeeper), "run", path])
        wait_for(lambda: accepts(port), "lockkeeper")
        return port, [child.pid]

    def upstream_block(self):
        return f"upstream origin {{ server 127.0.0.1:{self.origin_port}; keepalive 256; keepalive_requests 1000000000; }}"

    def start_nginx_proxy(self, access="", front=""):
        """access: what decides before the request is passed on.  front: a location that answers instead,
        and has /pass/ to ask."""
        port = free_port()
        modules = ["ndk_http_module", "ngx_http_lua_module"] if access or front else []
        lua = 'lua_package_path "/usr/share/lua/5.1/?.lua;;";' if access or front else ""
        proxied = "/pass/" if front else "/"
        child = self.start_nginx(f"proxy-{port}", f"""
    {lua}
    {self.upstream_block()}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        {front}
        location {proxied} {{
            {access}
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
        }}
    }}""", [f"/usr/lib/nginx/modules/{module}" for module in modules] and modules)
        wait_for(lambda: accepts(port) and children(child.pid), "nginx")
        return port, children(child.pid)

    def start_nginx_limit(self, call, key_expression):
        """call: the EVALSHA that Lockkeeper sent, without its key."""
        script = self.write(f"limit-{free_port()}.lua", LIMIT_LUA % {
            "socket": self.redis_socket, "sha": call["sha"], "key": key_expression,
            "arguments": ", ".join(json.dumps(argument) for argument in call["arguments"])})
        os.chmod(script, 0o644)
        return self.start_nginx_proxy(f"access_by_lua_file {script};")

    def start_haproxy(self):
        port = free_port()
        config = self.write("haproxy.cfg", f"""global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    option forwardfor
    http-reuse always
frontend in
    bind 127.0.0.1:{port}
    default_backend origin
backend origin
    server one 127.0.0.1:{self.origin_port}
""")
        child = self.start(["haproxy", "-db", "-f", config])
        wait_for(lambda: accepts(port), "haproxy")
        return port, [child.pid]

    # ---- what Lockkeeper asks of Redis ----------------------------------------------------------

    def capture_call(self, port, target):
        """The EVALSHA of one request, as MONITOR shows it."""
        monitor = subprocess.Popen(["redis-cli", "-s", self.redis_socket, "MONITOR"],
                                   stdout=subprocess.PIPE, text=True)
        try:
            assert monitor.stdout.readline().startswith("OK")
            urllib.request.urlopen(f"http://127.0.0.1:{port}{target}", timeout=5).read()
            for line in monitor.stdout:
                words = shlex.split(line.split("] ", 1)[1]) if "] " in line else []
                if words and words[0].upper() == "EVALSHA" and words[2] == "1" and len(words) >= 12:
                    return {"sha": words[1], "key": words[3], "arguments": words[4:]}
        finally:
            monitor.terminate()
            monitor.wait()
        sys.exit("bench: Lockkeeper sent no EVALSHA")


LIMIT_LUA = """
local redis = require "nginx.redis"
local red = redis:new()
red:set_timeout(50)
local ok, err = red:connect("unix:%(socket)s")
if not ok then
    return ngx.exit(503)
end
local reply
reply, err = red:evalsha("%(sha)s", 1, %(key)s, %(arguments)s)
if not reply then
    ngx.log(ngx.ERR, err)
    return ngx.exit(503)
end
red:set_keepalive(10000, 256)
ngx.header["RateLimit-Policy"] = '"bench";q=1000000;w=1'
ngx.header["RateLimit"] = '"bench";r=' .. reply[3]
if reply[1] == 0 then
    ngx.header["Retry-After"] = math.ceil(reply[4] / 1000000)
    return ngx.exit(429)
end
"""

SPREAD_LUA = """
math.randomseed(os.time())
request = function()
    return wrk.format("GET", "/?k=k" .. math.random(0, %d))
end
""" % (KEY_COUNT - 1)


def to_ms(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def run_wrk(bench, port, seconds, script=None):
    command = ["wrk", "-t1", f"-c{bench.options.connections}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
    if script:
        command += ["-s", script]
    text = subprocess.run(command + [f"http://127.0.0.1:{port}/"], check=True, capture_output=True,
                          text=True).stdout
    if "Requests/sec" not in text or "nan" in text or re.search(r"Non-2xx|Socket errors", text):
        sys.exit(f"bench: not every request was answered with 200:\n{text}")
    return {"requests": int(re.search(r"(\d+) requests in", text)[1]),
            "per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
            "p50_ms": to_ms(re.search(r"^ *50% +(\S+)", text, re.M)[1]),
            "p99_ms": to_ms(re.search(r"^ *99% +(\S+)", text, re.M)[1])}


def measure(bench, rivals, script=None):
    """rivals: name -> (port, pids).  The median of each figure over all rounds."""
    rounds = {name: [] for name in rivals}
    for name, (port, _pids) in rivals.items():
        run_wrk(bench, port, 1, script)  # warm up: connections, scripts, caches
    for number in range(bench.options.rounds):
        # Another one begins in each round.
        names = list(rivals)
        names = names[number % len(names):] + names[:number % len(names)]
        for name in names:
            port, pids = rivals[name]
            before, redis_before = cpu_us(pids), cpu_us([bench.redis.pid])
            one = run_wrk(bench, port, bench.options.seconds, script)
            one["proxy_us"] = (cpu_us(pids) - before) / one["requests"]
            one["redis_us"] = (cpu_us([bench.redis.pid]) - redis_before) / one["requests"]
            rounds[name].append(one)
    return {name: {figure: statistics.median(one[figure] for one in all_of_it)
                   for figure in ("per_s", "p50_ms", "p99_ms", "proxy_us", "redis_us")}
            for name, all_of_it in rounds.items()}


def show(title, results, with_redis):
    """A Markdown table; in brackets: as a multiple of Lockkeeper's."""
    base = results["lockkeeper"]
    figures = [("per_s", "req/s", "{:.0f}"), ("p50_ms", "p50 ms", "{:.2f}"), ("p99_ms", "p99 ms", "{:.2f}"),
               ("proxy_us", "proxy CPU µs/req", "{:.1f}")]
    if with_redis:
        figures.append(("redis_us", "Redis CPU µs/req", "{:.1f}"))
    print(f"\n### {title}\n")
    print("| | " + " | ".join(label for _, label, _ in figures) + " |")
    print("|---" * (len(figures) + 1) + "|")
    for name, result in results.items():
        cells = []
        for figure, _, form in figures:
            ratio = f" ({result[figure] / base[figure]:.2f}x)" if name != "lockkeeper" and base[figure] else ""
            cells.append(form.format(result[figure]) + ratio)
        print(f"| {name} | " + " | ".join(cells) + " |")
    sys.stdout.flush()


def run_sections(bench):
    options = bench.options
    bench.start_redis()
    bench.start_origin()
    spread = bench.write("spread.lua", SPREAD_LUA)
    print(f"{options.rounds} rounds of {options.seconds} s, {options.connections} connections, "
          f"{os.cpu_count()} CPUs, {BODY_BYTES}-byte answers; medians")
    if "hot" in options.sections:
        ours = bench.start_lockkeeper(key="")
        call = bench.capture_call(ours[0], "/")
        rivals = {"lockkeeper": ours,
                  "nginx + lua-resty-redis": bench.start_nginx_limit(call, json.dumps(call["key"]))}
        show("One token_bucket on Redis, hot key", measure(bench, rivals), True)
    if "many" in options.sections:
        ours = bench.start_lockkeeper(key="{query.k}")
        call = bench.capture_call(ours[0], "/?k=MARK")
        before, after = call["key"].split("MARK")
        key = f"{json.dumps(before)} .. (ngx.var.arg_k or '') .. {json.dumps(after)}"
        rivals = {"lockkeeper": ours, "nginx + lua-resty-redis": bench.start_nginx_limit(call, key)}
        show(f"One token_bucket on Redis, {KEY_COUNT} keys", measure(bench, rivals, spread), True)
    if "pass" in options.sections:
        rivals = {"lockkeeper": bench.start_lockkeeper(), "nginx": bench.start_nginx_proxy(),
                  "haproxy": bench.start_haproxy()}
        show("Pass-through", measure(bench, rivals), False)
    if "locks" in options.sections:
        for title, rivals, script in bench_locks.contests(bench, spread):
            show(title, measure(bench, rivals, script), True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lockkeeper", default=os.path.join(HERE, "..", "..", "build", "lockkeeper"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--sections", default="hot,many,pass,locks", type=lambda text: text.split(","))
    bench = Bench(parser.parse_args())
    try:
        run_sections(bench)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
