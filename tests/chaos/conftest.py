"""The fixtures of tests/system."""

import importlib.util
import os
import sys

SYSTEM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system")
# Both files are called conftest, so the other one is loaded by its path; it adds itself to sys.path.
spec = importlib.util.spec_from_file_location("system_conftest", os.path.join(SYSTEM, "conftest.py"))
system_conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(system_conftest)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

pytest_sessionstart = system_conftest.pytest_sessionstart
start = system_conftest.start
