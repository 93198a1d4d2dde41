"""The simulated Bybit: one venue and its clients, each speaking the v5 option websocket without I/O."""

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from volsurface.simulator.market import Option, Roll, Trade, VenueMarket
from volsurface.simulator.text_values import AMOUNT_TEXT, UnitTexts, plain
from volsurface.simulator.ticker_values import TickerValues
from volsurface.simulator.venue import BookMove, Changes, Follows

NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000
PATH = "/v5/public/option"
CUT = (1006, "")  # the venue names no close code
IDLE_S = 600
MAX_TOPICS, MAX_LETTERS = 2000, 21_000
DEFAULT_PAGE, LARGEST_PAGE = 500, 1000
CONNECTION = "461834fffe84142f-00000001-000c2ffe"
BOOKS = ("orderbook.25", "orderbook.100")
TICKERS = "tickers"


class BybitVenue:
    """One simulated Bybit; its options are settled in USDT."""

    path: str = PATH
    too_slow: tuple[int, str] = CUT
    ping_s: float | None = None

    def __init__(self, market: VenueMarket) -> None:
        self.market = market
        self.price_text = {coin: UnitTexts(market.venue.ticks[coin], "0") for coin in market.underlyings}

    def session(self, now_ns: int, path: str = "") -> "BybitSession | None":
        """Return the session of a new client, or None at another path than `PATH`."""
        return None if path and path.partition("?")[0] != PATH else BybitSession(self, now_ns)

    def rest(self, target: str, now_ns: int) -> tuple[int, bytes]:
        """Answer the listing, page by page, and the time."""
        parts, now_ms = urlsplit(target), now_ns // NS_PER_MS
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/v5/market/time":
            return 200, _answer(f'{{"timeSecond":"{now_ms // 1000}","timeNano":"{now_ns}"}}', now_ms)
        if parts.path != "/v5/market/instruments-info":
            return 404, b""
        if query.get("category") != "option":
            return 200, _answer("{}", now_ms, 10001, "category is invalid")
        coin = query.get("baseCoin", "BTC")
        try:
            limit = min(int(query.get("limit", DEFAULT_PAGE)), LARGEST_PAGE)
            start = int(unquote(query.get("cursor", "")).partition(",")[2] or 0)
        except ValueError:
            return 200, _answer("{}", now_ms, 10001, "params error")
        options = [option for option in self.market.options if option.underlying == coin]
        end = start + max(limit, 1)
        entries = ",".join([self._instrument(option) for option in options[start:end]])
        cursor = f"0%2C{end}" if end < len(options) else ""
        return 200, _answer(f'{{"category":"option","nextPageCursor":"{cursor}","list":[{entries}]}}', now_ms)

    def _instrument(self, option: Option) -> str:
        coin, expiry = option.underlying, option.expiry
        tick = plain(option.book.ticks.unit)
        smallest = plain(self.market.venue.smallest_amount[coin])
        return (
            f'{{"symbol":"{option.symbol}","displayName":"{option.symbol}","status":"Trading","baseCoin":"{coin}",'
            f'"quoteCoin":"USDT","settleCoin":"USDT","optionsType":"{"Call" if option.right > 0 else "Put"}",'
            f'"launchTime":"{expiry.listed_ns // NS_PER_MS}","deliveryTime":"{expiry.expiry_ns // NS_PER_MS}",'
            f'"deliveryFeeRate":"0.00015","priceFilter":{{"minPrice":"{tick}","maxPrice":"10000000","tickSize":"{tick}"}},'
            f'"lotSizeFilter":{{"qtyStep":"{smallest}","maxOrderQty":"1500","minOrderQty":"{smallest}"}},'
            f'"symbolId":{option.instrument_id}}}'
        )


class BybitSession:
    """One client and its topics."""

    def __init__(self, venue: BybitVenue, now_ns: int) -> None:
        self.follows = Follows()
        self.close: tuple[int, str] | None = None
        self._venue, self._market = venue, venue.market
        self._topics: dict[str, None] = {}
        self._letters = 0
        self._behind: dict[Option, int] = {}  # of books whose numbering has started over
        self._leave_out = False  # the next subscription loses a topic
        self._out: list[bytes] = []
        self._last_traffic_ns = now_ns
        self._messages = 3_360_274_030

    # -- what the client says ---------------------------------------------------------------------------------------

    def receive(self, frame: bytes | str, now_ns: int) -> None:
        """Answer a ping, or a request about topics as the option endpoint does."""
        self._last_traffic_ns = now_ns
        try:
            request = json.loads(frame)
            operation, arguments = request["op"], request.get("args", [])
            topics = [str(argument) for argument in arguments]
        except (ValueError, KeyError, TypeError, AttributeError):
            self._send({"success": False, "ret_msg": "error:invalid request", "conn_id": CONNECTION, "op": ""})
            return
        name = request.get("req_id", "")
        if operation == "ping":
            self._send({"req_id": name, "op": "pong", "args": [str(now_ns // NS_PER_MS)], "conn_id": CONNECTION})
        elif operation not in ("subscribe", "unsubscribe"):
            words = f"error:handler not found, op:{operation}"
            self._send({"success": False, "ret_msg": words, "conn_id": CONNECTION, "req_id": name, "op": operation})
        else:
            self._take(operation, topics, now_ns)

    def _take(self, operation: str, topics: Sequence[str], now_ns: int) -> None:
        granted, failed, first = [], [], []
        for topic in topics:
            if operation == "unsubscribe":
                self._leave(topic)
                granted.append(topic)
            elif self._leave_out and self._option(topic) is not None:
                self._leave_out = False
            elif topic in self._topics:
                granted.append(topic)
            elif self._exists(topic) and self._has_room(topic):
                self._follow(topic)
                granted.append(topic)
                first.append(topic)
            else:
                failed.append(topic)
        answer = {"failTopics": failed, "successTopics": granted}
        self._send({"success": not failed, "conn_id": CONNECTION, "data": answer, "type": "COMMAND_RESP"})
        for topic in first:
            self._send_first(topic, now_ns)

    def _option(self, topic: str) -> Option | None:
        kind, _, symbol = topic.rpartition(".")
        return self._market.by_symbol.get(symbol) if kind in (TICKERS, *BOOKS) else None

    def _exists(self, topic: str) -> bool:
        coins = self._market.underlyings
        return self._option(topic) is not None or topic in [f"publicTrade.{coin}" for coin in coins]

    def _has_room(self, topic: str) -> bool:
        return len(self._topics) < MAX_TOPICS and self._letters + len(topic) + 3 <= MAX_LETTERS

    def _follow(self, topic: str) -> None:
        self._topics[topic] = None
        self._letters += len(topic) + 3
        option = self._option(topic)
        if option is not None:
            ticker = topic.startswith(TICKERS)
            self.follows.add(option, book=not ticker, ticker=ticker)

    def _leave(self, topic: str) -> None:
        if topic not in self._topics:
            return
        del self._topics[topic]
        self._letters -= len(topic) + 3
        option = self._option(topic)
        if option is not None:
            book = any(f"{kind}.{option.symbol}" in self._topics for kind in BOOKS)
            self.follows.drop(option, book=not book, ticker=f"{TICKERS}.{option.symbol}" not in self._topics)

    # -- what the venue says ----------------------------------------------------------------------------------------

    def publish(self, now_ns: int, changes: Changes) -> int:
        """Queue what the client follows of `changes`; return how many messages the moves and tickers made."""
        before, now_ms = len(self._out), now_ns // NS_PER_MS
        if changes.roll is not None:
            self._take_roll(changes.roll)
        for move in changes.books:
            self._publish_move(move, now_ms)
        followed = self.follows.tickers
        self._publish_tickers([option for option in changes.tickers if option in followed], now_ms)
        sent = len(self._out) - before
        for trade in changes.trades:
            topic = f"publicTrade.{trade.option.underlying}"
            if topic in self._topics:
                self._queue(topic, f"[{self._trade(trade, now_ms)}]", "snapshot", now_ms)
        if len(self._out) > before:
            self._last_traffic_ns = now_ns
        return sent

    def frames_to_send(self) -> list[bytes]:
        """Return the messages queued since the last call."""
        out, self._out = self._out, []
        return out

    def _send(self, message: dict[str, Any]) -> None:
        self._out.append(json.dumps(message, separators=(",", ":")).encode())

    def _queue(self, topic: str, data: str, kind: str, now_ms: int, more: str = "") -> None:
        """Queue a message of market data; its type comes last, as on the option endpoint."""
        self._messages += 1
        self._out.append(
            f'{{"id":"{topic}-{self._messages}-{now_ms}","topic":"{topic}","ts":{now_ms},"data":{data},'
            f'"type":"{kind}"{more}}}'.encode()
        )

    def _send_first(self, topic: str, now_ns: int) -> None:
        option = self._option(topic)
        if option is None:
            return
        if topic.startswith(TICKERS):
            self._publish_tickers([option], now_ns // NS_PER_MS)
        else:
            self._queue_book(topic, option, "snapshot", now_ns // NS_PER_MS)

    def _queue_book(self, topic: str, option: Option, kind: str, now_ms: int, move: BookMove | None = None) -> None:
        """Queue a book as a whole, or one move of it; an empty book that never had a level has the number 0."""
        book, number = option.book, option.book.moves if move is None else move.number
        number -= self._behind.get(option, 0)
        bids = book.sorted_bids() if move is None else [(price, amount) for _, price, amount in move.bids]
        asks = book.sorted_asks() if move is None else [(price, amount) for _, price, amount in move.asks]
        text = self._venue.price_text[option.underlying]
        b, a = (",".join([f'["{text[p]}","{AMOUNT_TEXT[q]}"]' for p, q in side]) for side in (bids, asks))
        data = f'{{"s":"{option.symbol}","b":[{b}],"a":[{a}],"u":{number},"seq":{book.change_id}}}'
        self._queue(topic, data, kind, now_ms, f',"cts":{now_ms - 3}')

    def _publish_move(self, move: BookMove, now_ms: int) -> None:
        option = move.option
        for kind in BOOKS:
            topic = f"{kind}.{option.symbol}"
            if topic in self._topics:
                if move.number == 1:  # number 1 always is the whole book
                    self._queue_book(topic, option, "snapshot", now_ms)
                else:
                    self._queue_book(topic, option, "delta", now_ms, move)

    def _publish_tickers(self, options: Sequence[Option], now_ms: int) -> None:
        if not options:
            return
        for option, text in zip(options, self._tickers(options, self._market.tickers(list(options)))):
            self._queue(f"{TICKERS}.{option.symbol}", text, "snapshot", now_ms)

    def _tickers(self, options: Iterable[Option], values: TickerValues) -> list[str]:
        texts = []
        for option, fwd, index, mark, iv, bid_iv, ask_iv, delta, gamma, vega, theta in zip(
            options, values.forward, values.index, values.mark, values.mark_iv, values.bid_iv, values.ask_iv,
            values.delta, values.gamma, values.vega, values.theta,
        ):  # fmt: skip
            book, price_text = option.book, self._venue.price_text[option.underlying]
            bid, ask = book.best_bid, book.best_ask
            last = plain(option.last_price or 0.0)
            texts.append(
                f'{{"symbol":"{option.symbol}","bidPrice":"{price_text[bid]}",'
                f'"bidSize":"{AMOUNT_TEXT[book.bids[bid]] if bid else "0"}","bidIv":"{plain(bid_iv / 100, 4)}",'
                f'"askPrice":"{price_text[ask]}","askSize":"{AMOUNT_TEXT[book.asks[ask]] if ask else "0"}",'
                f'"askIv":"{plain(ask_iv / 100, 4)}","lastPrice":"{last}","highPrice24h":"{plain(option.high or 0.0)}",'
                f'"lowPrice24h":"{plain(option.low or 0.0)}","markPrice":"{plain(mark)}","indexPrice":"{plain(index, 2)}",'
                f'"markPriceIv":"{plain(iv / 100, 4)}","underlyingPrice":"{plain(fwd, 2)}",'
                f'"openInterest":"{plain(option.open_interest, 2)}","turnover24h":"0","volume24h":"{plain(option.volume, 2)}",'
                f'"totalVolume":"0","totalTurnover":"0","delta":"{delta:.8f}","gamma":"{gamma:.8f}","vega":"{vega:.8f}",'
                f'"theta":"{theta:.8f}","predictedDeliveryPrice":"0","change24h":"0"}}'
            )
        return texts

    def _trade(self, trade: Trade, now_ms: int) -> str:
        return (
            f'{{"p":"{plain(trade.price)}","v":"{AMOUNT_TEXT[trade.amount]}","i":"{trade.trade_id}","T":{now_ms},"BT":false,'
            f'"s":"{trade.option.symbol}","S":"{trade.direction.capitalize()}","mP":"{plain(trade.mark)}",'
            f'"iP":"{plain(trade.index, 2)}","mIv":"0","iv":"{plain(trade.iv / 100, 4)}","seq":{trade.trade_seq},"RPI":false}}'
        )

    def _take_roll(self, roll: Roll) -> None:
        """Topics of expired options end; nothing is said of it, nor of new options."""
        for option in roll.expired:
            for topic in [f"{kind}.{option.symbol}" for kind in (TICKERS, *BOOKS)]:
                if topic in self._topics:
                    del self._topics[topic]
                    self._letters -= len(topic) + 3
            self.follows.drop(option)
            self._behind.pop(option, None)

    # -- the end ------------------------------------------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """Return when an idle client is cut."""
        return self._last_traffic_ns + IDLE_S * NS_PER_S

    def timer(self, now_ns: int) -> None:
        """Cut a client with whom nothing was exchanged for ten minutes."""
        if now_ns - self._last_traffic_ns >= IDLE_S * NS_PER_S:
            self.close = CUT

    def inject(self, fault: str, now_ns: int, option: Option | None = None) -> bool:
        """Commit a fault of Bybit's own; see `fault_table`."""
        now_ms = now_ns // NS_PER_MS
        topics = [f"{kind}.{option.symbol}" for kind in BOOKS] if option is not None else []
        topics = [topic for topic in topics if topic in self._topics]
        if fault in ("snapshot", "sequence_reset") and option is not None and topics:
            if fault == "sequence_reset":  # the service has started again: the whole book, with the number 1
                self._behind[option] = option.book.moves - 1
            for topic in topics:
                self._queue_book(topic, option, "snapshot", now_ms)
        elif fault == "silent_drop":
            self._leave_out = True
        elif fault == "unit_trap" and self.follows.tickers:
            trapped = option if option in self.follows.tickers else next(iter(self.follows.tickers))
            assert trapped is not None
            self._queue(f"{TICKERS}.{trapped.symbol}", _nothing(trapped.symbol), "snapshot", now_ms)
        elif fault in ("heartbeat", "maintenance", "cut"):  # all of them unannounced on this endpoint
            self.close = CUT
        else:
            return False
        return True


def _nothing(symbol: str) -> str:
    """Return a ticker with every way the venue has to say "none"."""
    names = (
        "bidPrice bidSize bidIv askPrice askSize askIv lastPrice highPrice24h lowPrice24h markPrice indexPrice markPriceIv "
        "underlyingPrice openInterest turnover24h volume24h totalVolume totalTurnover delta gamma vega theta "
        "predictedDeliveryPrice change24h"
    ).split()
    return f'{{"symbol":"{symbol}",' + ",".join([f'"{name}":"0"' for name in names]) + "}"


def _answer(result: str, now_ms: int, code: int = 0, words: str = "OK") -> bytes:
    return f'{{"retCode":{code},"retMsg":"{words}","result":{result},"retExtInfo":{{}},"time":{now_ms}}}'.encode()
