"""One forward per expiry from the best source there is, with the source named; the spot index is never one.

Order: a listed future, the venue's synthetic forward, put-call parity on the quotes and marks, the last forward known.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from volsurface.market.chain import Chain
from volsurface.market.grouping import group_medians
from volsurface.market.quote import FORWARD_FUTURE, FORWARD_MODEL, FORWARD_NAMES, FORWARD_SYNTHETIC

SOURCES = ("future", "synthetic", "parity", "stale", "none")
FUTURE, SYNTHETIC, PARITY, STALE, NONE = range(5)
# How good what the venue claims is; beyond SYNTHETIC it is not used.
_RANK = np.full(max(len(FORWARD_NAMES), 8), NONE)
_RANK[FORWARD_FUTURE], _RANK[FORWARD_SYNTHETIC], _RANK[FORWARD_MODEL] = FUTURE, SYNTHETIC, SYNTHETIC
_NEAREST_STRIKES = 10  # parity is taken near the money, where both options trade
_FEWEST_PAIRS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Forwards:
    """Forwards by expiry, ascending: expiry_ns int64, forward float64 (NaN: none), source int8 (index into SOURCES)."""

    expiry_ns: np.ndarray
    forward: np.ndarray
    source: np.ndarray

    def with_known(self, known: Mapping[int, float]) -> "Forwards":
        """Return the same with a forward of `known` (by expiry_ns), marked stale, wherever there is none."""
        forward, source = self.forward.copy(), self.source.copy()
        for i in np.flatnonzero(source == NONE):
            if int(self.expiry_ns[i]) in known:
                forward[i], source[i] = known[int(self.expiry_ns[i])], STALE
        return Forwards(self.expiry_ns, forward, source)

    def source_name(self, place: int) -> str:
        """Return the source of the expiry at `place` in words."""
        return SOURCES[self.source[place]]


def expiry_forwards(chain: Chain, known: Mapping[int, float] | None = None) -> tuple[Forwards, np.ndarray]:
    """Return one forward per expiry of the chain, and for each quote the place of its expiry, shape (n_quotes,).

    known: last forwards by expiry_ns, used as "stale" where nothing better exists. Rows of one expiry may carry slightly
    different forwards (up to 8 bp inside one recorded snapshot): the median of the best source is taken.
    """
    expiry_ns, place = np.unique(chain.expiry_ns, return_inverse=True)
    n = expiry_ns.size
    claim = _RANK[chain.forward_source]
    # A forward of unclear origin that equals the index to the last digit is the index.
    model = (chain.forward_source == FORWARD_MODEL) & (chain.forward == chain.index)
    usable = np.isfinite(chain.forward) & (chain.forward > 0.0) & (claim < NONE) & ~model
    source = np.full(n, NONE, np.int8)
    np.minimum.at(source, place[usable], claim[usable].astype(np.int8))
    best = usable & (claim == source[place])
    forward = group_medians(chain.forward[best], place[best], n)
    for i in np.flatnonzero(source == NONE):
        parity = parity_forward(chain.take(place == i))
        if np.isfinite(parity):
            forward[i], source[i] = parity, PARITY
    return Forwards(expiry_ns, forward, source).with_known(known or {}), place


def parity_forward(chain: Chain) -> float:
    """Return the forward implied by put-call parity in the quotes of one expiry; NaN when they do not tell.

    Coin prices: C - P = 1 - K/F, so F = K / (1 - (C - P)); prices in quote currency, undiscounted: F = K + C - P. Marks
    give it to 0.01 bp, being made from one forward; without three pairs of marks, two-sided quotes do: bids and asks bound
    F from both sides at each strike, and the middles are combined by a median weighted with the inverse width.
    """
    pairs = _pairs(chain)
    if pairs is None:
        return np.nan
    call, put = pairs
    strike, inverse = chain.strike[call], chain.inverse[call]
    marks = _parity(strike, chain.mark[call] - chain.mark[put], inverse)
    good = np.flatnonzero(np.isfinite(marks) & (marks > 0.0))
    if good.size >= _FEWEST_PAIRS:
        return float(np.median(_near_money(marks[good], strike[good])))
    low = _parity(strike, chain.bid[call] - chain.ask[put], inverse)
    high = _parity(strike, chain.ask[call] - chain.bid[put], inverse)
    good = np.flatnonzero(np.isfinite(low) & np.isfinite(high) & (low > 0.0) & (high >= low))
    if good.size < _FEWEST_PAIRS:
        return np.nan
    middle, width = 0.5 * (low + high)[good], (high - low)[good]
    order = np.argsort(middle)
    weight = np.cumsum(1.0 / np.maximum(width[order], 1e-9 * middle[order]))
    return float(middle[order[np.searchsorted(weight, 0.5 * weight[-1])]])


def _parity(strike: np.ndarray, call_minus_put: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(inverse, strike / (1.0 - call_minus_put), strike + call_minus_put)


def _near_money(forwards: np.ndarray, strikes: np.ndarray) -> np.ndarray:
    """The estimates from the strikes nearest to the rough forward."""
    distance = np.abs(np.log(strikes / np.median(forwards)))
    return forwards[np.argsort(distance, kind="stable")[:_NEAREST_STRIKES]]


def _pairs(chain: Chain) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows of calls and of the puts of the same venue, settlement and strike."""
    rows: dict[tuple, int] = {}
    calls, puts = [], []
    keys = zip(chain.venue.tolist(), chain.inverse.tolist(), chain.strike.tolist(), chain.right.tolist(), strict=True)
    for row, (venue, inverse, strike, right) in enumerate(keys):
        other = rows.get((venue, inverse, strike, -right))
        if other is None:
            rows[venue, inverse, strike, right] = row
        else:
            calls.append(row if right > 0 else other)
            puts.append(other if right > 0 else row)
    return (np.array(calls), np.array(puts)) if calls else None
