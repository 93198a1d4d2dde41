"""Binance's side of a connection for European options as a state machine: combined-stream frames in, sink calls out.

    connecting --connected--> listing --exchangeInfo--> subscribing --all answered--> live
    any        --disconnected--> down --connected--> listing, or subscribing when options are known from before

The listing and the snapshots of books come over REST. The venue serves marks, indices and open interest under one path
and books, quotes and trades under another, with at most 200 streams a connection. So where several connections are asked
for, the first has the marks of all options and the others share the books; a connection alone uses the path without a
word, which the venue also has. A wrong stream name is acknowledged like a right one, therefore the venue is asked again
and again which streams it thinks we have.
"""

from collections.abc import Sequence
from typing import Any

from volsurface.errors import unknown_name
from volsurface.venues.binance_listing import MAX_STREAMS, BinanceOptions, part_of
from volsurface.venues.binance_messages import (
    Refusal,
    decode_depth,
    decode_envelope,
    decode_exchange_info,
    decode_refusal,
)
from volsurface.venues.binance_names import VENUE
from volsurface.venues.binance_requests import ALL_LEVELS, ANSWER_S, LEVELS, LISTING, Requests
from volsurface.venues.binance_streams import OptionStream
from volsurface.venues.calling_codec import Call, CallingCodec
from volsurface.venues.channel_words import BOOK, QUOTE, TRADES, checked_words
from volsurface.venues.codec import HttpRequest, Sink
from volsurface.venues.normalised import NS_PER_S
from volsurface.venues.pacing import Pace
from volsurface.venues.session_codec import MALFORMED
from volsurface.venues.sharding import WHOLE, connections_for

URL = "wss://fstream.binance.com"
REST_URL = "https://eapi.binance.com"
OPTIONS_PER_UNDERLYING = 600  # no listing of the venue was at hand: as many as half of Deribit's expiries would make

CHECK_S = 10  # how often the venue is asked what it thinks we have subscribed to
CONFIRM_NS = 500_000_000  # and so long after an acknowledgement
MARKS_S = 10  # marks come every second; without any for so long they are subscribed to again
# Only the market path tells of new options. So that all connections know the same, each reads the listing at every full
# minute UTC; those of one process share one answer.
LISTING_NS = 60 * NS_PER_S
REFUSED_S = 60  # streams that were refused are asked for again
CUT_S, CUT_APART_S = 24 * 3600 - 600, 60  # the venue cuts at 24 h; we do so before, and not everywhere at once

# Documented: 10 incoming frames/s, pongs among them, or the venue hangs up.
CALL_INTERVAL_NS, CALL_BURST = 250_000_000, 3

SUBSCRIBE, UNSUBSCRIBE, LIST = "SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS"


def path(shard: tuple[int, int]) -> str:
    """Return the path of the venue's address that serves what connection i of n carries."""
    return part_of(shard).path


def connections(n_instruments: int, channels: Sequence[str]) -> int:
    """Return how many connections carry the streams of so many options: one for marks, the others for the rest."""
    per_option = (BOOK in channels) + (QUOTE in channels)
    if not per_option and TRADES not in channels:
        return 1
    return 1 + connections_for(n_instruments * per_option, MAX_STREAMS)


class BinanceCodec(CallingCodec):
    """Options of the given coins on one Binance connection; see `venues.codec.Codec` for the contract.

    underlyings: coins, "BTC"; one without options is an event when the listing has come.
    channels: any of ticker and markprice (both are the marks of the whole chain), book, quote, trades.
    rest_url: where the listing and the snapshots are fetched. shard: (i, n), this is connection i of n.
    """

    venue = VENUE
    channel_mark = b'{"stream":"'

    def __init__(
        self,
        underlyings: Sequence[str],
        channels: Sequence[str],
        sink: Sink,
        *,
        rest_url: str = REST_URL,
        shard: tuple[int, int] = WHOLE,
    ) -> None:
        super().__init__(underlyings, sink)
        part = part_of(shard)
        self._counts_listed = part.market  # it follows all options; no other connection shall count them again
        self._shard = shard
        words = checked_words(VENUE, channels)
        self._options = BinanceOptions(self._coins, words, part, self, sink)
        self._subscriptions = self._options.subscriptions
        self._routes = self._options.routes
        self._following = self._options.following
        self._due |= {
            "request": self._request_due,
            "snapshot": self._snapshot_due,
            "refused": self._refused_due,
            "confirm": self._confirm_due,
            "check": self._check_due,
            "marks": self._marks_due,
            "relist": self._relist_due,
            "cut": self._cut_due,
        }
        self._call_pace = Pace(CALL_INTERVAL_NS, CALL_BURST)
        self._requests = Requests(rest_url, max(1, shard[1] - 1), self._timers)
        self._was_listed = False
        self._check_wanted = False
        self._answers = 0  # of the frames received
        self._frames_checked = 0  # frames of streams at the last check
        self._quiet = False  # none came between the last two checks
        self._overflow_told = 0
        self._coins_told = False
        self._listing_tries = 0
        self._relist_ns = 0  # when the listing will be asked for

    # -- the connection -----------------------------------------------------------------------------------------------

    def _start(self, now_ns: int) -> None:
        """Want the listing when a minute has begun since the last one, and the streams of options known from before."""
        self._requests.start()
        self._check_wanted = self._quiet = False
        self._options.start()
        if now_ns >= self._relist_ns:
            self._list(now_ns)
        else:
            self._timers.set(self._relist_ns, "relist")
        for kind, seconds in (("check", CHECK_S), ("marks", MARKS_S)):
            self._timers.set(now_ns + seconds * NS_PER_S, kind)
        self._timers.set(now_ns + (CUT_S - CUT_APART_S * self._shard[0]) * NS_PER_S, "cut")
        self.state = "subscribing" if self._was_listed else "listing"

    def disconnected(self, now_ns: int, reason: str) -> None:
        """Drop every book; to be called also when a connection could not be made at all."""
        super().disconnected(now_ns, reason)
        self._requests.start()

    def requests_to_make(self) -> list[HttpRequest]:
        """Return the GETs queued since the last call."""
        return self._requests.drain()

    # -- answers over the websocket -----------------------------------------------------------------------------------

    def _receive_other(self, frame: bytes, now_ns: int) -> None:
        envelope = decode_envelope(frame)
        if envelope.stream:  # a stream we do not follow, or JSON in another order or with spaces in it
            route = self._routes.get(envelope.stream.encode())
            if route is None:
                self.reject(frame, f"unknown stream {envelope.stream[:60]}", now_ns)
            else:
                route(frame, now_ns)
            return
        refusal = envelope.error
        if refusal is None and envelope.code is not None:
            refusal = Refusal(envelope.code, envelope.msg)
        self._answers += 1
        if refusal is not None:
            # An error may come without the id of what it refuses; then it is about what was sent first.
            call_id = envelope.id if envelope.id in self._calls else next(iter(self._calls), None)
            call = self._forget_call(call_id)
            what = call.method if call else "a frame"
            self._reports.event(
                "reject_frame", now_ns, "error", f"{VENUE} refused {what}: {refusal.code} {refusal.msg}"
            )
            if call is not None and call.method == SUBSCRIBE:
                refused = self._subscriptions.give_up(call.params)
                self._reports.names("dropped", refused, f"of {len(call.params)} streams refused", now_ns)
                self._options.refused.update(dict.fromkeys(refused))
                self._timers.set(now_ns + REFUSED_S * NS_PER_S, "refused")
            self._go_on(now_ns)
            return
        call = self._forget_call(envelope.id)
        if call is None:
            self.reject(frame, "an answer to nothing that was asked", now_ns)
        elif call.method == SUBSCRIBE:
            self._subscriptions.answered(call.params, call.params)
            self._options.confirmed(call.params, now_ns)
            self._timers.set(now_ns + CONFIRM_NS, "confirm")
            for name in call.params:
                self._want_snapshot(name)
        elif call.method == LIST:
            self._compare(envelope.result, now_ns)
        self._go_on(now_ns)

    def _compare(self, result: Any, now_ns: int) -> None:
        """Compare what the venue says we have with what it has acknowledged; ask again for what it dropped silently."""
        if not isinstance(result, list):
            return
        listed = {str(name).lower() for name in result}
        missing = [name for name in self._subscriptions.confirmed if name.lower() not in listed]
        if not missing:
            return
        self._reports.names("dropped", missing, "streams confirmed and then dropped", now_ns)
        if len(missing) < len(self._subscriptions.confirmed):
            for name in missing:
                self._renew(name, now_ns)
        elif self._quiet:
            self.hang_up = "the venue has dropped every stream"
        # Otherwise streams flow of which the venue says nothing: its list is about something else.

    def _renew(self, name: str, now_ns: int) -> None:
        self._subscriptions.renew(name)
        self._reports.event("resubscribe", now_ns, text=name)
        stream = self._options.depth_streams.get(name)
        if stream is not None:
            stream.drop_book(now_ns)
            self._requests.forget_snapshot(stream.instrument.symbol)

    # -- calls, their pace, and what is due ---------------------------------------------------------------------------

    def _ask_again(self, call: Call) -> None:
        if call.method == SUBSCRIBE:
            self._subscriptions.ask_again(call.params)

    def _go_on(self, now_ns: int) -> None:
        """Send what the paces allow, set timers for the rest, and bring state and counts up to date."""
        if self.state == "down":
            return
        subscriptions = self._subscriptions
        while subscriptions.waiting or self._check_wanted:
            if (ready_ns := self._call_pace.ready_ns()) > now_ns:
                self._timers.set(ready_ns, "pace", "calls")
                break
            self._call_pace.spend(now_ns)
            if subscriptions.waiting:
                operation, streams = subscriptions.next_call()
                self._call(operation.upper(), streams, now_ns)
            else:
                self._check_wanted = False
                self._call(LIST, None, now_ns)
        self._requests.go_on(now_ns)
        if self._options.overflow != self._overflow_told:
            self._overflow_told = self._options.overflow
            self._reports.event(
                "dropped", now_ns, "warning",
                f"{VENUE}: {self._overflow_told + MAX_STREAMS} streams wanted, {MAX_STREAMS} allowed on a connection",
                value=self._overflow_told,
            )  # fmt: skip
        self.listed = len(self._options.streams) if self._counts_listed else 0
        self.subscribed = len(subscriptions.confirmed)
        self._watch_expiry()
        if self._was_listed:
            self.state = "live" if subscriptions.complete or self.state == "live" else "subscribing"

    def _refused_due(self, _key: Any, now_ns: int) -> None:
        self._options.refused.clear()
        self._options.fit()

    def _confirm_due(self, _key: Any, now_ns: int) -> None:
        self._check_wanted = bool(self._subscriptions.confirmed)

    def _check_due(self, _key: Any, now_ns: int) -> None:
        self._check_wanted = bool(self._subscriptions.confirmed)
        frames = self.messages - self._answers
        self._quiet, self._frames_checked = frames == self._frames_checked, frames
        self._timers.set(now_ns + CHECK_S * NS_PER_S, "check")

    def _marks_due(self, _key: Any, now_ns: int) -> None:
        for name, marks in self._options.mark_streams():
            if name in self._subscriptions.confirmed and now_ns - marks.last_marks_ns > MARKS_S * NS_PER_S:
                self._reports.event("stale", now_ns, "warning", f"{VENUE}: no {name} for {MARKS_S} s")
                self._renew(name, now_ns)
        self._timers.set(now_ns + MARKS_S * NS_PER_S, "marks")

    def _expire(self, until_ns: int, now_ns: int) -> None:
        self._options.expire(until_ns, now_ns)

    def _relist_due(self, _key: Any, now_ns: int) -> None:
        self._list(now_ns)

    def _cut_due(self, _key: Any, now_ns: int) -> None:
        self._reports.event(
            "notice", now_ns, "warning", f"{VENUE} cuts a connection after 24 h: this one is made anew before that"
        )
        self.hang_up = "the venue cuts a connection after 24 h"

    # -- listing and snapshots over REST --------------------------------------------------------------------------------

    def _list(self, now_ns: int) -> None:
        self._relist_ns = now_ns - now_ns % LISTING_NS + LISTING_NS
        self._timers.set(self._relist_ns, "relist")
        self._requests.ask_listing(now_ns)

    def answered(self, tag: str, status: int, body: bytes, now_ns: int) -> None:
        """Take the answer to a request; one that failed is made again, later and later."""
        if self.state == "down":
            return  # whatever it was, it is asked for again with the next connection
        self._requests.answered(tag, status, now_ns)
        try:
            if status == 200:
                if tag == LISTING:
                    self._take_listing(body, now_ns)
                else:
                    self._take_depth(tag, body, now_ns)
            else:
                self._take_failure(tag, status, body, now_ns)
        except MALFORMED as error:
            self.reject(body, f"answer to {tag}: {error}", now_ns)
            self._ask_later(tag, now_ns)
        self._go_on(now_ns)

    def _take_listing(self, body: bytes, now_ns: int) -> None:
        listing = self._options.take_listing(decode_exchange_info(body), now_ns)
        self._listing_tries, self._was_listed = 0, True
        if listing.unread:
            self.rejected += listing.unread
            text = f"{VENUE}: {listing.unread} listing entries not understood: {listing.reason}"
            self._reports.event("reject_frame", now_ns, "warning", text, value=listing.unread)
        severity = "info" if listing.options else "warning"
        self._reports.event("listed", now_ns, severity, f"{VENUE}: {listing.options} options", value=listing.options)
        for coin in () if self._coins_told else [coin for coin in self._coins if coin not in listing.coins]:
            self._reports.event(
                "listed", now_ns, "warning", f"{VENUE}: {unknown_name('underlying', coin, listing.coins)}"
            )
        self._coins_told = True

    def _take_depth(self, tag: str, body: bytes, now_ns: int) -> None:
        symbol = self._requests.symbol_of(tag)
        stream = self._options.streams.get(symbol)
        if stream is None or stream.book_live:
            return
        if self._options.depth_stream(stream) not in self._subscriptions.confirmed:
            return  # dropped meanwhile; asked for again when the stream is confirmed
        snapshot = decode_depth(body)
        if stream.levels == LEVELS and max(len(snapshot.bids), len(snapshot.asks)) >= LEVELS:
            stream.levels = ALL_LEVELS  # there may be more below what was sent
            self._requests.want_snapshot(symbol, ALL_LEVELS)
            return
        why = stream.take_snapshot(snapshot, now_ns)
        if not why:
            stream.snapshot_tries = 0
            return
        self._reports.event("resubscribe", now_ns, text=f"{symbol}: {why}", iid=stream.iid)
        self._ask_later(tag, now_ns)

    def _take_failure(self, tag: str, status: int, body: bytes, now_ns: int) -> None:
        try:
            refusal = decode_refusal(body)
            why = f"{refusal.code} {refusal.msg}"
        except MALFORMED:
            why = body[:100].decode(errors="replace")
        text = f"{VENUE}: {tag}: {f'HTTP {status}' if status else 'not reached'}: {why}"
        self._reports.event("reject_frame", now_ns, "error" if tag == LISTING else "warning", text)
        self._ask_later(tag, now_ns)

    def _ask_later(self, tag: str, now_ns: int) -> None:
        """Make a request again after a pause that doubles each time."""
        if tag == LISTING:
            self._relist_ns = min(self._relist_ns, self._requests.again_ns(self._listing_tries, now_ns))
            self._timers.set(self._relist_ns, "relist")
            self._listing_tries += 1
            return
        symbol = self._requests.symbol_of(tag)
        stream = self._options.streams.get(symbol)
        if stream is not None:
            self._timers.set(self._requests.again_ns(stream.snapshot_tries, now_ns), "snapshot", symbol)
            stream.snapshot_tries += 1

    def _request_due(self, tag: str, now_ns: int) -> None:
        self._reports.event("stale", now_ns, "warning", f"{VENUE}: no answer to {tag} in {ANSWER_S} s")
        self._ask_later(tag, now_ns)

    def _snapshot_due(self, symbol: str, now_ns: int) -> None:
        stream = self._options.streams.get(symbol)
        if stream is not None:
            self._want_snapshot(self._options.depth_stream(stream))

    # -- what the streams ask for ---------------------------------------------------------------------------------------

    def _want_snapshot(self, name: str) -> None:
        """Fetch the book of a confirmed depth stream, unless it is there."""
        stream = self._options.depth_streams.get(name)
        if stream is not None and name in self._subscriptions.confirmed and not stream.book_live:
            self._requests.want_snapshot(stream.instrument.symbol, stream.levels)

    def book_gap(self, stream: OptionStream, why: str, now_ns: int) -> None:
        """Count a book that has lost a change and fetch it anew; its stream goes on, and so does everything else."""
        self.gaps += 1
        self._reports.event("gap", now_ns, "warning", f"{stream.instrument.symbol}: {why}", iid=stream.iid)
        self._want_snapshot(self._options.depth_stream(stream))
        self._go_on(now_ns)
