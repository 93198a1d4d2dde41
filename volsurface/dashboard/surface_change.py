"""What has changed between two surfaces of one underlying: level, skew, curvature and the move of spot, expiry by expiry."""

import math
from dataclasses import dataclass

from volsurface.surface.smile import Smile
from volsurface.surface.surface import Surface


@dataclass(frozen=True, slots=True)
class SmileChange:
    """One expiry from surface a to surface b; vols and their changes are fractions.

    At a strike K that was k = ln(K / forward) from the forward in a and is k' in b,

        vol_b(k') - vol_a(k) = [vol_a(k') - vol_a(k)] + d(level) + d(skew) k' + d(curvature) k'^2 / 2 + rest,

    the bracket being what the move of the forward alone would do, were each smile to stay where it is in k.

    level: change of the vol at the forward. skew, curvature: change of dvol/dk and d2vol/dk2 there. forward: relative move
    of the forward. slide, skew_part, curvature_part, rest: the terms above at the strike that was at the forward in a (k = 0);
    total: their sum with level, the change of the vol at that strike.
    """

    expiry_ns: int
    level: float
    skew: float
    curvature: float
    forward: float
    slide: float
    skew_part: float
    curvature_part: float
    rest: float

    @property
    def total(self) -> float:
        """Return the change of the vol at the strike that was at the forward."""
        return self.level + self.slide + self.skew_part + self.curvature_part + self.rest


def surface_change(a: Surface, b: Surface) -> list[SmileChange]:
    """Return the change of each expiry both surfaces have, nearest first; smiles that failed are left out."""
    pairs = [(before, b.smile(before.expiry_ns)) for before in a.smiles]
    return [
        smile_change(before, after)
        for before, after in pairs
        if after is not None and "failed" not in (before.state, after.state)
    ]


def smile_change(before: Smile, after: Smile) -> SmileChange:
    """Return what has changed from one smile of an expiry to a later one."""
    k = math.log(before.forward / after.forward)
    level, skew = after.atm_vol - before.atm_vol, after.skew - before.skew
    curvature = after.curvature - before.curvature
    slide = float(before.vol_at(k)) - before.atm_vol
    skew_part, curvature_part = skew * k, curvature * k * k / 2
    total = float(after.vol_at(k)) - before.atm_vol
    return SmileChange(
        before.expiry_ns, level, skew, curvature, after.forward / before.forward - 1, slide, skew_part, curvature_part,
        rest=total - level - slide - skew_part - curvature_part,
    )  # fmt: skip
