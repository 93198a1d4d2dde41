"""What arrives for one Bybit option, turned into sink calls: the hot path of the codec.

A ticker is always whole, so it becomes one row as it is; "0" becomes NaN. Sizes are coins already.
"""

from collections.abc import Mapping
from typing import Protocol

from volsurface.market.instrument import Instrument
from volsurface.market.quote import (
    BELOW_INTRINSIC,
    FORWARD_INDEX,
    FORWARD_MODEL,
    FORWARD_NONE,
    SETTLEMENT_WINDOW,
    forward_flag,
)
from volsurface.venues.book_stream import BookStream, Session, is_late
from volsurface.venues.bybit_messages import decode_book, decode_ticker, decode_trade, decode_trades
from volsurface.venues.codec import Sink
from volsurface.venues.normalised import NAN, NS_PER_MS, SETTLEMENT_WINDOW_NS, LatestForward, quote_flags
from volsurface.venues.session_codec import MALFORMED

NO_FORWARD, INDEX_FORWARD, MODEL_FORWARD = map(forward_flag, (FORWARD_NONE, FORWARD_INDEX, FORWARD_MODEL))
RESTARTED = 1  # number of the first message after a restart of the venue's service: the whole book


class BybitSession(Session, Protocol):
    """What the trades of a coin need of the codec besides."""

    def reject(self, frame: bytes, why: str, now_ns: int) -> None:
        """Count an entry that was not understood."""


class OptionStream(BookStream):
    """The channels of one option.

    forward, index: of its expiry and coin, or None when other options or another connection tell them.
    """

    __slots__ = ("_forward", "_index", "_put_ticker", "_ticker_ns", "_window_ns")

    def __init__(
        self,
        iid: int,
        instrument: Instrument,
        forward: LatestForward | None,
        index: LatestForward | None,
        session: Session,
        sink: Sink,
    ) -> None:
        super().__init__(iid, instrument, session, sink)
        self._forward = forward
        self._index = index
        self._window_ns = instrument.expiry_ns - SETTLEMENT_WINDOW_NS
        self._put_ticker = sink.ticker
        self._ticker_ns = 0

    def reset(self) -> None:
        """A new connection: nothing that came before decides what is news."""
        super().reset()
        self._ticker_ns = 0

    def on_ticker(self, frame: bytes, now_ns: int) -> None:
        """Take a `tickers` frame."""
        message = decode_ticker(frame)
        ts_ns = message.ts * NS_PER_MS
        if is_late(ts_ns, self._ticker_ns):
            return
        self._ticker_ns = ts_ns
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        t = message.data
        bid, ask = t.bidPrice or NAN, t.askPrice or NAN
        bid_sz = (t.bidSize or NAN) if bid == bid else NAN
        ask_sz = (t.askSize or NAN) if ask == ask else NAN
        iv_bid, iv_ask, iv_mark = t.bidIv or NAN, t.askIv or NAN, t.markPriceIv or NAN
        fwd, index = t.underlyingPrice or NAN, t.indexPrice or NAN
        oi = NAN if t.openInterest is None or t.openInterest == "" else t.openInterest  # 0 is a number here
        if fwd != fwd:
            flags = NO_FORWARD
        else:
            source = FORWARD_INDEX if fwd == index else FORWARD_MODEL
            flags = INDEX_FORWARD if fwd == index else MODEL_FORWARD
            if self._forward is not None:
                self._forward.take(source, fwd, ts_ns, now_ns)
        if self._index is not None:
            self._index.take(FORWARD_INDEX, index, ts_ns, now_ns)
        if not bid < ask:
            flags |= quote_flags(bid, ask)
        if (iv_bid != iv_bid and bid == bid) or (iv_ask != iv_ask and ask == ask):
            flags |= BELOW_INTRINSIC  # there is no vol for a price under intrinsic value
        if ts_ns >= self._window_ns:
            flags |= SETTLEMENT_WINDOW
        self._put_ticker(
            self.iid, flags, ts_ns, now_ns, -1,
            bid, ask, bid_sz, ask_sz, t.markPrice or NAN, iv_bid, iv_ask, iv_mark, fwd, index, oi,
        )  # fmt: skip

    def on_book(self, frame: bytes, now_ns: int) -> None:
        """Take an `orderbook` frame: a snapshot, at any time, replaces the book; a delta has the next number.

        The venue promises the rising by one nowhere, but every capture shows it, and a missing delta shows in nothing
        else. Number 1 is a whole book after a restart of the service, 0 an empty one.
        """
        try:
            message = decode_book(frame)
        except MALFORMED:
            self.lose_book("a change that cannot be read", now_ns)
            raise
        book, ts_ns = message.data, message.ts * NS_PER_MS
        if message.type == "snapshot" or book.u == RESTARTED:
            if (book.u <= RESTARTED and not is_late(ts_ns, self._top_ns)) or not self._overtaken(book.u, ts_ns):
                self._take_snapshot(book.b, book.a, book.u, ts_ns, now_ns)
        elif message.type != "delta":
            self.lose_book(f"a change of the type {message.type[:20]!r}", now_ns)
        elif not self.book_live:
            pass  # a delta that was under way while the snapshot is awaited
        elif self._seq is not None and book.u == self._seq + 1:
            self._take_change(book.b, book.a, book.u, ts_ns, now_ns)
        elif not self._overtaken(book.u, ts_ns):
            self.lose_book(f"after {self._seq} came {book.u}", now_ns)


class TradeStream:
    """The trades of all options of a coin, of which one connection follows some."""

    def __init__(self, streams: Mapping[str, OptionStream], session: BybitSession, sink: Sink) -> None:
        self._streams = streams
        self._session = session
        self._sink = sink
        self._last = ""

    def on_trades(self, frame: bytes, now_ns: int) -> None:
        """Take a `publicTrade` frame: one event per trade, its size negative when the taker sold."""
        for raw in decode_trades(frame).data:
            try:
                trade = decode_trade(raw)
            except MALFORMED as error:
                self._session.reject(bytes(raw), str(error), now_ns)
                continue
            stream = self._streams.get(trade.s)
            if stream is None or (trade.i and trade.i == self._last):
                continue  # none of ours, or sent twice
            self._last = trade.i
            ts_ns = trade.T * NS_PER_MS
            if ts_ns > self._session.last_venue_ns:
                self._session.last_venue_ns = ts_ns
            size = trade.v or NAN
            self._sink.event(
                "trade", now_ns, iid=stream.iid, value=trade.p or NAN,
                size=-size if trade.S == "Sell" else size, extra=trade.iv or NAN,
            )  # fmt: skip
