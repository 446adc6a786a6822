"""Every expression that we ship is asked of a real Prometheus that scraped real Lockkeepers."""

import contextlib
import http.server
import json
import os
import pathlib
import re
import struct
import sys
import threading
import time
import urllib.parse

import pytest
import yaml

import rig
from harness import Lockkeeper, Process, free_port, request, wait_until

POLICY = """
listen: 127.0.0.1:0
metrics: 127.0.0.1:0
admin: off
upstream: http://127.0.0.1:{service}
store: redis://127.0.0.1:{redis}
workers: 1
access_log: off
routes:
  - name: orders
    match: {{ path: /orders }}
    limits: [{{ name: total, rate: 40/second, burst: 10 }}]
  - name: stock
    match: {{ path: "/stock/{{sku}}" }}
    lock: {{ key: "stock:{{path.sku}}", wait: 1s, fencing: inject }}
  - name: fenced
    match: {{ path: "/fenced/{{sku}}" }}
    fence: {{ key: "stock:{{path.sku}}", required: false }}
  - name: rest
    limits: [{{ name: total, rate: 1000/second }}]
"""
# These compare with a threshold; the expressions before it must have data.
THRESHOLD = re.compile(r"\s*(?:==|<|>)\s*(?:[\d.]+|lockkeeper_workers)\s*$")
# The service of this test breaks one answer in fourteen, and a limit is meant to be reached.
MAY_FIRE = {"LockkeeperMostRequestsLimited", "LockkeeperUpstreamFailing"}


def dashboard_expressions():
    with open(f"{rig.DEPLOY}/grafana/lockkeeper.json") as file:
        dashboard = json.load(file)
    return [(panel["title"], target["expr"]) for panel in dashboard["panels"]
            for target in panel.get("targets", [])]


def rules():
    with open(f"{rig.DEPLOY}/prometheus/rules.yaml") as file:
        return [rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/broken":
            self.close_connection = True
            return
        if self.path.startswith("/stock/"):
            time.sleep(0.01)  # it works
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def send_locked(proxy, over):
    """Two of these wait for each other's lock now and then."""
    while not over.is_set():
        with contextlib.suppress(OSError):
            request(proxy.listen, "GET", "/stock/boat")


def send_load(proxy, over):
    """Some of all kinds: passed, limited, failed by the service, on no route."""
    while not over.is_set():
        for target in ["/orders"] * 12 + ["/other", "/broken", "/fenced/boat"]:
            with contextlib.suppress(OSError):
                request(proxy.listen, "GET", target)
        over.wait(0.1)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """The address of a Prometheus that has seen two Lockkeepers at work for a while."""
    where = tmp_path_factory.mktemp("prometheus")
    with contextlib.ExitStack() as stack:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        redis_port, port = free_port(), free_port()
        stack.callback(Process(["redis-server", "--bind", "127.0.0.1", "--port", str(redis_port),
                                "--save", "", "--appendonly", "no"], cwd=str(where)).kill)
        policy = POLICY.format(service=server.server_address[1], redis=redis_port)
        proxies = []
        for name in "ab":
            proxy = Lockkeeper(str(where / name), policy)
            stack.callback(proxy.kill)
            proxies.append(proxy.wait_connected())
        targets = [f"{p.metrics_address[0]}:{p.metrics_address[1]}" for p in proxies]
        settings = {"global": {"scrape_interval": "1s"},
                    "scrape_configs": [{"job_name": "shop", "static_configs": [{"targets": targets}]}]}
        (where / "prometheus.yml").write_text(yaml.safe_dump(settings))
        stack.callback(Process(["prometheus", f"--config.file={where}/prometheus.yml",
                                f"--storage.tsdb.path={where}/data",
                                f"--web.listen-address=127.0.0.1:{port}"]).kill)
        over = threading.Event()
        loads = [threading.Thread(target=send, args=(p, over), daemon=True) for p in proxies
                 for send in (send_load, send_locked)]
        for load in loads:
            load.start()
        address = ("127.0.0.1", port)
        wait_until(lambda: seen(address, targets), 40, "scrapes with rates")
        yield address
        over.set()
        for load in loads:
            load.join(10)


def seen(address, targets):
    with contextlib.suppress(OSError, ValueError, AssertionError):
        counts = ask(address, "count_over_time(lockkeeper_workers[1m]) >= 8")
        return len(counts) == len(targets)
    return False


def ask(address, expression):
    query = urllib.parse.urlencode({"query": expression, "time": str(time.time())})
    answer = request(address, "GET", f"/api/v1/query?{query}").json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    return answer["data"]["result"]


def numbers(result):
    return [float(sample["value"][1]) for sample in result if sample["value"][1] != "NaN"]


@pytest.mark.parametrize("title,expression", dashboard_expressions())
def test_panel(prometheus, title, expression):
    expression = (expression.replace("$__rate_interval", "1m").replace("$job", ".*")
                  .replace("$instance", ".*"))
    assert "$" not in expression
    assert numbers(ask(prometheus, expression)), f"{title}: no data for {expression}"


def recorded_as_expressions(expression):
    """The expression with each recorded series replaced by what records it, over one minute."""
    for rule in rules():
        if "record" in rule:
            expression = expression.replace(rule["record"], f"({rule['expr']})")
    return re.sub(r"\[(5|10)m\]", "[1m]", expression)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rule(prometheus, rule):
    """A healthy process alerts nobody, and without its threshold every rule has data."""
    expression = recorded_as_expressions(rule["expr"]).strip()
    if "alert" in rule:
        assert rule["alert"] in MAY_FIRE or not ask(prometheus, expression), "it fires"
        condition, _, filters = expression.partition(" and on ")
        expression, count = THRESHOLD.subn("", condition)
        assert count == 1, condition
        if filters:
            assert ask(prometheus, filters[filters.index(")") + 1:]), filters
    assert numbers(ask(prometheus, expression)), f"no data for {expression}"


def test_only_metrics_that_exist():
    """Also of those that have no samples above: every name is one the program knows."""
    with open(f"{rig.TOP}/proxy/base/metrics.h") as file:
        known = set(re.findall(r'X\(\w+, "(\w+)"', file.read()))
    text = json.dumps([e for _, e in dashboard_expressions()] + [r["expr"] for r in rules()])
    used = set(re.findall(r"(?<!:)\blockkeeper_(\w+)", text))
    recorded = {name for rule in rules() if "record" in rule
                for name in re.findall(r"lockkeeper_(\w+)", rule["record"])}
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert used - recorded <= known, used - recorded - known
    assert len(known) > 30 and os.path.exists(f"{rig.DEPLOY}/prometheus/rules_test.yaml")


def test_picture(tmp_path):
    """The command that makes the picture in deploy/README.md still works; the committed one is small."""
    if not rig.have("chromium", "pngquant"):
        pytest.skip("needs chromium and pngquant")
    out = tmp_path / "dashboard.png"
    rig.run(sys.executable, f"{rig.TOP}/tests/deploy/picture.py", "--seconds", "24", "--out", str(out))
    for path in (out, pathlib.Path(f"{rig.DEPLOY}/grafana/dashboard.png")):
        head = path.read_bytes()[:24]
        assert head.startswith(b"\x89PNG") and struct.unpack(">II", head[16:24])[0] == 1210
        assert 20_000 < path.stat().st_size < 150_000
