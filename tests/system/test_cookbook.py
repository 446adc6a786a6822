"""Each policy of policies/examples does what the comment at its head promises.

The file itself is run, behind it a service that notes who is at work, in front of it requests.  With
several replicas they share a Redis, and the requests go to each in turn.
"""

import concurrent.futures
import contextlib
import glob
import itertools
import os
import threading
import time

import pytest

from harness import SLOWNESS, TOP, request, wait_until
from lock_service import LockService
from origin import describe
from raw import RawClient
from test_tokens import token
from websocket import BINARY, WebSocket, echo

EXAMPLES = f"{TOP}/policies/examples"
# What no example says, so that tests can run side by side and a busy machine does not decide.
SETTINGS = "metrics: 127.0.0.1:0\nadmin: 127.0.0.1:0\nworkers: 1\n"
PATIENCE = "store_options: { timeout: 1s }\n"


class Replicas:
    def __init__(self, members):
        self.members, self.turn = members, itertools.cycle(members)

    def ask(self, method, target, **headers):
        """headers: x_user="ann" is `x-user: ann`."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return request(next(self.turn).listen, method, target, fields, timeout_s=60)

    def status(self, method, target, **headers):
        return self.ask(method, target, **headers).status

    def metric(self, name, **labels):
        return sum(one.metric(name, **labels) for one in self.members)

    def wait_waiting(self, count):
        wait_until(lambda: self.metric("lock_waiting_requests") == count, 30, f"{count} waiting")


@pytest.fixture
def service():
    return LockService()


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(32) as threads:
        yield threads


@pytest.fixture
def serve(start, make_origin, service, request):
    """serve(example) runs it, in front of the service or of another handler, in one process;
    replicas=2: in two that share a Redis.  Further arguments are environment variables."""
    def run(example, replicas=1, handler=None, **env):
        origin = make_origin(handler or service.visit)
        with open(f"{EXAMPLES}/{example}.yaml") as file:
            text = file.read()
        shares = replicas > 1
        text += SETTINGS + (PATIENCE if shares else "")
        if "\nlisten:" not in text:
            text += "listen: 127.0.0.1:0\n"
        env = {"SERVICE_URL": origin.url, "PARTNER_URL": origin.url, "LISTEN": "127.0.0.1:0",
               "REDIS_URL": request.getfixturevalue("redis_server").url if shares else "", **env}
        return Replicas([start(text, with_store=shares, env=env) for _ in range(replicas)])
    return run


def passed_before(refusal, send, most=1000):
    """How many requests pass before one gets this status, and how many seconds that took."""
    began = time.monotonic()
    for count in range(most):
        status = send()
        if status == refusal:
            return count, time.monotonic() - began
        assert status == 200
    raise AssertionError(f"{most} passed")


def test_every_example_is_tested():
    names = {"test_" + os.path.basename(path)[:-5].replace("-", "_") for path in glob.glob(f"{EXAMPLES}/*.yaml")}
    assert len(names) >= 12 and names <= set(globals())


# ---- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [1, 2])
def test_api_per_user(serve, replicas):
    """10 writes at once, the 11th is refused; reads have a budget of their own, and so has each user."""
    lk = serve("api-per-user", replicas)
    passed, seconds = passed_before(429, lambda: lk.status("POST", "/api/things", x_user_id="ann"))
    assert 10 <= passed <= 10 + seconds + 1
    assert lk.status("GET", "/api/things", x_user_id="ann") == 200
    assert lk.status("POST", "/api/things", x_user_id="bob") == 200
    assert lk.status("POST", "/api/things") == 400
    for method in ("GET", "POST"):  # and all users together
        answer = lk.members[0].request(method, "/api/things", {"x-user-id": "eve"})
        assert '"ceiling";' in answer.header("ratelimit-policy")
    assert {lk.status("GET", "/healthz") for _ in range(20)} == {200}


def test_behind_a_balancer(serve):
    """Each address that the balancer names has 20 requests at once, and the service is told it; who is no
    balancer needs no header."""
    lk = serve("behind-a-balancer", handler=describe, BALANCER="127.0.0.1/32").members[0]

    def ask(address, target="/orders"):
        with RawClient(lk.listen) as client:
            client.send(f"PROXY TCP4 {address} 10.0.0.1 56324 80\r\nGET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
            return client.read_response()

    passed, seconds = passed_before(429, lambda: ask("192.0.2.1").status)
    assert 20 <= passed <= 20 + seconds * 100 / 60 + 1
    answer = ask("192.0.2.2")
    fields = {name.lower(): value for name, value in answer.json()["headers"]}
    assert fields["x-forwarded-for"] == "192.0.2.2" and fields["forwarded"].startswith("for=192.0.2.2;proto=http;")
    assert len(fields["traceparent"]) == 55
    assert ask("192.0.2.3", "/a%2Fb").status == 400
    direct = serve("behind-a-balancer", handler=describe)
    assert direct.status("GET", "/healthz") == 200


@pytest.mark.parametrize("replicas", [1, 2])
def test_login_protection(serve, replicas):
    """10 attempts per address, also of one that writes addresses of its own into X-Forwarded-For; 30 per
    account, whatever the addresses."""
    lk = serve("login-protection", replicas, BALANCERS="127.0.0.0/8")

    def sign_in(address, account):
        return lk.status("POST", f"/login?account={account}", x_forwarded_for=address)
    assert [sign_in("203.0.113.7", f"a{n}") for n in range(11)] == [200] * 10 + [429]
    assert sign_in("198.51.100.1, 203.0.113.7", "b") == 429
    assert sign_in("203.0.113.8", "b") == 200
    assert [sign_in(f"2001:db8:0:{n}::1", "eve") for n in range(31)] == [200] * 30 + [429]
    assert [lk.status("POST", "/password/reset", x_forwarded_for="203.0.113.7") for _ in range(4)] == [200] * 3 + [429]


def test_tenant_tiers(serve):
    """A free tenant runs into its limit while another one, and those who pay, do not."""
    lk = serve("tenant-tiers")

    def call(tenant, plan):
        return lk.ask("GET", "/api/things", x_tenant=tenant, x_plan=plan)
    wait_until(lambda: call("small", "free").status == 429, 20 * SLOWNESS, "limited", every_s=0)
    assert call("other", "free").status == 200
    assert {call("large", "gold").status for _ in range(50)} == {200}
    assert call("large", "gold").header("RateLimit-Policy") == '"per-tenant";q=2000;w=2'
    assert call("middle", "silver").status == 200
    assert lk.metric("decisions_total", route="free", decision="limited") >= 1
    assert lk.metric("decisions_total", decision="limited") == lk.metric("decisions_total", route="free",
                                                                         decision="limited")


@pytest.mark.parametrize("replicas", [1, 2])
def test_egress(serve, replicas):
    """All callers share the contract; the partner sees its own name; nothing else gets out."""
    seen = []

    def partner(request, connection):
        seen.append(request.header("host"))
        connection.answer(200, b"ok")
    lk = serve("egress", replicas, handler=partner)
    passed, seconds = passed_before(429, lambda: lk.status("GET", "/v1/search"))
    assert 20 <= passed <= 20 + 10 * seconds + 1
    assert lk.status("POST", "/v1/orders", x_service="billing") == 200
    assert lk.status("POST", "/v1/orders") == 400
    assert lk.status("GET", "/v2/search") == 404
    assert len(seen) == passed + 1 and not set(seen) & {f"127.0.0.1:{one.port}" for one in lk.members}


def test_llm_tokens(serve):
    """A call takes as many tokens as it says; what does not fit is refused uncharged, what fits passes."""
    lk = serve("llm-tokens")

    def call(tokens, customer="ann"):
        return lk.ask("POST", "/v1/chat/completions", x_customer=customer, x_llm_tokens=str(tokens))
    assert call(15000).status == 200
    refused = call(15000)
    assert refused.status == 429 and 1 <= int(refused.header("Retry-After")) <= 31
    assert call(4000).status == 200
    assert call(15000, "bob").status == 200
    assert call("many").status == 400
    assert lk.status("POST", "/v1/chat/completions", x_customer="ann") == 400


def test_monthly_quota(serve):
    """Pages of a month, by the subject of a token that is signed; what does not fit is not charged."""
    lk = serve("monthly-quota", JWT_SECRET="a secret of at least thirty-two bytes")

    def export(subject, pages):
        bearer = token({"sub": subject, "iss": "https://login.example.com", "aud": "reports",
                        "exp": int(time.time()) + 600})
        return lk.status("POST", f"/reports/sales/export?pages={pages}", authorization=f"Bearer {bearer}")
    assert [export("ann", pages) for pages in (60000, 60000, 40000, 1)] == [200, 429, 200, 429]
    assert export("bob", 1) == 200
    assert lk.status("POST", "/reports/sales/export?pages=1", authorization="Bearer of.bad.news") == 400


def test_shadow_rollout(serve):
    """The planned limit counts what it would refuse, and refuses nobody."""
    lk = serve("shadow-rollout")
    assert {lk.status("GET", "/search") for _ in range(100)} == {200}
    assert lk.metric("decisions_total", limit="planned", decision="shadow_limited") >= 1
    assert lk.metric("decisions_total", limit="today", decision="allowed") == 100


def test_webhooks(serve):
    """A source that goes wild is slowed down; its partner's other sources and other partners are not."""
    lk = serve("webhooks")

    def hook(target, host="hooks.example.com"):
        return lk.status("POST", target, host=host)
    passed, seconds = passed_before(429, lambda: hook("/in/acme/orders"))
    assert 60 <= passed <= 60 + 20 * seconds + 1
    assert hook("/in/acme/stock") == hook("/in/other/orders") == 200
    assert hook("/in/acme/stock", "www.example.com") == 404


# ---- locks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [1, 2])
def test_order_once(serve, service, pool, replicas):
    """The same order again gets 429, during and after the first; the customer's next order waits for it."""
    lk = serve("order-once", replicas)

    def order(key, user="ann"):
        return lk.ask("POST", "/orders", x_user_id=user, x_order_key=key)
    service.hold("orders")
    first = pool.submit(order, "k1")
    service.wait_inside("orders")
    again = order("k1")
    assert (again.status, again.json()["executed"]) == (429, "no")
    other = pool.submit(order, "k1", "bob")
    service.wait_inside("orders", 2)
    following = pool.submit(order, "k2")
    lk.wait_waiting(1)
    service.release("orders")
    assert [one.result().status for one in (first, other, following)] == [200] * 3
    assert [order(key).status for key in ("k1", "k2", "k1")] == [429] * 3
    assert len(service.of("orders")) == 3
    assert lk.status("POST", "/orders", x_user_id="ann") == 400


def test_cron_once(serve, service, pool):
    """Three replicas ask in the same minute: one job runs.  Other jobs are other jobs."""
    lk = serve("cron-once", 3)
    service.hold("report")
    asked = [pool.submit(lk.ask, "POST", "/jobs/report") for _ in range(3)]
    service.wait_inside("report")
    wait_until(lambda: sum(one.done() for one in asked) == 2, 30, "two are refused")
    assert lk.status("POST", "/jobs/cleanup") == 200
    service.release("report")
    first, *refused = sorted(one.result().status for one in asked)
    assert first == 200 and set(refused) <= {423, 429}
    assert lk.status("POST", "/jobs/report") == 429
    assert len(service.of("report")) == 1


def test_cron_once_the_next_hour(serve):
    lk = serve("cron-once", CRON_PAUSE="500ms")
    assert lk.status("POST", "/jobs/report") == 200
    wait_until(lambda: lk.status("POST", "/jobs/report") == 200, 20, "the next run", every_s=0.05)


@pytest.mark.parametrize("replicas", [1, 2])
def test_cache_rebuild(serve, pool, replicas):
    """Of 20 requests that find the cache empty, one computes the report; a refresh meanwhile gets 409."""
    cache, computed, may_end, changed = {}, [], threading.Event(), threading.Lock()

    def reports(request, connection):
        if request.method == "POST" or request.target not in cache:
            with changed:
                computed.append(request.target)
            assert may_end.wait(20)
            cache[request.target] = b"numbers"
        connection.answer(200, cache[request.target])
    lk = serve("cache-rebuild", replicas, handler=reports)
    readers = [pool.submit(lk.ask, "GET", "/reports/sales") for _ in range(20)]
    lk.wait_waiting(19)
    assert lk.status("POST", "/reports/sales/refresh") == 409
    may_end.set()
    assert {(one.result().status, one.result().body) for one in readers} == {(200, b"numbers")}
    assert computed == ["/reports/sales"]
    assert lk.status("POST", "/reports/sales/refresh") == 200


@pytest.mark.parametrize("replicas", [1, 2])
def test_documents_read_write(serve, service, pool, replicas):
    """Readers together; a writer waits for them; a reader after the writer waits for the writer."""
    lk = serve("documents-read-write", replicas, WAIT="30s")
    service.hold("plan")
    asked = [pool.submit(lk.ask, "GET", "/documents/plan") for _ in range(2)]
    service.wait_inside("plan", 2)
    for waiting, method in enumerate(("PUT", "GET"), start=1):
        asked.append(pool.submit(lk.ask, method, "/documents/plan"))
        lk.wait_waiting(waiting)
    assert lk.status("PUT", "/documents/other") == 200
    service.release("plan")
    assert [one.result().status for one in asked] == [200] * 4
    assert [one.method for one in service.of("plan")] == ["GET", "GET", "PUT", "GET"]
    writer, reader = service.of("plan")[2:]
    assert writer.left_s <= reader.entered_s


@pytest.mark.parametrize("replicas", [1, 2])
def test_printer(serve, service, pool, replicas):
    """Two at a time; the third waits; who finds the queue full is told at once."""
    lk = serve("printer", replicas, PRINTER_QUEUE="1")
    service.hold("print")
    printing = [pool.submit(lk.ask, "POST", "/print") for _ in range(2)]
    service.wait_inside("print", 2)
    printing.append(pool.submit(lk.ask, "POST", "/print"))
    lk.wait_waiting(1)
    full = lk.ask("POST", "/print")
    assert (full.status, full.json()["reason"], full.json()["executed"]) == (429, "queue-full", "no")
    service.release("print")
    assert [one.result().status for one in printing] == [200] * 3
    assert service.most["print"] == 2 and len(service.of("print")) == 3


def test_printer_wait_ends(serve, service, pool):
    """Who has waited as long as the policy says gets 429, and was not printed."""
    lk = serve("printer", PRINTER_WAIT="100ms")
    service.hold("print")
    printing = [pool.submit(lk.ask, "POST", "/print") for _ in range(2)]
    service.wait_inside("print", 2)
    late = lk.ask("POST", "/print")
    assert (late.status, late.json()["reason"], late.json()["executed"]) == (429, "wait-timeout", "no")
    assert int(late.header("Retry-After")) >= 1
    service.release("print")
    assert [one.result().status for one in printing] == [200] * 2


@pytest.mark.parametrize("replicas", [1, 2])
def test_stock_lock(serve, pool, replicas):
    """A service that reads, thinks and writes sells each article once; transfers in opposite directions
    all succeed."""
    left, sold, tokens = {"boat": 3}, [], []

    def shop(request, connection):
        if request.target.startswith("/stock/"):
            tokens.append(int(request.header("fencing-token")))
            count = left["boat"]
            time.sleep(0.005)  # it thinks
            if count > 0:
                left["boat"] = count - 1
                sold.append(request.target)
        connection.answer(200, b"ok")
    lk = serve("stock-lock", replicas, handler=shop)
    asked = [pool.submit(lk.ask, "POST", "/stock/boat") for _ in range(12)]
    assert {one.result().status for one in asked} == {200}
    assert len(sold) == 3 and left["boat"] == 0
    assert tokens == sorted(set(tokens)) and len(tokens) == 12
    asked = [pool.submit(lk.ask, "POST", target) for _ in range(5)
             for target in ("/transfer/boat/oar", "/transfer/oar/boat")]
    assert {one.result().status for one in asked} == {200}


def test_stock_fence(serve, service, start, make_origin, redis_server):
    """Behind the fence arrives a change with the newest token, and none without, nor with an older one."""
    lock, fence = serve("stock-lock", 2), serve("stock-fence", 2)
    for _ in range(2):
        assert lock.status("POST", "/stock/boat") == 200
    old, new = (str(visit.token) for visit in service.of("boat"))

    def change(**headers):
        # The floor is kept by the one instance that has the resource.
        return request(fence.members[0].listen, "PUT", "/stock/boat", headers and {"Fencing-Token": headers["token"]})
    assert change().status == 428
    assert change(token=new).status == 200
    stale = change(token=old)
    assert (stale.status, stale.json()["executed"]) == (412, "no")
    assert len(service.of("boat")) == 3


@pytest.mark.parametrize("replicas", [1, 2])
def test_websockets(serve, replicas):
    """Three connections of a user, whatever the replica; when one ends, another may come."""
    lk = serve("websockets", replicas, handler=echo)

    def join(user):
        return WebSocket(next(lk.turn).listen, "/chat", f"X-User-Id: {user}\r\n")
    with contextlib.ExitStack() as stack:
        first, *others = [stack.enter_context(join("ann")) for _ in range(4)]
        assert [first.status, *(one.status for one in others)] == [101, 101, 101, 429]
        for one in (first, *others[:2]):
            one.say(b"hello")
            assert one.hear() == (BINARY, b"hello")
        assert stack.enter_context(join("bob")).status == 101
        first.close()
        wait_until(lambda: lk.metric("lock_held") == 3, 30, "a place is free")
        assert stack.enter_context(join("ann")).status == 101
        assert lk.status("GET", "/chat") == 400
    wait_until(lambda: lk.metric("lock_held") == 0, 30, "all places are free")
