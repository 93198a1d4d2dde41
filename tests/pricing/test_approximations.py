"""Coefficients are what the script fits, have the errors it says, and the kernel module is what they generate."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import mpmath as mp
import numba
import numpy as np
import pytest

from volsurface.pricing import approximations


def callable_from_python(inline):
    """Return an entry from Python to an inline kernel."""
    return numba.njit(error_model="numpy")(inline.py_func)


mills, mills_one, mills_difference, log_ratio, seed_std_dev, domain_edge = map(
    callable_from_python,
    (
        approximations.mills,
        approximations.mills_one,
        approximations.mills_difference,
        approximations.log_ratio,
        approximations.seed_std_dev,
        approximations.domain_edge,
    ),
)

SCRIPTS = Path(__file__).parents[2] / "scripts"


def script(name: str) -> ModuleType:
    """Return a script as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fit() -> ModuleType:
    return script("fit_coefficients")


@pytest.fixture(scope="module")
def stored() -> dict:
    return json.loads((SCRIPTS / "pricing_coefficients.json").read_text())


def test_the_module_is_what_the_coefficients_generate(stored: dict) -> None:
    generate = script("generate_pricing")
    assert generate.formatted(generate.module(stored)) == Path(approximations.__file__).read_text()


def test_a_sample_is_fitted_again(fit: ModuleType, stored: dict) -> None:
    with mp.workdps(fit.DIGITS):
        assert (
            fit.fit_mills_one()["numerator"] == stored["mills_m1"]["numerator"]
        )  # 120 digits: the same bits everywhere
        assert fit.fit_log_atanh()["coefficients"] == stored["log_atanh"]["coefficients"]
    again = fit.fit_domain_edge()["coefficients"]
    np.testing.assert_allclose(again, stored["domain_edge"]["coefficients"], rtol=1e-6)


@pytest.mark.slow
def test_all_are_fitted_again(fit: ModuleType, stored: dict) -> None:
    with mp.workdps(fit.DIGITS):
        for name, fit_one in fit.FITS.items():
            assert fit_one()["max_rel_error"] == pytest.approx(stored[name]["max_rel_error"], rel=0.05), name


def test_mills_errors_are_the_documented_ones(fit: ModuleType, stored: dict) -> None:
    grid = [mp.mpf(k) / 7 for k in range(260)] + [mp.mpf(10) ** k for k in range(2, 7)]
    with mp.workdps(60):
        for name, function, shift in (("mills_m1", fit.mills_one, 0), ("mills_y", fit.mills, mp.mpf("0.9"))):
            entry = stored[name]
            error = fit.rational_error(entry["numerator"], entry["denominator"], function, grid, shift)
            assert error <= 1.02 * entry["max_rel_error"] <= 7e-17, name
            assert min(entry["numerator"] + entry["denominator"]) > 0.0  # then nothing cancels


def test_seed_errors_are_the_documented_ones(fit: ModuleType, stored: dict) -> None:
    for name, data, low, high in (("seed_near", fit.near_data, 1e-6, 1.2), ("seed_far", fit.far_data, 1.2, 39.0)):
        x, f = data(np.linspace(low, high, 157))
        p, q = stored[name]["numerator"], stored[name]["denominator"]
        error = np.abs(np.polyval(p[::-1], x) / np.polyval(q[::-1], x) / f - 1.0).max()
        assert error <= 1.05 * stored[name]["max_rel_error"] <= 1e-6, name


def test_kernels_evaluate_to_a_few_units_in_the_last_place(fit: ModuleType) -> None:
    rng = np.random.default_rng(1)
    with mp.workdps(40):
        for z in np.concatenate([rng.uniform(-0.9, 5.0, 200), rng.uniform(5.0, 80.0, 100), [-0.9, 0.0, 1e6]]):
            assert abs(mills(z) / fit.mills(mp.mpf(z)) - 1) < 1e-15
        for h in np.concatenate([rng.uniform(0.0, 5.0, 200), rng.uniform(5.0, 80.0, 100), [0.0, 1e6]]):
            assert abs(mills_one(h) / fit.mills_one(mp.mpf(h)) - 1) < 1e-15
        for _ in range(300):
            x, y = 10.0 ** rng.uniform(-140, 140, 2)
            y = x * (1.0 + 10.0 ** rng.uniform(-15, 1)) if rng.uniform() < 0.5 else y
            if x != y:
                assert abs(log_ratio(x, y) / mp.log(mp.mpf(x) / mp.mpf(y)) - 1) < 6e-16
        assert log_ratio(3.0, 3.0) == 0.0


def test_the_series_of_d_has_enough_terms(fit: ModuleType) -> None:
    # 9 terms are off by 2.5e-12 at s near 1.7, 6 by 4.7e-8; a difference of Mills ratios loses everything at small s
    with mp.workdps(60):
        for a in (1e-12, 1e-6, 1e-3, 0.1, 0.5, 1.0, 1.69, 3.0, 4.9):
            for s in (1e-4, 1e-2, 0.3, 1.0, 1.69):
                if a <= 37.0 * s:
                    h, t = mp.mpf(a) / mp.mpf(s), mp.mpf(s) / 2
                    exact = fit.mills(h - t) - fit.mills(h + t)
                    assert abs(mills_difference(a, s) / exact - 1) < 3e-15, (a, s)


def test_the_seed_needs_one_step(fit: ModuleType) -> None:
    a, _, s = fit.black_sample(np.random.default_rng(9), 4000)
    worst = 0.0
    for one_a, one_s in zip(a, s):
        h, t = one_a / one_s, 0.5 * one_s
        b = np.exp(-0.5 * (h * h + t * t)) / np.sqrt(2 * np.pi) * mills_difference(one_a, one_s)
        if b > 1e-280:
            worst = max(worst, abs(seed_std_dev(one_a, b, 2.0 * np.sinh(0.5 * one_a)) / one_s - 1.0))
    assert worst < 1e-5


def test_the_edge_lies_inside_the_domain(fit: ModuleType) -> None:
    for a in np.linspace(0.0, 1.7, 40):
        exact = float(fit.edge_value(mp.mpf(a)))
        assert domain_edge(a) == pytest.approx(exact, rel=1e-6)
