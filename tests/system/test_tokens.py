"""Keys from JSON Web Tokens: only a token that is signed and in time has claims."""

import base64
import hashlib
import hmac
import json
import time

from policies import limited, policy

SECRET = "a secret of at least thirty-two bytes"
LIMIT = {"name": "per-subject", "key": "{jwt.sub}:{jwt.plan}", "rate": "2/day", "burst": 2,
         "algorithm": "token_bucket", "on_missing_key": "deny"}


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(claims, secret=SECRET):
    head = encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    signed = head + b"." + encode(json.dumps(claims).encode())
    return (signed + b"." + encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest())).decode()


def statuses(proxy, bearer, count):
    headers = {"Authorization": f"Bearer {bearer}"}
    return [proxy.request("GET", "/api", headers).status for _ in range(count)]


def start_proxy(start, origin):
    return start(policy(origin.url, [limited("/api", LIMIT)], jwt={"secret": SECRET}))


def test_each_subject_has_its_own_budget(start, origin):
    proxy = start_proxy(start, origin)
    later = int(time.time()) + 3600
    assert statuses(proxy, token({"sub": "ann", "plan": "a", "exp": later}), 3) == [200, 200, 429]
    assert statuses(proxy, token({"sub": "bob", "plan": "a", "exp": later}), 3) == [200, 200, 429]
    assert statuses(proxy, token({"sub": "ann", "plan": "b", "exp": later}), 1) == [200]


def test_a_token_that_proves_nothing_has_no_claims(start, origin):
    proxy = start_proxy(start, origin)
    past = int(time.time()) - 3600
    assert statuses(proxy, token({"sub": "ann", "plan": "a"}, secret="another secret of thirty-two bytes"), 1) == [400]
    assert statuses(proxy, token({"sub": "ann", "plan": "a", "exp": past}), 1) == [400]
    assert statuses(proxy, "not.a.token", 1) == [400]
    assert proxy.request("GET", "/api").status == 400
    assert not origin.seen()
