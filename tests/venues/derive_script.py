"""A scripted Derive for the codec's tests: frames written after the documented schemas."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from deribit_script import NOW, RecordingSink, S, encoded

from volsurface.venues.derive import DeriveCodec

__all__ = ["EXPIRY", "EXPIRY_S", "LATER_S", "MS", "NOW", "S", "Script", "encoded"]

MS = NOW // 1_000_000
EXPIRY_S = 1_790_323_200  # 25 September 2026, 08:00 UTC
EXPIRY = EXPIRY_S * S
LATER_S = 1_798_185_600  # 25 December 2026, 08:00 UTC


def option(name: str, details: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Return a listing entry; strike and right are read from the name for convenience."""
    base, _, strike, right = name.split("-")
    entry = {
        "amount_step": "0.01", "base_currency": base, "base_fee": "1", "instrument_name": name,
        "instrument_type": "option", "is_active": True, "maximum_amount": "100", "minimum_amount": "0.01",
        "option_details": {"expiry": EXPIRY_S, "index": f"{base}-USD", "option_type": right, "settlement_price": None,
                           "strike": strike} | (details or {}),
        "perp_details": None, "quote_currency": "USDC", "scheduled_activation": MS, "tick_size": "0.1",
    }  # fmt: skip
    return entry | changes


def notification(channel: str, data: Any) -> bytes:
    """Return a subscription frame."""
    return encoded({"method": "subscription", "params": {"channel": channel, "data": data}})


def ticker(name: str, pricing: dict[str, Any] | None = None, interval: int = 1000, **changes: Any) -> bytes:
    """Return a `ticker_slim` frame with all the fields of the documented schema."""
    data = {
        "A": "3.46", "B": "250.6", "I": "64001.7", "M": "1242.3", "a": "1243.8", "b": "1238.4", "f": None,
        "maxp": "1367.2", "minp": "1123.2", "t": MS + 40,
        "option_pricing": {"ai": "0.52063", "bi": "0.48229", "d": "-0.30438", "df": "0.999", "f": "64100.6", "g": "0.0016",
                           "i": "0.51012", "m": "1242.3", "r": "1.74065", "t": "-2.40149", "v": "1.41384"} | (pricing or {}),
        "stats": {"c": "0", "h": "0", "l": "0", "n": 0, "oi": "42.13", "p": "0", "pr": "0", "v": "0"},
    }  # fmt: skip
    return notification(f"ticker_slim.{name}.{interval}", {"instrument_ticker": data | changes, "timestamp": MS + 40})


def book(name: str, publish_id: int, bids: Any = (), asks: Any = (), **changes: Any) -> bytes:
    """Return an `orderbook` frame; levels are ["price", "amount"], best first."""
    data = {
        "instrument_name": name, "timestamp": MS + publish_id, "publish_id": publish_id, "bids": list(bids),
        "asks": list(asks),
    }  # fmt: skip
    return notification(f"orderbook.{name}.1.20", data | changes)


def error(call_id: int | None, code: int, message: str, data: Any = None) -> bytes:
    """Return an error answer."""
    return encoded({"id": call_id, "error": {"code": code, "message": message, "data": data}})


class Script:
    """A codec, its sink and a venue that answers its calls from `listings` ({coin: entries}).

    silent: channels the venue forgets without a word. invalid: channels it refuses with a text. calls: every call seen.
    deaf: methods that stay unanswered. held: what the venue thinks is subscribed to.
    """

    def __init__(
        self,
        listings: dict[str, list[dict[str, Any]]],
        underlyings: Iterable[str] = ("BTC",),
        channels: Iterable[str] = ("ticker", "book"),
        **options: Any,
    ) -> None:
        self.sink = RecordingSink()
        self.codec = DeriveCodec(list(underlyings), list(channels), self.sink, **options)
        self.listings = listings
        self.silent: set[str] = set()
        self.invalid: set[str] = set()
        self.deaf: set[str] = set()
        self.held: dict[str, None] = {}
        self.calls: list[dict[str, Any]] = []
        self.refuse: Callable[[dict[str, Any]], bytes | None] = lambda call: None
        self.now_ns = NOW

    def answer(self, call: dict[str, Any]) -> bytes:
        """Return the venue's answer to a call."""
        refusal = self.refuse(call)
        if refusal is not None:
            return refusal
        method, params, result = call["method"], call["params"], None
        if method == "public/get_instruments":
            if params["currency"] not in self.listings:
                return error(call["id"], -32602, "Invalid params", "unknown currency")
            result = self.listings[params["currency"]]
        elif method == "public/get_all_currencies":
            result = [{"currency": c, "instrument_types": ["option", "perp"], "spot_price": "1"} for c in self.listings]
            result.append({"currency": "USDC", "instrument_types": ["erc20"]})
        elif method == "subscribe":
            status = {}
            for name in params["channels"]:
                if name in self.invalid:
                    status[name] = "{'instrument_name': ['Invalid']}"
                elif name not in self.silent:
                    status[name] = "ok"
                    self.held[name] = None
            result = {"status": status, "current_subscriptions": list(self.held)}
        elif method == "unsubscribe":
            for name in params["channels"]:
                self.held.pop(name, None)
            result = {"status": dict.fromkeys(params["channels"], "ok"), "remaining_subscriptions": list(self.held)}
        return encoded({"id": call["id"], "result": result})

    def exchange(self, now_ns: int) -> list[dict[str, Any]]:
        """Answer calls until the codec sends no more at `now_ns`; return them."""
        self.now_ns = now_ns
        seen = []
        while calls := [json.loads(frame) | {"at_ns": now_ns} for frame in self.codec.frames_to_send()]:
            self.calls += calls
            seen += calls
            for call in calls:
                if call["method"] not in self.deaf:
                    self.codec.receive(self.answer(call), now_ns)
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
        seen = self.exchange(self.now_ns)
        while (due_ns := self.codec.deadline_ns()) is not None and due_ns <= end_ns:
            self.codec.timer(due_ns)
            seen += self.exchange(due_ns)
        return seen

    def receive(self, frame: bytes, now_ns: int = NOW + S) -> None:
        """Give the codec one frame."""
        self.now_ns = now_ns
        self.codec.receive(frame, now_ns)
