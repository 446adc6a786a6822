#!/usr/bin/python3
"""What one request costs Lockkeeper, counted rather than timed: instructions by function (callgrind),
system calls (strace) and allocations (valgrind).

    make profile                    or, with options:  make profile PROFILE='--cases hot --top 40'

The same program is run twice with different numbers of requests, and the difference is divided by the
difference of the numbers: what starting and stopping cost falls out, and other load on the machine
hardly shows.  The client sends one request on each connection, then reads all answers, and so on.
"""

import argparse
import collections
import os
import re
import socket
import subprocess
import sys

from bench_world import Bench, accepts, children, wait_for

CONNECTIONS = 16
# What it is, the limit's key (None: no limit), fields of the request; {number} is one of 10,000.
CASES = {
    "pass": ("pass-through", None, ""),
    "headers": ("pass-through, ten more fields", None,
                "".join(f"X-Some-Field-{i}: the value of field {i}\r\n" for i in range(10))),
    "hot": ("one token_bucket on Redis, one key", "", ""),
    "key": ("one token_bucket on Redis by {header.x-user}, all of one user", "{header.x-user}",
            "X-User: 12345678\r\n"),
    "crowd": ("one token_bucket on Redis by {header.x-user}, 10,000 users in turn", "{header.x-user}",
              "X-User: {number}\r\n"),
}


class Load:
    """Rounds of one request on each of the connections, all at once."""

    def __init__(self, port, extra):
        self.request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{extra}\r\n".encode()
        self.sent = 0
        self.peers = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(CONNECTIONS)]

    def run(self, rounds):
        for _ in range(rounds):
            for peer in self.peers:
                self.sent += 1
                peer.sendall(self.request.replace(b"{number}", b"%08d" % (self.sent % 10000)))
            for peer in self.peers:
                self.read_answer(peer)

    @staticmethod
    def read_answer(peer):
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += Load.receive(peer)
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            sys.exit(f"profile: an answer that is not 200: {head!r}")
        length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head).group(1))
        while len(body) < length:
            body += Load.receive(peer)

    @staticmethod
    def receive(peer):
        data = peer.recv(65536)
        if not data:
            sys.exit("profile: Lockkeeper closed a connection")
        return data

    def close(self):
        for peer in self.peers:
            peer.close()


def run_once(bench, wrapper, key, extra, rounds):
    """One life of Lockkeeper under the wrapper."""
    program = bench.options.lockkeeper
    port, _ = bench.start_lockkeeper(key, wrapper, **dict(bench.options.set))
    child = bench.running[-1]
    load = Load(port, extra)
    load.run(rounds)
    load.close()
    # strace does not hand signals on; what it started gets them.
    pid = children(child.pid)[0] if wrapper[0] == "strace" else child.pid
    os.kill(pid, 15)
    if child.wait(60) != 0:
        sys.exit(f"profile: {program} under {wrapper[0]} ended with status {child.returncode}")


def measure(bench, case, wrapper, read):
    """read() of the second life minus that of the first, for each request."""
    _, key, extra = CASES[case]
    counts = []
    for rounds in (bench.options.rounds, 3 * bench.options.rounds):
        run_once(bench, wrapper, key, extra, rounds)
        counts.append(read())
    requests = 2 * bench.options.rounds * CONNECTIONS
    names = set(counts[0]) | set(counts[1])
    return {name: (counts[1].get(name, 0) - counts[0].get(name, 0)) / requests for name in names}


def instructions(bench, case):
    out = bench.path("callgrind.out")

    def read():
        text = subprocess.run(["callgrind_annotate", "--threshold=100", "--auto=no", out], check=True,
                              capture_output=True, text=True).stdout
        counts = collections.Counter()
        for line in text.splitlines():
            row = re.match(r"\s*([\d,]+) \([^)]*\)\s+(.*)$", line)
            if row is None:
                continue
            # file:function [object]; what was inlined from a header counts for the function it is in.
            where = re.sub(r" \[.*", "", row.group(2))
            if where == "PROGRAM TOTALS":
                name = where
            else:
                file, _, function = where.rpartition(":")
                library = re.search(r"\[.*/([^/]+?)\.so", row.group(2))
                name = function.split("'")[0]
                if name.startswith("0x") or file == "???":
                    name = f"in {library.group(1)}" if library else "in the program"
            counts[name] += int(row.group(1).replace(",", ""))
        return counts

    counts = measure(bench, case, ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"], read)
    total = counts.pop("PROGRAM TOTALS")
    print(f"\n  {total:8.0f}  instructions for each request")
    for name, count in sorted(counts.items(), key=lambda entry: -entry[1])[:bench.options.top]:
        print(f"  {count:8.0f}  {name}")


def system_calls(bench, case):
    out = bench.path("strace.out")

    def read():
        counts = collections.Counter()
        with open(out) as file:
            for line in file:
                row = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
                if row is not None and row.group(2) != "total":
                    counts[row.group(2)] += int(row.group(1))
        return counts

    counts = measure(bench, case, ["strace", "-f", "-c", "-o", out], read)
    print("\n  system calls for each request")
    for name, count in sorted(counts.items(), key=lambda entry: -entry[1]):
        if count >= 0.005:
            print(f"  {count:8.2f}  {name}")


def allocations(bench, case):
    out = bench.path("memcheck.out")

    def read():
        with open(out) as file:
            found = re.search(r"total heap usage: ([\d,]+) allocs", file.read())
        return {"all": int(found.group(1).replace(",", ""))}

    counts = measure(bench, case, ["valgrind", "--tool=memcheck", "--leak-check=no", "--undef-value-errors=no",
                                   f"--log-file={out}"], read)
    print(f"\n  {counts['all']:8.3f}  allocations for each request")


MEASURES = {"instructions": instructions, "calls": system_calls, "allocations": allocations}


def setting(text):
    key, _, value = text.partition("=")
    return key, int(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--lockkeeper", default="build/lockkeeper")
    parser.add_argument("--cases", default=",".join(CASES), help="of: " + ", ".join(CASES))
    parser.add_argument("--measures", default=",".join(MEASURES), help="of: " + ", ".join(MEASURES))
    parser.add_argument("--rounds", type=int, default=150, help=f"of {CONNECTIONS} requests, in the first run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=NUMBER", type=setting,
                        help="a key of the policy, such as top_keys=0")
    parser.add_argument("--top", type=int, default=25, help="how many functions are listed")
    options = parser.parse_args()
    bench = Bench(options)
    try:
        bench.start_redis()
        bench.start_origin()
        for case in options.cases.split(","):
            print(f"\n{CASES[case][0]}")
            for name in options.measures.split(","):
                MEASURES[name](bench, case)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
