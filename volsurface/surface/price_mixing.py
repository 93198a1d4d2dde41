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

s is chosen such that the ATM total variance is linear in time. Smiles that are mixtures themselves are mixed term by term:
their components take the places of w1 and w2 above.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from volsurface.surface import mixture, svi
from volsurface.surface.certificate import OK, certify, compared
from volsurface.surface.mixture import Term
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
    def _terms(self) -> tuple[Term, ...]:
        """The components of both smiles that have any weight, at most four."""
        parts = (self.first, 1.0 - self.alpha, self.first_scale), (self.second, self.alpha, self.second_scale)
        return tuple(term for smile, weight, scale in parts if weight > 0.0 for term in smile.terms(weight, scale))

    def total_variance(self, k: Numbers) -> Numbers:
        """Return w at log-moneyness k."""
        return mixture.total_variance(self._terms, k)

    def derivatives(self, k: Numbers) -> Derivatives:
        """Return w, w' and w'' at log-moneyness k."""
        return mixture.derivatives(self._terms, k)


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
        mixed = (1.0 - s) * _atm_call(first, ratio**-s if raised else 1.0) + s * _atm_call(second, ratio ** (1.0 - s))
        if mixed < wanted:
            low = s
        else:
            high = s
    s = 0.5 * (low + high)
    return MixedPrices(first, second, s, ratio**-s if raised else 1.0, ratio ** (1.0 - s))


def _atm_call(smile: Smile, scale: float) -> float:
    """The call at the forward, over the forward, of a smile whose variances are multiplied by `scale`."""
    return sum(
        weight * math.erf(math.sqrt(scale * float(svi.total_variance(own, 0.0)) / 8.0))
        for weight, own in smile.components
    )


@lru_cache(maxsize=256)
def _squeeze(first: Smile, second: Smile) -> tuple[float, bool]:
    """Return R with w1 <= R w2 certified (1: the plain lemma), and whether w1 / R is certified free of butterflies."""
    ratio = 0.0
    t = np.sinh(np.linspace(-12.0, 12.0, 1201))
    for one, two in compared(first, second):  # w1 and w2 stand for these components
        _, b1, rho1, m1, sigma1 = one
        _, b2, rho2, m2, sigma2 = two
        k = np.concatenate([m1 + sigma1 * t, m2 + sigma2 * t])
        w1, w2 = svi.total_variance(one, k), svi.total_variance(two, k)
        wings = [(b1 * (1.0 + side * rho1), b2 * (1.0 + side * rho2)) for side in (-1.0, 1.0)]
        if not ((w2 > 0.0).all() and all(late > 0.0 for _, late in wings)):
            return 1.0, False
        ratio = max(ratio, float((w1 / w2).max()), *(early / late for early, late in wings))
    ratio *= 1.0 + _MARGIN
    if not 0.0 < ratio < 1.0 or certify([first, second.scaled(ratio)]).calendar[0].verdict != OK:
        return 1.0, False
    return ratio, certify([first.scaled(1.0 / ratio)]).ok
