import math
from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_chains import SMILES, made_smile

from volsurface.errors import ArbitrageError
from volsurface.surface import exact_certificate, mixture, svi
from volsurface.surface.certificate import certify, compared, verify
from volsurface.surface.mixture import Term
from volsurface.surface.price_mixing import mix
from volsurface.surface.smile import MIXTURE
from volsurface.surface.surface import Surface

ONE, TWO = (0.01, 0.05, -0.3, 0.01, 0.1), (0.03, 0.1, 0.1, -0.02, 0.15)
THIN = (2e-4, 1e-3, -0.3, 0.0, 0.01), (4e-4, 2e-3, 0.1, 0.0, 0.02)  # their wings' prices are far below the least float
K = np.linspace(-1.2, 1.2, 49)


def two_terms(parameters, weight=0.5):
    return Term(weight, parameters[0]), Term(1.0 - weight, parameters[1])


def mixed_smile(one, two, days=30.0, weight=0.5):
    return replace(made_smile(one, days), model=MIXTURE, parameters=(weight, *one, *two))


def slow_price(k, w):
    """The out-of-the-money price over the forward, in 60 digits."""
    k, root = mp.mpf(float(k)), mp.sqrt(w)
    side = 1 if k >= 0 else -1
    upper = -k / root + root / 2
    return side * (mp.ncdf(side * upper) - mp.exp(k) * mp.ncdf(side * (upper - root)))


def slow_variance(terms, k, near):
    with mp.workdps(60):
        wanted = mp.log(
            sum(t.weight * slow_price(k, mp.mpf(float(svi.total_variance(t.parameters, k)))) for t in terms)
        )
        return float(mp.findroot(lambda w: mp.log(slow_price(k, w)) - wanted, (near * 0.999, near * 1.001)))


@pytest.mark.parametrize("parameters", [(ONE, TWO), THIN])
@pytest.mark.parametrize("k", [-3.0, -0.6, -0.05, 0.0, 1e-9, 0.2, 0.9, 2.0])
def test_it_is_the_vol_of_the_mixed_price_also_where_the_price_underflows(parameters, k):
    terms = two_terms(parameters, 0.3)
    w = float(mixture.total_variance(terms, k))
    assert w == pytest.approx(slow_variance(terms, k, w), rel=2e-12)


def test_far_and_near_agree_where_they_meet():
    terms = two_terms(THIN)
    k = np.linspace(0.2, 0.8, 4001)
    w = mixture.total_variance(terms, k)
    assert np.abs(np.diff(w, 2)).max() < 1e-9  # no step where the logarithms take over


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_it_lies_between_its_terms(seed):
    rng = np.random.default_rng(seed)
    parameters = [
        (
            10 ** rng.uniform(-4, 0),
            10 ** rng.uniform(-3, 0),
            rng.uniform(-0.9, 0.9),
            rng.normal(),
            10 ** rng.uniform(-2, 0),
        )
        for _ in range(2)
    ]
    k = rng.normal(0.0, 3.0, 50)
    own = [svi.total_variance(p, k) for p in parameters]
    w = mixture.total_variance(two_terms(parameters, rng.uniform(0.01, 0.99)), k)
    assert np.isfinite(w).all()
    assert (w >= np.minimum(*own)).all() and (w <= np.maximum(*own)).all()


@pytest.mark.parametrize("parameters", [(ONE, TWO), THIN])
def test_derivatives_are_those_of_its_variance(parameters):
    terms = two_terms(parameters, 0.4)
    got = mixture.derivatives(terms, K)
    h = 1e-4
    up, middle, down = (mixture.total_variance(terms, K + x) for x in (h, 0.0, -h))
    scale = np.abs(got.slope).max()
    assert got.w == pytest.approx(middle, rel=1e-13)
    assert got.slope == pytest.approx((up - down) / (2 * h), abs=2e-3 * scale)
    inner = np.abs(K) > 0.05  # differences are too coarse at the bend of a thin smile
    assert got.bend[inner] == pytest.approx(((up - 2 * middle + down) / h**2)[inner], abs=2e-3 * scale + 1e-6)


def test_a_mixture_of_equals_is_the_slice_itself():
    k = np.linspace(-2, 2, 9)
    assert mixture.total_variance(two_terms((ONE, ONE)), k) == pytest.approx(svi.total_variance(ONE, k), rel=1e-15)
    assert mixed_smile(ONE, ONE).atm_vol == pytest.approx(made_smile(ONE, 30.0).atm_vol, rel=1e-13)


def test_its_density_is_the_mixed_density():
    smile = mixed_smile(ONE, TWO, weight=0.25)
    strike = smile.forward * np.exp(K)
    parts = [made_smile(p, 30.0, smile.forward).density(strike) for p in (ONE, TWO)]
    assert smile.density(strike) == pytest.approx(0.25 * parts[0] + 0.75 * parts[1], rel=1e-9)


def test_weights_mix_prices_not_variances():
    """A narrow and a wide law make a smile that bends more than either: what one SVI slice cannot do at the money."""
    narrow, wide = (0.0004, 0.0, 0.0, 0.0, 1.0), (0.0064, 0.0, 0.0, 0.0, 1.0)
    smile = mixed_smile(narrow, wide)
    assert smile.curvature > 10.0 and smile.vol_at(0.2) > smile.vol_at(0.0)
    assert certify([smile]).ok


def surface_of(*smiles):
    return Surface("BTC", 0, tuple(smiles), certify(smiles), "certified")


def test_a_surface_of_mixtures_is_proved_by_its_components_and_survives_json():
    early = mixed_smile(*[p for _, _, p in SMILES[:1]] * 2, days=5.0)
    late = replace(early.scaled(2.0), expiry_ns=early.expiry_ns * 2, years=early.years * 2)
    surface = surface_of(early, late)
    assert surface.certificate.ok and verify(surface).ok
    again = Surface.from_dict(surface.to_dict())
    assert again == surface and again.digest == surface.digest


def test_each_component_must_be_free_of_butterflies():
    vogt = (-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)
    assert not exact_certificate.butterfly_free(vogt)
    surface = surface_of(mixed_smile(ONE, vogt))
    assert not surface.certificate.ok
    with pytest.raises(ArbitrageError, match="butterfly"):
        verify(surface)


def test_a_weight_that_moves_needs_the_crossing_pair_as_well():
    wide_first = mixed_smile((0.25, 0.0, 0.0, 0.0, 1.0), (0.01, 0.0, 0.0, 0.0, 1.0), 10.0, 0.5)
    later = replace(wide_first.scaled(1.01), expiry_ns=wide_first.expiry_ns * 2, years=wide_first.years * 2)
    less_of_it = replace(later, parameters=(0.3, *later.parameters[1:]))
    more_of_it = replace(later, parameters=(0.7, *later.parameters[1:]))
    assert certify([wide_first, later]).ok
    assert certify([wide_first, more_of_it]).ok and len(compared(wide_first, more_of_it)) == 3
    assert not certify([wide_first, less_of_it]).ok
    assert (less_of_it.total_variance(K) < wide_first.total_variance(K)).any()  # and rightly so
    with pytest.raises(ArbitrageError, match="calendar"):
        verify(surface_of(wide_first, less_of_it))


def test_beside_a_plain_slice_both_components_are_compared_with_it():
    plain = made_smile((0.02, 0.0, 0.0, 0.0, 1.0), 5.0)
    above = mixed_smile((0.03, 0.0, 0.0, 0.0, 1.0), (0.025, 0.0, 0.0, 0.0, 1.0), 30.0)
    around = mixed_smile((0.03, 0.0, 0.0, 0.0, 1.0), (0.015, 0.0, 0.0, 0.0, 1.0), 30.0)
    assert certify([plain, above]).ok and not certify([plain, around]).ok


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.5])
def test_a_weight_outside_0_and_1_is_no_mixture(weight):
    assert not certify([mixed_smile(ONE, TWO, weight=weight)]).ok


def test_between_expiries_mixtures_are_mixed_term_by_term():
    early = mixed_smile(ONE, TWO, 20.0)
    late = replace(mixed_smile(ONE, TWO, 50.0).scaled(2.0))
    assert certify([early, late]).ok
    years = 0.4 * early.years + 0.6 * late.years
    between = mix(early, late, years)
    atm = between.total_variance(0.0)
    assert atm == pytest.approx(0.4 * early.total_variance(0.0) + 0.6 * late.total_variance(0.0), rel=1e-12)
    w = between.total_variance(K)
    assert (early.total_variance(K) < w).all() and (w < late.total_variance(K)).all()
    assert (svi.butterfly_of(between.derivatives(K), K) > 0.0).all()


def test_before_the_first_expiry_and_after_the_last_every_component_moves():
    smile = mixed_smile(ONE, TWO, 30.0)
    surface = surface_of(smile)
    for years in (0.5 * smile.years, 2.0 * smile.years):
        w = surface.total_variance(0.0, years)
        assert w == pytest.approx(smile.total_variance(0.0) * years / smile.years, rel=0.02)
    assert math.isfinite(surface.vol(smile.forward * 5, smile.expiry_ns * 2))
    assert surface.region(smile.forward, smile.expiry_ns * 2).proved
