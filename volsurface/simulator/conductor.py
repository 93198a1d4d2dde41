"""Decides what happens next in one venue's market, at the asked rate, and tells the venue's clients.

The rate counts the market-data messages of all clients together; trades, indices and what else comes once a second are
on top. Only what somebody follows is moved and published, and after a stall nothing is made up for.
"""

from collections.abc import Collection

from volsurface.simulator.link import Link
from volsurface.simulator.market import Option, Roll, VenueMarket
from volsurface.simulator.rotation import Rotation
from volsurface.simulator.venue import BookMove, Changes

NS_PER_S = 1_000_000_000
TICKER_SHARE = 0.7  # of the publications, where both tickers and books are wanted
LONGEST_DEBT_S = 0.25  # a stalled process does not make up for more than this
ROUNDS = 10  # of turns, until as many messages are sent as are due


class Conductor:
    """Takes turns through the followed books and tickers of one venue; `ticker_share` of the messages are tickers."""

    def __init__(self, market: VenueMarket, rate: float, ticker_share: float = TICKER_SHARE) -> None:
        self.rate = rate
        self.published = 0
        self._market = market
        self._ticker_share = ticker_share
        self._tickers = Rotation()
        self._books = Rotation()
        self._known: tuple[tuple[int, int], ...] = ()  # whose wishes the rotations hold
        self._paid_until_ns: int | None = None
        self._owed_tickers = 0.0

    def follows_book(self, option: Option) -> bool:
        """Return whether somebody follows the option's book."""
        return option in self._books

    def quotes_changed(self) -> None:
        """Prices were recomputed: let the instruments whose quotes move go first."""
        changed = self._market.changed()
        self._books.hurry(changed)
        self._tickers.hurry(option for option in changed if option not in self._books)

    def publish_roll(self, roll: Roll, now_ns: int, links: Collection[Link]) -> None:
        """Tell everybody that the listing has changed."""
        for link in links:
            link.publish(now_ns, Changes(roll=roll))

    def publish_second(self, now_ns: int, links: Collection[Link]) -> None:
        """Let one trade happen, and tell everybody that a second has passed."""
        trade = self._market.trade()
        changes = Changes(trades=() if trade is None else (trade,), second=True)
        for link in links:
            link.publish(now_ns, changes)

    def publish_due(self, now_ns: int, links: Collection[Link]) -> None:
        """Publish as many tickers and book changes as are due at `now_ns`."""
        self._take_wishes(links)
        if not self._tickers and not self._books:
            self._paid_until_ns = None
            return
        if self._paid_until_ns is None:
            self._paid_until_ns = now_ns
        self._paid_until_ns = max(self._paid_until_ns, now_ns - round(LONGEST_DEBT_S * NS_PER_S))
        due = int((now_ns - self._paid_until_ns) * self.rate / NS_PER_S)
        if due <= 0:
            return
        self._paid_until_ns += round(due / self.rate * NS_PER_S)
        share = self._ticker_share if self._tickers and self._books else float(len(self._tickers) > 0)
        self._owed_tickers += due * share
        tickers = int(self._owed_tickers)
        self._owed_tickers -= tickers
        self.publish(now_ns, links, due - tickers, tickers)

    def publish(self, now_ns: int, links: Collection[Link], books: int, tickers: int) -> None:
        """Publish so many book changes and tickers; a message too few of one kind becomes one of the other."""
        self._take_wishes(links)
        for _ in range(ROUNDS):
            sent_books = self._publish_books(now_ns, links, books) if books else 0
            sent_tickers = self._publish_tickers(now_ns, links, tickers) if tickers else 0
            self.published += sent_books + sent_tickers
            # What one kind could not bring, the other may: a venue's tickers may all come in one message a second.
            books, tickers = max(tickers - sent_tickers, 0), max(books - sent_books, 0)
            if not books and not tickers:
                return

    def _publish_books(self, now_ns: int, links: Collection[Link], count: int) -> int:
        changes = Changes(books=self.moves(count))
        return sum([link.publish(now_ns, changes) for link in links]) if changes.books else 0

    def _publish_tickers(self, now_ns: int, links: Collection[Link], count: int) -> int:
        options = self._tickers.take(count)
        for option in options:
            if option not in self._books:
                self._market.move_book(option)
        changes = Changes(tickers=options)
        return sum([link.publish(now_ns, changes) for link in links]) if options else 0

    def moves(self, count: int) -> list[BookMove]:
        """Let up to `count` followed books move, each once; a book without any quote has no move."""
        moves: list[BookMove] = []
        market = self._market
        for option in self._books.take(count):
            previous = option.book.change_id
            bids, asks = market.move_book(option)
            if bids or asks:
                moves.append(BookMove(option, option.book.moves, previous, option.book.change_id, bids, asks))
        self._tickers.hurry([move.option for move in moves])
        return moves

    def _take_wishes(self, links: Collection[Link]) -> None:
        known = tuple((id(link), link.session.follows.version) for link in links)
        if known == self._known:
            return
        self._known = known
        for rotation, kind in ((self._books, "books"), (self._tickers, "tickers")):
            wanted: dict[Option, None] = {}
            for link in links:
                wanted.update(getattr(link.session.follows, kind))
            rotation.become([option for option in wanted if option.row >= 0])
