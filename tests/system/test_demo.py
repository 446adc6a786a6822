"""`make run`, as a user meets it: the runner starts both, says what to try, and ends on Ctrl-C."""

import contextlib
import os
import re
import signal
import subprocess
import sys

from harness import SLOWNESS, TOP, Process, binary, parse_json_line, request, split_address


def test_demo_starts_answers_and_stops():
    runner = Process([sys.executable, os.path.join(TOP, "tests", "demo", "run.py"), binary(),
                      "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
    try:
        runner.out.wait(lambda line: "Ctrl-C" in line, 20 * SLOWNESS, "the invitation")
        text = "\n".join(runner.out.snapshot())
        address = split_address(re.search(r"curl \S*\s*http://(127\.0\.0\.1:\d+)/", text).group(1))
        assert request(address, "GET", "/").status == 200
        # What it says to try meets the route that is meant: five orders at once, each user for himself.
        orders = re.search(r"seq 8.*-X POST -H 'X-User-Id: 7' \S+(/\S*); done", text).group(1)
        statuses = [request(address, "POST", orders, {"X-User-Id": "7"}, b"{}").status for _ in range(8)]
        assert statuses[:5] == [201] * 5 and 429 in statuses[5:]
        assert request(address, "POST", orders, {"X-User-Id": "8"}, b"{}").status == 201
        assert request(address, "POST", orders).status == 400
        metrics = split_address(re.search(r"http://(127\.0\.0\.1:\d+)/metrics", text).group(1))
        counted = f'lockkeeper_decisions_total{{route="orders",limit="per-user",decision="limited"}} {statuses.count(429)}\n'
        assert counted in request(metrics, "GET", "/metrics").body.decode()
        runner.send_signal(signal.SIGINT)
        assert runner.wait_exit(15 * SLOWNESS) == 0
    finally:
        # Its children outlive a kill: it is asked to stop them first.
        with contextlib.suppress(subprocess.TimeoutExpired):
            runner.child.terminate()
            runner.child.wait(45 * SLOWNESS)
        runner.kill()
    assert not [line for line in runner.err.snapshot()
                if (parse_json_line(line) or {}).get("level") == "error" or "Traceback" in line]
