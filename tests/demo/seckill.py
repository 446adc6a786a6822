#!/usr/bin/python3
"""`make demo-seckill`: 1,000 buyers want 100 things from a shop that takes no care, at the same moment.
Once without a lock, once with one.

    tests/demo/seckill.py build/lockkeeper [--buyers N] [--stock N] [--store URL|embedded]

With redis-server installed there are two Lockkeepers in front of the shop, which share a Redis; without
it, or with --store embedded, there is one.  The exit status is 0 when the lock sold exactly the stock.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "faults")]

from clients import Outcome, ask_all, describe_waits  # noqa: E402
from run import Failure, start_child, start_lockkeeper, stop  # noqa: E402

POLICY = os.path.join(HERE, "seckill.yaml")
BAR = 40


class Result:
    """What a round came to."""

    def __init__(self, outcomes, sold, left, seconds):
        self.outcomes, self.sold, self.left, self.seconds = outcomes, sold, left, seconds

    @property
    def answered(self):
        return sum(one.status == 200 for one in self.outcomes)

    def describe(self):
        waits = [(one.wait_ms or 0) / 1000 for one in self.outcomes if one.status in (200, 410)]
        return (f"{self.sold} sold, {self.seconds:.2f} s, {len(self.outcomes) / self.seconds:.0f} buyers/s; "
                f"wait for the lock: {describe_waits(waits)}")


class Sale:
    """The shop and its Redis; round() runs one sale behind fresh Lockkeepers."""

    def __init__(self, binary, buyers=1000, stock=100, store=None):
        self.binary, self.buyers, self.stock = binary, buyers, stock
        self.directory = tempfile.mkdtemp(prefix="lockkeeper-seckill-")
        self.running = []
        self.store = store or self.start_redis() or "embedded"
        self.shop = self.start_shop()

    def start_redis(self):
        """The URL of a Redis of our own, or None."""
        server, path = shutil.which("redis-server"), os.path.join(self.directory, "redis.sock")
        if not server:
            return None
        self.running.append((start_child(
            [server, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir",
             self.directory], stdout=subprocess.DEVNULL), "redis-server"))
        return f"unix://{path}"

    def start_shop(self):
        child = start_child([sys.executable, os.path.join(HERE, "seckill_shop.py")], stdout=subprocess.PIPE)
        self.running.append((child, "the shop"))
        url = child.stdout.readline().decode().strip()
        if not url:
            raise Failure("the shop did not start")
        return url

    def ask_shop(self, method, path):
        asked = urllib.request.Request(self.shop + path, method=method)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.read()

    def write_policy(self, with_lock):
        path = os.path.join(self.directory, "with.yaml" if with_lock else "without.yaml")
        with open(POLICY) as source, open(path, "w") as file:
            file.writelines(line for line in source if with_lock or not line.strip().startswith("lock:"))
        return path

    def start_lockkeepers(self, with_lock):
        options = argparse.Namespace(lockkeeper=self.binary, policy=self.write_policy(with_lock))
        os.environ["DEMO_STORE"] = self.store
        return [start_lockkeeper(options, "127.0.0.1:0", "127.0.0.1:0", self.shop, pass_on_trouble)
                for _ in range(1 if self.store == "embedded" else 2)]

    def round(self, with_lock, watch=None):
        """watch: a coroutine function that is given the outcomes while they come in."""
        self.ask_shop("PUT", f"/stock/boat/{self.stock}")
        proxies = self.start_lockkeepers(with_lock)
        try:
            addresses = [(host, int(port)) for host, port in
                         (address.rsplit(":", 1) for _, address, _ in proxies)]
            for host, port in addresses:
                # Wakes the workers' connections to the shop and to Redis.
                urllib.request.urlopen(f"http://{host}:{port}/stock/boat", timeout=10).read()
            if self.store != "embedded":
                wait_for_store(proxies)
            began = time.monotonic()
            outcomes = asyncio.run(self.sell(addresses, watch))
            seconds = time.monotonic() - began
        finally:
            ended = [stop(child, "Lockkeeper") for child, _, _ in proxies]
        if not all(ended):
            raise Failure("Lockkeeper did not end well")
        state = json.loads(self.ask_shop("GET", "/stock/boat"))
        return Result(outcomes, state["sold"], state["left"], seconds)

    async def sell(self, addresses, watch):
        outcomes = [Outcome(f"buyer-{i}", "/buy/boat", "POST", i % len(addresses)) for i in range(self.buyers)]
        watcher = asyncio.create_task(watch(outcomes)) if watch else None
        await asyncio.wait_for(ask_all(addresses, outcomes), 120)
        if watcher:
            await watcher
        return outcomes

    def close(self):
        for child, _ in reversed(self.running):
            if child.poll() is None:
                child.terminate()
            child.wait(10)
            if child.stdout:
                child.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def pass_on_trouble(pipe):
    """Of a log, what is worse than a notice."""
    for raw in pipe:
        if b'"level":"info"' not in raw:
            sys.stderr.write(raw.decode("utf-8", "replace"))


def wait_for_store(proxies, seconds=10):
    """Until the workers are connected: a lock is not given before."""
    deadline = time.monotonic() + seconds
    for _, _, metrics in proxies:
        while True:
            with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=5) as answer:
                values = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines()
                              if line and line[0] != "#")
            if values["lockkeeper_store_connections"] == values["lockkeeper_workers"]:
                break
            if time.monotonic() > deadline:
                raise Failure("Lockkeeper is not connected to its store")
            time.sleep(0.02)


def raise_file_limit():
    """Every buyer has a connection to Lockkeeper, and Lockkeeper as many to the shop."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


# ---- what the viewer sees ------------------------------------------------------------------------


class Screen:
    def __init__(self):
        self.is_terminal = sys.stdout.isatty()

    def paint(self, text, code):
        return f"\033[{code}m{text}\033[0m" if self.is_terminal else text

    def bold(self, text):
        return self.paint(text, "1")

    def good(self, text):
        return self.paint(text, "1;32")

    def bad(self, text):
        return self.paint(text, "1;31")

    def watcher(self, stock):
        async def watch(outcomes):
            while True:
                done = sum(one.done_ns > 0 for one in outcomes)
                sold = sum(one.status == 200 for one in outcomes)
                filled = BAR * done // len(outcomes)
                count = self.bad(f"{sold:4} sold") if sold > stock else f"{sold:4} sold"
                print(f"\r  [{'#' * filled}{'.' * (BAR - filled)}] {done:4} buyers answered, {count}", end="",
                      flush=True)
                if done == len(outcomes):
                    print()
                    return
                await asyncio.sleep(0.05)
        return watch if self.is_terminal else None

    def say(self, *lines):
        print("\n".join(lines), flush=True)


def show_round(screen, sale, with_lock):
    result = sale.round(with_lock, screen.watcher(sale.stock))
    screen.say("  " + result.describe())
    if result.sold == sale.stock:
        screen.say(screen.good(f"  {result.sold} sold of {sale.stock}: not one too many, not one too few"), "")
    else:
        screen.say(screen.bad(f"  {result.sold} sold of {sale.stock}: {result.sold - sale.stock} people will hear "
                              "that theirs does not exist"), "")
    return result


def show(screen, sale):
    lock = next(line.strip() for line in open(POLICY) if line.strip().startswith("lock:"))
    front = ("one Lockkeeper with its state in memory" if sale.store == "embedded"
             else "two Lockkeepers that share a Redis")
    screen.say("", screen.bold(f"{sale.buyers} buyers, {sale.stock} boats, one moment"),
               "The shop reads how many boats are left, thinks for some milliseconds, and writes one less.",
               f"In front of it: {front}.", "", screen.bold("Without a lock"))
    show_round(screen, sale, False)
    screen.say(screen.bold("With this line in the policy (tests/demo/seckill.yaml), and the same shop:"),
               "  " + screen.paint(lock, "36"))
    return show_round(screen, sale, True).sold == sale.stock


def main():
    parser = argparse.ArgumentParser(description="A sale with and without a lock.")
    parser.add_argument("lockkeeper")
    parser.add_argument("--buyers", type=int, default=1000)
    parser.add_argument("--stock", type=int, default=100)
    parser.add_argument("--store", help="embedded, or the URL of a Redis")
    options = parser.parse_args()
    raise_file_limit()
    sale = None
    try:
        sale = Sale(options.lockkeeper, options.buyers, options.stock, options.store)
        return 0 if show(Screen(), sale) else 1
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if sale:
            sale.close()


if __name__ == "__main__":
    sys.exit(main())
