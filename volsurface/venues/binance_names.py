"""Binance's option listing: an entry of `exchangeInfo` turned into an `Instrument`, and the names of its streams.

Everything is read from the entry's fields; of the name only the coin before the first "-" is used, because an entry has
the pair ("BTCUSDT") and not the coin.
"""

from math import isfinite

from volsurface.market.instrument import CALL, PUT, STABLE, Instrument
from volsurface.venues.binance_messages import MAX_MILLISECONDS, SymbolEntry
from volsurface.venues.normalised import NS_PER_MS

VENUE = "binance"
RIGHTS = {"CALL": CALL, "PUT": PUT}
TRADING = "TRADING"


def base_of(symbol: str) -> str:
    """Return the coin of an option's name: "BTC" of "BTC-251219-89000-C"."""
    return symbol.partition("-")[0]


def expiry_label(symbol: str) -> str:
    """Return the date in an option's name, as streams of a whole expiry want it: "251219"."""
    return symbol.split("-")[1] if symbol.count("-") >= 2 else ""


def instrument_from(entry: SymbolEntry) -> Instrument:
    """Return the instrument of a listing entry.

    `unit` coins make a contract: prices are per contract and sizes count contracts.
    Raises ValueError for an entry that does not describe an option.
    """
    right, strike, unit = RIGHTS.get(entry.side), entry.strikePrice, entry.unit
    if right is None:
        raise ValueError(f"side is {entry.side!r}")
    if not (isfinite(strike) and strike > 0):
        raise ValueError(f"strikePrice is {strike!r}")
    if not (isfinite(unit) and unit > 0):
        raise ValueError(f"unit is {unit!r}")
    if not 0 < entry.expiryDate <= MAX_MILLISECONDS:
        raise ValueError(f"expiryDate is {entry.expiryDate}")
    if not expiry_label(entry.symbol):
        raise ValueError(f"symbol is {entry.symbol!r}")
    ticks = [f.tickSize for f in entry.filters if f.filterType == "PRICE_FILTER" and f.tickSize]
    base = base_of(entry.symbol)
    return Instrument(
        venue=VENUE,
        symbol=entry.symbol,
        underlying=base,
        expiry_ns=entry.expiryDate * NS_PER_MS,
        strike=strike,
        right=right,
        settlement=STABLE,
        contract_size=unit,
        price_unit_size=unit,
        tick_size=ticks[0] if ticks and isfinite(ticks[0]) and ticks[0] > 0 else 0.0,
        index_name=entry.underlying or base + entry.quoteAsset,
    )
