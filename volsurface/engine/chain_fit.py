"""A chain in, its certified surface and its quotes as vols out: clean, imply, calibrate, certify. Pure."""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from volsurface.engine.expiry_fits import ExpiryFits, Quoted
from volsurface.engine.refinement import refined_at_once
from volsurface.market import cleaning
from volsurface.market.chain import Chain
from volsurface.market.composite import Composite, composite
from volsurface.market.forward import Forwards
from volsurface.market.venue_weights import weigh
from volsurface.market.year_fraction import NS_PER_DAY, NS_PER_YEAR, years_to_expiry
from volsurface.pricing.implied_vol import implied_vols
from volsurface.pricing.status import BELOW_INTRINSIC
from volsurface.settings import FitSettings
from volsurface.surface.certificate import UNDECIDED, Certificate, Verdict, certify
from volsurface.surface.options import SVI_ONLY, FitOptions
from volsurface.surface.quoted import REASON_CODE, QuotedVols
from volsurface.surface.smile import Smile
from volsurface.surface.surface import Surface

# Cleaning lives in a room that cannot see the surface's reason table: its words are translated here.
_REASON_OF = np.array([REASON_CODE[word] for word in cleaning.REASONS], np.uint8)
HELD_NS = 300_000_000_000  # the last certified surface is held no longer than this
HELD_SHARE = 0.5  # nor when fewer of the new quotes lie within a spread of it
STAGES = ("clean", "implied_vol", "calibrate", "certify")


@dataclass(frozen=True, slots=True)
class ChainFit:
    """surface: the fitted surface. quotes: every quote of the chain beside the fit, by expiry, then strike.

    timing_ms: milliseconds per stage (STAGES) when the caller gave a timer, else empty. words, gain: of the refinement to a
    mixture (`refinement.Refined`), where one was asked for.
    """

    surface: Surface
    quotes: QuotedVols
    timing_ms: dict[str, float]
    words: str = ""
    gain: float | None = None


def fit_surface(chain: Chain, settings: FitSettings | FitOptions | None = None) -> Surface:
    """Return the surface of a chain, fitted from nothing else; `settings` as on the page, default when None."""
    options = settings.options() if isinstance(settings, FitSettings) else settings
    return fit_refined(chain, options or FitOptions()).surface


def fit_refined(chain: Chain, options: FitOptions, timer: Callable[[], int] | None = None) -> ChainFit:
    """Fit a chain from nothing else, then its mixture where `options.model` asks for one; that is "refine" in `timing_ms`."""
    fit = fit_chain(chain, options, timer=timer)
    began = timer() if timer else 0
    refined = refined_at_once(fit.surface, fit.quotes, options)
    spent = {"refine": (timer() - began) / 1e6} if timer and options.model != SVI_ONLY else {}
    return ChainFit(refined.surface, refined.quotes, fit.timing_ms | spent, refined.words, refined.gain)


def fit_chain(
    chain: Chain,
    options: FitOptions | None = None,
    previous: Surface | None = None,
    expiries: Collection[int] | None = None,
    timer: Callable[[], int] | None = None,
) -> ChainFit:
    """Fit the expiries of a chain and certify the surface.

    previous: the last surface of this underlying. Its parameters are starts, its forwards a last resort, and an expiry that
    cannot be fitted now (too near, too few quotes) keeps its smile, marked "stale", until it expires or stands in the way.
    expiries: when given, only these (expiry_ns) are fitted; every other smile is taken from `previous` unchanged, also
    when the chain has no quote of it. Where no certified fit exists between fixed neighbours, the neighbours are fitted
    too, then everything. timer: a counter in nanoseconds, for `timing_ms`; time is an argument here.

    The surface is "certified", with `state_reason` when an expiry at fault had to be left out; or "stale": no certified fit is near the quotes, this is the last one; or "fallback": an
    eSSVI surface, certified too; or "failed", without smiles. Never raises for what the quotes are; an expiry that cannot
    be fitted is left out and its quotes say why.
    """
    options = options or FitOptions()
    if previous is not None and previous.state not in ("certified", "stale"):
        expiries = None  # what stands beside a fallback is no certified surface
    laps = _Laps(timer)
    before = {smile.expiry_ns: smile for smile in previous.smiles} if previous else {}
    prepared = _prepare(chain, before, options, laps)
    quotes, forwards = prepared.quotes, prepared.forwards
    fits = ExpiryFits(prepared, before, chain.time_ns, options)
    smiles: list[Smile] | None = None
    for chosen in _widening(forwards.expiry_ns, expiries, before):
        smiles = fits.certified(chosen, None if expiries is None else frozenset(expiries))
        if smiles is not None:
            break
    if smiles is None:
        smiles = fits.without_those_at_fault()
    laps.end("calibrate")
    surface = _settled(chain, smiles, fits, previous)
    _evaluate(quotes, prepared.place, forwards, {smile.expiry_ns: smile for smile in surface.smiles})
    laps.end("certify")
    return ChainFit(surface, quotes, laps.ms)


def refit_expiries(
    chain: Chain, previous: ChainFit, expiries: Collection[int], options: FitOptions | None = None
) -> ChainFit | None:
    """Fit `expiries` between the other smiles of the last fit; those stay as they are, and so do their quotes.

    chain: the quotes of these expiries and no others, which is what makes this cheaper than `fit_chain`. None where it gives
    no certified fit of every one of them, or the last surface is not certified: then `fit_chain` has to see the whole chain.
    """
    options = options or FitOptions()
    if previous.surface.state != "certified":
        return None
    before = {smile.expiry_ns: smile for smile in previous.surface.smiles}
    prepared = _prepare(chain, before, options, _Laps(None))
    fits = ExpiryFits(prepared, before, chain.time_ns, options)
    smiles = fits.certified(np.ones(prepared.years.size, bool), frozenset(expiries))
    fresh = {smile.expiry_ns: smile for smile in smiles or () if before.get(smile.expiry_ns) is not smile}
    if smiles is None or {smile.expiry_ns for smile in fresh.values() if smile.state == "certified"} != set(expiries):
        return None
    certificate = certify(smiles)
    if not certificate.ok:
        return None
    _evaluate(prepared.quotes, prepared.place, prepared.forwards, fresh)
    surface = Surface(chain.underlying, chain.time_ns, tuple(smiles), certificate, "certified")
    return ChainFit(surface, previous.quotes.replaced(prepared.quotes), {})


def free_fit(chain: Chain, options: FitOptions | None = None) -> ChainFit:
    """Fit every expiry on its own and prove nothing: what a page shows as not certified until the repair is compiled.

    Every state is "uncertified" and every verdict "undecided". Expiries with few strikes have no smile.
    """
    prepared = _prepare(chain, {}, options or FitOptions(), _Laps(None))
    smiles = ExpiryFits(prepared, {}, chain.time_ns, options or FitOptions()).free()
    _evaluate(prepared.quotes, prepared.place, prepared.forwards, {smile.expiry_ns: smile for smile in smiles})
    unknown = Verdict(UNDECIDED, None, -math.inf, False, None)
    certificate = Certificate(False, (unknown,) * len(smiles), (unknown,) * max(len(smiles) - 1, 0))
    reason = "each expiry was fitted on its own, and nothing is proved"
    surface = Surface(chain.underlying, chain.time_ns, tuple(smiles), certificate, "uncertified", reason)
    return ChainFit(surface, prepared.quotes, {})


def requoted(chain: Chain, fit: ChainFit, options: FitOptions) -> ChainFit:
    """Return `fit` with the quotes of `chain`, those of some of its expiries, in the place of what they were at the fit."""
    smiles = {smile.expiry_ns: smile for smile in fit.surface.smiles}
    prepared = _prepare(chain, smiles, options, _Laps(None))
    _evaluate(prepared.quotes, prepared.place, prepared.forwards, smiles)
    return replace(fit, quotes=fit.quotes.replaced(prepared.quotes), timing_ms={})


def _prepare(chain: Chain, before: dict[int, Smile], options: FitOptions, laps: "_Laps") -> Quoted:
    """The quotes of a chain as vols, by expiry, then strike, each with what cleaning says of it."""
    chain = chain.take(np.lexsort((chain.right, chain.strike, chain.expiry_ns)))
    left_out = {*options.excluded_venues, *options.silent_venues}
    together = composite(chain, {expiry: smile.forward for expiry, smile in before.items()}, left_out)
    forwards, place = together.forwards, together.place
    years_of = years_to_expiry(forwards.expiry_ns, chain.time_ns)
    years = years_of[place]
    k = np.log(chain.strike / together.quote_forward)
    code = cleaning.screen_prices(
        chain,
        k,
        years,
        place,
        min_years=options.min_days * NS_PER_DAY / NS_PER_YEAR,
        stale_after_s=options.stale_after_s,
        excluded_venues=options.excluded_venues,
        silent_venues=options.silent_venues,
    )
    laps.end("clean")

    quotes = _quoted(chain, together, k, code)
    below = _imply(quotes, chain.inverse, code, years, together.quote_forward)
    laps.end("implied_vol")

    code = cleaning.screen_vols(code, quotes.bid_vol, quotes.ask_vol, below, place, max_spread=options.max_spread)
    if len(together.venues) > 1:
        code = _weighed(code, quotes, place, forwards.expiry_ns.size, options)
    quotes.reason[:] = _REASON_OF[code]
    laps.end("clean")
    return Quoted(quotes, place, forwards, years_of)


def _weighed(
    code: np.ndarray, quotes: QuotedVols, place: np.ndarray, n_expiries: int, options: FitOptions
) -> np.ndarray:
    """The codes with those of untrusted venues added; fills the emphasis of the others."""
    weights = weigh(
        code, quotes.venue, place, quotes.strike, quotes.bid_vol, quotes.ask_vol, quotes.mid_vol, quotes.bid_size,
        quotes.ask_size, quotes.quote_time_ns, len(quotes.venues), n_expiries, stale_after_s=options.stale_after_s,
    )  # fmt: skip
    quotes.emphasis[:] = weights.emphasis
    return weights.code


def _widening(
    expiry_ns: np.ndarray, expiries: Collection[int] | None, before: dict[int, Smile]
) -> Iterator[np.ndarray]:
    """Masks of the expiries to fit: those named, with their neighbours, all; each is tried when the one before failed."""
    everything = np.ones(expiry_ns.size, bool)
    if expiries is not None and before:
        chosen = np.isin(expiry_ns, list(expiries))
        yield chosen
        wider = chosen.copy()
        wider[:-1] |= chosen[1:]
        wider[1:] |= chosen[:-1]
        if not wider.all():
            yield wider
        if chosen.all():
            return
    elif expiries is not None:
        yield np.isin(expiry_ns, list(expiries))
        return
    yield everything


def _settled(chain: Chain, smiles: list[Smile] | None, fits: ExpiryFits, previous: Surface | None) -> Surface:
    """The surface to publish: certified, else the last certified one, else the fallback, else one without smiles."""
    reason = fits.reason
    if smiles is not None:
        certificate = certify(smiles)
        if certificate.ok:
            state = "certified" if smiles else "failed"
            words = fits.left_out if smiles else "no expiry to fit"
            return Surface(chain.underlying, chain.time_ns, tuple(smiles), certificate, state, words)
        reason = "the repaired surface is not certified"  # cannot be: the repair certifies the same numbers
    held = _held(chain.time_ns, fits, previous)
    if held is not None:
        return replace(held, state_reason=reason)
    smiles = fits.fallback()
    certificate = certify(smiles)
    if smiles and certificate.ok:
        return Surface(chain.underlying, chain.time_ns, tuple(smiles), certificate, "fallback", reason)
    return Surface(chain.underlying, chain.time_ns, (), certify(()), "failed", reason)


def _held(now_ns: int, fits: ExpiryFits, previous: Surface | None) -> Surface | None:
    """The last certified surface, marked stale, unless it is too old or misses most of the new quotes by far."""
    if previous is None or previous.state not in ("certified", "stale"):
        return None
    if not 0 <= now_ns - previous.valuation_time_ns <= HELD_NS:
        return None
    smiles = tuple(replace(smile, state="stale") for smile in previous.smiles if smile.expiry_ns > now_ns)
    if not smiles or fits.near_share(smiles) < HELD_SHARE:
        return None
    certificate = certify(smiles)
    return replace(previous, smiles=smiles, certificate=certificate, state="stale") if certificate.ok else None


class _Laps:
    """Milliseconds per stage, from a counter that may not be there."""

    def __init__(self, timer: Callable[[], int] | None) -> None:
        self._timer = timer
        self.ms = dict.fromkeys(STAGES, 0.0) if timer else {}
        self._last = timer() if timer else 0

    def end(self, stage: str) -> None:
        """Give the time since the last call to `stage`."""
        if self._timer:
            now = self._timer()
            self.ms[stage] += (now - self._last) / 1e6
            self._last = now


def _quoted(chain: Chain, together: Composite, k: np.ndarray, code: np.ndarray) -> QuotedVols:
    """The chain's rows without vols yet; the arrays are filled in place before anybody else sees them."""
    nan = np.full((4, len(chain)), np.nan)
    return QuotedVols(
        together.venues,
        expiry_ns=chain.expiry_ns,
        strike=chain.strike,
        k=k,
        right=chain.right,
        bid_vol=nan[0],
        ask_vol=nan[1],
        mid_vol=nan[2],
        fit_vol=nan[3],
        bid=chain.bid,
        ask=chain.ask,
        bid_size=chain.bid_size,
        ask_size=chain.ask_size,
        reason=_REASON_OF[code],
        venue=together.number,
        iid=chain.iid,
        quote_time_ns=chain.quote_time_ns,
        emphasis=np.ones(len(chain), np.float32),
    )


def _imply(
    quotes: QuotedVols, inverse: np.ndarray, code: np.ndarray, years: np.ndarray, forward: np.ndarray
) -> np.ndarray:
    """Fill the vols of the out-of-the-money quotes in one batch; return which bids are below intrinsic value.

    A coin price is already the price in units of the forward; a price in quote currency is divided by it.
    """
    rows = np.flatnonzero((code == cleaning.USED) | (code > cleaning.IN_THE_MONEY))
    below = np.zeros(code.size, bool)
    if rows.size:
        unit = np.where(inverse[rows], 1.0, 1.0 / forward[rows])
        bid, ask = quotes.bid[rows] * unit, quotes.ask[rows] * unit
        price = np.stack([bid, ask, 0.5 * (bid + ask)])
        vols = implied_vols(price, 1.0, np.exp(quotes.k[rows]), years[rows], quotes.right[rows].astype(float))
        quotes.bid_vol[rows], quotes.ask_vol[rows], quotes.mid_vol[rows] = vols.vol
        below[rows] = vols.status[0] == BELOW_INTRINSIC
    return below


def _evaluate(quotes: QuotedVols, place: np.ndarray, forwards: Forwards, smiles: dict[int, Smile]) -> None:
    """Fill the fitted vol of every quote whose expiry has a smile, at the quote's k on the current forward."""
    starts = np.searchsorted(place, np.arange(forwards.expiry_ns.size + 1))
    for i, expiry in enumerate(forwards.expiry_ns.tolist()):
        smile = smiles.get(expiry)
        if smile is not None:
            rows = slice(starts[i], starts[i + 1])
            quotes.fit_vol[rows] = smile.vol_at(quotes.k[rows])
