"""The lock scripts of lua/, called without a Lockkeeper: for waiters that vanish, and for showing what
would happen to one who does not do as Lockkeeper does."""

import os
import re

from harness import TOP

INCLUDE = re.compile(r"^ *-- @include (\w+)$", re.M)


def script_text(stem):
    with open(os.path.join(TOP, "lua", f"{stem}.lua")) as file:
        return INCLUDE.sub(lambda match: script_text(match[1]), file.read())


def lock_keys(key, prefix="lk"):
    return [f"{prefix}:lock:{{{key}}}:{part}" for part in "hqr"]


class Scripts:
    def __init__(self, client, prefix="lk"):
        self.client, self.prefix = client, prefix
        self.known = {stem: client.script_load(script_text(stem)) for stem in ("admit", "release")}

    def run(self, stem, keys, arguments):
        return self.client.evalsha(self.known[stem], len(keys), *keys, *arguments)

    def admit(self, key, name, wait_s=5.0, lease_s=5.0, grant_ms=300, limit=None):
        """The reply of one who asks for an exclusive lock.  limit: (key, per_hour), admitted with it."""
        limit_keys, limit_arguments = [], []
        if limit:
            # fixed_window, from its first request on; the fields are those of lua/README.md.
            limit_keys, limit_arguments = [limit[0]], ["f", "e", 1, limit[1], 3600_000_000, 0, "h", 0]
        return self.run("admit", limit_keys + lock_keys(key, self.prefix),
                        [*limit_arguments, "w", f"x{name}", 1, int(wait_s * 1e6),
                         int(lease_s * 1e6), grant_ms * 1000, 2000000, 0, 1000, 0, 0, "nobody-listens"])

    def release(self, key, name, token):
        return self.run("release", lock_keys(key, self.prefix), [f"x{name}", token, 0, 1])
