"""The fitters of the benchmark: ours, scipy's on our objective, and other libraries as their users call them.

A fitter takes a problem and returns raw SVI parameters of shape (n_expiries, 5), NaN rows where it failed. Libraries are
imported only when they are measured; one that is not installed raises ImportError.

scipy gets what we have: the variables (a, b rho, b, m, ln sigma) scaled by the Jacobian, the analytic Jacobian, our weights
and our cold start, whose time is in the cold figures of both. The libraries keep their own objectives; QuantLib, which takes
a start, gets ours. So a ratio of times means something for scipy alone.
"""

import importlib
import logging
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from volsurface.bench.fit_problem import Floats, Problem, box
from volsurface.engine.chain_fit import fit_chain
from volsurface.surface.calibration import calibrate, raw_parameters
from volsurface.surface.cold_start import cold_start
from volsurface.surface.options import FitOptions
from volsurface.surface.slice_fit import FLOOR

Fitter = Callable[[Problem], Floats]
WarmFitter = Callable[[Problem, Floats], Floats]
FREE = FitOptions(robust=False)  # the points are cleaned already, and the peers have no robust stage


class Peer(NamedTuple):
    """A fitter: how it is made, of which package (None: ours), and how it may be used.

    warm: the same fitter from given parameters. leave_out: quick enough for the error on left-out strikes. most: surfaces it
    is given at most (0: all).
    """

    name: str
    package: str | None
    load: Callable[[], Fitter]
    warm: WarmFitter | None = None
    leave_out: bool = False
    most: int = 0


def free_fit(problem: Problem, start: Floats | None = None) -> Floats:
    """Our free fit, all expiries in one compiled call."""
    return calibrate(problem.points, FREE, start).parameters


def published(problem: Problem) -> Floats:
    """What `fit_chain` makes of the whole chain: cleaning, implied vols, robust fit and certificate are in its time."""
    surface = fit_chain(problem.chain).surface
    out = np.full((problem.years.size, 5), math.nan)
    for i, expiry in enumerate(problem.expiry_ns.tolist()):
        smile = surface.smile(expiry)
        if smile is not None:
            out[i] = smile.parameters
    return out


def cold_starts(problem: Problem) -> Floats:
    """Return theta = (a, b rho, b, m, ln sigma) of our grid for every expiry."""
    thetas = np.empty((problem.years.size, 5))
    for i in range(problem.years.size):
        rows = problem.rows(i)
        k, w, weight = (getattr(problem.points, name)[rows].copy() for name in ("k", "w", "weight"))
        cold_start(k, w, weight, FLOOR * w.min(), thetas[i])
    return thetas


def scipy_fit(problem: Problem, thetas: Floats, method: str) -> Floats:
    """scipy.optimize.least_squares from given starts; TRF inside the bounds of our fit, LM without any."""
    least_squares = importlib.import_module("scipy.optimize").least_squares
    out = np.full_like(thetas, math.nan)
    for i in range(problem.years.size):
        rows = problem.rows(i)
        k, w, weight = problem.points.k[rows], problem.points.w[rows], problem.points.weight[rows]
        arguments: dict[str, object] = {}
        start = thetas[i]
        if method == "trf":
            nearest, farthest = box(k)
            low = np.concatenate([[-np.inf, -np.inf, 0.0], nearest])
            high = np.concatenate([[np.inf, np.inf, 2.0], farthest])
            start = np.clip(start, low + 1e-12, high - 1e-12)
            arguments["bounds"] = (low, high)
        try:
            found = least_squares(
                partial(_residuals, k=k, w=w, weight=weight),
                start,
                jac=partial(_jacobian, k=k, weight=weight),
                method=method,
                x_scale="jac",
                ftol=FREE.calibration_tolerance,
                xtol=FREE.calibration_tolerance,
                gtol=FREE.calibration_tolerance,
                **arguments,
            )
        except (ValueError, FloatingPointError):
            continue
        out[i] = found.x
    with np.errstate(all="ignore"):
        return raw_parameters(out)


def _residuals(theta: Floats, k: Floats, w: Floats, weight: Floats) -> Floats:
    x = k - theta[3]
    return np.asarray(weight * (theta[0] + theta[1] * x + theta[2] * np.sqrt(x * x + math.exp(2.0 * theta[4])) - w))


def _jacobian(theta: Floats, k: Floats, weight: Floats) -> Floats:
    sigma2 = math.exp(2.0 * theta[4])
    x = k - theta[3]
    s = np.sqrt(x * x + sigma2)
    out = np.empty((k.size, 5))
    out[:, 0], out[:, 1], out[:, 2] = 1.0, x, s
    out[:, 3], out[:, 4] = -theta[1] - theta[2] * x / s, theta[2] * sigma2 / s
    out *= weight[:, None]
    return out


def _warm_scipy(problem: Problem, parameters: Floats, method: str) -> Floats:
    thetas = parameters.copy()
    thetas[:, 1], thetas[:, 2] = parameters[:, 1] * parameters[:, 2], parameters[:, 1]
    thetas[:, 4] = np.log(parameters[:, 4])
    return scipy_fit(problem, thetas, method)


def _scipy(method: str) -> Fitter:
    return lambda problem: scipy_fit(problem, cold_starts(problem), method)


def _by_slice(one: Callable[[Problem, int, slice], tuple[float, ...]], problem: Problem) -> Floats:
    """Fit expiry by expiry; one that raises is a NaN row."""
    out = np.full((problem.years.size, 5), math.nan)
    with warnings.catch_warnings(action="ignore"):
        for i in range(problem.years.size):
            try:
                out[i] = one(problem, i, problem.rows(i))
            except Exception:  # whatever a foreign library raises for a slice it cannot fit
                continue
    return out


def quantlib() -> Fitter:
    """QuantLib's SviInterpolatedSmileSection, without vega weights, from our cold start.

    It counts whole days; vols are rescaled so that total variance is the quoted one.
    """
    ql = importlib.import_module("QuantLib")
    today = ql.Date(1, 1, 2026)

    def fit(problem: Problem) -> Floats:
        ql.Settings.instance().evaluationDate = today
        starts = raw_parameters(cold_starts(problem))

        def one(problem: Problem, i: int, rows: slice) -> tuple[float, ...]:
            days = max(1, round(365 * problem.years[i]))
            vols = np.sqrt(problem.points.w[rows] * 365 / days)
            a, b, rho, m, sigma = starts[i].tolist()
            middle = float(np.interp(0.0, problem.k[rows], vols))
            section = ql.SviInterpolatedSmileSection(
                today + days, 1.0, np.exp(problem.k[rows]).tolist(), False, middle, vols.tolist(),
                a, b, sigma, rho, m, False, False, False, False, False, False,
            )  # fmt: skip
            return section.a(), section.b(), section.rho(), section.m(), section.sigma()

        return _by_slice(one, problem)

    return fit


def quantflow_svi() -> Fitter:
    """quantflow's SVI.fit, one expiry at a time."""
    model = importlib.import_module("quantflow.options.svi").SVI

    def one(problem: Problem, i: int, rows: slice) -> tuple[float, ...]:
        found = model.fit(problem.k[rows], problem.mid_vol[rows], float(problem.years[i]))
        return tuple(float(x) for x in (found.a, found.b, found.rho, found.m, found.theta))

    return partial(_by_slice, one)


def quantflow_essvi() -> Fitter:
    """quantflow's eSSVI surface, free of arbitrage by construction, as raw SVI."""
    model = importlib.import_module("quantflow.options.ssvi").SSVI

    def fit(problem: Problem) -> Floats:
        rows = [problem.rows(i) for i in range(problem.years.size)]
        quoted = [(problem.k[r], problem.mid_vol[r], float(t)) for r, t in zip(rows, problem.years, strict=True)]
        out = np.full((problem.years.size, 5), math.nan)
        try:
            found = model.fit_surface(quoted)
        except Exception:  # whatever it raises for a chain it cannot fit: every slice failed
            return out
        theta, psi, rho = (np.array([float(x) for x in values]) for values in (found.theta, found.psi, found.rho))
        shade = 1.0 - rho * rho
        out[:] = np.stack([theta * shade / 2, psi / 2, rho, -rho * theta / psi, np.sqrt(shade) * theta / psi], axis=1)
        return out

    return fit


def oipd_svi() -> Fitter:
    """oipd's SVI with penalties for arbitrage: a global search, then a local one."""
    calibrate_svi = importlib.import_module("oipd.core.vol_surface_fitting.shared.svi").calibrate_svi_parameters
    logging.getLogger("oipd").setLevel(logging.ERROR)

    def one(problem: Problem, i: int, rows: slice) -> tuple[float, ...]:
        found, _ = calibrate_svi(
            problem.k[rows], problem.points.w[rows], float(problem.years[i]), None,
            bid_iv=problem.bid_vol[rows], ask_iv=problem.ask_vol[rows],
        )  # fmt: skip
        return found.a, found.b, found.rho, found.m, found.sigma

    return partial(_by_slice, one)


PEERS = (
    Peer("volsurface free", None, lambda: free_fit, warm=free_fit, leave_out=True),
    Peer("volsurface fit_chain", None, lambda: published, leave_out=True),
    Peer("scipy LM", "scipy", lambda: _scipy("lm"), partial(_warm_scipy, method="lm"), leave_out=True),
    Peer("scipy TRF", "scipy", lambda: _scipy("trf"), partial(_warm_scipy, method="trf")),
    Peer("QuantLib SVI", "QuantLib", quantlib),
    Peer("quantflow SVI", "quantflow", quantflow_svi),
    Peer("quantflow eSSVI", "quantflow", quantflow_essvi),
    Peer("oipd SVI", "oipd", oipd_svi, most=2),
)
