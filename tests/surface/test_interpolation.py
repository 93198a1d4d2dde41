import math

import numpy as np
import pytest
from made_chains import SMILES, made_smile

from volsurface.surface import interpolation, svi

NODES = tuple(made_smile(parameters, days, forward) for days, forward, parameters in SMILES)
K = np.linspace(-1, 1, 21)


def test_at_a_node_it_is_the_smile():
    place = interpolation.locate(NODES, NODES[1].years)
    assert place.region == "node"
    assert place.total_variance(K) == pytest.approx(NODES[1].total_variance(K), rel=1e-15)


def test_between_nodes_total_variance_is_linear_in_time():
    one, two = NODES[0], NODES[1]
    place = interpolation.locate(NODES, 0.25 * one.years + 0.75 * two.years)
    assert place.region == "between_nodes"
    assert place.total_variance(K) == pytest.approx(
        0.25 * one.total_variance(K) + 0.75 * two.total_variance(K), rel=1e-12
    )


def test_before_the_first_it_shrinks_to_nothing_and_after_the_last_it_keeps_the_atm_vol():
    early = interpolation.locate(NODES, NODES[0].years / 2)
    late = interpolation.locate(NODES, NODES[-1].years * 2)
    assert early.region == late.region == "extrapolated_time"
    assert early.total_variance(K) == pytest.approx(NODES[0].total_variance(K) / 2, rel=1e-14)
    assert math.sqrt(late.total_variance(0.0) / (NODES[-1].years * 2)) == pytest.approx(NODES[-1].atm_vol, rel=1e-14)
    assert (late.total_variance(K) > NODES[-1].total_variance(K)).all()


@pytest.mark.parametrize("share", [0.3, 0.5, 1.5, 2.7, 3.4])
def test_derivatives_are_those_of_the_interpolated_variance(share):
    years = np.interp(share, [0, 1, 2, 3, 4], [0, *(smile.years for smile in NODES), 2.0])
    place, h = interpolation.locate(NODES, years), 1e-5
    w, slope, bend = place.derivatives(K)
    up, down = place.total_variance(K + h), place.total_variance(K - h)
    assert w == pytest.approx(place.total_variance(K), rel=1e-14)
    assert slope == pytest.approx((up - down) / (2 * h), abs=1e-8)
    assert bend == pytest.approx((up - 2 * w + down) / h**2, abs=1e-4)


def test_the_forward_is_log_linear_between_nodes_and_constant_beyond():
    middle = 0.5 * (NODES[0].years + NODES[1].years)
    assert interpolation.forward_at(NODES, middle) == pytest.approx(math.sqrt(NODES[0].forward * NODES[1].forward))
    assert interpolation.forward_at(NODES, 1e-4) == NODES[0].forward
    assert interpolation.forward_at(NODES, 9.0) == NODES[-1].forward


def test_no_calendar_arbitrage_in_between():
    times = np.linspace(0.001, 0.6, 60)
    w = np.array([interpolation.locate(NODES, float(t)).total_variance(K) for t in times])
    assert (np.diff(w, axis=0) >= 0).all()


def test_what_has_no_answer_is_refused():
    with pytest.raises(ValueError, match="no smile"):
        interpolation.locate((), 0.1)
    with pytest.raises(ValueError, match="must be positive, found -1"):
        interpolation.locate(NODES, -1.0)


def test_before_the_first_expiry_g_stays_positive():
    # g(lambda w) is concave in lambda and non-negative at 0 and 1
    a, b, rho, m, sigma = NODES[0].parameters
    k = np.linspace(-3, 3, 601)
    for share in (0.01, 0.3, 0.9):
        assert svi.butterfly_function((share * a, share * b, rho, m, sigma), k).min() >= 0


def test_after_the_last_expiry_the_smile_is_svi_with_a_larger_a():
    place = interpolation.locate(NODES, 1.0)
    assert svi.total_variance(place.moved.parameters, K) == pytest.approx(place.total_variance(K), rel=1e-14)
