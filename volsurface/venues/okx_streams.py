"""What arrives for one OKX option, family or index, turned into sink calls: the hot path of the codec.

An option's row is put together from four channels (quote, mark, vols with the forward, open interest); each brings its
part, and the row is written with the newest of all parts. A part that was overtaken by a newer one of its channel is
passed over. "" and "0" become NaN, contracts become coins.
"""

from collections.abc import Mapping
from typing import Protocol

from volsurface.market.instrument import CALL, COIN, Instrument
from volsurface.market.quote import (
    CLAMPED_IV,
    FORWARD_INDEX,
    FORWARD_MODEL,
    FORWARD_NONE,
    SETTLEMENT_WINDOW,
    forward_flag,
)
from volsurface.venues.book_stream import BookStream, Session, is_late
from volsurface.venues.codec import Sink
from volsurface.venues.normalised import INF, NAN, NS_PER_MS, NS_PER_S, SETTLEMENT_WINDOW_NS, LatestForward, quote_flags
from volsurface.venues.okx_messages import (
    Summary,
    Trade,
    decode_book,
    decode_entries,
    decode_indices,
    decode_marks,
    decode_open_interests,
    decode_summaries,
    decode_summary,
    decode_tickers,
    decode_trade,
)
from volsurface.venues.session_codec import MALFORMED

CLAMPED_VOL = 5.0  # where captured bid and ask vols stop
NO_FORWARD, MODEL_FORWARD = forward_flag(FORWARD_NONE), forward_flag(FORWARD_MODEL)
CACHED_NS = 10 * NS_PER_S  # a first trade older than this is one the venue kept


class OkxSession(Session, Protocol):
    """What the family's streams need of the codec besides."""

    def reject(self, frame: bytes, why: str, now_ns: int) -> None:
        """Count an entry that was not understood."""


class IndexStream:
    """The spot index of a coin; every connection knows it for its rows, and `forward` is told by one of them."""

    __slots__ = ("_forward", "_session", "_ts_ns", "value")

    def __init__(self, forward: LatestForward | None, session: Session) -> None:
        self._forward = forward
        self._session = session
        self.reset()

    def reset(self) -> None:
        """A new connection: no index is known."""
        self.value = NAN
        self._ts_ns = 0

    def on_index(self, frame: bytes, now_ns: int) -> None:
        """Take an `index-tickers` frame."""
        for index in decode_indices(frame).data:
            ts_ns = index.ts * NS_PER_MS
            if is_late(ts_ns, self._ts_ns):
                continue
            self._ts_ns = ts_ns
            if ts_ns > self._session.last_venue_ns:
                self._session.last_venue_ns = ts_ns
            self.value = index.idxPx or NAN
            if self._forward is not None:
                self._forward.take(FORWARD_INDEX, self.value, ts_ns, now_ns)


class OptionStream(BookStream):
    """The channels of one option.

    forward: of its expiry, or None when another connection or family tells it. index: of its coin.
    """

    __slots__ = (
        "_ask",
        "_ask_sz",
        "_bid",
        "_bid_sz",
        "_flags",
        "_forward",
        "_fwd",
        "_index",
        "_iv_ask",
        "_iv_bid",
        "_iv_mark",
        "_mark",
        "_mark_ns",
        "_most",
        "_oi",
        "_oi_ns",
        "_put_ticker",
        "_quote_ns",
        "_summary_ns",
        "_ts_ns",
        "_window_ns",
    )

    def __init__(
        self,
        iid: int,
        instrument: Instrument,
        forward: LatestForward | None,
        index: IndexStream,
        session: Session,
        sink: Sink,
    ) -> None:
        super().__init__(iid, instrument, session, sink)
        self._forward = forward
        self._index = index
        self._window_ns = instrument.expiry_ns - SETTLEMENT_WINDOW_NS
        # A call in coins is worth less than its coin; marks of several coins for far strikes have been captured.
        self._most = 1.0 if instrument.settlement == COIN and instrument.right == CALL else INF
        self._put_ticker = sink.ticker
        self.reset()

    def reset(self) -> None:
        """A new connection: no part of the row is known."""
        super().reset()
        self._bid = self._ask = self._bid_sz = self._ask_sz = self._mark = self._oi = NAN
        self._iv_bid = self._iv_ask = self._iv_mark = self._fwd = NAN
        self._quote_ns = self._mark_ns = self._summary_ns = self._oi_ns = self._ts_ns = 0
        self._flags = NO_FORWARD

    def _write(self, ts_ns: int, now_ns: int) -> None:
        """Write the row; its time is that of the newest part."""
        if ts_ns > self._ts_ns or not is_late(ts_ns, self._ts_ns):
            self._ts_ns = ts_ns
            if ts_ns > self._session.last_venue_ns:
                self._session.last_venue_ns = ts_ns
        else:
            ts_ns = self._ts_ns
        flags = self._flags
        bid, ask = self._bid, self._ask
        if not bid < ask:
            flags |= quote_flags(bid, ask)
        if ts_ns >= self._window_ns:
            flags |= SETTLEMENT_WINDOW
        self._put_ticker(
            self.iid, flags, ts_ns, now_ns, -1,
            bid, ask, self._bid_sz, self._ask_sz, self._mark,
            self._iv_bid, self._iv_ask, self._iv_mark, self._fwd, self._index.value, self._oi,
        )  # fmt: skip

    def on_ticker(self, frame: bytes, now_ns: int) -> None:
        """Take a `tickers` frame: best bid and ask."""
        for t in decode_tickers(frame).data:
            ts_ns = t.ts * NS_PER_MS
            if is_late(ts_ns, self._quote_ns):
                continue
            self._quote_ns = ts_ns
            self._bid, self._ask = bid, ask = t.bidPx or NAN, t.askPx or NAN
            self._bid_sz = (t.bidSz or NAN) * self._coins / self._contracts if bid == bid else NAN
            self._ask_sz = (t.askSz or NAN) * self._coins / self._contracts if ask == ask else NAN
            self._write(ts_ns, now_ns)

    def on_mark(self, frame: bytes, now_ns: int) -> None:
        """Take a `mark-price` frame."""
        for mark in decode_marks(frame).data:
            ts_ns = mark.ts * NS_PER_MS
            if not is_late(ts_ns, self._mark_ns):
                self._mark_ns = ts_ns
                price = mark.markPx or NAN
                self._mark = price if price <= self._most else NAN
                self._write(ts_ns, now_ns)

    def on_open_interest(self, frame: bytes, now_ns: int) -> None:
        """Take an `open-interest` frame; an open interest of 0 is a number like any other."""
        for entry in decode_open_interests(frame).data:
            ts_ns = entry.ts * NS_PER_MS
            if not is_late(ts_ns, self._oi_ns):
                self._oi_ns = ts_ns
                self._oi = NAN if entry.oi is None or entry.oi == "" else self.coins(entry.oi)
                self._write(ts_ns, now_ns)

    def take_summary(self, summary: Summary, now_ns: int) -> None:
        """Take this option's entry of an `opt-summary` frame: vols and the forward."""
        ts_ns = summary.ts * NS_PER_MS
        if is_late(ts_ns, self._summary_ns):
            return
        self._summary_ns = ts_ns
        self._iv_bid, self._iv_ask, self._iv_mark = iv_bid, iv_ask, iv_mark = (
            summary.bidVol or NAN,
            summary.askVol or NAN,
            summary.markVol or NAN,
        )
        self._fwd = fwd = summary.fwdPx or NAN
        flags = MODEL_FORWARD if fwd == fwd else NO_FORWARD
        if iv_bid >= CLAMPED_VOL or iv_ask >= CLAMPED_VOL or iv_mark >= CLAMPED_VOL:
            flags |= CLAMPED_IV
        self._flags = flags
        if self._forward is not None:
            self._forward.take(FORWARD_MODEL, fwd, ts_ns, now_ns)
        self._write(ts_ns, now_ns)

    def on_book(self, frame: bytes, now_ns: int) -> None:
        """Take a `books` frame: a snapshot replaces the book, an update must continue from the last number.

        The number may fall (a reset after maintenance) and may stay (a sign of life without levels): only the link
        by `prevSeqId` counts.
        """
        try:
            message = decode_book(frame)
        except MALFORMED:
            self.lose_book("an update that cannot be read", now_ns)
            raise
        for change in message.data:
            seq, previous, ts_ns = change.seqId, change.prevSeqId, change.ts * NS_PER_MS
            if message.action == "snapshot":
                if not self._overtaken(seq, ts_ns):
                    self._take_snapshot(change.bids, change.asks, seq, ts_ns, now_ns)
            elif not self.book_live:
                pass  # an update that was under way while the snapshot is awaited
            elif previous == self._seq and (seq is None) == (previous is None):
                self._take_change(change.bids, change.asks, seq, ts_ns, now_ns)
            elif not self._overtaken(seq, ts_ns):
                self.lose_book(f"after {self._seq} came {previous}", now_ns)

    def on_best(self, frame: bytes, now_ns: int) -> None:
        """Take a `bbo-tbt` frame: the whole best level each time, so that nothing can be missing."""
        for best in decode_book(frame).data:
            ts_ns = best.ts * NS_PER_MS
            if not self._overtaken(best.seqId, ts_ns):
                self._take_snapshot(best.bids, best.asks, best.seqId, ts_ns, now_ns)

    def take_trade(self, trade: Trade, now_ns: int) -> None:
        """Take a trade of this option: an event, its size negative when the taker sold."""
        ts_ns = trade.ts * NS_PER_MS
        if ts_ns > self._session.last_venue_ns:
            self._session.last_venue_ns = ts_ns
        size = self.coins(trade.sz or NAN)
        self._sink.event(
            "trade", now_ns, iid=self.iid, value=trade.px or NAN, size=-size if trade.side == "sell" else size,
            extra=trade.fillVol or NAN,
        )  # fmt: skip


class FamilyStream:
    """What a family sends for all its options in one message, of which one connection follows some."""

    def __init__(self, streams: Mapping[str, OptionStream], session: OkxSession) -> None:
        self._streams = streams
        self._session = session
        self.reset()

    def reset(self) -> None:
        """A new connection: its first trade may be one the venue kept."""
        self._first_trade = True
        self._last_trade = ""

    def on_summary(self, frame: bytes, now_ns: int) -> None:
        """Take an `opt-summary` frame; an entry that cannot be read is refused alone."""
        streams = self._streams
        try:
            entries = decode_summaries(frame).data
        except MALFORMED:
            entries = self._readable(frame, now_ns)
        for entry in entries:
            stream = streams.get(entry.instId)
            if stream is not None:
                stream.take_summary(entry, now_ns)

    def _readable(self, frame: bytes, now_ns: int) -> list[Summary]:
        readable = []
        for raw in decode_entries(frame).data:
            try:
                readable.append(decode_summary(raw))
            except MALFORMED as error:
                self._session.reject(bytes(raw), str(error), now_ns)
        return readable

    def on_trade(self, frame: bytes, now_ns: int) -> None:
        """Take an `option-trades` frame; the first one on a connection may be an old trade, which is no news."""
        for raw in decode_entries(frame).data:
            try:
                trade = decode_trade(raw)
            except MALFORMED as error:
                self._session.reject(bytes(raw), str(error), now_ns)
                continue
            first, self._first_trade = self._first_trade, False
            stream = self._streams.get(trade.instId)
            if (first and trade.ts * NS_PER_MS < now_ns - CACHED_NS) or stream is None:
                continue
            name = f"{trade.instId} {trade.tradeId}"
            if trade.tradeId and name == self._last_trade:
                continue  # sent twice
            self._last_trade = name
            stream.take_trade(trade, now_ns)
