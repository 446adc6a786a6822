"""`make run`, as a user meets it: the runner starts both, says what to try, and ends on Ctrl-C."""

import os
import re
import signal
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
        statuses = [request(address, "POST", "/orders", {"X-User-Id": "7"}, b"{}").status for _ in range(30)]
        assert statuses[0] in (200, 201) and 429 in statuses
        metrics = split_address(re.search(r"http://(127\.0\.0\.1:\d+)/metrics", text).group(1))
        assert b"lockkeeper_decisions_total" in request(metrics, "GET", "/metrics").body
        runner.send_signal(signal.SIGINT)
        assert runner.wait_exit(15 * SLOWNESS) == 0
    finally:
        runner.kill()
    assert not [line for line in runner.err.snapshot()
                if (parse_json_line(line) or {}).get("level") == "error" or "Traceback" in line]
