"""The simulated OKX: one venue and its clients, each speaking the v5 public websocket without I/O."""

import json
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from volsurface.simulator import okx_frames as frames
from volsurface.simulator.market import Option, Roll, Trade, VenueMarket
from volsurface.simulator.venue import BookMove, Changes, Follows

NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000
PATH = "/ws/v5/public"
TOO_SLOW_CLOSE = (4005, "buffer full")
IDLE_CLOSE = (4004, "No data received in 30s")
UPGRADE_CLOSE = (1001, "service upgrade")
IDLE_S = 30
REQUESTS_PER_HOUR = 480
LARGEST_REQUEST = 65_536  # bytes
KEEPALIVE_S = 60  # a book without changes says so this often
NOTICE_S = 1.0  # from a notice to the close: a minute at the venue
RESET_BY = 1_000_000_000  # how far a book's numbering falls when it starts over
DAY_MS = 86_400_000
CONNECTION = "a4d3ae55"

OF_OPTION = ("tickers", "mark-price", "open-interest", "books", "bbo-tbt")
OF_FAMILY = ("opt-summary", "option-trades", "estimated-price")
MARKET_CHANNELS = frozenset(("tickers", "mark-price", "opt-summary"))
Key = tuple[str, str]  # channel and what it is about


class OkxVenue:
    """One simulated OKX."""

    path: str = PATH
    too_slow: tuple[int, str] = TOO_SLOW_CLOSE
    ping_s: float | None = None

    def __init__(self, market: VenueMarket) -> None:
        self.market = market
        self._summaries: dict[str, tuple[int, str]] = {}  # by coin: what every client of one instant is sent

    def session(self, now_ns: int, path: str = "") -> "OkxSession | None":
        """Return the session of a new client, or None at another path than `PATH`."""
        return None if path and path.partition("?")[0] != PATH else OkxSession(self, now_ns)

    def rest(self, target: str, now_ns: int) -> tuple[int, bytes]:
        """Answer the listing, the time and the system's status."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/api/v5/public/time":
            return 200, _answer(f'{{"ts":"{now_ns // NS_PER_MS}"}}')
        if parts.path == "/api/v5/system/status":
            return 200, _answer("")
        if parts.path != "/api/v5/public/instruments":
            return 404, b'{"code":"404","data":[],"msg":"Not Found"}'
        name = query.get("instFamily", "")
        if query.get("instType") != "OPTION" or not name:
            return 400, b'{"code":"50014","data":[],"msg":"Parameter instFamily can not be empty"}'
        coin = self.coin_of(name)
        if coin is None:
            return 200, b'{"code":"51000","data":[],"msg":"Parameter instFamily error"}'
        return 200, _answer(self.listing(coin))

    def coin_of(self, name: str) -> str | None:
        """Return the coin of a family or index, or None."""
        return next((coin for coin in self.market.underlyings if frames.family(coin) == name), None)

    def listing(self, coin: str) -> str:
        """Return the listing entries of a coin's options."""
        return ",".join([frames.instrument(option) for option in self.market.options if option.underlying == coin])

    def summaries(self, coin: str, now_ms: int) -> str:
        """Return the summaries of all options of a coin."""
        kept = self._summaries.get(coin)
        if kept is None or kept[0] != now_ms:
            options = [option for option in self.market.options if option.underlying == coin]
            text = frames.summaries(options, self.market.tickers(options), now_ms) if options else ""
            kept = self._summaries[coin] = now_ms, text
        return kept[1]


class OkxSession:
    """One client and its channels."""

    def __init__(self, venue: OkxVenue, now_ns: int) -> None:
        self.follows = Follows()
        self.close: tuple[int, str] | None = None
        self._venue, self._market = venue, venue.market
        self._channels: dict[Key, str] = {}  # to the JSON of its argument
        self._requests: deque[int] = deque()  # times of those of the last hour
        self._behind: dict[Option, tuple[int, int]] = {}  # books whose numbering fell: until the next change, and after
        self._told_ns: dict[Option, int] = {}  # when each book was last sent
        self._leave_out = False  # the next subscription loses a channel
        self._close_ns: int | None = None
        self._out: list[bytes] = []
        self._last_traffic_ns = now_ns

    # -- what the client says ---------------------------------------------------------------------------------------

    def receive(self, frame: bytes | str, now_ns: int) -> None:
        """Answer a ping or a request, the latter with one message per argument."""
        self._last_traffic_ns = now_ns
        text = frame if isinstance(frame, str) else frame.decode(errors="replace")
        if text == "ping":
            self._out.append(b"pong")
            return
        try:
            request = json.loads(text)
            operation, arguments = request["op"], request["args"]
            mine = [(argument["channel"], argument) for argument in arguments]
        except (ValueError, KeyError, TypeError):
            self._error("", "60012", f"Invalid request: {text[:200]}")
            return
        name = request.get("id", "")
        if len(text) > LARGEST_REQUEST:
            self.close = (1009, "message too big")
        elif operation not in ("subscribe", "unsubscribe"):
            self._error(name, "60012", f"Invalid request: {text[:200]}")
        elif self._too_many(now_ns):
            self._error(name, "60014", "Requests too frequent")
        else:
            self._take(operation, name, mine, now_ns)

    def _take(self, operation: str, name: str, arguments: list[tuple[str, Mapping[str, Any]]], now_ns: int) -> None:
        first: list[Key] = []
        for channel, argument in arguments:
            key = self._key(channel, argument)
            about = argument.get("instId") or argument.get("instFamily") or argument.get("instType", "")
            kind = next((k for k in ("instId", "instFamily", "instType") if k in argument), "instId")
            if key is None:
                self._error(
                    name,
                    "60018",
                    f"Wrong URL or channel:{channel}, {kind}:{about} doesn't exist. Please use the correct URL, channel and "
                    "parameters referring to API document.",
                )
                continue
            if operation == "subscribe" and self._leave_out and self._option(key) is not None:
                self._leave_out = False
                continue
            text = json.dumps(argument, separators=(",", ":"))
            identity = f'"id":{json.dumps(name)},' if name else ""
            self._out.append(f'{{{identity}"event":"{operation}","arg":{text},"connId":"{CONNECTION}"}}'.encode())
            if operation == "unsubscribe":
                self._leave(key)
            elif key not in self._channels:
                self._channels[key] = text
                self._follow(key)
                first.append(key)
        for key in first:
            self._send_first(key, now_ns)

    def _too_many(self, now_ns: int) -> bool:
        while self._requests and self._requests[0] <= now_ns - 3600 * NS_PER_S:
            self._requests.popleft()
        if len(self._requests) >= REQUESTS_PER_HOUR:
            return True
        self._requests.append(now_ns)
        return False

    def _key(self, channel: str, argument: Mapping[str, Any]) -> Key | None:
        """Return what an argument asks for, None when there is no such thing."""
        if channel in OF_OPTION:
            name = argument.get("instId", "")
            return (channel, name) if name in self._market.by_symbol else None
        if channel in OF_FAMILY:
            name = argument.get("instFamily", "")
            return (channel, name) if self._venue.coin_of(name) else None
        if channel == "index-tickers":
            name = argument.get("instId", "")
            return (channel, name) if self._venue.coin_of(name) else None
        if channel == "instruments":
            return (channel, "OPTION") if argument.get("instType") == "OPTION" else None
        return (channel, "") if channel == "status" else None

    def _option(self, key: Key) -> Option | None:
        return self._market.by_symbol.get(key[1]) if key[0] in OF_OPTION else None

    def _follow(self, key: Key) -> None:
        channel, option = key[0], self._option(key)
        if option is not None:
            self.follows.add(option, book=channel in ("books", "bbo-tbt"), ticker=channel in ("tickers", "mark-price"))

    def _leave(self, key: Key) -> None:
        if self._channels.pop(key, None) is None:
            return
        option = self._option(key)
        if option is not None:
            held = {channel for channel in OF_OPTION if (channel, option.symbol) in self._channels}
            self.follows.drop(option, book=not held & {"books", "bbo-tbt"}, ticker=not held & {"tickers", "mark-price"})

    def _error(self, name: str, code: str, words: str) -> None:
        identity = f'"id":{json.dumps(name)},' if name else ""
        self._out.append(
            f'{{{identity}"event":"error","code":"{code}","msg":{json.dumps(words)},"connId":"{CONNECTION}"}}'.encode()
        )

    # -- what the venue says ----------------------------------------------------------------------------------------

    def publish(self, now_ns: int, changes: Changes) -> int:
        """Queue what the client follows of `changes`; return how many messages the moves and tickers made."""
        before, now_ms = len(self._out), now_ns // NS_PER_MS
        if changes.roll is not None:
            self._publish_roll(changes.roll)
        start = len(self._out)
        for move in changes.books:
            self._publish_move(move, now_ns)
        self._publish_tickers([o for o in changes.tickers if o in self.follows.tickers], now_ms)
        sent = len(self._out) - start
        for made in changes.trades:
            name = frames.family(made.option.underlying)
            text = frames.trade(made.option, made, self._forward(made.option), now_ms)
            self._send(("option-trades", name), text)
        if changes.second:
            self._publish_second(now_ns)
        if len(self._out) > before:
            self._last_traffic_ns = now_ns
        return sent

    def frames_to_send(self) -> list[bytes]:
        """Return the messages queued since the last call."""
        out, self._out = self._out, []
        return out

    def _send(self, key: Key, entries: str, action: str = "") -> None:
        argument = self._channels.get(key)
        if argument is not None:
            self._out.append(frames.data(argument, entries, action))

    def _send_first(self, key: Key, now_ns: int) -> None:
        """Send what follows an acknowledgement: the present state of a channel, or an old trade the venue kept."""
        channel, about = key
        option, coin, now_ms = self._option(key), self._venue.coin_of(about), now_ns // NS_PER_MS
        if option is not None:
            if channel == "books":
                self._send_snapshot(option, now_ns)
            elif channel == "bbo-tbt":
                self._send(key, frames.best(option, self._seq(option), now_ms))
            elif channel == "tickers":
                self._send(key, frames.ticker(option, now_ms))
            elif channel == "mark-price":
                self._send(key, frames.mark(option, self._market.mark(option), now_ms))
            else:
                self._send(key, frames.open_interest(option, now_ms))
        elif channel == "instruments":
            self._send(key, ",".join([self._venue.listing(each) for each in self._market.underlyings]))
        elif coin is not None and channel == "option-trades":
            self._send(key, self._old_trade(coin, now_ms))
        elif coin is not None and channel == "opt-summary":
            self._send(key, self._venue.summaries(coin, now_ms))
        elif coin is not None and channel == "index-tickers":
            self._send(key, frames.index(coin, self._market.index(coin), now_ms))

    def _old_trade(self, coin: str, now_ms: int) -> str:
        """Return a trade of yesterday: the venue may keep one and send it first."""
        option = next(option for option in self._market.options if option.underlying == coin)
        price, fwd = self._market.mark(option), self._forward(option)
        kept = Trade(option, 1, 1, price, 1.0, 100.0 * self._market.true_vol(option), price, fwd, "buy", 0)
        return frames.trade(option, kept, fwd, now_ms - DAY_MS)

    def _seq(self, option: Option) -> int:
        return option.book.change_id - self._behind.get(option, (0, 0))[1]

    def _send_snapshot(self, option: Option, now_ns: int) -> None:
        behind = self._behind.get(option, (0, 0))[1]
        self._behind[option] = behind, behind
        self._told_ns[option] = now_ns
        text = frames.snapshot(option, option.book.change_id - behind, now_ns // NS_PER_MS)
        self._send(("books", option.symbol), text, "snapshot")

    def _publish_move(self, move: BookMove, now_ns: int) -> None:
        option, now_ms = move.option, now_ns // NS_PER_MS
        key = "books", option.symbol
        if key in self._channels:
            before, after = self._behind.get(option, (0, 0))
            self._behind[option] = after, after
            self._told_ns[option] = now_ns
            text = frames.update(move.bids, move.asks, move.previous_id - before, move.change_id - after, now_ms)
            self._send(key, text, "update")
        if ("bbo-tbt", option.symbol) in self._channels:
            self._send(("bbo-tbt", option.symbol), frames.best(option, self._seq(option), now_ms))

    def _publish_tickers(self, options: Iterable[Option], now_ms: int) -> None:
        for option in options:
            self._send(("tickers", option.symbol), frames.ticker(option, now_ms))
            self._send(("mark-price", option.symbol), frames.mark(option, self._market.mark(option), now_ms))

    def _forward(self, option: Option) -> float:
        return self._market.tickers([option]).forward[0] if option.row >= 0 else 0.0

    def _publish_second(self, now_ns: int) -> None:
        """Publish what comes about once a second: summaries, indices; and that quiet books are alive."""
        now_ms = now_ns // NS_PER_MS
        for coin in self._market.underlyings:
            name = frames.family(coin)
            if ("opt-summary", name) in self._channels:
                self._send(("opt-summary", name), self._venue.summaries(coin, now_ms))
            self._send(("index-tickers", name), frames.index(coin, self._market.index(coin), now_ms))
        for option, told_ns in self._told_ns.items():
            if now_ns - told_ns >= KEEPALIVE_S * NS_PER_S:
                self._told_ns[option] = now_ns
                before = self._behind.get(option, (0, 0))[0]
                seq = option.book.change_id - before
                self._send(("books", option.symbol), frames.update((), (), seq, seq, now_ms), "update")

    def _publish_roll(self, roll: Roll) -> None:
        """Say that options have expired and others are listed; channels of the expired ones end."""
        for option in roll.expired:
            self._send(("instruments", "OPTION"), frames.instrument(option, "expired"))
            for channel in OF_OPTION:
                self._channels.pop((channel, option.symbol), None)
            self.follows.drop(option)
            self._behind.pop(option, None)
            self._told_ns.pop(option, None)
        for option in roll.listed:
            self._send(("instruments", "OPTION"), frames.instrument(option))

    # -- the end ------------------------------------------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """Return when an idle client, or one that was given notice, is cut."""
        idle_ns = self._last_traffic_ns + IDLE_S * NS_PER_S
        return idle_ns if self._close_ns is None else min(idle_ns, self._close_ns)

    def timer(self, now_ns: int) -> None:
        """Cut a client that was given notice, or with whom nothing was exchanged for half a minute."""
        if self._close_ns is not None and now_ns >= self._close_ns:
            self.close = UPGRADE_CLOSE
        elif now_ns - self._last_traffic_ns >= IDLE_S * NS_PER_S:
            self.close = IDLE_CLOSE

    def inject(self, fault: str, now_ns: int, option: Option | None = None) -> bool:
        """Commit a fault of OKX's own; see `fault_table`."""
        followed = option is not None and ("books", option.symbol) in self._channels
        if fault == "snapshot" and option is not None and followed:
            self._send_snapshot(option, now_ns)
        elif fault == "sequence_reset" and option is not None and followed:
            before, after = self._behind.get(option, (0, 0))
            self._behind[option] = before, after + RESET_BY
        elif fault == "silent_drop":
            self._leave_out = True
        elif fault == "heartbeat":
            self.close = IDLE_CLOSE
        elif fault == "unit_trap" and self.follows.tickers:
            trapped = option if option in self.follows.tickers else next(iter(self.follows.tickers))
            assert trapped is not None
            now_ms = now_ns // NS_PER_MS
            self._send(("tickers", trapped.symbol), frames.missing_ticker(trapped, now_ms))
            text = frames.trap_summary(trapped, self._forward(trapped), now_ms)
            self._send(("opt-summary", frames.family(trapped.underlying)), text)
        elif fault == "maintenance":
            begin = now_ns // NS_PER_MS
            self._send(
                ("status", ""),
                f'{{"begin":"{begin}","end":"{begin + 60_000}","state":"ongoing","serviceType":"0","system":"unified",'
                f'"env":"1","maintType":"3","title":"Simulated maintenance"}}',
            )
            self.close = (1006, "")
        elif fault == "cut":
            words = "The connection will soon be closed for a service upgrade. Please reconnect."
            self._out.append(
                f'{{"event":"notice","code":"64008","msg":"{words}","connId":"{CONNECTION}"}}'.encode()
            )  # fmt: skip
            self._close_ns = now_ns + round(NOTICE_S * NS_PER_S)
        else:
            return False
        return True


def _answer(entries: str) -> bytes:
    return f'{{"code":"0","data":[{entries}],"msg":""}}'.encode()
