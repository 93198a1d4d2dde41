"""Repair of a surface that the certificate rejects: the failing slices are fitted again together, arbitrage cut away.

The failing component (slices and pairs that fail, widened by its neighbours each round) goes through the joint descent of
`repair_kernels`; what comes out is converted to the numbers that are published, and those are certified. A failed attempt
leaves ruined slices, so every attempt starts from the free fit again, with another margin and more slices free.
"""

from dataclasses import dataclass

import numpy as np

from volsurface.surface.calibration import Slices, raw_parameters
from volsurface.surface.certificate import butterfly_verdict, calendar_verdict
from volsurface.surface.certificate_kernels import OK, UNDECIDED, VIOLATED, answers
from volsurface.surface.repair_kernels import descend_together, solve_linear
from volsurface.surface.slice_fit import FLOOR

# (margin of g, everything free from the start, largest sigma at the start and at all in units of the quoted range): free
# slices often lie far out in the valley where sigma, -a and b grow together, and cannot be bent back from there.
# Tuned on the dates named in docs/fitting.md, like what follows.
ATTEMPTS = ((1e-4, False, 1.0, 4.0), (5e-4, True, 0.5, 2.0), (1e-3, True, 0.25, 1.0))
ROUNDS = 8
STEPS = 30
TOLERANCE = 1e-4
DEAR = 1.5  # times the free cost: worth another attempt
WORTH = 0.01  # a round that lowers the cost by less than this share is the last


@dataclass(frozen=True, slots=True)
class Repaired:
    """parameters: raw SVI, shape (n_slices, 5), certified. cost: half the sum of squared residuals, (n_slices,).

    changed: mask of the slices that are not the ones given.
    """

    parameters: np.ndarray
    cost: np.ndarray
    changed: np.ndarray


def verdicts(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return masks (slice has no butterfly, pair does not cross), proved, of rows (a, b, rho, m, sigma)."""
    n = len(parameters)
    answer = np.empty((2, n), np.int64)
    answers(parameters, answer, np.empty((2, n)))
    butterfly, calendar = answer[0], answer[1, 1:]
    rows = list(map(tuple, parameters.tolist())) if UNDECIDED in butterfly or UNDECIDED in calendar else []
    for i in np.flatnonzero(butterfly == UNDECIDED):
        butterfly[i] = OK if butterfly_verdict(rows[i]).verdict == "ok" else 0
    for i in np.flatnonzero(calendar == UNDECIDED):
        calendar[i] = OK if calendar_verdict(rows[i], rows[i + 1]).verdict == "ok" else 0
    return butterfly == OK, calendar == OK


def is_certified(parameters: np.ndarray) -> bool:
    """Return whether `verdicts` are all good; exact arithmetic is asked only where floats find nothing wrong elsewhere."""
    said = quick_verdict(parameters, np.ones(len(parameters), bool))
    return said == OK or (said == UNDECIDED and all(mask.all() for mask in verdicts(parameters)))


def quick_verdict(parameters: np.ndarray, which: np.ndarray) -> int:
    """Return what floats alone say of the slices in mask `which` and of their pairs: OK, VIOLATED or UNDECIDED."""
    answer = np.empty((2, len(parameters)), np.int64)
    answers(parameters, answer, np.empty((2, len(parameters))))
    said = np.concatenate([answer[0][which], answer[1, 1:][which[1:] | which[:-1]]])
    if (said == OK).all():
        return OK
    return UNDECIDED if np.isin(said, (OK, UNDECIDED)).all() else VIOLATED


def repair(
    quotes: Slices,
    used: np.ndarray,
    parameters: np.ndarray,
    fixed: np.ndarray | None = None,
    pinned: np.ndarray | None = None,
    warm: np.ndarray | None = None,
) -> Repaired | None:
    """Return certified slices near `parameters` in cost, or None when no attempt succeeds.

    quotes: of every slice, none for a fixed one. used: mask of the quotes that count. parameters: the free fit, raw SVI,
    shape (n_slices, 5), in order of expiry. fixed: mask of slices that must stay (their cuts stay too). pinned: mask of
    slices whose m and sigma must stay. warm: certified parameters of a moment ago to start from, NaN rows where there
    are none.
    """
    n = len(parameters)
    fixed = np.zeros(n, bool) if fixed is None else fixed
    pinned = np.zeros(n, bool) if pinned is None else pinned
    loose = np.flatnonzero(~fixed)
    if loose.size and loose[-1] - loose[0] + 3 < n:  # what lies beyond the fixed neighbours does not matter
        window = slice(max(loose[0] - 1, 0), loose[-1] + 2)
        rows = slice(quotes.offsets[window.start], quotes.offsets[min(window.stop, n)])
        part = Slices(
            quotes.offsets[window.start : window.stop + 1] - rows.start, *(column[rows] for column in quotes[1:])
        )
        inner = repair(
            part, used[rows], parameters[window], fixed[window], pinned[window], None if warm is None else warm[window]
        )
        if inner is None:
            return None
        out = Repaired(parameters.copy(), np.zeros(n), np.zeros(n, bool))
        out.parameters[window], out.cost[window], out.changed[window] = inner.parameters, inner.cost, inner.changed
        return out
    problem = JointProblem(quotes, used, fixed)
    thetas = thetas_of(parameters)
    problem.pin(thetas, pinned & ~fixed)
    butterfly, calendar = verdicts(parameters)
    if butterfly.all() and calendar.all():
        return Repaired(parameters, problem.costs(thetas), np.zeros(n, bool))
    best, least = None, np.inf
    enough = DEAR * float(problem.costs(thetas)[~fixed].sum()) + 1e-2 * quotes.k.size
    starts = [(ATTEMPTS[0][0], False, ATTEMPTS[0][3], problem.warm(thetas, warm))] if warm is not None else []
    starts += [(margin, whole, widest, problem.moderate(thetas, most)) for margin, whole, most, widest in ATTEMPTS]
    for margin, whole, widest, start in starts:
        high = problem.widest(widest)
        found = _attempt(problem, thetas, start, high, parameters, butterfly, calendar, margin, whole)
        if found is not None:
            cost = float(problem.costs(thetas_of(found)).sum())
            if cost < least:
                best, least = found, cost
            if cost <= enough:
                break
    if best is None:
        return None
    return Repaired(best, problem.costs(thetas_of(best)), (best != parameters).any(axis=1))


def thetas_of(parameters: np.ndarray) -> np.ndarray:
    """Return rows (a, b rho, b, m, ln sigma) of rows (a, b, rho, m, sigma)."""
    a, b, rho, m, sigma = parameters.T
    return np.stack([a, b * rho, b, m, np.log(sigma)], axis=1)


class JointProblem:
    """The quotes of all slices with the bounds of each, ready for the compiled descent."""

    def __init__(self, quotes: Slices, used: np.ndarray, fixed: np.ndarray) -> None:
        n = fixed.size
        self.offsets, self.k, self.w = quotes.offsets, quotes.k, quotes.w
        self.weight = np.where(used, quotes.weight, 0.0)
        self.fixed = fixed
        self.low, self.high, self.floor = np.zeros((n, 2)), np.zeros((n, 2)), np.full(n, 1e-6)
        for i in np.flatnonzero(~fixed):
            rows = slice(quotes.offsets[i], quotes.offsets[i + 1])
            least, most = quotes.k[rows].min(), quotes.k[rows].max()
            reach = max(most - least, 1e-6)
            self.low[i] = least - 0.5 * reach, np.log(0.005 * reach)
            self.high[i] = most + 0.5 * reach, np.log(4.0 * reach)
            self.floor[i] = FLOOR * quotes.w[rows].min()

    def descend(self, thetas: np.ndarray, free: np.ndarray, high: np.ndarray, margin: float) -> None:
        """Change the free slices of `thetas` in place."""
        descend_together(
            self.offsets, self.k, self.w, self.weight, thetas, free, self.low, high, self.floor,
            margin, STEPS, TOLERANCE,
        )  # fmt: skip

    def pin(self, thetas: np.ndarray, which: np.ndarray) -> None:
        """Keep m and sigma of these slices as they are."""
        self.pinned = which
        self.low[which] = self.high[which] = thetas[which, 3:]

    def widest(self, sigma: float) -> np.ndarray:
        """Return the upper bounds of (m, ln sigma) with sigma at most so many quoted ranges."""
        high = self.high.copy()
        high[~self.pinned, 1] += np.log(0.25 * sigma)
        return high

    def warm(self, thetas: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Return starts from certified parameters of a moment ago, where there are any."""
        known = np.isfinite(parameters).all(axis=1) & ~self.fixed & ~self.pinned
        out = thetas.copy()
        out[known] = thetas_of(parameters[known])
        out[known, 3:] = np.clip(out[known, 3:], self.low[known], self.high[known])
        return out

    def moderate(self, thetas: np.ndarray, most_sigma: float) -> np.ndarray:
        """Return starts whose sigma is at most `most_sigma` times the quoted range and whose m lies within it."""
        out = thetas.copy()
        middle = 0.5 * (self.low + self.high)[:, 0]
        reach = 0.5 * (self.high - self.low)[:, 0]
        out[:, 3] = np.clip(thetas[:, 3], middle - 0.5 * reach, middle + 0.5 * reach)
        out[:, 4] = np.minimum(thetas[:, 4], np.log(most_sigma * np.maximum(reach, 1e-6)))
        moved = (out != thetas).any(axis=1) & ~self.fixed & ~self.pinned
        out[~moved] = thetas[~moved]
        solve_linear(self.offsets, self.k, self.w, self.weight, self.floor, moved, out)
        return out

    def costs(self, thetas: np.ndarray) -> np.ndarray:
        """Return half the sum of squared residuals of each slice."""
        a, p, b, m, log_sigma = np.repeat(thetas, np.diff(self.offsets), axis=0).T
        x = self.k - m
        off = self.weight * (a + p * x + b * np.sqrt(x * x + np.exp(2.0 * log_sigma)) - self.w)
        total = np.concatenate([[0.0], np.cumsum(0.5 * off * off)])
        return np.diff(total[self.offsets])


def _attempt(
    problem: JointProblem,
    thetas: np.ndarray,
    start: np.ndarray,
    high: np.ndarray,
    parameters: np.ndarray,
    butterfly: np.ndarray,
    calendar: np.ndarray,
    margin: float,
    everything: bool,
) -> np.ndarray | None:
    """Free what fails, descend, certify; wider each round, until a certified one no longer gets cheaper.

    A slice that is freed begins at its row of `start`; until then it stands at its row of `thetas`.
    """
    n = len(thetas)
    thetas = thetas.copy()
    free = np.zeros(n, bool)
    best, least = None, np.inf
    bound = float(problem.costs(thetas).sum())  # of the free fit: nothing can cost less
    for turn in range(ROUNDS):
        bad = ~butterfly
        bad[:-1] |= ~calendar
        bad[1:] |= ~calendar
        wanted = free | bad | everything
        if turn:
            wanted[:-1] |= bad[1:]
            wanted[1:] |= bad[:-1]
        fresh = wanted & ~free & ~problem.fixed
        thetas[fresh] = start[fresh]
        free |= fresh
        if not free.any():
            return best
        problem.descend(thetas, free, high, margin)
        found = np.where(free[:, None], raw_parameters(thetas), parameters)
        butterfly, calendar = verdicts(found)
        if butterfly.all() and calendar.all():
            cost = float(problem.costs(thetas).sum())
            if cost >= least:
                break
            gain, best, least = least - cost, found, cost
            if min(gain, cost - bound) < WORTH * cost + 1e-3 * problem.k.size:
                break
        else:
            margin = min(2.0 * margin, 5e-3)
    return best


def borrow(quotes: Slices, used: np.ndarray, parameters: np.ndarray, years: np.ndarray, poor: np.ndarray) -> bool:
    """Write into the poor rows of `parameters` the best slice with a neighbour's m and sigma; False without a neighbour.

    m and sigma scale with sqrt(years): at equal numbers of standard deviations the neighbour's shape is then the same.
    """
    rich = np.flatnonzero(~poor)
    if not rich.size:
        return False
    for i in np.flatnonzero(poor):
        near = rich[np.argmin(np.abs(np.log(years[rich] / years[i])))]
        parameters[i] = parameters[near]
        parameters[i, 3:] *= np.sqrt(years[i] / years[near])
    thetas = thetas_of(parameters)
    floor = np.array(
        [
            FLOOR * quotes.w[a:b].min() if a < b else 1e-6
            for a, b in zip(quotes.offsets, quotes.offsets[1:], strict=False)
        ]
    )
    solve_linear(quotes.offsets, quotes.k, quotes.w, np.where(used, quotes.weight, 0.0), floor, poor, thetas)
    parameters[poor] = raw_parameters(thetas[poor])
    return True
