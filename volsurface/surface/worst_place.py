"""Where a slice or a pair is nearest to arbitrage, and between which strikes it has it: numbers for people, not a proof."""

import numpy as np

from volsurface.pricing.kernel import kernel
from volsurface.surface.certificate_kernels import VIOLATED, butterfly_answer, calendar_answer

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
def _search(kind, one, two, violated, witness):
    """(k, value, low, high): the least value and, around it, the interval below zero (nan, nan when there is none)."""
    n, extra = SINH_GRID.size, EVEN_GRID.size
    ks = np.empty(n + extra + 1 + (n if kind == CALENDAR else 0))
    ks[:n] = two[3] + two[4] * SINH_GRID
    ks[n : n + extra] = EVEN_GRID
    ks[n + extra] = witness
    if kind == CALENDAR:
        ks[n + extra + 1 :] = one[3] + one[4] * SINH_GRID
    ks.sort()
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


@kernel
def _at(p, t):
    """k of a t, kept within the reach of floats."""
    t = min(max(t, 1e-12), 1e12)
    return min(max(p[3] + 0.5 * p[4] * (t - 1.0 / t), -FARTHEST), FARTHEST)


@kernel("Tuple((i8, f8, f8, f8, f8))(f8[::1])")
def examine_slice(p):
    """Answer, worst k, least g (least w where that is not positive), and the interval, of one slice."""
    answer, t = butterfly_answer(p)
    b, rho, sigma = p[1], p[2], p[4]
    if not (np.isfinite(p.sum()) and b >= 0.0 and sigma > 0.0 and abs(rho) <= 1.0):
        return answer, np.nan, -np.inf, np.nan, np.nan
    bottom = p[3] - rho * sigma / np.sqrt(max((1.0 - rho) * (1.0 + rho), 1e-12))
    if p[0] + b * sigma * np.sqrt((1.0 - rho) * (1.0 + rho)) <= 0.0:
        k, value, low, high = _search(VARIANCE, p, p, True, bottom)
        return answer, k, value, low, high
    k, value, low, high = _search(BUTTERFLY, p, p, answer == VIOLATED, _at(p, t) if t == t else bottom)
    return answer, k, value, low, high


@kernel("Tuple((i8, f8, f8, f8, f8))(f8[::1], f8[::1])")
def examine_pair(one, two):
    """Answer, worst k, least (w2 - w1) / w2(0), and the interval, of an earlier and a later slice."""
    answer, t = calendar_answer(one, two)
    if not np.isfinite(one.sum() + two.sum()):
        return answer, np.nan, -np.inf, np.nan, np.nan
    k, value, low, high = _search(CALENDAR, one, two, answer == VIOLATED, _at(two, t) if t == t else 0.0)
    return answer, k, value, low, high
