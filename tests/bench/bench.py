#!/usr/bin/python3
"""Lockkeeper beside nginx and HAProxy: one worker each, the same service, the same decision.

    make bench                      or, with options:  make bench BENCH='--rounds 9 --seconds 5'
                                    some sections:     make bench BENCH='--sections pass,tls'

Each section has its rivals in interleaved rounds, so that what else the machine does hits all of them
alike; medians are shown, each as a ratio to Lockkeeper's, and in the end one table with the ratios of
Lockkeeper's to each rival's.

  pass   no limit                                  body   answers of 10 kB and of 1 MB
  ten    the same, ten more fields                 tls    clients over TLS, one certificate
  one    the same, one connection: latency         echo   WebSocket: messages there and back
  wide   the same, 256 connections                 idle   10,000 idle connections: memory
  hot    one token_bucket on Redis, one key for all requests; many: on one of 10,000 keys
  redis  both, by unix socket and by TCP, beside the own pass-through
  locks  an exclusive lock on Redis, on one key and on many; see bench_locks.py

The limit in nginx is lua-resty-redis calling the same script by EVALSHA with the very arguments that
Lockkeeper sends (they are read off Redis's MONITOR), so both ask for the same decision.

CPU is utime + stime of the proxy's worker (of Lockkeeper: the whole process), and of redis-server,
divided by the requests wrk counted.  RSS is what the same processes hold at the end of a round.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys

import bench_connections
import bench_locks
from bench_world import BODY_BYTES, HERE, Bench, cpu_us, resident_kib

KEY_COUNT = 10_000

SPREAD_LUA = """
math.randomseed(os.time())
request = function()
    return wrk.format("GET", "/?k=k" .. math.random(0, %d))
end
""" % (KEY_COUNT - 1)

# figure, label, format; all but the first are better when they are smaller.
FIGURES = [("per_s", "req/s", "{:.0f}"), ("p50_ms", "p50 ms", "{:.2f}"), ("p99_ms", "p99 ms", "{:.2f}"),
           ("proxy_us", "proxy CPU µs/req", "{:.1f}"), ("user_us", "of it in user space", "{:.1f}"),
           ("redis_us", "Redis CPU µs/req", "{:.1f}"), ("rss_mib", "RSS MiB", "{:.1f}")]
ON_REQUEST = {"user_us", "redis_us", "rss_mib"}  # shown where a contest says so
TEN_FIELDS = ["Accept: text/html,application/xhtml+xml", "Accept-Encoding: gzip, deflate, br",
              "Accept-Language: en-GB,en;q=0.7", "Cache-Control: no-cache", "Cookie: session=0123456789abcdef",
              "Referer: https://shop.test/cart", "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101",
              "X-Client-Version: 12.4.1", "X-Tenant: 4711", "Authorization: Bearer 0123456789abcdef0123456789abcdef"]


class Contest:
    """rivals: name -> (port, pids); the rest is how wrk asks them, and what is shown."""

    def __init__(self, title, rivals, target="/", script=None, connections=None, fields=(), scheme="http",
                 shows=(), run=None):
        self.title, self.rivals, self.target, self.script = title, rivals, target, script
        self.connections, self.fields, self.scheme = connections, fields, scheme
        self.run = run  # what asks instead of wrk
        self.figures = [figure for figure in FIGURES if figure[0] not in ON_REQUEST or figure[0] in shows]


def to_ms(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def run_wrk(bench, contest, port, seconds):
    command = ["wrk", "-t1", f"-c{contest.connections or bench.options.connections}", f"-d{seconds}s", "--latency",
               "--timeout", "30s", *(word for field in contest.fields for word in ("-H", field))]
    if contest.script:
        command += ["-s", contest.script]
    text = subprocess.run(command + [f"{contest.scheme}://127.0.0.1:{port}{contest.target}"], check=True,
                          capture_output=True, text=True).stdout
    if "Requests/sec" not in text or "nan" in text or re.search(r"Non-2xx|Socket errors", text):
        sys.exit(f"bench: not every request was answered with 200:\n{text}")
    return {"requests": int(re.search(r"(\d+) requests in", text)[1]),
            "per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
            "p50_ms": to_ms(re.search(r"^ *50% +(\S+)", text, re.M)[1]),
            "p99_ms": to_ms(re.search(r"^ *99% +(\S+)", text, re.M)[1])}


def measure(bench, contest):
    """name -> the median of each figure over all rounds."""
    rounds, run = {name: [] for name in contest.rivals}, contest.run or run_wrk
    for port, _pids in contest.rivals.values():
        run(bench, contest, port, 1)  # warm up: connections, scripts, caches
    for number in range(bench.options.rounds):
        # Another one begins in each round.
        names = list(contest.rivals)
        names = names[number % len(names):] + names[:number % len(names)]
        for name in names:
            port, pids = contest.rivals[name]
            before, user_before = cpu_us(pids), cpu_us(pids, only_user=True)
            redis_before = cpu_us([bench.redis.pid])
            one = run(bench, contest, port, bench.options.seconds)
            one["proxy_us"] = (cpu_us(pids) - before) / one["requests"]
            one["user_us"] = (cpu_us(pids, only_user=True) - user_before) / one["requests"]
            one["redis_us"] = (cpu_us([bench.redis.pid]) - redis_before) / one["requests"]
            one["rss_mib"] = resident_kib(pids) / 1024
            rounds[name].append(one)
    return {name: {figure: statistics.median(one[figure] for one in all_of_it) for figure, _, _ in FIGURES}
            for name, all_of_it in rounds.items()}


def show(contest, results):
    """A Markdown table; in brackets: as a multiple of Lockkeeper's."""
    base = results["lockkeeper"]
    print(f"\n### {contest.title}\n")
    print("| | " + " | ".join(label for _, label, _ in contest.figures) + " |")
    print("|---" * (len(contest.figures) + 1) + "|")
    for name, result in results.items():
        cells = []
        for figure, _, form in contest.figures:
            ratio = f" ({result[figure] / base[figure]:.2f}x)" if name != "lockkeeper" and base[figure] else ""
            cells.append(form.format(result[figure]) + ratio)
        print(f"| {name} | " + " | ".join(cells) + " |")
    sys.stdout.flush()


def show_ratios(all_results):
    """One table: Lockkeeper's figures as multiples of each rival's."""
    print("\n### Lockkeeper's as a ratio to each rival's\n")
    print("| | beside | " + " | ".join(label.replace(" MiB", "") for _, label, _ in FIGURES) + " |")
    print("|---" * (len(FIGURES) + 2) + "|")
    for contest, results in all_results:
        shown = {figure for figure, _, _ in contest.figures}
        for name, result in results.items():
            if name == "lockkeeper":
                continue
            cells = [f"{results['lockkeeper'][figure] / result[figure]:.2f}"
                     if figure in shown and result[figure] else "" for figure, _, _ in FIGURES]
            print(f"| {contest.title} | {name} | " + " | ".join(cells) + " |")
    sys.stdout.flush()


# ---- sections: each gives its contests -----------------------------------------------------------------


def plain_rivals(bench):
    """Started once; the sections without a limit share them."""
    if bench.plain is None:
        bench.plain = {"lockkeeper": bench.start_lockkeeper(), "nginx": bench.start_nginx_proxy(),
                       "haproxy": bench.start_haproxy()}
    return bench.plain


def passing(bench):
    yield Contest("Pass-through", plain_rivals(bench), shows=["user_us"])


def ten_fields(bench):
    yield Contest("Pass-through, ten more fields", plain_rivals(bench), fields=TEN_FIELDS, shows=["user_us"])


def one_connection(bench):
    yield Contest("Pass-through, one connection", plain_rivals(bench), connections=1)


def wide(bench):
    yield Contest("Pass-through, 256 connections", plain_rivals(bench), connections=256, shows=["rss_mib"])


def bodies(bench):
    for target, size in (("/10k", "10 kB"), ("/1m", "1 MB")):
        yield Contest(f"Pass-through, answers of {size}", plain_rivals(bench), target=target, shows=["rss_mib"])


def over_tls(bench):
    bench.make_certificate()
    rivals = {"lockkeeper": bench.start_lockkeeper(tls={"certificate": bench.certificate, "key": bench.key}),
              "nginx": bench.start_nginx_proxy(tls=True), "haproxy": bench.start_haproxy(tls=True)}
    yield Contest("Clients over TLS", rivals, scheme="https", shows=["rss_mib"])


def limited(bench, is_hot, is_tcp, beside_own):
    """One strict limit for each request."""
    store = f"redis://127.0.0.1:{bench.redis_port}" if is_tcp else f"unix://{bench.redis_socket}"
    # Both are patient: here a late answer is the machine's fault, not that of Redis.
    ours = bench.start_lockkeeper(key="" if is_hot else "{query.k}", store=store, store_options={"timeout": "1s"})
    call = bench.capture_call(ours[0], "/" if is_hot else "/?k=MARK")
    key = json.dumps(call["key"])
    if not is_hot:
        before, after = call["key"].split("MARK")
        key = f"{json.dumps(before)} .. (ngx.var.arg_k or '') .. {json.dumps(after)}"
    rivals = {"lockkeeper": ours, "nginx + lua-resty-redis": bench.start_nginx_limit(call, key, is_tcp)}
    if beside_own:
        rivals["lockkeeper without a limit"] = plain_rivals(bench)["lockkeeper"]
    keys = "one key" if is_hot else f"{KEY_COUNT:,} keys"
    way = (" by TCP" if is_tcp else " by unix socket") if beside_own else ""
    return Contest(f"One token_bucket on Redis{way}, {keys}", rivals, shows=["redis_us"],
                   script=None if is_hot else bench.write("spread.lua", SPREAD_LUA))


def hot_key(bench):
    yield limited(bench, is_hot=True, is_tcp=False, beside_own=False)


def many_keys(bench):
    yield limited(bench, is_hot=False, is_tcp=False, beside_own=False)


def redis_both_ways(bench):
    for is_tcp in (False, True):
        for is_hot in (False, True):
            yield limited(bench, is_hot, is_tcp, beside_own=True)


def locks(bench):
    for title, rivals, script in bench_locks.contests(bench, bench.write("spread.lua", SPREAD_LUA)):
        yield Contest(title, rivals, script=script, shows=["redis_us"])


def echo(bench):
    program, rivals = bench_connections.echo_rivals(bench)
    yield Contest("WebSocket echo", rivals, run=bench_connections.echo_runner(program))


SECTIONS = {"pass": passing, "ten": ten_fields, "one": one_connection, "wide": wide, "body": bodies,
            "tls": over_tls, "hot": hot_key, "many": many_keys, "redis": redis_both_ways, "locks": locks,
            "echo": echo, "idle": bench_connections.idle}
DEFAULT_SECTIONS = "pass,ten,one,wide,body,tls,redis,locks,echo,idle"


def run_sections(bench):
    options = bench.options
    bench.start_redis()
    bench.start_origin()
    bench.plain = None
    print(f"{options.rounds} rounds of {options.seconds} s, {options.connections} connections, "
          f"{os.cpu_count()} CPUs, {BODY_BYTES}-byte answers; medians")
    all_results = []
    for name in options.sections:
        for contest in SECTIONS[name](bench) or ():  # idle has a table of its own
            all_results.append((contest, measure(bench, contest)))
            show(*all_results[-1])
    if all_results:
        show_ratios(all_results)


def main():
    def sections(text):
        names = text.split(",")
        for name in names:
            if name not in SECTIONS:
                raise argparse.ArgumentTypeError(f"no section is called {name!r}")
        return names

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lockkeeper", default=os.path.join(HERE, "..", "..", "build", "lockkeeper"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--sections", default=DEFAULT_SECTIONS, type=sections,
                        help=", ".join(SECTIONS))
    bench = Bench(parser.parse_args())
    try:
        run_sections(bench)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
