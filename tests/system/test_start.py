"""What a start promises: the port is ours alone, the store was asked for first, the log is JSON."""

import json
import subprocess

import harness
from policies import limited, policy


def run_to_its_end(path):
    done = subprocess.run([harness.binary(), "run", str(path)], capture_output=True, text=True, timeout=20)
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


def test_a_port_in_use_is_refused(start, origin, tmp_path):
    proxy = start(policy(origin.url, workers=2))
    second = tmp_path / "second.yaml"
    second.write_text(policy(origin.url, workers=2, listen=f"127.0.0.1:{proxy.port}"))
    code, log = run_to_its_end(second)
    assert code == 1
    assert log[-1]["event"] == "cannot listen" and log[-1]["key"] == "listen"
    assert proxy.request("GET", "/").status == 200


def test_errors_and_warnings_are_lines_of_the_log(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("upstream: http://127.0.0.1:1\nlisten: nowhere\nroutes: []\nextra: 1\n")
    code, log = run_to_its_end(path)
    assert code == 1
    *problems, last = log
    found = {(line["level"], line["line"], line["column"]) for line in problems}
    assert {("error", 2, 9), ("error", 4, 1)} <= found
    assert all(line["event"] in ("error in a policy", "warning about a policy") for line in problems)
    assert (last["event"], last["errors"]) == ("cannot start: the policies have errors", 2)


def test_the_first_request_is_decided_by_the_store(start, origin, redis_server):
    limit = {"name": "l", "rate": "5/day", "on_store_failure": "deny"}
    for _ in range(5):
        proxy = start(policy(origin.url, [limited("/l", limit)], store=redis_server.unix_url),
                      with_store=False)
        assert proxy.request("GET", "/l").status == 200
    assert proxy.metric("decisions_total", decision="error_denied") == 0


def test_a_store_that_is_down_does_not_keep_the_service_down(start, origin, tmp_path):
    limit = {"name": "l", "rate": "5/day", "on_store_failure": "allow"}
    proxy = start(policy(origin.url, [limited("/l", limit)], store=f"unix://{tmp_path}/nowhere.sock",
                         store_options={"connect_timeout": "200ms"}), with_store=False)
    proxy.allow_errors("store")
    assert proxy.request("GET", "/l").status == 200
    assert proxy.metric("decisions_total", decision="error_allowed") == 1


def test_the_build_is_told(start, origin):
    proxy = start(policy(origin.url))
    assert proxy.metric("build_info") == 1
