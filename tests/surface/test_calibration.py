"""Recovery of known smiles, a slow twin with the same objective, outliers, and shapes no SVI slice has."""

import math

import numpy as np
import pytest
from made_chains import SMILES
from slow_svi import slow_twin

from volsurface.surface import svi
from volsurface.surface.calibration import calibrate, raw_parameters, slices
from volsurface.surface.cold_start import LEE
from volsurface.surface.options import FitOptions

OPTIONS = FitOptions()


def quoted(k, vol, years, half=0.005, options=OPTIONS):
    """One expiry ready to fit."""
    half = np.broadcast_to(half, k.shape)
    return slices(np.array([0, k.size]), k, vol - half, vol + half, vol, np.full(k.size, years), options)


def rmse_bp(parameters, k, vol, years):
    return 1e4 * np.sqrt(np.mean((np.sqrt(np.maximum(svi.total_variance(parameters, k), 0) / years) - vol) ** 2))


@pytest.mark.parametrize(("days", "forward", "truth"), SMILES)
def test_known_parameters_come_back(days, forward, truth):
    years = days / 365
    k = np.linspace(-2.5, 2.5, 31) * math.sqrt(svi.total_variance(truth, 0.0))
    vol = np.sqrt(svi.total_variance(truth, k) / years)
    found = calibrate(quoted(k, vol, years), OPTIONS)
    assert found.parameters[0] == pytest.approx(truth, rel=2e-3, abs=2e-4)
    assert rmse_bp(found.parameters[0], k, vol, years) < 0.05
    assert found.used.all()


@pytest.mark.parametrize("seed", range(24))
def test_as_good_as_a_slow_twin(seed):
    rng = np.random.default_rng(seed)
    days, _, truth = SMILES[seed % 3]
    years = days / 365
    k = np.linspace(-2.5, 2.5, 31) * math.sqrt(svi.total_variance(truth, 0.0))
    vol = np.sqrt(svi.total_variance(truth, k) / years)
    noisy = vol + 0.004 * rng.standard_normal(k.size) + 0.03 * rng.random() * (k / k.max()) ** 3
    options = FitOptions(robust=False)
    points = quoted(k, noisy, years, 0.003 + 0.01 * rng.random(k.size), options)
    found = calibrate(points, options)
    twin = min(slow_twin(points, found.parameters[0]), slow_twin(points, truth))
    assert found.cost[0] <= 1.001 * twin
    again = calibrate(points, options, found.parameters)
    assert again.cost[0] <= found.cost[0] * (1 + 1e-6)


def test_a_warm_start_reaches_what_a_cold_one_does():
    days, _, truth = SMILES[1]
    k = np.linspace(-0.4, 0.4, 31)
    vol = np.sqrt(svi.total_variance(truth, k) * 365 / days) + 0.002 * np.sin(40 * k)
    points = quoted(k, vol, days / 365)
    cold = calibrate(points, OPTIONS)
    for factor in (0.7, 1.0, 1.4):
        warm = calibrate(points, OPTIONS, np.array([truth]) * [factor, factor, 1, 1, 1])
        assert warm.cost[0] == pytest.approx(cold.cost[0], rel=1e-5)
    lost = calibrate(points, OPTIONS, np.array([[5.0, 0.1, 0.9, 3.0, 1e-4]]))  # a start from another world
    assert lost.cost[0] == pytest.approx(cold.cost[0], rel=1e-5)


@pytest.mark.parametrize("outliers", [1, 2, 3])
def test_outliers_are_named_and_do_not_move_the_fit(outliers):
    days, _, truth = SMILES[1]
    years, k = days / 365, np.linspace(-0.4, 0.4, 31)
    vol = np.sqrt(svi.total_variance(truth, k) / years)
    wrong = np.array([5, 16, 24])[:outliers]
    spoilt = vol.copy()
    spoilt[wrong] *= [1.4, 0.6, 1.4][:outliers]
    found = calibrate(quoted(k, spoilt, years), OPTIONS)
    assert np.flatnonzero(~found.used).tolist() == wrong.tolist()
    assert rmse_bp(found.parameters[0], k, vol, years) < 5
    plain = calibrate(quoted(k, spoilt, years), FitOptions(robust=False))
    assert plain.used.all()
    assert rmse_bp(plain.parameters[0], k, vol, years) > 50


def drawn_outliers(rng, count):
    """A smile at 15 strikes of which `count` are 40 % off."""
    days, _, (a, b, _, m, sigma) = SMILES[rng.integers(3)]
    truth = (a, b * rng.uniform(0.8, 1.3), rng.uniform(-0.5, 0.3), m, sigma * rng.uniform(0.7, 1.5))
    years = days / 365
    k = np.linspace(-2.5, 2.5, 15) * math.sqrt(svi.total_variance(truth, 0.0))
    vol = np.sqrt(svi.total_variance(truth, k) / years)
    spoilt = vol + 0.0005 * rng.standard_normal(k.size)
    spoilt[rng.choice(15, count, replace=False)] *= 1 + 0.4 * rng.choice([-1, 1], count)
    return k, vol, spoilt, years


def trimmed(vol, points, years):
    """Sum of squares in half-spreads, none counted beyond the outlier limit: what the robust fit looks for the least of."""
    off = np.abs(vol * vol * years - points.w) / points.half_spread
    return float((np.minimum(off, OPTIONS.outlier_spreads) ** 2).sum())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_outliers_anywhere_move_the_fit_only_where_another_smile_is_nearer_to_the_quotes_than_the_true_one(count):
    rng = np.random.default_rng(count)
    errors, misled = [], 0
    for _ in range(250):
        k, vol, spoilt, years = drawn_outliers(rng, count)
        points = quoted(k, spoilt, years)
        found = calibrate(points, OPTIONS).parameters[0]
        error = rmse_bp(found, k, vol, years)
        if error > 150:
            misled += 1
            fitted = np.sqrt(np.maximum(svi.total_variance(found, k), 0.0) / years)
            assert trimmed(fitted, points, years) < trimmed(vol, points, years)
        errors.append(error)
    assert np.median(errors) < 15
    assert misled <= 0.02 * len(errors) * (count == 3)


def test_a_warm_fit_is_not_misled_by_outliers_that_come_later():
    rng = np.random.default_rng(4)
    for _ in range(100):
        k, vol, spoilt, years = drawn_outliers(rng, 3)
        before = calibrate(quoted(k, vol, years), OPTIONS).parameters
        assert rmse_bp(calibrate(quoted(k, spoilt, years), OPTIONS, before).parameters[0], k, vol, years) < 150


@pytest.mark.parametrize("weighting", ["spread", "equal", "vega"])
def test_weightings(weighting):
    options = FitOptions(weighting=weighting, spread_floor=0.002)
    years, k = 0.1, np.linspace(-0.4, 0.4, 31)
    half = np.linspace(0.001, 0.02, 31)
    vol = 0.5 + 0.3 * k * k
    points = quoted(k, vol, years, half, options)
    in_vol = points.weight * (2 * vol * years)  # residual per unit of vol
    if weighting == "spread":
        assert 1 / in_vol == pytest.approx(np.maximum(half, 0.002))
    elif weighting == "equal":
        assert 1 / in_vol == pytest.approx(np.median(half))
    else:
        upper = -k / (vol * np.sqrt(years)) + vol * np.sqrt(years) / 2
        assert in_vol / in_vol[15] == pytest.approx(np.exp(-(upper**2 - upper[15] ** 2) / 2))
    assert points.half_spread == pytest.approx(2 * vol * years * np.maximum(half, 0.002))
    assert rmse_bp(calibrate(points, options).parameters[0], k, vol, years) < 30


K = np.linspace(-0.4, 0.4, 25)
SHAPES = {
    "flat": (np.full(25, 0.6), 0.01),
    "linear skew": (0.6 - 0.4 * K, 60),
    "frown": (0.6 - 0.5 * K * K, 400),
    "V": (0.4 + 0.5 * np.abs(K), 60),
    "steeper than Lee": (np.sqrt(0.05 + 30 * np.abs(K)), 9000),
    "two levels": (np.where(K > 0, 0.7, 0.5), 700),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("years", [0.001, 0.1, 2.0])
def test_any_shape_gives_an_admissible_slice(shape, years):
    vol, limit = SHAPES[shape]
    found = calibrate(quoted(K, vol, years), OPTIONS)
    _, b, rho, _, sigma = found.parameters[0]
    assert np.isfinite(found.parameters).all()
    assert b >= 0
    assert sigma > 0
    assert abs(rho) < 1
    assert b * (1 + abs(rho)) <= LEE + 1e-6
    assert svi.least_variance(found.parameters[0]) > 0
    if years < 1:
        assert rmse_bp(found.parameters[0], K[found.used], vol[found.used], years) < limit


def test_a_flat_smile_is_exactly_flat():
    (a, b, rho, _, sigma) = raw_parameters(np.array([[0.04, 1e-13, 1e-12, 0.0, -2.0]]))[0]
    assert (b, rho) == (0.0, 0.0)
    assert a == pytest.approx(0.04)
    assert sigma > 0


def test_several_expiries_are_independent():
    ks, vols, years = [], [], []
    for days, _, truth in SMILES:
        k = np.linspace(-2, 2, 9 + len(ks)) * math.sqrt(svi.total_variance(truth, 0.0))
        ks.append(k)
        vols.append(np.sqrt(svi.total_variance(truth, k) * 365 / days))
        years.append(np.full(k.size, days / 365))
    offsets = np.concatenate([[0], np.cumsum([k.size for k in ks])])
    k, vol, t = map(np.concatenate, (ks, vols, years))
    together = calibrate(slices(offsets, k, vol - 0.005, vol + 0.005, vol, t, OPTIONS), OPTIONS)
    for i in range(3):
        alone = calibrate(quoted(ks[i], vols[i], years[i][0]), OPTIONS)
        assert together.parameters[i].tolist() == alone.parameters[0].tolist()
        assert together.cost[i] == alone.cost[0]


def test_nothing_to_fit():
    empty = np.empty(0)
    found = calibrate(slices(np.array([0]), empty, empty, empty, empty, empty, OPTIONS), OPTIONS)
    assert found.parameters.shape == (0, 5)
