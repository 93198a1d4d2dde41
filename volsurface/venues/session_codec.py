"""What every codec keeps of its connection: counts, frames to send, what is due when, and what was not understood."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from volsurface.market.book import Book
from volsurface.venues.codec import Levels, Sink
from volsurface.venues.following import Following
from volsurface.venues.normalised import NS_PER_S
from volsurface.venues.pacing import Timers
from volsurface.venues.reports import Reports

Route = Callable[[bytes, int], None]
# What msgspec raises for bytes that are not what they should be.
MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

EXPIRY_GRACE_S = 30  # an expired option is closed by then even when the venue says nothing


class SessionCodec(ABC):
    """One connection; see `venues.codec.Codec` for the contract.

    A venue's class names itself, sets `_following`, and adds to `_due` what else its timers wake for, by kind.
    """

    venue: str
    _following: Following[Any]

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.state = "connecting"
        self.messages = self.rejected = self.gaps = self.subscribed = self.listed = self.reconnects = 0
        self.last_venue_ns = self.last_receive_ns = 0
        self.hang_up = ""
        self._routes: dict[bytes, Route] = {}
        self._reports = Reports(self.venue, sink)
        self._timers = Timers()
        self._due: dict[str, Callable[[Any, int], None]] = {
            "pace": lambda _key, _now_ns: None,  # the next call may go: `timer` ends by sending it
            "answer": self._answer_due,
            "expiry": self._expiry_due,
        }
        self._out: list[bytes] = []
        self._connections = 0

    # -- what each venue does in its own way --------------------------------------------------------------------------

    @abstractmethod
    def _start(self, now_ns: int) -> None:
        """A new connection: want what is to be asked for, set the timers, and the state."""

    @abstractmethod
    def _take(self, frame: bytes, now_ns: int) -> None:
        """Take a frame; may raise what `MALFORMED` names."""

    @abstractmethod
    def _go_on(self, now_ns: int) -> None:
        """Send what the pace allows, set timers for the rest, and bring state and counts up to date."""

    @abstractmethod
    def _answer_due(self, call_id: int, now_ns: int) -> None:
        """A call has waited too long for its answer."""

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
        self._timers.clear()
        self._reports.event("connect", now_ns, text=f"{self.venue}: connection {self._connections}")
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
        """Take one frame. Never raises for what a frame contains."""
        self.messages += 1
        self.last_receive_ns = now_ns
        try:
            self._take(frame, now_ns)
        except MALFORMED as error:
            self.reject(frame, str(error), now_ns)

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

    def reject(self, frame: bytes, why: str, now_ns: int) -> None:
        """Count a frame, or an entry of one, that was not understood, and keep a sample."""
        self.rejected += 1
        self._reports.reject(frame, why, self.rejected, now_ns)

    def _watch_expiry(self) -> None:
        """Wake some time after the nearest expiry."""
        expiry_ns = self._following.next_expiry_ns()
        if expiry_ns is not None:
            self._timers.set(expiry_ns + EXPIRY_GRACE_S * NS_PER_S, "expiry")

    def _expiry_due(self, _key: Any, now_ns: int) -> None:
        self._expire(now_ns - EXPIRY_GRACE_S * NS_PER_S, now_ns)


def pass_over(_frame: bytes, _now_ns: int) -> None:
    """Take a late frame of a channel that is not wanted any more."""
