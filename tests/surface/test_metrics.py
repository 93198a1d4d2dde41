import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_chains import SMILES, made_smile
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from volsurface.surface import metrics, svi

FLAT = (0.09, 0.0, 0.0, 0.0, 0.1)


def variance(parameters):
    return lambda k: svi.derivatives(parameters, k)


def test_a_flat_smile_has_the_closed_form():
    # d+ = -k/0.3 + 0.15, so k = 0.3 (0.15 - N^-1(delta)) for a call
    quantile = 0.6744897501960817  # N^-1(0.75)
    assert metrics.k_at_delta(variance(FLAT), 0.25, metrics.CALL) == pytest.approx(0.3 * (0.15 + quantile), abs=1e-14)
    assert metrics.k_at_delta(variance(FLAT), 0.25, metrics.PUT) == pytest.approx(0.3 * (0.15 - quantile), abs=1e-14)
    tenor = metrics.tenor_metrics(variance(FLAT), 0.25, "node")
    assert tenor.atm_vol == pytest.approx(0.6, rel=1e-15)
    assert (tenor.skew, tenor.curvature) == (0.0, 0.0)
    assert [tenor.rr25, tenor.bf25, tenor.rr10, tenor.bf10] == pytest.approx([0.0] * 4, abs=1e-15)


@pytest.mark.parametrize(
    "parameters",
    [
        (1e-6, 1e-4, 0.0, 0.0, 1e-3),  # hours before expiry
        (0.5, 1.2, -0.6, 0.3, 0.4),  # wings near Lee's bound
        (0.001, 0.2, 0.95, -0.1, 0.001),  # almost a kink
        (4.0, 0.1, 0.0, 0.0, 0.5),  # total vol of 200 %
        (
            4.4e-5,
            0.9635,
            0.9946,
            0.0109,
            1.9e-4,
        ),  # fitted to six quotes hours before expiry: a call wing at Lee's bound
        (0.01, 1.999, 0.0, 0.0, 0.1),
    ],
)
@pytest.mark.parametrize("delta", [0.01, 0.25, 0.9])
@pytest.mark.parametrize("right", [1, -1])
def test_extreme_smiles_still_have_their_delta(parameters, delta, right):
    k = metrics.k_at_delta(variance(parameters), delta, right)
    w = svi.total_variance(parameters, k)
    found = 0.5 * math.erfc(-right * (-k / math.sqrt(w) + math.sqrt(w) / 2) / math.sqrt(2))
    assert found == pytest.approx(delta, rel=1e-8)


def test_where_there_is_no_variance_there_is_no_delta():
    assert math.isnan(metrics.k_at_delta(variance((-0.5, 0.1, 0.0, 0.0, 0.1)), 0.25, metrics.CALL))


NODES = [made_smile(parameters, days, forward) for days, forward, parameters in SMILES]


@given(st.integers(0, 2), st.floats(0.02, 0.98), st.sampled_from([metrics.CALL, metrics.PUT]))
def test_the_delta_strike_against_a_plain_root_search(i, delta, right):
    smile = NODES[i]

    def miss(k):
        root = math.sqrt(smile.total_variance(k))
        return right * norm.cdf(right * (-k / root + root / 2)) - right * delta

    k = brentq(miss, -5, 5, xtol=1e-14)
    assert metrics.k_at_delta(smile.derivatives, delta, right) == pytest.approx(k, abs=1e-10)


@pytest.mark.parametrize("delta", [0.25, 0.10])
def test_risk_reversal_and_butterfly_are_made_of_the_two_strikes(delta):
    smile = NODES[1]
    call, put = (smile.vol(smile.strike_at_delta(delta, right)) for right in ("call", "put"))
    assert smile.risk_reversal(delta) == pytest.approx(call - put, abs=1e-12)
    assert smile.butterfly(delta) == pytest.approx((call + put) / 2 - smile.atm_vol, abs=1e-12)


def test_skew_and_curvature_against_differences():
    smile, h = NODES[1], 1e-4
    down, middle, up = (smile.vol_at(k) for k in (-h, 0.0, h))
    assert smile.skew == pytest.approx((up - down) / (2 * h), rel=1e-6)
    assert smile.curvature == pytest.approx((up - 2 * middle + down) / h**2, rel=1e-5)


@pytest.mark.parametrize("smile", NODES)
def test_probabilities_against_the_integral_of_the_density(smile):
    for k in (-0.3, -0.02, 0.0, 0.1):
        slow = quad(
            lambda x: svi.density_of(svi.derivatives(smile.parameters, x), x),
            -20,
            k,
            limit=800,
            epsabs=1e-12,
            points=[-2.0, -0.3, -0.2, -0.05],
        )[0]
        assert metrics.probability_below(smile.derivatives, k) == pytest.approx(slow, abs=1e-8)


def test_density_shares_add_up():
    smile = made_smile(SMILES[1][2], 30.0, 100_000.0, quoted_k=(-0.3, 0.25))
    shares = smile.density_shares(80_000.0, 120_000.0)
    assert shares.plotted + shares.below + shares.above == pytest.approx(1.0)
    strikes = np.linspace(80_000.0, 120_000.0, 4001)
    assert shares.plotted == pytest.approx(np.trapezoid(smile.density(strikes), strikes), abs=1e-6)
    assert shares.extrapolated_below == metrics.probability_below(smile.derivatives, -0.3)
    assert 0 < shares.extrapolated_above < 0.1
    assert math.isnan(NODES[0].density_shares(80_000.0, 120_000.0).extrapolated_above)
    with pytest.raises(ValueError, match="low < high"):
        smile.density_shares(2.0, 1.0)


def test_forward_vol_where_variance_falls_is_no_number():
    assert math.isnan(metrics.forward_vol(0.2, 0.1, 0.5, 1.0))
    assert metrics.forward_vol(0.1, 0.2, 0.5, 1.0) == pytest.approx(math.sqrt(0.2))
