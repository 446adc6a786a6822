#!/usr/bin/python3
"""Checks lock.pml with Spin: what is right has no counter-example, and every fault has its own.

One line for each configuration, "ok" or "FAILED"; the exit status is 0 if none failed.  A counter-example
that was not expected is replayed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SAFETY = ["-DSAFETY"]
LIVENESS = ["-DNFAIR=4"]

OVERTAKEN = r"assertion violated .*overtaken"
CREATED = r"assertion violated \(holder==255\)"
ASLEEP = r"assertion violated .*length==0"
STARVED = r"acceptance cycle"

# name, definitions, the counter-example that is wanted or None
CONFIGURATIONS = [
    ("three clients, the store emptied once", "", None),
    ("two clients twice, the store emptied once", "-DCLIENTS=2 -DROUNDS=2", None),
    ("who waits is served", "-DLIVE -DCLIENTS=2", None),
    ("without a fence", "-DNO_FENCE -DLOSSES=0", OVERTAKEN),
    ("counted tokens", "-DCOUNTED_TOKENS", OVERTAKEN),
    ("a fence that starts from nothing after a loss", "-DFORGETFUL_FENCE", OVERTAKEN),
    ("a renewal that creates", "-DRENEWAL_CREATES -DLOSSES=0", CREATED),
    ("a cancel that hands nothing over", "-DQUIET_CANCEL -DLOSSES=0", ASLEEP),
    ("waiters without a timer", "-DLIVE -DCLIENTS=2 -DNO_TIMER -DLOSSES=0", STARVED),
]


def run(command, folder):
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=300, check=False, text=True).stdout


def check(definitions, folder):
    """The number of errors and of states, and all that was said."""
    is_live = "-DLIVE" in definitions
    text = run(["spin", *definitions.split(), "-a", os.path.join(HERE, "lock.pml")], folder)
    text += run(["gcc", "-O0", "-w", *(LIVENESS if is_live else SAFETY), "-o", "pan", "pan.c"], folder)
    text += run(["./pan", "-n", "-m200000", *(["-a", "-f"] if is_live else [])], folder)
    errors = re.search(r"errors: (\d+)", text)
    states = re.search(r"(\d+) states, stored", text)
    # A search that ran out of depth or memory has shown nothing.
    if errors is None or states is None or "max search depth too small" in text or "out of memory" in text:
        return None, 0, text
    return int(errors.group(1)), int(states.group(1)), text


def main():
    failed = 0
    if shutil.which("spin") is None:
        print("FAILED  spin is not installed")
        return 1
    for name, definitions, wanted in CONFIGURATIONS:
        with tempfile.TemporaryDirectory(prefix="lockkeeper-model-") as folder:
            errors, states, text = check(definitions, folder)
            is_right = (errors == 0 if wanted is None else
                        bool(errors) and re.search(wanted, text) is not None)
            said = "counter-example" if errors else "no error"
            print(f"{'ok' if is_right else 'FAILED':7} {name:46} {said}, {states} states", flush=True)
            if not is_right:
                failed += 1
                print(text)
                if errors:
                    print(run(["./pan", "-r", "lock.pml.trail"], folder))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
