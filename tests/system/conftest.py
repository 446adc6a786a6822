"""Fixtures: each test gets its own processes and directory, and proves they ended well."""

import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402
from origin import Origin, describe  # noqa: E402


def pytest_sessionstart(session):
    if not os.access(harness.binary(), os.X_OK):
        raise pytest.UsageError(f"{harness.binary()} is not there; run: make")


@pytest.fixture
def redis_server(tmp_path):
    server = harness.Redis(str(tmp_path / "redis"))
    yield server
    server.close()


@pytest.fixture
def make_origin():
    """make_origin(handler) starts a service; all are stopped at the end of the test."""
    made = []

    def make(handler=describe):
        made.append(Origin(handler))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def origin(make_origin):
    return make_origin()


@pytest.fixture
def start(tmp_path):
    """start(policy_yaml, ...) runs a Lockkeeper and waits until it is connected to its store, unless
    with_store=False; at the end of the test each must stop cleanly."""
    running = []

    def start_one(policy, with_store=True, **options):
        directory = str(tmp_path / f"lockkeeper-{len(running)}")
        running.append(harness.Lockkeeper(directory, policy, **options))
        if with_store and '"store": "embedded"' not in policy:
            running[-1].wait_connected()
        return running[-1]

    yield start_one
    problems = []
    for one in running:
        try:
            one.stop()
        except AssertionError as problem:
            problems.append(str(problem))
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="session")
def clock_shim(tmp_path_factory):
    """A library to LD_PRELOAD, see clock_shim.c."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clock_shim.c")
    library = str(tmp_path_factory.mktemp("shim") / "clock_shim.so")
    subprocess.run(["gcc", "-Wall", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library
