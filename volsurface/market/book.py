"""An order book: levels in, best bid and ask out.

A book knows nothing of sequence numbers: which change may be applied is the venue's rule and belongs to its codec.
Plain dicts and lists of floats, because the feed keeps thousands of books and its garbage collector is off.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable

NAN = float("nan")


class BookSide:
    """One side: sizes by price, and the prices in ascending order.

    A new or deleted level moves a few machine words in a short list; a changed size and the best price cost O(1).
    """

    __slots__ = ("prices", "sizes")

    def __init__(self) -> None:
        self.sizes: dict[float, float] = {}
        self.prices: list[float] = []

    def set(self, price: float, size: float) -> None:
        """Set the size at `price`; 0 (or less) deletes the level, and deleting what is not there does nothing."""
        if size > 0:
            if price not in self.sizes:
                insort(self.prices, price)
            self.sizes[price] = size
        elif self.sizes.pop(price, None) is not None:
            del self.prices[bisect_left(self.prices, price)]

    def clear(self) -> None:
        """Delete every level."""
        self.sizes.clear()
        self.prices.clear()


class Book:
    """Both sides of one instrument's book; prices and sizes are in whatever unit they were given in."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = BookSide()
        self.asks = BookSide()

    def replace(self, bids: Iterable[tuple[float, float]], asks: Iterable[tuple[float, float]]) -> None:
        """Take a snapshot: (price, size) pairs in any order."""
        self.clear()
        for price, size in bids:
            self.bids.set(price, size)
        for price, size in asks:
            self.asks.set(price, size)

    def clear(self) -> None:
        """Forget everything."""
        self.bids.clear()
        self.asks.clear()

    def top(self) -> tuple[float, float, float, float]:
        """Return (bid, ask, bid size, ask size); NaN for an empty side."""
        bids, asks = self.bids, self.asks
        if bids.prices:
            bid = bids.prices[-1]
            bid_size = bids.sizes[bid]
        else:
            bid = bid_size = NAN
        if asks.prices:
            ask = asks.prices[0]
            ask_size = asks.sizes[ask]
        else:
            ask = ask_size = NAN
        return bid, ask, bid_size, ask_size

    @property
    def crossed(self) -> bool:
        """True when somebody bids more than another asks: the book is wrong."""
        return bool(self.bids.prices and self.asks.prices) and self.bids.prices[-1] > self.asks.prices[0]

    @property
    def locked(self) -> bool:
        """True when the best bid equals the best ask."""
        return bool(self.bids.prices and self.asks.prices) and self.bids.prices[-1] == self.asks.prices[0]

    def depth(self, levels: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Return the best `levels` (price, size) of the bids, highest first, and of the asks, lowest first."""
        bids, asks = self.bids, self.asks
        best_bids = bids.prices[: -levels - 1 : -1] if levels else []
        return [(p, bids.sizes[p]) for p in best_bids], [(p, asks.sizes[p]) for p in asks.prices[:levels]]
