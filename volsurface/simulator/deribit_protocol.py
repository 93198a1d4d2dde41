"""The simulated Deribit: one venue and its clients, each a JSON-RPC session without I/O.

What a client asks is answered by `deribit_methods`, what it follows is published here, and every frame's text is
written by `deribit_frames`.
"""

from collections.abc import Iterable
from dataclasses import replace

from volsurface.simulator import deribit_frames as frames
from volsurface.simulator.deribit_limits import NS_PER_S, Credits, Heartbeat, Limits
from volsurface.simulator.deribit_methods import Methods
from volsurface.simulator.deribit_requests import (
    HEARTBEAT_CLOSE,
    PATH,
    RATE_CLOSE,
    TOO_MANY_REQUESTS,
    TOO_SLOW_CLOSE,
    Channel,
    RpcError,
    parse_request,
)
from volsurface.simulator.market import Option, Roll, Trade, VenueMarket
from volsurface.simulator.venue import BookMove, Changes, Follows

NS_PER_MS = 1_000_000
STORM_S = 2.0
DVOL_YEARS = 30.0 / 365.0


class DeribitVenue:
    """One simulated Deribit; `limits` are what it allows each client."""

    path: str = PATH
    too_slow: tuple[int, str] = TOO_SLOW_CLOSE
    ping_s: float | None = None

    def __init__(self, market: VenueMarket, limits: Limits | None = None) -> None:
        self.market = market
        self.limits = limits or Limits()
        self.encoder = frames.Encoder(market)
        self.methods = Methods(market, self.encoder)

    def session(self, now_ns: int, path: str = "") -> "DeribitSession | None":
        """Return the session of a new client, or None at another path than `PATH`."""
        if path and path.partition("?")[0] != PATH:
            return None
        return DeribitSession(self, now_ns)

    def rest(self, target: str, now_ns: int) -> tuple[int, bytes]:
        """Refuse: everything is asked over the websocket here."""
        return 404, b'{"error":"the simulated Deribit answers over its websocket only"}'


class DeribitSession:
    """One client: its channels, credits and heartbeat."""

    def __init__(self, venue: DeribitVenue, now_ns: int) -> None:
        limits = venue.limits
        self.follows = Follows()
        self.close: tuple[int, str] | None = None
        self.limits = limits
        self.channels: dict[str, Channel] = {}
        self.heartbeat: Heartbeat | None = None
        self.calls = Credits(limits.call_pool, limits.refill_per_s, now_ns)
        self.subscribes = Credits(limits.subscribe_pool, limits.refill_per_s, now_ns)
        self.listings = Credits(limits.listing_pool, limits.refill_per_s, now_ns)
        self.leave_out = False  # the next subscription loses a channel
        self._venue, self._market, self._encoder = venue, venue.market, venue.encoder
        self._of_option: dict[tuple[str, Option], list[str]] = {}
        self._of_scope: dict[tuple[str, str], list[str]] = {}
        self._numbers_behind: dict[Option, int] = {}  # of books whose numbering has started over
        self._out: list[bytes] = []
        self._quiet = True  # nothing was sent since the last heartbeat
        self._last_traffic_ns = now_ns

    # -- what the client says ---------------------------------------------------------------------------------------

    def receive(self, frame: bytes | str, now_ns: int) -> None:
        """Answer one request; too many of them end the session."""
        self._last_traffic_ns = now_ns
        request_id: int | str | None = None
        error: RpcError | None = None
        first: list[Channel] = []
        try:
            request = parse_request(frame)
            request_id = request.id
            result, first = self._venue.methods.call(self, request, now_ns)
            body = f'"result":{result}'
        except RpcError as raised:
            error = raised
            body = frames.error_body(raised.code, raised.message, raised.data)
        self._send(frames.answer(request_id, body, now_ns // 1000, now_ns // 1000 + 50))
        self._send_first(first, now_ns // NS_PER_MS)
        if error is TOO_MANY_REQUESTS:
            self.close = RATE_CLOSE

    def subscribe(self, channel: Channel) -> bool:
        """Follow a channel; False when it was followed already."""
        if channel.name in self.channels:
            return False
        self.channels[channel.name] = channel
        self._names_of(channel).append(channel.name)
        if channel.option is not None:
            self.follows.add(channel.option, book=channel.topic in ("book", "quote"), ticker=channel.topic == "ticker")
        return True

    def unsubscribe(self, name: str) -> bool:
        """Follow a channel no longer; False when it was not followed."""
        channel = self.channels.pop(name, None)
        if channel is None:
            return False
        self._names_of(channel).remove(name)
        if (option := channel.option) is not None:
            names = self._of_option
            book = not names.get(("book", option)) and not names.get(("quote", option))
            self.follows.drop(option, book=book, ticker=not names.get(("ticker", option)))
        return True

    def _names_of(self, channel: Channel) -> list[str]:
        if channel.option is not None:
            return self._of_option.setdefault((channel.topic, channel.option), [])
        return self._of_scope.setdefault((channel.topic, channel.scope), [])

    # -- what the venue says ----------------------------------------------------------------------------------------

    def publish(self, now_ns: int, changes: Changes) -> int:
        """Queue what the client follows of `changes`; return how many messages the moves and tickers made."""
        before, now_ms = len(self._out), now_ns // NS_PER_MS
        if changes.roll is not None:
            self._publish_roll(changes.roll, now_ms)
        for move in changes.books:
            self._publish_move(move, now_ms)
        self._publish_tickers(changes.tickers, now_ms)
        sent = len(self._out) - before
        if changes.second:
            self._publish_second(now_ms)
        for trade in changes.trades:
            self._publish_trade(trade, now_ms)
        if len(self._out) > before:
            self._quiet = False
        return sent

    def frames_to_send(self) -> list[bytes]:
        """Return the messages queued since the last call."""
        out, self._out = self._out, []
        return out

    def _send(self, payload: bytes) -> None:
        self._out.append(payload)
        self._quiet = False

    def _send_on(self, names: Iterable[str], data: str) -> None:
        for name in names:
            self._out.append(frames.subscription(name, data))

    def _send_first(self, channels: Iterable[Channel], now_ms: int) -> None:
        """Send what follows an acknowledgement: a snapshot of each book, one message of tickers, quotes and marks."""
        tickers: list[tuple[str, Option]] = []
        for channel in channels:
            option = channel.option
            if channel.topic == "ticker" and option is not None:
                tickers.append((channel.name, option))
            elif channel.topic == "book" and option is not None:
                self._send_snapshot([channel.name], option, now_ms)
            elif channel.topic == "quote" and option is not None:
                self._send_on([channel.name], self._encoder.quote(option, now_ms))
            elif channel.topic == "markprice":
                self._send_on([channel.name], self._mark_prices(channel.scope, now_ms))
        for (name, _), text in zip(tickers, self._ticker_texts([option for _, option in tickers], now_ms)):
            self._send_on([name], text)

    def _send_snapshot(self, names: Iterable[str], option: Option, now_ms: int) -> None:
        change_id = option.book.change_id - self._numbers_behind.get(option, 0)
        self._send_on(names, self._encoder.book_snapshot(option, change_id, now_ms))

    def _publish_move(self, move: BookMove, now_ms: int) -> None:
        names = self._of_option.get(("book", move.option))
        if names:
            behind = self._numbers_behind.get(move.option)
            if behind:
                move = replace(move, previous_id=move.previous_id - behind, change_id=move.change_id - behind)
            self._send_on(names, self._encoder.book_change(move, now_ms))
        names = self._of_option.get(("quote", move.option))
        if names:
            self._send_on(names, self._encoder.quote(move.option, now_ms))

    def _publish_tickers(self, options: Iterable[Option], now_ms: int) -> None:
        followed = self.follows.tickers
        mine = [option for option in options if option in followed]
        for option, text in zip(mine, self._ticker_texts(mine, now_ms)):
            self._send_on(self._of_option["ticker", option], text)

    def _ticker_texts(self, options: list[Option], now_ms: int) -> list[str]:
        return self._encoder.tickers(options, self._market.tickers(options), now_ms) if options else []

    def _publish_trade(self, trade: Trade, now_ms: int) -> None:
        text = f"[{self._encoder.trade(trade, now_ms)}]"
        self._send_on(self._of_option.get(("trades", trade.option), ()), text)
        for scope in (trade.option.underlying, "any"):
            self._send_on(self._of_scope.get(("trades_all", scope), ()), text)

    def _publish_second(self, now_ms: int) -> None:
        """Publish what comes about once a second: indices, mark prices, the volatility index."""
        of_scope = self._of_scope.get
        for coin, smiles in self._market.smiles.items():
            index = self._market.surfaces[coin].profile.index_name
            self._send_on(of_scope(("index", index), ()), frames.price_index(index, smiles.spot, now_ms))
            if names := of_scope(("markprice", index)):
                self._send_on(names, self._mark_prices(index, now_ms))
            if names := of_scope(("volatility", index)):
                percent = 100.0 * smiles.atm_vol(DVOL_YEARS)
                self._send_on(names, frames.volatility_index(index, percent, now_ms))
            self._send_on(of_scope(("platform", ""), ()), frames.platform_state(index))

    def _publish_roll(self, roll: Roll, now_ms: int) -> None:
        """Say that options have expired and others are listed; channels of the expired ones end."""
        for option in roll.expired:
            self._publish_state(option, "settlement", now_ms)
            self._publish_state(option, "delivered", now_ms)
            for topic in ("ticker", "book", "quote", "trades"):
                for name in self._of_option.pop((topic, option), []):
                    del self.channels[name]
            self.follows.drop(option)
            self._numbers_behind.pop(option, None)
        self._encoder.forget(roll.expired)
        for option in roll.listed:
            for scope in (option.underlying, "any"):
                self._send_on(self._of_scope.get(("creation", scope), ()), self._encoder.instrument(option))
            self._publish_state(option, "open", now_ms)

    def _publish_state(self, option: Option, state: str, now_ms: int) -> None:
        for scope in (option.underlying, "any"):
            names = self._of_scope.get(("state", scope), ())
            self._send_on(names, frames.instrument_state(option.symbol, state, now_ms))

    def _mark_prices(self, index_name: str, now_ms: int) -> str:
        surfaces = self._market.surfaces
        options = [o for o in self._market.options if surfaces[o.underlying].profile.index_name == index_name]
        return self._encoder.mark_prices(options, self._market.tickers(options), now_ms)

    # -- heartbeats, and the end --------------------------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """Return when a heartbeat or the end of an idle client is due."""
        if self.heartbeat is not None:
            return self.heartbeat.deadline_ns(self.limits.answer_s)
        return None if self.channels else self._last_traffic_ns + round(self.limits.idle_s * NS_PER_S)

    def timer(self, now_ns: int) -> None:
        """Ask whether the client lives; hang up on one that does not answer, cut one that never says anything."""
        heartbeat = self.heartbeat
        if heartbeat is None:
            if not self.channels:
                self.close = (1006, "")
            return
        if heartbeat.due(now_ns):
            if self._quiet:
                self._out.append(frames.HEARTBEAT)
            self._out.append(frames.TEST_REQUEST)
            self._quiet = True
        if heartbeat.dead(now_ns, self.limits.answer_s):
            self.close = HEARTBEAT_CLOSE

    def inject(self, fault: str, now_ns: int, option: Option | None = None) -> bool:
        """Commit a fault of Deribit's own; see `fault_table`."""
        names = self._of_option.get(("book", option), []) if option is not None else []
        if fault == "snapshot" and option is not None and names:
            self._send_snapshot(names, option, now_ns // NS_PER_MS)
        elif fault == "sequence_reset" and option is not None and names:
            self._numbers_behind[option] = option.book.change_id - 1  # 0 would stand for an empty book
        elif fault == "silent_drop":
            self.leave_out = True
        elif fault == "heartbeat":
            self.close = HEARTBEAT_CLOSE
        elif fault == "heartbeat_storm":
            heartbeat = self.heartbeat or Heartbeat.started(1.0, now_ns)
            heartbeat.next_ns, heartbeat.storm_until_ns = now_ns, now_ns + round(STORM_S * NS_PER_S)
            self.heartbeat = heartbeat
        elif fault == "unit_trap" and self.follows.tickers:
            trapped = option if option in self.follows.tickers else next(iter(self.follows.tickers))
            assert trapped is not None
            self._send_on(self._of_option["ticker", trapped], self._encoder.trap(trapped, now_ns // NS_PER_MS))
        elif fault == "maintenance":
            self._send_on(self._of_scope.get(("platform", ""), ()), '{"maintenance":true}')
            self.close = (1006, "")
        elif fault == "cut":
            self.close = (1001, "going away")
        else:
            return False
        return True
