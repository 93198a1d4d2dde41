"""Whether a certified surface is also near the quotes: free of arbitrage is easy for a surface that fits nothing."""

import numpy as np

from volsurface.surface.calibration import Slices

# Limits of a slice against the free fit of the same quotes; distances in half-spreads, root mean square.
FARTHEST = 3.0  # always near enough below this
WORSE = 3.0  # times the free fit's distance
LEAST_INSIDE = 0.5  # times the free fit's share inside, where the slice is not near
DEAREST = 3.0  # cost of the surface in times the free cost
LEAST_SHARE = 0.1  # points (of 1) that the surface's share inside may lie below the free one's
JUMP = 6.0  # half-spreads between certified and free fit at the quote nearest the forward


def refusal(quotes: Slices, used: np.ndarray, free: np.ndarray, certified: np.ndarray) -> tuple[int, str]:
    """Return (slice, why the certified slices are too far from the quotes), (-1, "") when they are near enough.

    free, certified: raw SVI, shape (n_slices, 5). A slice without quotes is not judged; slice -1 with a reason is the
    whole surface.
    """
    near = _distances(quotes, certified)
    base = _distances(quotes, free)
    inside, base_inside = used & (np.abs(near) <= 1.0), used & (np.abs(base) <= 1.0)
    for i in range(len(certified)):
        rows = slice(quotes.offsets[i], quotes.offsets[i + 1])
        count = int(used[rows].sum())
        if not count:
            continue
        far = float(np.sqrt(np.mean(near[rows][used[rows]] ** 2)))
        free_far = float(np.sqrt(np.mean(base[rows][used[rows]] ** 2)))
        share, free_share = inside[rows].sum() / count, base_inside[rows].sum() / count
        at = int(np.argmin(np.abs(quotes.k[rows])))
        jump = abs(float(near[rows][at] - base[rows][at]))
        if far > FARTHEST and far > WORSE * free_far:
            return i, f"{far:.1f} half-spreads from the quotes, {free_far:.1f} without the no-arbitrage conditions"
        if share < LEAST_INSIDE * free_share:
            return i, f"{share:.0%} of the quotes inside, {free_share:.0%} without the no-arbitrage conditions"
        if jump > JUMP:
            return (
                i,
                f"{jump:.1f} half-spreads between the fits with and without the no-arbitrage conditions at the money",
            )
    total = max(int(used.sum()), 1)
    cost, free_cost = float((near[used] ** 2).sum()), float((base[used] ** 2).sum())
    if cost > DEAREST * free_cost + total:
        return -1, f"{cost / max(free_cost, 1e-12):.1f} times the squared distance of the fit without conditions"
    lost = float(base_inside.sum() - inside.sum()) / total
    if lost > LEAST_SHARE:
        return -1, f"{lost:.0%} fewer of the quotes inside than without the no-arbitrage conditions"
    return -1, ""


def closeness(
    slot: np.ndarray, n: int, vol: np.ndarray, bid: np.ndarray, ask: np.ndarray, mid: np.ndarray, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return share inside bid and ask, RMSE and largest error in bp of vol, each of shape (n,), over the used quotes.

    slot: of each quote, ascending; each of the n slices has at least one. vol: of the fit at the quotes, whose vols follow.
    """
    error = np.where(used, np.abs(vol - mid) * 1e4, 0.0)
    inside = used & (vol >= bid - 1e-9) & (vol <= ask + 1e-9)
    count = np.maximum(np.bincount(slot, used, n), 1)
    worst = np.zeros(n)
    np.maximum.at(worst, slot, error)
    return np.bincount(slot, inside, n) / count, np.sqrt(np.bincount(slot, error * error, n) / count), worst


def _distances(quotes: Slices, parameters: np.ndarray) -> np.ndarray:
    """Signed distance of each quote's middle to its slice, in (floored) half-spreads."""
    a, b, rho, m, sigma = np.repeat(parameters, np.diff(quotes.offsets), axis=0).T
    x = quotes.k - m
    off: np.ndarray = (a + b * (rho * x + np.sqrt(x * x + sigma * sigma)) - quotes.w) / quotes.half_spread
    return off
