"""A certified surface refined into a mixture of two: its components descend in turns, each staying certified throughout.

With the other component held, the mixture's w is nearly linear in this one's: dw/dw_i is the share of i in the mixture's vega.
So a step of component i is the joint least squares of `repair_kernels`, under the same cuts, towards the variances that
would put the mixture on the quotes; it is taken only when the component is certified afterwards and the true cost has
fallen. The mixture of two certified surfaces needs no other proof. (Both components at once, from a split that is not
certified, stuck: see docs/mixture.md.) Nothing here is identified: a slice has ten numbers, of which the quotes know fewer,
so the components are pulled together weakly and a fit that is kept is continued from where it stood, not searched anew.
"""

from collections.abc import Generator
from typing import NamedTuple, TypeVar

import numpy as np

from volsurface.surface import mixture
from volsurface.surface.calibration import Slices, raw_parameters
from volsurface.surface.certificate_kernels import OK, UNDECIDED, VIOLATED
from volsurface.surface.repair import JointProblem, is_certified, quick_verdict, thetas_of
from volsurface.surface.repair_kernels import descend_together
from volsurface.surface.svi import total_variance

WEIGHT = 0.5  # of the first component's prices
# Splits of the certified surface to start from: by which share the variances part, and by how much the skews (in rho).
SPLITS = ((0.12, 0.0), (0.25, 0.12), (0.2, 0.05), (0.25, -0.12))
FEWEST = 10  # strikes; an expiry with fewer cannot determine ten numbers and stays as it is
PULL = 1e-4  # weight of the squared distance between the components, against that of the quotes
LEAST_SHARE = 0.02  # of the vega: where a component has less, it is not steered by that quote
HALVINGS = 4  # of a split that cannot be certified
TRIAL_ROUNDS, MOST_ROUNDS = 10, 40
ENOUGH = 2e-3  # a round that gains less than this share of the cost is the last
MARGINS = (1e-4, 4e-4, 1.6e-3)  # of g at the cuts: the next one when the certificate refuses
SHORTER = (1.0, 0.3)  # share of the way to the quotes that is tried
STEPS, TOLERANCE = 60, 1e-4

T = TypeVar("T")


class MixtureFit(NamedTuple):
    """components: raw SVI of both, shape (2, n_slices, 5), each certified. cost: half the sum of squared residuals."""

    components: np.ndarray
    cost: float


class MixtureProblem:
    """The quotes of all slices, and which of them may move.

    quotes, used: as for `repair`. certified: the SVI surface, raw, shape (n_slices, 5). free: mask of the slices whose
    components are fitted; those of the others stay as they are given.
    """

    def __init__(self, quotes: Slices, used: np.ndarray, certified: np.ndarray, free: np.ndarray) -> None:
        self.free = free
        self.certified = certified
        self._quotes, self._slot = quotes, np.repeat(np.arange(len(certified)), np.diff(quotes.offsets))
        self._weight = np.where(used, quotes.weight, 0.0)
        self._bounds = JointProblem(quotes, used, ~free)

    def variance(self, components: np.ndarray) -> np.ndarray:
        """Return w of the mixture at every quote."""
        return self._mixed(components)[0]

    def cost(self, components: np.ndarray) -> float:
        """Return half the sum of squared residuals of the mixture."""
        return 0.5 * float(np.sum((self._weight * (self.variance(components) - self._quotes.w)) ** 2))

    def rounds(self, components: np.ndarray, most: int) -> Generator[None, None, MixtureFit]:
        """Descend from certified components, yielding after each turn of one; return the last, certified like all before."""
        w, own = self._mixed(components)
        merit, cost = self._merit(w, own)
        for _ in range(most):
            before = merit
            for i in range(2):
                for way in SHORTER:
                    moved = self._turn(components, i, w, own, way)
                    if moved is not None:
                        new_w, new_own = self._mixed(moved)
                        new_merit, new_cost = self._merit(new_w, new_own)
                        if new_merit < merit:
                            components, w, own, merit, cost = moved, new_w, new_own, new_merit, new_cost
                            break
                yield
            if before - merit < ENOUGH * before:
                break
        return MixtureFit(components, cost)

    def split(self, share: float, skew: float) -> Generator[None, None, np.ndarray | None]:
        """Part the certified surface in two certified ones, less far where that fails; None when it always does."""
        for _ in range(HALVINGS):
            parts = np.stack([self.certified, self.certified])
            for part, sign in zip(parts, (-1.0, 1.0), strict=True):
                a, b, rho = part[self.free, :3].T
                part[self.free, 0], part[self.free, 1] = a * (1.0 + sign * share), b * (1.0 + sign * share)
                part[self.free, 2] = np.clip(rho + sign * skew, -0.99, 0.99)
                part[:, 1] = np.minimum(part[:, 1], 1.9 / (1.0 + np.abs(part[:, 2])))
            near = self.certified_near(parts)
            yield
            if near is not None:
                return near
            share, skew = 0.5 * share, 0.5 * skew
        return None

    def certified_near(self, components: np.ndarray) -> np.ndarray | None:
        """Return components that are certified, those given where they are; None when there are none near one of them."""
        near = components.copy()
        for part in near:
            if not is_certified(part):
                w = np.maximum(self._variance(part), 1e-12)
                tilt = np.clip(w / self._quotes.w, 1.0 / 3.0, 3.0)  # errors count in parts of the variance aimed at
                found = self._descended(part, w, self._weight / tilt)
                if found is None or not is_certified(found):  # slices that are not free may have been at fault
                    return None
                part[:] = found
        return near

    def _variance(self, parameters: np.ndarray) -> np.ndarray:
        a, b, rho, m, sigma = parameters[self._slot].T
        return np.asarray(total_variance((a, b, rho, m, sigma), self._quotes.k))

    def _mixed(self, components: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """w of the mixture at every quote, and that of each component, shape (2, n_quotes)."""
        own = np.stack([np.maximum(self._variance(part), 1e-12) for part in components])
        return mixture.mixed_variance((WEIGHT, 1.0 - WEIGHT), self._quotes.k, own), own

    def _merit(self, w: np.ndarray, own: np.ndarray) -> tuple[float, float]:
        """The cost with the pull, and without."""
        cost = 0.5 * float(np.sum((self._weight * (w - self._quotes.w)) ** 2))
        return cost + 0.5 * PULL * float(np.sum((self._weight * (own - w)) ** 2)), cost

    def _turn(self, components: np.ndarray, i: int, w: np.ndarray, own: np.ndarray, way: float) -> np.ndarray | None:
        """Move component i towards the quotes; None when nothing certified came of it."""
        share = np.maximum(mixture.vega_share((WEIGHT, 1.0 - WEIGHT)[i], self._quotes.k, w, own[i]), LEAST_SHARE)
        to_quotes, to_other = (self._weight * share) ** 2, PULL * self._weight**2
        weight2 = to_quotes + to_other
        aim = np.where(
            weight2 > 0.0,
            (to_quotes * (own[i] + way * (self._quotes.w - w) / share) + to_other * w) / np.maximum(weight2, 1e-300),
            w,
        )
        found = self._descended(components[i], aim, np.sqrt(weight2))
        if found is None:
            return None
        moved = components.copy()
        moved[i] = found
        return moved

    def _descended(self, start: np.ndarray, aim: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
        """Return what the joint descent makes of one component, when that is certified."""
        bounds, undecided = self._bounds, None
        for margin in MARGINS:
            thetas = thetas_of(start)
            descend_together(
                self._quotes.offsets, self._quotes.k, aim, weight, thetas, self.free, bounds.low, bounds.high,
                bounds.floor, margin, STEPS, TOLERANCE,
            )  # fmt: skip
            found = np.where(self.free[:, None], raw_parameters(thetas), start)
            said = quick_verdict(found, self.free) if np.isfinite(found).all() else VIOLATED
            if said == OK:
                return found
            if said == UNDECIDED and undecided is None:
                undecided = found
        # Exact arithmetic takes as long as some ten descents: it is asked only where no margin satisfies the floats.
        return undecided if undecided is not None and is_certified(undecided) else None


def search(problem: MixtureProblem) -> Generator[None, None, MixtureFit | None]:
    """Find a mixture from nothing but the certified surface, yielding after each few milliseconds of work.

    Each split goes a few rounds, the cheapest of them goes on to the end. None when no split can be certified.
    """
    trials = []
    for share, skew in SPLITS:
        start = yield from problem.split(share, skew)
        if start is not None:
            trials.append((yield from problem.rounds(start, TRIAL_ROUNDS)))
    if not trials:
        return None
    best = min(trials, key=lambda fit: fit.cost)
    return (yield from problem.rounds(best.components, MOST_ROUNDS))


def finished(work: Generator[None, None, T]) -> T:
    """Run a search or its rounds to the end at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
