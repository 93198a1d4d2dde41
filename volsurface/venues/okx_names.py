"""OKX's listings: which instrument family holds the options of a coin, and an entry turned into an `Instrument`."""

from dataclasses import dataclass

from volsurface.market.instrument import CALL, COIN, PUT, STABLE, Instrument
from volsurface.venues.normalised import NS_PER_MS
from volsurface.venues.okx_messages import InstrumentEntry
from volsurface.venues.text_numbers import MAX_MILLISECONDS

VENUE = "okx"
UM = "_UM"  # options settled in dollars instead of the coin
RIGHTS = {"C": CALL, "P": PUT}
SMALLEST_CONTRACT, LARGEST_CONTRACT = 1e-9, 1e9  # coins; a listing that says more or less is damaged
# An option that costs more than 0.005 coin moves by 0.0005, whatever smaller tick the listing names.
COARSE_FROM, COARSE_TICK = 0.005, 0.0005


@dataclass(frozen=True, slots=True)
class Family:
    """The options of one asked underlying: `asked` by the user, OKX's `name` of the family, the coin, its settlement."""

    asked: str
    name: str
    coin: str
    settlement: str

    @property
    def index_name(self) -> str:
        """OKX's name of the index, which families of one coin share."""
        return self.name.removesuffix(UM)


FAMILIES = {
    family.asked: family
    for family in (
        Family("BTC", "BTC-USD", "BTC", COIN),
        Family("ETH", "ETH-USD", "ETH", COIN),
        Family("BTC_UM", "BTC-USD_UM", "BTC", STABLE),
        Family("ETH_UM", "ETH-USD_UM", "ETH", STABLE),
        Family("SOL", "SOL-USD_UM", "SOL", STABLE),
    )
}


def instrument_from(entry: InstrumentEntry, family: Family) -> Instrument:
    """Return the instrument of an option's entry; ValueError for one that does not describe an option.

    The contract size changed over the years (0.1 BTC in 2022, 0.01 in 2024) and is therefore always the entry's own.
    Prices are per coin of underlying: in the coin, or in dollars for the families settled in them.
    """
    right = RIGHTS.get(entry.optType)
    if right is None:
        raise ValueError(f"optType is {entry.optType!r}")
    strike, expiry_ms = entry.stk or 0.0, entry.expTime or 0.0
    if not strike > 0:
        raise ValueError(f"stk is {entry.stk!r}")
    if not 0 < expiry_ms <= MAX_MILLISECONDS:
        raise ValueError(f"expTime is {entry.expTime!r}")
    size, multiplier = entry.ctVal or 0.0, entry.ctMult or 0.0
    contract_size = size * multiplier
    if not SMALLEST_CONTRACT <= contract_size <= LARGEST_CONTRACT:
        raise ValueError(f"ctVal is {entry.ctVal!r}, ctMult {entry.ctMult!r}")
    if entry.ctValCcy not in ("", family.coin):
        raise ValueError(f"ctValCcy is {entry.ctValCcy!r} in the family {family.name}")
    tick = entry.tickSz or 0.0
    steps = ((COARSE_FROM, COARSE_TICK),) if family.settlement == COIN and 0 < tick < COARSE_TICK else ()
    return Instrument(
        venue=VENUE,
        symbol=entry.instId,
        underlying=family.coin,
        expiry_ns=int(expiry_ms) * NS_PER_MS,
        strike=strike,
        right=right,
        settlement=family.settlement,
        contract_size=contract_size,
        tick_size=tick,
        tick_steps=steps,
        index_name=family.index_name,
    )
