"""The fixtures of tests/system, and a ledger."""

import concurrent.futures
import importlib.util
import os
import sys

import pytest

SYSTEM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system")
# Both files are called conftest, so the other one is loaded by its path; it adds itself to sys.path.
spec = importlib.util.spec_from_file_location("system_conftest", os.path.join(SYSTEM, "conftest.py"))
system_conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(system_conftest)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from ledger import Ledger  # noqa: E402

pytest_sessionstart = system_conftest.pytest_sessionstart
redis_server = system_conftest.redis_server
make_origin = system_conftest.make_origin
start = system_conftest.start


@pytest.fixture
def ledger():
    service = Ledger()
    yield service
    service.kill()


@pytest.fixture
def background():
    """background(function, ...) gives a future; the threads end with the test."""
    pool = concurrent.futures.ThreadPoolExecutor(16)
    yield pool.submit
    pool.shutdown(wait=True)
