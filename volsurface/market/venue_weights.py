"""How much each quote of a composite chain counts: by its size and age, and by how far its venue can be trusted.

The spread is the fit's own weight (a residual counts in half-spreads) and not repeated here. A venue loses weight, expiry
by expiry, when it stands away from the others at the strikes they share, or when many of its books are locked or crossed;
beyond a limit its quotes leave the fit, with that as their reason. One venue has one vote per strike, so that the one
with the longest list cannot outvote the others; with two venues alone nobody can say which is wrong.
"""

from typing import NamedTuple

import numpy as np

from volsurface.market.cleaning import CROSSED, OFF_MARKET, USED, VENUE_LOCKED
from volsurface.market.grouping import group_medians

FEWEST_VENUES = 3  # at a strike, for a majority
FEWEST_STRIKES = 3  # shared with others, for a verdict on an expiry
NEAR, FAR = 2.0, 6.0  # half-spreads away: full weight up to the first, none beyond the second
FEWEST_BOOKS = 5
LOCKED_SHARE = 0.5
SIZE_RANGE = 0.5, 2.0  # of the factor for size
HALF_FLOOR = 0.002  # half-spreads below 20 bp of vol count as this wide


class Weights(NamedTuple):
    """code: cleaning's codes with those of untrusted venues added, shape (n_quotes,). emphasis: what a residual is
    multiplied by, 1.0 for an ordinary quote. deviation: of each venue from the others, in half-spreads, median over the
    strikes they share, NaN without a verdict; trust: 0 to 1; both of shape (n_venues, n_expiries)."""

    code: np.ndarray
    emphasis: np.ndarray
    deviation: np.ndarray
    trust: np.ndarray


def weigh(
    code: np.ndarray,
    number: np.ndarray,
    place: np.ndarray,
    strike: np.ndarray,
    bid_vol: np.ndarray,
    ask_vol: np.ndarray,
    mid_vol: np.ndarray,
    bid_size: np.ndarray,
    ask_size: np.ndarray,
    quote_time_ns: np.ndarray,
    n_venues: int,
    n_expiries: int,
    *,
    stale_after_s: float,
) -> Weights:
    """Return the weights of a chain's quotes, all of shape (n_quotes,).

    code: of `cleaning.screen_vols`. number: of the venue; place: of the expiry. Vols are fractions, sizes coins, NaN when
    unknown. A quote loses half of its weight when it is `stale_after_s` older than the median of its expiry.
    """
    pair = number.astype(np.int64) * n_expiries + place
    used = np.flatnonzero(code == USED)
    shape = n_venues, n_expiries
    half = np.maximum(0.5 * (ask_vol[used] - bid_vol[used]), HALF_FLOOR)
    deviation = _deviation(mid_vol[used], half, strike[used], place[used], pair[used], n_venues * n_expiries)
    trust = np.minimum(1.0, (NEAR / np.maximum(np.abs(np.nan_to_num(deviation)), NEAR)) ** 2)
    off = np.abs(deviation) > FAR
    locked_share = _locked_share(code, pair, n_venues * n_expiries)
    trust *= (1.0 - locked_share) ** 2
    locked = locked_share > LOCKED_SHARE

    out = code.copy()
    out[used[off[pair[used]]]] = OFF_MARKET
    out[used[locked[pair[used]]]] = VENUE_LOCKED
    emphasis = np.ones(code.size)
    size = _size_factor(np.minimum(bid_size[used], ask_size[used]), place[used], n_expiries)
    emphasis[used] = trust[pair[used]] * size * _age_factor(quote_time_ns[used], place[used], n_expiries, stale_after_s)
    return Weights(out, emphasis, deviation.reshape(shape), np.where(off | locked, 0.0, trust).reshape(shape))


def _deviation(
    mid: np.ndarray, half: np.ndarray, strike: np.ndarray, place: np.ndarray, pair: np.ndarray, n_pairs: int
) -> np.ndarray:
    """Per venue and expiry, the median distance of its mids from the middle venue's at the same strike, in half-spreads."""
    if not mid.size:
        return np.full(n_pairs, np.nan)
    order = np.lexsort((strike, place))
    new = np.ones(order.size, bool)
    new[1:] = (np.diff(strike[order]) != 0.0) | (np.diff(place[order]) != 0)
    group = np.empty(order.size, np.int64)
    group[order] = np.cumsum(new) - 1
    n_groups = int(group.max()) + 1
    shared = np.bincount(group, minlength=n_groups)[group] >= FEWEST_VENUES
    distance = mid - group_medians(mid, group, n_groups)[group]
    unit = np.maximum(half, group_medians(half, group, n_groups)[group])
    count = np.bincount(pair[shared], minlength=n_pairs)
    found = group_medians((distance / unit)[shared], pair[shared], n_pairs)
    return np.where(count >= FEWEST_STRIKES, found, np.nan)


def _locked_share(code: np.ndarray, pair: np.ndarray, n_pairs: int) -> np.ndarray:
    """Per venue and expiry, the share of locked and crossed books among those with two sides."""
    crossed = np.bincount(pair[code == CROSSED], minlength=n_pairs)
    two_sided = crossed + np.bincount(pair[code == USED], minlength=n_pairs)
    return np.where(two_sided >= FEWEST_BOOKS, crossed / np.maximum(two_sided, 1), 0.0)


def _size_factor(size: np.ndarray, place: np.ndarray, n_expiries: int) -> np.ndarray:
    """The fourth root of the smaller side's size against the median of the expiry: its square root in the variance."""
    known = np.isfinite(size) & (size > 0.0)
    median = group_medians(size[known], place[known], n_expiries)
    ratio = np.where(known, size, 1.0) / np.where(known, median[place], 1.0)
    return np.clip(ratio**0.25, *SIZE_RANGE)


def _age_factor(quote_time_ns: np.ndarray, place: np.ndarray, n_expiries: int, stale_after_s: float) -> np.ndarray:
    if not quote_time_ns.size:
        return np.ones(0)
    age_s = (quote_time_ns.max() - quote_time_ns) / 1e9
    older_s = np.maximum(age_s - group_medians(age_s, place, n_expiries)[place], 0.0)
    return 1.0 / (1.0 + older_s / stale_after_s)
