"""Published values: Gatheral and Jacquier, arXiv:1204.0646, Example 3.1 (the Vogt smile), recomputed with 40 digits."""

import numpy as np
import pytest

from volsurface.surface import svi

VOGT = (-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)
K_W_G = [
    (-1.5, 0.1367819611222978, 0.2478306952583731),
    (-0.5, 0.05097657169033439, 0.3568535725377074),
    (0.0, 0.01742625255515912, 1.038649731281797),
    (0.2, 0.01171055016514144, 1.248389157978352),
    (0.7, 0.04446107299041849, -0.01512591962800251),
    (0.8, 0.05764411607356012, -0.02981846154760266),
    (0.9, 0.07186993504958307, -0.0326851307090229),
    (1.2, 0.1181582748281688, -0.006915181838286081),
    (1.5, 0.1671516998863688, 0.02912386565819858),
]


@pytest.mark.parametrize(("k", "w", "g"), K_W_G)
def test_published_values(k, w, g):
    assert svi.total_variance(VOGT, k) == pytest.approx(w, rel=1e-14)
    assert svi.butterfly_function(VOGT, k) == pytest.approx(g, abs=5e-15, rel=1e-13)


def test_arrays_and_floats_agree():
    k = np.linspace(-2, 2, 41)
    many = svi.derivatives(VOGT, k)
    for i, at in enumerate(k.tolist()):
        assert svi.derivatives(VOGT, at) == pytest.approx([many.w[i], many.slope[i], many.bend[i]], rel=1e-15)


def test_derivatives_against_differences():
    k, h = np.linspace(-2, 2, 41), 1e-5
    w, slope, bend = svi.derivatives(VOGT, k)
    up, down = svi.total_variance(VOGT, k + h), svi.total_variance(VOGT, k - h)
    assert slope == pytest.approx((up - down) / (2 * h), abs=1e-9)
    assert bend == pytest.approx((up - 2 * w + down) / h**2, abs=1e-5)


def test_least_variance_is_the_least():
    k = np.linspace(-3, 3, 200_001)
    assert svi.least_variance(VOGT) == pytest.approx(svi.total_variance(VOGT, k).min(), abs=1e-10)


def test_density_is_the_second_derivative_of_calls_and_has_mass_one():
    parameters = (0.0045, 0.060, -0.20, 0.010, 0.15)
    k = np.linspace(-4, 4, 80_001)
    q = svi.density_of(svi.derivatives(parameters, k), k)
    assert np.trapezoid(q, k) == pytest.approx(1.0, abs=1e-9)
    assert np.trapezoid(q * np.exp(k), k) == pytest.approx(1.0, abs=1e-9)  # the forward is a martingale
