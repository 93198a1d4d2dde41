"""Bybit's option listings: an entry and its symbol turned into an `Instrument`.

`ETH-28FEB25-2800-C` is settled in USDC, `BTC-13FEB25-89000-P-USDT` in USDT. Both are linear: quoted and settled in the
stablecoin per coin of underlying, and sizes are coins. Which of the two is the more liquid set has changed, so both are
followed.
"""

import re

from volsurface.market.instrument import CALL, PUT, STABLE, Instrument
from volsurface.venues.bybit_messages import InstrumentEntry
from volsurface.venues.normalised import NS_PER_MS
from volsurface.venues.text_numbers import MAX_MILLISECONDS

VENUE = "bybit"
COINS = ("BTC", "DOGE", "ETH", "MNT", "SOL", "XRP")  # those seen so far; any other is asked for as well
TRADING = "Trading"
RIGHTS = {"Call": CALL, "Put": PUT}
LETTERS = {"C": CALL, "P": PUT}
USDT, USDC = "USDT", "USDC"
_SYMBOL = re.compile(
    r"([A-Z0-9]{1,12})-\d{1,2}[A-Z]{3}\d{2}-(\d{1,12}(?:\.\d{1,12})?)-([CP])(?:-(USDT|USDC))?", re.ASCII
)


def settle_coin(symbol: str) -> str:
    """Return what an option is settled in, by its symbol."""
    return USDT if symbol.endswith("-USDT") else USDC


def instrument_from(entry: InstrumentEntry) -> Instrument:
    """Return the instrument of an option's entry; ValueError for one whose symbol or fields do not fit together."""
    parts = _SYMBOL.fullmatch(entry.symbol)
    if parts is None:
        raise ValueError(f"symbol is {entry.symbol[:40]!r}")
    base, strike, letter, _ = parts.groups()
    right = LETTERS[letter]
    if RIGHTS.get(entry.optionsType) != right or entry.baseCoin != base or not float(strike) > 0:
        raise ValueError(f"{entry.symbol} with optionsType {entry.optionsType!r}, baseCoin {entry.baseCoin!r}")
    if entry.settleCoin != settle_coin(entry.symbol):
        raise ValueError(f"{entry.symbol} with settleCoin {entry.settleCoin!r}")
    expiry_ms = entry.deliveryTime or 0.0
    if not 0 < expiry_ms <= MAX_MILLISECONDS:
        raise ValueError(f"deliveryTime is {entry.deliveryTime!r}")
    tick = entry.priceFilter.tickSize if entry.priceFilter is not None else None
    return Instrument(
        venue=VENUE,
        symbol=entry.symbol,
        underlying=base,
        expiry_ns=int(expiry_ms) * NS_PER_MS,
        strike=float(strike),
        right=right,
        settlement=STABLE,
        tick_size=tick or 0.0,
        index_name=f"{base}USD",
    )
