"""A chain: every quote of one underlying at one instant, as columns."""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """The options of one underlying at `time_ns`; all arrays have shape (n_quotes,) and are read only by convention.

    underlying: coin, "BTC".
    time_ns: valuation instant, nanoseconds since 1970 UTC.
    venue, symbol: object arrays of str.
    expiry_ns: int64, expiry instant.
    strike: float64, quote currency per coin.
    right: int8, +1 call, -1 put.
    inverse: bool; True: prices in coin, False: prices in quote currency per `price_unit_size` (already divided by it here).
    bid, ask, mark: float64 in that unit, NaN when missing (a venue's 0 is missing).
    bid_size, ask_size, open_interest: float64, coins, NaN when unknown.
    mark_iv: float64, the venue's mark vol as a fraction; compared, never an input.
    forward: float64, the venue's forward for the expiry, NaN when it gives none.
    forward_source: uint8, market.quote.FORWARD_* : what the venue's forward claims to be.
    index: float64, spot index.
    quote_time_ns: int64, when the quote was received (or the snapshot's time).
    iid: int32, the feed's id, or the row number in a file.
    """

    underlying: str
    time_ns: int
    venue: np.ndarray
    symbol: np.ndarray
    expiry_ns: np.ndarray
    strike: np.ndarray
    right: np.ndarray
    inverse: np.ndarray
    bid: np.ndarray
    ask: np.ndarray
    mark: np.ndarray
    bid_size: np.ndarray
    ask_size: np.ndarray
    open_interest: np.ndarray
    mark_iv: np.ndarray
    forward: np.ndarray
    forward_source: np.ndarray
    index: np.ndarray
    quote_time_ns: np.ndarray
    iid: np.ndarray

    def __len__(self) -> int:
        return self.strike.size

    def take(self, rows: np.ndarray) -> "Chain":
        """Return the chain of the given rows only (a mask or indices)."""
        columns = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in ("underlying", "time_ns")}
        return Chain(self.underlying, self.time_ns, **columns)
