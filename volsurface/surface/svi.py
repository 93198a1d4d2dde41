"""Raw SVI total variance of one expiry, its derivatives, butterfly function and density, on numpy arrays.

    w(k) = a + b (rho (k - m) + s),   s = sqrt((k - m)^2 + sigma^2)

w: total variance (vol^2 * years); k = ln(strike / forward). a lifts the smile, b opens it, rho turns it, m moves it,
sigma rounds its bottom. Source: Gatheral and Jacquier, "Arbitrage-free SVI volatility surfaces", arXiv:1204.0646,
sections 2.2 and 3.1. No Numba here, so that a page can evaluate smiles without it; the compiled forms used by the fit are
in `calibration` and `certificate_kernels`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Parameters = Sequence[float]  # a, b, rho, m, sigma
Numbers = Any  # a float or an array of floats


class Derivatives(NamedTuple):
    """w and its first and second derivative in k."""

    w: Numbers
    slope: Numbers
    bend: Numbers


def total_variance(parameters: Parameters, k: Numbers) -> Numbers:
    """Return w(k), of the shape of `k`."""
    a, b, rho, m, sigma = parameters
    x = k - m
    return a + b * (rho * x + np.sqrt(x * x + sigma * sigma))


def derivatives(parameters: Parameters, k: Numbers) -> Derivatives:
    """Return w(k), w'(k), w''(k), each of the shape of `k`."""
    a, b, rho, m, sigma = parameters
    x = k - m
    # math.sqrt: root finding calls this with plain floats, on which numpy is ten times slower
    s = math.sqrt(x * x + sigma * sigma) if isinstance(x, float) else np.sqrt(x * x + sigma * sigma)
    return Derivatives(a + b * (rho * x + s), b * (rho + x / s), b * sigma * sigma / (s * s * s))


def least_variance(parameters: Parameters) -> float:
    """Return min over k of w(k) = a + b sigma sqrt(1 - rho^2)."""
    a, b, rho, _, sigma = parameters
    return float(a + b * sigma * np.sqrt((1.0 - rho) * (1.0 + rho)))


def butterfly_function(parameters: Parameters, k: Numbers) -> Numbers:
    """Return g(k) = (1 - k w'/(2w))^2 - (w'^2/4)(1/w + 1/4) + w''/2; negative where the density is negative."""
    return butterfly_of(derivatives(parameters, k), k)


def butterfly_of(variance: Derivatives, k: Numbers) -> Numbers:
    """Return g(k) of any smile, given its w, w' and w'' there."""
    w, slope, bend = variance
    return (1.0 - 0.5 * k * slope / w) ** 2 - 0.25 * slope * slope * (1.0 / w + 0.25) + 0.5 * bend


def density_of(variance: Derivatives, k: Numbers) -> Numbers:
    """Return the risk-neutral density of ln(S/F) at k: g(k) exp(-d-^2 / 2) / sqrt(2 pi w), d- = -k/sqrt(w) - sqrt(w)/2."""
    root = np.sqrt(variance.w)
    lower = -k / root - 0.5 * root
    return butterfly_of(variance, k) * np.exp(-0.5 * lower * lower) / np.sqrt(2.0 * np.pi * variance.w)
