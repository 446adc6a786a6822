"""Policies with locks, and how tests name them."""

import http.client

from harness import request
from policies import policy


def locked(path, key, name=None, **lock):
    """A route with a lock; the client learns what it did, the service gets the token."""
    return {"name": name or path.strip("/").split("/")[0], "match": {"path": path},
            "lock": {"key": key, "fencing": "inject", **lock}}


def fenced(path, key, name=None, **fence):
    return {"name": name or path.strip("/").split("/")[0], "match": {"path": path},
            "fence": {"key": key, **fence}}


def lock_policy(upstream, redis_url, routes, timeout_ms=400, **settings):
    """One worker.  A lease is at least four times the store's timeout."""
    settings.setdefault("access_log", "off")
    return policy(upstream, routes, store=redis_url, store_options={"timeout": f"{timeout_ms}ms"}, **settings)


def ask(proxy, name, key, ms=1, method="POST", timeout_s=30):
    """A request of X-Id name that works on key for so long; None when its answer is cut off."""
    try:
        return request(proxy.listen, method, f"/{key}?ms={ms}", {"X-Id": name} if name else None, timeout_s=timeout_s)
    except (OSError, http.client.HTTPException):
        return None
