"""Running it: probes, metrics, logs, drain, workers, the command line."""

import gzip
import json
import re
import signal
import socket
import subprocess
import threading

import pytest

from harness import SLOWNESS, Process, binary, parse_json_line, request, split_address, wait_until
from load import count, run_load
from policies import limited, policy
from raw import RawClient

BUCKET = {"name": "b", "rate": "3/day", "burst": 3, "algorithm": "token_bucket"}


def test_probes(start, origin):
    proxy = start(policy(origin.url))
    assert proxy.scrape("/live").status == 200
    assert proxy.scrape("/ready").status == 200
    assert proxy.scrape("/nothing").status == 404
    assert request(proxy.metrics_address, "POST", "/metrics", body=b"x").status in (404, 405)


@pytest.mark.parametrize("requires,at_start,after", [("never", 200, 200), ("startup", 503, 200), ("always", 503, 503)])
def test_readiness_and_the_store(start, origin, redis_server, requires, at_start, after):
    redis_server.kill()
    settings = {"store_options": {"connect_timeout": "100ms"}, "workers": 2}
    proxy = start(policy(origin.url, store=redis_server.url, ready_requires_store=requires, **settings),
                  with_store=False)
    answer = proxy.scrape("/ready")
    assert answer.status == at_start
    assert answer.body == (b"ready\n" if at_start == 200 else b"the store is not reached\n")
    redis_server.start()
    wait_until(lambda: proxy.scrape("/ready").status == 200, 20 * SLOWNESS, "ready")
    proxy.wait_connected()
    redis_server.kill()
    wait_until(lambda: proxy.metric("store_connections") == 0, 20 * SLOWNESS, "store lost")
    # What /ready knows is a heartbeat old.
    if after == 503:
        wait_until(lambda: proxy.scrape("/ready").status == 503, 20 * SLOWNESS, "not ready")
    else:
        assert proxy.scrape("/ready").status == 200
    assert proxy.scrape("/live").status == 200


@pytest.mark.parametrize("said", [b"", b"GET /met", b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_who_holds_connections_open_keeps_no_probe_out(start, origin, said):
    """Silent ones, halves of heads, and those that stay after an answer: the oldest of them goes."""
    lk = start(policy(origin.url, []))
    held = []
    try:
        for _ in range(300):
            held.append(socket.create_connection(lk.metrics_address, 20))
            held[-1].sendall(said)
        for _ in range(3):
            assert lk.scrape("/live").status == 200 and lk.scrape("/ready").status == 200
    finally:
        for one in held:
            one.close()


def test_metrics_in_gzip(start, origin):
    proxy = start(policy(origin.url, [limited("/l", BUCKET)]))
    plain = proxy.scrape()
    packed = request(proxy.metrics_address, "GET", "/metrics", {"Accept-Encoding": "gzip, deflate"})
    assert plain.header("content-encoding") is None
    assert packed.header("content-encoding") == "gzip" and len(packed.body) < len(plain.body) / 4
    names = [line.split("{")[0].split(" ")[0] for line in gzip.decompress(packed.body).decode().splitlines()]
    assert names == [line.split("{")[0].split(" ")[0] for line in plain.body.decode().splitlines()]
    # OpenMetrics too, and what is not worth it is left alone.
    both = {"Accept-Encoding": "gzip", "Accept": "application/openmetrics-text"}
    assert gzip.decompress(request(proxy.metrics_address, "GET", "/metrics", both).body).endswith(b"# EOF\n")
    assert request(proxy.metrics_address, "GET", "/ready", {"Accept-Encoding": "gzip"}).body == b"ready\n"


def test_metrics_are_clean(start, origin, redis_server):
    proxy = start(policy(origin.url, [limited("/l", BUCKET)], store=redis_server.unix_url))
    for _ in range(5):
        proxy.request("GET", "/l")
    proxy.request("GET", "/" + "weird" * 20)
    page = proxy.scrape()
    assert page.header("content-type").startswith("text/plain")
    checked = subprocess.run(["promtool", "check", "metrics"], input=page.body, capture_output=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout + checked.stderr == b""
    text = page.body.decode()
    assert text.count("# HELP") == text.count("# TYPE") > 20
    # Nothing a client sent may become a label.
    assert "weird" not in text
    assert proxy.metric("http_requests_total", route="l", code="2xx") == 3
    assert proxy.metric("http_requests_total", route="l", code="4xx") == 2
    assert proxy.metric("http_request_duration_seconds_count", route="l") == 5
    assert proxy.metric("admission_duration_seconds_count", route="l") == 5
    assert proxy.metric("store_calls_total", result="ok") >= 3
    assert proxy.metric("workers") == 1


def test_access_log(start, origin):
    proxy = start(policy(origin.url, [limited("/l", BUCKET)]))
    for _ in range(4):
        proxy.request("GET", "/l?token=secret", {"User-Agent": 'odd "agent" \\ \t \xe9'})
    refused = proxy.wait_access(lambda entry: entry.get("status") == 429)
    passed = proxy.access_log()[0]
    assert (passed["status"], passed["route"], passed["decision"], passed["method"]) == (200, "l", "allowed", "GET")
    assert (refused["decision"], refused["limit"], refused["route"]) == ("limited", "b", "l")
    assert len(proxy.access_log()) == len(proxy.out.snapshot()) == 4
    assert "secret" not in "\n".join(proxy.out.snapshot())


def test_access_log_of_errors_only(start, origin):
    proxy = start(policy(origin.url, [limited("/l", BUCKET)], access_log="errors"))
    for _ in range(4):
        proxy.request("GET", "/l")
    proxy.wait_access(lambda entry: entry.get("status") == 429)
    assert len(proxy.access_log()) == 1


def test_access_log_off(start, origin):
    proxy = start(policy(origin.url, [limited("/l", BUCKET)], access_log="off"))
    for _ in range(5):
        proxy.request("GET", "/l")
    proxy.stop()
    assert proxy.out.snapshot() == []


def test_sigterm_finishes_what_is_in_flight(start, make_origin):
    arrived, may_go_on = threading.Event(), threading.Event()

    def handler(request, connection):
        arrived.set()
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        may_go_on.wait(10)
        connection.send("world")

    proxy = start(policy(make_origin(handler).url))
    idle = RawClient(proxy.listen)
    with RawClient(proxy.listen) as client:
        client.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        assert arrived.wait(5)
        client.read_head()
        proxy.send_signal(signal.SIGTERM)
        # The port is closed for newcomers, idle connections end, the running request goes on.
        assert idle.is_closed()
        wait_until(lambda: not_accepting(proxy), 30, "the listener is closed")
        assert proxy.is_running()
        may_go_on.set()
        assert client.read_exactly(10) == b"helloworld"
        assert client.is_closed()
    idle.close()
    assert proxy.wait_exit(10 * SLOWNESS) == 0


def test_questions_while_one_worker_has_ended_and_another_has_not(start, make_origin):
    arrived, may_go_on = threading.Event(), threading.Event()

    def handler(_request, connection):
        arrived.set()
        may_go_on.wait(30)
        connection.answer(200, b"ok")

    proxy = start(policy(make_origin(handler).url, [limited("/l", BUCKET)], workers=3))
    with RawClient(proxy.listen, timeout_s=60) as client:
        client.send("GET /l HTTP/1.1\r\nHost: a\r\n\r\n")
        assert arrived.wait(10)
        proxy.send_signal(signal.SIGTERM)
        wait_until(lambda: proxy.metric("workers") == 1, 30, "two workers have ended")
        assert proxy.admin("GET", "/").json()["state"] == "stopping"
        # Whose mailboxes are gone is asked nothing.
        assert proxy.admin("GET", "/limits").json()["reason"] == "stopping"
        assert proxy.admin("GET", "/locks").json()["reason"] == "stopping"
        assert proxy.admin("POST", "/drain").json() == {"state": "stopping"}
        assert proxy.admin("POST", "/reload").status == 409
        proxy.send_signal(signal.SIGHUP)
        may_go_on.set()
        assert client.read_response().status == 200
    assert proxy.wait_exit(20 * SLOWNESS) == 0


def not_accepting(proxy):
    try:
        proxy.connect(1).close()
        return False
    except OSError:
        return True


def test_drain_ends_at_its_deadline(start, make_origin):
    released = threading.Event()
    arrived = threading.Event()

    def handler(_request, _connection):
        arrived.set()
        released.wait(20)

    proxy = start(policy(make_origin(handler).url, drain_timeout="500ms"))
    with RawClient(proxy.listen) as client:
        client.send("GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n")
        assert arrived.wait(5)
        proxy.send_signal(signal.SIGTERM)
        proxy.wait_exit(5 * SLOWNESS)
    released.set()


def test_sigterm_under_load_loses_no_request(start, make_origin):
    origin = make_origin(lambda _request, connection: connection.answer(200, b"ok"))
    proxy = start(policy(origin.url, access_log="off"))
    samples = []
    load = threading.Thread(target=lambda: samples.extend(run_load_until_refused(proxy)))
    load.start()
    wait_until(lambda: len(origin.requests) > 200, 30, "load")
    proxy.send_signal(signal.SIGTERM)
    assert proxy.wait_exit(10 * SLOWNESS) == 0
    load.join(30)
    answered = sum(1 for sample in samples if sample == 200)
    assert answered == len(origin.requests)


def run_load_until_refused(proxy):
    """Requests on keep-alive connections, reconnecting as told, until nobody listens any more."""
    statuses = []
    client = None
    try:
        while True:
            client = client or RawClient(proxy.listen)
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.read_response()
            statuses.append(answer.status)
            if (answer.header("connection") or "").lower() == "close":
                client.close()
                client = None
    except (OSError, EOFError):
        return statuses


def test_workers_share_an_embedded_limit_exactly(start, make_origin):
    origin = make_origin(lambda _request, connection: connection.answer(200, b"ok"))
    limit = {"name": "b", "rate": "1/day", "burst": 123, "algorithm": "token_bucket"}
    proxy = start(policy(origin.url, [limited("/l", limit)], workers=4, access_log="off"))
    assert proxy.metric("workers") == 4
    samples = run_load([proxy.listen], "/l", 1.0, 64)
    assert {sample.status for sample in samples} == {200, 429}
    assert count(samples, 200) == 123
    assert proxy.metric("decisions_total", decision="allowed") == 123
    assert proxy.metric("decisions_total", decision="limited") == count(samples, 429)


def command(*arguments, **options):
    return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60, **options)


def test_version_and_help():
    version = command("version")
    assert version.returncode == 0 and version.stdout.startswith("lockkeeper 0.")
    for library in ("libuv", "llhttp", "hiredis", "libyaml", "jansson", "Lua", "OpenSSL"):
        assert re.search(rf"^  {library} \d+\.\d+", version.stdout, re.M), library
    text = command("help")
    assert text.returncode == 0
    for name in ("run", "check", "explain", "version", "help"):
        assert name in text.stdout


@pytest.mark.parametrize("arguments,says", [
    ((), "lockkeeper check"), (("nonsense",), '"nonsense"'), (("check",), "name a policy"), (("run",), "name a policy"),
    (("explain",), "name the policies"), (("check", "--nonsense", "p"), "--nonsense is no option"),
    (("check", "p", "--format"), "--format needs a value"), (("check", "p", "--format", "xml"), "only format is json"),
    (("run", "p", "--port=80"), "--port=80 is no option"), (("top", "--once=yes"), "--once=yes takes no value"),
    (("explain", "p", "GET /", "-H"), "-H needs a value"), (("version", "x"), "no arguments"),
    (("explain", "p", "GET", "/orders"), "in quotes"), (("explain", "p", "GET "), "in quotes")])
def test_usage_errors(arguments, says):
    done = command(*arguments)
    assert done.returncode == 2
    assert done.stdout == "" and says in done.stderr


def test_options_stand_anywhere(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(policy("http://127.0.0.1:1", [limited("/l", BUCKET, name="odd")]))
    for line in (("--format", "json", str(path)), (str(path), "--format", "json"), (str(path), "--format=json"),
                 ("--format=json", "--", str(path))):
        assert json.loads(command("check", *line).stdout) == []
    assert command("check", "--", "-none.yaml").stderr.startswith("-none.yaml: error: cannot be opened")
    explained = command("explain", "-H", "Host: x", str(path), "--client", "10.0.0.1", "GET /l")
    assert explained.returncode == 0 and "10.0.0.1" in explained.stdout and "route   odd" in explained.stdout


def test_check_reports_every_error_with_its_place(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("listen: 127.0.0.1:0\n"
                    "upstream: http://127.0.0.1:1\n"
                    "rotues: []\n"
                    "routes:\n"
                    "  - name: a\n"
                    "    match: { path: /a }\n"
                    "    limits:\n"
                    "      - { name: l, rate: 10 per minute }\n")
    done = command("check", str(path))
    assert done.returncode == 1
    text = done.stdout + done.stderr
    assert f"{path}:3:1: error" in text and "routes" in text
    assert f"{path}:8:26: error" in text
    assert "^" in text


def test_check_accepts_the_good(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(policy("http://127.0.0.1:1", [limited("/l", BUCKET)]))
    done = command("check", str(path))
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stdout + done.stderr


def test_run_refuses_a_bad_policy(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("listen: 127.0.0.1:0\nbogus: 1\n")
    done = command("run", str(path))
    assert done.returncode == 1
    assert "bogus" in done.stderr
    # More than the log repeats: how many there are is told.
    path.write_text("listen: 127.0.0.1:0\nupstream: http://127.0.0.1:1\n" + "".join(f"bogus{n}: 1\n" for n in range(30)))
    lines = [json.loads(line) for line in command("run", str(path)).stderr.splitlines()]
    assert lines[-1]["event"] == "cannot start: the policies have errors" and lines[-1]["errors"] == 30


def test_explain(tmp_path):
    path = tmp_path / "p.yaml"
    limit = {**BUCKET, "key": "{header.x-user}", "on_missing_key": "deny"}
    path.write_text(policy("http://127.0.0.1:1", [limited("/stock/{sku}", limit, name="stock")]))
    done = command("explain", str(path), "GET /stock/42?x=1", "-H", "x-user: seven")
    assert done.returncode == 0, done.stderr
    assert "stock" in done.stdout and "seven" in done.stdout and " 3 86400000000 " in done.stdout
    missing = command("explain", str(path), "GET /stock/42")
    assert missing.returncode == 0 and "header.x-user" in missing.stdout


def test_explain_reads_a_request_as_the_proxy_does(start, origin):
    """What the one refuses, the other refuses; where they route it is the same."""
    limit = {"rate": "1000/day"}
    routes = [limited("/a", {**limit, "name": "of-a"}, name="a", match={"path": "/a", "host": "shop.example"}),
              limited("/a", {**limit, "name": "of-b"}, name="b")]
    lk = start(policy(origin.url, routes))
    for line, host, says in (
            ("GET /a", None, "route   b"), ("GET /a", "SHOP.example:80", "route   a"),
            ("GET http://shop.example/a", "shop.example", "route   a"), ("get /a", None, "501 unsupported-method"),
            ("BREW /a", None, "501 unsupported-method"), ("CONNECT a:1", None, "501 unsupported-method"),
            ("GET a", None, "400 malformed-target"), ("GET /a HTTP/1.1", None, "400 malformed"),
            ("GET /a#b", None, "400 malformed-target"), ("GET /a", "bad host", "400 malformed-host")):
        done = command("explain", lk.policy_path, line, *(("-H", f"Host: {host}") if host else ()))
        assert says in done.stdout + done.stderr, line
        assert done.returncode == (2 if "malformed" in says or "501" in says else 0)
        with socket.create_connection(lk.listen, 20) as client:
            client.sendall(f"{line} HTTP/1.1\r\nHost: {host or 'localhost'}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
        if says.startswith("route"):
            assert answer.startswith("HTTP/1.1 200 ") and f'"of-{says[-1]}"' in answer
        else:
            status, reason = says.split()
            assert answer.startswith(f"HTTP/1.1 {status} ") and reason in answer


def test_explain_tells_lock_and_fence(tmp_path):
    path = tmp_path / "p.yaml"
    routes = [limited("/stock/{sku}", {**BUCKET, "key": "{path.sku}"}, name="stock",
                      lock={"key": "stock:{path.sku}", "wait": "2s", "lease": "10s", "fencing": "inject"}),
              limited("/keep/{sku}", name="keep", fence={"key": "stock:{path.sku}"})]
    path.write_text(policy("http://127.0.0.1:1", routes))
    locked = command("explain", str(path), "PUT /stock/42")
    assert locked.returncode == 0, locked.stderr
    assert "lock    exclusive stock:42, waits up to 2 s, lease 10 s" in locked.stdout
    assert "EVALSHA admit 4 lk:stock/" in locked.stdout and "lk:lock:{stock:42}:h" in locked.stdout
    fenced = command("explain", str(path), "PUT /keep/42")
    assert fenced.returncode == 0 and "fence   stock:42, token in fencing-token" in fenced.stdout


def test_file_descriptors(origin, tmp_path):
    """The soft limit is raised to the hard one; when that is too low, it is said.  Errors are in words."""
    path = tmp_path / "p.yaml"
    path.write_text(policy("http://127.0.0.1:1", [limited("/l", BUCKET)], max_connections=200))
    for soft, hard, is_warned in ((50, 300, False), (50, 100, True)):
        proxy = Process(["sh", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$0" run "$1"', binary(), str(path)])
        try:
            ready = parse_json_line(proxy.err.wait(lambda line: '"event":"ready"' in line, 20 * SLOWNESS, "ready"))
            page = request(split_address(ready["metrics"]), "GET", "/metrics").body.decode()
            assert f"process_max_fds {hard}\n" in page
            said = [one for one in map(parse_json_line, proxy.err.snapshot()) if one and "fewer file" in one["event"]]
            assert [(one["descriptors"], one["max_connections"]) for one in said] == ([(hard, 200)] if is_warned else [])
            assert request(split_address(ready["listen"]), "GET", "/").status == 502
            assert "connection refused" in proxy.err.wait(lambda line: "service unreachable" in line, 20, "a reason")
        finally:
            proxy.kill()


@pytest.mark.parametrize("workers", [1, 3])
def test_clients_come_by_a_unix_socket(origin, tmp_path, workers):
    """One path for all workers; it is gone when the process is, and one left behind hinders no start."""
    path, socket_path = tmp_path / "p.yaml", tmp_path / "proxy.sock"
    path.write_text(policy(origin.url, [limited("/l", BUCKET)], listen=f"unix:{socket_path}", workers=workers))

    def ask():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(socket_path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: client.recv(65536), b""))[:12]

    for is_killed in (True, False):
        proxy = Process([binary(), "run", str(path)])
        try:
            ready = parse_json_line(proxy.err.wait(lambda line: '"event":"ready"' in line, 20 * SLOWNESS, "ready"))
            assert (ready["listen"], ready["workers"]) == (f"unix:{socket_path}", workers)
            assert {ask() for _ in range(20)} == {b"HTTP/1.1 200"}
            if not is_killed:
                proxy.send_signal(signal.SIGTERM)
                assert proxy.wait_exit(30 * SLOWNESS) == 0
        finally:
            proxy.kill()
        assert socket_path.exists() == is_killed


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_started_with_files_closed(origin, tmp_path, closed):
    """As some supervisors do: no connection takes the place of a log."""
    path = tmp_path / "p.yaml"
    path.write_text(policy(origin.url, [limited("/l", BUCKET)]))
    proxy = Process(["sh", "-c", f'exec "$0" run "$1" {closed}', binary(), str(path)])
    try:
        ready = proxy.err.wait(lambda line: '"event":"ready"' in line, 20 * SLOWNESS, "ready")
        address = split_address(parse_json_line(ready)["listen"])
        with RawClient(address) as client:
            for _ in range(3):
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.read_response().status == 200
            proxy.send_signal(signal.SIGTERM)
            assert client.is_closed()
        assert proxy.wait_exit(30 * SLOWNESS) == 0, proxy.err.snapshot()
    finally:
        proxy.kill()


def test_what_cannot_be_written_has_failed(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(policy("http://127.0.0.1:1", [limited("/l", BUCKET)]))
    for line in (("schema",), ("reference",), ("version",), ("help",), ("check", str(path)), ("explain", str(path), "GET /l")):
        with open("/dev/full", "w") as full:
            done = subprocess.run([binary(), *line], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 1 and "No space left" in done.stderr, line


def test_schema_is_json():
    done = command("schema")
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    assert "routes" in json.dumps(schema)
