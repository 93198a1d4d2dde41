"""The text of every frame and REST answer of the simulated Binance, and the names of its streams."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from volsurface.simulator.market import Option, Trade, VenueMarket
from volsurface.simulator.text_values import AMOUNT_TEXT, UnitTexts, plain
from volsurface.simulator.venue import BookMove

MARKS, INDICES, NEW_SYMBOLS, OPEN_INTEREST = MARKET_KINDS = ("marks", "indices", "new symbols", "open interest")
DEPTH, QUOTES, TRADES = PUBLIC_KINDS = ("depth", "quotes", "trades")
_OF_COIN = {"optionMarkPrice": MARKS, "optionTrade": TRADES}
_OF_OPTION = {"depth@100ms": DEPTH, "depth@500ms": DEPTH, "bookTicker": QUOTES, "optionTrade": TRADES}
_OF_ALL = {"!index@arr": INDICES, "!optionSymbol": NEW_SYMBOLS}
NO_VOL = "-1.0"


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream that exists: of an option, or of a `scope`: a coin, a coin and a date ("BTC 251219"), or "" for all."""

    kind: str
    option: Option | None = None
    scope: str = ""


def parse_stream(name: str, market: VenueMarket) -> Stream | None:
    """Return the stream of that name, or None: names are lower case up to the "@"."""
    if name in _OF_ALL:
        return Stream(_OF_ALL[name])
    head, _, tail = name.partition("@")
    if head != head.lower():
        return None
    option = market.by_symbol.get(head.upper())
    if option is not None:
        kind = _OF_OPTION.get(tail)
        return None if kind is None else Stream(kind, option)
    coin = head.upper().removesuffix("USDT")
    if coin not in market.underlyings or not head.endswith("usdt"):
        return None
    if tail in _OF_COIN:
        return Stream(_OF_COIN[tail], scope=coin)
    word, _, date = tail.partition("@")
    return Stream(OPEN_INTEREST, scope=f"{coin} {date}") if word == "optionOpenInterest" and date else None


def options_of(scope: str, market: VenueMarket) -> list[Option]:
    """Return the options of a coin and a date, "BTC 251219"."""
    prefix = scope.replace(" ", "-") + "-"
    return [option for option in market.options if option.symbol.startswith(prefix)]


class Encoder:
    """Writes frames about one market."""

    def __init__(self, market: VenueMarket) -> None:
        self._market = market
        self._prices = {coin: UnitTexts(market.venue.ticks[coin], "0.000") for coin in market.underlyings}

    def marks(self, options: Sequence[Option], now_ms: int) -> str:
        """Return the `data` of `optionMarkPrice`: one entry per option, prices per contract."""
        if not options:
            return "[]"
        values = self._market.tickers(list(options))
        texts = []
        for option, index, mark, iv, bid_iv, ask_iv, delta, gamma, vega, theta in zip(
            options, values.index, values.mark, values.mark_iv, values.bid_iv, values.ask_iv, values.delta, values.gamma,
            values.vega, values.theta,
        ):  # fmt: skip
            book, price = option.book, self._prices[option.underlying]
            bid, ask = book.best_bid, book.best_ask
            texts.append(
                f'{{"s":"{option.symbol}","mp":"{mark:.4f}","E":{now_ms},"e":"markPrice","i":"{index:.8f}","P":"0.000",'
                f'"bo":"{price[bid]}","ao":"{price[ask]}","bq":"{AMOUNT_TEXT[book.bids[bid]] if bid else "0.0000"}",'
                f'"aq":"{AMOUNT_TEXT[book.asks[ask]] if ask else "0.0000"}","b":"{_vol(bid_iv)}","a":"{_vol(ask_iv)}",'
                f'"hl":"{1.8 * mark:.3f}","ll":"{0.2 * mark:.3f}","vo":"{_vol(iv)}","rf":"0.0","d":"{delta:.8f}",'
                f'"t":"{theta:.8f}","g":"{gamma:.8f}","v":"{vega:.8f}"}}'
            )
        return f"[{','.join(texts)}]"

    def trap(self, options: Sequence[Option], now_ms: int) -> str:
        """Return marks with every way the venue has to say that there is none."""
        index = self._market.index(options[0].underlying)
        return json.dumps(
            [
                {"s": option.symbol, "mp": "0.000", "E": now_ms, "e": "markPrice", "i": f"{index:.8f}", "P": "0.000",
                 "bo": "0.000", "ao": "0.000", "bq": "0.0000", "aq": "0.0000", "b": NO_VOL, "a": NO_VOL, "hl": "0.000",
                 "ll": "0.000", "vo": NO_VOL, "rf": "0.0", "d": "0.0", "t": "0.0", "g": "0.0", "v": "0.0"}
                for option in options
            ],
            separators=(",", ":"),
        )  # fmt: skip

    def indices(self, now_ms: int) -> str:
        """Return the `data` of `!index@arr`."""
        texts = [
            f'{{"e":"indexPrice","E":{now_ms},"s":"{coin}USDT","p":"{self._market.index(coin):.8f}"}}'
            for coin in self._market.underlyings
        ]
        return f"[{','.join(texts)}]"

    def open_interest(self, options: Sequence[Option], now_ms: int) -> str:
        """Return the `data` of `optionOpenInterest`."""
        texts = [
            f'{{"e":"openInterest","E":{now_ms},"s":"{option.symbol}","o":"{plain(option.open_interest)}",'
            f'"h":"{option.open_interest * self._market.index(option.underlying):.8f}"}}'
            for option in options
        ]
        return f"[{','.join(texts)}]"

    def new_symbol(self, option: Option, now_ms: int) -> str:
        """Return the `data` of `!optionSymbol`."""
        return (
            f'{{"e":"optionSymbol","E":{now_ms},"s":"{option.symbol}","ps":"{option.underlying}USDT","qa":"USDT",'
            f'"d":"{_side(option)}","sp":"{plain(option.strike)}","dt":{option.expiry.expiry_ns // 1_000_000},'
            f'"u":{plain(option.contract_size)},"ot":{option.expiry.listed_ns // 1_000_000},"cs":"TRADING"}}'
        )

    def change(self, move: BookMove, behind: int, now_ms: int) -> str:
        """Return the `data` of a diff of a book; `behind` is taken from its numbers."""
        price = self._prices[move.option.underlying]
        bids, asks = (
            ",".join([f'["{price[p]}","{AMOUNT_TEXT[amount]}"]' for _, p, amount in side])
            for side in (move.bids, move.asks)
        )
        first = move.previous_id + (move.change_id - move.previous_id + 1) // 2  # numbers between belong to other books
        return (
            f'{{"e":"depthUpdate","E":{now_ms},"T":{now_ms},"s":"{move.option.symbol}","U":{first - behind},'
            f'"u":{move.change_id - behind},"pu":{move.previous_id - behind},"b":[{bids}],"a":[{asks}]}}'
        )

    def quote(self, option: Option, number: int, now_ms: int) -> str:
        """Return the `data` of `bookTicker`."""
        book, price = option.book, self._prices[option.underlying]
        bid, ask = book.best_bid, book.best_ask
        return (
            f'{{"e":"bookTicker","u":{number},"s":"{option.symbol}","b":"{price[bid]}",'
            f'"B":"{AMOUNT_TEXT[book.bids[bid]] if bid else "0.0000"}","a":"{price[ask]}",'
            f'"A":"{AMOUNT_TEXT[book.asks[ask]] if ask else "0.0000"}","T":{now_ms},"E":{now_ms}}}'
        )

    def trade(self, trade: Trade, now_ms: int) -> str:
        """Return the `data` of `optionTrade`."""
        sells = trade.direction == "sell"
        return (
            f'{{"e":"trade","E":{now_ms},"T":{now_ms},"s":"{trade.option.symbol}","t":{trade.trade_seq},'
            f'"p":"{plain(trade.price)}","q":"{plain(trade.amount)}","X":"MARKET","S":"{"SELL" if sells else "BUY"}",'
            f'"m":{"true" if sells else "false"}}}'
        )

    def depth(self, option: Option, limit: int, behind: int, now_ms: int) -> bytes:
        """Return the answer of `depth`: the best `limit` levels as of the book's number."""
        book, price = option.book, self._prices[option.underlying]
        bids, asks = (
            ",".join([f'["{price[p]}","{AMOUNT_TEXT[amount]}"]' for p, amount in side[:limit]])
            for side in (book.sorted_bids(), book.sorted_asks())
        )
        return f'{{"bids":[{bids}],"asks":[{asks}],"T":{now_ms},"lastUpdateId":{book.change_id - behind}}}'.encode()

    def exchange_info(self, now_ms: int) -> bytes:
        """Return the answer of `exchangeInfo`."""
        contracts = [
            {"baseAsset": coin, "quoteAsset": "USDT", "underlying": f"{coin}USDT", "settleAsset": "USDT"}
            for coin in self._market.underlyings
        ]
        answer = {
            "timezone": "UTC", "serverTime": now_ms, "optionContracts": contracts, "optionAssets": [{"name": "USDT"}],
            "optionSymbols": [self._entry(option) for option in self._market.options],
            "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400}],
        }  # fmt: skip
        return json.dumps(answer, separators=(",", ":")).encode()

    def _entry(self, option: Option) -> dict[str, object]:
        coin = option.underlying
        tick, smallest = plain(option.book.ticks.unit), plain(self._market.venue.smallest_amount[coin])
        size = option.contract_size
        return {
            "expiryDate": option.expiry.expiry_ns // 1_000_000,
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "10000000", "tickSize": tick},
                {"filterType": "LOT_SIZE", "minQty": smallest, "maxQty": "10000", "stepSize": smallest},
            ],
            "symbol": option.symbol, "side": _side(option), "strikePrice": plain(option.strike),
            "underlying": f"{coin}USDT", "unit": int(size) if size == int(size) else size, "liquidationFeeRate": "0.0019000",
            "minQty": smallest, "maxQty": "10000", "initialMargin": "0.15", "maintenanceMargin": "0.075",
            "minInitialMargin": "0.1", "minMaintenanceMargin": "0.05", "priceScale": 4, "quantityScale": 2,
            "quoteAsset": "USDT", "status": "TRADING",
        }  # fmt: skip


def stream(name: str, data: str) -> bytes:
    """Return a combined-stream frame."""
    return f'{{"stream":"{name}","data":{data}}}'.encode()


def answer(call_id: int | str | None, result: object) -> bytes:
    """Return the answer to a call."""
    return json.dumps({"result": result, "id": call_id}, separators=(",", ":")).encode()


def refusal(code: int, message: str) -> bytes:
    """Return an error, which does not say what it is about."""
    return json.dumps({"code": code, "msg": message}, separators=(",", ":")).encode()


def _vol(percent: float) -> str:
    return f"{percent / 100.0:.8f}" if percent > 0.0 else NO_VOL


def _side(option: Option) -> str:
    return "CALL" if option.right > 0 else "PUT"
