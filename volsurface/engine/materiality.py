"""Whether a result would be visible: the questions each stage asks before the next one runs. Pure functions.

row changed            has its price changed, and is it a quote the fit looks at?       else no implied vol
forward or time moved  could that move any quoted vol visibly?                          else the vols stand
vols moved             visibly, from those of the last fit, times what it moved since?  else the smile stands
                       all by one factor?                                               then it only moves along
smile changed          does any displayed point move?                                   else nothing is published
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from volsurface.surface.smile import Smile

# Where a displayed smile is compared with the one before: in standard deviations of log-moneyness.
DISPLAYED_POINTS = np.linspace(-3.0, 3.0, 25)
_SAFETY = 1.1  # what `reach` bounds is first order in the move
# A smile can move a little more between quotes than any quote of it: work begins at this share of the threshold.
ACT_AT = 0.85


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is too small to act on, and what is too old to be called current.

    forward_change: a move of forward or time that could move a quoted vol by so much reprices its expiry; vol_change: a
    quote's move that acts on its expiry; publish_change: a displayed move that publishes; all fractions of vol (0.0001 =
    1 bp). stale_ns: without a newer quote for this long a surface is stale. audit_share: of the skipped work, done exactly
    afterwards (0 to 1).
    """

    vol_change: float = 1e-4
    publish_change: float = 1e-4
    stale_ns: int = 10_000_000_000
    forward_change: float = 1e-4
    audit_share: float = 0.0


def moved(now: np.ndarray, then: np.ndarray, threshold: float) -> np.ndarray:
    """Return the mask of vols that moved by at least `threshold`, or appeared, or vanished.

    now, then: vols as fractions, same shape, NaN where a quote has none. threshold: a fraction (0.0001 = 1 bp).
    """
    appeared_or_vanished = np.isnan(now) != np.isnan(then)
    with np.errstate(invalid="ignore"):
        return appeared_or_vanished | (np.abs(now - then) >= threshold)


def reach(highest_vol: np.ndarray, years: np.ndarray) -> np.ndarray:
    """Return how far the vol of an out-of-the-money quote moves at most per unit of ln(forward), its price unmoved.

    highest_vol: of the quotes; years: to expiry. At an unmoved price in quote currency |dvol/dlnF| = M(d1)/sqrt(T), in coin
    M(d2)/sqrt(T), with M(x) = N(x)/n(x) for a call and d the other way round for a put. Out of the money the argument is at
    most vol sqrt(T)/2, and M grows with it.
    """
    x = 0.5 * highest_vol * np.sqrt(years)
    mills = [0.5 * (1.0 + math.erf(value / math.sqrt(2.0))) for value in x.tolist()]
    return np.asarray(mills) * math.sqrt(2.0 * math.pi) * np.exp(0.5 * x * x) / np.sqrt(years)


def farthest_move(
    log_forward: np.ndarray, highest_vol: np.ndarray, years: np.ndarray, years_before: np.ndarray
) -> np.ndarray:
    """Return the most a quoted vol can have moved since it was implied, its price unmoved; a fraction of vol.

    log_forward: ln(forward now / then). years, years_before: to expiry, now and then; an unmoved price means a vol that
    grows by vol/2 per unit of ln(years) lost, at every strike.
    """
    by_time = 0.5 * highest_vol * np.abs(np.log(years / years_before))
    return _SAFETY * (reach(highest_vol, years) * np.abs(log_forward) + by_time)


def common_factor(
    now: np.ndarray, then: np.ndarray, order: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each group the factor between its vols then and now, and how far any of them lies from it (vol).

    now, then: shape (n, sides). order: rows sorted by group; starts: each group's first place in `order`. The distance is
    inf where a vol appeared or vanished or none exists: then there is no common factor.
    """
    now, then = now[order], then[order]
    flipped = (np.isnan(now) != np.isnan(then)).any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = now / then
    lowest = np.fmin.reduceat(np.fmin.reduce(ratio, axis=1), starts)
    highest = np.fmax.reduceat(np.fmax.reduce(ratio, axis=1), starts)
    factor = 0.5 * (lowest + highest)
    group = np.repeat(np.arange(starts.size), np.diff(np.append(starts, order.size)))
    off = np.fmax.reduce(np.abs(now - factor[group, None] * then), axis=1)
    off[flipped] = np.inf
    distance = np.fmax.reduceat(off, starts)
    distance[np.isnan(distance)] = np.inf
    return factor, distance


def displayed_vols(smile: Smile) -> np.ndarray:
    """Return the smile's vols at `DISPLAYED_POINTS`, in the units of its own ATM standard deviation; shape (25,)."""
    return np.asarray(smile.vol_at(DISPLAYED_POINTS * smile.atm_vol * np.sqrt(smile.years)))


def displayed_change(now: np.ndarray | None, then: np.ndarray | None) -> float:
    """Return the largest move of a displayed point as a fraction of vol; inf when a smile appeared or vanished."""
    if now is None or then is None:
        return float("inf")
    change = float(np.max(np.abs(now - then)))
    return change if change == change else float("inf")


def quoted_change(now: Smile, then: Smile) -> float:
    """Return the largest difference at a displayed point between the quoted strikes of both, at the same strikes (vol).

    Beyond the quoted strikes a displayed vol is an extrapolation and marked as one.
    """
    k = DISPLAYED_POINTS * then.atm_vol * np.sqrt(then.years)
    if then.quoted_k is not None and now.quoted_k is not None:
        low, high = max(then.quoted_k[0], now.quoted_k[0]), min(then.quoted_k[1], now.quoted_k[1])
        k = np.append(k[(k >= low) & (k <= high)], (low, high))
    moved_k = k + np.log(then.forward / now.forward)
    return float(np.max(np.abs(np.asarray(now.vol_at(moved_k)) - np.asarray(then.vol_at(k)))))


def steepest(smile: Smile, vols: np.ndarray) -> float:
    """Return the largest |dvol/dk| between displayed points: what a move of the forward does to a displayed strike.

    vols: the smile's `displayed_vols`.
    """
    spacing = (DISPLAYED_POINTS[1] - DISPLAYED_POINTS[0]) * smile.atm_vol * np.sqrt(smile.years)
    return float(np.max(np.abs(np.diff(vols)))) / float(spacing)


def chosen_for_audit(step: int, units: Sequence[int], share: float) -> list[int]:
    """Return those of `units` (any numbers) whose skipped work is done exactly after step number `step`.

    The choice is a hash of both, so that a replay of the same steps makes the same one. share: 0 to 1.
    """
    limit = int(share * 2**64)
    return [unit for unit in units if _mixed(step * 0x9E3779B97F4A7C15 + unit) < limit]


def _mixed(number: int) -> int:
    """SplitMix64's finaliser: every bit of the number decides every bit of the result (Steele, Lea, Flood 2014)."""
    number &= 2**64 - 1
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & 2**64 - 1
    number = (number ^ number >> 27) * 0x94D049BB133111EB & 2**64 - 1
    return number ^ number >> 31
