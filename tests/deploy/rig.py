"""What the tests of deploy/ share: tools, commands, containers that are removed whatever happens."""

import os
import shutil
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEPLOY = os.path.join(TOP, "deploy")
sys.path.insert(0, os.path.join(TOP, "tests", "system"))

# Containers run with our own settings, so that no file of the machine has to be changed.
ENV = {**os.environ,
       "CONTAINERS_CONF": os.environ.get("CONTAINERS_CONF", f"{DEPLOY}/containers.conf")}

# (test, tools) of the tests that are left out because a tool is missing.
LEFT_OUT = []


def have(*names):
    return all(shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin") for name in names)


def run(*command, ok=True, env=None, cwd=TOP, timeout_s=600, text_in=None):
    """The completed process; fails with all it said unless its status is 0 (ok=False: any)."""
    done = subprocess.run(command, cwd=cwd, env={**ENV, **(env or {})}, input=text_in,
                          stdin=None if text_in is not None else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout_s)
    if ok and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n"
                             f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done


def podman(*arguments, **options):
    return run("podman", *arguments, **options).stdout.strip()


def remove_container(name):
    run("podman", "rm", "--force", "--time", "0", "--ignore", name, ok=False)
