"""How each venue stands to the composite surface: basis, residuals and what was left out of it, by expiry and in all.

Everything follows from a published surface and its quotes, so a page, a history and a notebook find the same numbers.
"""

from dataclasses import dataclass

import numpy as np

from volsurface.surface.quoted import REASON_CODE, QuotedVols
from volsurface.surface.surface import Surface

# What can be said of a venue as a whole, the gravest first.
_WORDS = {
    "venue_excluded": "switched off",
    "venue_stale": "silent",
    "venue_locked": "locked books",
    "off_market": "off the market",
}


@dataclass(frozen=True, slots=True, eq=False)
class VenueComparison:
    """One venue beside the composite.

    n_quotes: quotes out of the money with bid and ask vol; n_used: those that are points of the fit; both also by expiry,
    shape (n_expiries,) in the order of the surface's smiles, like the arrays below, which are NaN without such quotes.
    residual_bp: median of the venue's mid vol minus the composite's at the same moneyness, in bp of vol, of all its quotes,
    used or not. spread_bp: median of ask minus bid vol. basis_bp: ln(venue's forward / composite forward) in 1e-4.
    weight: mean emphasis of its used quotes, 1.0 for ordinary ones. verdict: why quotes were left out for the venue's sake,
    empty when none were.
    """

    venue: str
    n_quotes: int
    n_used: int
    residual_bp: float
    spread_bp: float
    basis_bp: float
    weight: float
    verdict: str
    quotes: np.ndarray
    used: np.ndarray
    residuals_bp: np.ndarray
    spreads_bp: np.ndarray
    bases_bp: np.ndarray


def compare_venues(surface: Surface, quotes: QuotedVols) -> tuple[VenueComparison, ...]:
    """Return each venue of `quotes` beside the composite `surface`, in the order of `quotes.venues`."""
    return tuple(_compared(surface, quotes, number) for number in range(len(quotes.venues)))


def _compared(surface: Surface, quotes: QuotedVols, number: int) -> VenueComparison:
    mine = quotes.take(np.flatnonzero(quotes.venue == number))
    n = len(surface.smiles)
    quoted, used = np.zeros(n, np.int64), np.zeros(n, np.int64)
    residuals, spreads, bases = (np.full(n, np.nan) for _ in range(3))
    two_sided = np.isfinite(mine.mid_vol) & np.isfinite(mine.fit_vol) & (mine.ask_vol > mine.bid_vol)
    spread_bp, off_bp = 1e4 * (mine.ask_vol - mine.bid_vol), 1e4 * (mine.mid_vol - mine.fit_vol)
    for at, smile in enumerate(surface.smiles):
        rows = mine.expiry_ns == smile.expiry_ns
        own = np.log(mine.strike[rows]) - mine.k[rows]  # ln of the venue's forward, the same in every row
        bases[at] = 1e4 * (_median(own) - np.log(smile.forward))
        rows &= two_sided
        quoted[at], used[at] = rows.sum(), (rows & mine.used).sum()
        residuals[at], spreads[at] = _median(off_bp[rows]), _median(spread_bp[rows])
    return VenueComparison(
        venue=quotes.venues[number],
        n_quotes=int(quoted.sum()),
        n_used=int(mine.used.sum()),
        residual_bp=_median(off_bp[two_sided]),
        spread_bp=_median(spread_bp[two_sided]),
        basis_bp=_median(bases),
        weight=float(mine.emphasis[mine.used].mean()) if mine.used.any() else 0.0,
        verdict=_verdict(mine),
        quotes=quoted,
        used=used,
        residuals_bp=residuals,
        spreads_bp=spreads,
        bases_bp=bases,
    )


def _verdict(mine: QuotedVols) -> str:
    listed = np.unique(mine.expiry_ns).size
    said = []
    for reason, words in _WORDS.items():
        concerned = np.unique(mine.expiry_ns[mine.reason == REASON_CODE[reason]]).size
        if concerned:
            said.append(words if concerned == listed else f"{words} in {concerned} of {listed} expiries")
    return ", ".join(said)


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
