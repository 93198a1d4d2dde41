"""One option's book as a venue sends it, whole or changed level by level, until a change is missing.

Which change may be applied is each venue's own rule; this keeps the book, its number and its time, and tells the sink.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from volsurface.market.book import Book
from volsurface.market.instrument import Instrument
from volsurface.market.quote import CROSSED, SNAPSHOT_ROW
from volsurface.venues.codec import Sink
from volsurface.venues.normalised import NS_PER_S, quote_flags
from volsurface.venues.text_numbers import Level

LATE_NS = 60 * NS_PER_S  # a frame this much older than the last one is not late: the venue's clock was set back


class Session(Protocol):
    """What a stream needs of the codec that owns it."""

    last_venue_ns: int

    def book_gap(self, stream: Any, why: str, now_ns: int) -> None:
        """The stream has dropped its book; get it a snapshot."""


def is_late(ts_ns: int, last_ns: int) -> bool:
    """Return whether a frame was overtaken by another one: it is older, but not by so much that the clock was set back."""
    return ts_ns < last_ns <= ts_ns + LATE_NS


class BookStream:
    """The book of one option and what every stream has; sizes are kept in coins.

    routes: what takes the frames of each channel. book_channel: the one of its book, "" without one.
    book_live: False until a snapshot came, and again after a gap. snapshot_tries: how often it was asked for in vain.
    """

    __slots__ = (
        "_coins",
        "_contracts",
        "_put_book",
        "_seq",
        "_session",
        "_sink",
        "_top_ns",
        "book",
        "book_channel",
        "book_live",
        "iid",
        "instrument",
        "routes",
        "snapshot_tries",
    )

    def __init__(self, iid: int, instrument: Instrument, session: Session, sink: Sink) -> None:
        self.iid = iid
        self.instrument = instrument
        self.book = Book()
        self.book_live = False
        self.book_channel = ""
        self.snapshot_tries = 0
        self.routes: Mapping[str, Any] = {}
        self._seq: int | None = None  # number of the book's state; venues of old sent none
        self._top_ns = 0  # venue time of the book's state
        # size * _coins / _contracts is in coins; 57 contracts of 0.01 are then 0.57 and not 0.5700000000000001.
        size = instrument.contract_size
        per_coin = round(1 / size) if 0 < size < 1 else 1
        exact = per_coin > 1 and abs(per_coin * size - 1) < 1e-12
        self._coins, self._contracts = (1.0, float(per_coin)) if exact else (size, 1.0)
        self._session = session
        self._sink = sink
        self._put_book = sink.book_top

    def coins(self, contracts: float) -> float:
        """Return a size in coins."""
        return contracts * self._coins / self._contracts

    def reset(self) -> None:
        """A new connection: nothing that came before decides what is news."""
        self._seq, self._top_ns, self.snapshot_tries = None, 0, 0

    def drop_book(self, now_ns: int) -> None:
        """Forget the book, and say so if there was one."""
        if self.book_live:
            self.book_live = False
            self.book.clear()
            self._sink.book_lost(self.iid, now_ns)

    def lose_book(self, why: str, now_ns: int) -> None:
        """Forget the book and get it a snapshot; nothing to do while one is awaited."""
        if self.book_live:
            self.drop_book(now_ns)
            self._session.book_gap(self, why, now_ns)

    def _overtaken(self, seq: int | None, ts_ns: int) -> bool:
        """Return whether a numbered frame belongs before the book's state, or is what led to it: late, or sent twice."""
        if seq is None or self._seq is None:
            return False
        return is_late(ts_ns, self._top_ns) or (ts_ns == self._top_ns and seq <= self._seq)

    def _take_snapshot(
        self, bids: Iterable[Level], asks: Iterable[Level], seq: int | None, ts_ns: int, now_ns: int
    ) -> None:
        coins, contracts = self._coins, self._contracts
        self.book.replace(
            [(level.price, level.size * coins / contracts) for level in bids],
            [(level.price, level.size * coins / contracts) for level in asks],
        )
        self.book_live = True
        self.snapshot_tries = 0
        self._put_top(SNAPSHOT_ROW, seq, ts_ns, now_ns)

    def _take_change(
        self, bids: Iterable[Level], asks: Iterable[Level], seq: int | None, ts_ns: int, now_ns: int
    ) -> None:
        coins, contracts = self._coins, self._contracts
        set_bid, set_ask = self.book.bids.set, self.book.asks.set
        for level in bids:
            set_bid(level.price, level.size * coins / contracts)
        for level in asks:
            set_ask(level.price, level.size * coins / contracts)
        self._put_top(0, seq, ts_ns, now_ns)

    def _put_top(self, flags: int, seq: int | None, ts_ns: int, now_ns: int) -> None:
        self._seq = seq
        self._top_ns = ts_ns
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        bid, ask, bid_sz, ask_sz = self.book.top()
        if not bid < ask:
            flags |= quote_flags(bid, ask)
            if flags == CROSSED:
                # A crossed snapshot is the venue's own state and only flagged: fetching it again would never end.
                self.lose_book(f"crossed book, bid {bid} over ask {ask}", now_ns)
                return
        self._put_book(
            self.iid, flags, ts_ns, now_ns, -1 if seq is None else seq, bid, ask, bid_sz, ask_sz
        )  # fmt: skip
