"""`lockkeeper explain --live`: what a running process would say to a request, without asking it to."""

import concurrent.futures
import subprocess

import pytest

from harness import binary, wait_until
from lock_service import LockService
from policies import limited, policy

BY_USER = {"name": "user", "key": "{header.x-user}", "rate": "5/day", "burst": 5, "on_missing_key": "shared"}
STOCK = {"name": "stock", "match": {"path": "/stock/{sku}"}, "limits": [{**BY_USER, "mode": "shadow"}],
         "lock": {"key": "stock:{path.sku}", "wait": "20s", "mode": "by_method"}}


def explain(lk, *arguments):
    return subprocess.run([binary(), "explain", lk.policy_path, *arguments], capture_output=True, text=True,
                          timeout=60)


def live(lk, *arguments):
    """The lines that come from the process, without what they begin with."""
    done = explain(lk, *arguments, "--admin", "%s:%d" % lk.admin_address)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "  route   " in done.stdout
    return [line.split(None, 1)[1] for line in done.stdout.splitlines() if line.split()[0] in ("live", "now")]


@pytest.fixture(params=["embedded", "redis"])
def store(request):
    return "embedded" if request.param == "embedded" else request.getfixturevalue("redis_server").url


def test_limits(start, origin, store):
    lk = start(policy(origin.url, [limited("/l", BY_USER, {"name": "all", "rate": "100/day"})], store=store))
    for _ in range(3):
        lk.request("GET", "/l", {"X-User": "a b&c"})
    for _ in range(2):  # it costs nothing
        about, user, everybody, now = live(lk, "GET /l", "-H", "x-user: a b&c")
        assert about == "%s:%d is running and has these policies" % lk.admin_address
        assert (user, everybody) == ("user: 2 of 5 left, would pass", "all: 97 of 100 left, would pass")
        assert now == "would pass"
    for _ in range(3):
        lk.request("GET", "/l", {"X-User": "a b&c"})
    _, user, _, now = live(lk, "GET /l", "-H", "x-user: a b&c")
    assert user.startswith("user: 0 of 5 left, would be refused for ")
    assert now.startswith("would be refused by user: 429 quota-exceeded, for ")
    # Those without a user share a key of their own.
    lk.request("GET", "/l")
    assert live(lk, "GET /l")[1] == "user: 4 of 5 left, would pass"


def test_a_cost_that_never_passes(start, origin):
    by_cost = {**BY_USER, "name": "cost", "cost": "{header.x-cost}"}
    lk = start(policy(origin.url, [limited("/l", by_cost)]))
    assert live(lk, "GET /l", "-H", "x-user: a", "-H", "x-cost: 6")[1:] == [
        "cost: 5 of 5 left, can never pass at this cost", "would be refused by cost: 429 cost-exceeds-limit"]


def test_locks(start, make_origin, store):
    service = LockService()
    lk = start(policy(make_origin(service.visit).url, [STOCK], store=store,
                      store_options={"timeout": "900ms"}))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert live(lk, "PUT /stock/7")[2:] == ["lock stock:7: free for this request; 0 hold it, 0 wait",
                                                "would pass"]
        service.hold("7")
        running = [pool.submit(lk.request, "GET", "/stock/7", timeout_s=30)]
        service.wait_inside("7")
        token = service.of("7")[0].token
        # Readers together, a writer behind them.
        assert live(lk, "GET /stock/7")[2] == "lock stock:7: free for this request; 1 hold it, 0 wait"
        assert live(lk, "PUT /stock/7")[-1] == "would wait for the lock, up to 20 s"
        running.append(pool.submit(lk.request, "PUT", "/stock/7", timeout_s=30))
        wait_until(lambda: lk.metric("lock_waiting_requests") == 1, 30, "one waits")
        done = explain(lk, "GET /stock/7", "--admin", "%s:%d" % lk.admin_address).stdout
        assert "lock stock:7: taken; 1 hold it, 1 wait" in done and f", token {token or ''}" in done
        service.release("7")
        assert [one.result().status for one in running] == [200, 200]


def test_what_it_cannot_know_is_not_taken_for_good(start, origin, redis_server):
    """Without the store, without a key that must be there, before a fence: no word of passing."""
    routes = [limited("/l", BY_USER, name="l"),
              limited("/lock", name="lock", lock={"key": "stock:{query.sku}", "on_missing_key": "deny"}),
              limited("/fence/{sku}", name="fence", fence={"key": "stock:{path.sku}"})]
    lk = start(policy(origin.url, routes, store=redis_server.url, store_options={"timeout": "1s"}), with_store=False)
    missing = explain(lk, "PUT /lock").stdout
    assert "  answer  400 missing-key" in missing and "  now  " not in missing
    assert lk.request("PUT", "/lock").status == 400
    missing = explain(lk, "PUT /fence/7").stdout
    assert "  answer  428 missing-fencing-token" in missing and "  now  " not in missing
    assert lk.request("PUT", "/fence/7").status == 428
    assert live(lk, "PUT /fence/7", "-H", "fencing-token: 5")[-1] == "would pass, if the fence takes its token"
    assert live(lk, "PUT /lock?sku=7")[-1] == "would pass"
    redis_server.kill()
    for line in ("GET /l", "PUT /lock?sku=7"):
        said = live(lk, line, "-H", "x-user: a")
        assert "the store did not answer" in said[1] and said[-1] == "cannot be told, as not all was answered"
    redis_server.start()


def test_other_policies_and_nobody_there(start, origin, tmp_path):
    lk = start(policy(origin.url, [limited("/l", BY_USER)]))
    other = tmp_path / "other.yaml"
    other.write_text(policy(origin.url, [limited("/l", BY_USER, {"name": "new", "rate": "1/day"})]))
    address = "%s:%d" % lk.admin_address
    done = subprocess.run([binary(), "explain", str(other), "GET /l", "-H", "x-user: a", "--admin", address],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "its policies, or the variables in them, are not these" in done.stdout
    assert "user: 5 of 5 left, would pass" in done.stdout and "new: there is no such limit" in done.stdout
    assert "now     cannot be told" in done.stdout
    # A unix socket that is not there: the offline part is printed all the same.
    done = explain(lk, "GET /l", "--admin", f"unix:{tmp_path}/nobody.sock")
    assert done.returncode == 1 and "  limit   user" in done.stdout and "No such file" in done.stderr
    # Nor is the metrics port one that could say.
    done = explain(lk, "GET /l", "--admin", "%s:%d" % lk.metrics_address)
    assert done.returncode == 0 and "now     cannot be told" in done.stdout
    off = tmp_path / "off.yaml"
    off.write_text(policy(origin.url, [limited("/l", BY_USER)], admin="off"))
    done = subprocess.run([binary(), "explain", str(off), "GET /l", "--live"], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 1 and "off in the policies" in done.stderr
