import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from volsurface.surface import svi
from volsurface.surface.jump_wings import JumpWings, from_jump_wings, to_jump_wings

VOGT = (-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)  # a, b, rho, m, sigma
VOGT_WINGS = (0.0174262525551591, -0.175211140809125, 0.699738104116809, 1.31679821898639, 0.0116249032354779)


def test_the_reference_smile_of_the_paper():
    assert to_jump_wings(VOGT, 1.0) == pytest.approx(VOGT_WINGS, rel=1e-13)
    assert from_jump_wings(JumpWings(*VOGT_WINGS), 1.0) == pytest.approx(VOGT, rel=1e-11)


def test_the_two_repairs_of_the_paper():
    v, psi, p, c, _ = VOGT_WINGS
    c = p + 2 * psi
    a, b, m, rho, sigma = 0.0077409, 0.069242, 0.0420338, -0.3340365, 0.118608
    repaired = from_jump_wings(JumpWings(v, psi, p, c, v * 4 * p * c / (p + c) ** 2), 1.0)
    assert repaired == pytest.approx((a, b, rho, m, sigma), rel=2e-5)
    optimum = from_jump_wings(JumpWings(v, psi, p, 0.8564763, 0.0116249), 1.0)
    assert optimum == pytest.approx((-0.0305199, 0.1027168, 0.1007176, 0.2723442, 0.4123981), rel=2e-5)


def test_each_number_is_what_it_says():
    years, h = 0.3, 1e-6
    wings = to_jump_wings(VOGT, years)
    vol = np.sqrt(svi.total_variance(VOGT, np.array([-h, 0.0, h])) / years)
    assert wings.v == pytest.approx(vol[1] ** 2)
    assert wings.psi == pytest.approx((vol[2] - vol[0]) / (2 * h) * math.sqrt(years), rel=1e-6)
    assert wings.vt == pytest.approx(svi.least_variance(VOGT) / years)
    far = 1e7
    root = math.sqrt(wings.v * years)
    assert wings.c == pytest.approx(svi.total_variance(VOGT, far) / far / root, rel=1e-6)
    assert wings.p == pytest.approx(svi.total_variance(VOGT, -far) / far / root, rel=1e-6)


@given(
    st.floats(1e-4, 1.0),
    st.floats(1e-3, 1.0),
    st.floats(-0.999, 0.999),
    st.floats(-1.0, 1.0),
    st.floats(1e-3, 2.0),
    st.floats(1e-3, 3.0),
)
def test_there_and_back(least, b, rho, m, sigma, years):
    raw = (least - b * sigma * math.sqrt(1 - rho * rho), b, rho, m, sigma)
    wings = to_jump_wings(raw, years)
    # near psi = 0 the five numbers hardly say what sigma is
    assume(abs(wings.psi) > 1e-3 * (wings.p + wings.c) and wings.v - wings.vt > 1e-5 * wings.v)
    back = from_jump_wings(wings, years)
    k = np.linspace(-2, 2, 41)
    assert svi.total_variance(back, k) == pytest.approx(svi.total_variance(raw, k), rel=1e-6)
    assert to_jump_wings(back, years) == pytest.approx(wings, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize(
    "raw",
    [
        (0.04, 0.2, -0.3, 0.0, 0.1),  # beta = 0
        (0.04, 0.2, 0.0, 0.1, 0.1),  # symmetric
        (0.04, 0.2, 1.0, 0.1, 0.1),  # one wing flat
        (0.04, 0.2, -1.0, 0.1, 0.1),
        (0.04, 0.2, -0.3, 0.1, 1e-9),  # almost a kink
        (0.04, 0.2, -0.3, -0.1, 0.0),  # a kink
    ],
)
def test_degenerate_smiles_come_back(raw):
    assert from_jump_wings(to_jump_wings(raw, 0.5), 0.5) == pytest.approx(raw, rel=1e-9, abs=1e-9)


def test_a_flat_smile_comes_back_flat():
    wings = to_jump_wings((0.04, 0.0, 0.3, 0.1, 0.2), 0.5)
    assert wings == (0.08, 0.0, 0.0, 0.0, 0.08)
    back = from_jump_wings(wings, 0.5)
    assert svi.total_variance(back, np.linspace(-3, 3, 7)) == pytest.approx(0.04)


@pytest.mark.parametrize("rho", [0.0, -0.4])
def test_the_least_variance_at_the_money_leaves_sigma_undetermined(rho):
    r = 0.3  # m = rho r: psi = 0, v = vt
    wings = to_jump_wings((0.04, 0.2, rho, rho * r, r * math.sqrt(1 - rho * rho)), 1.0)
    with pytest.raises(ValueError, match="leaves sigma undetermined"):
        from_jump_wings(wings._replace(psi=0.0, vt=wings.v), 1.0)


@pytest.mark.parametrize(
    ("wings", "said"),
    [
        ((0.0, 0.1, 1.0, 1.0, 0.0), "no SVI smile"),
        ((0.1, 0.1, -1.0, 1.0, 0.0), "no SVI smile"),
        ((0.1, 0.1, 1.0, 1.0, 0.2), "no SVI smile"),
        ((0.1, 0.9, 1.0, 1.0, 0.05), "between -p/2 and c/2"),
        ((0.1, 0.1, 0.0, 0.0, 0.1), "is flat"),
    ],
)
def test_numbers_of_no_smile_are_refused(wings, said):
    with pytest.raises(ValueError, match=said):
        from_jump_wings(JumpWings(*wings), 1.0)
    with pytest.raises(ValueError, match="positive ATM variance"):
        to_jump_wings((-1.0, 0.1, 0.0, 0.0, 0.1), 1.0)
