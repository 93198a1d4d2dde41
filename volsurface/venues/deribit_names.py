"""Deribit's listings: which currency lists an underlying, and a listing entry turned into an `Instrument`.

The strike, the right and the expiry are read from the entry's fields, never from the name, whose letter case carries
meaning ("MATIC_USDC-9MAR24-1d02-C" has the strike 1.02).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from volsurface.errors import VenueError, unknown_name
from volsurface.market.instrument import CALL, COIN, PUT, STABLE, Instrument
from volsurface.market.quote import FORWARD_FUTURE, FORWARD_INDEX, FORWARD_NONE, FORWARD_SYNTHETIC
from volsurface.venues.deribit_messages import MAX_MILLISECONDS, InstrumentEntry

VENUE = "deribit"
NS_PER_MS = 1_000_000

INVERSE = ("BTC", "ETH")
LINEAR = ("BNB", "HYPE", "MATIC", "PAXG", "SOL", "XRP")  # settled in USDC, listed together under the currency USDC
LINEAR_SUFFIX = "_USDC"
UNDERLYINGS = (*INVERSE, *LINEAR, *(name + LINEAR_SUFFIX for name in INVERSE))

# An instrument in one of these states will not trade again ("closed" and "terminated" are older words).
CLOSED_STATES = frozenset(("delivered", "archivized", "closed", "terminated"))
RIGHTS = {"call": CALL, "put": PUT}


@dataclass(frozen=True, slots=True)
class Family:
    """The options of one asked underlying that are settled in one way.

    asked: what the user called it, "BTC", "SOL" or "BTC_USDC".
    base: the coin, "BTC".
    currency: the currency Deribit lists them under, "BTC" or "USDC".
    settlement: market.instrument.COIN or STABLE.
    index_name: "btc_usd" or "sol_usdc".
    """

    asked: str
    base: str
    currency: str
    settlement: str
    index_name: str


def families(underlyings: Sequence[str]) -> tuple[tuple[Family, ...], list[str]]:
    """Return the family of each underlying, in the order asked, each once, and a sentence for each unknown name.

    Raises VenueError when none is known.
    """
    found: dict[str, Family] = {}
    unknown: list[str] = []
    for name in underlyings:
        asked = name.upper()
        if asked not in UNDERLYINGS:
            unknown.append(f"{VENUE}: {unknown_name('underlying', name, UNDERLYINGS)}")
            continue
        base = asked.removesuffix(LINEAR_SUFFIX)
        if asked in INVERSE:
            found[asked] = Family(asked, base, base, COIN, f"{base.lower()}_usd")
        else:
            found[asked] = Family(asked, base, "USDC", STABLE, f"{base.lower()}_usdc")
    if not found:
        nothing = f"{VENUE}: no underlying asked for. Allowed: {', '.join(sorted(UNDERLYINGS))}"
        raise VenueError("; ".join(unknown) or nothing)
    return tuple(found.values()), unknown


def entry_settlement(entry: InstrumentEntry) -> str:
    """Return how an option settles; entries of 2021 have no `instrument_type` and were all inverse when quoted in the coin."""
    if entry.instrument_type:
        return STABLE if entry.instrument_type == "linear" else COIN
    return COIN if entry.quote_currency == entry.base_currency else STABLE


def instrument_from(entry: InstrumentEntry, index_name: str) -> Instrument:
    """Return the instrument of an option's entry; `index_name` is used when the entry gives none.

    Prices are per one coin on both kinds of option, so `price_unit_size` is 1, and amounts are coins whatever
    `contract_size` says. Raises ValueError for an entry that does not describe an option.
    """
    strike, right = entry.strike, RIGHTS.get(entry.option_type)
    if right is None:
        raise ValueError(f"option_type is {entry.option_type!r}")
    if strike is None or not (isfinite(strike) and strike > 0):
        raise ValueError(f"strike is {strike!r}")
    if not 0 < entry.expiration_timestamp <= MAX_MILLISECONDS:
        raise ValueError(f"expiration_timestamp is {entry.expiration_timestamp}")
    return Instrument(
        venue=VENUE,
        symbol=entry.instrument_name,
        underlying=entry.base_currency,
        expiry_ns=entry.expiration_timestamp * NS_PER_MS,
        strike=strike,
        right=right,
        settlement=entry_settlement(entry),
        contract_size=entry.contract_size,
        tick_size=entry.tick_size,
        tick_steps=tuple((step.above_price, step.tick_size) for step in entry.tick_size_steps),
        index_name=entry.price_index or index_name,
    )


def forward_source(underlying_index: str) -> int:
    """Return what a ticker's `underlying_index` says about its forward (market.quote.FORWARD_*).

    "BTC-31DEC21" is the listed future of that expiry, "SYN.BTC-8JUN20" a forward Deribit computes where no future
    is listed, "index_price" the spot index itself.
    """
    if underlying_index.startswith("SYN."):
        return FORWARD_SYNTHETIC
    if underlying_index == "index_price":
        return FORWARD_INDEX
    return FORWARD_FUTURE if underlying_index else FORWARD_NONE
