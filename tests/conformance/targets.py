"""The proxies that the cases are run against, with the same limits as far as each can have them."""

import contextlib
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))

import harness  # noqa: E402
from policies import policy  # noqa: E402

SLOWNESS = harness.SLOWNESS
HASTY_MS = 150 * SLOWNESS
PATIENT_MS = 10_000


class Lockkeeper:
    name = "Lockkeeper"

    def __init__(self, directory, service_port, profile):
        wait = f"{HASTY_MS if profile == 'hasty' else PATIENT_MS}ms"
        names = ["header", "body", "idle", "write", "response", "response_body", "tunnel"]
        self.process = harness.Lockkeeper(directory, policy(
            f"http://127.0.0.1:{service_port}", access_log="off", timeouts={name: wait for name in names},
            sizes={"max_header_bytes": "16KiB", "max_header_count": 100, "max_target_bytes": "8KiB",
                   "max_body_bytes": "100000"}))
        self.address = self.process.listen

    def stop(self):
        self.process.stop()


class Peer:
    """A proxy with a configuration file, in a directory of its own."""

    def __init__(self, directory, service_port, profile):
        os.makedirs(directory, exist_ok=True)
        wait_ms = HASTY_MS if profile == "hasty" else PATIENT_MS
        self.address = ("127.0.0.1", harness.free_port())
        path = os.path.join(directory, "peer.conf")
        with open(path, "w") as file:
            file.write(self.config.format(port=self.address[1], service=service_port, ms=wait_ms, directory=directory))
        with open(os.path.join(directory, "log"), "wb") as log:
            self.child = subprocess.Popen(self.command(path, directory), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        harness.wait_until(self.answers, 10, f"{self.name} listens")

    def answers(self):
        assert self.child.poll() is None, f"{self.name} has ended"
        with contextlib.suppress(OSError):
            harness.socket.create_connection(self.address, 1).close()
            return True
        return False

    def stop(self):
        self.child.terminate()
        self.child.wait(10)


class Nginx(Peer):
    name = "nginx"
    config = """
daemon off; master_process off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off; server_tokens off; client_max_body_size 100000;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    client_header_buffer_size 1k; large_client_header_buffers 4 8k;
    client_header_timeout {ms}ms; client_body_timeout {ms}ms; keepalive_timeout {ms}ms; send_timeout {ms}ms;
    upstream service {{ server 127.0.0.1:{service} max_fails=0; keepalive 16; }}
    map $http_upgrade $hop_options {{ "" ""; default upgrade; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://service;
            proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $hop_options; proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
            proxy_request_buffering off; proxy_read_timeout {ms}ms; proxy_send_timeout {ms}ms;
        }}
    }}
}}
"""

    def command(self, path, directory):
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-p", directory, "-c", path, "-e", f"{directory}/error.log"]


class HAProxy(Peer):
    name = "HAProxy"
    config = """
global
    nbthread 1
    tune.http.maxhdr 101
defaults
    mode http
    timeout connect 2s
    timeout client {ms}ms
    timeout http-request {ms}ms
    timeout http-keep-alive {ms}ms
    timeout server {ms}ms
    timeout tunnel {ms}ms
    http-reuse always
frontend client
    bind 127.0.0.1:{port}
    http-request deny deny_status 413 if {{ req.body_size gt 100000 }}
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto http
    default_backend service
backend service
    server service 127.0.0.1:{service}
"""

    def command(self, path, directory):
        return [shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", path]


TARGETS = [Lockkeeper, Nginx, HAProxy]
