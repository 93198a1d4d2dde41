"""The simulated Binance options: one venue with its listing and books over REST, and its clients' combined streams.

Marks and indices are served under one path, books, quotes and trades under another, all of them under the one without a
word. A client may name any stream: one that does not exist is acknowledged and stays silent, as on the venue.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from volsurface.simulator import binance_frames as frames
from volsurface.simulator.market import Option, Roll, Trade, VenueMarket
from volsurface.simulator.venue import BookMove, Changes, Follows

NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000
MARKET, PUBLIC = frozenset(frames.MARKET_KINDS), frozenset(frames.PUBLIC_KINDS)
PATHS = {"": MARKET | PUBLIC, "/stream": MARKET | PUBLIC, "/market/stream": MARKET, "/public/stream": PUBLIC}
PING_S = 300.0
LIFE_S = 24 * 3600  # of a connection
MAX_STREAMS = 200
CALLS_PER_S = 10
WEIGHT_PER_MINUTE = 2400
OPEN_INTEREST_S = 60
RESTART = 1000  # where a book's numbering goes on when it starts over
CUT = (1006, "")  # the venue documents that it disconnects, not with which code
NO_PONG, TOO_MANY = (1008, "Pong timeout"), (1008, "Too many requests")
LEVELS = (5, 10, 20, 50, 100, 500, 1000)


class BinanceVenue:
    """One simulated Binance; its options are settled in USDT and priced on its spot index."""

    path: str = ""
    too_slow: tuple[int, str] = CUT
    ping_s: float | None = PING_S

    def __init__(self, market: VenueMarket) -> None:
        self.market = market
        self.encoder = frames.Encoder(market)
        self.numbers_behind: dict[Option, int] = {}  # of books whose numbering has started over
        self._spent: deque[tuple[int, int]] = deque()  # (when, weight) of the last minute's requests
        self._weight = 0

    def session(self, now_ns: int, path: str = "") -> "BinanceSession | None":
        """Return the session of a new client, or None at a path the venue does not have."""
        kinds = PATHS.get(path.partition("?")[0])
        return None if kinds is None else BinanceSession(self, kinds, now_ns)

    def rest(self, target: str, now_ns: int) -> tuple[int, bytes]:
        """Answer `exchangeInfo`, `depth` and `time`; 429 when their weights are more than a minute allows."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        name = parts.path.removeprefix("/eapi/v1/")
        while self._spent and self._spent[0][0] <= now_ns - 60 * NS_PER_S:
            self._weight -= self._spent.popleft()[1]
        limit = int(query["limit"]) if query.get("limit", "").isdigit() else 100
        weight = 1 if name != "depth" or limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20
        if self._weight + weight > WEIGHT_PER_MINUTE:
            return 429, frames.refusal(-1003, f"Too many requests; current limit is {WEIGHT_PER_MINUTE}")
        self._weight += weight
        self._spent.append((now_ns, weight))
        now_ms = now_ns // NS_PER_MS
        if name == "time":
            return 200, f'{{"serverTime":{now_ms}}}'.encode()
        if name == "exchangeInfo":
            return 200, self.encoder.exchange_info(now_ms)
        if name != "depth":
            return 404, b""
        option = self.market.by_symbol.get(query.get("symbol", ""))
        if option is None:
            return 400, frames.refusal(-1121, "Invalid symbol.")
        if limit not in LEVELS:
            return 400, frames.refusal(-1130, "Data sent for parameter 'limit' is not valid.")
        return 200, self.encoder.depth(option, limit, self.numbers_behind.get(option, 0), now_ms)


class BinanceSession:
    """One client: the streams it has named, and those of them that exist on its path."""

    def __init__(self, venue: BinanceVenue, kinds: frozenset[str], now_ns: int) -> None:
        self.follows = Follows()
        self.close: tuple[int, str] | None = None
        self.names: dict[str, None] = {}  # as the client named them, existing or not
        self._venue, self._market, self._encoder = venue, venue.market, venue.encoder
        self._kinds = kinds
        self._of_option: dict[tuple[str, Option], str] = {}
        self._of_coin: dict[tuple[str, str], str] = {}  # also of (kind, "") and (kind, coin and expiry)
        self._calls: deque[int] = deque()  # when the last ones came
        self._leave_out = False  # the next subscription loses a stream
        self._seconds = 0
        self._ends_ns = now_ns + LIFE_S * NS_PER_S
        self._out: list[bytes] = []
        self._methods: dict[str, Callable[[Sequence[str]], Any]] = {
            "SUBSCRIBE": self._subscribe,
            "UNSUBSCRIBE": self._unsubscribe,
            "LIST_SUBSCRIPTIONS": lambda params: list(self.names),
            "SET_PROPERTY": lambda params: None,
        }

    # -- what the client says -----------------------------------------------------------------------------------------

    def receive(self, frame: bytes | str, now_ns: int) -> None:
        """Answer one call; too many of them end the session."""
        self._calls.append(now_ns)
        while self._calls[0] <= now_ns - NS_PER_S:
            self._calls.popleft()
        if len(self._calls) > CALLS_PER_S:
            self.close = TOO_MANY
            return
        try:
            call = json.loads(frame)
        except (ValueError, UnicodeDecodeError):
            self._out.append(frames.refusal(3, "Invalid JSON: expected value at line 1 column 1"))
            return
        method = self._methods.get(str(call.get("method"))) if isinstance(call, dict) else None
        params = call.get("params", []) if isinstance(call, dict) else None
        call_id = call.get("id") if isinstance(call, dict) else None
        if method is None or not isinstance(params, list) or not isinstance(call_id, int | str | None):
            self._out.append(frames.refusal(2, "Invalid request: unknown method or parameters"))
        elif (
            method == self._subscribe
            and len(self.names | dict.fromkeys(name for name in params if isinstance(name, str))) > MAX_STREAMS
        ):
            self._out.append(frames.refusal(2, f"Invalid request: more than {MAX_STREAMS} streams"))
        else:
            result = method([name for name in params if isinstance(name, str)])
            self._out.append(frames.answer(call_id, result))

    def _subscribe(self, names: Sequence[str]) -> None:
        if self._leave_out and names:
            self._leave_out, names = False, names[:-1]
        for name in names:
            self.names[name] = None
            found = frames.parse_stream(name, self._market)
            if found is None or found.kind not in self._kinds:
                continue
            if found.option is None:
                self._of_coin[found.kind, found.scope] = name
            else:
                self._of_option[found.kind, found.option] = name
            if found.option is not None and found.kind in (frames.DEPTH, frames.QUOTES):
                self.follows.add(found.option, book=True)
        self._follow_marks()

    def _unsubscribe(self, names: Sequence[str]) -> None:
        for name in names:
            self.names.pop(name, None)
            found = frames.parse_stream(name, self._market)
            if found is None:
                continue
            if found.option is None:
                self._of_coin.pop((found.kind, found.scope), None)
            else:
                self._of_option.pop((found.kind, found.option), None)
                if not any((kind, found.option) in self._of_option for kind in (frames.DEPTH, frames.QUOTES)):
                    self.follows.drop(found.option, ticker=False)
        self._follow_marks()

    def _follow_marks(self) -> None:
        """Follow the tickers of every option whose marks are sent, so that their quotes move."""
        coins = [coin for kind, coin in self._of_coin if kind == frames.MARKS]
        wanted = {option: None for option in self._market.options if option.underlying in coins}
        if wanted != self.follows.tickers:
            self.follows.tickers.clear()
            self.follows.tickers.update(wanted)
            self.follows.version += 1

    # -- what the venue says ------------------------------------------------------------------------------------------

    def publish(self, now_ns: int, changes: Changes) -> int:
        """Queue what the client follows of `changes`; return how many messages the moves made."""
        now_ms = now_ns // NS_PER_MS
        if changes.roll is not None:
            self._publish_roll(changes.roll, now_ms)
        before = len(self._out)
        for move in changes.books:
            self._publish_move(move, now_ms)
        sent = len(self._out) - before
        if changes.second:
            self._publish_second(now_ms)
        for trade in changes.trades:
            self._publish_trade(trade, now_ms)
        return sent

    def frames_to_send(self) -> list[bytes]:
        """Return the messages queued since the last call."""
        out, self._out = self._out, []
        return out

    def _publish_move(self, move: BookMove, now_ms: int) -> None:
        behind = self._venue.numbers_behind.get(move.option, 0)
        if name := self._of_option.get((frames.DEPTH, move.option)):
            self._send(name, self._encoder.change(move, behind, now_ms))
        if name := self._of_option.get((frames.QUOTES, move.option)):
            self._send(name, self._encoder.quote(move.option, move.change_id - behind, now_ms))

    def _publish_second(self, now_ms: int) -> None:
        for (kind, scope), name in self._of_coin.items():
            if kind == frames.MARKS:
                options = [option for option in self._market.options if option.underlying == scope]
                self._send(name, self._encoder.marks(options, now_ms))
            elif kind == frames.INDICES:
                self._send(name, self._encoder.indices(now_ms))
            elif kind == frames.OPEN_INTEREST and self._seconds % OPEN_INTEREST_S == 1:
                self._send(name, self._encoder.open_interest(frames.options_of(scope, self._market), now_ms))
        self._seconds += 1

    def _publish_trade(self, trade: Trade, now_ms: int) -> None:
        text = self._encoder.trade(trade, now_ms)
        for name in (
            self._of_coin.get((frames.TRADES, trade.option.underlying)),
            self._of_option.get((frames.TRADES, trade.option)),
        ):
            if name is not None:
                self._send(name, text)

    def _publish_roll(self, roll: Roll, now_ms: int) -> None:
        """Tell of new options where that is asked for; the streams of expired ones fall silent."""
        for option in roll.expired:
            for kind in (frames.DEPTH, frames.QUOTES, frames.TRADES):
                self._of_option.pop((kind, option), None)
            self.follows.drop(option)
            self._venue.numbers_behind.pop(option, None)
        if name := self._of_coin.get((frames.NEW_SYMBOLS, "")):
            for option in roll.listed:
                self._send(name, self._encoder.new_symbol(option, now_ms))
        self._follow_marks()

    def _send(self, name: str, data: str) -> None:
        self._out.append(frames.stream(name, data))

    # -- the end, and faults ------------------------------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """Return when the venue cuts this connection."""
        return self._ends_ns

    def timer(self, now_ns: int) -> None:
        """Cut a connection that is 24 hours old."""
        if now_ns >= self._ends_ns:
            self.close = CUT

    def inject(self, fault: str, now_ns: int, option: Option | None = None) -> bool:
        """Commit a fault of Binance's own; see `fault_table`.

        It sends no snapshots between changes, and its heartbeats are pings of the websocket itself.
        """
        if fault == "sequence_reset" and option is not None and (frames.DEPTH, option) in self._of_option:
            self._venue.numbers_behind[option] = option.book.change_id - RESTART
        elif fault == "silent_drop":
            self._leave_out = True
        elif fault == "heartbeat":
            self.close = NO_PONG
        elif fault == "unit_trap" and (marked := self._marked(option)):
            name = self._of_coin[frames.MARKS, marked[0].underlying]
            self._send(name, self._encoder.trap(marked, now_ns // NS_PER_MS))
        elif fault in ("maintenance", "cut"):
            self.close = CUT
        else:
            return False
        return True

    def _marked(self, option: Option | None) -> list[Option]:
        found: Iterable[Option] = self.follows.tickers if option not in self.follows.tickers else [option]
        return list(found)[:1]
