"""A smile between two expiries that is proved free of arbitrage: their normalised call prices mixed at fixed log-moneyness.

With c(k) the undiscounted Black-76 call over the forward, c = (1 - alpha) c1 + alpha c2. Lemma 5.1 of Gatheral and Jacquier
(arXiv:1204.0646): when both smiles are free of butterflies and w2 >= w1 at every k, and alpha grows with time from 0 to 1,
the whole is free of static arbitrage. The proof is two lines: c is convex in e^k because c1 and c2 are, and it grows with
time because c2 >= c1. So the certificate of the nodes is also the proof of everything between them.

Any growing alpha will do; here it makes the ATM total variance linear in time. The vol is what the implied-vol kernel finds
in the mixed price, on the out-of-the-money side, where mixing puts is mixing calls (their difference 1 - e^k is common).
The kernels are loaded at the first call, so that a page can hold surfaces without Numba.
"""

import math
from dataclasses import dataclass

import numpy as np

from volsurface.surface.smile import Smile
from volsurface.surface.svi import Derivatives, Numbers


@dataclass(frozen=True, slots=True)
class MixedPrices:
    """The mix of an earlier and a later smile; alpha: weight of the later one's prices, 0 to 1."""

    first: Smile
    second: Smile
    alpha: float

    def total_variance(self, k: Numbers) -> Numbers:
        """Return w at log-moneyness k; NaN where the mixed price is below 1e-300 and no vol can be read from it."""
        from volsurface.pricing.black76 import black76_price
        from volsurface.pricing.implied_vol import implied_vols

        k = np.asarray(k, float)
        right, strike = np.where(k >= 0.0, 1.0, -1.0), np.exp(k)
        one, two = (
            black76_price(1.0, strike, 1.0, np.sqrt(np.maximum(smile.total_variance(k), 0.0)), right)
            for smile in (self.first, self.second)
        )
        price = np.asarray(one) + self.alpha * (np.asarray(two) - np.asarray(one))
        return np.square(implied_vols(price, 1.0, strike, 1.0, right).vol)[()]

    def derivatives(self, k: Numbers) -> Derivatives:
        """Return w, w' and w'' at log-moneyness k.

        Mixing prices mixes distributions: P(k) = N(-d-) + n(d-) (sqrt w)' and the density p = g n(d-) / sqrt w of the two
        smiles mix with the same weights. Both are then solved for w' and, through g, for w'' of the mixed smile.
        """
        from scipy.special import ndtr  # here, so that holding a surface does not load scipy

        k = np.asarray(k, float)
        w = np.asarray(self.total_variance(k))
        left = k < 0.0
        mixed_tail, mixed_density = np.zeros_like(w), np.zeros_like(w)
        for smile, weight in ((self.first, 1.0 - self.alpha), (self.second, self.alpha)):
            own, slope, bend = smile.derivatives(k)
            root = np.sqrt(own)
            lower = -k / root - 0.5 * root
            bell = _bell(lower)
            below = bell * slope / (2.0 * root)
            # the smaller tail of each side: P below k on the left, above k on the right
            mixed_tail += weight * np.where(left, ndtr(-lower) + below, ndtr(lower) - below)
            g = (1.0 - 0.5 * k * slope / own) ** 2 - 0.25 * slope * slope * (1.0 / own + 0.25) + 0.5 * bend
            mixed_density += weight * g * bell / root
        root = np.sqrt(w)
        lower = -k / root - 0.5 * root
        bell = _bell(lower)
        tilt = np.where(left, mixed_tail - ndtr(-lower), ndtr(lower) - mixed_tail) / bell  # (sqrt w)'
        slope = 2.0 * root * tilt
        g = mixed_density * root / bell
        bend = 2.0 * (g - (1.0 - 0.5 * k * slope / w) ** 2 + 0.25 * slope * slope * (1.0 / w + 0.25))
        return Derivatives(w[()], slope[()], bend[()])


def mix(first: Smile, second: Smile, years: float) -> MixedPrices:
    """Return the mix for a time between the two expiries whose ATM total variance is linear in time.

    The ATM call is erf(sqrt(w / 8)), so alpha has a closed form. Where the two ATM variances are equal (to rounding) it is
    the share of time itself; it always grows with time.
    """
    share = (years - first.years) / (second.years - first.years)
    w1, w2 = (max(float(smile.total_variance(0.0)), 0.0) for smile in (first, second))
    if abs(w2 - w1) <= 1e-9 * max(w1, w2):
        return MixedPrices(first, second, share)
    c1, c2, c = (math.erf(math.sqrt(w / 8.0)) for w in (w1, w2, w1 + share * (w2 - w1)))
    return MixedPrices(first, second, min(max((c - c1) / (c2 - c1), 0.0), 1.0) if c2 != c1 else share)


def _bell(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
