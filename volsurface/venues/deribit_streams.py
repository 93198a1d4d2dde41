"""What arrives for one Deribit option or index, turned into sink calls: the hot path of the codec.

Each channel the venue sends has one method here as its route, so a frame costs one dictionary look-up, one typed
decoding and one sink call. Deribit's notation is removed here: 0, null or a negative number where there is no price or
vol becomes NaN, percent becomes a fraction, milliseconds become nanoseconds. Amounts are coins already.
"""

from collections.abc import Mapping
from typing import Protocol

from volsurface.market.book import Book
from volsurface.market.instrument import Instrument
from volsurface.market.quote import (
    BELOW_INTRINSIC,
    CLAMPED_IV,
    CROSSED,
    FORWARD_INDEX,
    SETTLEMENT_WINDOW,
    SNAPSHOT_ROW,
    forward_flag,
)
from volsurface.venues.codec import Sink
from volsurface.venues.deribit_messages import (
    BookChange,
    decode_book,
    decode_index,
    decode_marks,
    decode_quote,
    decode_ticker,
    decode_trades,
)
from volsurface.venues.deribit_names import forward_source
from volsurface.venues.normalised import NAN, NS_PER_MS, SETTLEMENT_WINDOW_NS, LatestForward, quote_flags

CLAMPED_MARK, CLAMPED_QUOTE = 2.5, 5.0  # vols at which captured tickers stop, as fractions


class Session(Protocol):
    """What a stream needs of the codec that owns it."""

    last_venue_ns: int

    def book_gap(self, stream: "OptionStream", why: str, now_ns: int) -> None:
        """The stream has dropped its book; get it a snapshot."""


class IndexStream:
    """The spot index of one family."""

    def __init__(self, forward: LatestForward, session: Session, sink: Sink) -> None:
        self._forward = forward
        self._session = session

    def on_index(self, frame: bytes, now_ns: int) -> None:
        """Take a `deribit_price_index` frame; only a changed value goes on."""
        index = decode_index(frame).params.data
        ts_ns = index.timestamp * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        self._forward.take(FORWARD_INDEX, index.price or NAN, ts_ns, now_ns)


class MarkStream:
    """The marks of all options of one index."""

    def __init__(self, streams: Mapping[str, "OptionStream"], session: Session) -> None:
        self._streams = streams
        self._session = session

    def on_marks(self, frame: bytes, now_ns: int) -> None:
        """Take a `markprice.options` frame; names that are not followed are passed over."""
        for mark in decode_marks(frame).params.data:
            stream = self._streams.get(mark.instrument_name)
            if stream is not None:
                ts_ns = mark.timestamp * NS_PER_MS
                if ts_ns > self._session.last_venue_ns:
                    self._session.last_venue_ns = ts_ns
                stream.take_mark(mark.mark_price, mark.iv, ts_ns, now_ns)


class OptionStream:
    """The channels of one option: its book, and what of its ticker belongs to the whole expiry.

    book_live: False until a snapshot came, and again after a gap.
    """

    __slots__ = (
        "_forward",
        "_forward_bits",
        "_forward_word",
        "_put_book",
        "_put_ticker",
        "_session",
        "_sink",
        "_source",
        "_window_ns",
        "book",
        "book_live",
        "change_id",
        "iid",
        "instrument",
        "snapshot_tries",
    )

    def __init__(
        self, iid: int, instrument: Instrument, forward: LatestForward | None, session: Session, sink: Sink
    ) -> None:
        self.iid = iid
        self.instrument = instrument
        self.book = Book()
        self.book_live = False
        self.change_id = -1
        self.snapshot_tries = 0
        self._forward = forward  # None: another family of the same coin reports its forwards
        self._forward_word = ""
        self._source = 0
        self._forward_bits = 0
        self._window_ns = instrument.expiry_ns - SETTLEMENT_WINDOW_NS
        self._session = session
        self._sink = sink
        self._put_ticker = sink.ticker
        self._put_book = sink.book_top

    def on_ticker(self, frame: bytes, now_ns: int) -> None:
        """Take a `ticker` frame."""
        t = decode_ticker(frame).params.data
        ts_ns = t.timestamp * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        # `x or NAN` makes 0 and null NaN; a comparison with NaN is false, so only a negative number needs the branch.
        bid, ask = t.best_bid_price or NAN, t.best_ask_price or NAN
        if bid < 0:
            bid = NAN
        if ask < 0:
            ask = NAN
        bid_sz = (t.best_bid_amount or NAN) if bid == bid else NAN
        ask_sz = (t.best_ask_amount or NAN) if ask == ask else NAN
        iv_bid, iv_ask, iv_mark = (t.bid_iv or NAN) / 100, (t.ask_iv or NAN) / 100, (t.mark_iv or NAN) / 100
        mark, fwd, index, oi = t.mark_price or NAN, t.underlying_price or NAN, t.index_price or NAN, t.open_interest
        if oi is None or oi < 0:
            oi = NAN  # an open interest of 0 is a number like any other
        if iv_bid < 0 or iv_ask < 0 or iv_mark < 0 or mark < 0 or fwd < 0 or index < 0:
            iv_bid, iv_ask, iv_mark, mark, fwd, index = (
                NAN if x < 0 else x for x in (iv_bid, iv_ask, iv_mark, mark, fwd, index)
            )
        if t.underlying_index != self._forward_word:
            self._forward_word = t.underlying_index
            self._source = forward_source(t.underlying_index)
            self._forward_bits = forward_flag(self._source)
        flags = self._forward_bits
        if not bid < ask:
            flags |= quote_flags(bid, ask)
        if (iv_bid != iv_bid and bid == bid) or (iv_ask != iv_ask and ask == ask):
            flags |= BELOW_INTRINSIC  # Deribit gives no vol for a price under intrinsic value
        if iv_mark == CLAMPED_MARK or iv_ask >= CLAMPED_QUOTE:
            flags |= CLAMPED_IV
        if ts_ns >= self._window_ns:
            flags |= SETTLEMENT_WINDOW
        forward = self._forward
        if forward is not None and fwd != forward.value:
            forward.take(self._source, fwd, ts_ns, now_ns)
        self._put_ticker(
            self.iid, flags, ts_ns, now_ns, -1,
            bid, ask, bid_sz, ask_sz, mark, iv_bid, iv_ask, iv_mark, fwd, index, oi,
        )  # fmt: skip

    def on_book(self, frame: bytes, now_ns: int) -> None:
        """Take a `book` frame: a snapshot replaces the book, a change must follow the last one exactly.

        `change_id` is shared by many instruments and jumps; only `prev_change_id` tells whether something is missing.
        A change whose `prev_change_id` is 0 starts from an empty book (seen in a capture of 2021); before snapshots
        had a type they were the frames without `prev_change_id`.
        """
        change = decode_book(frame).params.data
        flags, previous = 0, change.prev_change_id
        if change.type == "snapshot" or previous == 0 or (previous is None and not change.type):
            self.book.replace([level[1:] for level in change.bids], [level[1:] for level in change.asks])
            self.book_live = True
            flags = SNAPSHOT_ROW
        elif not self.book_live:
            return  # a change that was under way while the snapshot is awaited
        elif previous == self.change_id:
            self._apply(change)
        else:
            self._lose_book(f"after {self.change_id} came {previous}", now_ns)
            return
        self.change_id = change.change_id
        ts_ns = change.timestamp * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        bid, ask, bid_sz, ask_sz = self.book.top()
        if not bid < ask:
            flags |= quote_flags(bid, ask)
            if flags == CROSSED:
                # A crossed snapshot is the venue's own state and only flagged: fetching it again would never end.
                self._lose_book(f"crossed book, bid {bid} over ask {ask}", now_ns)
                return
        self._put_book(self.iid, flags, ts_ns, now_ns, change.change_id, bid, ask, bid_sz, ask_sz)

    def _apply(self, change: BookChange) -> None:
        bids, asks = self.book.bids, self.book.asks
        for action, price, amount in change.bids:
            bids.set(price, 0.0 if action == "delete" else amount)
        for action, price, amount in change.asks:
            asks.set(price, 0.0 if action == "delete" else amount)

    def _lose_book(self, why: str, now_ns: int) -> None:
        self.drop_book(now_ns)
        self._session.book_gap(self, why, now_ns)

    def drop_book(self, now_ns: int) -> None:
        """Forget the book, and say so if there was one."""
        if self.book_live:
            self.book_live = False
            self.book.clear()
            self._sink.book_lost(self.iid, now_ns)

    def on_quote(self, frame: bytes, now_ns: int) -> None:
        """Take a `quote` frame: the top of the book without its depth or a sequence number."""
        q = decode_quote(frame).params.data
        ts_ns = q.timestamp * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        self.book_live = True  # so that a lost connection takes it back
        bid, ask = q.best_bid_price or NAN, q.best_ask_price or NAN
        if bid < 0:
            bid = NAN
        if ask < 0:
            ask = NAN
        bid_sz = (q.best_bid_amount or NAN) if bid == bid else NAN
        ask_sz = (q.best_ask_amount or NAN) if ask == ask else NAN
        self._put_book(self.iid, quote_flags(bid, ask), ts_ns, now_ns, -1, bid, ask, bid_sz, ask_sz)

    def on_trades(self, frame: bytes, now_ns: int) -> None:
        """Take a `trades` frame: one event per trade, its size negative when the aggressor sold."""
        for trade in decode_trades(frame).params.data:
            ts_ns = trade.timestamp * NS_PER_MS
            if ts_ns > self._session.last_venue_ns:
                self._session.last_venue_ns = ts_ns
            size = -trade.amount if trade.direction == "sell" else trade.amount
            iv = (trade.iv or NAN) / 100
            self._sink.event("trade", now_ns, iid=self.iid, value=trade.price, size=size, extra=iv)

    def take_mark(self, mark: float | None, iv: float | None, ts_ns: int, now_ns: int) -> None:
        """Take this option's entry of a `markprice.options` frame, whose vol is a fraction already."""
        mark, iv = mark or NAN, iv or NAN
        flags = SETTLEMENT_WINDOW if ts_ns >= self._window_ns else 0
        self._put_ticker(
            self.iid, flags, ts_ns, now_ns, -1,
            NAN, NAN, NAN, NAN,
            NAN if mark < 0 else mark, NAN, NAN, NAN if iv < 0 else iv, NAN, NAN, NAN,
        )  # fmt: skip
