"""Deribit's side of a connection as a state machine: JSON-RPC 2.0 frames in, sink calls and frames to send out.

    connecting --connected--> listing --instruments--> subscribing --all answered--> live
    any        --disconnected--> down --connected--> listing, or subscribing when instruments are known from before

On a new connection it sets the heartbeat, subscribes to the indices and to changes of the listing, asks for the
instruments of each currency and subscribes to their channels, at the pace the venue documents. After that it answers
heartbeats, follows listings and expiries, and gets a new snapshot for a book that has lost a change.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from volsurface.market.book import Book
from volsurface.venues.codec import HttpRequest, Levels, Sink
from volsurface.venues.deribit_channels import checked_channels
from volsurface.venues.deribit_followed import FollowedOptions
from volsurface.venues.deribit_messages import (
    MALFORMED,
    Envelope,
    RpcError,
    decode_channels,
    decode_creation,
    decode_entries,
    decode_envelope,
    decode_state,
)
from volsurface.venues.deribit_names import VENUE, families
from volsurface.venues.deribit_streams import OptionStream
from volsurface.venues.pacing import Pace, Timers
from volsurface.venues.sharding import WHOLE

URL = "wss://www.deribit.com/ws/api/v2"
REST_URL = "https://www.deribit.com/api/v2"  # not asked: the websocket lists too
PUBLIC_INTERVAL, RAW_INTERVAL = "100ms", "raw"  # the fastest without and with credentials

NS_PER_S = 1_000_000_000
HEARTBEAT_S = 10  # the shortest Deribit allows
SILENCE_S = 35  # three heartbeats and some: a socket this quiet is dead, whatever the kernel thinks of it
ANSWER_S = 10  # a call not answered by then is made again
SNAPSHOT_S = 10  # a confirmed book without a snapshot by then is asked for again, later and later
EXPIRY_GRACE_S = 30  # an expired option is closed by then even when the venue says nothing
RELIST_S = 60  # listings are read again so long after an expiry, or after a name we do not know
REJECT_EVENT_S = 1  # at most one sample of the rejected frames in this time
EVENT_TEXT = 200  # longest text of an event

# Documented: subscribe costs 3,000 of 30,000 credits refilled at 10,000/s; get_instruments 1 per 10 s, burst 5.
SUBSCRIBE_INTERVAL_NS, SUBSCRIBE_BURST = 303_000_000, 10
LISTING_INTERVAL_NS, LISTING_BURST = 10 * NS_PER_S, 5

TOO_MANY_REQUESTS, NO_RAW = 10028, 13778
# retry, settlement in progress, queue full, too many at once, maintenance, server error, unavailable, timed out:
# the same call may succeed later.
PASSING_ERRORS = frozenset((10040, 10041, 10047, 10066, 11051, 11094, 13028, 13888))

CHANNEL_MARK = b'"channel":"'
SUBSCRIBE, GET_INSTRUMENTS = "public/subscribe", "public/get_instruments"
SET_HEARTBEAT = "public/set_heartbeat"


def connections(_n_instruments: int, _channels: Sequence[str]) -> int:
    """Return 1: Deribit documents no limit of channels per connection."""
    return 1


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call that waits for its answer."""

    method: str
    params: dict[str, Any]


class DeribitCodec:
    """Options of the given underlyings on one Deribit connection; see `venues.codec.Codec` for the contract.

    underlyings: "BTC" and "ETH" (inverse), linear coins such as "SOL", or "BTC_USDC" for linear options on BTC.
    channels: any of ticker, book, quote, trades, markprice.
    rest_url: not used. shard: (i, n), this is connection i of n.
    interval: "100ms", "agg2", or "raw", which the venue refuses to strangers (13778: then 100ms is asked for).

    dropped_channels: asked for and not confirmed by the venue, so far.
    """

    venue = VENUE

    def __init__(
        self,
        underlyings: Sequence[str],
        channels: Sequence[str],
        sink: Sink,
        *,
        rest_url: str = REST_URL,
        shard: tuple[int, int] = WHOLE,
        interval: str = PUBLIC_INTERVAL,
    ) -> None:
        self.sink = sink
        self.state = "connecting"
        self.messages = self.rejected = self.gaps = self.subscribed = self.listed = self.reconnects = (
            self.superseded
        ) = 0
        self.dropped_channels = 0
        self.last_venue_ns = self.last_receive_ns = 0
        self.hang_up = ""
        listing_routes = {"state": self._on_state, "creation": self._on_creation}
        known, self._unknown = families(underlyings)
        self._options = FollowedOptions(known, checked_channels(channels), interval, self, sink, listing_routes, shard)
        self._subscriptions = self._options.subscriptions
        self._routes = self._options.routes
        self._timers = Timers()
        self._due: dict[str, Callable[[Any, int], None]] = {
            "pace": self._pace_due,
            "retry": self._retry_due,
            "answer": self._answer_due,
            "silence": self._silence_due,
            "snapshot": self._snapshot_due,
            "expiry": self._expiry_due,
            "relist": self._relist_due,
        }
        self._subscribe_pace = Pace(SUBSCRIBE_INTERVAL_NS, SUBSCRIBE_BURST)
        self._listing_pace = Pace(LISTING_INTERVAL_NS, LISTING_BURST)
        self._to_list: dict[str, None] = {}  # currencies whose instruments are to be asked for
        self._unlisted = dict.fromkeys(self._options.currencies)  # currencies whose instruments were never told
        self._calls: dict[int, Call] = {}
        self._last_id = 0
        self._out: list[bytes] = []
        self._connections = 0
        self._setbacks = 0  # refusals in a row; each doubles the pause
        self._reject_event_ns = -REJECT_EVENT_S * NS_PER_S

    # -- the connection ---------------------------------------------------------------------------------------------

    def connected(self, now_ns: int) -> None:
        """Start over: heartbeat, common channels, listings, and the channels of options known from before."""
        self.reconnects += self._connections > 0
        self._connections += 1
        self.hang_up, self.last_receive_ns = "", now_ns
        self._out.clear()
        self._calls.clear()
        self._timers.clear()
        self._event("connect", now_ns, text=f"{VENUE}: connection {self._connections}")
        while self._unknown:
            self._event("dropped", now_ns, "warning", self._unknown.pop())
        self._call(SET_HEARTBEAT, {"interval": HEARTBEAT_S}, now_ns)
        self._options.start()
        self._to_list = dict.fromkeys(self._options.currencies)
        self._timers.set(now_ns + SILENCE_S * NS_PER_S, "silence")
        self.state = "listing" if self._unlisted else "subscribing"
        self._go_on(now_ns)

    def disconnected(self, now_ns: int, reason: str) -> None:
        """Drop every book; to be called also when a connection could not be made at all."""
        self.state, self.subscribed = "down", 0
        self._timers.clear()
        self._out.clear()
        for stream in self._options.streams.values():
            stream.drop_book(now_ns)
        self._event("disconnect", now_ns, "warning", f"{VENUE}: {reason}")

    def receive(self, frame: bytes, now_ns: int) -> None:
        """Take one frame. The channel's text is found without parsing; then one typed decoder reads the whole frame."""
        self.messages += 1
        self.last_receive_ns = now_ns
        try:
            start = frame.find(CHANNEL_MARK) + 11
            if start > 10:
                route = self._routes.get(frame[start : frame.find(b'"', start)])
                if route is not None:
                    route(frame, now_ns)
                    return
            self._receive_other(frame, now_ns)
        except MALFORMED as error:
            self._reject(frame, str(error), now_ns)

    def waiting_key(self, frame: bytes) -> bytes | None:
        """Tell what may become of a frame during an overload: see `io.late_frames.PatientCodec`."""
        start = frame.find(CHANNEL_MARK) + 11
        if start < 11:
            return None
        channel = frame[start : frame.find(b'"', start)]
        if channel.startswith(b"ticker."):
            return channel
        return b"" if channel.startswith((b"book.", b"trades.")) else None

    def deadline_ns(self) -> int | None:
        """Return when `timer` wants to be called next, or None."""
        return self._timers.next_ns()

    def timer(self, now_ns: int) -> None:
        """Do what is due: paced calls, retries, expiries, missing answers and snapshots, and the check for silence."""
        while (due := self._timers.pop(now_ns)) is not None:
            kind, key = due
            self._due[kind](key, now_ns)
        self._go_on(now_ns)

    def frames_to_send(self) -> list[bytes]:
        """Return the frames queued since the last call."""
        if not self._out:
            return []
        out, self._out = self._out, []
        return out

    def requests_to_make(self) -> list[HttpRequest]:
        """Return nothing: Deribit lists over the websocket."""
        return []

    def answered(self, tag: str, status: int, body: bytes, now_ns: int) -> None:
        """Take an answer to a request, of which there are none."""

    @property
    def books(self) -> Mapping[int, Book]:
        """The live books by instrument id."""
        if not self._options.has_books:
            return {}
        return {stream.iid: stream.book for stream in self._options.streams.values() if stream.book_live}

    def depth(self, iid: int, levels: int) -> tuple[Levels, Levels]:
        """Return the best `levels` of an instrument's bids and asks; both are empty without a live book."""
        book = self.books.get(iid)
        return book.depth(levels) if book is not None else ([], [])

    # -- answers and notifications that are not market data -----------------------------------------------------------

    def _receive_other(self, frame: bytes, now_ns: int) -> None:
        envelope = decode_envelope(frame)
        params = envelope.params
        if params is not None and params.channel:  # a channel we do not follow, or JSON with spaces in it
            route = self._routes.get(params.channel.encode())
            if route is None:
                self._reject(frame, f"unknown channel {params.channel[:60]}", now_ns)
            else:
                route(frame, now_ns)
        elif envelope.method == "heartbeat":
            if params is not None and params.type == "test_request":
                self._call("public/test", {}, now_ns)
        elif envelope.error is not None:
            self._take_error(envelope, envelope.error, now_ns)
        elif isinstance(envelope.id, int) and envelope.id in self._calls:
            self._take_result(self._calls[envelope.id], envelope.result, now_ns)
            self._forget_call(envelope.id)  # only now: an answer that cannot be read counts as missing
            self._go_on(now_ns)
        else:
            self._reject(frame, "an answer to nothing that was asked", now_ns)

    def _take_result(self, call: Call, result: msgspec.Raw, now_ns: int) -> None:
        if call.method == SUBSCRIBE:
            asked, confirmed = call.params["channels"], decode_channels(result)
            self._setbacks = 0
            self._count_dropped(self._subscriptions.answered(asked, confirmed), len(asked), now_ns)
            for channel in asked:
                if channel.startswith("book."):
                    self._await_snapshot(channel, now_ns)
        elif call.method == GET_INSTRUMENTS:
            currency, entries = call.params["currency"], decode_entries(result)
            self._setbacks = 0
            self._unlisted.pop(currency, None)
            listing = self._options.take_listing(currency, entries, now_ns)
            if listing.unread:
                self.rejected += listing.unread
                text = f"{VENUE} {currency}: {listing.unread} listing entries not understood: {listing.reason}"
                self._event("reject_frame", now_ns, "warning", text, value=listing.unread)
            text = f"{VENUE} {currency}: {listing.options} options"
            severity = "info" if listing.options else "warning"
            self._event("listed", now_ns, severity, text, value=listing.options)

    def _take_error(self, envelope: Envelope, error: RpcError, now_ns: int) -> None:
        """Make an error an event, and decide by its code whether to wait, to ask otherwise or to give up."""
        call = self._forget_call(envelope.id) if isinstance(envelope.id, int) else None
        what = call.method if call else "a frame"
        text = f"{VENUE} refused {what}: {error.code} {error.message} {bytes(error.data).decode(errors='replace')}"
        self._event("reject_frame", now_ns, "error", text)
        if error.code == TOO_MANY_REQUESTS:  # the venue closes the session; whoever comes back must be slower
            until_ns = now_ns + min(60, 10 << self._setbacks) * NS_PER_S
            self._setbacks = min(self._setbacks + 1, 5)
            self._subscribe_pace.penalise(until_ns)
            self._listing_pace.penalise(until_ns)
            self._ask_again(call, now_ns)
        elif error.code == NO_RAW and self._options.interval == RAW_INTERVAL:
            self._options.change_interval(PUBLIC_INTERVAL)
        elif error.code in PASSING_ERRORS:
            self._timers.set(now_ns + min(30, 1 << self._setbacks) * NS_PER_S, "retry", call)
            self._setbacks = min(self._setbacks + 1, 5)
        elif call is not None and call.method == SUBSCRIBE:
            asked = call.params["channels"]
            self._count_dropped(self._subscriptions.give_up(asked), len(asked), now_ns)
        elif call is not None and call.method == GET_INSTRUMENTS:
            self._unlisted.pop(call.params["currency"], None)
        self._go_on(now_ns)

    def _count_dropped(self, refused: Sequence[str], asked: int, now_ns: int) -> None:
        if not refused:
            return
        self.dropped_channels += len(refused)
        some = ", ".join(refused[:3]) + (", ..." if len(refused) > 3 else "")
        text = f"{VENUE} did not confirm {len(refused)} of {asked} channels: {some}"
        self._event("dropped", now_ns, "warning", text, value=len(refused))

    def _on_creation(self, frame: bytes, now_ns: int) -> None:
        """Take an `instrument.creation` frame: one listing entry."""
        try:
            instrument = self._options.take_entry(decode_creation(frame).params.data, now_ns)
        except ValueError as error:
            self._reject(frame, str(error), now_ns)
            return
        if instrument is not None:
            self._event("listed", now_ns, text=f"{VENUE} {instrument.symbol}", value=1)
            self._go_on(now_ns)

    def _on_state(self, frame: bytes, now_ns: int) -> None:
        """Take an `instrument.state` frame."""
        currency = self._options.take_state(decode_state(frame).params.data, now_ns)
        if currency is not None:
            # `instrument.creation` usually says it sooner; one listing is asked for however many names are new.
            self._timers.set(now_ns + RELIST_S * NS_PER_S, "relist", currency)
        self._go_on(now_ns)

    # -- calls, their pace, and what is due ---------------------------------------------------------------------------

    def _call(self, method: str, params: dict[str, Any], now_ns: int) -> None:
        self._last_id += 1
        self._calls[self._last_id] = Call(method, params)
        self._timers.set(now_ns + ANSWER_S * NS_PER_S, "answer", self._last_id)
        self._out.append(
            msgspec.json.encode({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params})
        )

    def _forget_call(self, call_id: int) -> Call | None:
        self._timers.cancel("answer", call_id)
        return self._calls.pop(call_id, None)

    def _ask_again(self, call: Call | None, now_ns: int) -> None:
        """Repeat a call that failed; a failed unsubscribe is repaired by the wait for a snapshot instead."""
        if call is not None and call.method == SUBSCRIBE:
            self._subscriptions.ask_again(call.params["channels"])
        elif call is not None and call.method == GET_INSTRUMENTS:
            self._to_list[call.params["currency"]] = None
        elif call is not None and call.method == SET_HEARTBEAT:
            self._call(SET_HEARTBEAT, call.params, now_ns)

    def _go_on(self, now_ns: int) -> None:
        """Send the waiting calls that the pace allows, set timers for the rest, and bring state and counts up to date."""
        while self._to_list:
            if (ready_ns := self._listing_pace.ready_ns()) > now_ns:
                self._timers.set(ready_ns, "pace", GET_INSTRUMENTS)
                break
            self._listing_pace.spend(now_ns)
            currency = next(iter(self._to_list))
            del self._to_list[currency]
            self._call(GET_INSTRUMENTS, {"currency": currency, "kind": "option", "expired": False}, now_ns)
        while self._subscriptions.waiting:
            if (ready_ns := self._subscribe_pace.ready_ns()) > now_ns:
                self._timers.set(ready_ns, "pace", SUBSCRIBE)
                break
            self._subscribe_pace.spend(now_ns)
            operation, channels = self._subscriptions.next_call()
            self._call(f"public/{operation}", {"channels": channels}, now_ns)
        self.listed = len(self._options.streams)
        self.subscribed = len(self._subscriptions.confirmed)
        expiry_ns = self._options.next_expiry_ns()
        if expiry_ns is not None:
            self._timers.set(expiry_ns + EXPIRY_GRACE_S * NS_PER_S, "expiry")
        if self.state in ("listing", "subscribing") and not self._unlisted:
            self.state = "live" if self._subscriptions.complete else "subscribing"

    def _pace_due(self, _key: Any, now_ns: int) -> None:
        """The pace allows the next call; `timer` ends by sending it."""

    def _retry_due(self, call: Call | None, now_ns: int) -> None:
        self._ask_again(call, now_ns)

    def _answer_due(self, call_id: int, now_ns: int) -> None:
        call = self._calls.pop(call_id, None)
        if call is not None:
            self._event("stale", now_ns, "warning", f"{VENUE}: no answer to {call.method} in {ANSWER_S} s")
            self._ask_again(call, now_ns)

    def _silence_due(self, _key: Any, now_ns: int) -> None:
        due_ns = self.last_receive_ns + SILENCE_S * NS_PER_S
        if now_ns < due_ns:
            self._timers.set(due_ns, "silence")
        else:
            self.hang_up = f"nothing received for {SILENCE_S} s"

    def _expiry_due(self, _key: Any, now_ns: int) -> None:
        self._options.expire(now_ns - EXPIRY_GRACE_S * NS_PER_S, now_ns)
        for currency in self._options.currencies:  # what is listed in place of the expired
            self._timers.set(now_ns + RELIST_S * NS_PER_S, "relist", currency)

    def _relist_due(self, currency: str, now_ns: int) -> None:
        self._to_list[currency] = None

    # -- books --------------------------------------------------------------------------------------------------------

    def book_gap(self, stream: OptionStream, why: str, now_ns: int) -> None:
        """Count a book that has lost a change and get it a new snapshot; other channels are left alone."""
        self.gaps += 1
        self._event("gap", now_ns, "warning", f"{stream.instrument.symbol}: {why}", iid=stream.iid)
        self._renew_book(stream, now_ns)
        self._go_on(now_ns)

    def _renew_book(self, stream: OptionStream, now_ns: int) -> None:
        channel = self._options.book_channel(stream)
        self._subscriptions.renew(channel)
        self._event("resubscribe", now_ns, text=channel, iid=stream.iid)

    def _await_snapshot(self, channel: str, now_ns: int) -> None:
        stream = self._options.streams.get(channel.split(".")[1])
        if stream is not None and channel in self._subscriptions.confirmed and not stream.book_live:
            wait_s = SNAPSHOT_S << min(stream.snapshot_tries, 5)
            self._timers.set(now_ns + wait_s * NS_PER_S, "snapshot", stream)

    def _snapshot_due(self, stream: OptionStream, now_ns: int) -> None:
        channel = self._options.book_channel(stream)
        if stream.book_live:
            stream.snapshot_tries = 0
        elif channel in self._subscriptions.confirmed:
            stream.snapshot_tries += 1
            self._renew_book(stream, now_ns)

    # -- events -------------------------------------------------------------------------------------------------------

    def _event(self, kind: str, now_ns: int, severity: str = "info", text: str = "", **numbers: Any) -> None:
        self.sink.event(kind, now_ns, severity, text=text[:EVENT_TEXT], **numbers)

    def _reject(self, frame: bytes, why: str, now_ns: int) -> None:
        """Count a frame that was not understood, and keep a sample of such frames."""
        self.rejected += 1
        if now_ns - self._reject_event_ns >= REJECT_EVENT_S * NS_PER_S:
            self._reject_event_ns = now_ns
            text = f"{VENUE}: {why[:90]}: {frame[:EVENT_TEXT].decode(errors='replace')}"
            self._event("reject_frame", now_ns, "warning", text, value=self.rejected)
