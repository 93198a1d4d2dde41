"""Calibration of SVI slices to quoted vols: weights, starts and the compiled least squares, all expiries in one call.

This is the free fit: each expiry on its own, bounded but not forced to be free of arbitrage. The repair of what the
certificate then rejects works on the same slices, weights and constraint rows.
"""

from typing import NamedTuple

import numpy as np

from volsurface.surface.options import FitOptions
from volsurface.surface.slice_fit import fit_slices

_FLAT = 1e-8  # a smile whose b is below this share of its variance is flat: exactly zero can be certified, tiny cannot


class Slices(NamedTuple):
    """Quotes of all expiries one after the other; expiry i owns rows offsets[i] : offsets[i + 1].

    k, w (total variance of the mid vol), half_spread (in w, floored), weight (of the residual w(k) - w): shape (n_quotes,).
    """

    offsets: np.ndarray
    k: np.ndarray
    w: np.ndarray
    half_spread: np.ndarray
    weight: np.ndarray


class Calibrated(NamedTuple):
    """parameters: raw SVI (a, b, rho, m, sigma), shape (n_expiries, 5). used: mask of the quotes kept, (n_quotes,).

    cost: half the sum of squared residuals, (n_expiries,).
    """

    parameters: np.ndarray
    used: np.ndarray
    cost: np.ndarray


def slices(
    offsets: np.ndarray,
    k: np.ndarray,
    bid_vol: np.ndarray,
    ask_vol: np.ndarray,
    mid_vol: np.ndarray,
    years: np.ndarray,
    options: FitOptions,
) -> Slices:
    """Return quotes ready to fit; vols are fractions, years per quote, all positive, shape (n_quotes,).

    A vol error e is an error 2 vol years e in w. Weights: "spread" counts errors in half-spreads (none below
    `options.spread_floor`), "equal" in vol, "vega" in price; the last two in units of the median half-spread, so that a
    residual of 1 is a typical half-spread under each.
    """
    per_vol = 2.0 * mid_vol * years
    half = np.maximum(0.5 * (ask_vol - bid_vol), max(options.spread_floor, 1e-6))
    w = mid_vol * mid_vol * years
    if options.weighting == "spread":
        weight = 1.0 / (per_vol * half)
    elif options.weighting == "equal":
        weight = 1.0 / (per_vol * np.median(half)) if half.size else half
    else:
        root = np.sqrt(w)
        upper = -k / root + 0.5 * root
        vega = np.exp(-0.5 * upper * upper) * np.sqrt(years)
        weight = vega / (per_vol * np.median(vega * half)) if half.size else half
    return Slices(np.ascontiguousarray(offsets, np.int64), np.ascontiguousarray(k), w, per_vol * half, weight)


def calibrate(quotes: Slices, options: FitOptions, warm: np.ndarray | None = None) -> Calibrated:
    """Fit every expiry freely.

    warm: raw parameters to start from, shape (n_expiries, 5), NaN rows where there are none. Each expiry has at least five
    quotes. Deterministic: the same quotes, options and start give the same bits.
    """
    n = quotes.offsets.size - 1
    thetas = np.zeros((n, 5))
    has_start = np.zeros(n, bool)
    if warm is not None and n:
        has_start = np.isfinite(warm).all(axis=1) & (warm[:, 4] > 0.0)
        thetas[:] = np.where(has_start[:, None], warm, 1.0)
        _, b, rho, _, sigma = thetas.T.copy()
        thetas[:, 1], thetas[:, 2], thetas[:, 4] = b * rho, b, np.log(sigma)
    used = np.ones(quotes.k.size, bool)
    costs = fit_slices(
        quotes.offsets,
        quotes.k,
        quotes.w,
        quotes.weight,
        1.0 / quotes.half_spread,
        thetas,
        has_start,
        options.robust,
        options.outlier_spreads,
        options.min_quotes,
        options.calibration_tolerance,
        used,
    )
    return Calibrated(raw_parameters(thetas), used, costs)


def raw_parameters(thetas: np.ndarray) -> np.ndarray:
    """Return (a, b, rho, m, sigma) of rows (a, p, b, m, ln sigma); a smile flat to rounding becomes exactly flat."""
    a, p, b, m, log_sigma = thetas.T
    out = np.empty_like(thetas)
    sigma = np.exp(log_sigma)
    at_m = a + b * sigma
    curved = b * sigma > _FLAT * np.abs(at_m)
    out[:, 0] = np.where(curved, a, at_m)
    out[:, 1] = np.where(curved, b, 0.0)
    out[:, 2] = p / np.where(curved, b, np.inf)
    out[:, 3] = m
    out[:, 4] = sigma
    return out
