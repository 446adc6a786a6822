#!/usr/bin/python3
"""What a scrape costs the requests that run meanwhile: rounds of load with one scrape a second, and rounds
without, in turn; the medians of both, and the ratio.

    make bench-scrape               or, with options:  make bench-scrape BENCH='--rounds 9 --seconds 10'

The process has one worker and --routes routes with a limit each on the embedded store, so the page is
larger than most.  A Prometheus scrapes every 15 s or more; here it is every second.
"""

import argparse
import os
import statistics
import sys
import threading
import time
import urllib.request

from bench import Contest, run_wrk
from bench_world import HERE, Bench, free_port

ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


class Scraper(threading.Thread):
    """Scrapes each second until stop() is called."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.over, self.took_ms, self.size_bytes = url, threading.Event(), [], 0
        self.start()

    def run(self):
        while not self.over.wait(1):
            began = time.monotonic()
            asked = urllib.request.Request(self.url, headers={"Accept": ACCEPT})
            with urllib.request.urlopen(asked, timeout=10) as answer:
                self.size_bytes = len(answer.read())
            self.took_ms.append((time.monotonic() - began) * 1000)

    def stop(self):
        self.over.set()
        self.join()


def serve(bench, route_count):
    """(port, URL of the metrics)."""
    limit = {"name": "total", "rate": "1000000/second", "burst": 1000000}
    routes = [{"name": f"route-{n}", "match": {"path": f"/{n}"}, "limits": [limit]} for n in range(1, route_count)]
    routes.append({"name": "bench", "match": {"path": "/"}, "limits": [limit]})
    metrics = free_port()
    port, _ = bench.start_lockkeeper(store="embedded", metrics=f"127.0.0.1:{metrics}", routes=routes)
    return port, f"http://127.0.0.1:{metrics}/metrics"


def measure(bench):
    """({"quiet" | "scraped": rounds}, the scrapers)."""
    options, rounds, scrapers = bench.options, {"quiet": [], "scraped": []}, []
    bench.start_origin()
    port, url = serve(bench, options.routes)
    contest = Contest("scraped", {})
    run_wrk(bench, contest, port, 1)  # warm up
    for number in range(2 * options.rounds):
        # Each pair begins with the other one.
        is_scraped = (number % 2) ^ (number // 2 % 2)
        if is_scraped:
            scrapers.append(Scraper(url))
        rounds["scraped" if is_scraped else "quiet"].append(run_wrk(bench, contest, port, options.seconds))
        if is_scraped:
            scrapers[-1].stop()
    return rounds, scrapers


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lockkeeper", default=os.path.join(HERE, "..", "..", "build", "lockkeeper"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--routes", type=int, default=30)
    bench = Bench(parser.parse_args())
    bench.redis_socket = bench.path("redis.sock")  # none runs: the store is embedded
    try:
        rounds, scrapers = measure(bench)
    finally:
        bench.close()
    took_ms = [one for scraper in scrapers for one in scraper.took_ms]
    if not took_ms:
        sys.exit("scrape: no scrape was made; take more seconds")
    print(f"{bench.options.rounds} rounds of {bench.options.seconds} s each, {bench.options.connections} connections, "
          f"{os.cpu_count()} CPUs; {len(took_ms)} scrapes of {scrapers[-1].size_bytes} bytes, "
          f"median {statistics.median(took_ms):.1f} ms\n")
    print("| | req/s | p50 ms | p99 ms |\n|---|---|---|---|")
    medians = {name: [statistics.median(one[figure] for one in all_of_it) for figure in ("per_s", "p50_ms", "p99_ms")]
               for name, all_of_it in rounds.items()}
    for name, (per_s, p50, p99) in medians.items():
        print(f"| {name} | {per_s:.0f} | {p50:.2f} | {p99:.2f} |")
    ratios = [scraped / quiet for scraped, quiet in zip(medians["scraped"], medians["quiet"])]
    print("| scraped / quiet | " + " | ".join(f"{ratio:.2f}x" for ratio in ratios) + " |")


if __name__ == "__main__":
    main()
