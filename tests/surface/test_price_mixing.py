import math
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_chains import SMILES, made_smile

from volsurface.surface import exact_certificate, price_mixing, svi

NODES = tuple(made_smile(parameters, days, forward) for days, forward, parameters in SMILES)
K = np.linspace(-0.8, 0.8, 33)


def slow_call(k, w):
    """The normalised call in 40 digits."""
    with mp.workdps(40):
        k, root = mp.mpf(float(k)), mp.sqrt(mp.mpf(float(w)))
        return mp.ncdf(-k / root + root / 2) - mp.exp(k) * mp.ncdf(-k / root - root / 2)


def certified_pair(seed):
    """Two random smiles with an exact certificate; None when the draw has none."""
    rng = np.random.default_rng(seed)
    w = 10 ** rng.uniform(-3.0, -0.5)
    sigma = math.sqrt(w) * rng.uniform(0.5, 3.0)
    b, rho = math.sqrt(w) * rng.uniform(0.05, 0.8), rng.uniform(-0.8, 0.8)
    one = [w - b * sigma * rng.uniform(0.3, 0.9), b, rho, 0.3 * sigma * rng.normal(), sigma]
    two = [one[0] + w * rng.uniform(0.0, 2.0), b * rng.uniform(0.8, 1.5), rho + 0.2 * rng.normal(), one[3], sigma * 1.2]
    free = exact_certificate.butterfly_free(one) and exact_certificate.butterfly_free(two)
    if not (free and abs(two[2]) < 1 and exact_certificate.calendar_free(one, two)):
        return None
    return made_smile(one, 20.0), made_smile(two, 50.0)


def test_the_mixed_price_has_the_mixed_vol():
    mixed = price_mixing.mix(NODES[0], NODES[1], 15 / 365)
    for k in (-0.4, -0.05, 0.0, 1e-9, 0.1, 0.5):
        one = slow_call(k, mixed.first_scale * mixed.first.total_variance(k))
        two = slow_call(k, mixed.second_scale * mixed.second.total_variance(k))
        wanted = (1 - mp.mpf(mixed.alpha)) * one + mp.mpf(mixed.alpha) * two
        with mp.workdps(40):
            w = mp.findroot(lambda w, k=k, wanted=wanted: slow_call_mp(k, w) - wanted, mixed.total_variance(k))
        assert mixed.total_variance(k) == pytest.approx(float(w), rel=1e-11)


def slow_call_mp(k, w):
    root = mp.sqrt(w)
    return mp.ncdf(-k / root + root / 2) - mp.exp(k) * mp.ncdf(-k / root - root / 2)


@pytest.mark.parametrize("share", [0.01, 0.4, 0.99])
def test_atm_total_variance_is_linear_in_time(share):
    one, two = NODES[1:]
    years = one.years + share * (two.years - one.years)
    w = price_mixing.mix(one, two, years).total_variance(0.0)
    assert w == pytest.approx((1 - share) * one.total_variance(0.0) + share * two.total_variance(0.0), rel=1e-12)


def test_it_ends_at_the_two_smiles():
    one, two = NODES[:2]
    assert price_mixing.mix(one, two, one.years).total_variance(K) == pytest.approx(one.total_variance(K), rel=1e-11)
    assert price_mixing.mix(one, two, two.years).total_variance(K) == pytest.approx(two.total_variance(K), rel=1e-11)


def test_equal_smiles_mix_to_themselves():
    one = NODES[0]
    two = made_smile(one.parameters, 20.0)
    mixed = price_mixing.mix(one, two, 15 / 365)
    assert 0.0 < mixed.alpha < 1.0
    assert mixed.total_variance(K) == pytest.approx(one.total_variance(K), rel=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_derivatives_are_those_of_the_mixed_variance(share):
    one, two = NODES[:2]
    mixed, h = price_mixing.mix(one, two, one.years + share * (two.years - one.years)), 1e-4
    k = np.linspace(-0.3, 0.3, 25)
    w, slope, bend = mixed.derivatives(k)
    up, down = mixed.total_variance(k + h), mixed.total_variance(k - h)
    assert w == pytest.approx(mixed.total_variance(k), rel=1e-14)
    assert slope == pytest.approx((up - down) / (2 * h), abs=1e-6)
    assert bend == pytest.approx((up - 2 * w + down) / h**2, abs=2e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.02, 0.98))
def test_certified_pairs_stay_free_of_arbitrage_in_between(seed, share):
    pair = certified_pair(seed)
    if pair is None:
        return
    one, two = pair
    k = np.linspace(-6, 6, 601) * math.sqrt(float(two.total_variance(0.0)))
    early = price_mixing.mix(one, two, one.years + share * 0.5 * (two.years - one.years))
    late = price_mixing.mix(one, two, one.years + share * (two.years - one.years))
    assert 0.0 <= early.alpha <= late.alpha <= 1.0
    rows = [smile.total_variance(k) for smile in (one, early, late, two)]
    for before, after in pairwise(rows):
        assert (after - before >= -1e-9 * after).all()
    w, slope, bend = late.derivatives(k)
    g = (1 - 0.5 * k * slope / w) ** 2 - 0.25 * slope**2 * (1 / w + 0.25) + 0.5 * bend
    assert g.min() > -1e-6


def test_most_draws_are_pairs_with_a_certificate():
    assert sum(certified_pair(seed) is not None for seed in range(100)) > 30


def test_the_smiles_are_brought_together_before_they_are_mixed():
    one, two = NODES[:2]
    mixed = price_mixing.mix(one, two, 15 / 365)
    assert mixed.second_scale < 1.0 < mixed.first_scale
    k = np.linspace(-30, 30, 20001)
    w_a, w_b = mixed.first_scale * one.total_variance(k), mixed.second_scale * two.total_variance(k)
    assert (w_a <= w_b).all()
    # the pair's ratio: the largest of w1 / w2 over the line, a hair above
    ratio = mixed.second_scale / mixed.first_scale
    assert (one.total_variance(k) / two.total_variance(k)).max() < ratio < 1.0
    for smile, scale in ((one, mixed.first_scale), (two, mixed.second_scale)):
        a, b, rho, m, sigma = smile.parameters
        assert exact_certificate.butterfly_free((scale * a, scale * b, rho, m, sigma))


def test_a_pair_that_touches_is_mixed_plainly():
    one = NODES[0]
    a, *rest = one.parameters
    two = made_smile((a + 0.001, *rest), 20.0)  # equal wings: no ratio below 1 keeps the order
    mixed = price_mixing.mix(one, two, 15 / 365)
    assert (mixed.first_scale, mixed.second_scale) == (1.0, 1.0)
    crossing = made_smile((a + 0.001, 0.5 * rest[0], *rest[1:]), 20.0)
    mixed = price_mixing.mix(one, crossing, 15 / 365)
    assert (mixed.first_scale, mixed.second_scale) == (1.0, 1.0)


def test_a_proportional_pair_is_its_own_interpolation():
    one = NODES[1]
    a, b, *rest = one.parameters
    two = made_smile((2 * a, 2 * b, *rest), 60.0)
    mixed = price_mixing.mix(one, two, 45 / 365).total_variance(K)
    assert mixed == pytest.approx(1.5 * one.total_variance(K), rel=1e-3)


def test_where_no_price_is_left_the_logarithms_of_the_prices_are_mixed():
    flat = [made_smile((w, 0.0, 0.0, 0.0, 0.1), days) for days, w in ((10.0, 1e-4), (20.0, 2e-4))]
    mixed = price_mixing.mix(*flat, 15 / 365)
    assert 1.99e-4 < mixed.total_variance(3.0) < 2e-4  # the wider one owns the wing
    assert mixed.total_variance(0.2) < 2e-4


def test_an_uncertified_smile_with_negative_variance_does_not_raise():
    bad = made_smile((-0.01, 0.1, 0.0, 0.0, 0.05), 20.0)
    assert svi.total_variance(bad.parameters, 0.0) < 0
    assert price_mixing.mix(bad, NODES[1], 25 / 365).total_variance(K).shape == K.shape
