"""The expiries of one chain, fitted: free fit, repair, judgement, and the fallback; smiles with their quality out. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from volsurface.market.forward import Forwards
from volsurface.surface.calibration import Slices, calibrate, slices
from volsurface.surface.essvi import fit_essvi
from volsurface.surface.faults import crossing_expiry
from volsurface.surface.options import FitOptions
from volsurface.surface.quality import closeness, refusal
from volsurface.surface.quoted import REASON_CODE, QuotedVols
from volsurface.surface.repair import borrow, repair
from volsurface.surface.smile import Smile

_FEW_QUOTES, _OUTLIER = REASON_CODE["few_quotes"], REASON_CODE["outlier"]
_BY_DESIGN = REASON_CODE["in_the_money"]  # the other option of the strike stands for it: not counted as rejected
_REFUSED = REASON_CODE["expiry_refused"]
FAULTY_SHARE = 3  # one expiry in so many may be left out for the others' sake
FAR = "certified but far from the quotes"
FEWEST = 3  # strikes for a smile whose m and sigma are borrowed from a neighbour


class Quoted(NamedTuple):
    """quotes of a chain sorted by expiry; place: of each quote's expiry in `forwards`; years: per expiry."""

    quotes: QuotedVols
    place: np.ndarray
    forwards: Forwards
    years: np.ndarray


class _Points(NamedTuple):
    """The quotes to fit, expiry by expiry. which: places of the expiries. rows: of the quotes. borrowed: per expiry."""

    which: np.ndarray
    rows: np.ndarray
    slot: np.ndarray
    slices: Slices
    borrowed: np.ndarray


class ExpiryFits:
    """Fits of one chain.

    reason: why the last call of `certified` returned None. left_out: the expiries that `without_those_at_fault` refused, and
    why, in words; empty when there are none.
    """

    def __init__(self, quoted: Quoted, before: dict[int, Smile], now_ns: int, options: FitOptions) -> None:
        self._quotes, self._place, self._forwards, self._years = quoted
        self._before, self._now_ns, self._options = before, now_ns, options
        self._expiries: list[int] = self._forwards.expiry_ns.tolist()
        self._cleaned = self._quotes.reason.copy()
        self._refused: int | None = None
        self.reason = self.left_out = ""

    def certified(self, chosen: np.ndarray, named: frozenset[int] | None) -> list[Smile] | None:
        """Return smiles, nearest first, that are certified together and near the quotes, or None.

        chosen: mask of the expiries to fit; outliers among their quotes and poor expiries are marked. named: expiries that
        the caller wants refitted, None for all: only of these an old smile that cannot be fitted is stale.
        """
        self._quotes.reason[:] = self._cleaned
        points = self._points(chosen)
        fitted = {self._expiries[at] for at in points.which}
        kept = {}
        for expiry, smile in self._before.items():
            if expiry > self._now_ns and expiry not in fitted:
                if named is not None and expiry not in named:
                    kept[expiry] = smile
                elif expiry in self._expiries:
                    kept[expiry] = replace(smile, state="stale")
        found = self._solve(points, kept)
        old = {expiry: smile for expiry, smile in kept.items() if smile.state != "stale"}
        if found is None and (len(old) < len(kept) or points.borrowed.any()):
            # What could not be fitted from its own quotes gives way to what could.
            self._quotes.reason[points.rows[points.borrowed[points.slot]]] = _FEW_QUOTES
            found = self._solve(_picked(points, ~points.borrowed), old)
        return found

    def without_those_at_fault(self) -> list[Smile] | None:
        """Return what `certified` gives when the expiries at fault, a third at most, are left out one at a time, or None.

        To be asked when `certified` has failed with everything. At fault is the expiry whose quotes cross those of others, by
        `faults.crossing_expiry`, else the one whose certified fit was refused for being far from its quotes.
        """
        left, words = np.ones(len(self._expiries), bool), []
        for _ in range(len(self._expiries) // FAULTY_SHARE):
            points = self._points(left)
            points = _picked(points, ~points.borrowed)
            free = calibrate(points.slices, self._options)
            found = crossing_expiry(points.slices, free.parameters, free.used, self._years[points.which])
            if found is not None:
                at, why = int(points.which[found]), "its quotes cross those of other expiries"
            elif self._refused is not None and left[self._refused]:
                at, why = (
                    self._refused,
                    self.reason.removeprefix(f"{FAR}: {self._name(self._expiries[self._refused])}: "),
                )
            else:
                return None
            left[at] = False
            words.append(f"{self._name(self._expiries[at])} is left out: {why}")
            smiles = self.certified(left, None)
            if smiles is not None:
                mine = ~left[self._place]
                self._quotes.reason[mine & self._quotes.used] = _REFUSED
                self.left_out = "; ".join(words)
                return smiles
        return None

    def free(self) -> list[Smile]:
        """Return the free fit of every expiry with enough quotes, uncertified."""
        points = self._points(np.ones(self._years.size, bool))
        points = _picked(points, ~points.borrowed)
        calibrated = calibrate(points.slices, self._options)
        good = np.isfinite(calibrated.parameters).all(axis=1)
        used, points = calibrated.used[good[points.slot]], _picked(points, good)
        self._quotes.reason[points.rows[~used]] = _OUTLIER
        methods = ["free"] * points.which.size
        return self._smiles(points, used, calibrated.parameters[good], methods, "uncertified") if methods else []

    def fallback(self) -> list[Smile]:
        """Return eSSVI smiles of every expiry with enough quotes; empty when there is none or a number is not finite."""
        self._quotes.reason[:] = self._cleaned
        points = self._points(np.ones(self._years.size, bool))
        points = _picked(points, ~points.borrowed)
        if not points.which.size:
            return []
        used = np.ones(points.rows.size, bool)
        parameters = fit_essvi(points.slices, used)
        if not np.isfinite(parameters).all():
            return []
        return self._smiles(points, used, parameters, ["essvi"] * points.which.size, "fallback")

    def near_share(self, smiles: Iterable[Smile]) -> float:
        """Return the share of the quotes of these smiles' expiries that lie within a whole spread of them."""
        near = count = 0
        quotes = self._quotes
        for smile in smiles:
            rows = np.flatnonzero((quotes.expiry_ns == smile.expiry_ns) & np.isfinite(quotes.mid_vol) & quotes.used)
            off = np.abs(smile.vol_at(quotes.k[rows]) - quotes.mid_vol[rows])
            spread = np.maximum(quotes.ask_vol[rows] - quotes.bid_vol[rows], 2.0 * self._options.spread_floor)
            near, count = near + int((off <= spread).sum()), count + rows.size
        return near / count if count else 0.0

    def _points(self, chosen: np.ndarray) -> _Points:
        """The quotes of the chosen expiries that have enough strikes; those of poorer ones get that reason.

        Strikes are counted, not quotes: two venues quoting one strike determine a smile no better than one.
        """
        quotes, place, size = self._quotes, self._place, chosen.size
        strikes = np.zeros(size, np.int64)
        used = np.flatnonzero(quotes.used)
        if used.size:
            new = np.ones(used.size, bool)
            new[1:] = (np.diff(quotes.strike[used]) != 0.0) | (np.diff(place[used]) != 0)
            strikes = np.bincount(place[used[new]], minlength=size)
        enough = strikes >= max(self._options.min_quotes, 1)
        lenders = enough & chosen if not self._before else enough
        borrowed = ~enough & (strikes >= FEWEST) & bool(lenders.any())
        quotes.reason[quotes.used & ~(enough | borrowed)[place]] = _FEW_QUOTES
        which = np.flatnonzero(chosen & (enough | borrowed))
        if not (chosen & enough).any() and not self._before:
            which = which[:0]
        mask = np.zeros(size, bool)
        mask[which] = True
        rows = np.flatnonzero(quotes.used & mask[place])
        slot = np.searchsorted(which, place[rows])
        offsets = np.concatenate([[0], np.cumsum(np.bincount(slot, minlength=which.size))])
        years = self._years[place[rows]]
        of = slices(
            offsets,
            quotes.k[rows],
            quotes.bid_vol[rows],
            quotes.ask_vol[rows],
            quotes.mid_vol[rows],
            years,
            self._options,
        )
        if len(quotes.venues) > 1:
            of = of._replace(weight=of.weight * quotes.emphasis[rows])
        return _Points(which, rows, slot, of, borrowed[which])

    def _solve(self, points: _Points, kept: dict[int, Smile]) -> list[Smile] | None:
        """Calibrate, repair between the kept smiles, judge; None with `reason` when that fails."""
        if not points.which.size:
            return [kept[expiry] for expiry in sorted(kept)]
        expiries = [self._expiries[at] for at in points.which]
        starts = self._starts(expiries)
        calibrated = calibrate(points.slices, self._options, starts)
        free, used = calibrated.parameters.copy(), calibrated.used | points.borrowed[points.slot]
        good = np.isfinite(free).all(axis=1)
        if not good.all():
            self._quotes.reason[points.rows[~good[points.slot]]] = _FEW_QUOTES
            return self._solve(_picked(points, good), kept)
        order = sorted([*expiries, *kept])
        place_of = {expiry: i for i, expiry in enumerate(order)}
        at = np.array([place_of[expiry] for expiry in expiries])
        fixed = np.ones(len(order), bool)
        fixed[at] = False
        parameters = np.array([kept[expiry].parameters if expiry in kept else (0.0,) * 5 for expiry in order])
        parameters[at] = free
        pinned = np.zeros(len(order), bool)
        pinned[at] = points.borrowed
        warm = np.full((len(order), 5), np.nan)
        warm[at] = starts
        counts = np.zeros(len(order), np.int64)
        counts[at] = np.diff(points.slices.offsets)
        joint = points.slices._replace(offsets=np.concatenate([[0], np.cumsum(counts)]))
        if points.borrowed.any():
            years = np.array([self._years_of(expiry, kept) for expiry in order])
            if not borrow(joint, used, parameters, years, pinned):
                self.reason = "too few strikes and no neighbour to borrow a shape from"
                return None
        repaired = repair(joint, used, parameters, fixed, pinned, warm if self._before else None)
        self._refused = None
        if repaired is None:
            self.reason = "no surface free of arbitrage was found near the quotes"
            return None
        where, why = refusal(joint, used, parameters, repaired.parameters)
        if why:
            self._refused = self._expiries.index(order[where]) if where >= 0 else None
            self.reason = f"{FAR}: {self._name(order[where]) if where >= 0 else 'surface'}: {why}"
            return None
        self._quotes.reason[points.rows[~used]] = _OUTLIER
        methods = [
            "borrowed" if points.borrowed[i] else "repaired" if repaired.changed[place] else "free"
            for i, place in enumerate(at)
        ]
        smiles = self._smiles(points, used, repaired.parameters[at], methods, "certified")
        return sorted([*smiles, *kept.values()], key=lambda smile: smile.expiry_ns)

    def _years_of(self, expiry: int, kept: dict[int, Smile]) -> float:
        return kept[expiry].years if expiry in kept else float(self._years[self._expiries.index(expiry)])

    def _name(self, expiry: int) -> str:
        return f"expiry in {self._years[self._expiries.index(expiry)] * 365:.2f} days"

    def _starts(self, expiries: Sequence[int]) -> np.ndarray:
        """Parameters of the previous smiles of these expiries, NaN rows where there is none."""
        starts = np.full((len(expiries), 5), np.nan)
        for i, expiry in enumerate(expiries):
            smile = self._before.get(expiry)
            if smile is not None and smile.model == "svi" and smile.method != "essvi":
                starts[i] = smile.parameters
        return starts

    def _smiles(
        self, points: _Points, used: np.ndarray, parameters: np.ndarray, methods: Sequence[str], state: str
    ) -> list[Smile]:
        """Smiles of these parameters with what the quotes say of them."""
        quotes, rows, slot, n = self._quotes, points.rows, points.slot, points.which.size
        a, b, rho, m, sigma = parameters.T[:, slot]
        x = points.slices.k - m
        w = a + b * (rho * x + np.sqrt(x * x + sigma * sigma))
        vol = np.sqrt(np.maximum(w, 0.0) / self._years[self._place[rows]])
        count = np.maximum(np.bincount(slot, used, n), 1)
        share, rmse, worst = closeness(
            slot, n, vol, quotes.bid_vol[rows], quotes.ask_vol[rows], quotes.mid_vol[rows], used
        )
        k = points.slices.k
        lowest = np.minimum.reduceat(np.where(used, k, np.inf), points.slices.offsets[:-1])
        highest = np.maximum.reduceat(np.where(used, k, -np.inf), points.slices.offsets[:-1])
        newest = np.maximum.reduceat(quotes.quote_time_ns[rows], points.slices.offsets[:-1])
        dropped = ~quotes.used & (quotes.reason != _BY_DESIGN)
        refused = np.bincount(self._place[dropped], minlength=self._years.size)
        return [
            Smile(
                expiry_ns=self._expiries[at],
                years=float(self._years[at]),
                forward=float(self._forwards.forward[at]),
                forward_source=self._forwards.source_name(at),
                model="svi",
                parameters=tuple(parameters[i].tolist()),
                n_quotes=int(count[i]),
                n_rejected=int(refused[at]),
                inside_spread=float(share[i]),
                rmse_bp=float(rmse[i]),
                max_error_bp=float(worst[i]),
                state=state,
                quote_time_ns=int(newest[i]),
                fit_time_ns=self._now_ns,
                method=methods[i],
                quoted_k=(float(lowest[i]), float(highest[i])) if lowest[i] <= highest[i] else None,
            )
            for i, at in enumerate(points.which.tolist())
        ]


def _picked(points: _Points, keep: np.ndarray) -> _Points:
    """The points of the expiries in mask `keep` alone."""
    if keep.all():
        return points
    rows = keep[points.slot]
    slot = (np.cumsum(keep) - 1)[points.slot[rows]]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(slot, minlength=int(keep.sum())))])
    of = Slices(offsets.astype(np.int64), *(np.ascontiguousarray(column[rows]) for column in points.slices[1:]))
    return _Points(points.which[keep], points.rows[rows], slot, of, points.borrowed[keep])
