"""Binance's rule for keeping an order book: a stream of numbered changes joined to a snapshot fetched over REST.

Each change covers every update of its book with a number above `pu`, up to `u`. Numbers are shared by many books and
jump, so only `pu` tells whether something is missing. A snapshot as of number L is continued by a change with
pu <= L <= u: sizes are absolute, and what the change repeats of the time before L ends in the same state. The venue
documents U <= L <= u for it, where U is the first number inside the change; that refuses a change that begins right
after the snapshot, which is what a quiet book sends.
"""

from collections.abc import Iterable

from volsurface.market.book import Book, BookSide
from volsurface.venues.binance_messages import Depth, DepthChange, Level

MAX_PENDING = 500  # changes kept while a snapshot is on its way; more of them, and the next snapshot is asked for later
INF = float("inf")


class DepthBook:
    """A book in coins, and where in the venue's numbering it is.

    unit: coins per contract. live: whether the book is complete and up to date. last_id, ts_ms: of the newest change in it.
    problem: why the book is not live any more, or why a snapshot did not help.
    """

    __slots__ = ("_joined", "_pending", "_unit", "book", "last_id", "live", "problem", "ts_ms")

    def __init__(self, unit: float) -> None:
        self.book = Book()
        self.live = False
        self.last_id = -1
        self.problem = ""
        self._unit = unit
        self.ts_ms = 0
        self._joined = False  # a change has followed the snapshot
        self._pending: list[DepthChange] = []

    def drop(self) -> None:
        """Forget the book and what is pending."""
        self.live = self._joined = False
        self.last_id, self.ts_ms = -1, 0
        self.book.clear()
        self._pending.clear()

    def take_change(self, change: DepthChange) -> bool:
        """Take a change; return True when it is now in the book.

        False with `live` still True: an old one, passed over. False with `live` gone False: `problem` says why, and the
        change waits for a snapshot as all that follow do.
        """
        if not self.live:
            self._keep(change)
            return False
        if change.u <= self.last_id:
            if change.ts_ms <= self.ts_ms:
                return False  # again, or overtaken by a later one
            self.problem = f"update numbers went back from {self.last_id} to {change.u}"
        elif change.pu == self.last_id or (change.pu < self.last_id and not self._joined):
            if self._apply(change):
                return True
        else:
            self.problem = f"after {self.last_id} came a change from {change.pu}"
        self.drop()
        self._keep(change)
        return False

    def take_snapshot(self, depth: Depth) -> bool:
        """Take a REST snapshot and the changes that waited for it; False: another is needed, `problem` says why."""
        waiting, self._pending = self._pending, []
        self.drop()
        if not (self._fill(self.book.bids, depth.bids) and self._fill(self.book.asks, depth.asks)):
            self.problem = "a snapshot with an impossible level"
            self._pending = waiting
            return False
        self.last_id, self.ts_ms, self.live = depth.lastUpdateId, depth.ts_ms, True
        waiting.sort(key=lambda change: change.u)
        for n, change in enumerate(waiting):
            if change.u <= self.last_id:
                continue  # in the snapshot already, or twice
            if change.pu == self.last_id or (change.pu < self.last_id and not self._joined):
                if self._apply(change):
                    continue
            else:
                self.problem = f"after {self.last_id} came a change from {change.pu}"
            self.drop()
            self._pending = waiting[n:]
            return False
        return True

    def _keep(self, change: DepthChange) -> None:
        pending = self._pending
        if pending and (len(pending) == MAX_PENDING or (change.u < pending[-1].u and change.ts_ms > pending[-1].ts_ms)):
            pending.clear()  # too many to be of use, or numbered anew since
        pending.append(change)

    def _apply(self, change: DepthChange) -> bool:
        if not (self._fill(self.book.bids, change.b) and self._fill(self.book.asks, change.a)):
            self.problem = "a change with an impossible level"
            return False
        self.last_id, self.ts_ms, self._joined = change.u, change.ts_ms, True
        return True

    def _fill(self, side: BookSide, levels: Iterable[Level]) -> bool:
        unit, put = self._unit, side.set
        for price, size in levels:
            if not (0.0 < price < INF and 0.0 <= size < INF):
                return False
            put(price, size * unit)
        return True
