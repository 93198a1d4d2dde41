"""What arrives for one Binance option or underlying, turned into sink calls: the hot path of the codec.

Binance's notation is removed here: a price, size or vol that is not positive ("0.000", "-1.0") becomes NaN, contracts
become coins, milliseconds become nanoseconds. Prices stay per contract, as quoted. The venue has no forwards: its IVs are
quoted against the spot index with the carry inside them, so the row's forward is the index and says so.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from volsurface.market.book import Book
from volsurface.market.instrument import Instrument
from volsurface.market.quote import (
    BELOW_INTRINSIC,
    CROSSED,
    FORWARD_INDEX,
    SETTLEMENT_WINDOW,
    SNAPSHOT_ROW,
    forward_flag,
)
from volsurface.venues.binance_book import DepthBook
from volsurface.venues.binance_messages import (
    Depth,
    Mark,
    Trade,
    decode_book_ticker,
    decode_data,
    decode_depth_change,
    decode_index,
    decode_indices,
    decode_mark,
    decode_marks,
    decode_one_open_interest,
    decode_open_interest,
    decode_raw_list,
    decode_trade,
)
from volsurface.venues.binance_requests import LEVELS
from volsurface.venues.codec import Sink
from volsurface.venues.normalised import (
    EMPTY,
    INF,
    NAN,
    NS_PER_MS,
    NULL,
    SETTLEMENT_WINDOW_NS,
    LatestForward,
    clean,
    clean_quote,
    quote_flags,
)
from volsurface.venues.session_codec import MALFORMED

INDEX_FLAG = forward_flag(FORWARD_INDEX)


class Session(Protocol):
    """What a stream needs of the codec that owns it."""

    last_venue_ns: int

    def book_gap(self, stream: "OptionStream", why: str, now_ns: int) -> None:
        """The stream has dropped its book; get it a snapshot."""

    def bad_entry(self, raw: bytes, why: str, now_ns: int) -> None:
        """One entry of a batch was not understood; the others were taken."""


def entries(frame: bytes, decode: Any, decode_one: Any, session: Session, now_ns: int) -> list[Any]:
    """Return the entries of a batch; where one of them is bad the others are returned. Raises what `MALFORMED` names."""
    try:
        return decode(frame).data
    except msgspec.DecodeError:
        data = bytes(decode_data(frame).data)
        found = []
        for raw in decode_raw_list(data) if data.startswith(b"[") else [data]:  # an entry alone is a batch of one
            try:
                found.append(decode_one(bytes(raw).replace(EMPTY, NULL)))
            except MALFORMED as error:
                session.bad_entry(bytes(raw), str(error), now_ns)
        return found


class UnderlyingStream:
    """What is told of all options of one underlying in one frame: marks, the index, open interest, trades.

    name: the venue's word, "BTCUSDT". index: None where another connection tells it. last_marks_ns: when marks came last.
    """

    def __init__(
        self, name: str, index: LatestForward | None, streams: Mapping[str, "OptionStream"], session: Session
    ) -> None:
        self.name = name
        self.index = index
        self.last_marks_ns = 0
        self._streams = streams
        self._session = session

    def start(self) -> None:
        """A new connection: the index is news whatever it is."""
        self.last_marks_ns = 0
        if self.index is not None:
            self.index.forget()

    def on_marks(self, frame: bytes, now_ns: int) -> None:
        """Take an `optionMarkPrice` frame."""
        session, streams = self._session, self._streams
        self.last_marks_ns = now_ns
        ts_ns, index = 0, None
        for mark in entries(frame, decode_marks, decode_mark, session, now_ns):
            stream = streams.get(mark.s)
            if stream is not None and stream.instrument.index_name == self.name:
                ts_ns, index = stream.take_mark(mark, now_ns), mark.i
        if ts_ns > session.last_venue_ns:
            session.last_venue_ns = ts_ns
        if index and self.index is not None:  # every entry has the same
            self.index.take(FORWARD_INDEX, index, ts_ns, now_ns)

    def on_open_interest(self, frame: bytes, now_ns: int) -> None:
        """Take an `optionOpenInterest` frame; it goes into the rows with the next marks."""
        for entry in entries(frame, decode_open_interest, decode_one_open_interest, self._session, now_ns):
            stream = self._streams.get(entry.s)
            if stream is not None:
                contracts = NAN if entry.o is None else entry.o
                stream.open_interest = contracts * stream.unit if 0.0 <= contracts < INF else NAN

    def on_trade(self, frame: bytes, now_ns: int) -> None:
        """Take an `optionTrade` frame."""
        trade = decode_trade(frame).data
        stream = self._streams.get(trade.s)
        if stream is not None:  # others belong to other connections
            stream.take_trade(trade, now_ns)


class IndexStream:
    """The spot indices of all underlyings."""

    def __init__(self, underlyings: Mapping[str, UnderlyingStream], session: Session) -> None:
        self._underlyings = underlyings  # by the venue's name, "BTCUSDT"
        self._session = session

    def on_indices(self, frame: bytes, now_ns: int) -> None:
        """Take an `!index@arr` frame."""
        for entry in entries(frame, decode_indices, decode_index, self._session, now_ns):
            underlying = self._underlyings.get(entry.s)
            if underlying is not None and underlying.index is not None:
                underlying.index.take(FORWARD_INDEX, entry.p or NAN, entry.E * NS_PER_MS, now_ns)


class OptionStream:
    """The streams of one option and its book.

    unit: coins per contract. open_interest: coins, as told last. levels: to ask a snapshot for, a side.
    """

    __slots__ = (
        "_depth",
        "_mark_ns",
        "_put_book",
        "_put_ticker",
        "_quote_id",
        "_quote_live",
        "_quote_ns",
        "_session",
        "_sink",
        "_window_ns",
        "iid",
        "instrument",
        "levels",
        "open_interest",
        "snapshot_tries",
        "unit",
    )

    def __init__(self, iid: int, instrument: Instrument, session: Session, sink: Sink) -> None:
        self.iid = iid
        self.instrument = instrument
        self.unit = instrument.contract_size
        self.open_interest = NAN
        self.levels = LEVELS
        self.snapshot_tries = 0
        self._depth = DepthBook(self.unit)
        self._quote_live = False
        self._quote_id = -1
        self._quote_ns = self._mark_ns = 0
        self._window_ns = instrument.expiry_ns - SETTLEMENT_WINDOW_NS
        self._session = session
        self._sink = sink
        self._put_ticker = sink.ticker
        self._put_book = sink.book_top

    @property
    def book(self) -> Book:
        """The book; sizes in coins."""
        return self._depth.book

    @property
    def book_live(self) -> bool:
        """Whether the book is complete and up to date."""
        return self._depth.live

    def take_mark(self, m: Mark, now_ns: int) -> int:
        """Take this option's entry of an `optionMarkPrice` frame; return its time in nanoseconds."""
        ts_ns = m.E * NS_PER_MS
        if ts_ns < self._mark_ns:
            return ts_ns  # overtaken by a later one
        self._mark_ns = ts_ns
        bid, ask, bid_sz, ask_sz = clean_quote(m.bo, m.ao, m.bq, m.aq)
        iv_bid, iv_ask, iv_mark, mark, index = clean(m.b), clean(m.a), clean(m.vo), clean(m.mp), clean(m.i)
        unit = self.unit
        flags = INDEX_FLAG if index == index else 0
        if not bid < ask:
            flags |= quote_flags(bid, ask)
        if iv_bid != iv_bid or iv_ask != iv_ask:
            intrinsic = self.instrument.right * (index - self.instrument.strike) * unit
            if (iv_bid != iv_bid and bid < intrinsic) or (iv_ask != iv_ask and ask < intrinsic):
                flags |= BELOW_INTRINSIC
        if ts_ns >= self._window_ns:
            flags |= SETTLEMENT_WINDOW
        self._put_ticker(
            self.iid, flags, ts_ns, now_ns, -1,
            bid, ask, bid_sz * unit, ask_sz * unit, mark, iv_bid, iv_ask, iv_mark, index, index, self.open_interest,
        )  # fmt: skip
        return ts_ns

    def on_quote(self, frame: bytes, now_ns: int) -> None:
        """Take a `bookTicker` frame: the top of the book, numbered but without a chain."""
        q = decode_book_ticker(frame).data
        ts_ns = q.ts_ms * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        if q.u <= self._quote_id and ts_ns <= self._quote_ns:
            return  # again, or overtaken by a later one
        self._quote_id, self._quote_ns, self._quote_live = q.u, ts_ns, True
        bid, ask, bid_sz, ask_sz = clean_quote(q.b, q.a, q.B, q.A)
        flags = 0 if bid < ask else quote_flags(bid, ask)
        self._put_book(
            self.iid, flags, ts_ns, now_ns, q.u, bid, ask, bid_sz * self.unit, ask_sz * self.unit
        )  # fmt: skip

    def on_depth(self, frame: bytes, now_ns: int) -> None:
        """Take a `depth` frame: a change of the book."""
        change = decode_depth_change(frame).data
        depth, ts_ns = self._depth, change.ts_ms * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        was_live = depth.live
        if depth.take_change(change):
            self._show_top(0, ts_ns, now_ns)
        elif was_live and not depth.live:
            self._sink.book_lost(self.iid, now_ns)
            self._session.book_gap(self, depth.problem, now_ns)

    def take_snapshot(self, snapshot: Depth, now_ns: int) -> str:
        """Take a REST snapshot; return why another is needed, or nothing."""
        if not self._depth.take_snapshot(snapshot):
            return self._depth.problem
        self._show_top(SNAPSHOT_ROW, self._depth.ts_ms * NS_PER_MS, now_ns)
        return ""

    def _show_top(self, flags: int, ts_ns: int, now_ns: int) -> None:
        bid, ask, bid_sz, ask_sz = self._depth.book.top()
        if not bid < ask:
            crossed = quote_flags(bid, ask)
            if crossed == CROSSED and not flags:
                # A crossed snapshot is the venue's own state and only flagged: fetching it again would never end.
                self.drop_book(now_ns)
                self._session.book_gap(self, f"crossed book, bid {bid} over ask {ask}", now_ns)
                return
            flags |= crossed
        self._put_book(self.iid, flags, ts_ns, now_ns, self._depth.last_id, bid, ask, bid_sz, ask_sz)

    def drop_book(self, now_ns: int) -> None:
        """Forget the book and the best bid and ask, and say so if there was one."""
        if self._depth.live or self._quote_live:
            self._sink.book_lost(self.iid, now_ns)
        self._depth.drop()
        self._quote_live = False
        self._quote_id, self._quote_ns, self._mark_ns = -1, 0, 0

    def take_trade(self, t: Trade, now_ns: int) -> None:
        """Take a trade: one event, its size negative when the aggressor sold."""
        ts_ns = t.ts_ms * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        if not (0.0 < t.p < INF and 0.0 < t.q < INF):
            raise msgspec.ValidationError(f"a trade of {t.q} at {t.p}")
        size = t.q * self.unit
        self._sink.event("trade", now_ns, iid=self.iid, value=t.p, size=-size if t.m else size)
