"""A chain in, its certified surface and its quotes as vols out: clean, imply, calibrate, certify. Pure."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np

from volsurface.market import cleaning
from volsurface.market.chain import Chain
from volsurface.market.forward import Forwards, expiry_forwards
from volsurface.market.year_fraction import NS_PER_DAY, NS_PER_YEAR, years_to_expiry
from volsurface.pricing.implied_vol import implied_vols
from volsurface.pricing.status import BELOW_INTRINSIC
from volsurface.settings import FitSettings
from volsurface.surface.calibration import calibrate, slices
from volsurface.surface.certificate import OK, Certificate, certify
from volsurface.surface.options import FitOptions
from volsurface.surface.quoted import REASON_CODE, QuotedVols
from volsurface.surface.smile import Smile
from volsurface.surface.surface import Surface

# Cleaning lives in a room that cannot see the surface's reason table: its words are translated here.
_REASON_OF = np.array([REASON_CODE[word] for word in cleaning.REASONS], np.uint8)
_FEW_QUOTES, _OUTLIER = REASON_CODE["few_quotes"], REASON_CODE["outlier"]
_BY_DESIGN = REASON_CODE["in_the_money"]  # the other option of the strike stands for it: not counted as rejected
STAGES = ("clean", "implied_vol", "calibrate", "certify")


@dataclass(frozen=True, slots=True)
class ChainFit:
    """surface: the fitted surface. quotes: every quote of the chain beside the fit, by expiry, then strike.

    timing_ms: milliseconds per stage (STAGES) when the caller gave a timer, else empty.
    """

    surface: Surface
    quotes: QuotedVols
    timing_ms: dict[str, float]


def fit_surface(chain: Chain, settings: FitSettings | FitOptions | None = None) -> Surface:
    """Return the surface of a chain, fitted from nothing else; `settings` as on the page, default when None."""
    options = settings.options() if isinstance(settings, FitSettings) else settings
    return fit_chain(chain, options or FitOptions()).surface


def fit_chain(
    chain: Chain,
    options: FitOptions | None = None,
    previous: Surface | None = None,
    expiries: Collection[int] | None = None,
    timer: Callable[[], int] | None = None,
) -> ChainFit:
    """Fit the expiries of a chain and certify the surface.

    previous: the last surface of this underlying. Its parameters are starts, its forwards a last resort, and an expiry that
    cannot be fitted now (too near, too few quotes) keeps its smile, marked "stale", until it expires.
    expiries: when given, only these (expiry_ns) are fitted; every other smile is taken from `previous` unchanged, also
    when the chain has no quote of it. timer: a counter in nanoseconds, for `timing_ms`; time is an argument here.

    Never raises for what the quotes are; an expiry that cannot be fitted is left out and its quotes say why.
    """
    options = options or FitOptions()
    laps = _Laps(timer)
    chain = chain.take(np.lexsort((chain.right, chain.strike, chain.expiry_ns)))
    before = {smile.expiry_ns: smile for smile in previous.smiles} if previous else {}
    forwards, place = expiry_forwards(chain, {expiry: smile.forward for expiry, smile in before.items()})
    years_of = years_to_expiry(forwards.expiry_ns, chain.time_ns)
    years = years_of[place]
    k = np.log(chain.strike / forwards.forward[place])
    code = cleaning.screen_prices(
        chain,
        k,
        years,
        place,
        min_years=options.min_days * NS_PER_DAY / NS_PER_YEAR,
        stale_after_s=options.stale_after_s,
        excluded_venues=options.excluded_venues,
    )
    laps.end("clean")

    quotes = _quoted(chain, k, code)
    below = _imply(quotes, chain.inverse, code, years, forwards.forward[place])
    laps.end("implied_vol")

    code = cleaning.screen_vols(code, quotes.bid_vol, quotes.ask_vol, below, place, max_spread=options.max_spread)
    quotes.reason[:] = _REASON_OF[code]
    chosen = np.isin(forwards.expiry_ns, list(expiries)) if expiries is not None else np.ones(years_of.size, bool)
    fitted = _few_quotes(quotes, place, chosen, options)
    laps.end("clean")

    smiles = _fit(quotes, place, fitted, forwards, years_of, before, chain.time_ns, options)
    for expiry, smile in before.items():
        if expiry > chain.time_ns and expiry not in smiles:
            if expiries is not None and expiry not in expiries:
                smiles[expiry] = smile
            elif expiry in forwards.expiry_ns:
                smiles[expiry] = replace(smile, state="stale")
    _evaluate(quotes, place, forwards, smiles)
    laps.end("calibrate")

    surface = _certified(chain, [smiles[expiry] for expiry in sorted(smiles)])
    laps.end("certify")
    return ChainFit(surface, quotes, laps.ms)


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


def _quoted(chain: Chain, k: np.ndarray, code: np.ndarray) -> QuotedVols:
    """The chain's rows without vols yet; the arrays are filled in place before anybody else sees them."""
    venues = tuple(dict.fromkeys(chain.venue.tolist()))
    number = {venue: i for i, venue in enumerate(venues)}
    nan = np.full((4, len(chain)), np.nan)
    return QuotedVols(
        venues,
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
        venue=np.array([number[venue] for venue in chain.venue.tolist()], np.int16)
        if len(venues) > 1
        else np.zeros(len(chain), np.int16),
        iid=chain.iid,
        quote_time_ns=chain.quote_time_ns,
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


def _few_quotes(quotes: QuotedVols, place: np.ndarray, chosen: np.ndarray, options: FitOptions) -> np.ndarray:
    """Which expiries are fitted: chosen, and with enough strikes; the quotes of poorer ones get that reason.

    Strikes are counted, not quotes: two venues quoting one strike determine a smile no better than one.
    """
    used = quotes.used
    strikes = np.zeros(chosen.size, np.int64)
    rows = np.flatnonzero(used)
    if rows.size:
        new = np.ones(rows.size, bool)
        new[1:] = (np.diff(quotes.strike[rows]) != 0.0) | (np.diff(place[rows]) != 0)
        strikes = np.bincount(place[rows[new]], minlength=chosen.size)
    enough = strikes >= max(options.min_quotes, 1)
    quotes.reason[used & ~enough[place]] = _FEW_QUOTES
    return chosen & enough


def _fit(
    quotes: QuotedVols,
    place: np.ndarray,
    fitted: np.ndarray,
    forwards: Forwards,
    years_of: np.ndarray,
    before: dict[int, Smile],
    now_ns: int,
    options: FitOptions,
) -> dict[int, Smile]:
    """Calibrate the expiries in mask `fitted`; return their smiles by expiry_ns and mark outliers in `quotes`."""
    rows = np.flatnonzero(quotes.used & fitted[place])
    which = np.flatnonzero(fitted)
    if not which.size:
        return {}
    slot = np.searchsorted(which, place[rows])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(slot, minlength=which.size))])
    bid_vol, ask_vol, mid_vol = quotes.bid_vol[rows], quotes.ask_vol[rows], quotes.mid_vol[rows]
    points = slices(offsets, quotes.k[rows], bid_vol, ask_vol, mid_vol, years_of[place[rows]], options)
    calibrated = calibrate(points, options, _starts(forwards.expiry_ns[which], before))
    quotes.reason[rows[~calibrated.used]] = _OUTLIER

    kept = calibrated.used
    a, b, rho, m, sigma = calibrated.parameters.T[:, slot]
    x = points.k - m
    w = a + b * (rho * x + np.sqrt(x * x + sigma * sigma))
    vol = np.sqrt(np.maximum(w, 0.0) / years_of[place[rows]])
    error = np.where(kept, np.abs(vol - mid_vol) * 1e4, 0.0)
    inside = kept & (vol >= bid_vol - 1e-9) & (vol <= ask_vol + 1e-9)
    count = np.bincount(slot, kept, which.size)
    share = np.bincount(slot, inside, which.size) / count
    rmse = np.sqrt(np.bincount(slot, error * error, which.size) / count)
    worst = np.maximum.reduceat(error, offsets[:-1])
    newest = np.maximum.reduceat(quotes.quote_time_ns[rows], offsets[:-1])
    refused = np.bincount(place[~quotes.used & (quotes.reason != _BY_DESIGN)], minlength=years_of.size)
    smiles = {}
    for i, at in enumerate(which.tolist()):
        parameters = tuple(calibrated.parameters[i].tolist())
        if not np.isfinite(calibrated.parameters[i]).all():
            quotes.reason[rows[slot == i]] = _FEW_QUOTES
            continue
        smiles[int(forwards.expiry_ns[at])] = Smile(
            expiry_ns=int(forwards.expiry_ns[at]),
            years=float(years_of[at]),
            forward=float(forwards.forward[at]),
            forward_source=forwards.source_name(at),
            model="svi",
            parameters=parameters,
            n_quotes=int(count[i]),
            n_rejected=int(refused[at]),
            inside_spread=float(share[i]),
            rmse_bp=float(rmse[i]),
            max_error_bp=float(worst[i]),
            state="uncertified",
            quote_time_ns=int(newest[i]),
            fit_time_ns=now_ns,
            method="free",
        )
    return smiles


def _starts(expiry_ns: np.ndarray, before: dict[int, Smile]) -> np.ndarray:
    """Parameters of the previous smiles of these expiries, NaN rows where there is none."""
    starts = np.full((expiry_ns.size, 5), np.nan)
    for i, expiry in enumerate(expiry_ns.tolist()):
        smile = before.get(expiry)
        if smile is not None and smile.model == "svi":
            starts[i] = smile.parameters
    return starts


def _evaluate(quotes: QuotedVols, place: np.ndarray, forwards: Forwards, smiles: dict[int, Smile]) -> None:
    """Fill the fitted vol of every quote whose expiry has a smile, at the quote's k on the current forward."""
    starts = np.searchsorted(place, np.arange(forwards.expiry_ns.size + 1))
    for i, expiry in enumerate(forwards.expiry_ns.tolist()):
        smile = smiles.get(expiry)
        if smile is not None:
            rows = slice(starts[i], starts[i + 1])
            quotes.fit_vol[rows] = smile.vol_at(quotes.k[rows])


def _certified(chain: Chain, smiles: list[Smile]) -> Surface:
    """The surface of these smiles with its certificate, each smile's state saying what was proved about it."""
    certificate = certify(smiles)
    stated = tuple(
        smile if smile.state == "stale" else _stated(smile, i, certificate) for i, smile in enumerate(smiles)
    )
    state = "failed" if not stated else "certified" if certificate.ok else "uncertified"
    return Surface(chain.underlying, chain.time_ns, stated, certificate, state)


def _stated(smile: Smile, i: int, certificate: Certificate) -> Smile:
    verdicts = [certificate.butterfly[i], *certificate.calendar[max(i - 1, 0) : i + 1]]
    state = "certified" if all(verdict.verdict == OK for verdict in verdicts) else "uncertified"
    return smile if smile.state == state else replace(smile, state=state)
