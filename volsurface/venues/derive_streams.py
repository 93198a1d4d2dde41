"""What arrives for one Derive option or currency, turned into sink calls: the hot path of the codec.

Derive's notation is removed here: a price, amount or vol that is not positive becomes NaN, milliseconds become
nanoseconds. The forward is what the venue's own model says of the expiry.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from volsurface.market.book import Book
from volsurface.market.instrument import Instrument
from volsurface.market.quote import (
    BELOW_INTRINSIC,
    FORWARD_INDEX,
    FORWARD_MODEL,
    SETTLEMENT_WINDOW,
    SNAPSHOT_ROW,
    forward_flag,
)
from volsurface.venues.codec import Sink
from volsurface.venues.derive_messages import (
    Pricing,
    Trade,
    decode_book,
    decode_raw_trades,
    decode_spot,
    decode_ticker,
    decode_trade,
    decode_trades,
)
from volsurface.venues.normalised import (
    INF,
    NAN,
    NS_PER_MS,
    SETTLEMENT_WINDOW_NS,
    LatestForward,
    clean,
    clean_quote,
    quote_flags,
)
from volsurface.venues.session_codec import MALFORMED

MODEL_FLAG = forward_flag(FORWARD_MODEL)
NO_PRICING = Pricing()


class Session(Protocol):
    """What a stream needs of the codec that owns it."""

    last_venue_ns: int

    def bad_entry(self, raw: bytes, why: str, now_ns: int) -> None:
        """One entry of a batch was not understood; the others were taken."""


class CurrencyStream:
    """The index of one currency, and the trades of its options."""

    def __init__(
        self, index: LatestForward, currency: str, streams: Mapping[str, "OptionStream"], session: Session, sink: Sink
    ) -> None:
        self._index = index
        self._currency = currency
        self._streams = streams
        self._session = session
        self._sink = sink

    def on_spot(self, frame: bytes, now_ns: int) -> None:
        """Take a `spot_feed` frame."""
        feed = decode_spot(frame).params.data
        ts_ns = feed.timestamp * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        spot = feed.feeds.get(self._currency)
        if spot is not None:
            self._index.take(FORWARD_INDEX, spot.price or NAN, ts_ns, now_ns)

    def on_trades(self, frame: bytes, now_ns: int) -> None:
        """Take a `trades.option` frame; a bad entry costs only itself."""
        try:
            trades = decode_trades(frame).params.data
        except msgspec.DecodeError:
            trades = []
            for raw in decode_raw_trades(frame).params.data:
                try:
                    trades.append(decode_trade(raw))
                except MALFORMED as error:
                    self._session.bad_entry(bytes(raw), str(error), now_ns)
        for trade in trades:
            self._take_trade(trade, now_ns)

    def _take_trade(self, t: Trade, now_ns: int) -> None:
        """Pass a trade on as an event, its size negative when the aggressor sold."""
        ts_ns = t.timestamp * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        stream = self._streams.get(t.instrument_name)
        if stream is None:
            return
        if not (0.0 < t.trade_price < INF and 0.0 < t.trade_amount < INF):
            self._session.bad_entry(
                t.instrument_name.encode(), f"a trade of {t.trade_amount} at {t.trade_price}", now_ns
            )
            return
        size = -t.trade_amount if t.direction == "sell" else t.trade_amount
        self._sink.event("trade", now_ns, iid=stream.iid, value=t.trade_price, size=size)


class OptionStream:
    """The channels of one option.

    book_live: whether a window of the book has come and is not too old. book_ns: when the last window came.
    renewals: times in a row that the book was asked for again.
    """

    __slots__ = (
        "_book_ts_ns",
        "_forward",
        "_publish_id",
        "_put_book",
        "_put_ticker",
        "_session",
        "_sink",
        "_ticker_ns",
        "_window_ns",
        "book",
        "book_live",
        "book_ns",
        "iid",
        "instrument",
        "renewals",
    )

    def __init__(self, iid: int, instrument: Instrument, forward: LatestForward, session: Session, sink: Sink) -> None:
        self.iid = iid
        self.instrument = instrument
        self.book = Book()
        self.book_live = False
        self.book_ns = 0
        self.renewals = 0
        self._publish_id = -1
        self._book_ts_ns = self._ticker_ns = 0
        self._forward = forward
        self._window_ns = instrument.expiry_ns - SETTLEMENT_WINDOW_NS
        self._session = session
        self._sink = sink
        self._put_ticker = sink.ticker
        self._put_book = sink.book_top

    def on_ticker(self, frame: bytes, now_ns: int) -> None:
        """Take a `ticker_slim` frame."""
        t = decode_ticker(frame).params.data.instrument_ticker
        ts_ns = t.t * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        if ts_ns < self._ticker_ns:
            return  # overtaken by a later one
        self._ticker_ns = ts_ns
        p = t.option_pricing or NO_PRICING
        bid, ask, bid_sz, ask_sz = clean_quote(t.b, t.a, t.B, t.A)
        iv_bid, iv_ask, iv_mark, fwd = clean(p.bi), clean(p.ai), clean(p.i), clean(p.f)
        mark, index = clean(t.M), clean(t.index)
        flags = MODEL_FLAG if fwd == fwd else 0
        if not bid < ask:
            flags |= quote_flags(bid, ask)
        if p is not NO_PRICING and ((iv_bid != iv_bid and bid == bid) or (iv_ask != iv_ask and ask == ask)):
            flags |= BELOW_INTRINSIC  # Derive gives no vol for a price under intrinsic value
        if ts_ns >= self._window_ns:
            flags |= SETTLEMENT_WINDOW
        if fwd != self._forward.value:
            self._forward.take(FORWARD_MODEL, fwd, ts_ns, now_ns)
        oi = NAN if t.stats is None or t.stats.oi is None else t.stats.oi
        if not 0.0 <= oi < INF:
            oi = NAN  # an open interest of 0 is a number like any other
        self._put_ticker(
            self.iid, flags, ts_ns, now_ns, -1,
            bid, ask, bid_sz, ask_sz, mark, iv_bid, iv_ask, iv_mark, fwd, index, oi,
        )  # fmt: skip

    def on_book(self, frame: bytes, now_ns: int) -> None:
        """Take an `orderbook` frame: it replaces the book, unless a later one has come already."""
        window = decode_book(frame).params.data
        ts_ns = window.timestamp * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        self.book_ns = now_ns
        if window.publish_id <= self._publish_id and ts_ns <= self._book_ts_ns:
            return  # again, or overtaken; a lower number with a later time is a numbering started again
        for price, amount in (*window.bids, *window.asks):
            if not (0.0 < price < INF and 0.0 < amount < INF):
                raise msgspec.ValidationError(f"a level of {amount} at {price}")
        self._publish_id, self._book_ts_ns = window.publish_id, ts_ns
        self.book.replace(window.bids, window.asks)
        self.book_live, self.renewals = True, 0
        bid, ask, bid_sz, ask_sz = self.book.top()
        flags = SNAPSHOT_ROW if bid < ask else SNAPSHOT_ROW | quote_flags(bid, ask)
        self._put_book(self.iid, flags, ts_ns, now_ns, window.publish_id, bid, ask, bid_sz, ask_sz)

    def drop_book(self, now_ns: int) -> None:
        """Forget the book, and say so if there was one."""
        self._publish_id, self._book_ts_ns, self._ticker_ns = -1, 0, 0
        if self.book_live:
            self.book_live = False
            self.book.clear()
            self._sink.book_lost(self.iid, now_ns)
