"""The options one connection follows: numbered by the sink when they are listed, closed when they expire or are gone."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from volsurface.market.book import Book
from volsurface.market.instrument import Instrument
from volsurface.venues.codec import Levels, Sink


class Followed(Protocol):
    """What is followed of one option.

    book_live: whether `book` is complete and up to date.
    """

    iid: int
    instrument: Instrument

    @property
    def book(self) -> Book: ...
    @property
    def book_live(self) -> bool: ...

    def drop_book(self, now_ns: int) -> None:
        """Forget the book, and say so if there was one."""


Stream = TypeVar("Stream", bound=Followed)


class Following(Generic[Stream]):
    """The streams of all followed options by the venue's symbol.

    make: returns the stream of a newly listed option, given its id.
    """

    def __init__(self, sink: Sink, make: Callable[[int, Instrument], Stream]) -> None:
        self.streams: dict[str, Stream] = {}
        self._sink = sink
        self._make = make
        self._by_iid: dict[int, Stream] = {}
        self._expiries: Counter[int] = Counter()  # followed options per expiry

    def follow(self, instruments: Iterable[Instrument], now_ns: int) -> list[Stream]:
        """Start following those that are not followed yet; return their streams, nearest expiry first."""
        new = [i for i in {i.symbol: i for i in instruments}.values() if i.symbol not in self.streams]
        if not new:
            return []
        new.sort(key=lambda i: (i.expiry_ns, i.underlying, i.settlement, i.strike, i.right))
        added = []
        for iid, instrument in zip(self._sink.listed(new, now_ns), new, strict=True):
            stream = self._make(iid, instrument)
            self.streams[instrument.symbol] = self._by_iid[iid] = stream
            self._expiries[instrument.expiry_ns] += 1
            added.append(stream)
        return added

    def close(self, stream: Stream, now_ns: int) -> None:
        """Stop following an option."""
        del self.streams[stream.instrument.symbol]
        del self._by_iid[stream.iid]
        expiry_ns = stream.instrument.expiry_ns
        self._expiries[expiry_ns] -= 1
        if not self._expiries[expiry_ns]:
            del self._expiries[expiry_ns]
        stream.drop_book(now_ns)
        self._sink.closed(stream.iid, now_ns)

    def close_absent(self, present: Iterable[str], underlyings: Iterable[str], now_ns: int) -> list[Stream]:
        """Close what is not in a whole listing of these underlyings any more; return what was closed."""
        here, coins = frozenset(present), frozenset(underlyings)
        gone = [s for symbol, s in self.streams.items() if symbol not in here and s.instrument.underlying in coins]
        for stream in gone:
            self.close(stream, now_ns)
        return gone

    def expire(self, expiry_ns: int, now_ns: int) -> list[Stream]:
        """Close all options that expired at `expiry_ns` or before; return what was closed."""
        gone = [stream for stream in self.streams.values() if stream.instrument.expiry_ns <= expiry_ns]
        for stream in gone:
            self.close(stream, now_ns)
        return gone

    def next_expiry_ns(self) -> int | None:
        """Return the nearest expiry of a followed option, or None when none is followed."""
        return min(self._expiries, default=None)

    @property
    def books(self) -> dict[int, Book]:
        """The live books by instrument id."""
        return {iid: stream.book for iid, stream in self._by_iid.items() if stream.book_live}

    def depth(self, iid: int, levels: int) -> tuple[Levels, Levels]:
        """Return the best levels of an option's book; both are empty without a live one."""
        stream = self._by_iid.get(iid)
        return stream.book.depth(levels) if stream is not None and stream.book_live else ([], [])
