#!/usr/bin/python3
"""`make run`: the demo service, Lockkeeper in front of it, and what to try.  Ctrl-C ends both.

    tests/demo/run.py build/lockkeeper [--listen HOST:PORT] [--metrics HOST:PORT] [--admin HOST:PORT]
                                         [--policy PATH]

DEMO_LISTEN, DEMO_METRICS and DEMO_ADMIN say the same by environment.  Ports 8080, 9102 and 9103 are the
default; when one is taken and none was asked for, a free one is chosen.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))


class Failure(Exception):
    pass


def read_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("lockkeeper")
    parser.add_argument("--listen", default=os.environ.get("DEMO_LISTEN"))
    parser.add_argument("--metrics", default=os.environ.get("DEMO_METRICS"))
    parser.add_argument("--admin", default=os.environ.get("DEMO_ADMIN"))
    parser.add_argument("--policy", default=os.path.join(TOP, "policies", "demo.yaml"))
    return parser.parse_args()


def choose_address(asked, default, what):
    """What was asked for; else the default, or any free port when it is taken."""
    if asked:
        return asked
    host, port = default.rsplit(":", 1)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            return default
        except OSError:
            print(f"port {port} is taken; {what} gets another one", flush=True)
            return f"{host}:0"


def start_child(command, **options):
    """In a process group of its own: Ctrl-C reaches us alone, and we stop the children in order."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)


def start_service():
    child = start_child([sys.executable, os.path.join(HERE, "service.py")], stdout=subprocess.PIPE)
    url = child.stdout.readline().decode().strip()
    if not url:
        raise Failure("the demo service did not start")
    return child, url


def pass_on(pipe):
    for raw in pipe:
        sys.stderr.write(raw.decode("utf-8", "replace"))


def start_lockkeeper(options, listen, metrics, upstream, watch_log=pass_on, admin="off"):
    """watch_log is given the rest of its log."""
    env = {**os.environ, "DEMO_UPSTREAM": upstream, "DEMO_LISTEN": listen, "DEMO_METRICS": metrics,
           "DEMO_ADMIN": admin}
    child = start_child([options.lockkeeper, "run", options.policy], env=env, stderr=subprocess.PIPE)
    held_back = []
    for raw in child.stderr:
        line = raw.decode("utf-8", "replace")
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {}
        if entry.get("event") == "ready":
            threading.Thread(target=watch_log, args=(child.stderr,), daemon=True).start()
            return child, entry["listen"], entry.get("metrics")
        held_back.append(line)
    child.wait()
    raise Failure("Lockkeeper did not start:\n" + "".join(held_back))


def invitation(address, metrics):
    return f"""
Lockkeeper listens on http://{address}, in front of a small demo service.  Try:

  curl -i http://{address}/
  # An order each for user 7: five at once pass, then 429.
  for i in $(seq 8); do curl -s -o /dev/null -w '%{{http_code}}\\n' -X POST -H 'X-User-Id: 7' http://{address}/orders; done
  curl -i -X POST -H 'X-User-Id: 7' http://{address}/orders
  curl -s http://{address}/echo
  curl -s http://{metrics}/metrics | grep decisions

The policy is policies/demo.yaml.  Ctrl-C stops both.
"""


def take_the_terminal():
    """On a terminal, make and we are one group, and make reports an error when Ctrl-C reaches it.  So
    take the foreground for a group of our own; gives what returns it."""
    try:
        if os.tcgetpgrp(0) != os.getpgrp() or os.getpgrp() == os.getpid():
            return lambda: None
        before = os.getpgrp()
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpgrp())
    except OSError:
        return lambda: None
    return lambda: os.tcsetpgrp(0, before)


def stop(child, name):
    """True when it ended by itself after SIGTERM, with status 0."""
    if child.poll() is None:
        child.terminate()
    try:
        status = child.wait(40)
    except subprocess.TimeoutExpired:
        child.kill()
        status = child.wait()
    if status != 0:
        print(f"{name} ended with status {status}", file=sys.stderr)
    return status == 0


def watch(children, asked_to_stop):
    """Until we are asked to stop, or a child ends by itself."""
    for child in children:
        threading.Thread(target=lambda one=child: (one.wait(), asked_to_stop.set()), daemon=True).start()
    asked_to_stop.wait()


def main():
    options = read_options()
    asked_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: asked_to_stop.set())
    give_back = take_the_terminal()
    running = []
    ok = True
    try:
        listen = choose_address(options.listen, "127.0.0.1:8080", "Lockkeeper")
        metrics = choose_address(options.metrics, "127.0.0.1:9102", "its metrics page")
        admin = choose_address(options.admin, "127.0.0.1:9103", "its admin port")
        service, upstream = start_service()
        running.append((service, "the demo service"))
        proxy, address, metrics = start_lockkeeper(options, listen, metrics, upstream, admin=admin)
        running.append((proxy, "Lockkeeper"))
        print(invitation(address, metrics), flush=True)
        watch([service, proxy], asked_to_stop)
    except Failure as failure:
        print(failure, file=sys.stderr)
        ok = False
    finally:
        # The proxy first: it finishes what is in flight, for which it needs the service.
        for child, name in reversed(running):
            ok = stop(child, name) and ok
        give_back()
    if ok:
        print("\nboth stopped", flush=True)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
