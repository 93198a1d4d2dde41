"""The smile of a mixture: call prices of several SVI slices of one expiry, averaged with constant weights, read as one vol.

With c_i(k) the undiscounted Black-76 call over the forward, c = sum of lambda_i c_i, lambda_i > 0 in sum 1. Each c_i of a slice
free of butterflies is convex in e^k and belongs to a law of mean 1, and so does c. When every c_i rises with time and the
weights stay, so does c: a mixture of certified surfaces is free of static arbitrage at every strike, and its proof is theirs
(a sum of convex, of rising functions). The total variance w of c lies between the least and the largest w_i at every k,
because the Black price rises in w.

w is what the implied-vol kernel finds in the mixed price on the out-of-the-money side, where mixing puts is mixing calls.
Where that price underflows, the same equation is solved for the logarithms of the prices, so that what is published in the
wings is what is proved. The kernels are loaded at the first call, so that a page can hold smiles without Numba.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from volsurface.surface import mixture_point, svi
from volsurface.surface.svi import Derivatives, Numbers, Parameters

LEAST_PRICE = 1e-290  # below it the logarithms are used: the kernel's own limit is 1e-300
_ROUNDS = 60


class Term(NamedTuple):
    """One part of a mixture: its weight in price, and raw SVI (a, b, rho, m, sigma) whose w is multiplied by `scale`."""

    weight: float
    parameters: Parameters
    scale: float = 1.0


def total_variance(terms: Sequence[Term], k: Numbers) -> Numbers:
    """Return w at log-moneyness k, of the shape of `k`; the weights of `terms` are positive and sum to 1."""
    k = np.asarray(k, float)
    return _variance(terms, k, _own_variances(terms, k))[()]


def derivatives(terms: Sequence[Term], k: Numbers) -> Derivatives:
    """Return w, w' and w'' at log-moneyness k.

    Mixing prices mixes distributions: P(k) = N(-d-) + n(d-) (sqrt w)' and the density p = g n(d-) / sqrt w of the terms mix
    with the same weights. Both are then solved for w' and, through g, for w'' of the mixture. Everything is divided by the
    mixture's own n(d-), so that nothing underflows in the wings.
    """
    if np.ndim(k) == 0:
        found = mixture_point.derivatives(terms, float(k))
        if found is not None:
            return found
    from scipy.special import erfcx  # here, so that holding a smile does not load scipy

    k = np.asarray(k, float)
    own = [svi.derivatives(term.parameters, k) for term in terms]
    w = _variance(terms, k, [np.maximum(t.scale * d.w, 0.0) for t, d in zip(terms, own, strict=True)])
    root = np.sqrt(w)
    lower = -k / root - 0.5 * root
    side = np.where(k < 0.0, 1.0, -1.0)  # P below k on the left, above k on the right: the smaller tail of each side
    tail, density = np.zeros_like(w), np.zeros_like(w)
    with np.errstate(over="ignore", under="ignore"):
        for term, each in zip(terms, own, strict=True):
            own_w, slope, bend = (term.scale * x for x in each)
            own_root = np.sqrt(own_w)
            own_lower = -k / own_root - 0.5 * own_root
            bell = term.weight * np.exp(0.5 * (lower - own_lower) * (lower + own_lower))
            tail += bell * (_mills(side * own_lower, erfcx) + side * slope / (2.0 * own_root))
            density += bell * svi.butterfly_of(Derivatives(own_w, slope, bend), k) / own_root
        slope = 2.0 * root * side * (tail - _mills(side * lower, erfcx))
        bend = 2.0 * (density * root - svi.butterfly_of(Derivatives(w, slope, 0.0), k))
    return Derivatives(w[()], slope[()], bend[()])


def _own_variances(terms: Sequence[Term], k: np.ndarray) -> list[np.ndarray]:
    return [np.maximum(term.scale * svi.total_variance(term.parameters, k), 0.0) for term in terms]


def _variance(terms: Sequence[Term], k: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
    """w of the mixture, given that of each term."""
    return np.array(own[0]) if len(terms) == 1 else mixed_variance([term.weight for term in terms], k, own)


def mixed_variance(weights: Sequence[float], k: np.ndarray, own: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return w of the mixture at k, given the w of each term there; all of one shape."""
    from volsurface.pricing.black76 import black76_price
    from volsurface.pricing.implied_vol import implied_vols

    low, high = np.minimum.reduce(own), np.maximum.reduce(own)
    if np.array_equal(low, high):
        return np.array(own[0])
    right = np.where(k >= 0.0, 1.0, -1.0)
    with np.errstate(over="ignore"):
        strike = np.exp(k)
        price = np.asarray(
            sum(
                weight * black76_price(1.0, strike, 1.0, np.sqrt(w), right)
                for weight, w in zip(weights, own, strict=True)
            )
        )
        w = np.square(implied_vols(price, 1.0, strike, 1.0, right).vol)
    far = ~(np.isfinite(w) & (price >= LEAST_PRICE)) & (low > 0.0)
    if far.any():
        w = np.array(w)
        w[far] = _far_variance(weights, k[far], [each[far] for each in own])
    return np.clip(np.where(np.isfinite(w), w, low), low, high)


def vega_share(weight: float, k: np.ndarray, w: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return dw / dw_i at k: the weighted vega of a term with w_i = `own` over that of the mixture."""
    root, own_root = np.sqrt(w), np.sqrt(own)
    lower, own_lower = -k / root - 0.5 * root, -k / own_root - 0.5 * own_root
    with np.errstate(over="ignore", under="ignore"):
        share = np.exp(0.5 * (lower - own_lower) * (lower + own_lower)) * root / own_root
    return np.asarray(np.minimum(weight * share, 1e3))


def _far_variance(weights: Sequence[float], k: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
    """w where the price is too small for a float: Newton on its logarithm in 1 / w, kept between the terms' own w."""
    logs = [math.log(weight) + _log_price(k, w) for weight, w in zip(weights, own, strict=True)]
    wanted = np.logaddexp.reduce(logs)
    low, high = 1.0 / np.maximum.reduce(own), 1.0 / np.minimum.reduce(own)
    x = low.copy()  # the widest term owns the wing
    for _ in range(_ROUNDS):
        miss = _log_price(k, 1.0 / x) - wanted
        low, high = np.where(miss > 0.0, x, low), np.where(miss < 0.0, x, high)
        # d ln(price) / d(1 / w): the vega of w is n(h + t) / (2 sqrt w), over the price
        root = np.sqrt(1.0 / x)
        above = -np.abs(k) / root + 0.5 * root
        vega = np.exp(-0.5 * above * above - 0.5 * np.abs(k) - _log_price(k, 1.0 / x)) / math.sqrt(2.0 * math.pi)
        new = x + miss * (2.0 * x**1.5) / vega
        new = np.where((new > low) & (new < high), new, 0.5 * (low + high))
        if np.all(np.abs(new - x) <= 1e-15 * x):
            break
        x = new
    return 1.0 / x


def _log_price(k: np.ndarray, w: np.ndarray) -> np.ndarray:
    """ln of the out-of-the-money price over sqrt(forward strike), e^(-|k|/2) N(h + t) - e^(|k|/2) N(h - t).

    h = -|k| / sqrt w, t = sqrt(w) / 2. Written with Mills' ratio, in which nothing underflows.
    """
    from scipy.special import erfcx, ndtr

    size, root = np.abs(k), np.sqrt(w)
    above = -size / root + 0.5 * root
    later = _mills(size / root + 0.5 * root, erfcx)
    bell = np.exp(-0.5 * above * above) / math.sqrt(2.0 * math.pi)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        out = np.where(
            above < 0.0,
            -0.5 * above * above
            - 0.5 * math.log(2.0 * math.pi)
            + np.log(_mills(np.maximum(-above, 0.0), erfcx) - later),
            np.log(ndtr(above) - bell * later),
        )
    return np.asarray(-0.5 * size + out)


def _mills(x: np.ndarray, erfcx: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(1 - N(x)) / n(x)."""
    return math.sqrt(0.5 * math.pi) * erfcx(x / math.sqrt(2.0))
