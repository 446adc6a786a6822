"""Exactness under load: 4 Lockkeeper processes, one Redis, 64 clients on one key.

The load saturates every limit many times over, so that what is admitted is exactly what may be.  All
of it again with the sidecars' own clocks 5 s ahead and behind: no number may change.
"""

import datetime

import pytest

from harness import SLOWNESS, wait_until
from load import count, most_in_window, run_load
from policies import limited, policy

CLIENTS = 64
SKEWS = {"true clocks": (0, 0, 0, 0), "skewed clocks": (-5000, 5000, -5000, 5000)}


def clock_shift_s(proxy):
    """How far ahead the process believes to be, by the time in its first log line."""
    written = datetime.datetime.fromisoformat(proxy.log()[0]["time"].replace("Z", "+00:00"))
    return (written - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


@pytest.fixture(params=list(SKEWS), ids=lambda name: name.replace(" ", "-"))
def fleet(request, start, make_origin, redis_server, clock_shim):
    """fleet(limit) starts four sidecars with this one limit on /l and gives their addresses."""
    origin = make_origin(lambda _request, connection: connection.answer(200, b"ok"))
    proxies = []

    def start_fleet(limit):
        # The store's deadline is far away: this is about what Redis decides, not about what becomes of
        # a request when Redis does not answer in time on a busy machine.
        text = policy(origin.url, [limited("/l", {"name": "one", **limit, "on_store_failure": "deny"})],
                      store=redis_server.unix_url, store_options={"timeout": "10s"}, access_log="off")
        for shift_ms in SKEWS[request.param]:
            env = {"LD_PRELOAD": clock_shim, "CLOCK_SHIFT_MS": str(shift_ms)} if shift_ms else None
            proxies.append(start(text, env=env))
            assert abs(clock_shift_s(proxies[-1]) - shift_ms / 1000) < 2, "the clock is not skewed"
        return proxies

    start_fleet.redis = redis_server
    yield start_fleet
    for proxy in proxies:
        assert proxy.metric("decisions_total") == \
            proxy.metric("decisions_total", decision="allowed") + proxy.metric("decisions_total", decision="limited")


def wait_for_phase(redis, period_us, low, high):
    """Until Redis's clock stands between these fractions of a period."""
    client = redis.client()
    wait_until(lambda: low <= redis.time_us(client) % period_us / period_us <= high,
               2 * period_us / 1e6 + 1, "phase of the window", every_s=0.002)


def only_good_statuses(samples):
    odd = {(sample.status, sample.error) for sample in samples if sample.status not in (200, 429)}
    assert not odd, odd


def addresses(proxies):
    return [proxy.listen for proxy in proxies]


def test_fixed_window_admits_exactly_n_per_window(fleet):
    proxies = fleet({"rate": "50/1s", "algorithm": "fixed_window", "align": "calendar"})
    wait_for_phase(fleet.redis, 1_000_000, 0.05, 0.3)
    client = fleet.redis.client()
    first = fleet.redis.time_us(client) // 1_000_000
    samples = run_load(addresses(proxies), "/l", 3.4, CLIENTS)
    last = fleet.redis.time_us(client) // 1_000_000
    only_good_statuses(samples)
    # Windows touched from the first to the last request.  All are saturated but perhaps the last,
    # into which the run may have reached with its last breath.
    admitted, windows = count(samples, 200), last - first + 1
    assert admitted <= 50 * windows
    assert admitted > 50 * (windows - 1)
    assert len(samples) > 20 * 50 * windows / SLOWNESS / 10, "the load did not saturate the limit"


def test_fixed_window_from_the_first_hit_admits_exactly_n(fleet):
    proxies = fleet({"rate": "100/30s", "algorithm": "fixed_window", "align": "first_hit"})
    samples = run_load(addresses(proxies), "/l", 2.0, CLIENTS)
    only_good_statuses(samples)
    assert count(samples, 200) == 100


def test_sliding_log_never_admits_more_than_n_in_any_window(fleet):
    proxies = fleet({"rate": "100/1s", "algorithm": "sliding_log"})
    samples = run_load(addresses(proxies), "/l", 3.5, CLIENTS)
    only_good_statuses(samples)
    admitted = [sample for sample in samples if sample.status == 200]
    assert most_in_window(admitted, 1.0) <= 100
    took_s = max(s.done_at for s in samples) - min(s.sent_at for s in samples)
    # Each slot is free again one window after it was taken and is taken at once: one hundred at the
    # start, and another hundred in each further window.
    assert 100 * (int(3.5) + 1) <= len(admitted) <= 100 * (int(took_s) + 1)


def test_sliding_log_admits_exactly_n_within_one_window(fleet):
    proxies = fleet({"rate": "250/30s", "algorithm": "sliding_log"})
    samples = run_load(addresses(proxies), "/l", 2.0, CLIENTS)
    only_good_statuses(samples)
    assert count(samples, 200) == 250


def test_token_bucket_admits_burst_plus_rate_times_time(fleet):
    proxies = fleet({"rate": "100/1s", "algorithm": "token_bucket", "burst": 40})
    client = fleet.redis.client()
    before_us = fleet.redis.time_us(client)
    samples = run_load(addresses(proxies), "/l", 3.0, CLIENTS)
    after_us = fleet.redis.time_us(client)
    only_good_statuses(samples)
    admitted = count(samples, 200)
    assert admitted <= 40 + 100 * (after_us - before_us) / 1e6
    # From below: the bucket was tried without a pause from the first answer to the last request.
    busy_s = max(s.sent_at for s in samples) - min(s.done_at for s in samples)
    assert admitted >= 40 + 100 * busy_s - CLIENTS


def test_token_bucket_burst_alone_is_exact(fleet):
    proxies = fleet({"rate": "1/hour", "algorithm": "token_bucket", "burst": 200})
    samples = run_load(addresses(proxies), "/l", 2.0, CLIENTS)
    only_good_statuses(samples)
    assert count(samples, 200) == 200


def test_sliding_window_stays_within_its_bound_of_the_log(fleet):
    """Never more than N in a calendar window; and over any window less than 2 N, the bound of the
    weighted method (lua/README.md)."""
    proxies = fleet({"rate": "100/1s", "algorithm": "sliding_window"})
    samples = run_load(addresses(proxies), "/l", 3.5, CLIENTS)
    only_good_statuses(samples)
    admitted = [sample for sample in samples if sample.status == 200]
    took_s = max(s.done_at for s in samples) - min(s.sent_at for s in samples)
    assert most_in_window(admitted, 1.0) < 2 * 100
    assert len(admitted) <= 100 * (int(took_s) + 2)
    # Saturated, the estimate keeps the long-run rate: it may not starve anybody either.
    assert len(admitted) >= 100 * 2.5


def test_sliding_window_admits_exactly_n_within_one_window(fleet):
    proxies = fleet({"rate": "150/1h", "algorithm": "sliding_window"})
    samples = run_load(addresses(proxies), "/l", 1.5, CLIENTS)
    only_good_statuses(samples)
    assert count(samples, 200) == 150


def test_cost_is_exact_too(fleet):
    proxies = fleet({"rate": "1/hour", "algorithm": "token_bucket", "burst": 200, "cost": 3})
    samples = run_load(addresses(proxies), "/l", 1.0, CLIENTS)
    only_good_statuses(samples)
    assert count(samples, 200) == 66

