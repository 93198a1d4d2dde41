"""Total variance between and beyond the expiries of a surface, at fixed log-moneyness.

Here, between two expiries, w is linear in time at fixed k: free of calendar arbitrage exactly; free of butterflies in every
case tried but not by a theorem, so it is for display; `price_mixing` is what is proved. Before the first expiry
w = (T/T1) w1, which keeps g >= 0: g(lambda w) is concave in lambda and non-negative at 0 and 1. After the last one w grows by
a constant that keeps the ATM vol; that smile is SVI with a larger a, and is certified each time it is asked for.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from volsurface.surface.smile import Smile
from volsurface.surface.svi import Derivatives, Numbers

NODE, BETWEEN_NODES, EXTRAPOLATED_TIME = "node", "between_nodes", "extrapolated_time"


class Place(NamedTuple):
    """Where a time lies: w = weights[0] w_first + weights[1] w_second + lift; region is one of the words above.

    Only between two expiries is weights[1] not 0, and only after the last is lift; it lifts each component of a mixture.
    """

    first: Smile
    second: Smile
    weights: tuple[float, float]
    lift: float
    region: str

    def derivatives(self, k: Numbers) -> Derivatives:
        """Return w, w' and w'' at log-moneyness k."""
        if self.weights[1] == 0.0:
            return self.moved.derivatives(k)
        one, two = self.first.derivatives(k), self.second.derivatives(k)
        x, y = self.weights
        return Derivatives(x * one.w + y * two.w, x * one.slope + y * two.slope, x * one.bend + y * two.bend)

    @property
    def moved(self) -> Smile:
        """Return the only smile of a place that is not between two: scaled before the first expiry, lifted after the last."""
        if self.weights[0] == 1.0 and self.lift == 0.0:
            return self.first
        return self.first.scaled(self.weights[0], self.lift)

    def total_variance(self, k: Numbers) -> Numbers:
        """Return w at log-moneyness k."""
        x, y = self.weights
        if y == 0.0:
            return self.moved.total_variance(k)
        return x * self.first.total_variance(k) + y * self.second.total_variance(k)


def locate(smiles: Sequence[Smile], years: float) -> Place:
    """Return where `years` lies among the smiles (nearest expiry first); raises ValueError without smiles or time."""
    if not smiles:
        raise ValueError("the surface has no smile")
    if not years > 0.0:
        raise ValueError(f"years to expiry must be positive, found {years!r}")
    nearest, last = smiles[0], smiles[-1]
    for smile in smiles:
        if smile.years == years:
            return Place(smile, smile, (1.0, 0.0), 0.0, NODE)
    if years < nearest.years:
        return Place(nearest, nearest, (years / nearest.years, 0.0), 0.0, EXTRAPOLATED_TIME)
    if years > last.years:
        lift = float(last.total_variance(0.0)) * (years / last.years - 1.0)
        return Place(last, last, (1.0, 0.0), lift, EXTRAPOLATED_TIME)
    for one, two in pairwise(smiles):
        if one.years < years < two.years:
            share = (years - one.years) / (two.years - one.years)
            return Place(one, two, (1.0 - share, share), 0.0, BETWEEN_NODES)
    raise ValueError("the smiles are not in order of expiry")


def forward_at(smiles: Sequence[Smile], years: float) -> float:
    """Return the forward for a time: log-linear between expiries.

    Before the first expiry and after the last the forward of that expiry is taken as it is.
    """
    place = locate(smiles, years)
    if place.region == BETWEEN_NODES:
        x, y = place.weights
        return math.exp(x * math.log(place.first.forward) + y * math.log(place.second.forward))
    return place.first.forward
