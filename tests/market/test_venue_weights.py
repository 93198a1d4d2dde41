"""What a quote counts for: size, age, and whether its venue agrees with the others."""

import numpy as np
import pytest

from volsurface.market.cleaning import CROSSED, OFF_MARKET, USED, VENUE_LOCKED
from volsurface.market.venue_weights import FAR, NEAR, weigh

STRIKES = 8
HALF = 0.01


def weights_of(shifts, *, code=None, sizes=None, ages_s=None, stale_after_s=60.0, expiries=1):
    """Venues that quote the same strikes, each `shift` half-spreads from the true vol."""
    n_venues = len(shifts)
    number = np.repeat(np.arange(n_venues), STRIKES * expiries)
    place = np.tile(np.repeat(np.arange(expiries), STRIKES), n_venues)
    strike = np.tile(np.arange(STRIKES, dtype=float), n_venues * expiries)
    mid = 0.5 + HALF * np.repeat(shifts, STRIKES * expiries)
    n = number.size
    size = np.ones(n) if sizes is None else np.repeat(sizes, STRIKES * expiries)
    ages = np.zeros(n) if ages_s is None else np.repeat(ages_s, STRIKES * expiries)
    return weigh(
        np.full(n, USED, np.uint8) if code is None else code, number, place, strike, mid - HALF, mid + HALF, mid, size,
        size, (10**18 - ages * 1e9).astype(np.int64), n_venues, expiries, stale_after_s=stale_after_s,
    )  # fmt: skip


def test_venues_that_agree_have_full_weight():
    weights = weights_of([0.5, -0.5, 0.0])
    assert np.all(weights.code == USED)
    assert weights.trust.tolist() == [[1.0], [1.0], [1.0]]
    assert np.all(weights.emphasis == 1.0)
    assert weights.deviation[:, 0] == pytest.approx([0.5, -0.5, 0.0])


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_venue_loses_weight_with_its_distance_and_then_its_place(sign):
    weights = weights_of([0.0, 0.0, sign * 2 * NEAR])
    assert weights.trust[2, 0] == pytest.approx(0.25)
    assert np.all(weights.code == USED)
    assert weights.emphasis[-1] == pytest.approx(0.25)
    gone = weights_of([0.0, 0.0, sign * 1.01 * FAR])
    assert gone.trust[:, 0].tolist() == [1.0, 1.0, 0.0]
    assert np.all(gone.code.reshape(3, -1) == np.array([[USED], [USED], [OFF_MARKET]]))


def test_two_venues_that_disagree_are_both_kept():
    weights = weights_of([0.0, 50.0])
    assert np.isnan(weights.deviation).all()
    assert np.all(weights.code == USED)


def test_the_verdict_is_by_expiry():
    code = np.full(3 * 2 * STRIKES, USED, np.uint8)
    code[-STRIKES + 2 :] = CROSSED  # the third venue shares only two strikes of the second expiry
    weights = weights_of([0.0, 0.0, 20.0], code=code, expiries=2)
    assert weights.trust[2, 0] == 0.0
    assert np.isnan(weights.deviation[2, 1])


def test_locked_books_cost_weight_and_then_the_place():
    code = np.full(2 * STRIKES, USED, np.uint8)
    code[:2] = CROSSED
    weights = weights_of([0.0, 0.0], code=code)
    assert weights.trust[:, 0] == pytest.approx([(1 - 2 / STRIKES) ** 2, 1.0])
    code[:5] = CROSSED
    weights = weights_of([0.0, 0.0], code=code)
    assert np.all(weights.code[5:STRIKES] == VENUE_LOCKED)
    assert np.all(weights.code[:5] == CROSSED), "they had a reason of their own"
    assert np.all(weights.code[STRIKES:] == USED)


def test_size_and_age_count():
    weights = weights_of([0.0, 0.0, 0.0], sizes=[1.0, 16.0, np.nan])
    assert weights.emphasis.reshape(3, -1)[:, 0] == pytest.approx([1.0, 2.0, 1.0])
    weights = weights_of([0.0, 0.0, 0.0], ages_s=[0.0, 0.0, 60.0])
    assert weights.emphasis.reshape(3, -1)[:, 0] == pytest.approx([1.0, 1.0, 0.5])


def test_nothing_used_is_nothing_weighed():
    weights = weights_of([0.0, 0.0], code=np.full(2 * STRIKES, CROSSED, np.uint8))
    assert np.all(weights.emphasis == 1.0)
    assert np.isnan(weights.deviation).all()
