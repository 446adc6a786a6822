"""The operators' port: who may use it, what it shows, and what it changes."""

import contextlib
import http.client
import json
import os
import socket
import stat
import subprocess

import pytest

from harness import binary, request
from policies import limited, policy
from raw import RawClient

BUCKET = {"name": "b", "rate": "3/day", "burst": 3, "algorithm": "token_bucket"}


@pytest.fixture
def proxy(start, origin):
    return start(policy(origin.url, [limited("/l", BUCKET)]))


def test_it_lists_its_endpoints(proxy):
    assert proxy.admin("GET", "/").body.endswith(b"}\n")  # a prompt comes on a line of its own
    answer = proxy.admin("GET", "/")
    assert answer.status == 200 and answer.header("content-type") == "application/json"
    assert answer.header("cache-control") == "no-store"
    about = answer.json()
    assert about["state"] == "running" and about["version"].startswith("0.") and len(about["hash"]) == 32
    listed = {(entry["method"], entry["path"]) for entry in about["endpoints"]}
    assert {("GET", "/"), ("POST", "/reload"), ("POST", "/drain"), ("GET", "/log-level")} <= listed
    # What is listed is there: each answers another method with 405.
    for method, path in listed:
        below = "x" if len(path) > 1 and path.endswith("/") else ""
        assert proxy.admin("PATCH", path + below).status == 405


def test_wrong_paths_and_methods(proxy):
    assert proxy.admin("GET", "/nothing").status == 404
    assert proxy.admin("GET", "/ready").status == 404
    wrong = proxy.admin("GET", "/reload")
    assert (wrong.status, wrong.header("allow")) == (405, "POST")
    assert wrong.header("content-type") == "application/problem+json"
    assert wrong.json()["reason"] == "method-not-allowed"
    both = proxy.admin("DELETE", "/log-level")
    assert (both.status, both.header("allow")) == (405, "GET, HEAD, POST")
    head = proxy.admin("HEAD", "/log-level")
    assert (head.status, head.body) == (200, b"") and int(head.header("content-length")) > 0
    # The other port has none of it.
    assert proxy.scrape("/log-level").status == 404
    assert request(proxy.metrics_address, "POST", "/reload").status == 404
    assert request(proxy.metrics_address, "POST", "/metrics").header("allow") == "GET, HEAD"


@pytest.mark.parametrize("headers", [
    {"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example"}, {"Host": "10.0.0.1:9103"},
    {"Host": "localhost.evil.example:9103"}, {"Host": "[::2]:9103"},
    {"Origin": "http://localhost:9103"}, {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "same-origin"},
])
def test_pages_of_browsers_have_no_access(proxy, headers):
    for method, path in [("GET", "/"), ("POST", "/log-level?level=debug"), ("POST", "/drain")]:
        refused = proxy.admin(method, path, headers)
        assert (refused.status, refused.json()["reason"]) == (403, "forbidden")
    assert proxy.admin("GET", "/log-level").json() == {"level": "info"}
    assert proxy.admin("GET", "/").json()["state"] == "running"


@pytest.mark.parametrize("headers", [{"Host": "localhost"}, {"Host": "LOCALHOST:9103"}, {"Host": "127.9.9.9"},
                                     {"Host": "[::1]:1"}, {"Sec-Fetch-Site": "none"}])
def test_programs_of_this_machine_have(proxy, headers):
    assert proxy.admin("GET", "/", headers).status == 200


def test_a_request_without_host_is_refused(proxy):
    with RawClient(proxy.admin_address) as client:
        client.send("GET / HTTP/1.0\r\n\r\n")
        assert client.read_response().status == 403


def test_log_level(proxy):
    assert proxy.admin("POST", "/log-level?level=debug").json() == {"level": "debug"}
    assert proxy.admin("GET", "/log-level").json() == {"level": "debug"}
    bad = proxy.admin("POST", "/log-level?level=loud")
    assert bad.status == 400 and "error, warn, info or debug" in bad.json()["detail"]
    assert proxy.admin("POST", "/log-level").status == 400
    assert proxy.admin("GET", "/log-level").json() == {"level": "debug"}
    # The level is one of the policies: a reload puts it back.
    assert proxy.admin("POST", "/reload").status == 200
    assert proxy.admin("GET", "/log-level").json() == {"level": "info"}


def test_bodies_are_taken_within_bounds(proxy):
    assert proxy.admin("POST", "/log-level?level=warn", body=b"x" * 65536).status == 200
    assert proxy.admin("POST", "/log-level?level=info", body=b"x" * 65537).status == 413
    with RawClient(proxy.admin_address) as client:
        client.send("POST /log-level?level=error HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send("10000\r\n" + "x" * 65536 + "\r\n1\r\nx\r\n0\r\n\r\n")
        assert client.read_response().status == 413
    assert proxy.admin("GET", "/log-level").json() == {"level": "warn"}


def test_many_requests_on_one_connection(proxy):
    with RawClient(proxy.admin_address) as client:
        for _ in range(5):
            client.send("GET /log-level HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
            for _ in range(3):
                assert client.read_response().status == 200


def test_reload_answers_with_the_outcome(proxy, origin):
    before = proxy.admin("GET", "/").json()["hash"]
    with open(proxy.policy_path, "w") as file:
        file.write(policy(origin.url, [limited("/l", BUCKET), limited("/m", BUCKET)]))
    done = proxy.admin("POST", "/reload")
    assert done.status == 200 and done.json()["routes"] == 2 and done.json()["hash"] != before
    assert done.json()["hash"] == proxy.admin("GET", "/").json()["hash"]
    assert proxy.metric("config_reloads_total", result="success") == 1


def test_reload_tells_every_problem(proxy, origin):
    proxy.allow_errors("error in a policy", "reload failed")
    before = proxy.admin("GET", "/").json()["hash"]
    with open(proxy.policy_path, "w") as file:
        file.write(f"listen: 127.0.0.1:0\nupstream: {origin.url}\nrotues: []\nworkers: many\n")
    failed = proxy.admin("POST", "/reload")
    assert failed.status == 422 and failed.header("content-type") == "application/problem+json"
    told = failed.json()
    assert (told["reason"], told["hash"]) == ("bad-policies", before)
    errors = {(p["line"], p["column"]) for p in told["problems"] if p["severity"] == "error"}
    assert errors == {(3, 1), (4, 10)}
    assert all(p["file"] == proxy.policy_path for p in told["problems"])
    assert proxy.metric("config_reloads_total", result="failure") == 1
    assert proxy.metric("config_last_reload_successful") == 0
    assert proxy.scrape("/ready").status == 200
    assert proxy.request("GET", "/l").status == 200


def test_reload_of_what_needs_a_restart(proxy, origin):
    proxy.allow_errors("reload failed")
    with open(proxy.policy_path, "w") as file:
        file.write(policy(origin.url, [limited("/l", BUCKET)], workers=2))
    failed = proxy.admin("POST", "/reload")
    assert failed.status == 422
    assert (failed.json()["reason"], failed.json()["detail"]) == ("needs-restart",
                                                                  "workers can only change with a restart")


def test_drain_serves_on(proxy):
    kept = RawClient(proxy.listen)
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert kept.read_response().status == 200
    assert proxy.admin("POST", "/drain").json() == {"state": "draining"}
    # Who waits between two requests is sent away; who comes is served, once for each connection.
    assert kept.is_closed()
    kept.close()
    refused = proxy.scrape("/ready")
    assert (refused.status, refused.body) == (503, b"draining\n")
    assert proxy.scrape("/live").status == 200
    for _ in range(3):
        with RawClient(proxy.listen) as client:
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.read_response()
            assert (answer.status, answer.header("connection")) == (200, "close")
            assert client.is_closed()
    assert proxy.metric("draining") == 1
    # Again changes nothing, and a reload is possible still.
    assert proxy.admin("POST", "/drain").json() == {"state": "draining"}
    assert proxy.admin("POST", "/reload").status == 200
    assert proxy.scrape("/ready").status == 503
    assert proxy.is_running()
    # The end is SIGTERM's, which the fixture sends.


def unix_request(path, method, target, host):
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    with contextlib.closing(connection):
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_unix_socket_is_for_its_user_alone(start, origin, tmp_path):
    path = str(tmp_path / "admin.sock")
    before = os.umask(0)
    try:
        proxy = start(policy(origin.url, admin=f"unix:{path}"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert unix_request(path, "GET", "/", "anything")[0] == 200
    assert unix_request(path, "POST", "/drain", "localhost")[0] == 200
    proxy.stop()
    assert not os.path.exists(path)


def test_off(start, origin):
    proxy = start(policy(origin.url, admin="off"))
    assert proxy.admin_address is None


def test_a_port_that_is_taken_is_no_surprise(start, origin, tmp_path):
    first = start(policy(origin.url))
    path = tmp_path / "second.yaml"
    path.write_text(policy(origin.url, admin=f"127.0.0.1:{first.admin_address[1]}"))
    second = subprocess.run([binary(), "run", str(path)], capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    said = [json.loads(line) for line in second.stderr.splitlines()][-1]
    assert (said["event"], said["key"]) == ("cannot listen", "admin") and "another Lockkeeper" in said["hint"]


def test_what_hinders_the_start_is_told(origin, tmp_path):
    (tmp_path / "file").write_text("no socket")
    path = tmp_path / "p.yaml"
    for key, address, hint in (("admin", f"unix:{tmp_path}/none/a.sock", "the folder is not there"),
                               ("admin", f"unix:{tmp_path}/file", "a file and no socket"),
                               ("metrics", "192.0.2.1:0", "no such address")):
        path.write_text(policy(origin.url, **{key: address}))
        done = subprocess.run([binary(), "run", str(path)], capture_output=True, text=True, timeout=60)
        said = json.loads(done.stderr.splitlines()[-1])
        assert done.returncode == 1 and (said["event"], said["key"], said["address"]) == ("cannot listen", key, address)
        assert hint in said["hint"]
    assert (tmp_path / "file").read_text() == "no socket"


def test_config_shows_what_is_in_force(start, origin):
    proxy = start(policy(origin.url, [limited("/l", BUCKET, lock={"key": "l", "wait": "1s"})], drain_timeout="7s"))
    told = proxy.admin("GET", "/config").json()
    assert told["hash"] == proxy.admin("GET", "/").json()["hash"] and told["files"] == [proxy.policy_path]
    shown = told["policy"]
    assert shown["drain_timeout"] == "7s" and shown["timeouts"]["header"] == "10s"
    assert shown["workers"] == 1 and shown["store_options"]["max_pending"] == 10000
    limit = shown["routes"][0]["limits"][0]
    assert (limit["rate"], limit["burst"], limit["mode"]) == ("3/day", 3, "enforce")
    assert shown["routes"][0]["lock"]["lease"] == "10s" and "fence" not in shown["routes"][0]
    assert "jwt" not in shown


def test_config_shows_the_old_after_a_bad_reload(proxy):
    proxy.allow_errors("error in a policy", "reload failed")
    before = proxy.admin("GET", "/config").json()
    with open(proxy.policy_path, "w") as file:
        file.write("nonsense: 1\n")
    assert proxy.admin("POST", "/reload").status == 422
    assert proxy.admin("GET", "/config").json() == before


def test_config_shows_no_secret(start, origin, tmp_path):
    secret_file = tmp_path / "lock.secret"
    secret_file.write_text("from-a-file-from-a-file-from-a-file")
    text = policy(origin.url, [limited("/l", {**BUCKET, "key": "{jwt.sub}", "on_missing_key": "skip"}),
                               {"name": "inside", "match": {"headers": {"x-inside": "${INSIDE}"}}}],
                  store="${STORE:-redis://user:written-default@127.0.0.1:1}",
                  jwt={"secret": "written-out-written-out-written-out"},
                  lock_context={"secret": f"${{file:{secret_file}}}"})
    proxy = start(text, with_store=False, env={"STORE": "redis://:from-env@127.0.0.1:1/0", "INSIDE": "from-env-too"})
    pages = proxy.admin("GET", "/config").body.decode() + proxy.admin("GET", "/routes").body.decode()
    for secret in ("written-default", "written-out", "from-env", "from-a-file"):
        assert secret not in pages
    shown = proxy.admin("GET", "/config").json()["policy"]
    assert shown["store"] == "${STORE:-redis://***@127.0.0.1:1}"
    assert shown["jwt"]["secret"] == "***"
    assert shown["lock_context"]["secret"] == f"${{file:{secret_file}}}"
    assert shown["routes"][1]["match"]["headers"] == {"x-inside": "${INSIDE}"}


def test_routes(proxy):
    for target in ("/l", "/l", "/l", "/l", "/elsewhere"):
        proxy.request("GET", target)
    listed = proxy.admin("GET", "/routes").json()["routes"]
    assert [route["name"] for route in listed] == ["l", "unmatched"]
    first = listed[0]
    assert (first["file"], first["match"], first["upstream"]) == (proxy.policy_path, {"path": "/l"}, "default")
    assert (first["limits"], first["lock"], first["fence"]) == (["b"], False, False)
    assert (first["answers"]["2xx"], first["answers"]["4xx"]) == (3, 1)
    assert listed[1]["answers"]["2xx"] == 1
