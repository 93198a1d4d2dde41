"""Decides what the venue publishes next: which tickers and books at the asked rate, and what comes once a second.

The rate counts tickers, book changes and quotes over all channels somebody has subscribed; several subscribers of one
channel get the same publication. Indices, mark prices, trades and listing events come on top.
"""

from collections.abc import Iterable, Sequence

from volsurface.simulator import deribit_frames as frames
from volsurface.simulator.audiences import Audiences
from volsurface.simulator.deribit_protocol import Channel
from volsurface.simulator.deribit_session import Session
from volsurface.simulator.market import Option, Roll, VenueMarket
from volsurface.simulator.rotation import Rotation

TICKER_SHARE = 0.7  # of the publications, where both tickers and books are wanted
LONGEST_DEBT_S = 0.25  # a stalled process does not make up for more than this
DVOL_YEARS = 30.0 / 365.0
OPTION_TOPICS = ("ticker", "book", "quote", "trades")


class Publisher:
    """Who listens to what, and what they get when."""

    def __init__(self, market: VenueMarket, encoder: frames.Encoder, rate: float) -> None:
        self.rate = rate
        self.published = 0
        self.lost_changes: set[Option] = set()  # books whose next change is lost on the way: an injected gap
        self._market = market
        self._encoder = encoder
        self._audiences = Audiences()
        self._tickers = Rotation()
        self._books = Rotation()
        self._paid_until: float | None = None
        self._owed_tickers = 0.0

    # ---- subscriptions ----

    def subscribe(self, session: Session, channel: Channel) -> None:
        """Add a subscriber; a channel it already has changes nothing."""
        self._audiences.add(session, channel)
        session.channels.add(channel.name)
        self._settle_turns(channel)

    def unsubscribe(self, session: Session, name: str) -> bool:
        """Remove a subscriber; return whether it was one."""
        channel = self._audiences.remove(session, name)
        session.channels.discard(name)
        if channel is not None:
            self._settle_turns(channel)
        return channel is not None

    def has_book_audience(self, option: Option) -> bool:
        """Return whether somebody follows the option's book, which then moves only by published changes."""
        return option in self._books

    def _settle_turns(self, channel: Channel) -> None:
        option = channel.option
        if option is not None:
            of_option = self._audiences.of_option
            self._tickers.admit(option, bool(of_option("ticker", option)))
            self._books.admit(option, bool(of_option("book", option) or of_option("quote", option)))

    def send_first(self, session: Session, channels: Iterable[Channel], now_ms: int) -> None:
        """Send what follows an acknowledgement: a snapshot of each book, one message of tickers, quotes and marks."""
        tickers: list[tuple[Channel, Option]] = []
        for channel in channels:
            option = channel.option
            if channel.topic == "ticker" and option is not None:
                tickers.append((channel, option))
            elif channel.topic == "book" and option is not None:
                session.send(frames.subscription(channel.name, self._encoder.book_snapshot(option, now_ms)))
            elif channel.topic == "quote" and option is not None:
                session.send(frames.subscription(channel.name, self._encoder.quote(option, now_ms)))
            elif channel.topic == "markprice":
                session.send(frames.subscription(channel.name, self._mark_prices(channel.scope, now_ms)))
        for (channel, _), text in zip(tickers, self.ticker_texts([option for _, option in tickers], now_ms)):
            session.send(frames.subscription(channel.name, text))

    # ---- at the asked rate ----

    def quotes_changed(self) -> None:
        """Prices were recomputed: let the instruments whose quotes move go first."""
        changed = self._market.changed()
        self._books.hurry(changed)
        self._tickers.hurry(option for option in changed if option not in self._books)

    def publish_due(self, now: float, now_ms: int) -> None:
        """Publish as many tickers and book changes as are due at `now` (seconds, monotonic)."""
        if not self._tickers and not self._books:
            self._paid_until = None
            return
        if self._paid_until is None:
            self._paid_until = now
        self._paid_until = max(self._paid_until, now - LONGEST_DEBT_S)
        due = int((now - self._paid_until) * self.rate)
        if due <= 0:
            return
        self._paid_until += due / self.rate
        share = TICKER_SHARE if self._tickers and self._books else float(len(self._tickers) > 0)
        self._owed_tickers += due * share
        tickers = int(self._owed_tickers)
        self._owed_tickers -= tickers
        missing = due - tickers - self._publish_books(due - tickers, now_ms)
        if self._tickers:
            self._publish_tickers(tickers + missing, now_ms)

    def _publish_books(self, count: int, now_ms: int) -> int:
        """Publish up to `count` book changes, return how many: a book without any quote has none."""
        sent = tries = 0
        while sent < count and tries < len(self._books):
            for option in self._books.take(count - sent):
                tries += 1
                sent += self._publish_book(option, now_ms)
        return sent

    def _publish_book(self, option: Option, now_ms: int) -> int:
        previous = option.book.change_id
        bids, asks = self._market.move_book(option)
        if not bids and not asks:
            return 0
        self._tickers.hurry((option,))
        sent = 0
        if option in self.lost_changes:
            self.lost_changes.discard(option)
        else:
            for audience in self._audiences.of_option("book", option):
                audience.publish(self._encoder.book_change(option, previous, bids, asks, now_ms))
                sent += 1
        for audience in self._audiences.of_option("quote", option):
            audience.publish(self._encoder.quote(option, now_ms))
            sent += 1
        self.published += sent
        return sent

    def _publish_tickers(self, count: int, now_ms: int) -> None:
        while count > 0:
            options = self._tickers.take(count)
            for option, text in zip(options, self.ticker_texts(options, now_ms)):
                audiences = self._audiences.of_option("ticker", option)
                for audience in audiences:
                    audience.publish(text)
                self.published += len(audiences)
                count -= len(audiences)

    def ticker_texts(self, options: list[Option], now_ms: int) -> list[str]:
        """Return the `data` object of the options' tickers, as their books stand."""
        if not options:
            return []
        self.settle(options)
        return self._encoder.tickers(options, self._market.tickers(options), now_ms)

    def settle(self, options: Sequence[Option]) -> None:
        """Bring books that nobody follows to their wished quotes; the others move only by published changes."""
        for option in options:
            if option not in self._books:
                self._market.move_book(option)

    # ---- at their own pace ----

    def publish_second(self, now_ms: int) -> None:
        """Publish what comes about once a second: indices and mark prices."""
        of_scope = self._audiences.of_scope
        for name, surface in self._market.surfaces.items():
            index_name, smiles = surface.profile.index_name, self._market.smiles[name]
            for audience in of_scope("index", index_name):
                audience.publish(frames.price_index(index_name, smiles.spot, now_ms))
            for audience in of_scope("markprice", index_name):
                audience.publish(self._mark_prices(index_name, now_ms))
            for audience in of_scope("volatility", index_name):
                percent = 100.0 * smiles.atm_vol(DVOL_YEARS)
                audience.publish(frames.volatility_index(index_name, percent, now_ms))
            for audience in of_scope("platform", ""):
                audience.publish(frames.platform_state(index_name))

    def publish_trade(self, now_ms: int) -> None:
        """Let one trade happen and publish it to those who listen to its instrument or its currency."""
        trade = self._market.trade()
        if trade is None:
            return
        text = f"[{self._encoder.trade(trade, now_ms)}]"
        for audience in self._audiences.of_option("trades", trade.option):
            audience.publish(text)
        for audience in self._audiences.of_scope("trades_all", trade.option.underlying, "any"):
            audience.publish(text)

    def publish_roll(self, roll: Roll, now_ms: int) -> None:
        """Tell who listens that options have expired and others are listed; channels of the expired ones end."""
        for option in roll.expired:
            self._publish_state(option, "settlement", now_ms)
            self._publish_state(option, "delivered", now_ms)
            self._tickers.admit(option, False)
            self._books.admit(option, False)
        self._audiences.close(roll.expired, OPTION_TOPICS)
        self._encoder.forget(roll.expired)
        for option in roll.listed:
            for audience in self._audiences.of_scope("creation", option.underlying, "any"):
                audience.publish(self._encoder.instrument(option))
            self._publish_state(option, "open", now_ms)

    def _publish_state(self, option: Option, state: str, now_ms: int) -> None:
        for audience in self._audiences.of_scope("state", option.underlying, "any"):
            audience.publish(frames.instrument_state(option.symbol, state, now_ms))

    def _mark_prices(self, index_name: str, now_ms: int) -> str:
        surfaces = self._market.surfaces
        options = [o for o in self._market.options if surfaces[o.underlying].profile.index_name == index_name]
        return self._encoder.mark_prices(options, self._market.tickers(options), now_ms)
