"""A scripted Deribit for the codec's tests: frames written after the documented schemas, and a sink that remembers."""

import json
import math
from collections.abc import Callable, Iterable
from typing import Any

from volsurface.market.instrument import Directory, Instrument
from volsurface.venues.deribit import DeribitCodec

NOW = 1_790_133_840_000_000_000  # 23 September 2026, 03:24:00 UTC
S = 1_000_000_000
EXPIRY_MS = 1_790_323_200_000  # 25 September 2026, 08:00 UTC
EXPIRY = EXPIRY_MS * 1_000_000
LATER_MS = 1_798_185_600_000  # 25 December 2026, 08:00 UTC

TICKER_FIELDS = (
    "iid flags ts_venue_ns ts_recv_ns seq bid ask bid_sz ask_sz mark iv_bid iv_ask iv_mark fwd index oi".split()
)
TOP_FIELDS = "iid flags ts_venue_ns ts_recv_ns seq bid ask bid_sz ask_sz".split()


class RecordingSink:
    """Remembers every call as (name, {argument: value}), in order."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def listed(self, instruments: Iterable[Instrument], now_ns: int) -> list[int]:
        instruments = list(instruments)
        self.calls.append(("listed", {"instruments": instruments, "now_ns": now_ns}))
        return self.directory.add(instruments)

    def closed(self, iid: int, now_ns: int) -> None:
        self.calls.append(("closed", {"iid": iid, "now_ns": now_ns}))

    def ticker(self, *values: Any) -> None:
        self.calls.append(("ticker", dict(zip(TICKER_FIELDS, values, strict=True))))

    def book_top(self, *values: Any) -> None:
        self.calls.append(("book_top", dict(zip(TOP_FIELDS, values, strict=True))))

    def book_lost(self, iid: int, now_ns: int) -> None:
        self.calls.append(("book_lost", {"iid": iid, "now_ns": now_ns}))

    def forward(
        self, source: int, venue: str, underlying: str, expiry_ns: int, value: float, venue_ns: int, recv_ns: int
    ) -> None:
        self.calls.append(
            ("forward", {"source": source, "venue": venue, "underlying": underlying, "expiry_ns": expiry_ns, "value": value,
                         "ts_venue_ns": venue_ns, "ts_recv_ns": recv_ns})
        )  # fmt: skip

    def event(
        self, kind: str, now_ns: int, severity: str = "info", iid: int = -1, text: str = "",
        value: float = math.nan, size: float = math.nan, extra: float = math.nan,
    ) -> None:  # fmt: skip
        self.calls.append(
            ("event", {"kind": kind, "now_ns": now_ns, "severity": severity, "iid": iid, "text": text, "value": value,
                       "size": size, "extra": extra})
        )  # fmt: skip

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the arguments of every call of one method."""
        return [arguments for called, arguments in self.calls if called == name]

    def last(self, name: str) -> dict[str, Any]:
        """Return the arguments of the newest call of one method."""
        return self.of(name)[-1]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind."""
        return [event for event in self.of("event") if event["kind"] == kind]


def option(name: str, **changes: Any) -> dict[str, Any]:
    """Return a listing entry of an inverse option; its strike and right are read from the name for convenience."""
    base, _, strike, right = name.split("-")
    entry = {
        "instrument_name": name, "kind": "option", "base_currency": base, "quote_currency": base,
        "counter_currency": "USD", "settlement_currency": base, "instrument_type": "reversed",
        "option_type": {"C": "call", "P": "put"}[right], "strike": float(strike.replace("d", ".")),
        "expiration_timestamp": EXPIRY_MS, "creation_timestamp": 1_788_000_000_000, "is_active": True, "state": "open",
        "price_index": f"{base.lower()}_usd", "contract_size": 1.0, "min_trade_amount": 0.1, "tick_size": 0.0001,
        "tick_size_steps": [{"above_price": 0.005, "tick_size": 0.0005}], "settlement_period": "week",
    }  # fmt: skip
    return entry | changes


def linear_option(name: str, **changes: Any) -> dict[str, Any]:
    """Return a listing entry of an option settled in USDC."""
    base = name.split("_")[0]
    return option(name) | {
        "base_currency": base, "quote_currency": "USDC", "settlement_currency": "USDC", "instrument_type": "linear",
        "price_index": f"{base.lower()}_usdc", "contract_size": 10.0, "tick_size": 0.01, "tick_size_steps": [],
    } | changes  # fmt: skip


def encoded(message: dict[str, Any]) -> bytes:
    """Return a frame as Deribit writes it, without spaces."""
    return json.dumps(message, separators=(",", ":")).encode()


def notification(channel: str, data: Any) -> bytes:
    """Return a subscription frame."""
    return encoded({"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}})


def ticker(name: str, interval: str = "100ms", **changes: Any) -> bytes:
    """Return a ticker frame with all the fields of the documented schema."""
    data = {
        "underlying_price": 64120.5, "underlying_index": "BTC-25SEP26", "timestamp": 1_790_133_840_123,
        "stats": {"volume": None, "price_change": None, "low": None, "high": None}, "state": "open",
        "settlement_price": 0.24, "open_interest": 4.6, "min_price": 0.165, "max_price": 0.329, "mark_price": 0.0133508,
        "mark_iv": 54.02, "last_price": None, "interest_rate": 0.0, "instrument_name": name, "index_price": 64001.67,
        "greeks": {"vega": 85.22269, "theta": -21.12703, "rho": -94.98694, "gamma": 0.00002, "delta": -0.42256},
        "estimated_delivery_price": 64001.67, "bid_iv": 53.63, "best_bid_price": 0.013, "best_bid_amount": 0.8,
        "best_ask_price": 0.0135, "best_ask_amount": 4.8, "ask_iv": 54.98,
    }  # fmt: skip
    return notification(f"ticker.{name}.{interval}", data | changes)


def snapshot(name: str, change_id: int, bids: list[list[float]], asks: list[list[float]], **changes: Any) -> bytes:
    """Return a book snapshot; levels are [price, amount]."""
    data = {
        "type": "snapshot", "timestamp": 1_790_133_840_200, "instrument_name": name, "change_id": change_id,
        "bids": [["new", *level] for level in bids], "asks": [["new", *level] for level in asks],
    }  # fmt: skip
    return notification(f"book.{name}.100ms", data | changes)


def change(
    name: str, previous: int | None, change_id: int, bids: list[list[Any]] = (), asks: list[list[Any]] = ()
) -> bytes:
    """Return a book change; levels are [action, price, amount]."""
    data = {
        "type": "change", "timestamp": 1_790_133_840_300, "prev_change_id": previous, "instrument_name": name,
        "change_id": change_id, "bids": bids, "asks": asks,
    }  # fmt: skip
    return notification(f"book.{name}.100ms", data)


def error(call_id: int | None, code: int, message: str, data: Any = None) -> bytes:
    """Return an error answer."""
    answer = {"jsonrpc": "2.0", "error": {"code": code, "message": message, "data": data}, "usIn": 1, "usOut": 2}
    return encoded(answer if call_id is None else answer | {"id": call_id})


class Script:
    """A codec, its sink and a venue that answers its calls from `listings` ({currency: entries}).

    unknown: channels the venue drops silently. calls: every call seen, with "at_ns".
    """

    def __init__(
        self,
        listings: dict[str, list[dict[str, Any]]],
        underlyings: Iterable[str] = ("BTC",),
        channels: Iterable[str] = ("ticker", "book"),
        unknown: Iterable[str] = (),
        **options: Any,
    ) -> None:
        self.sink = RecordingSink()
        self.codec = DeribitCodec(list(underlyings), list(channels), self.sink, **options)
        self.listings = listings
        self.unknown = set(unknown)
        self.calls: list[dict[str, Any]] = []
        self.refuse: Callable[[dict[str, Any]], bytes | None] = lambda call: None

    def sent(self, now_ns: int) -> list[dict[str, Any]]:
        """Return the calls the codec wants sent, unanswered."""
        calls = [json.loads(frame) | {"at_ns": now_ns} for frame in self.codec.frames_to_send()]
        self.calls += calls
        return calls

    def answer(self, call: dict[str, Any]) -> bytes:
        """Return the venue's answer to a call: an error from `refuse`, or a result."""
        refusal = self.refuse(call)
        if refusal is not None:
            return refusal
        result: Any = "ok"
        if call["method"] == "public/get_instruments":
            result = self.listings.get(call["params"]["currency"], [])
        elif call["method"] == "public/subscribe":
            result = sorted(set(call["params"]["channels"]) - self.unknown, reverse=True)  # in another order
        elif call["method"] == "public/unsubscribe":
            result = call["params"]["channels"]
        return encoded({"jsonrpc": "2.0", "id": call["id"], "result": result, "usIn": 1, "usOut": 2, "usDiff": 1})

    def exchange(self, now_ns: int) -> list[dict[str, Any]]:
        """Answer calls until the codec sends no more at `now_ns`; return them."""
        seen = []
        while calls := self.sent(now_ns):
            for call in calls:
                self.codec.receive(self.answer(call), now_ns)
            seen += calls
        return seen

    def open(self, now_ns: int = NOW) -> "Script":
        """Connect and answer until the codec is live, moving time to its deadlines; return self."""
        self.codec.connected(now_ns)
        self.exchange(now_ns)
        while self.codec.state != "live":
            now_ns = self.codec.deadline_ns()
            self.codec.timer(now_ns)
            self.exchange(now_ns)
        return self

    def run_until(self, end_ns: int) -> list[dict[str, Any]]:
        """Call the timer at every deadline up to `end_ns`, answering; return the calls seen."""
        seen = self.exchange(end_ns)
        while (due_ns := self.codec.deadline_ns()) is not None and due_ns <= end_ns:
            self.codec.timer(due_ns)
            seen += self.exchange(due_ns)
        return seen

    def receive(self, frame: bytes, now_ns: int = NOW + S) -> None:
        """Give the codec one frame."""
        self.codec.receive(frame, now_ns)


def requests(calls: list[dict[str, Any]], method: str) -> list[list[str]]:
    """Return the channels of each subscribe or unsubscribe call among `calls`."""
    return [call["params"]["channels"] for call in calls if call["method"] == f"public/{method}"]
