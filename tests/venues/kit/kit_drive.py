"""A venue with few options, its codecs, and what is compared between the two."""

from collections.abc import Sequence
from typing import Any

from volsurface.market.instrument import Directory, Instrument
from volsurface.simulator.in_memory import wires_to
from volsurface.simulator.main import simulated_venue
from volsurface.simulator.market import Option
from volsurface.simulator.venue_host import VenueHost

S, MS = 1_000_000_000, 1_000_000
STEP_NS = 100 * MS
CHANNELS = ("ticker", "book")
SIZE_TOLERANCE = 1e-9
MOST_VOL, HOUR = 10.0, 3600 * S  # a vol above is a percentage, but in an option's last hour it may be true
TICKER_SHARE = 0.2  # few: the kit is about books


class KitSink:
    """Remembers what the kit has to compare, and what no venue may say: a vol that is no fraction."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.closed_iids: set[int] = set()
        self.events: list[tuple[str, str]] = []
        self.impossible: list[str] = []

    def listed(self, instruments: Sequence[Instrument], now_ns: int) -> list[int]:
        iids = self.directory.add(instruments)
        self.closed_iids.difference_update(iids)
        return iids

    def closed(self, iid: int, now_ns: int) -> None:
        self.closed_iids.add(iid)

    def ticker(
        self, iid: int, flags: int, ts_venue_ns: int, ts_recv_ns: int, seq: int, bid: float, ask: float, bid_sz: float,
        ask_sz: float, mark: float, iv_bid: float, iv_ask: float, iv_mark: float, fwd: float, index: float, oi: float,
    ) -> None:  # fmt: skip
        instrument = self.directory[iid]
        if (iv_bid > MOST_VOL or iv_ask > MOST_VOL or iv_mark > MOST_VOL) and instrument.expiry_ns - ts_recv_ns > HOUR:
            self.impossible.append(f"{instrument.symbol}: vols {iv_bid} {iv_ask} {iv_mark}")
        if bid <= 0.0 or ask <= 0.0 or mark < 0.0 or iv_bid <= 0.0 or iv_ask <= 0.0:
            self.impossible.append(f"{instrument.symbol}: not missing but {bid} {ask} {mark} {iv_bid} {iv_ask}")

    def book_top(self, iid: int, flags: int, ts_venue_ns: int, ts_recv_ns: int, seq: int, *quote: float) -> None:
        pass

    def book_lost(self, iid: int, now_ns: int) -> None:
        pass

    def forward(
        self, source: int, venue: str, underlying: str, expiry_ns: int, value: float, ts_venue_ns: int, ts_recv_ns: int
    ) -> None:
        if not value > 0:
            self.impossible.append(f"forward of {underlying} at {expiry_ns}: {value}")

    def event(self, kind: str, now_ns: int, severity: str = "info", iid: int = -1, text: str = "", **_: float) -> None:
        self.events.append((kind, text))


class Drive:
    """A simulated venue, few options, and as many codecs as its limits require, stepped together."""

    def __init__(
        self, venue: str, seed: int, start_ns: int, *, rate: float = 30.0, strikes: int = 2, sink: Any = None,
        channels: Sequence[str] = CHANNELS,
    ) -> None:  # fmt: skip
        made = simulated_venue(venue, ("BTC",), seed, start_ns, most_expiries=2, most_strikes=strikes)
        self.host = VenueHost(made, rate=rate, refresh_ns=3 * STEP_NS, ticker_share=TICKER_SHARE)
        self.market = made.market
        self.sink = sink or KitSink()
        self.now_ns = start_ns
        self.venue = venue
        self.wires = wires_to(self.host, ["BTC"], channels, self.sink)

    def run(self, seconds: float, step_ns: int = STEP_NS) -> None:
        """Let market, venue and codecs go on."""
        until_ns = self.now_ns + round(seconds * S)
        while self.now_ns < until_ns:
            self.now_ns = min(self.now_ns + step_ns, until_ns)
            self.host.step(self.now_ns)
            for wire in self.wires:
                wire.step(self.now_ns)

    def settle(self) -> None:
        """Let everything under way arrive while the market stands still."""
        for _ in range(3):
            self.now_ns += STEP_NS
            for wire in self.wires:
                wire.deliver(self.now_ns)

    def wrong_books(self, exempt: set[str] = frozenset()) -> list[str]:
        """Return what differs from the true books: every followed option must have a live book that is the true one.

        exempt: symbols that may be without a live book (the venue dropped their subscription), but not with a wrong one.
        """
        books = {iid: book for wire in self.wires for iid, book in wire.codec.books.items()}
        wrong = []
        for iid, instrument in enumerate(self.sink.directory):
            option = self.market.by_symbol.get(instrument.symbol)
            book = books.get(iid)
            if option is None:
                continue
            if book is None:
                if option.symbol not in exempt and iid not in self.sink.closed_iids and self._has_moved(option):
                    wrong.append(f"{option.symbol}: no live book")
                continue
            bids, asks = self.market.levels(option)
            if not (same_levels(book.bids.sizes, bids) and same_levels(book.asks.sizes, asks)):
                found = sorted(book.bids.sizes.items(), reverse=True), sorted(book.asks.sizes.items())
                wanted = sorted(bids.items(), reverse=True), sorted(asks.items())
                wrong.append(f"{option.symbol}: {found} instead of {wanted}")
        return wrong

    def _has_moved(self, option: Option) -> bool:
        return bool(option.book.bids or option.book.asks)

    def all_live(self) -> bool:
        """Return whether every codec is live."""
        return all(wire.codec.state == "live" for wire in self.wires)


def same_levels(found: dict[float, float], wanted: dict[float, float]) -> bool:
    """Tell whether two sides hold the same sizes at the same prices."""
    return found.keys() == wanted.keys() and all(
        abs(found[price] - size) <= SIZE_TOLERANCE * max(1.0, size) for price, size in wanted.items()
    )
