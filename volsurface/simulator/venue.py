"""The contract of a simulated venue: what each `<venue>_protocol.py` implements, without any I/O.

    market (VenueMarket)  --moves, tickers due-->  Link  --Changes-->  VenueSession  --frames-->  client

One `Venue` exists per simulated venue and one `VenueSession` per websocket client. The frame around them decides which
books move and which tickers are due (`conductor`), carries frames with the venue's latency and spoils them on command
(`link`), and puts them on a socket (`server`) or hands them to a codec in memory (`tests/venues/kit`).

What a protocol has to do: answer what the client sends, keep `follows` up to date, and in `publish` turn each book move
and each due ticker that its client follows into frames at once. It reads the market and never changes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from volsurface.simulator.market import Option, Roll, Trade, VenueMarket
from volsurface.simulator.order_book import Change


@dataclass(frozen=True, slots=True)
class BookMove:
    """One step of one book, to become one frame for each client that follows it.

    number: 1, 2, 3, ... of this book, so `number - 1` came before. change_id, previous_id: the same chain in numbers
    that the venue shares between all its books (they jump). bids, asks: ("new" | "change" | "delete", price in units,
    amount in contracts); `option.book.ticks.price(units)` is the price. `option.book` holds the book after the move, and
    `option.book.moves` equals `number` unless a later move of the same call is still to come.
    """

    option: Option
    number: int
    previous_id: int
    change_id: int
    bids: Sequence[Change]
    asks: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened in the market since the last call, in the order of the fields.

    roll: the listing changed. books: moves of books. tickers: options whose ticker is due (a venue that sends a whole
    family in one message may wait for `second`). trades: what traded. second: a second has passed: time for indices,
    forwards, whole-chain marks and anything else with a pace of its own.
    """

    roll: Roll | None = None
    books: Sequence[BookMove] = ()
    tickers: Sequence[Option] = ()
    trades: Sequence[Trade] = ()
    second: bool = False


class Follows:
    """Which options' books and tickers a client follows; the conductor moves and publishes only what somebody follows."""

    __slots__ = ("books", "tickers", "version")

    def __init__(self) -> None:
        self.books: dict[Option, None] = {}
        self.tickers: dict[Option, None] = {}
        self.version = 0  # grows with every change

    def add(self, option: Option, *, book: bool = False, ticker: bool = False) -> None:
        """Follow an option's book, its ticker, or both."""
        if book:
            self.books[option] = None
        if ticker:
            self.tickers[option] = None
        self.version += 1

    def drop(self, option: Option, *, book: bool = True, ticker: bool = True) -> None:
        """Follow it no longer; by default neither its book nor its ticker."""
        if book:
            self.books.pop(option, None)
        if ticker:
            self.tickers.pop(option, None)
        self.version += 1


class VenueSession(Protocol):
    """One websocket client of a venue. Times are nanoseconds UTC."""

    follows: Follows
    close: tuple[int, str] | None  # code and reason once the venue hangs up; (1006, "") cuts without a close frame

    def receive(self, frame: bytes | str, now_ns: int) -> None:
        """Take one text message of the client and queue the answers."""

    def publish(self, now_ns: int, changes: Changes) -> int:
        """Queue frames for what the client follows in `changes`; return how many market-data messages they are.

        `now_ns` is the venue time to write into them. Frames of a book move are queued in the call that brings the
        move, never later: `link` finds the frames to lose, repeat or swap by calling with one move alone.
        """

    def frames_to_send(self) -> list[bytes]:
        """Return the text messages queued since the last call, in order."""

    def deadline_ns(self) -> int | None:
        """Return when `timer` wants to be called next, or None."""

    def timer(self, now_ns: int) -> None:
        """A deadline has passed: send a heartbeat, hang up on who did not answer one."""

    def inject(self, fault: str, now_ns: int, option: Option | None = None) -> bool:
        """Commit a fault of `fault_table.FAULTS` whose place is "session"; False when this venue cannot have it.

        option: the followed option it concerns, where it concerns one.
        """


class Venue(Protocol):
    """One simulated venue. Built as `XVenue(market)`; all its clients are sessions made here."""

    market: VenueMarket
    path: str  # of its websocket address, "/ws/api/v2"
    too_slow: tuple[int, str]  # how it closes on a client that does not read
    ping_s: float | None  # how often it sends a websocket ping frame, None for never

    def session(self, now_ns: int, path: str = "") -> VenueSession | None:
        """Return the session of a new client, or None when there is no websocket at `path` ("" stands for the usual)."""

    def rest(self, target: str, now_ns: int) -> tuple[int, bytes]:
        """Answer a public GET: `target` is the path with its query; returns HTTP status and body."""
