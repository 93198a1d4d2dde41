"""A smile between two expiries that is proved free of arbitrage: call prices mixed at fixed log-moneyness.

With c(k) the undiscounted Black-76 call over the forward, c = (1 - alpha) c_A + alpha c_B. Lemma 5.1 of Gatheral and Jacquier
(arXiv:1204.0646): when both smiles are free of butterflies and w_B >= w_A at every k, and alpha grows with time from 0 to 1,
the whole is free of static arbitrage. The proof is two lines: c is convex in e^k because c_A and c_B are, and it grows with
time because c_B >= c_A. The argument holds as well when A and B themselves rise with time, and that is used here, because
mixing smiles that are far apart fattens the tails: w_A = R^-s w1 and w_B = R^(1-s) w2, alpha = s, s from 0 to 1, where
w1 <= R w2 at every k, R <= 1. Then w_A <= w_B; B is free of butterflies because g(lambda w) is concave in lambda and
non-negative at 0 and 1, and A for the same reason once w1 / R is certified (else A stays w1). R is found on a grid and both
conditions are then certified; R = 1 is the plain lemma. So the certificate of the nodes, with these two, proves everything
between them.

s is chosen such that the ATM total variance is linear in time. The vol is what the implied-vol kernel finds in the mixed
price, on the out-of-the-money side, where mixing puts is mixing calls (their difference 1 - e^k is common). The kernels are
loaded at the first call, so that a page can hold surfaces without Numba.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from volsurface.surface.certificate import OK, certify
from volsurface.surface.smile import Smile
from volsurface.surface.svi import Derivatives, Numbers

_MARGIN = (
    1e-4  # R above the largest ratio found, relative; what lies between the grid's points is settled by the certificate
)


@dataclass(frozen=True, slots=True)
class MixedPrices:
    """The mix of an earlier and a later smile; alpha: weight of the later one's prices, 0 to 1.

    first_scale, second_scale: factors on their total variances before mixing, at least 1 and at most 1.
    """

    first: Smile
    second: Smile
    alpha: float
    first_scale: float = 1.0
    second_scale: float = 1.0

    @property
    def _parts(self) -> tuple[tuple[Smile, float, float], tuple[Smile, float, float]]:
        """Smile, factor on its variance, weight of its prices."""
        return (self.first, self.first_scale, 1.0 - self.alpha), (self.second, self.second_scale, self.alpha)

    def total_variance(self, k: Numbers) -> Numbers:
        """Return w at log-moneyness k; NaN where the mixed price is below 1e-300 and no vol can be read from it."""
        from volsurface.pricing.black76 import black76_price
        from volsurface.pricing.implied_vol import implied_vols

        k = np.asarray(k, float)
        right, strike = np.where(k >= 0.0, 1.0, -1.0), np.exp(k)
        one, two = (
            black76_price(1.0, strike, 1.0, np.sqrt(np.maximum(scale * smile.total_variance(k), 0.0)), right)
            for smile, scale, _ in self._parts
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
        for smile, scale, weight in self._parts:
            own, slope, bend = (scale * x for x in smile.derivatives(k))
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

    The ATM call is erf(sqrt(w / 8)) and grows with s, so s is found by bisection. Where the two ATM variances are equal (to
    rounding), or not in order, the surface has no certificate or nothing to choose: s is then the share of time itself.
    """
    share = (years - first.years) / (second.years - first.years)
    w1, w2 = (max(float(smile.total_variance(0.0)), 0.0) for smile in (first, second))
    if not 0.0 < w1 < w2 * (1.0 - 1e-9):
        return MixedPrices(first, second, share)
    ratio, raised = _squeeze(first, second)
    wanted = math.erf(math.sqrt((w1 + share * (w2 - w1)) / 8.0))
    low, high = 0.0, 1.0
    for _ in range(60):
        s = 0.5 * (low + high)
        a, b = w1 * (ratio**-s if raised else 1.0), w2 * ratio ** (1.0 - s)
        if (1.0 - s) * math.erf(math.sqrt(a / 8.0)) + s * math.erf(math.sqrt(b / 8.0)) < wanted:
            low = s
        else:
            high = s
    s = 0.5 * (low + high)
    return MixedPrices(first, second, s, ratio**-s if raised else 1.0, ratio ** (1.0 - s))


@lru_cache(maxsize=256)
def _squeeze(first: Smile, second: Smile) -> tuple[float, bool]:
    """Return R with w1 <= R w2 certified (1: the plain lemma), and whether w1 / R is certified free of butterflies."""
    _, b1, rho1, m1, sigma1 = first.parameters
    _, b2, rho2, m2, sigma2 = second.parameters
    t = np.sinh(np.linspace(-12.0, 12.0, 1201))
    k = np.concatenate([m1 + sigma1 * t, m2 + sigma2 * t])
    w1, w2 = first.total_variance(k), second.total_variance(k)
    wings = [(b1 * (1.0 + side * rho1), b2 * (1.0 + side * rho2)) for side in (-1.0, 1.0)]
    if not ((w2 > 0.0).all() and all(late > 0.0 for _, late in wings)):
        return 1.0, False
    ratio = (1.0 + _MARGIN) * max(float((w1 / w2).max()), *(early / late for early, late in wings))
    if not 0.0 < ratio < 1.0 or certify([first, _scaled(second, ratio)]).calendar[0].verdict != OK:
        return 1.0, False
    return ratio, certify([_scaled(first, 1.0 / ratio)]).ok


def _scaled(smile: Smile, factor: float) -> Smile:
    a, b, rho, m, sigma = smile.parameters
    return replace(smile, parameters=(factor * a, factor * b, rho, m, sigma))


def _bell(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
