"""A policy holds however its path is spelled, and the service still gets the target as it was sent."""

import subprocess

import pytest

from harness import binary
from policies import limited, policy
from raw import RawClient

BUCKET = {"name": "b", "rate": "1/day", "burst": 1, "algorithm": "token_bucket"}


def get(proxy, target, method="GET", host="a"):
    with RawClient(proxy.listen) as client:
        client.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")
        return client.read_response(method)


@pytest.mark.parametrize("spelling", [
    "/admin/users", "/admin//users", "//admin/users", "/./admin/users", "/x/../admin/users",
    "/%61dmin/users", "/admin/%75sers", "/admin/./users", "/%2e/admin/users", "/x/%2e%2e/admin/users",
    "/admin/users?x=1", "/admin/users?", "/%61%64%6d%69%6e/users", "/admin/x/%2E%2e/users",
    "/../admin/users", "http://a/admin/users", "/admin/users#frag",
])
def test_no_spelling_gets_round_a_limit(start, origin, spelling):
    proxy = start(policy(origin.url, [limited("/admin/users", BUCKET)]))
    assert get(proxy, "/admin/users").status == 200
    assert get(proxy, spelling).status in (400, 429)
    assert len(origin.requests) == 1


@pytest.mark.parametrize("other", ["/admin/Users", "/admin/users/", "/admin", "/admin/users/1", "/admin%2Fusers"])
def test_other_paths_are_other_paths(start, origin, other):
    proxy = start(policy(origin.url, [limited("/admin/users", BUCKET)]))
    assert get(proxy, "/admin/users").status == 200
    assert get(proxy, other).status == 200


@pytest.mark.parametrize("target", ["/a/%7Euser//x/../y?q=%2e", "/%61", "/a%20b/%C3%A9"])
def test_the_service_gets_the_original_target(start, origin, target):
    proxy = start(policy(origin.url))
    assert get(proxy, target).json()["target"] == target


@pytest.mark.parametrize("target", ["/a%", "/a%zz", "/a%00b", "a/b"])
def test_malformed_paths_are_refused(start, origin, target):
    proxy = start(policy(origin.url, [limited("/a", BUCKET)]))
    assert get(proxy, target).status == 400
    assert not origin.seen()


def test_escaped_slashes(start, origin):
    routes = [limited("/admin/users", BUCKET)]
    closed = start(policy(origin.url, routes, escaped_slashes="refuse"))
    for target in ("/admin%2Fusers", "/admin%2fusers?a=b", "/x%5Cy", "http://a/admin%2Fusers"):
        answer = get(closed, target)
        assert (answer.status, answer.json()["reason"], answer.json()["executed"]) == (400, "escaped-slash", "no")
    assert not origin.seen()
    # What stands in a query, or is escaped twice, is no slash in the path.
    for target in ("/x?next=%2Fadmin", "/admin%252Fusers"):
        assert get(closed, target).status == 200
    assert closed.metric("refusals_total", reason="escaped-slash") == 4
    assert get(start(policy(origin.url, routes)), "/admin%2Fusers").status == 200
    told = subprocess.run([binary(), "explain", closed.policy_path, "GET /admin%2Fusers"], capture_output=True, text=True)
    assert told.returncode != 0 and "escaped_slashes: refuse answers 400" in told.stderr


def test_first_match_in_file_order_wins(start, origin):
    routes = [limited("/stock/special", {**BUCKET, "name": "special"}, name="special"),
              limited("/stock/{sku}", {**BUCKET, "burst": 2, "rate": "2/day"}, name="any"),
              limited("/stock/unreached", {**BUCKET, "name": "late"}, name="late-but-shadowed")][:2]
    proxy = start(policy(origin.url, routes))
    assert [get(proxy, "/stock/special").status for _ in range(2)] == [200, 429]
    assert [get(proxy, "/stock/7").status for _ in range(3)] == [200, 200, 429]
    assert proxy.metric("decisions_total", route="special") == 2
    assert proxy.metric("decisions_total", route="any") == 3


def test_methods_and_hosts(start, origin):
    routes = [{"name": "write", "match": {"path": "/m", "methods": ["POST", "PUT"]}, "limits": [BUCKET]},
              {"name": "shop", "match": {"path": "/h", "hosts": ["*.shop.test"]}, "limits": [BUCKET]}]
    proxy = start(policy(origin.url, routes))
    assert [get(proxy, "/m", "POST").status for _ in range(2)] == [200, 429]
    assert get(proxy, "/m", "PUT").status == 429
    assert [get(proxy, "/m").status for _ in range(2)] == [200, 200]
    assert [get(proxy, "/h", host=host).status for host in ("a.shop.test", "B.SHOP.test:8080")] == [200, 429]
    assert [get(proxy, "/h", host="other.test").status for _ in range(2)] == [200, 200]


def test_rest_of_path(start, origin):
    proxy = start(policy(origin.url, [limited("/files/{rest...}", {**BUCKET, "key": "{path.rest}"}, name="files")]))
    assert [get(proxy, "/files/a/b/c").status for _ in range(2)] == [200, 429]
    assert get(proxy, "/files/a/b").status == 200


def test_unmatched_requests(start, origin):
    routes = [limited("/known", BUCKET)]
    assert get(start(policy(origin.url, routes)), "/other").status == 200
    closed = start(policy(origin.url, routes, on_no_route="refuse"))
    answer = get(closed, "/other")
    assert answer.status == 404
    assert answer.json()["executed"] == "no"


def test_hundreds_of_routes(start, origin):
    routes = [limited(f"/r{number}/{{id}}", BUCKET, name=f"r{number}") for number in range(400)]
    proxy = start(policy(origin.url, routes))
    for number in (0, 1, 199, 398, 399):
        assert [get(proxy, f"/r{number}/x").status for _ in range(2)] == [200, 429]
    assert proxy.metric("decisions_total", route="r399", decision="limited") == 1
