"""Which expiry is at fault when the quotes of several cannot all be met by a surface free of arbitrage."""

from itertools import pairwise

import numpy as np

from volsurface.surface import svi
from volsurface.surface.calibration import Slices

CROSSED = 1.0  # half-spreads of both quotes together: less is what a repair bends away
NEARLY = 0.01  # removals that leave this share of all crossing more than the best one are as good


def crossing_expiry(quotes: Slices, parameters: np.ndarray, used: np.ndarray, years: np.ndarray) -> int | None:
    """Return the place of the expiry without which the quotes cross least; None when none cross by more than CROSSED.

    parameters: free fits, raw SVI, shape (n_slices, 5), nearest expiry first. used: mask of the quotes that count. years:
    (n_slices,). Of two expiries that cross each other alone, the one whose vol at the forward is farther from the others'.
    """
    n = len(parameters)
    rows = [slice(a, b) for a, b in pairwise(quotes.offsets)]
    known: dict[tuple[int, int], float] = {}

    def crossing(which: list[int]) -> float:
        total = 0.0
        for pair in pairwise(which):
            if pair not in known:
                known[pair] = _crossing(quotes, parameters, used, rows, pair)
            total += known[pair]
        return total

    everything = list(range(n))
    whole = crossing(everything)
    if n < 2 or whole <= 0.0:
        return None
    left = np.array([crossing(everything[:i] + everything[i + 1 :]) for i in everything])
    level = np.log(np.maximum([float(svi.total_variance(p, 0.0)) for p in parameters], 1e-12) / years)
    level = np.where(left <= left.min() + NEARLY * whole, np.abs(level - np.median(level)), -1.0)
    return int(np.argmax(level))


def _crossing(
    quotes: Slices, parameters: np.ndarray, used: np.ndarray, rows: list[slice], pair: tuple[int, int]
) -> float:
    """Sum of squares, in half-spreads, of how far the quotes of a pair lie on the wrong side of the other's fit.

    Only where both are quoted: what fits do beyond their quotes says nothing of the quotes.
    """
    total = 0.0
    ends = [(quotes.k[rows[i]][used[rows[i]]].min(), quotes.k[rows[i]][used[rows[i]]].max()) for i in pair]
    low, high = max(first for first, _ in ends), min(last for _, last in ends)
    for i, other, sign in ((pair[0], pair[1], 1.0), (pair[1], pair[0], -1.0)):
        mine = used[rows[i]] & (quotes.k[rows[i]] >= low) & (quotes.k[rows[i]] <= high)
        k, half = quotes.k[rows[i]][mine], quotes.half_spread[rows[i]][mine]
        off = sign * (quotes.w[rows[i]][mine] - np.asarray(svi.total_variance(parameters[other], k))) / half
        total += float((off[off > 2.0 * CROSSED] ** 2).sum())
    return total
