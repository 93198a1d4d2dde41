"""One step of the engine for one underlying: changed rows in, the next publication (or none) out. Pure.

Order: rows that changed -> their vols -> which expiries moved visibly -> those are refitted, or moved along where all
quotes moved by one factor -> did a displayed point move -> publish. Each stage counts what it was offered and what it
skipped (`Ledger`), and a share of what was skipped is done exactly afterwards (`audit`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from volsurface.engine.audit import Finding, SkippedFit
from volsurface.engine.chain_fit import ChainFit, fit_chain, free_fit, refit_expiries, requoted
from volsurface.engine.last_quotes import LastQuotes
from volsurface.engine.ledger import Ledger, Timer
from volsurface.engine.materiality import (
    ACT_AT,
    Thresholds,
    chosen_for_audit,
    displayed_change,
    displayed_vols,
    quoted_change,
    steepest,
)
from volsurface.engine.quote_vols import Changes, QuoteVols
from volsurface.engine.refinement import Refinement
from volsurface.market.chain import Chain
from volsurface.market.instrument import COIN, Instrument
from volsurface.market.quote import CLOSED, forward_source
from volsurface.market.year_fraction import NS_PER_YEAR
from volsurface.surface.certificate import certify
from volsurface.surface.options import FitOptions
from volsurface.surface.smile import Smile
from volsurface.surface.surface import Surface

# Without a visible move a surface is published again this often, so that its times go on and a page can trust its age.
KEEP_ALIVE_NS = 1_000_000_000
# All expiries are refitted this often, whatever the thresholds say.
REFIT_ALL_NS = 30_000_000_000
# After a fit that is not certified, or lacks an expiry at fault, the next attempt, of everything, comes this much later: it
# is the dearest kind.
RETRY_NS = 1_000_000_000
# |dvol/dk|: 9 was seen six hours before an expiry, and it grows as 1/sqrt(years). A small move is soon dismissed.
STEEPEST = 250.0
STAGES = ("quotes", "forwards", "fits", "moves", "refinements", "publications")


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step decided. `fit` is None when nothing is to be published.

    changed: bit i set: smile i differs visibly from the publication before. oldest_tick_ns: receive time of the oldest
    change first shown by this publication. ticks_ns: receive times of all of them, for latency figures: of the rows of
    expiries that were fitted or moved; what was skipped would not be seen. refitted: expiries fitted.
    findings: of audits done at once; skipped: audits to be done by `audit.refit` when there is time.
    """

    fit: ChainFit | None
    changed: int = 0
    oldest_tick_ns: int = 0
    newest_quote_ns: int = 0
    ticks_ns: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    refitted: int = 0
    findings: tuple[Finding, ...] = ()
    skipped: tuple[SkippedFit, ...] = ()


class UnderlyingState:
    """What the engine knows of one underlying between two steps. steps: taken so far; audits are chosen by it."""

    def __init__(self, underlying: str) -> None:
        self.underlying = underlying
        self.ledger = Ledger(STAGES)
        self.steps = 0
        self._shown: dict[int, tuple[Smile, np.ndarray]] = {}
        self._steep: dict[int, tuple[Smile, float]] = {}
        self._fit: ChainFit | None = None  # always SVI's, or its fallback's; what is shown of it:
        self._refined: ChainFit | None = None
        self.refinement = Refinement()
        self._published_ns = 0
        self._stale = False
        self.forget_listing()

    def forget_listing(self) -> None:
        """Start the listing anew: the feed has another epoch and its ids mean something else. The last fit stays."""
        self.instruments: list[Instrument] = []
        self.iids = np.empty(0, np.int64)
        self._place_of = np.empty(0, np.int64)
        self._quotes = QuoteVols(())
        self._last = LastQuotes()
        self._silent: tuple[str, ...] = ()
        self._pending: list[np.ndarray] = []
        self._refitted_ns = 0

    @property
    def fit(self) -> ChainFit | None:
        """The newest fit, published or not; of SVI, also where a mixture is shown."""
        return self._fit

    def list(self, iids: Sequence[int], instruments: Sequence[Instrument]) -> None:
        """Take newly listed instruments of this underlying; `iids` are the feed's ids."""
        self.instruments += instruments
        self.iids = np.concatenate([self.iids, np.asarray(iids, np.int64)])
        size = int(self.iids.max()) + 1 if self.iids.size else 0
        self._place_of = np.full(size, -1, np.int64)
        self._place_of[self.iids] = np.arange(self.iids.size)
        before, self._quotes = self._quotes, QuoteVols(self.instruments)
        self._quotes.take_over(before)
        self._symbol = np.array([i.symbol for i in self.instruments], object)
        self._venue = np.array([i.venue for i in self.instruments], object)
        self._expiry_ns = np.array([i.expiry_ns for i in self.instruments], np.int64)
        self._strike = np.array([i.strike for i in self.instruments])
        self._right = np.array([i.right for i in self.instruments], np.int8)
        self._inverse = np.array([i.settlement == COIN for i in self.instruments])
        self._unit = np.array([i.price_unit_size for i in self.instruments])

    @property
    def venues(self) -> tuple[str, ...]:
        """The venues that list this underlying, in the order of listing."""
        return tuple(dict.fromkeys(instrument.venue for instrument in self.instruments))

    def refit_all(self) -> None:
        """Let the next step refit everything: the fit settings have changed."""
        self._refitted_ns = 0

    def step(
        self, rows: np.ndarray, changed: np.ndarray, now_ns: int, options: FitOptions, thresholds: Thresholds,
        timer: Timer = lambda: 0,
    ) -> StepResult:  # fmt: skip
        """Take the feed's rows (by iid) and the ids that changed since the last step; return what to publish.

        now_ns is the market's time; timer: CPU in nanoseconds, for the ledger. Nothing is computed for expiries whose vols
        moved less than the threshold.
        """
        places = self._places(changed)
        if not self.iids.size:
            return StepResult(None)
        self.steps += 1
        mine = rows.take(self.iids)  # indexing copies a structured array field by field, 25 times slower
        newest_ns = int(mine["ts_recv_ns"].max())
        silent = options.silent_venues
        self._last.update(mine, np.isin(self._venue, silent) if silent else np.zeros(mine.size, bool))
        if options.silent_venues != self._silent:
            self._silent = options.silent_venues
            self.refit_all()  # quotes of a venue leave the fit, or come back to it
        if now_ns - newest_ns > thresholds.stale_ns and self._fit is not None:
            return self._publish_stale(newest_ns, now_ns)
        self._stale = False
        began = timer()
        quotes = self._quotes
        smiles = self._smiles()
        known = {expiry: smile.forward for expiry, smile in smiles.items()}
        act_at = ACT_AT * thresholds.vol_change
        changes = quotes.update(mine, places, now_ns, known, thresholds.forward_change, act_at)
        self.ledger.count("quotes", changes.quotes, changes.quotes_skipped)
        self.ledger.count("forwards", changes.forwards, changes.forwards_skipped)
        ended = timer()
        self.ledger.spend("quotes", ended - began)

        live = quotes.expiries > now_ns
        dirty, everything = self._dirty(changes.material & live, live, now_ns)
        surface, along = None, np.zeros(live.size, bool)
        if not everything:
            left_out = {*options.silent_venues, *options.excluded_venues}
            surface, along = self._moved_along(dirty, live, quotes.forwards(known, left_out), now_ns, act_at)
        dirty = dirty & ~along
        self.ledger.count("moves", int(along.sum()))
        offered = (changes.touched & live) | dirty
        skipped = offered & ~dirty
        self.ledger.count("fits", int(offered.sum()), int(skipped.sum()))
        acted = dirty | along
        ticks = mine["ts_recv_ns"][places]
        self._pending.append(ticks[(changes.material & live | acted)[quotes.expiry[places]]])
        if acted.any():
            self._refit(mine, now_ns, options, surface, along, None if everything else dirty)
            quotes.mark_fitted(live if everything else dirty)
            ended, began = timer(), ended
            self.ledger.spend("fits" if dirty.any() else "moves", ended - began)
        began = timer()
        acting = self._refine(options) or bool(acted.any())
        ended = timer()
        self.ledger.spend("refinements", ended - began)
        result = self._publish(newest_ns, now_ns, int(dirty.sum()), acting, thresholds)
        if acting:
            self.ledger.spend("publications", timer() - ended)
        return self._with_audits(result, mine, now_ns, options, thresholds, changes, skipped & ~along, along)

    def _places(self, changed: np.ndarray) -> np.ndarray:
        known = changed[changed < self._place_of.size]
        places = self._place_of[known]
        return places[places >= 0]

    def _smiles(self) -> dict[int, Smile]:
        return {smile.expiry_ns: smile for smile in self._fit.surface.smiles} if self._fit is not None else {}

    def _dirty(self, material: np.ndarray, live: np.ndarray, now_ns: int) -> tuple[np.ndarray, bool]:
        """Return the mask of expiries to act on, and whether that is all of them, fitted anew."""
        everything = now_ns - self._refitted_ns > REFIT_ALL_NS or now_ns < self._refitted_ns or self._fit is None
        if self._fit is not None and self._fit.surface.state_reason and not everything:
            everything = now_ns - self._refitted_ns > RETRY_NS
            # Beside what is held, a fallback or an expiry that was left out one expiry would be refitted in vain.
            material = np.zeros_like(live)
        if everything:
            self._refitted_ns = now_ns
            return live.copy(), True
        return material, False

    def _moved_along(
        self, dirty: np.ndarray, live: np.ndarray, forward: np.ndarray, now_ns: int, act_at: float
    ) -> tuple[Surface | None, np.ndarray]:
        """Return the last surface with those smiles moved whose quotes moved by one factor, and the mask of them.

        forward: by expiry, as it is now. A smile whose quotes stand is moved too where that has: by less than the vols at its
        strikes would show, but so far that the vol at the forward, or at a delta, is visibly another one. None: there is no
        such smile, or the moved ones would not be free of arbitrage together, so that they have to be fitted.
        """
        along = np.zeros(dirty.size, bool)
        if self._fit is None or self._fit.surface.state != "certified":
            return None, along
        quotes, smiles = self._quotes, self._smiles()
        factor, distance = quotes.common_factors() if dirty.any() else (quotes.factor, np.zeros(dirty.size))
        replaced = {}
        for at in np.flatnonzero(live).tolist():
            smile = smiles.get(int(quotes.expiries[at]))
            if smile is None or smile.model != "svi" or smile.state != "certified" or not forward[at] > 0.0:
                continue
            if dirty[at]:
                if not distance[at] < act_at:
                    continue
                ratio = factor[at] / quotes.factor[at]
            else:
                move = abs(math.log(forward[at] / smile.forward))
                if move * STEEPEST < act_at or move * self._steepness(smile) < act_at:
                    continue
                ratio = 1.0
            along[at] = True
            replaced[smile.expiry_ns] = _moved_smile(smile, float(ratio), float(forward[at]), now_ns)
        if not replaced:
            return None, along
        surface = self._fit.surface
        moved = tuple(replaced.get(smile.expiry_ns, smile) for smile in surface.smiles)
        certificate = certify(moved)
        if not certificate.ok:
            return None, np.zeros(dirty.size, bool)
        dirty_along = along & dirty
        quotes.factor[dirty_along] = factor[dirty_along]
        quotes.mark_forwards(along)
        return replace(surface, smiles=moved, certificate=certificate, valuation_time_ns=now_ns), along

    def _steepness(self, smile: Smile) -> float:
        """Return `steepest` of a smile, computed once for each."""
        known = self._steep.get(smile.expiry_ns)
        if known is None or known[0] is not smile:
            shown = self._shown.get(smile.expiry_ns)
            vols = shown[1] if shown is not None and shown[0] is smile else displayed_vols(smile)
            known = self._steep[smile.expiry_ns] = smile, steepest(smile, vols)
        return known[1]

    def preview(self, rows: np.ndarray, now_ns: int, options: FitOptions) -> ChainFit | None:
        """Return the free fit of the feed's rows, for a page to show as not certified; None without a smile. Never published."""
        if not self.iids.size:
            return None
        fit = free_fit(self.whole_chain(rows, now_ns), options)
        return fit if fit.surface.smiles else None

    def whole_chain(self, rows: np.ndarray, now_ns: int) -> Chain:
        """Return every instrument that has not expired, of the feed's rows."""
        return self.chain(rows.take(self.iids), self._expiry_ns > now_ns, now_ns)

    def chain(self, mine: np.ndarray, keep: np.ndarray, now_ns: int) -> Chain:
        """Return the instruments in mask `keep` as a chain; `mine` holds this underlying's rows in listing order."""
        rows = mine.take(np.flatnonzero(keep))
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
            forward=self._quotes.row_forwards(mine["fwd"])[keep],
            forward_source=forward_source(rows["flags"]).astype(np.uint8),
            index=rows["index"],
            quote_time_ns=rows["ts_recv_ns"],
            iid=rows["iid"],
        )

    def venue_surface(self, rows: np.ndarray, venue: str, now_ns: int, options: FitOptions) -> Surface | None:
        """Return the surface of one venue's quotes in the feed's rows; None where it lists nothing. Never published."""
        if not self.iids.size:
            return None
        keep = (self._expiry_ns > now_ns) & (self._venue == venue)
        alone = replace(options, excluded_venues=(), silent_venues=())
        return fit_chain(self.chain(rows.take(self.iids), keep, now_ns), alone).surface if keep.any() else None

    def _refit(
        self, mine: np.ndarray, now_ns: int, options: FitOptions, moved: Surface | None, along: np.ndarray,
        dirty: np.ndarray | None,
    ) -> None:  # fmt: skip
        """Take the moved surface, with the quotes of the expiries `along`; fit the `dirty` ones beside it, None for all."""
        before, quotes = self._fit, self._quotes
        if before is not None and moved is not None:
            before = requoted(self.chain(mine, along[quotes.expiry], now_ns), replace(before, surface=moved), options)
        if before is not None and dirty is not None:
            if not dirty.any():
                self._fit = before
                return
            only = quotes.expiries[dirty].tolist()
            fit = refit_expiries(self.chain(mine, dirty[quotes.expiry], now_ns), before, only, options)
            if fit is not None:
                self._fit = fit
                return
        chain = self.chain(mine, self._expiry_ns > now_ns, now_ns)
        only = None if dirty is None else quotes.expiries[dirty].tolist()
        self._fit = fit_chain(chain, options, previous=before.surface if before else None, expiries=only)

    def _refine(self, options: FitOptions) -> bool:
        """Take a step of the mixture beside the last fit; return whether what is shown is another surface than before."""
        before, fit = self._refined, self._fit
        if fit is None:
            return False
        refined = self.refinement.advance(fit.surface, fit.quotes, options)
        if before is not None and before.surface is refined.surface and before.quotes is refined.quotes:
            changed = False
        else:
            changed = before is not None and before.surface.digest != refined.surface.digest
            if refined.surface is not fit.surface:
                self.ledger.count("refinements", 1)
        self._refined = replace(
            fit, surface=refined.surface, quotes=refined.quotes, words=refined.words, gain=refined.gain
        )
        return changed

    def _publish(self, newest_ns: int, now_ns: int, refitted: int, acted: bool, thresholds: Thresholds) -> StepResult:
        if self._refined is None:
            return StepResult(None)
        smiles = self._refined.surface.smiles
        if not smiles and not self._shown:
            return StepResult(None, refitted=refitted)  # the first quotes are still coming: nothing has failed yet
        due = not 0 <= now_ns - self._published_ns < KEEP_ALIVE_NS
        if not acted and not due:
            return StepResult(None)
        shown: dict[int, tuple[Smile, np.ndarray]] = {}
        changes = []
        for smile in smiles:
            before = self._shown.get(smile.expiry_ns)
            if before is not None and before[0] is smile:
                shown[smile.expiry_ns] = before
                changes.append(0.0)
            else:
                vols = displayed_vols(smile)
                shown[smile.expiry_ns] = smile, vols
                change = displayed_change(vols, before[1] if before else None)
                if before is not None and change < thresholds.publish_change:
                    change = max(change, quoted_change(smile, before[0]))  # at the same strikes
                changes.append(change)
        gone = bool(self._shown.keys() - shown.keys())
        threshold = thresholds.publish_change
        visible = gone or any(change >= threshold for change in changes)
        if acted:
            self.ledger.count("publications", 1, int(not visible))
        if not visible and not due:
            self._pending = []  # taken into account, and nobody would see it
            return StepResult(None, refitted=refitted)
        self._shown, self._published_ns = shown, now_ns
        ticks = np.concatenate(self._pending) if self._pending else np.empty(0, np.int64)
        self._pending = []
        return StepResult(
            self._refined,
            changed=sum(1 << i for i, change in enumerate(changes) if change >= threshold),
            oldest_tick_ns=int(ticks.min()) if ticks.size else newest_ns,
            newest_quote_ns=newest_ns,
            ticks_ns=ticks,
            refitted=refitted,
        )

    def _publish_stale(self, newest_ns: int, now_ns: int) -> StepResult:
        """Publish the last surface once more, marked stale: nothing newer has come."""
        assert self._refined is not None
        if self._stale:
            return StepResult(None)
        # Both times forgotten: the first new quote refits everything and shows at once that it is over.
        self._stale, self._published_ns, self._refitted_ns = True, 0, 0
        fit = replace(self._refined, surface=stale_surface(self._refined.surface))
        return StepResult(fit, newest_quote_ns=newest_ns, oldest_tick_ns=newest_ns)

    def _with_audits(
        self, result: StepResult, mine: np.ndarray, now_ns: int, options: FitOptions, thresholds: Thresholds,
        changes: Changes, kept: np.ndarray, along: np.ndarray,
    ) -> StepResult:  # fmt: skip
        """Add the audits of this step: vols that were kept at once, fits that were skipped for later."""
        share, quotes, fit = thresholds.audit_share, self._quotes, self._fit
        if share <= 0.0:
            return result
        findings = tuple(
            Finding(
                "vols", self.underlying, int(quotes.expiries[at]), self.steps, quotes.worst_error(at, now_ns),
                thresholds.forward_change,
            )
            for at in chosen_for_audit(self.steps, changes.quiet.tolist(), share)
            if quotes.expiries[at] > now_ns
        )  # fmt: skip
        skipped: list[SkippedFit] = []
        if fit is not None and fit.surface.state == "certified":
            chain = None
            for kind, mask in (("fits", kept), ("moves", along)):
                for at in chosen_for_audit(self.steps, np.flatnonzero(mask).tolist(), share):
                    chain = chain or self.chain(mine, self._expiry_ns > now_ns, now_ns)
                    skipped.append(
                        SkippedFit(
                            kind, self.underlying, int(quotes.expiries[at]), self.steps, chain, fit.surface, options,
                            thresholds.vol_change,
                        )
                    )  # fmt: skip
        return replace(result, findings=findings, skipped=tuple(skipped))


def _moved_smile(smile: Smile, ratio: float, forward: float, now_ns: int) -> Smile:
    """Return the smile on another forward and at another instant: at each strike its vol times `ratio`; its figures stay.

    Total variance is vol^2 years, in which raw SVI is linear through a and b; a strike's log-moneyness falls by
    ln(forward / earlier forward), and so does m.
    """
    years = (smile.expiry_ns - now_ns) / NS_PER_YEAR
    scale, shift = ratio * ratio * years / smile.years, float(np.log(forward / smile.forward))
    a, b, rho, m, sigma = smile.parameters
    quoted = smile.quoted_k and (smile.quoted_k[0] - shift, smile.quoted_k[1] - shift)
    parameters = (a * scale, b * scale, rho, m - shift, sigma)
    return replace(smile, parameters=parameters, forward=forward, years=years, quoted_k=quoted)


def stale_surface(surface: Surface) -> Surface:
    """Return the same surface with every state "stale"."""
    smiles = tuple(replace(smile, state="stale") for smile in surface.smiles)
    return replace(surface, state="stale", state_reason="no newer quote", smiles=smiles)
