import numpy as np
import pytest

from volsurface.market.grouping import group_medians


def test_medians_against_a_loop():
    rng = np.random.default_rng(0)
    values, groups = rng.standard_normal(200), rng.integers(0, 8, 200)
    expected = [np.sort(values[groups == g])[((groups == g).sum() - 1) // 2] for g in range(8)]
    assert group_medians(values, groups, 8).tolist() == expected


def test_empty_groups_and_nothing_at_all():
    assert group_medians(np.array([3.0]), np.array([1]), 3) == pytest.approx([np.nan, 3.0, np.nan], nan_ok=True)
    assert np.isnan(group_medians(np.empty(0), np.empty(0, int), 2)).all()
