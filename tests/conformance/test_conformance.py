"""Every case against Lockkeeper: one process, one service, one case after the other."""

import pytest

from case import Run
from cases import CASES
from service import Service
from targets import Lockkeeper

SECONDS = 20


@pytest.fixture(scope="session")
def service():
    one = Service()
    yield one
    one.stop()


@pytest.fixture(scope="session")
def proxies(service, tmp_path_factory):
    """profile: a process with these settings; started when first asked for.  Each must end well; after
    one that did not, the next case has another."""
    running, crashed = {}, []

    def find(profile):
        if profile in running and not running[profile].process.is_running():
            crashed.append(running.pop(profile))
        if profile not in running:
            running[profile] = Lockkeeper(str(tmp_path_factory.mktemp(profile)), service.port, profile)
        return running[profile]

    yield find
    for one in crashed + list(running.values()):
        one.stop()


def check(case, proxy, service):
    try:
        Run(case, proxy.address, service, SECONDS).run()
    except (AssertionError, OSError) as problem:
        if proxy.process.is_running():
            raise
        lines = "\n".join(proxy.process.err.snapshot()[-60:])
        raise AssertionError(f"{problem}; the process has ended with {proxy.process.child.wait()}:\n{lines}") from None


def name(case):
    return f"{case.group}/{case.name}".replace(" ", "-")


@pytest.mark.parametrize("case", CASES, ids=name)
def test_case(case, proxies, service):
    check(case, proxies(case.profile), service)


@pytest.mark.parametrize("case", [case for case in CASES if case.in_bytes()], ids=name)
def test_in_single_bytes(case, proxies, service):
    """However the bytes come, the outcome is the same."""
    check(case.in_bytes(), proxies(case.profile), service)
