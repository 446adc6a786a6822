"""What bench.py starts: the service, Redis, and the rivals, one worker each."""

import json
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
BODY_BYTES = 128
NGINX_MODULES = "/usr/lib/nginx/modules"
LARGE_BODIES = {"10k": 10_000, "1m": 1_000_000}


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


def cpu_us(pids, only_user=False):
    """CPU time the processes have used so far, in user space and in the kernel."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + (0 if only_user else int(fields[12]))
    return ticks * 1_000_000 / TICKS_PER_S


def resident_kib(pids):
    """Rss of all of them."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("Rss:"))
    return total


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
        self.certificate = None
        resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES))

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
        self.redis_socket, self.redis_port = self.path("redis.sock"), free_port()
        self.redis = self.start(["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--unixsocket", self.redis_socket,
                                 "--unixsocketperm", "777", "--save", "", "--appendonly", "no"])
        wait_for(lambda: os.path.exists(self.redis_socket), "redis-server")

    def redis_cli(self, *arguments):
        return subprocess.run(["redis-cli", "-s", self.redis_socket, *arguments], check=True,
                              capture_output=True, text=True).stdout

    def start_nginx(self, name, http, modules=()):
        load = "".join(f"load_module {NGINX_MODULES}/{module}.so;\n" for module in modules)
        config = self.write(f"{name}.conf", f"""{load}worker_processes 1;
worker_rlimit_nofile {MOST_FILES};
daemon off;
pid {self.path(name)}.pid;
error_log {self.path(name)}.log error;
events {{ worker_connections {MOST_FILES - 1000}; }}
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
        os.mkdir(self.path("bodies"))
        for name, size in LARGE_BODIES.items():
            os.chmod(self.write(f"bodies/{name}", "x" * size), 0o644)
        self.start_nginx("origin", f"""
    server {{
        listen 127.0.0.1:{self.origin_port} reuseport backlog=4096;
        default_type text/plain;
        root {self.directory}/bodies;
        sendfile on;
        open_file_cache max=10;
        location / {{ try_files $uri @short; }}
        location @short {{ return 200 "{'x' * BODY_BYTES}"; }}
    }}""")
        wait_for(lambda: accepts(self.origin_port), "the origin")

    def make_certificate(self):
        """A key and a certificate of its own, as two files, and both in one for HAProxy."""
        if self.certificate is None:
            self.certificate, self.key, self.both = self.path("cert.pem"), self.path("key.pem"), self.path("both.pem")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                            "-nodes", "-keyout", self.key, "-out", self.certificate, "-days", "2",
                            "-subj", "/CN=localhost"], check=True, capture_output=True)
            self.write("both.pem", open(self.certificate).read() + open(self.key).read())

    # ---- the rivals: each gives its port and how to find its workers' pids -----------------------

    def start_lockkeeper(self, key=None, wrapper=(), **settings):
        """key: of its token_bucket, "" for one key for all; None: no limit.  wrapper: a command to run it
        under.  settings: more of the policy."""
        port = free_port()
        policy = {"listen": f"127.0.0.1:{port}", "metrics": "off", "admin": "off", "workers": 1, "access_log": "off",
                  "upstream": f"http://127.0.0.1:{self.origin_port}",
                  "store": f"unix://{self.redis_socket}", "max_connections": MOST_FILES, **settings}
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

    def start_nginx_proxy(self, access="", front="", tls=False, upgrades=False):
        """access: what decides before the request is passed on.  front: a location that answers instead,
        and has /pass/ to ask.  upgrades: pass Upgrade on."""
        port = free_port()
        connection = '$http_connection; proxy_set_header Upgrade $http_upgrade' if upgrades else '""'
        certificate = f"ssl_certificate {self.certificate}; ssl_certificate_key {self.key};" if tls else ""
        modules = ["ndk_http_module", "ngx_http_lua_module"] if access or front else []
        lua = 'lua_package_path "/usr/share/lua/5.1/?.lua;;";' if access or front else ""
        proxied = "/pass/" if front else "/"
        child = self.start_nginx(f"proxy-{port}", f"""
    {lua}
    {self.upstream_block()}
    server {{
        listen 127.0.0.1:{port} {"ssl" if tls else ""} backlog=4096;
        {certificate}
        {front}
        location {proxied} {{
            {access}
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_max_temp_file_size 0;
            proxy_set_header Connection {connection};
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
        }}
    }}""", [f"/usr/lib/nginx/modules/{module}" for module in modules] and modules)
        wait_for(lambda: accepts(port) and children(child.pid), "nginx")
        return port, children(child.pid)

    def start_nginx_limit(self, call, key_expression, is_tcp=False):
        """call: the EVALSHA that Lockkeeper sent, without its key."""
        address = f'"127.0.0.1", {self.redis_port}' if is_tcp else f'"unix:{self.redis_socket}"'
        script = self.write(f"limit-{free_port()}.lua", LIMIT_LUA % {
            "address": address, "sha": call["sha"], "key": key_expression,
            "arguments": ", ".join(json.dumps(argument) for argument in call["arguments"])})
        os.chmod(script, 0o644)
        return self.start_nginx_proxy(f"access_by_lua_file {script};")

    def start_haproxy(self, tls=False):
        port = free_port()
        secure = f" ssl crt {self.both} alpn http/1.1" if tls else ""
        config = self.write(f"haproxy-{port}.cfg", f"""global
    nbthread 1
    maxconn {MOST_FILES // 2 - 500}
    tune.ssl.default-dh-param 2048
defaults
    mode http
    maxconn {MOST_FILES // 2 - 500}
    timeout tunnel 60s
    timeout connect 5s
    timeout client 120s
    timeout server 120s
    option forwardfor
    http-reuse always
frontend in
    bind 127.0.0.1:{port}{secure}
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
red:set_timeout(1000)
local ok, err = red:connect(%(address)s)
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
