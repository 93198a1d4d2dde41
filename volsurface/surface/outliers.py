"""Which quotes of an expiry are far from where their neighbours put them: a start for a robust fit that no model can spoil."""

import numpy as np

from volsurface.pricing.kernel import kernel

MOST_REMOVED = 4  # one quote in this many
AGAINST_MEDIAN = 5.0  # a coarse or bent smile is off its neighbours everywhere: only what is far beyond that counts


@kernel
def _median(values, n):
    """The median of values[:n], which are left sorted. (Numba takes seconds to compile np.median.)"""
    for i in range(1, n):
        value, j = values[i], i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    return 0.5 * (values[(n - 1) // 2] + values[n // 2])


@kernel
def _expected(k, w, rows, n, place, lines):
    """w at rows[place] as the median over the lines through pairs of its four nearest neighbours in order of k."""
    first = min(max(place - 2, 0), n - 5)
    count = 0
    for i in range(first, first + 5):
        for j in range(first, i):
            one, two = rows[i], rows[j]
            if i != place and j != place and abs(k[one] - k[two]) > 1e-12:  # two venues may quote one strike
                lines[count] = w[two] + (w[one] - w[two]) * (k[rows[place]] - k[two]) / (k[one] - k[two])
                count += 1
    return _median(lines, count) if count else w[rows[place]]


@kernel
def near_neighbours(k, w, spreads, limit, kept):
    """Write the mask of the quotes that agree with their neighbours; k ascending.

    spreads: 1 / (half-spread in w). Removed one at a time, the farthest first, because an outlier makes its neighbours look
    wrong as well: what lies beyond `limit` half-spreads and AGAINST_MEDIAN times the median distance.
    """
    kept[:] = True
    rows, off, lines = np.arange(k.size), np.empty(k.size), np.empty(10)
    n = k.size
    for _ in range(k.size // MOST_REMOVED):
        if n < 6:
            return
        worst = 0
        for place in range(n):
            off[place] = abs(spreads[rows[place]] * (w[rows[place]] - _expected(k, w, rows, n, place, lines)))
            if off[place] > off[worst]:
                worst = place
        farthest = off[worst]
        if farthest <= max(limit, AGAINST_MEDIAN * _median(off, n)):
            return
        kept[rows[worst]] = False
        n -= 1
        for place in range(worst, n):
            rows[place] = rows[place + 1]
