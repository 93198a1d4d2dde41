"""The vols of one underlying's quotes, kept up to date for what has changed alone. Pure.

Vols are those of the quotes a fit looks at: out of the money, open, on the venue's own forward of the expiry. A row whose
price stands is not implied again; an expiry is, as a whole, when its forward or the time left has moved so far that a
quoted vol could have.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from volsurface.engine.materiality import common_factor, farthest_move, moved
from volsurface.market.instrument import COIN, Instrument
from volsurface.market.quote import CLOSED
from volsurface.market.year_fraction import NS_PER_YEAR
from volsurface.pricing.implied_vol import implied_vols


class Changes(NamedTuple):
    """What `update` found. Counts of quotes and of forwards (a venue's, of an expiry), offered and skipped.

    quiet: places (in `expiries`) of expiries of which something changed and no vol was implied again.
    material: mask over expiries: a vol moved visibly from those of the last fit. touched: mask: a vol was implied again.
    """

    quotes: int
    quotes_skipped: int
    forwards: int
    forwards_skipped: int
    quiet: np.ndarray
    material: np.ndarray
    touched: np.ndarray


class QuoteVols:
    """Columns of the listed instruments of one underlying, in listing order.

    expiries: ascending, ns. expiry: place of each instrument's. vols: bid and ask, shape (n, 2), NaN where there is none.
    factor: by expiry, how its vols have moved as one since `mark_fitted`.
    """

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self._strike = np.array([i.strike for i in instruments], float)
        self._right = np.array([i.right for i in instruments], float)
        self._inverse = np.array([i.settlement == COIN for i in instruments], bool)
        self._unit = np.array([i.price_unit_size for i in instruments], float)
        expiry_ns = np.array([i.expiry_ns for i in instruments], np.int64)
        self.expiries, self.expiry = np.unique(expiry_ns, return_inverse=True)
        pairs = [(i.venue, i.settlement, i.expiry_ns) for i in instruments]
        numbers = {pair: n for n, pair in enumerate(dict.fromkeys(pairs))}
        self._group = np.array([numbers[pair] for pair in pairs], np.int64)
        groups = len(numbers)
        self._expiry_of_group = np.zeros(groups, np.int64)
        self._expiry_of_group[self._group] = self.expiry
        self._venue_of_group = np.array([venue for venue, _, _ in numbers], object)
        self._order = np.argsort(self.expiry, kind="stable")
        self._starts = np.searchsorted(self.expiry[self._order], np.arange(self.expiries.size))
        n = len(instruments)
        self.vols = np.full((n, 2), np.nan)
        self._prices = np.full((n, 2), np.nan)
        self._at_fit = np.full((n, 2), np.nan)
        self.factor = np.ones(self.expiries.size)
        self._newest = np.full(groups, np.nan)  # forwards
        self._at_mark = np.full(groups, np.nan)
        self._told = np.zeros(groups, bool)  # by the venue; else it is that of the last fit
        self._forward = np.full(groups, np.nan)  # that the vols are on
        self._implied_ns = np.zeros(groups, np.int64)
        self._highest = np.full(groups, np.nan)

    def take_over(self, other: "QuoteVols") -> None:
        """Continue from the state of fewer instruments, which were the first of these."""
        n = other.vols.shape[0]
        self.vols[:n], self._prices[:n], self._at_fit[:n] = other.vols, other._prices, other._at_fit
        self.factor[np.searchsorted(self.expiries, other.expiries)] = other.factor
        groups = np.full(other._newest.size, -1)
        groups[other._group] = self._group[:n]
        for name in ("_newest", "_at_mark", "_told", "_forward", "_implied_ns", "_highest"):
            getattr(self, name)[groups] = getattr(other, name)

    def update(
        self, mine: np.ndarray, places: np.ndarray, now_ns: int, known: Mapping[int, float], forward_change: float,
        vol_change: float,
    ) -> Changes:  # fmt: skip
        """Take the rows at `places` (listing order) of `mine`, all rows of the underlying; say what moved visibly.

        known: forwards of the last fit by expiry_ns, used where a venue tells none.
        """
        rows = mine.take(places)
        groups = self._group[places]
        self._take_forwards(rows, groups, known)
        live = self.expiries[self._expiry_of_group] > now_ns
        told = (self._newest != self._forward) & np.isfinite(self._newest) & live
        again = live & np.isfinite(self._newest) & ~self._stands(now_ns, forward_change, live)
        self._forward[again], self._implied_ns[again] = self._newest[again], now_ns

        prices = np.stack([rows["bid"], rows["ask"]], axis=1)
        prices[(rows["flags"] & CLOSED) != 0] = np.nan
        before = self._prices[places]
        same = ((prices == before) | (np.isnan(prices) & np.isnan(before))).all(axis=1)
        self._prices[places] = prices
        in_the_money = (self._strike >= self._forward[self._group]) != (self._right > 0)
        idle = ~again[groups] & (same | in_the_money[places])

        wanted = again[self._group]
        wanted[places[~idle]] = True
        self.vols[wanted & in_the_money] = np.nan
        self._imply(np.flatnonzero(wanted & ~in_the_money), again)
        at = np.flatnonzero(wanted)
        visible = moved(self.vols[at], self._at_fit[at] * self.factor[self.expiry[at], None], vol_change).any(axis=1)
        material, touched = np.zeros(self.expiries.size, bool), np.zeros(self.expiries.size, bool)
        material[self.expiry[at[visible]]] = True
        touched[self.expiry[at]] = True
        something = np.zeros(self.expiries.size, bool)
        something[self._expiry_of_group[told]] = True
        something[self.expiry[places]] = True
        return Changes(
            places.size, int(idle.sum()), int((told | again).sum()), int((told & ~again).sum()),
            np.flatnonzero(something & ~touched), material, touched,
        )  # fmt: skip

    def _take_forwards(self, rows: np.ndarray, groups: np.ndarray, known: Mapping[int, float]) -> None:
        """Take the newest forward each venue has told of each expiry."""
        order = np.argsort(rows["ts_recv_ns"], kind="stable")
        forward = rows["fwd"][order]
        told = forward > 0.0
        self._newest[groups[order][told]] = forward[told]
        self._told[groups[order][told]] = True
        for group in np.flatnonzero(~self._told).tolist():
            self._newest[group] = known.get(int(self.expiries[self._expiry_of_group[group]]), np.nan)

    def _stands(self, now_ns: int, forward_change: float, live: np.ndarray) -> np.ndarray:
        """Which groups' vols cannot have moved visibly, as long as their prices stand."""
        expiry_ns = self.expiries[self._expiry_of_group]
        out = np.zeros(live.size, bool)
        implied = live & (self._implied_ns > 0)
        at = np.flatnonzero(implied & np.isfinite(self._highest))
        years, before = (expiry_ns[at] - now_ns) / NS_PER_YEAR, (expiry_ns[at] - self._implied_ns[at]) / NS_PER_YEAR
        move = farthest_move(np.log(self._newest[at] / self._forward[at]), self._highest[at], years, before)
        out[at] = move < forward_change
        # No vol to be wrong about: only another forward can make one.
        none = implied & np.isnan(self._highest)
        out[none] = self._newest[none] == self._forward[none]
        return out

    def _imply(self, at: np.ndarray, again: np.ndarray) -> None:
        """Bring the vols at these places up to date, each group on its forward and at its instant."""
        if not at.size:
            return
        group = self._group[at]
        forward = self._forward[group]
        years = (self.expiries[self.expiry[at]] - self._implied_ns[group]) / NS_PER_YEAR
        self.vols[at] = self.exact(at, forward, years, start=self.vols[at])
        highest = np.full(again.size, np.nan)
        np.fmax.at(highest, group, np.fmax(self.vols[at, 0], self.vols[at, 1]))
        self._highest = np.where(again, highest, np.fmax(self._highest, highest))

    def exact(self, at: np.ndarray, forward: np.ndarray, years: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Return the vols of the quotes at these places on a forward and a time of their own, shape (n, 2)."""
        unit = np.where(self._inverse[at], forward, 1.0 / self._unit[at])
        prices = (self._prices[at] * unit[:, None]).T
        return implied_vols(prices, forward, self._strike[at], years, self._right[at], start=start.T).vol.T

    def row_forwards(self, own: np.ndarray) -> np.ndarray:
        """Return by instrument the forward its vol is on, where its venue tells one; else `own`, the row's.

        Rows keep the forward of their last ticker, seconds old for a quiet strike; the venue's newest is one for all.
        """
        on = self._forward[self._group]
        return np.where(self._told[self._group] & np.isfinite(on), on, own)

    def forwards(self, known: Mapping[int, float], left_out: Collection[str]) -> np.ndarray:
        """Return by expiry the forward as it is now, NaN where none is known.

        known: forwards by expiry_ns as they were when their expiries were marked. One venue's is its own; of several, each
        on its own basis, the middle one says by what factor it has moved since. left_out: venues that have no say.
        """
        out = np.full(self.expiries.size, np.nan)
        if self._forward.size == self.expiries.size:  # one venue
            out[self._expiry_of_group] = self._forward
            return out
        heard = np.isfinite(self._forward) & ~np.isin(self._venue_of_group, list(left_out))
        for at, expiry in enumerate(self.expiries.tolist()):
            groups = np.flatnonzero(self._expiry_of_group == at)
            voices = groups[heard[groups]]
            if groups.size == 1:
                out[at] = self._forward[groups[0]]
            elif voices.size and expiry in known:
                moves = self._forward[voices] / self._at_mark[voices]
                moves = moves[np.isfinite(moves)]
                out[at] = known[expiry] * (np.median(moves) if moves.size else 1.0)
        return out

    def mark_forwards(self, expiries: np.ndarray) -> None:
        """Remember the venues' forwards of these expiries (mask) as those that belong to the forwards then `known`."""
        groups = expiries[self._expiry_of_group]
        self._at_mark[groups] = self._forward[groups]

    def common_factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return by expiry the factor by which its vols moved since its fit, and the largest distance from it (vol)."""
        return common_factor(self.vols, self._at_fit, self._order, self._starts)

    def mark_fitted(self, expiries: np.ndarray) -> None:
        """Remember the vols of these expiries (mask) as those their smile was fitted to."""
        rows = expiries[self.expiry]
        self._at_fit[rows] = self.vols[rows]
        self.factor[expiries] = 1.0
        self.mark_forwards(expiries)

    def worst_error(self, expiry: int, now_ns: int) -> float:
        """Return how far the vols kept for the expiry at place `expiry` are from exact ones now, prices unmoved (vol)."""
        at = np.flatnonzero((self.expiry == expiry) & np.isfinite(self.vols).any(axis=1))
        years = np.full(at.size, (self.expiries[expiry] - now_ns) / NS_PER_YEAR)
        exact = self.exact(at, self._newest[self._group[at]], years, self.vols[at])
        return float(np.fmax.reduce(np.abs(exact - self.vols[at]), axis=None, initial=0.0))
