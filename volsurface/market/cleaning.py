"""Which quotes are points of a fit: every other one leaves with a reason, never silently.

Two passes, because half of the reasons need no implied vol and the other half is about vols. Codes are indices into
REASONS; the order of the checks is the order of precedence.
"""

from collections.abc import Collection

import numpy as np

from volsurface.market.chain import Chain
from volsurface.market.grouping import group_medians
from volsurface.market.year_fraction import NS_PER_S

REASONS = (
    "used",
    "bad_time",
    "no_forward",
    "in_the_money",
    "no_bid",
    "no_ask",
    "crossed",
    "stale",
    "one_tick",
    "below_intrinsic",
    "no_vol",
    "wide",
    "venue_excluded",
    "venue_stale",
    "venue_locked",
    "off_market",
)
(
    USED, BAD_TIME, NO_FORWARD, IN_THE_MONEY, NO_BID, NO_ASK, CROSSED, STALE, ONE_TICK, BELOW_INTRINSIC, NO_VOL, WIDE,
    VENUE_EXCLUDED, VENUE_STALE, VENUE_LOCKED, OFF_MARKET,
) = range(16)  # fmt: skip
# A spread this many times the median of its expiry, and wider than the floor below, says nothing about the vol.
WIDE_AGAINST_MEDIAN = 25.0
WIDE_FLOOR = 0.1
_FEWEST_PRICES = 20  # fewer prices do not show the tick they are multiples of
_SMALLEST_VOL, _LARGEST_VOL = 0.01, 10.0  # outside, a coin option's vol is a mistake of the quote


def screen_prices(
    chain: Chain,
    k: np.ndarray,
    years: np.ndarray,
    place: np.ndarray,
    *,
    min_years: float,
    stale_after_s: float,
    excluded_venues: Collection[str] = (),
    silent_venues: Collection[str] = (),
) -> np.ndarray:
    """Return for each quote the first reason, known without its vol, to leave it out; USED where there is none.

    k: ln(strike / forward), NaN without a forward. years: to expiry. place: which expiry, 0 ... n - 1. An expiry nearer
    than `min_years` is `bad_time` as a whole. Calls are used for k >= 0, puts below: the others are `in_the_money`.
    excluded_venues, silent_venues: their quotes are shown, but are no points of the fit.
    """
    bid, ask = chain.bid, chain.ask
    has_bid, has_ask = bid > 0.0, ask > 0.0
    tick = tick_size(chain)
    checks = (
        (BAD_TIME, ~(years >= max(min_years, 0.0)) | (years <= 0.0)),
        (NO_FORWARD, np.isnan(k)),
        (VENUE_EXCLUDED, _is_one_of(chain.venue, excluded_venues)),
        (VENUE_STALE, _is_one_of(chain.venue, silent_venues)),
        (IN_THE_MONEY, np.where(k >= 0.0, chain.right < 0, chain.right > 0)),
        (NO_BID, ~has_bid),
        (NO_ASK, ~has_ask),
        (CROSSED, bid >= ask),
        (STALE, _stale(chain.quote_time_ns, place, stale_after_s)),
        (ONE_TICK, bid < 1.5 * tick),  # false where the tick is unknown (NaN)
    )
    return _first(checks, len(chain))


def screen_vols(
    reason: np.ndarray,
    bid_vol: np.ndarray,
    ask_vol: np.ndarray,
    below_intrinsic: np.ndarray,
    place: np.ndarray,
    *,
    max_spread: float,
) -> np.ndarray:
    """Return `reason` with what the vols tell added: no vol, too wide against `max_spread` (a fraction) or its expiry."""
    usable = reason == USED
    spread = ask_vol - bid_vol
    sane = (bid_vol >= _SMALLEST_VOL) & (ask_vol <= _LARGEST_VOL)
    points = usable & sane
    medians = group_medians(spread[points], place[points], int(place.max(initial=-1)) + 1)
    relative = np.maximum(WIDE_AGAINST_MEDIAN * medians[place], WIDE_FLOOR) if place.size else spread
    checks = (
        (BELOW_INTRINSIC, below_intrinsic),
        (NO_VOL, ~sane),
        (WIDE, (spread > max_spread) | (spread > relative)),
    )
    return np.where(usable, _first(checks, reason.size), reason)


def tick_size(chain: Chain) -> np.ndarray:
    """Return for each quote the price step of its venue and settlement, NaN where too few prices show it.

    It is the greatest common divisor of the smallest prices, read to 1e-8 coin or 1e-4 quote currency.
    """
    out = np.full(len(chain), np.nan)
    kinds = set(zip(chain.venue.tolist(), chain.inverse.tolist(), strict=True))
    for venue, inverse in kinds:
        rows = (chain.venue == venue) & (chain.inverse == inverse) if len(kinds) > 1 else slice(None)
        prices = np.concatenate([chain.bid[rows], chain.ask[rows]])
        scale = 1e8 if inverse else 1e4
        steps = np.rint(prices[(prices > 0.0) & (prices < 1e9)] * scale).astype(np.int64)
        if steps.size >= _FEWEST_PRICES:
            small = min(steps.size, 3 * _FEWEST_PRICES)
            out[rows] = np.gcd.reduce(np.partition(steps, small - 1)[:small]) / scale
    return out


def _stale(quote_time_ns: np.ndarray, place: np.ndarray, stale_after_s: float) -> np.ndarray:
    """Which quotes are older than the median of their expiry by more than `stale_after_s`."""
    limit_ns = stale_after_s * NS_PER_S
    if not quote_time_ns.size or np.ptp(quote_time_ns) <= limit_ns:
        return np.zeros(quote_time_ns.size, bool)
    age_s = (quote_time_ns.max() - quote_time_ns) / NS_PER_S
    return age_s > group_medians(age_s, place, int(place.max()) + 1)[place] + stale_after_s


def _is_one_of(venue: np.ndarray, names: Collection[str]) -> np.ndarray:
    """Which quotes are of a venue in `names`; with no names, as nearly always, nothing is compared."""
    return np.isin(venue, list(names)) if names else np.zeros(venue.size, bool)


def _first(checks: tuple[tuple[int, np.ndarray], ...], n: int) -> np.ndarray:
    """The code of the first check that holds, USED where none does."""
    out = np.full(n, USED, np.uint8)
    for code, holds in reversed(checks):
        out[holds] = code
    return out
