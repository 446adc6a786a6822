"""Everything at once, at full speed: resets, stalls, half-closes and garbage from clients and from the
service, and reloads.  No answer reaches the wrong request, none that was cut looks whole, nobody waits
for ever, and in the end nothing is left: connections, exchanges, locks, memory."""

import asyncio
import json
import os
import random
import sys
import threading

from harness import Process, SLOWNESS, wait_until
from policies import policy
from tls_files import Authority

import chaos_clients

SECONDS = float(os.environ.get("CHAOS_SECONDS", "15"))
WIDTH = int(os.environ.get("CHAOS_WIDTH", "128"))
HERE = os.path.dirname(os.path.abspath(__file__))
RELOAD_EVERY_S = 0.5


def chaos_policy(upstream, generation=0, header="1s", **settings):
    """Short timeouts, so that silence is met often; a generation differs a little from the next."""
    return policy(
        upstream, workers=2, access_log="errors", trusted_proxies=["127.0.0.0/8"],
        timeouts={"header": header, "body": "1s", "idle": "1s", "write": "2s", "connect": "2s",
                  "response": f"{700 + generation % 5}ms", "response_body": "700ms", "upstream_idle": "800ms", "tunnel": "900ms"},
        upstream_options={"max_connections": 16, "max_waiting": 64},
        routes=[{"name": "limited", "match": {"path": "/c/limited"},
                 "limits": [{"name": "rate", "key": "all", "rate": f"{100 + generation % 3}/s", "burst": 20}]},
                {"name": "locked", "match": {"path": "/c/locked/{key}"},
                 "lock": {"key": "{path.key}", "wait": "300ms", "lease": "2s"}},
                {"name": "everything"}],
        **settings)


class Reloader(threading.Thread):
    """SIGHUP again and again, each time with a policy that is a little different."""

    def __init__(self, made):
        super().__init__()
        self.made, self.over, self.count = made, threading.Event(), 0

    def run(self):
        while not self.over.wait(RELOAD_EVERY_S):
            self.count += 1
            for proxy, make_policy in self.made:
                with open(proxy.policy_path + ".new", "w") as file:
                    file.write(make_policy(self.count))
                os.replace(proxy.policy_path + ".new", proxy.policy_path)
                proxy.send_signal(1)

    def stop(self):
        self.over.set()
        self.join()


def left_over(proxy):
    """Gauges that are not back at zero."""
    gauges = [("client_connections", {}), ("upstream_connections", {}), ("upstream_waiting_requests", {}),
              ("lock_waiting_requests", {}), ("lock_held", {})]
    found = {name: proxy.metric(name, **labels) for name, labels in gauges}
    return {name: value for name, value in found.items() if value != 0}


def test_chaos(start, tmp_path):
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(1 << 32))
    print(f"\nCHAOS_SEED={seed}")
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.issue("server")
    service = Process([sys.executable, os.path.join(HERE, "chaos_service.py"), certificate, key])
    try:
        ports = service.out.wait(lambda line: line.startswith("ports"), 20, "ports of the service").split()[1:]

        def plain(generation=0):
            return chaos_policy(f"http://127.0.0.1:{ports[0]}", generation)

        def over_tls(generation=0):
            # The time for a head bounds a handshake too: many at once must not keep each other from it.
            settings = json.loads(chaos_policy("", generation, header="20s",
                                               tls={"certificate": certificate, "key": key}))
            del settings["upstream"]
            settings["upstreams"] = [{"name": "default", "url": f"https://localhost:{ports[1]}",
                                      "tls": {"ca_file": authority.ca_file}}]
            for route in settings["routes"]:
                route["upstream"] = "default"
            return json.dumps(settings)

        made = [(start(make()), make) for make in (plain, over_tls)]
        contexts = [None, chaos_clients.tls_context(authority.ca_file)]
        clients = chaos_clients.Clients(
            [(*proxy.listen, context) for (proxy, _), context in zip(made, contexts)], [4, 1], seed)
        reloader = Reloader(made)
        reloader.start()
        try:
            asyncio.run(clients.run(SECONDS, WIDTH))
        finally:
            reloader.stop()
        print(json.dumps(clients.counts, sort_keys=True, indent=1), f"\n{reloader.count} reloads")
        for proxy, _ in made:
            wait_until(lambda: not left_over(proxy), 20 * SLOWNESS, f"nothing left over: {left_over(proxy)}")
            assert proxy.metric("config_last_reload_successful") == 1
        seen = [line for line in service.out.snapshot() if line.startswith("violation")]
    finally:
        service.kill()
    assert not clients.violations and not seen, \
        f"CHAOS_SEED={seed}\n" + "\n".join([*clients.violations, *seen][:20])
    # It has been a storm and not a calm: every plan that can succeed has, and so has every disturbance.
    assert reloader.count > 2
    well = sorted(set(chaos_clients.PLANS) - chaos_clients.BROKEN)
    missing = [name for name in well if clients.counts[f"plan {name}"] == 0]
    assert not missing, (seed, missing, clients.counts)
    for kind in ("whole", "refused 502", "refused 504", "refused 408", "refused garbage", "cut", "left",
                 "connections", "connections over TLS", "tunnels", "tunnels left", "tunnels echoed"):
        assert clients.counts[kind] > 0, (seed, kind, clients.counts)
    connections = clients.counts["connections"] + clients.counts["connections over TLS"]
    assert clients.counts["whole"] > connections / 4, (seed, clients.counts)
