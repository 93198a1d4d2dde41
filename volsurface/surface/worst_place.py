"""Where a slice or a pair is nearest to arbitrage, and between which strikes it has it: numbers for people, not a proof."""

import math

import numpy as np

from volsurface.pricing.kernel import kernel
from volsurface.surface.certificate_kernels import VIOLATED, answers

WINDOW = 3.0  # the least is searched for |k| <= 3, strikes from a twentieth to twenty times the forward
FARTHEST = 1e6  # an interval that reaches this k is called infinite
SINH_GRID = np.sinh(np.linspace(-7.5, 7.5, 97))  # k = m + sigma sinh(u): dense where the smile bends
EVEN_GRID = np.linspace(-WINDOW, WINDOW, 61)
BUTTERFLY, CALENDAR, VARIANCE = 0, 1, 2


@kernel
def _value(kind, one, two, k):
    """g of slice two; or (w2 - w1) / w2(0); or w of slice two."""
    x = k - two[3]
    s = np.sqrt(x * x + two[4] * two[4])
    w = two[0] + two[1] * (two[2] * x + s)
    if kind == VARIANCE:
        return w
    if kind == CALENDAR:
        y = k - one[3]
        earlier = one[0] + one[1] * (one[2] * y + np.sqrt(y * y + one[4] * one[4]))
        atm = two[0] + two[1] * (np.sqrt(two[3] * two[3] + two[4] * two[4]) - two[2] * two[3])
        return (w - earlier) / max(atm, 1e-12)
    slope = two[1] * (two[2] + x / s)
    z = 1.0 - 0.5 * k * slope / w
    return z * z - 0.25 * slope * slope * (1.0 / w + 0.25) + 0.5 * two[1] * two[4] * two[4] / (s * s * s)


@kernel
def _edge(kind, one, two, inside, outside):
    """The k between `inside` (value < 0) and `outside` (value >= 0) where the sign changes."""
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        if _value(kind, one, two, middle) < 0.0:
            inside = middle
        else:
            outside = middle
    return outside


@kernel
def _merge(ks, n, centre, scale, grid):
    """Merge centre + scale * grid into the first n values of ks, both ascending; return how many there are now."""
    i, j = n - 1, grid.size - 1
    for at in range(n + grid.size - 1, -1, -1):
        if j < 0 or (i >= 0 and ks[i] > centre + scale * grid[j]):
            ks[at] = ks[i]
            i -= 1
        else:
            ks[at] = centre + scale * grid[j]
            j -= 1
    return n + grid.size


@kernel("UniTuple(f8, 4)(i8, f8[::1], f8[::1], b1, f8)")
def search(kind, one, two, violated, witness):
    """(k, value, low, high): the least value and, around it, the interval below zero (nan, nan when there is none).

    kind: BUTTERFLY, CALENDAR or VARIANCE. one, two: raw SVI of the earlier and the later slice; only a pair has two. violated:
    look as far as needed for a negative value. witness: a k to look at as well.
    """
    ks = np.empty(2 * SINH_GRID.size + EVEN_GRID.size + 1)
    n = _merge(ks, 0, two[3], two[4], SINH_GRID)
    n = _merge(ks, n, 0.0, 1.0, EVEN_GRID)
    n = _merge(ks, n, witness, 0.0, EVEN_GRID[:1])
    if kind == CALENDAR:
        n = _merge(ks, n, one[3], one[4], SINH_GRID)
    ks = ks[:n]
    best, at = np.inf, 0
    reach = WINDOW
    for _ in range(2):
        for i in range(ks.size):
            if abs(ks[i]) <= reach:
                value = _value(kind, one, two, ks[i])
                if value < best:
                    best, at = value, i
        if not violated or best < 0.0:
            break
        reach = np.inf  # it fails only far out
    k = ks[at]
    low, high = ks[max(at - 1, 0)], ks[min(at + 1, ks.size - 1)]
    for _ in range(40):  # golden section
        c, d = high - 0.6180339887498949 * (high - low), low + 0.6180339887498949 * (high - low)
        at_c, at_d = _value(kind, one, two, c), _value(kind, one, two, d)
        if at_c < best and abs(c) <= reach:
            best, k = at_c, c
        if at_d < best and abs(d) <= reach:
            best, k = at_d, d
        if at_c < at_d:
            high = d
        else:
            low = c
    if best >= 0.0:
        return k, best, np.nan, np.nan
    edges = np.array([-np.inf, np.inf])
    for side in range(2):
        step = -1 if side == 0 else 1
        inside, i = k, at + step
        while 0 <= i < ks.size and ((ks[i] - k) * step <= 0.0 or _value(kind, one, two, ks[i]) < 0.0):
            if (ks[i] - k) * step > 0.0:
                inside = ks[i]
            i += step
        outside = ks[i] if 0 <= i < ks.size else inside
        while _value(kind, one, two, outside) < 0.0 and abs(outside) < FARTHEST:
            inside = outside
            outside = outside + step * max(1.0, abs(outside))
        if _value(kind, one, two, outside) >= 0.0:
            edges[side] = _edge(kind, one, two, inside, outside)
    return k, best, edges[0], edges[1]


Place = tuple[int, float, float, float, float]


def examine_slice(p: np.ndarray) -> Place:
    """Return answer, worst k, least g (least w where that is not positive), and the interval, of one slice, shape (5,)."""
    answer, t = _answers(p[None])[0]
    a, b, rho, m, sigma = p.tolist()
    if not (math.isfinite(a + b + rho + m + sigma) and b >= 0.0 and sigma > 0.0 and abs(rho) <= 1.0):
        return answer, math.nan, -math.inf, math.nan, math.nan
    bottom = m - rho * sigma / math.sqrt(max((1.0 - rho) * (1.0 + rho), 1e-12))
    if a + b * sigma * math.sqrt((1.0 - rho) * (1.0 + rho)) <= 0.0:
        return answer, *search(VARIANCE, p, p, True, bottom)
    witness = bottom if math.isnan(t) else _at(m, sigma, t)
    return answer, *search(BUTTERFLY, p, p, answer == VIOLATED, witness)


def examine_pair(one: np.ndarray, two: np.ndarray) -> Place:
    """Return answer, worst k, least (w2 - w1) / w2(0), and the interval, of an earlier and a later slice, shape (5,)."""
    answer, t = _answers(np.stack([one, two]))[1]
    if not math.isfinite(one.sum() + two.sum()):
        return answer, math.nan, -math.inf, math.nan, math.nan
    witness = 0.0 if math.isnan(t) else _at(two[3], two[4], t)
    return answer, *search(CALENDAR, one, two, answer == VIOLATED, witness)


def _answers(parameters: np.ndarray) -> list[tuple[int, float]]:
    """Return (answer, t) of the last slice, and of it with the one before."""
    answer, where = np.empty((2, len(parameters)), np.int64), np.empty((2, len(parameters)))
    answers(parameters, answer, where)
    return [(int(answer[i, -1]), float(where[i, -1])) for i in range(2)]


def _at(m: float, sigma: float, t: float) -> float:
    """Return k of a t, kept within the reach of floats."""
    t = min(max(t, 1e-12), 1e12)
    return float(min(max(m + 0.5 * sigma * (t - 1.0 / t), -FARTHEST), FARTHEST))
