"""eSSVI: slices that are free of arbitrage by construction, the fallback where the repair of free slices fails.

    w(k) = (theta + rho psi k + sqrt((psi k + theta rho)^2 + theta^2 (1 - rho^2))) / 2

theta: total variance at the forward, psi: theta phi, rho: tilt. No butterfly when psi (1 + |rho|) < 4 and
psi^2 (1 + |rho|) <= 4 theta; no crossing when theta, psi (1 + rho) and psi (1 - rho) grow with expiry and psi / theta does
not. Mingone ("No arbitrage global parametrization for the eSSVI volatility surface", arXiv:2204.00312) writes all slices that
satisfy this with free variables in a box. Such a surface fits far worse than SVI, and is certified like any other.
"""

import numpy as np
from scipy.optimize import least_squares

from volsurface.surface.calibration import Slices

MARGIN = 1e-6  # kept from the limits, so that rounding to raw SVI does not cross them
EVALUATIONS = 60


def essvi_parameters(rho: np.ndarray, lift: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return raw SVI (a, b, rho, m, sigma), shape (n, 5), of the global variables, shape (n,) each, nearest expiry first.

    rho in (-1, 1); lift >= 0: what theta gains beyond the least it must; share in (0, 1): where psi lies between its limits.
    """
    n = rho.size
    steep = np.ones(n)
    steep[1:] = np.maximum((1 + rho[:-1]) / (1 + rho[1:]), (1 - rho[:-1]) / (1 - rho[1:])) * (1 + MARGIN)
    theta, psi = np.empty(n), np.empty(n)
    theta[0] = lift[0]
    for i in range(1, n):
        theta[i] = theta[i - 1] * steep[i] + lift[i]
    most = np.minimum(4.0 / (1 + np.abs(rho)), 2.0 * np.sqrt(theta / (1 + np.abs(rho)))) * (1 - MARGIN)
    for i in range(n - 2, -1, -1):  # psi must leave room for every later slice
        most[i] = min(most[i], most[i + 1] / steep[i + 1])
    psi[0] = share[0] * most[0]
    for i in range(1, n):
        least = psi[i - 1] * steep[i]
        limit = min(psi[i - 1] * theta[i] / theta[i - 1] * (1 - MARGIN), most[i])
        psi[i] = least + share[i] * max(limit - least, 0.0)
    across = np.sqrt((1 - rho) * (1 + rho))
    return np.stack([0.5 * theta * across * across, 0.5 * psi, rho, -rho * theta / psi, across * theta / psi], axis=1)


def fit_essvi(quotes: Slices, used: np.ndarray) -> np.ndarray:
    """Return raw SVI parameters, shape (n_slices, 5), of the eSSVI surface near the used quotes; every slice has some."""
    n = quotes.offsets.size - 1
    which = np.repeat(np.arange(n), np.diff(quotes.offsets))
    weight = np.where(used, quotes.weight, 0.0)
    # Quotes of the strike nearest the forward start the levels; each must exceed the one before.
    level = np.array(
        [
            quotes.w[a + np.argmin(np.abs(quotes.k[a:b]))]
            for a, b in zip(quotes.offsets, quotes.offsets[1:], strict=False)
        ]
    )
    level = np.maximum.accumulate(level)
    lift = np.maximum(np.diff(level, prepend=0.0), 1e-3 * level)
    scale = np.maximum(level, 1e-10)

    def slices_of(x: np.ndarray) -> np.ndarray:
        return essvi_parameters(np.tanh(x[:n]), scale * np.exp(np.clip(x[n : 2 * n], -30, 5)), _share(x[2 * n :]))

    def residuals(x: np.ndarray) -> np.ndarray:
        a, b, rho, m, sigma = slices_of(x)[which].T
        y = quotes.k - m
        off: np.ndarray = weight * (a + b * (rho * y + np.sqrt(y * y + sigma * sigma)) - quotes.w)
        return off

    start = np.concatenate([-0.1 - 0.01 * np.arange(n), np.log(lift / scale), np.zeros(n)])
    return slices_of(least_squares(residuals, start, loss="soft_l1", x_scale="jac", max_nfev=EVALUATIONS).x)


def _share(x: np.ndarray) -> np.ndarray:
    return MARGIN + (1 - 2 * MARGIN) / (1 + np.exp(-np.clip(x, -30, 30)))
