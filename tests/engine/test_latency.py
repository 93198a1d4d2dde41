"""Latencies in bins: percentiles within a bin's width of those of the numbers themselves."""

import math

import numpy as np
import pytest

from volsurface.engine.latency import Latencies, dense, percentiles


def test_percentiles_are_right_to_the_width_of_a_bin() -> None:
    ms = np.random.default_rng(3).lognormal(2.0, 1.0, 20_000)
    latencies = Latencies()
    for part in np.array_split(ms, 7):
        latencies.add((part * 1e6).astype(np.int64))
    for share, found in zip((0.5, 0.99), percentiles(latencies.counts, 0.5, 0.99)):
        true = float(np.quantile(ms, share))
        assert true * 0.999 <= found <= true * 1.06
    assert latencies.highest_ms == pytest.approx(ms.max(), rel=1e-6)
    assert np.array_equal(dense(latencies.sparse()), latencies.counts)


def test_nothing_counted_has_no_percentile_and_extremes_have_a_bin() -> None:
    latencies = Latencies()
    assert all(map(math.isnan, percentiles(latencies.counts, 0.5)))
    latencies.add(np.array([-5, 0, 10**15]))
    assert latencies.counts.sum() == 3
