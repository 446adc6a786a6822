"""The pages of metrics of a process that has served limits, locks, a fence and several services, judged
by others: promtool, and the parsers of Prometheus's own Python client."""

import re
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from harness import TOP, request
from policies import policy

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5"}


def routes(count):
    """count routes of each kind: with limits, with a lock, with a fence, and to another service."""
    made = []
    for n in range(count):
        made += [
            {"name": f"limited-{n}", "match": {"path": f"/limited/{n}"}, "limits": [
                {"name": "few", "rate": "2/day", "burst": 2},
                {"name": "trial", "key": "{header.x-user}", "rate": "1/day", "mode": "shadow", "on_missing_key": "skip"}]},
            {"name": f"locked-{n}", "match": {"path": f"/locked/{n}/{{key}}"}, "lock": {"key": "k:{path.key}"}},
            {"name": f"fenced-{n}", "match": {"path": f"/fenced/{n}/{{key}}"}, "fence": {"key": "k:{path.key}"}},
            {"name": f"elsewhere-{n}", "match": {"path": f"/elsewhere/{n}"}, "upstream": f"other-{n}"}]
    return made


@pytest.fixture
def serve(start, origin):
    """serve(count) starts a process with count routes of each kind."""
    def run(count):
        upstreams = [{"name": f"other-{n}", "url": "http://127.0.0.1:9"} for n in range(count)]
        return start(policy(origin.url, routes(count), upstreams=upstreams))
    return run


def visit(lk, count, user="ann"):
    """Every route, and what a route may answer."""
    for n in range(count):
        for _ in range(3):
            lk.request("GET", f"/limited/{n}", {"X-User": user})
        lk.request("PUT", f"/locked/{n}/{user}")
        lk.request("PUT", f"/fenced/{n}/{user}")
        lk.request("PUT", f"/fenced/{n}/{user}", {"Fencing-Token": "x"})
        assert lk.request("GET", f"/elsewhere/{n}").status == 502
        lk.request("GET", f"/no-route/{user}", {"X-Forwarded-Host": user})
    assert request(lk.listen, "BREW", "/limited/0").status == 501


def pages(lk):
    """The page in both formats, with what changes by itself left out: {family: {(sample, labels): value}}."""
    plain, open_page = lk.scrape(), request(lk.metrics_address, "GET", "/metrics", OPENMETRICS)
    assert plain.header("content-type").startswith("text/plain; version=0.0.4")
    assert open_page.header("content-type").startswith("application/openmetrics-text; version=1.0.0")
    assert open_page.body.endswith(b"\n# EOF\n") and b"# EOF" not in plain.body
    found = []
    for read, page in ((read_prometheus, plain), (read_openmetrics, open_page)):
        families = list(read(page.body.decode()))
        assert len({family.name for family in families}) == len(families) > 40
        assert all(family.documentation and family.type != "unknown" for family in families)
        found.append({(sample.name, *sorted(sample.labels.items())): sample.value for family in families
                      for sample in family.samples if family.name.startswith("lockkeeper_")})
    return found


def test_both_formats_say_the_same(serve):
    lk = serve(2)
    visit(lk, 2)
    plain, open_page = pages(lk)
    assert plain == open_page
    assert [plain["lockkeeper_config_reloads_total", ("result", result)] for result in ("success", "failure")] == [0, 0]

    def value(name, **labels):
        return plain[(f"lockkeeper_{name}", *sorted(labels.items()))]
    assert value("decisions_total", route="limited-1", limit="few", decision="allowed") == 2
    assert value("decisions_total", route="limited-1", limit="trial", decision="shadow_limited") == 2
    assert value("lock_acquires_total", route="locked-0", outcome="acquired") == 1
    assert value("fence_checks_total", route="fenced-0", outcome="missing") == 1
    assert value("upstream_failures_total", upstream="other-1", reason="upstream-unreachable") == 1
    buckets = [amount for key, amount in plain.items() if key[0] == "lockkeeper_http_request_duration_seconds_bucket"
               and ("route", "limited-0") in key]
    assert buckets == sorted(buckets) and buckets[-1] == 3


NAME = "application/openmetrics-text"
ACCEPTED = {
    "": False, "*/*": False, "text/html": False, f"x-{NAME}ile": False, f"{NAME};q=0": False,
    f"{NAME};q=0.000, */*": False, f"text/plain;q=0.9, {NAME};q=0.1": False, NAME: True, f"text/plain, {NAME}": True,
    f"{NAME.title()}; version=1.0.0 ; Q=0.2, text/plain;q=0.1": True,
    # What Prometheus 2 and 3 send.
    f"{NAME};version=1.0.0,{NAME};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1": True,
    f"{NAME};version=1.0.0;escaping=allow-utf-8;q=0.6,{NAME};version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2": True}


def test_the_format_is_what_the_scraper_likes_best(start, origin):
    lk = start(policy(origin.url, []))
    for accept, wants in ACCEPTED.items():
        page = request(lk.metrics_address, "GET", "/metrics", {"Accept": accept} if accept else {})
        assert page.header("content-type").startswith(NAME if wants else "text/plain"), accept
        assert page.body.endswith(b"# EOF\n") == wants


def check_metrics(lk, *options):
    done = subprocess.run(["promtool", "check", "metrics", *options], input=lk.scrape().body, capture_output=True)
    assert done.returncode == 0 and done.stderr == b"", done.stdout + done.stderr
    return done.stdout.decode()


def promised():
    """How many series there may be, as deploy/README.md has it: {for what: how many}."""
    with open(f"{TOP}/deploy/README.md") as file:
        return {what: int(count) for what, count in
                re.findall(r"^\| (the process|each \w+) \| (\d+) \|$", file.read(), re.M)}


@pytest.mark.parametrize("count", [1, 8])
def test_series_are_bounded_by_the_configuration(serve, count):
    lk = serve(count)
    visit(lk, count)
    assert check_metrics(lk) == ""
    table = dict(re.findall(r"^(\w+) +(\d+) +[\d.]+%", check_metrics(lk, "--extended"), re.M))
    each = promised()
    # A route more: that of requests which match none.  A service more: the one of the other routes.
    bound = each["the process"] + each["each route"] * (4 * count + 1) + each["each limit"] * 2 * count \
        + each["each lock"] * count + each["each fence"] * count + each["each upstream"] * (count + 1)
    assert 100 < int(table["Total"]) <= bound
    # Whoever comes, with whatever: no series more.
    for user in ("bob", "eve" * 30, "1' or 1=1"):
        visit(lk, count, user.replace(" ", "%20"))
    after = dict(re.findall(r"^(\w+) +(\d+) +[\d.]+%", check_metrics(lk, "--extended"), re.M))
    assert after == table
