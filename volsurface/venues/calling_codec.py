"""The codec of a venue that is asked by numbered calls over its websocket, but for the venue's own words.

It counts, keeps the calls that wait for an answer, finds each frame's route without parsing it, gives up a socket that
is silent, and lets what is due happen. Which channels there are and what is asked when is the venue's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from volsurface.errors import VenueError
from volsurface.market.book import Book
from volsurface.venues.codec import Levels, Sink
from volsurface.venues.following import Following
from volsurface.venues.normalised import EMPTY, NS_PER_S, NULL
from volsurface.venues.pacing import Timers
from volsurface.venues.reports import Reports

Route = Callable[[bytes, int], None]
# What msgspec raises for bytes that are not what they should be.
MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

SILENCE_S = 35  # something comes every few seconds: a socket this quiet is dead, whatever the kernel thinks of it
ANSWER_S = 10  # a call not answered by then is made again
EXPIRY_GRACE_S = 30  # an expired option is closed by then


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call that waits for its answer."""

    method: str
    params: Any


class CallingCodec(ABC):
    """One connection; see `venues.codec.Codec` for the contract.

    A venue's class names itself and `channel_mark`, what stands before a channel's name in a frame.
    """

    venue: str
    channel_mark: bytes

    def __init__(self, underlyings: Sequence[str], sink: Sink) -> None:
        self.sink = sink
        self.state = "connecting"
        self.messages = self.rejected = self.gaps = self.subscribed = self.listed = self.reconnects = 0
        self.last_venue_ns = self.last_receive_ns = 0
        self.hang_up = ""
        self._coins = tuple(dict.fromkeys(name.upper() for name in underlyings))
        if not self._coins:
            raise VenueError(f"{self.venue}: no underlying asked for")
        self._following: Following[Any]
        self._routes: dict[bytes, Route] = {}
        self._mark_size = len(self.channel_mark)
        self._reports = Reports(self.venue, sink)
        self._timers = Timers()
        self._due: dict[str, Callable[[Any, int], None]] = {
            "pace": lambda _key, _now_ns: None,  # the next call may go: `timer` ends by sending it
            "answer": self._answer_due,
            "silence": self._silence_due,
            "expiry": self._expiry_due,
        }
        self._calls: dict[int, Call] = {}
        self._last_id = 0
        self._out: list[bytes] = []
        self._connections = 0

    # -- what each venue does in its own way --------------------------------------------------------------------------

    @abstractmethod
    def _start(self, now_ns: int) -> None:
        """A new connection: want what is to be asked for, set the timers, and the state."""

    @abstractmethod
    def _receive_other(self, frame: bytes, now_ns: int) -> None:
        """Take a frame whose route was not found; may raise what `MALFORMED` names."""

    @abstractmethod
    def _go_on(self, now_ns: int) -> None:
        """Send what the pace allows, set timers for the rest, and bring state and counts up to date."""

    @abstractmethod
    def _ask_again(self, call: Call) -> None:
        """Queue a call that failed or stayed unanswered."""

    @abstractmethod
    def _expire(self, until_ns: int, now_ns: int) -> None:
        """Close what expired at `until_ns` or before."""

    # -- the connection -----------------------------------------------------------------------------------------------

    def connected(self, now_ns: int) -> None:
        """Start over: the listing, and the channels of options known from before."""
        self.reconnects += self._connections > 0
        self._connections += 1
        self.hang_up, self.last_receive_ns = "", now_ns
        self._out.clear()
        self._calls.clear()
        self._timers.clear()
        self._reports.event("connect", now_ns, text=f"{self.venue}: connection {self._connections}")
        self._timers.set(now_ns + SILENCE_S * NS_PER_S, "silence")
        self._start(now_ns)
        self._go_on(now_ns)

    def disconnected(self, now_ns: int, reason: str) -> None:
        """Drop every book; to be called also when a connection could not be made at all."""
        self.state, self.subscribed = "down", 0
        self._timers.clear()
        self._out.clear()
        for stream in self._following.streams.values():
            stream.drop_book(now_ns)
        self._reports.event("disconnect", now_ns, "warning", f"{self.venue}: {reason}")

    def receive(self, frame: bytes, now_ns: int) -> None:
        """Take one frame. The channel's name is found without parsing; then one typed decoder reads the whole frame."""
        self.messages += 1
        self.last_receive_ns = now_ns
        try:
            self._take(frame, now_ns)
        except MALFORMED as error:
            if EMPTY not in frame:
                self._reject(frame, str(error), now_ns)
                return
            try:
                self._take(frame.replace(EMPTY, NULL), now_ns)
            except MALFORMED:
                self._reject(frame, str(error), now_ns)

    def _take(self, frame: bytes, now_ns: int) -> None:
        start = frame.find(self.channel_mark)
        if start >= 0:
            start += self._mark_size
            route = self._routes.get(frame[start : frame.find(b'"', start)])
            if route is not None:
                route(frame, now_ns)
                return
        self._receive_other(frame, now_ns)

    def deadline_ns(self) -> int | None:
        """Return when `timer` wants to be called next, or None."""
        return self._timers.next_ns()

    def timer(self, now_ns: int) -> None:
        """Do what is due: paced calls, retries, expiries, missing answers, checks."""
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

    @property
    def books(self) -> Mapping[int, Book]:
        """The live books by instrument id; prices as quoted, sizes in coins."""
        return self._following.books

    def depth(self, iid: int, levels: int) -> tuple[Levels, Levels]:
        """Return the best `levels` of an instrument's bids and asks; both are empty without a live book."""
        return self._following.depth(iid, levels)

    # -- calls, and what is due ---------------------------------------------------------------------------------------

    def _call(self, method: str, params: Any, now_ns: int) -> None:
        """Queue a call; None for one without parameters."""
        self._last_id += 1
        self._calls[self._last_id] = Call(method, params)
        self._timers.set(now_ns + ANSWER_S * NS_PER_S, "answer", self._last_id)
        message = {"method": method, "id": self._last_id}
        self._out.append(msgspec.json.encode(message if params is None else message | {"params": params}))

    def _forget_call(self, call_id: Any) -> Call | None:
        """Return the call of that number, which has been answered; None when there is none."""
        if not isinstance(call_id, int):
            return None
        self._timers.cancel("answer", call_id)
        return self._calls.pop(call_id, None)

    def _answer_due(self, call_id: int, now_ns: int) -> None:
        call = self._calls.pop(call_id, None)
        if call is not None:
            text = f"{self.venue}: no answer to {call.method} in {ANSWER_S} s"
            self._reports.event("stale", now_ns, "warning", text)
            self._ask_again(call)

    def _silence_due(self, _key: Any, now_ns: int) -> None:
        due_ns = self.last_receive_ns + SILENCE_S * NS_PER_S
        if now_ns < due_ns:
            self._timers.set(due_ns, "silence")
        else:
            self.hang_up = f"nothing received for {SILENCE_S} s"

    def _watch_expiry(self) -> None:
        """Wake some time after the nearest expiry."""
        expiry_ns = self._following.next_expiry_ns()
        if expiry_ns is not None:
            self._timers.set(expiry_ns + EXPIRY_GRACE_S * NS_PER_S, "expiry")

    def _expiry_due(self, _key: Any, now_ns: int) -> None:
        self._expire(now_ns - EXPIRY_GRACE_S * NS_PER_S, now_ns)

    # -- what is not understood ---------------------------------------------------------------------------------------

    def bad_entry(self, raw: bytes, why: str, now_ns: int) -> None:
        """Count one entry of a batch that was not understood; the others were taken."""
        self._reject(raw, why, now_ns)

    def _reject(self, frame: bytes, why: str, now_ns: int) -> None:
        self.rejected += 1
        self._reports.reject(frame, why, self.rejected, now_ns)


def pass_over(_frame: bytes, _now_ns: int) -> None:
    """Take a late frame of a channel that is not wanted any more."""
