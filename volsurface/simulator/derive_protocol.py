"""The simulated Derive: one venue and its clients, each a JSON-RPC session whose books come as whole windows."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from volsurface.simulator.market import Option, Trade, VenueMarket
from volsurface.simulator.text_values import AMOUNT_TEXT, UnitTexts, plain
from volsurface.simulator.venue import Changes, Follows

NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000
PATH = "/ws"
PING_S = 180.0
CUT = (1006, "")  # the venue documents no close code
CALLS_PER_S, BURST = 5, 25
BOOK, TICKER, TRADES, INDEX = "orderbook", "ticker_slim", "trades", "spot_feed"
DEPTHS, GROUPS, INTERVALS = ("1", "10", "20", "100"), ("1", "10", "100"), ("100", "1000")
DISCOUNT = "0.999"


class RpcError(Exception):
    """An error answer: code, message and data."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class DeriveVenue:
    """One simulated Derive; its options are settled in USDC."""

    path: str = PATH
    too_slow: tuple[int, str] = CUT
    ping_s: float | None = PING_S

    def __init__(self, market: VenueMarket) -> None:
        self.market = market
        self.price_text = {coin: UnitTexts(market.venue.ticks[coin], "0") for coin in market.underlyings}
        self.publish_id = 0  # shared by all books

    def session(self, now_ns: int, path: str = "") -> "DeriveSession | None":
        """Return the session of a new client, or None at another path than `PATH`."""
        return None if path and path.partition("?")[0] != PATH else DeriveSession(self, now_ns)

    def rest(self, target: str, now_ns: int) -> tuple[int, bytes]:
        """Refuse: everything is asked over the websocket here."""
        return 404, b'{"error":"the simulated Derive answers over its websocket only"}'

    def instrument(self, option: Option) -> dict[str, Any]:
        """Return a listing entry; its expiry is in seconds."""
        coin, expiry = option.underlying, option.expiry
        smallest = plain(self.market.venue.smallest_amount[coin])
        return {
            "amount_step": smallest, "base_asset_address": "0x0000000000000000000000000000000000000001",
            "base_asset_sub_id": str(option.instrument_id), "base_currency": coin, "base_fee": "1",
            "instrument_name": option.symbol, "instrument_type": "option", "is_active": True, "maker_fee_rate": "0",
            "mark_price_fee_rate_cap": None, "maximum_amount": "1000", "minimum_amount": smallest,
            "option_details": {
                "expiry": expiry.expiry_ns // NS_PER_S, "index": f"{coin}-USD", "option_type": _letter(option),
                "settlement_price": None, "strike": plain(option.strike),
            },
            "perp_details": None, "quote_currency": "USDC", "scheduled_activation": expiry.listed_ns // NS_PER_MS,
            "scheduled_deactivation": 0, "taker_fee_rate": "0.001", "tick_size": plain(option.book.ticks.unit),
        }  # fmt: skip

    def window(self, option: Option, depth: int, publish_id: int, now_ms: int) -> str:
        """Return the `data` of a book: the best `depth` levels of each side."""
        price, book = self.price_text[option.underlying], option.book
        bids, asks = (
            ",".join([f'["{price[p]}","{AMOUNT_TEXT[amount]}"]' for p, amount in side[:depth]])
            for side in (book.sorted_bids(), book.sorted_asks())
        )
        return (
            f'{{"timestamp":{now_ms},"instrument_name":"{option.symbol}","publish_id":{publish_id},'
            f'"bids":[{bids}],"asks":[{asks}]}}'
        )

    def tickers(self, options: Sequence[Option], now_ms: int) -> list[str]:
        """Return the `data` of each option's `ticker_slim`, in order."""
        if not options:
            return []
        values, texts = self.market.tickers(list(options)), []
        for option, forward, index, mark, iv, bid_iv, ask_iv, delta, gamma, vega, theta, rho in zip(
            options, values.forward, values.index, values.mark, values.mark_iv, values.bid_iv, values.ask_iv,
            values.delta, values.gamma, values.vega, values.theta, values.rho,
        ):  # fmt: skip
            book, price = option.book, self.price_text[option.underlying]
            bid, ask = book.best_bid, book.best_ask
            pricing = (
                f'{{"ai":"{_vol(ask_iv)}","bi":"{_vol(bid_iv)}","d":"{delta:.5f}","df":"{DISCOUNT}","f":"{forward:.4f}",'
                f'"g":"{gamma:.8f}","i":"{_vol(iv)}","m":"{mark:.4f}","r":"{rho:.5f}","t":"{theta:.5f}","v":"{vega:.5f}"}}'
            )
            texts.append(
                f'{{"instrument_ticker":{{"A":"{AMOUNT_TEXT[book.asks[ask]] if ask else "0"}",'
                f'"B":"{AMOUNT_TEXT[book.bids[bid]] if bid else "0"}","I":"{index:.4f}","M":"{mark:.4f}",'
                f'"a":"{price[ask]}","b":"{price[bid]}","f":null,"maxp":"{1.8 * mark:.1f}","minp":"{0.2 * mark:.1f}",'
                f'"option_pricing":{pricing},"stats":{{"c":"0","h":"0","l":"0","n":{option.trades},'
                f'"oi":"{plain(option.open_interest)}","p":"0","pr":"0","v":"{plain(option.volume)}"}},"t":{now_ms}}},'
                f'"timestamp":{now_ms}}}'
            )
        return texts


class DeriveSession:
    """One client and its channels."""

    def __init__(self, venue: DeriveVenue, now_ns: int) -> None:
        self.follows = Follows()
        self.close: tuple[int, str] | None = None
        self.channels: dict[str, None] = {}
        self._venue, self._market = venue, venue.market
        self._of_option: dict[tuple[str, Option], dict[str, int]] = {}  # names with the depth, where there is one
        self._of_coin: dict[tuple[str, str], str] = {}
        self._sent_books: dict[Option, None] = {}  # in the second that runs
        self._numbers_behind: dict[Option, int] = {}  # of books whose numbering has started over
        self._leave_out = False  # the next subscription loses a channel
        self._calls: deque[int] = deque(maxlen=BURST)
        self._out: list[bytes] = []
        self._methods: dict[str, Callable[[Mapping[str, Any], int], Any]] = {
            "public/get_instruments": self._instruments,
            "public/get_all_currencies": self._currencies,
            "public/get_time": lambda params, now_ns: now_ns // NS_PER_MS,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
        }

    # -- what the client says -----------------------------------------------------------------------------------------

    def receive(self, frame: bytes | str, now_ns: int) -> None:
        """Answer one call, or a text `ping`."""
        if frame in ("ping", b"ping"):
            self._out.append(b"pong")
            return
        call_id: Any = None
        try:
            try:
                call = json.loads(frame)
            except (ValueError, UnicodeDecodeError):
                raise RpcError(-32700, "Parse error") from None
            if not isinstance(call, dict) or not isinstance(call.get("params", {}), dict):
                raise RpcError(-32600, "Invalid request")
            call_id = call.get("id")
            if len(self._calls) == BURST and now_ns - self._calls[0] < BURST / CALLS_PER_S * NS_PER_S:
                raise RpcError(-32000, "Rate limit exceeded")
            self._calls.append(now_ns)
            method = self._methods.get(call.get("method", ""))
            if method is None:
                raise RpcError(-32601, "Method not found")
            answer = {"id": call_id, "result": method(call.get("params", {}), now_ns)}
        except RpcError as error:
            answer = {"id": call_id, "error": {"code": error.code, "message": error.message, "data": error.data}}
        self._out.append(json.dumps(answer, separators=(",", ":")).encode())

    def _instruments(self, params: Mapping[str, Any], now_ns: int) -> list[dict[str, Any]]:
        coin, kind = params.get("currency"), params.get("instrument_type")
        if coin not in self._market.underlyings:
            raise RpcError(-32602, "Invalid params", f"currency {coin} is unknown")
        if kind not in ("option", "perp", "erc20"):
            raise RpcError(-32602, "Invalid params", "{'instrument_type': ['Invalid enum value']}")
        if kind != "option" or params.get("expired"):
            return []
        return [self._venue.instrument(option) for option in self._market.options if option.underlying == coin]

    def _currencies(self, params: Mapping[str, Any], now_ns: int) -> list[dict[str, Any]]:
        coins = self._market.underlyings
        return [
            {"currency": coin, "instrument_types": ["option"], "spot_price": f"{self._market.index(coin):.4f}"}
            for coin in coins
        ]

    def _subscribe(self, params: Mapping[str, Any], now_ns: int) -> dict[str, Any]:
        names = _channel_names(params)
        if self._leave_out and names:
            self._leave_out, names = False, names[:-1]
        status = {name: self._follow(name) for name in names}
        if names and set(status.values()) == {"Invalid channel"}:
            raise RpcError(13000, "Invalid channels")
        return {"status": status, "current_subscriptions": list(self.channels)}

    def _follow(self, name: str) -> str:
        """Follow a channel; return "ok", or why not."""
        option, coin = None, ""
        match name.split("."):
            case ["orderbook", symbol, group, depth] if group in GROUPS and depth in DEPTHS:
                option = self._market.by_symbol.get(symbol)
            case ["ticker_slim", symbol, interval] if interval in INTERVALS:
                option, depth = self._market.by_symbol.get(symbol), "0"
            case ["trades", "option", coin] | ["spot_feed", coin]:
                if coin not in self._market.underlyings:
                    return "{'currency': ['Invalid value']}"
            case ["ticker", *_]:
                raise RpcError(
                    -32602, "Invalid params", "`ticker` channel has been deprecated. Please use `ticker_slim`"
                )
            case _:
                return "Invalid channel"
        topic = name.partition(".")[0]
        if coin:
            self._of_coin[topic, coin] = name
        elif option is None:
            return "{'instrument_name': ['Instrument not found']}"
        else:
            self._of_option.setdefault((topic, option), {})[name] = int(depth)
            self.follows.add(option, book=topic == BOOK, ticker=topic == TICKER)
        self.channels[name] = None
        return "ok"

    def _unsubscribe(self, params: Mapping[str, Any], now_ns: int) -> dict[str, Any]:
        names = _channel_names(params) if "channels" in params else list(self.channels)
        for name in names:
            if name not in self.channels:
                continue
            del self.channels[name]
            parts = name.split(".")
            topic, coin, option = parts[0], parts[-1], self._market.by_symbol.get(parts[1])
            if topic in (TRADES, INDEX):
                self._of_coin.pop((topic, coin), None)
            elif option is not None:
                found = self._of_option.get((topic, option), {})
                found.pop(name, None)
                if not found:
                    self.follows.drop(option, book=topic == BOOK, ticker=topic == TICKER)
        return {"status": dict.fromkeys(names, "ok"), "remaining_subscriptions": list(self.channels)}

    # -- what the venue says ------------------------------------------------------------------------------------------

    def publish(self, now_ns: int, changes: Changes) -> int:
        """Queue what the client follows of `changes`; return how many messages the moves and tickers made."""
        now_ms = now_ns // NS_PER_MS
        if (
            changes.roll is not None
        ):  # the venue tells of no change of its listing: channels of expired options fall silent
            for option in changes.roll.expired:
                for topic in (BOOK, TICKER):
                    for name in self._of_option.pop((topic, option), {}):
                        self.channels.pop(name, None)
                self.follows.drop(option)
                self._numbers_behind.pop(option, None)
        before = len(self._out)
        for move in changes.books:
            self._send_book(move.option, now_ms)
        mine = [option for option in changes.tickers if option in self.follows.tickers]
        for option, text in zip(mine, self._venue.tickers(mine, now_ms)):
            self._send(self._of_option[TICKER, option], text)
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

    def _publish_second(self, now_ms: int) -> None:
        """Send indices, and the books that were not sent for a second."""
        for coin in self._market.underlyings:
            if name := self._of_coin.get((INDEX, coin)):
                entry = f'{{"price":"{self._market.index(coin):.4f}","confidence":"1","price_prev_daily":"0"}}'
                self._send((name,), f'{{"feeds":{{"{coin}":{entry}}},"timestamp":{now_ms}}}')
        for option in self.follows.books:
            if option not in self._sent_books:
                self._send_book(option, now_ms)
        self._sent_books.clear()

    def _send_book(self, option: Option, now_ms: int) -> None:
        names = self._of_option.get((BOOK, option))
        if not names:
            return
        self._sent_books[option] = None
        self._venue.publish_id += 1
        publish_id = self._venue.publish_id - self._numbers_behind.get(option, 0)
        for name, depth in names.items():
            self._send((name,), self._venue.window(option, depth, publish_id, now_ms))

    def _publish_trade(self, trade: Trade, now_ms: int) -> None:
        name = self._of_coin.get((TRADES, trade.option.underlying))
        if name is not None:
            self._send(
                (name,),
                f'[{{"trade_id":"{trade.trade_id}","instrument_name":"{trade.option.symbol}","timestamp":{now_ms},'
                f'"trade_price":"{plain(trade.price)}","trade_amount":"{plain(trade.amount)}",'
                f'"mark_price":"{trade.mark:.8f}","index_price":"{trade.index:.4f}","direction":"{trade.direction}",'
                f'"quote_id":null,"rfq_id":null}}]',
            )

    def _send(self, names: Iterable[str], data: str) -> None:
        for name in names:
            self._out.append(f'{{"method":"subscription","params":{{"channel":"{name}","data":{data}}}}}'.encode())

    # -- the end, and faults ------------------------------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """Return None: the venue's heartbeats are pings of the websocket itself."""
        return None

    def timer(self, now_ns: int) -> None:
        """Nothing is ever due."""

    def inject(self, fault: str, now_ns: int, option: Option | None = None) -> bool:
        """Commit a fault of Derive's own; see `fault_table`."""
        now_ms = now_ns // NS_PER_MS
        if fault == "snapshot" and option in self.follows.books:
            assert option is not None
            self._send_book(option, now_ms)
        elif fault == "sequence_reset" and option in self.follows.books:
            assert option is not None
            self._numbers_behind[option] = self._venue.publish_id
        elif fault == "silent_drop":
            self._leave_out = True
        elif fault == "unit_trap" and self.follows.tickers:
            trapped = option if option in self.follows.tickers else next(iter(self.follows.tickers))
            assert trapped is not None
            self._send(self._of_option[TICKER, trapped], self._trap(trapped, now_ms))
        elif fault in ("heartbeat", "maintenance", "cut"):
            self.close = CUT
        else:
            return False
        return True

    def _trap(self, option: Option, now_ms: int) -> str:
        """Return the `data` of a ticker with every way the venue has to say that there is none."""
        pricing = {"ai": "0", "bi": "0", "d": "0", "df": DISCOUNT, "f": "0", "g": "0", "i": "0", "m": "0", "r": "0"}
        ticker = {
            "A": "0", "B": "0", "I": f"{self._market.index(option.underlying):.4f}", "M": "0", "a": "0", "b": "0", "f": None,
            "maxp": "0", "minp": "0", "option_pricing": pricing, "stats": None, "t": now_ms,
        }  # fmt: skip
        return json.dumps({"instrument_ticker": ticker, "timestamp": now_ms}, separators=(",", ":"))


def _channel_names(params: Mapping[str, Any]) -> list[str]:
    names = params.get("channels")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RpcError(-32602, "Invalid params", "{'channels': ['Not a valid list']}")
    return names


def _vol(percent: float) -> str:
    return f"{percent / 100.0:.5f}" if percent > 0.0 else "0"


def _letter(option: Option) -> str:
    return "C" if option.right > 0 else "P"
