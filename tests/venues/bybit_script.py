"""A scripted Bybit: messages after the documented schemas, and the answers to a codec's requests."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from deribit_script import RecordingSink
from rest_script import EXPIRY_MS, NOW_MS, RestScript, encoded

from volsurface.venues.bybit import BybitCodec
from volsurface.venues.codec import HttpRequest

CALL_60, PUT_60, CALL_60_USDT = "BTC-25SEP26-60000-C", "BTC-25SEP26-60000-P", "BTC-25SEP26-60000-C-USDT"


def entry(name: str, **changes: Any) -> dict[str, Any]:
    """Return a listing entry; coin, right and settlement are read from the symbol for convenience."""
    base, _, _, right, *settle = name.split("-")
    return {
        "symbol": name, "status": "Trading", "baseCoin": base, "quoteCoin": "USD",
        "settleCoin": settle[0] if settle else "USDC", "optionsType": {"C": "Call", "P": "Put"}[right],
        "launchTime": "1700000000000", "deliveryTime": str(EXPIRY_MS), "deliveryFeeRate": "0.00015",
        "priceFilter": {"minPrice": "5", "maxPrice": "10000000", "tickSize": "5"},
        "lotSizeFilter": {"qtyStep": "0.01", "maxOrderQty": "1500", "minOrderQty": "0.01"}, "symbolId": 99,
    } | changes  # fmt: skip


def ticker(name: str, ts: int = NOW_MS, **changes: Any) -> bytes:
    """Return a `tickers` frame."""
    data = {
        "symbol": name, "bidPrice": "1190", "bidSize": "2.5", "bidIv": "0.5012", "askPrice": "1215", "askSize": "4.1",
        "askIv": "0.5177", "lastPrice": "40", "highPrice24h": "40", "lowPrice24h": "40", "markPrice": "1201.85848319",
        "indexPrice": "64000.5", "markPriceIv": "0.5102", "underlyingPrice": "64021.96", "openInterest": "22.01",
        "turnover24h": "276.3255", "volume24h": "0.01", "totalVolume": "23", "totalTurnover": "644804",
        "delta": "0.58091", "gamma": "0.00007897", "vega": "3.69996245", "theta": "-17.49538621",
        "predictedDeliveryPrice": "0", "change24h": "-0.92307693",
    }  # fmt: skip
    top = {"id": f"tickers.{name}-1267284327-{ts}", "topic": f"tickers.{name}", "ts": ts}
    return encoded(top | {"data": data | changes, "type": "snapshot"})


def book(name: str, kind: str, u: int, bids: Any = (), asks: Any = (), ts: int = NOW_MS) -> bytes:
    """Return an `orderbook` frame; levels are (price, size) as text."""
    topic = f"orderbook.25.{name}"
    data = {"s": name, "b": list(bids), "a": list(asks), "u": u, "seq": 7_961_638_724 + u}
    return encoded({"id": f"{topic}-3-{ts}", "topic": topic, "ts": ts, "data": data, "type": kind, "cts": ts - 3})


def trade(name: str, price: str = "985", size: str = "0.01", side: str = "Sell", **changes: Any) -> dict[str, Any]:
    """Return one trade."""
    return {
        "p": price, "v": size, "i": "0404c393", "T": NOW_MS, "BT": False, "s": name, "S": side, "iv": "0.51",
        "seq": 12, "RPI": False,
    } | changes  # fmt: skip


def trades(coin: str, *entries: Any) -> bytes:
    """Return a `publicTrade` frame."""
    topic = f"publicTrade.{coin}"
    data = list(entries)
    return encoded({"id": f"{topic}-3-{NOW_MS}", "topic": topic, "ts": NOW_MS, "data": data, "type": "snapshot"})


class BybitScript(RestScript):
    """A Bybit that lists `entries` by coin, `page` at a time, and grants every topic but the `unknown` ones."""

    def __init__(
        self,
        entries: list[dict[str, Any]],
        underlyings: tuple[str, ...] = ("BTC",),
        channels: tuple[str, ...] = ("ticker", "book"),
        unknown: tuple[str, ...] = (),
        page: int = 500,
        sink: Any = None,
        **options: Any,
    ) -> None:
        self.sink = RecordingSink() if sink is None else sink
        codec = BybitCodec(underlyings, channels, self.sink, rest_url="http://bybit.test", **options)
        super().__init__(codec, self.listing, self.answer)
        self.entries = entries
        self.unknown = unknown
        self.page = page

    def listing(self, request: HttpRequest) -> tuple[int, bytes]:
        """Answer a GET of one page of a listing."""
        query = parse_qs(urlsplit(request.url).query)
        found = [e for e in self.entries if e["baseCoin"] == query["baseCoin"][0]]
        start = int(query.get("cursor", ["0,0"])[0].partition(",")[2])
        end = start + self.page
        cursor = f"0%2C{end}" if end < len(found) else ""
        result = {"category": "option", "nextPageCursor": cursor, "list": found[start:end]}
        return 200, encoded({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": NOW_MS})

    def answer(self, frame: Any) -> list[bytes]:
        """Answer a request as the option endpoint does."""
        if frame["op"] == "ping":
            return [encoded({"req_id": frame["req_id"], "op": "pong", "args": [str(NOW_MS)], "conn_id": "x"})]
        failed = [topic for topic in frame["args"] if any(name in topic for name in self.unknown)]
        granted = [topic for topic in frame["args"] if topic not in failed]
        data = {"failTopics": failed, "successTopics": granted}
        return [encoded({"success": True, "conn_id": "461834fffe84142f", "data": data, "type": "COMMAND_RESP"})]


def topics(frames: list[Any], op: str = "subscribe") -> list[str]:
    """Return the topics of all requests of one kind."""
    return [topic for frame in frames if frame["op"] == op for topic in frame["args"]]
