"""A clock's offset and drift found under delays that only ever add."""

import math

import numpy as np
import pytest

from volsurface.market.venue_clock import BUCKETS, VenueClock

S = 1_000_000_000
START = 1_790_000_000 * S


def run(seconds, offset_ms, drift_ppm, rng, *, least_ms=3.0, per_s=20):
    """Feed a clock `seconds` of messages whose delays are offset + drift + least + something; return it and the end."""
    clock, now = VenueClock(), START
    for second in range(seconds):
        now = START + second * S
        receive = now + np.sort(rng.integers(0, S, per_s))
        waited_ms = least_ms + rng.exponential(20.0, per_s)
        delay_ms = offset_ms + drift_ppm * 1e-3 * (receive - START) / S + waited_ms
        clock.note(receive, receive - (delay_ms * 1e6).astype(np.int64))
    return clock, now


@pytest.mark.parametrize("offset_ms", [-300.0, 0.0, 250.0])
@pytest.mark.parametrize("drift_ppm", [-50.0, 0.0, 20.0])
def test_offset_and_drift_are_found(offset_ms, drift_ppm):
    clock, now = run(600, offset_ms, drift_ppm, np.random.default_rng(1))
    floor_ms, found_ppm = clock.envelope(now)
    assert found_ppm == pytest.approx(drift_ppm, abs=3.0)
    assert floor_ms == pytest.approx(offset_ms + 3.0 + drift_ppm * 1e-3 * 600, abs=1.0)


def test_before_two_minutes_there_is_a_floor_and_no_drift():
    clock = VenueClock()
    assert all(map(math.isnan, clock.envelope(START)))
    assert math.isnan(clock.note(np.empty(0, np.int64), np.empty(0, np.int64)))
    receive = START + np.array([0, 1, 2], np.int64) * S
    assert clock.note(receive, receive - np.array([30, 10, 20]) * 1_000_000) == 20.0
    floor_ms, drift_ppm = clock.envelope(START + 3 * S)
    assert floor_ms == 10.0
    assert math.isnan(drift_ppm)


def test_a_change_of_route_is_no_drift():
    clock = VenueClock()
    for second in range(0, 300, 10):
        receive = np.array([START + second * S])
        clock.note(receive, receive - (second * 1_000_000))  # 1 ms a second: a thousand ppm
    floor_ms, drift_ppm = clock.envelope(START + 300 * S)
    assert floor_ms == 0.0
    assert math.isnan(drift_ppm)


def test_old_delays_are_forgotten():
    clock = VenueClock()
    for second, delay_ms in [(0, 1), *((10 * n, 50) for n in range(1, BUCKETS + 2))]:
        receive = np.array([START + second * S])
        clock.note(receive, receive - delay_ms * 1_000_000)
    assert clock.envelope(START + 700 * S) == (50.0, 0.0)
