"""Policies as Python dictionaries.  JSON is YAML, so that is how they are written out."""

import json


def policy(upstream, routes=(), store="embedded", **settings):
    """A whole policy file for one process under test; settings are top-level keys.  Without routes
    there is one that takes everything and limits nothing."""
    document = {"listen": "127.0.0.1:0", "metrics": "127.0.0.1:0", "upstream": upstream, "store": store,
                "workers": 1, "access_log": "all", **settings}
    document["routes"] = list(routes) or [{"name": "everything"}]
    return json.dumps(document, indent=1)


def limited(path, *limits, name=None, **extra):
    """A route with limits."""
    return {"name": name or path.strip("/").replace("/", "-") or "root", "match": {"path": path},
            "limits": list(limits), **extra}
