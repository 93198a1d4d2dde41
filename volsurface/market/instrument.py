"""What an option contract is, and the directory that numbers the contracts of one feed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CALL, PUT = 1, -1
COIN, STABLE = "coin", "stable"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One listed option.

    venue: lower-case venue name, "deribit".
    symbol: the venue's own name, never changed in case, "BTC-27JUN25-100000-C".
    underlying: coin, upper case, "BTC".
    expiry_ns: expiry instant, nanoseconds since 1970 UTC.
    strike: in quote currency per coin.
    right: +1 call, -1 put.
    settlement: "coin" (inverse: prices in coin per coin of underlying) or "stable" (linear: prices in quote currency).
    contract_size: coins per contract.
    price_unit_size: coins a quoted price refers to (1 on Deribit; a linear price / price_unit_size is per coin).
    tick_size: smallest price step; tick_steps: ((above_price, tick_size), ...) that replace it from those prices on.
    index_name: the venue's name of the spot index, "btc_usd".
    """

    venue: str
    symbol: str
    underlying: str
    expiry_ns: int
    strike: float
    right: int
    settlement: str
    contract_size: float = 1.0
    price_unit_size: float = 1.0
    tick_size: float = 0.0
    tick_steps: tuple[tuple[float, float], ...] = ()
    index_name: str = ""


class Directory:
    """The instruments of one feed by dense id (`iid`); an id is never given twice within an epoch.

    `version` grows by one at each change, so a consumer knows when to ask for the directory again.
    """

    def __init__(self, instruments: Iterable[Instrument] = ()) -> None:
        self.version = 0
        self._instruments: list[Instrument] = []
        self._iid_of: dict[tuple[str, str], int] = {}
        self.add(instruments)

    def add(self, instruments: Iterable[Instrument]) -> list[int]:
        """Number `instruments` not seen before; return the ids of all of them, in order."""
        iids, grown = [], False
        for instrument in instruments:
            key = (instrument.venue, instrument.symbol)
            iid = self._iid_of.get(key)
            if iid is None:
                iid = self._iid_of[key] = len(self._instruments)
                self._instruments.append(instrument)
                grown = True
            iids.append(iid)
        self.version += grown
        return iids

    def iid(self, venue: str, symbol: str) -> int | None:
        """Return the id of a venue's symbol, or None when it is not listed."""
        return self._iid_of.get((venue, symbol))

    def __getitem__(self, iid: int) -> Instrument:
        return self._instruments[iid]

    def __len__(self) -> int:
        return len(self._instruments)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._instruments)
