"""The slow twin of the SVI fit: the same objective and bounds, another method."""

import math

import numpy as np
from scipy.optimize import least_squares

from volsurface.surface.cold_start import LEE


def slow_twin(points, raw):
    """scipy's trust-region least squares on the same residuals from raw parameters.

    In (least variance, left slope, right slope, m, ln sigma) every constraint is a bound.
    """
    k, reach = points.k, np.ptp(points.k)
    low = [1e-3 * points.w.min(), 1e-12, 1e-12, k.min() - reach / 2, math.log(0.005 * reach)]
    high = [np.inf, LEE, LEE, k.max() + reach / 2, math.log(4 * reach)]

    def residuals(z):
        least, left, right, m, log_sigma = z
        sigma, b, p = math.exp(log_sigma), (left + right) / 2, (right - left) / 2
        a = least - sigma * math.sqrt(left * right)
        return points.weight * (a + p * (k - m) + b * np.sqrt((k - m) ** 2 + sigma**2) - points.w)

    a, b, rho, m, sigma = raw
    start = [a + b * sigma * math.sqrt(1 - rho**2), b * (1 - rho), b * (1 + rho), m, math.log(sigma)]
    start = np.clip(start, np.add(low, 1e-12), np.subtract(high, 1e-9))
    scale = np.maximum(np.abs(start), 1e-4)
    found = least_squares(residuals, start, bounds=(low, high), x_scale=scale, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    return found.cost
