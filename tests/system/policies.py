"""Policies as Python dictionaries.  JSON is YAML, so that is how they are written out."""

import json


def policy(upstream, routes=(), store="embedded", **settings):
    """A whole policy file for one process under test; settings are top-level keys.  Without routes
    there is one that takes everything and limits nothing.  A store gets more time than by default, so
    that a machine under load does not turn a decision into on_store_failure."""
    document = {"listen": "127.0.0.1:0", "metrics": "127.0.0.1:0", "admin": "127.0.0.1:0",
                "upstream": upstream, "store": store,
                "workers": 1, "access_log": "all", **settings}
    if store != "embedded":
        document.setdefault("store_options", {}).setdefault("timeout", "10s")
    document["routes"] = list(routes) or [{"name": "everything"}]
    return json.dumps(document, indent=1)


def limited(path, *limits, name=None, **extra):
    """A route with limits."""
    return {"name": name or path.strip("/").replace("/", "-") or "root", "match": {"path": path},
            "limits": list(limits), **extra}
