"""Derive's option listing: an entry of `public/get_instruments` turned into an `Instrument`."""

from math import isfinite

from volsurface.market.instrument import CALL, PUT, STABLE, Instrument
from volsurface.venues.derive_messages import MAX_MILLISECONDS, InstrumentEntry
from volsurface.venues.normalised import NS_PER_S

VENUE = "derive"
RIGHTS = {"C": CALL, "P": PUT}


def instrument_from(entry: InstrumentEntry) -> Instrument:
    """Return the instrument of a listing entry; prices are in USDC per coin and amounts are coins.

    Raises ValueError for an entry that does not describe an option, such as one whose expiry cannot be in seconds.
    """
    details = entry.option_details
    if details is None:
        raise ValueError("no option_details")
    right, strike = RIGHTS.get(details.option_type), details.strike
    if right is None:
        raise ValueError(f"option_type is {details.option_type!r}")
    if not (isfinite(strike) and strike > 0):
        raise ValueError(f"strike is {strike!r}")
    if not 0 < details.expiry <= MAX_MILLISECONDS // 1000:
        raise ValueError(f"expiry is {details.expiry}, which is not in seconds")
    tick = entry.tick_size or 0.0
    return Instrument(
        venue=VENUE,
        symbol=entry.instrument_name,
        underlying=entry.base_currency,
        expiry_ns=details.expiry * NS_PER_S,
        strike=strike,
        right=right,
        settlement=STABLE,
        tick_size=tick if isfinite(tick) and tick > 0 else 0.0,
        index_name=details.index,
    )
