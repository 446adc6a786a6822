#!/usr/bin/python3
"""The cases against Lockkeeper and its peers, side by side: a Markdown table of who passes what, and the
cases in which they differ.  make conformance-peers"""

import os
import sys
import tempfile

from case import Run
from cases import CASES, GROUPS
from service import Service
from targets import TARGETS, harness

SECONDS = 2.0


class Column:
    """What became of each case with one proxy: the problem, or None."""

    def __init__(self, target, service, directory):
        self.target, self.service, self.directory = target, service, directory
        self.running, self.problems = {}, {}

    def proxy(self, profile):
        if profile not in self.running:
            self.running[profile] = self.target(
                os.path.join(self.directory, f"{self.target.name}-{profile}"), self.service.port, profile)
        return self.running[profile]

    def run(self, case):
        try:
            Run(case, self.proxy(case.profile).address, self.service, SECONDS).run()
        except (AssertionError, OSError) as problem:
            self.problems[case] = str(problem).split("\n", 1)[0]

    def stop(self):
        for proxy in self.running.values():
            proxy.stop()

    def passed(self, cases):
        return sum(case not in self.problems for case in cases)


def print_table(columns):
    print("| group | cases | " + " | ".join(column.target.name for column in columns) + " |")
    print("|---|" + "--:|" * (1 + len(columns)))
    rows = [(group, [case for case in CASES if case.group == group]) for group in GROUPS]
    rows += [("**the RFC's MUST, SHOULD and grammar**", [case for case in CASES if case.basis == "must"]),
             ("**where we chose the strict side**", [case for case in CASES if case.basis == "choice"]),
             ("**all**", CASES)]
    for title, cases in rows:
        print(f"| {title} | {len(cases)} | " + " | ".join(str(column.passed(cases)) for column in columns) + " |")


def print_differences(columns):
    for case in CASES:
        if not any(case in column.problems for column in columns):
            continue
        why = "the RFC demands it" if case.basis == "must" else f"choice: {case.note}"
        print(f"\n{case.group}/{case.name} (RFC {case.rfc}; {why})")
        for column in columns:
            if case in column.problems:
                print(f"    {column.target.name}: {column.problems[case][:240]}")


def main():
    service = Service()
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        columns = [Column(target, service, directory) for target in TARGETS]
        try:
            for case in CASES:
                for column in columns:
                    column.run(case)
        finally:
            for column in columns:
                column.stop()
    service.stop()
    print_table(columns)
    print_differences(columns)
    return 1 if columns[0].problems else 0


if __name__ == "__main__":
    assert os.access(harness.binary(), os.X_OK), f"{harness.binary()} is not there; run: make"
    sys.exit(main())
