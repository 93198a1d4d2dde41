import math

import pytest

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
