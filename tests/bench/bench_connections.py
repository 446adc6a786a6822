"""The sections of bench.py about connections rather than requests: WebSocket messages there and back, and
what an idle connection costs in memory."""

import os
import socket
import subprocess
import sys

from bench_world import HERE, MOST_FILES, resident_kib

IDLE_COUNT = min(10_000, MOST_FILES // 2 - 600)  # HAProxy wants two files for each


# ---- WebSocket -------------------------------------------------------------------------------------------


def echo_rivals(bench):
    """Proxies in front of a service that echoes; and the program that asks them."""
    program = bench.path("bench_echo")
    subprocess.run(["gcc", "-O2", "-o", program, os.path.join(HERE, "bench_echo.c")], check=True)
    service = bench.start([program, "serve"])
    log = bench.path(f"log-{bench.running.index(service)}")
    while not (text := open(log).read()).endswith("\n"):
        if service.poll() is not None:
            sys.exit("bench: the echo service has ended")
    plain_origin, bench.origin_port = bench.origin_port, int(text)
    rivals = {"lockkeeper": bench.start_lockkeeper(), "nginx": bench.start_nginx_proxy(upgrades=True),
              "haproxy": bench.start_haproxy()}
    bench.origin_port = plain_origin
    return program, rivals


def echo_runner(program):
    """run() for bench.measure()."""
    def run(bench, contest, port, seconds):
        count = contest.connections or bench.options.connections
        done = subprocess.run([program, "ask", str(port), str(count), str(seconds)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"bench: echo through port {port}: {done.stderr}")
        messages, p50_us, p99_us = map(int, done.stdout.split())
        return {"requests": messages, "per_s": messages / seconds, "p50_ms": p50_us / 1000, "p99_ms": p99_us / 1000}

    return run


# ---- idle connections ------------------------------------------------------------------------------------


def hold_idle(port, pids):
    """(RSS before, RSS with IDLE_COUNT connections that have had one answer each), in KiB."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    sockets = []
    try:
        before_kib = resident_kib(pids)
        for _ in range(IDLE_COUNT):
            sockets.append(socket.create_connection(("127.0.0.1", port), 30))
            sockets[-1].sendall(request)
            if not sockets[-1].recv(4096).startswith(b"HTTP/1.1 200"):
                sys.exit(f"bench: port {port} does not take {IDLE_COUNT} connections")
        return before_kib, resident_kib(pids)
    finally:
        for sock in sockets:
            sock.close()


def idle(bench):
    """Each in a fresh process: memory that was needed once would be there for the next."""
    results = {}
    for name, (port, pids) in {"lockkeeper": bench.start_lockkeeper(), "nginx": bench.start_nginx_proxy(),
                               "haproxy": bench.start_haproxy()}.items():
        results[name] = hold_idle(port, pids)
    base = results["lockkeeper"]
    print(f"\n### {IDLE_COUNT:,} idle connections\n")
    print("| | RSS before MiB | RSS with them MiB | bytes for each |\n|---|---|---|---|")
    for name, (before_kib, held_kib) in results.items():
        each = (held_kib - before_kib) * 1024 / IDLE_COUNT
        ratio = f" ({each / ((base[1] - base[0]) * 1024 / IDLE_COUNT):.2f}x)" if name != "lockkeeper" else ""
        print(f"| {name} | {before_kib / 1024:.1f} | {held_kib / 1024:.1f} | {each:.0f}{ratio} |")
    sys.stdout.flush()
