import numpy as np
import pytest

from volsurface.market.year_fraction import years_to_expiry

DAY_NS = 86_400_000_000_000


def test_a_year_has_365_days_to_the_nanosecond():
    now = 1_779_693_691_450_623_000
    expiries = np.array([now + 365 * DAY_NS, now, now - DAY_NS, now + 1])
    assert years_to_expiry(expiries, now) == pytest.approx([1.0, 0.0, -1 / 365, 1 / (365 * DAY_NS)], rel=1e-15)
