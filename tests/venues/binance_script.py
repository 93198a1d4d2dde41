"""A scripted Binance for the codec's tests: frames and REST answers written after the documented schemas."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from deribit_script import NOW, RecordingSink, S, encoded

from volsurface.venues.binance import BinanceCodec
from volsurface.venues.codec import HttpRequest

__all__ = ["EXPIRY", "EXPIRY_MS", "LATER_MS", "MS", "NOW", "S", "Script", "encoded"]

MS = NOW // 1_000_000
EXPIRY_MS = 1_790_323_200_000  # 25 September 2026, 08:00 UTC
EXPIRY = EXPIRY_MS * 1_000_000
LATER_MS = 1_798_185_600_000  # 25 December 2026, 08:00 UTC


def option(name: str, **changes: Any) -> dict[str, Any]:
    """Return an `optionSymbols` entry; strike and right are read from the name for convenience."""
    base, _, strike, right = name.split("-")
    entry = {
        "expiryDate": EXPIRY_MS,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "5", "maxPrice": "80000", "tickSize": "5"},
            {"filterType": "LOT_SIZE", "minQty": "0.01", "maxQty": "100", "stepSize": "0.01"},
        ],
        "symbol": name, "side": {"C": "CALL", "P": "PUT"}[right], "strikePrice": strike, "underlying": f"{base}USDT",
        "unit": 1, "priceScale": 2, "quantityScale": 2, "quoteAsset": "USDT", "status": "TRADING",
    }  # fmt: skip
    return entry | changes


def info(entries: Iterable[dict[str, Any]], coins: Iterable[str] = ("BTC", "ETH")) -> bytes:
    """Return an `exchangeInfo` answer."""
    contracts = [{"baseAsset": c, "quoteAsset": "USDT", "underlying": f"{c}USDT", "settleAsset": "USDT"} for c in coins]
    return encoded({"timezone": "UTC", "serverTime": MS, "optionContracts": contracts, "optionSymbols": list(entries)})


def stream(name: str, data: Any) -> bytes:
    """Return a combined-stream frame."""
    return encoded({"stream": name, "data": data})


def mark(name: str, **changes: Any) -> dict[str, Any]:
    """Return one entry of an `optionMarkPrice` frame."""
    entry = {
        "s": name, "mp": "1249.610", "E": MS + 123, "e": "markPrice", "i": "64001.67000000", "P": "0.000",
        "bo": "1200.000", "ao": "1300.000", "bq": "0.3000", "aq": "0.6000", "b": "0.92159033", "a": "0.94461441",
        "hl": "1499.533", "ll": "999.688", "vo": "0.93310237", "rf": "0.0", "d": "0.14869196", "t": "-172.12148811",
        "g": "0.00001326", "v": "43.43627792",
    }  # fmt: skip
    return entry | changes


def marks(*entries: dict[str, Any], underlying: str = "btcusdt") -> bytes:
    """Return an `optionMarkPrice` frame."""
    return stream(f"{underlying}@optionMarkPrice", list(entries))


def depth(name: str, previous: int, last: int, bids: Any = (), asks: Any = (), **changes: Any) -> bytes:
    """Return a `depth` frame with the changes after `previous` up to `last`; levels are ["price", "size"]."""
    data = {
        "e": "depthUpdate", "E": MS + last, "T": MS + last, "s": name, "U": previous + 3, "u": last, "pu": previous,
        "b": list(bids), "a": list(asks),
    }  # fmt: skip
    return stream(f"{name.lower()}@depth@100ms", data | changes)


def snapshot(last: int, bids: Any = (), asks: Any = ()) -> bytes:
    """Return a REST `depth` answer as of update number `last`."""
    return encoded({"bids": list(bids), "asks": list(asks), "T": MS + last, "lastUpdateId": last})


def quote(name: str, last: int, **changes: Any) -> bytes:
    """Return a `bookTicker` frame."""
    data = {
        "e": "bookTicker", "u": last, "s": name, "b": "1200.000", "B": "38.47", "a": "1210.000", "A": "96.37",
        "T": MS + last, "E": MS + last,
    }  # fmt: skip
    return stream(f"{name.lower()}@bookTicker", data | changes)


class Script:
    """A codec, its sink and a venue that answers its calls and requests.

    entries: the listing. snapshots: REST answers of books by symbol. calls, requests: all seen, calls with "at_ns".
    deaf: calls with these methods stay unanswered. fail: (status, body) instead of the answer to a request.
    streams: what the venue thinks is subscribed to.
    """

    def __init__(
        self,
        entries: Iterable[dict[str, Any]],
        underlyings: Iterable[str] = ("BTC",),
        channels: Iterable[str] = ("ticker", "book"),
        **options: Any,
    ) -> None:
        self.sink = RecordingSink()
        self.codec = BinanceCodec(list(underlyings), list(channels), self.sink, **options)
        self.entries = list(entries)
        self.snapshots: dict[str, bytes] = {}
        self.calls: list[dict[str, Any]] = []
        self.requests: list[HttpRequest] = []
        self.deaf: set[str] = set()
        self.fail: Callable[[HttpRequest], tuple[int, bytes] | None] = lambda request: None
        self.refuse: Callable[[dict[str, Any]], bytes | None] = lambda call: None
        self.streams: dict[str, None] = {}
        self.now_ns = NOW  # of what happened last

    def answer(self, call: dict[str, Any]) -> bytes:
        """Return the venue's answer to a call."""
        refusal = self.refuse(call)
        if refusal is not None:
            return refusal
        result = None
        if call["method"] == "SUBSCRIBE":
            self.streams.update(dict.fromkeys(call["params"]))
        elif call["method"] == "UNSUBSCRIBE":
            for name in call["params"]:
                self.streams.pop(name, None)
        else:
            result = list(self.streams)
        return encoded({"result": result, "id": call["id"]})

    def respond(self, request: HttpRequest) -> tuple[int, bytes]:
        """Return (status, body) of a request."""
        failure = self.fail(request)
        if failure is not None:
            return failure
        if request.url.endswith("/eapi/v1/exchangeInfo"):
            return 200, info(self.entries)
        symbol = request.url.partition("symbol=")[2].partition("&")[0]
        return 200, self.snapshots.get(symbol, snapshot(100, [["1200.0", "2.00"]], [["1210.0", "3.00"]]))

    def exchange(self, now_ns: int) -> list[Any]:
        """Answer calls and requests until the codec makes no more at `now_ns`; return them."""
        self.now_ns = now_ns
        seen: list[Any] = []
        while True:
            calls = [json.loads(frame) | {"at_ns": now_ns} for frame in self.codec.frames_to_send()]
            requests = self.codec.requests_to_make()
            if not calls and not requests:
                return seen
            for call in calls:
                if call["method"] not in self.deaf:
                    self.codec.receive(self.answer(call), now_ns)
            for request in requests:
                self.codec.answered(request.tag, *self.respond(request), now_ns)
            self.calls += calls
            self.requests += requests
            seen += [*calls, *requests]

    def open(self, now_ns: int = NOW) -> "Script":
        """Connect and answer until the codec is live, moving time to its deadlines; return self."""
        self.codec.connected(now_ns)
        self.exchange(now_ns)
        while self.codec.state != "live":
            now_ns = self.codec.deadline_ns()
            self.codec.timer(now_ns)
            self.exchange(now_ns)
        return self

    def run_until(self, end_ns: int) -> list[Any]:
        """Call the timer at every deadline up to `end_ns`, answering; return calls and requests seen."""
        seen = self.exchange(self.now_ns)
        while (due_ns := self.codec.deadline_ns()) is not None and due_ns <= end_ns:
            self.codec.timer(due_ns)
            seen += self.exchange(due_ns)
        return seen

    def receive(self, frame: bytes, now_ns: int = NOW + S) -> None:
        """Give the codec one frame."""
        self.now_ns = now_ns
        self.codec.receive(frame, now_ns)
