"""One step of the engine for one underlying: changed rows in, the next publication (or none) out. Pure.

Order: rows that changed -> their vols -> which expiries moved visibly -> those are refitted -> did a displayed point
move -> publish. Each stage counts what it was offered and what it skipped (`Ledger`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from volsurface.engine.chain_fit import ChainFit, fit_chain, free_fit, refit_expiries
from volsurface.engine.materiality import Thresholds, displayed_change, displayed_vols, moved
from volsurface.market.chain import Chain
from volsurface.market.instrument import COIN, Instrument
from volsurface.market.quote import CLOSED, forward_source
from volsurface.pricing.implied_vol import implied_vols
from volsurface.surface.options import FitOptions
from volsurface.surface.surface import Surface

NS_PER_YEAR = 365 * 86_400 * 1_000_000_000
# Without a visible move a surface is published again this often, so that its times go on and a page can trust its age.
KEEP_ALIVE_NS = 1_000_000_000
# All expiries are refitted this often: years to expiry shrink although no quote moves.
REFIT_ALL_NS = 30_000_000_000
# After a fit that is not certified the next attempt, of everything, comes this much later: it is the dearest kind.
RETRY_NS = 1_000_000_000
STAGES = ("vols", "fits", "publications")


@dataclass(slots=True)
class Ledger:
    """What each stage was offered and what it skipped, since the start."""

    offered: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    skipped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))

    def count(self, stage: str, offered: int, skipped: int) -> None:
        """Add to a stage's counts."""
        self.offered[stage] += offered
        self.skipped[stage] += skipped

    def table(self) -> dict[str, dict[str, int]]:
        """Return {stage: {"offered", "skipped", "done"}}."""
        return {
            stage: {
                "offered": self.offered[stage],
                "skipped": self.skipped[stage],
                "done": self.offered[stage] - self.skipped[stage],
            }
            for stage in STAGES
        }


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step decided. `fit` is None when nothing is to be published.

    changed: bit i set: smile i differs visibly from the publication before. oldest_tick_ns: receive time of the oldest
    change first shown by this publication. ticks_ns: receive times of all of them, for latency figures.
    """

    fit: ChainFit | None
    changed: int = 0
    oldest_tick_ns: int = 0
    newest_quote_ns: int = 0
    ticks_ns: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    refitted: int = 0


class UnderlyingState:
    """What the engine knows of one underlying between two steps."""

    def __init__(self, underlying: str) -> None:
        self.underlying = underlying
        self.ledger = Ledger()
        self._shown: dict[int, np.ndarray] = {}
        self._fit: ChainFit | None = None
        self._published_ns = 0
        self._stale = False
        self.forget_listing()

    def forget_listing(self) -> None:
        """Start the listing anew: the feed has another epoch and its ids mean something else. The last fit stays."""
        self.instruments: list[Instrument] = []
        self.iids = np.empty(0, np.int64)
        self._place_of = np.empty(0, np.int64)
        self._vols = np.empty((0, 2))
        self._vols_at_fit = np.empty((0, 2))
        self._pending: list[np.ndarray] = []
        self._refitted_ns = 0

    @property
    def fit(self) -> ChainFit | None:
        """The newest fit, published or not."""
        return self._fit

    def list(self, iids: Sequence[int], instruments: Sequence[Instrument]) -> None:
        """Take newly listed instruments of this underlying; `iids` are the feed's ids."""
        self.instruments += instruments
        self.iids = np.concatenate([self.iids, np.asarray(iids, np.int64)])
        size = int(self.iids.max()) + 1 if self.iids.size else 0
        self._place_of = np.full(size, -1, np.int64)
        self._place_of[self.iids] = np.arange(self.iids.size)
        fresh = np.full((len(instruments), 2), np.nan)
        self._vols = np.concatenate([self._vols, fresh])
        self._vols_at_fit = np.concatenate([self._vols_at_fit, fresh])
        self._symbol = np.array([i.symbol for i in self.instruments], object)
        self._venue = np.array([i.venue for i in self.instruments], object)
        self._expiry_ns = np.array([i.expiry_ns for i in self.instruments], np.int64)
        self._strike = np.array([i.strike for i in self.instruments])
        self._right = np.array([i.right for i in self.instruments], np.int8)
        self._inverse = np.array([i.settlement == COIN for i in self.instruments])
        self._unit = np.array([i.price_unit_size for i in self.instruments])

    def refit_all(self) -> None:
        """Let the next step refit everything: the fit settings have changed."""
        self._refitted_ns = 0

    def step(
        self, rows: np.ndarray, changed: np.ndarray, now_ns: int, options: FitOptions, thresholds: Thresholds
    ) -> StepResult:
        """Take the feed's rows (by iid) and the ids that changed since the last step; return what to publish.

        now_ns is the market's time. Nothing is computed for expiries whose vols moved less than the threshold.
        """
        places = self._places(changed)
        if not self.iids.size:
            return StepResult(None)
        mine = rows[self.iids]
        self._update_vols(mine, places, now_ns)
        newest_ns = int(mine["ts_recv_ns"].max())
        if places.size:
            self._pending.append(mine["ts_recv_ns"][places])
        stale = now_ns - newest_ns > thresholds.stale_ns
        if stale and self._fit is not None:
            return self._publish_stale(newest_ns, now_ns)
        self._stale = False

        visible = moved(self._vols[places], self._vols_at_fit[places], thresholds.vol_change).any(axis=1)
        self.ledger.count("vols", places.size, int(places.size - visible.sum()))
        live = self._expiry_ns > now_ns
        expiries = np.unique(self._expiry_ns[live])
        dirty = np.intersect1d(np.unique(self._expiry_ns[places[visible]]), expiries)
        everything = now_ns - self._refitted_ns > REFIT_ALL_NS or now_ns < self._refitted_ns or self._fit is None
        if self._fit is not None and self._fit.surface.state != "certified" and not everything:
            everything = now_ns - self._refitted_ns > RETRY_NS
            dirty = dirty[:0]  # one expiry refitted beside what is held or a fallback would certify nothing
        if everything:
            dirty, self._refitted_ns = expiries, now_ns
        self.ledger.count("fits", expiries.size if places.size else 0, expiries.size - dirty.size if places.size else 0)
        if dirty.size:
            self._refit(mine, live, now_ns, options, None if everything else dirty)
        return self._publish(newest_ns, now_ns, dirty.size, thresholds)

    def _places(self, changed: np.ndarray) -> np.ndarray:
        known = changed[changed < self._place_of.size]
        places = self._place_of[known]
        return places[places >= 0]

    def _update_vols(self, mine: np.ndarray, places: np.ndarray, now_ns: int) -> None:
        """Bring bid and ask vols of the changed rows up to date, on the venue's own forward."""
        if not places.size:
            return
        rows = mine[places]
        forward, strike, right = rows["fwd"], self._strike[places], self._right[places]
        years = (self._expiry_ns[places] - now_ns) / NS_PER_YEAR
        unit = np.where(self._inverse[places], forward, 1.0 / self._unit[places])
        for side, name in enumerate(("bid", "ask")):
            self._vols[places, side] = implied_vols(rows[name] * unit, forward, strike, years, right).vol

    def preview(self, rows: np.ndarray, now_ns: int, options: FitOptions) -> ChainFit | None:
        """Return the free fit of the feed's rows, for a page to show as not certified; None without a smile. Never published."""
        if not self.iids.size:
            return None
        fit = free_fit(self.chain(rows[self.iids], self._expiry_ns > now_ns, now_ns), options)
        return fit if fit.surface.smiles else None

    def chain(self, mine: np.ndarray, keep: np.ndarray, now_ns: int) -> Chain:
        """Return the instruments in mask `keep` as a chain; `mine` holds this underlying's rows in listing order."""
        rows = mine[keep]
        closed = (rows["flags"] & CLOSED) != 0
        unit = self._unit[keep]
        bid, ask = rows["bid"] / unit, rows["ask"] / unit
        return Chain(
            underlying=self.underlying,
            time_ns=now_ns,
            venue=self._venue[keep],
            symbol=self._symbol[keep],
            expiry_ns=self._expiry_ns[keep],
            strike=self._strike[keep],
            right=self._right[keep],
            inverse=self._inverse[keep],
            bid=np.where(closed, np.nan, bid),
            ask=np.where(closed, np.nan, ask),
            mark=rows["mark"] / unit,
            bid_size=rows["bid_sz"],
            ask_size=rows["ask_sz"],
            open_interest=rows["oi"],
            mark_iv=rows["iv_mark"],
            forward=rows["fwd"],
            forward_source=forward_source(rows["flags"]).astype(np.uint8),
            index=rows["index"],
            quote_time_ns=rows["ts_recv_ns"],
            iid=rows["iid"],
        )

    def _refit(
        self, mine: np.ndarray, live: np.ndarray, now_ns: int, options: FitOptions, dirty: np.ndarray | None
    ) -> None:
        previous = self._fit.surface if self._fit is not None else None
        only = None if dirty is None else [int(expiry) for expiry in dirty]
        fit = None
        if self._fit is not None and only is not None:
            fit = refit_expiries(self.chain(mine, np.isin(self._expiry_ns, only), now_ns), self._fit, only, options)
        self._fit = fit or fit_chain(self.chain(mine, live, now_ns), options, previous=previous, expiries=only)
        refitted = live if dirty is None else np.isin(self._expiry_ns, dirty)
        self._vols_at_fit[refitted] = self._vols[refitted]

    def _publish(self, newest_ns: int, now_ns: int, refitted: int, thresholds: Thresholds) -> StepResult:
        if self._fit is None:
            return StepResult(None)
        smiles = self._fit.surface.smiles
        if not smiles and not self._shown:
            return StepResult(None, refitted=refitted)  # the first quotes are still coming: nothing has failed yet
        shown = {smile.expiry_ns: displayed_vols(smile) for smile in smiles}
        changes = [displayed_change(shown[s.expiry_ns], self._shown.get(s.expiry_ns)) for s in smiles]
        gone = bool(self._shown.keys() - shown.keys())
        threshold = thresholds.publish_change
        due = not 0 <= now_ns - self._published_ns < KEEP_ALIVE_NS
        visible = gone or any(change >= threshold for change in changes)
        if refitted:
            self.ledger.count("publications", 1, int(not visible))
        if not visible and not due:
            return StepResult(None, refitted=refitted)
        self._shown, self._published_ns = shown, now_ns
        ticks = np.concatenate(self._pending) if self._pending else np.empty(0, np.int64)
        self._pending = []
        return StepResult(
            self._fit,
            changed=sum(1 << i for i, change in enumerate(changes) if change >= threshold),
            oldest_tick_ns=int(ticks.min()) if ticks.size else newest_ns,
            newest_quote_ns=newest_ns,
            ticks_ns=ticks,
            refitted=refitted,
        )

    def _publish_stale(self, newest_ns: int, now_ns: int) -> StepResult:
        """Publish the last surface once more, marked stale: nothing newer has come."""
        assert self._fit is not None
        if self._stale:
            return StepResult(None)
        # Both times forgotten: the first new quote refits everything and shows at once that it is over.
        self._stale, self._published_ns, self._refitted_ns = True, 0, 0
        fit = replace(self._fit, surface=stale_surface(self._fit.surface))
        return StepResult(fit, newest_quote_ns=newest_ns, oldest_tick_ns=newest_ns)


def stale_surface(surface: Surface) -> Surface:
    """Return the same surface with every state "stale"."""
    smiles = tuple(replace(smile, state="stale") for smile in surface.smiles)
    return replace(surface, state="stale", state_reason="no newer quote", smiles=smiles)
