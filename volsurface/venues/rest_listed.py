"""The codec of a venue that lists its options over REST and streams them over a websocket, but for the venue's own words.

    connecting --connected--> listing --every listing told--> subscribing --every channel answered--> live
    any        --disconnected--> down --connected--> listing, or subscribing when listings are known from before

A new connection asks for all listings again. Each option leads to channels, which are subscribed nearest expiry first
at the venue's pace. A book that lost a change is unsubscribed and subscribed, which brings a new snapshot. A socket
that is quiet is asked for a sign of life, and given up when none comes.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

import msgspec

from volsurface.market.instrument import Instrument
from volsurface.venues.codec import HttpRequest, Sink
from volsurface.venues.following import Followed, Following
from volsurface.venues.normalised import NS_PER_S, LatestForward
from volsurface.venues.pacing import Pace
from volsurface.venues.rest_listing import Answer, Page, RestListing
from volsurface.venues.session_codec import MALFORMED, Route, SessionCodec, pass_over
from volsurface.venues.sharding import Capacity, in_shard
from volsurface.venues.subscription_calls import ANSWER_S, SubscriptionCalls
from volsurface.venues.subscriptions import Subscriptions

REQUEST_S = 30  # a GET not answered by then is made again
SNAPSHOT_S = 1  # a confirmed book without a snapshot by then is asked for again, later and later
RELIST_S = 60  # listings are read again so long after an expiry
PONG_S = 10  # a sign of life asked for must come by then
LONGEST_WAIT_S = 5  # a call that would have to wait longer for its turn is worth a new connection


class VenueStream(Followed, Protocol):
    """What is followed of one option.

    routes: what takes the frames of each of its channels. book_channel: the one of its book, "" without one.
    snapshot_tries: how often its book was asked for in vain.
    """

    routes: Mapping[str, Route]
    book_channel: str
    snapshot_tries: int

    def reset(self) -> None:
        """A new connection: nothing that came before decides what is news."""


StreamT = TypeVar("StreamT", bound=VenueStream)


class RestListedCodec(SessionCodec, Generic[StreamT]):
    """See `venues.codec.Codec` for the contract; a venue's codec adds its routes, its words and `receive`.

    listings: the venue's names of the listings that hold the wanted options.
    complaints: what of the settings the venue does not have, said once.

    dropped_channels: asked for and not granted by the venue, so far.
    """

    per_call: ClassVar[int]  # channels one call may name
    capacity: ClassVar[Capacity]
    ping_s: ClassVar[int]  # a sign of life is asked for so long after the last ...
    ping_always: ClassVar[bool]  # ... question, or only after the last frame
    refresh_s: ClassVar[int]  # listings are read again so often
    blocked_s: ClassVar[dict[int, int]] = {}  # pause the venue wants after an HTTP status

    def __init__(
        self, listings: Sequence[str], sink: Sink, shard: tuple[int, int], complaints: Sequence[str] = ()
    ) -> None:
        super().__init__(sink)
        self.dropped_channels = 0
        self.shard = shard
        self._complaints = list(complaints)
        self._listings = tuple(dict.fromkeys(listings))
        self._unlisted = dict.fromkeys(self._listings)  # those never told
        self._rest = RestListing(self._listing_url, self._read_listing, MALFORMED, self.blocked_s)
        self._following: Following[StreamT] = Following(sink, self._make_stream)
        self._streams = self._following.streams
        self._forwards: dict[tuple[str, int], LatestForward] = {}
        self._common: dict[str, Route] = {}  # by channel, those that do not belong to one option
        self._book_of: dict[str, StreamT] = {}  # by book channel
        self._subscriptions = Subscriptions(self.per_call)
        self._calls = SubscriptionCalls(self._subscriptions, self._timers, self._send_call)
        self._pinged_ns = 0
        self._setbacks = 0  # refusals in a row; each doubles the pause
        self._left_out = 0  # options that do not fit this connection
        self._due["quiet"] = self._quiet_due
        self._due["snapshot"] = self._snapshot_due
        self._due["request"] = self._request_due
        self._due["relist"] = self._relist_due

    # -- the venue's own words ----------------------------------------------------------------------------------------

    @abstractmethod
    def _listing_url(self, name: str, cursor: str) -> str:
        """Return the address of a page of a listing."""

    @abstractmethod
    def _read_listing(self, body: bytes) -> Page:
        """Return what an answer holds; may raise what MALFORMED names."""

    @abstractmethod
    def _instrument(self, raw: msgspec.Raw) -> Instrument | None:
        """Return the option of a listing entry, None for one that is none of ours or does not trade.

        Raises ValueError, or what MALFORMED names, for an entry that cannot be understood.
        """

    @abstractmethod
    def _is_in_listing(self, instrument: Instrument, name: str) -> bool:
        """Return whether a listing is where an option would be."""

    @abstractmethod
    def _make_stream(self, iid: int, instrument: Instrument) -> StreamT:
        """Return the stream of a newly followed option."""

    @abstractmethod
    def _channels_of(self, symbol: str) -> Sequence[str]:
        """Return the channels of an option, as the keys of its stream's `routes`."""

    @abstractmethod
    def _call_frame(self, call_id: int, operation: str, channels: Sequence[str]) -> bytes:
        """Return the frame of a subscribe or unsubscribe call."""

    @abstractmethod
    def _ping_frame(self) -> bytes:
        """Return the frame that asks for a sign of life."""

    @abstractmethod
    def _new_pace(self) -> Pace:
        """Return the pace of calls on a new connection."""

    def _listed_names(self) -> str:
        """Return what to say besides of an underlying without options."""
        return ""

    def _forget(self) -> None:
        """A new connection: nothing that came before decides what is news."""
        for forward in self._forwards.values():
            forward.forget()
        for stream in self._streams.values():
            stream.reset()

    # -- the connection -----------------------------------------------------------------------------------------------

    def _start(self, now_ns: int) -> None:
        self._rest.forget()
        self._calls.reset(self._new_pace())
        self._forget()
        for complaint in self._complaints:
            self._reports.event("reject_frame", now_ns, "warning", f"{self.venue}: {complaint}")
        self._complaints.clear()
        for channel, route in self._common.items():
            self._routes[channel.encode()] = route
            self._subscriptions.want(channel)
        self._want(self._streams.values())
        for name in self._listings:
            self._list(name, now_ns)
        self._timers.set(now_ns + self.ping_s * NS_PER_S, "quiet", "ping")
        self.state = "listing" if self._unlisted else "subscribing"

    def disconnected(self, now_ns: int, reason: str) -> None:
        """Drop every book; to be called also when a connection could not be made at all."""
        super().disconnected(now_ns, reason)
        self._rest.forget()

    def _quiet_due(self, key: str, now_ns: int) -> None:
        """Ask for a sign of life ("ping"), or see whether one came ("pong")."""
        quiet_ns = now_ns - self.last_receive_ns
        if key == "pong":
            if self.last_receive_ns < self._pinged_ns:
                self.hang_up = f"nothing received for {quiet_ns // NS_PER_S} s, and no answer to a ping"
            return
        wait_ns = self.ping_s * NS_PER_S
        if self.ping_always or quiet_ns >= wait_ns:
            self._pinged_ns = now_ns
            self._out.append(self._ping_frame())
            self._timers.set(now_ns + PONG_S * NS_PER_S, "quiet", "pong")
        self._timers.set(now_ns + wait_ns - (0 if self.ping_always else quiet_ns % wait_ns), "quiet", "ping")

    # -- listings -----------------------------------------------------------------------------------------------------

    def requests_to_make(self) -> list[HttpRequest]:
        """Return the GETs queued since the last call."""
        return self._rest.requests()

    def answered(self, tag: str, status: int, body: bytes, now_ns: int) -> None:
        """Take the answer to a request; see `venues.codec.Codec`."""
        self._timers.cancel("request", tag)
        news = self._rest.answered(tag, status, body, now_ns)
        if isinstance(news, str):
            self._timers.set(now_ns + REQUEST_S * NS_PER_S, "request", news)
        elif news is not None:
            self._take_answer(news, now_ns)

    def _list(self, name: str, now_ns: int) -> None:
        self._timers.set(now_ns + REQUEST_S * NS_PER_S, "request", self._rest.ask(name))

    def _request_due(self, tag: str, now_ns: int) -> None:
        answer = self._rest.unanswered(tag, REQUEST_S, now_ns)
        if answer is not None:
            self._take_answer(answer, now_ns)

    def _relist_due(self, name: str, now_ns: int) -> None:
        self._list(name, now_ns)

    def _take_answer(self, answer: Answer, now_ns: int) -> None:
        if answer.failure:
            self.rejected += 1
            text = f"{self.venue}: the listing of {answer.name} failed: {answer.failure}"
            self._reports.event("reject_frame", now_ns, "error" if not answer.retry_ns else "warning", text)
            if not answer.retry_ns:
                self._unlisted.pop(answer.name, None)
            self._timers.set(answer.retry_ns or now_ns + self.refresh_s * NS_PER_S, "relist", answer.name)
        else:
            self._unlisted.pop(answer.name, None)
            present = self._take_entries(answer.entries, answer.name, now_ns)
            severity = "info" if present else "warning"
            text = f"{self.venue} {answer.name}: {present} options" + ("" if present else self._listed_names())
            self._reports.event("listed", now_ns, severity, text, value=present)
            self._timers.set(now_ns + self.refresh_s * NS_PER_S, "relist", answer.name)
        self._go_on(now_ns)

    def _take_entries(self, entries: Iterable[msgspec.Raw], name: str, now_ns: int) -> int:
        """Follow the new options of a whole listing and close those that are gone; return how many it holds."""
        present: dict[str, Instrument] = {}
        unread = 0
        for raw in entries:
            try:
                instrument = self._instrument(raw)
            except (*MALFORMED, ValueError) as error:
                unread += 1
                self.reject(bytes(raw), f"listing entry: {error}", now_ns)
                continue
            if instrument is not None and instrument.expiry_ns > now_ns:
                present[instrument.symbol] = instrument
        if unread:
            text = f"{self.venue} {name}: {unread} listing entries not understood"
            self._reports.event("reject_frame", now_ns, "warning", text, value=unread)
        elif present:  # an empty or damaged listing says nothing about what is gone
            for symbol, stream in list(self._streams.items()):
                if symbol not in present and self._is_in_listing(stream.instrument, name):
                    self.close(stream, now_ns)
        self.follow(present.values(), now_ns)
        return len(present)

    def follow(self, instruments: Iterable[Instrument], now_ns: int) -> None:
        """Follow those of this shard that are new, nearest expiry first, as many as one connection carries."""
        new = [i for i in instruments if i.symbol not in self._streams and in_shard(i.symbol, self.shard)]
        new.sort(key=lambda i: i.expiry_ns)
        held = [channel for stream in self._streams.values() for channel in stream.routes]
        fit, why = self.capacity.fitting([*self._common, *held], [self._channels_of(i.symbol) for i in new])
        left_out = len(new) - fit
        if left_out and left_out != self._left_out:
            of = len(new) + len(self._streams)
            text = f"{self.venue}: {left_out} of {of} options not followed: {why}"
            self._reports.event("dropped", now_ns, "warning", text, value=left_out)
        self._left_out = left_out
        added = self._following.follow(new[:fit], now_ns)
        for stream in added:
            for channel, route in stream.routes.items():
                self._routes[channel.encode()] = route
            if stream.book_channel:
                self._book_of[stream.book_channel] = stream
        self._want(added)

    def close(self, stream: StreamT, now_ns: int) -> None:
        """Stop following an option; frames that are still under way for it are passed over."""
        self._following.close(stream, now_ns)
        self._timers.cancel("snapshot", stream)
        self._book_of.pop(stream.book_channel, None)
        for channel in stream.routes:
            self._subscriptions.leave(channel)
            self._routes[channel.encode()] = pass_over

    def forward_of(self, coin: str, expiry_ns: int) -> LatestForward | None:
        """Return what tells the forward of an expiry, or the index for 0; None when another connection tells it."""
        if self.shard[0]:
            return None
        return self._forwards.setdefault((coin, expiry_ns), LatestForward(self.venue, coin, expiry_ns, self.sink))

    def _expire(self, until_ns: int, now_ns: int) -> None:
        for stream in list(self._streams.values()):
            if stream.instrument.expiry_ns <= until_ns:
                self.close(stream, now_ns)
        for key in [key for key in self._forwards if 0 < key[1] <= until_ns]:
            del self._forwards[key]
        for name in self._listings:  # what is listed in place of the expired
            self._timers.set(now_ns + RELIST_S * NS_PER_S, "relist", name)

    # -- channels -----------------------------------------------------------------------------------------------------

    def _want(self, streams: Iterable[StreamT]) -> None:
        """Want the channels of options, one kind after the other: the first calls bring a whole chain of tickers."""
        for channels in zip(*(stream.routes for stream in streams), strict=True):
            for channel in channels:
                self._subscriptions.want(channel)

    def _send_call(self, call_id: int, operation: str, channels: list[str]) -> None:
        self._out.append(self._call_frame(call_id, operation, channels))

    def _go_on(self, now_ns: int) -> None:
        """Make the calls that the pace allows and bring state, counts and deadlines up to date."""
        if self.state == "down":
            return
        if self._calls.make(now_ns) > LONGEST_WAIT_S * NS_PER_S and self.state == "live":
            self.hang_up = "this connection may not subscribe again for a while, a new one may"
        self.listed = len(self._streams)
        self.subscribed = len(self._subscriptions.confirmed)
        self._watch_expiry()
        if self.state in ("listing", "subscribing") and not self._unlisted:
            self.state = "live" if self._calls.complete else "subscribing"

    def take_confirmed(self, call_id: int, accepted: Iterable[str], refused: Iterable[str], now_ns: int) -> None:
        """Take an answer about some channels of a call."""
        confirmed, lost = self._calls.answered(call_id, accepted, refused)
        if confirmed:
            self._setbacks = 0
        for channel in confirmed:
            stream = self._book_of.get(channel)
            if stream is not None and not stream.book_live:
                wait_s = SNAPSHOT_S << min(stream.snapshot_tries, 6)
                self._timers.set(now_ns + wait_s * NS_PER_S, "snapshot", stream)
        self._count_dropped(lost, "channels not granted", now_ns)
        self._go_on(now_ns)

    def take_refusal(self, call_id: int, passing: bool, now_ns: int) -> None:
        """A call was refused without a word on which channel: wait, or find the channel by asking for halves."""
        if passing:
            self._calls.penalise(now_ns + min(60, 1 << self._setbacks) * NS_PER_S)
            self._setbacks = min(self._setbacks + 1, 6)
            self._calls.repeat(call_id)
        else:
            self._count_dropped(self._calls.halve(call_id), "channels refused", now_ns)
        self._go_on(now_ns)

    def _answer_due(self, call_id: int, now_ns: int) -> None:
        call = self._calls.get(call_id)
        if call is not None:  # a book that sends is subscribed, whatever became of the answer
            sending = [c for c in call.waiting if c in self._book_of and self._book_of[c].book_live]
            self._calls.answered(call_id, sending)
        silent, hopeless = self._calls.overdue(call_id)
        if silent:
            text = f"{self.venue}: no answer in {ANSWER_S} s to {silent} subscriptions"
            self._reports.event("stale", now_ns, "warning", text, value=silent)
        self._count_dropped(hopeless, "channels asked for in vain", now_ns)

    def _count_dropped(self, channels: Sequence[str], what: str, now_ns: int) -> None:
        self.dropped_channels += len(channels)
        self._reports.names("dropped", [self.readable(c) for c in channels], what, now_ns)

    def readable(self, channel: str) -> str:
        """Return a channel as a person writes it."""
        return channel

    # -- books --------------------------------------------------------------------------------------------------------

    def book_gap(self, stream: StreamT, why: str, now_ns: int) -> None:
        """Count a book that has lost a change and get it a new snapshot; other channels are left alone."""
        self.gaps += 1
        self._reports.event("gap", now_ns, "warning", f"{stream.instrument.symbol}: {why}", iid=stream.iid)
        self._renew_book(stream, now_ns)
        self._go_on(now_ns)

    def _renew_book(self, stream: StreamT, now_ns: int) -> None:
        self._subscriptions.renew(stream.book_channel)
        self._reports.event("resubscribe", now_ns, text=self.readable(stream.book_channel), iid=stream.iid)

    def _snapshot_due(self, stream: StreamT, now_ns: int) -> None:
        if stream.book_live:
            stream.snapshot_tries = 0
        elif stream.book_channel in self._subscriptions.confirmed:
            stream.snapshot_tries += 1
            self._renew_book(stream, now_ns)
