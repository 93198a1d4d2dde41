"""What every venue's codec looks like: frames in, normalised values out, frames to send back, the next deadline.

A codec never does I/O, reads no clock and draws no random number; time is an argument in nanoseconds UTC. It is driven
by `io/connection.py` (a socket), by a replay (a file) or by a test (a list), which therefore see the same behaviour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from volsurface.market.book import Book
from volsurface.market.instrument import Instrument

Levels = list[tuple[float, float]]  # (price, size), best first


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A public GET that a codec wants made; `tag` comes back with the answer.

    url: absolute, with its query. Two codecs that ask for the same url at about the same time may be given one answer.
    """

    tag: str
    url: str


class Sink(Protocol):
    """Where a codec puts what it has understood; the feed's row table is one, a list in a test another.

    Missing numbers are NaN. Prices are in the venue's unit as quoted, implied vols are fractions, sizes are coins.
    """

    def listed(self, instruments: Sequence[Instrument], now_ns: int) -> list[int]:
        """Take newly listed instruments; return the id of each, in order."""

    def closed(self, iid: int, now_ns: int) -> None:
        """An instrument no longer trades."""

    def ticker(
        self, iid: int, flags: int, ts_venue_ns: int, ts_recv_ns: int, seq: int,
        bid: float, ask: float, bid_sz: float, ask_sz: float, mark: float,
        iv_bid: float, iv_ask: float, iv_mark: float, fwd: float, index: float, oi: float,
    ) -> None:  # fmt: skip
        """Take a ticker. While the instrument's book is live, its bid, ask and sizes are kept and these are not used."""

    def book_top(
        self, iid: int, flags: int, ts_venue_ns: int, ts_recv_ns: int, seq: int,
        bid: float, ask: float, bid_sz: float, ask_sz: float,
    ) -> None:  # fmt: skip
        """Take the top of a book; the other fields of the row stay."""

    def book_lost(self, iid: int, now_ns: int) -> None:
        """The instrument's book has a gap: its bid and ask are unknown until a snapshot (or a ticker) brings them."""

    def forward(
        self, source: int, venue: str, underlying: str, expiry_ns: int, value: float, ts_venue_ns: int, ts_recv_ns: int
    ) -> None:
        """Take a venue's forward of an expiry, or its index when `expiry_ns` is 0; `source` is market.quote.FORWARD_*."""

    def event(
        self, kind: str, now_ns: int, severity: str = "info", iid: int = -1, text: str = "",
        value: float = float("nan"), size: float = float("nan"), extra: float = float("nan"),
    ) -> None:  # fmt: skip
        """Take an event (market.quote.EVENT_KINDS). Never called per quote."""


class Codec(Protocol):
    """One venue's protocol on one connection.

    A codec is made with `(underlyings, channels, sink, *, rest_url, shard)`: rest_url is where its requests go, shard
    (i, n) which part of the instruments is its own where one connection is not enough (`venues.sharding`).
    """

    venue: str
    sink: Sink
    state: str  # one of market.quote.VENUE_STATES
    messages: int  # frames received
    rejected: int  # frames or entries that could not be understood
    gaps: int
    subscribed: int  # channels confirmed by the venue
    listed: int  # instruments followed
    reconnects: int
    last_receive_ns: int  # when the last frame came
    last_venue_ns: int  # newest venue time seen
    hang_up: str  # why the connection should be closed and made again; empty while it is healthy

    @property
    def books(self) -> Mapping[int, Book]:
        """The live books by instrument id, prices and sizes in the units of the rows."""

    def depth(self, iid: int, levels: int) -> tuple[Levels, Levels]:
        """Return the best `levels` of an instrument's bids and asks; both are empty without a live book."""

    def connected(self, now_ns: int) -> None:
        """The socket is open: forget the last connection and queue the opening frames."""

    def disconnected(self, now_ns: int, reason: str) -> None:
        """The socket is gone, or could not be opened: every book is unknown."""

    def receive(self, frame: bytes, now_ns: int) -> None:
        """Take one frame as received at `now_ns`. Never raises for what a frame contains."""

    def deadline_ns(self) -> int | None:
        """Return when `timer` wants to be called next, or None."""

    def timer(self, now_ns: int) -> None:
        """A deadline has passed."""

    def frames_to_send(self) -> list[bytes]:
        """Return the frames queued since the last call, in order; each is one text message."""

    def requests_to_make(self) -> list[HttpRequest]:
        """Return the GETs queued since the last call; a codec that lists over the websocket has none."""

    def answered(self, tag: str, status: int, body: bytes, now_ns: int) -> None:
        """Take the answer to a request. Never raises for what it contains.

        status: of HTTP, or 0 when the venue could not be reached; `body` then says why, as UTF-8.
        """
