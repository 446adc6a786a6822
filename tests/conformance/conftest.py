"""A missing binary is told once."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from targets import harness  # noqa: E402


def pytest_sessionstart(session):
    if not os.access(harness.binary(), os.X_OK):
        raise pytest.UsageError(f"{harness.binary()} is not there; run: make")
