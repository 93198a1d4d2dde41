"""What a client may say to Deribit, without I/O: error codes, channel names and the shape of parameters."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from volsurface.simulator.market import Option, VenueMarket

PATH = "/ws/api/v2"
VERSION = "1.2.26"

HEARTBEAT_CLOSE = (4000, "heartbeat close")
TOO_SLOW_CLOSE = (4000, "connection_too_slow")  # the reason is documented, its code is not
RATE_CLOSE = (4000, "too_many_requests")  # likewise
INTERVALS = ("100ms", "agg2")
RAW = "raw"
STATE_KINDS = ("option", "future", "any")


class RpcError(Exception):
    """An error answer: JSON-RPC code, message and optional data."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


def method_not_found() -> RpcError:
    return RpcError(-32601, "Method not found")


def invalid_params(name: str, reason: str) -> RpcError:
    return RpcError(-32602, "Invalid params", {"param": name, "reason": reason})


def unauthorized() -> RpcError:
    return RpcError(13009, "unauthorized")


def raw_not_available() -> RpcError:
    return RpcError(13778, "raw_subscriptions_not_available_for_unauthorized")


def not_found(name: str) -> RpcError:
    return RpcError(13020, "not_found", {"param": "instrument_name", "reason": f"no instrument {name}"})


BAD_REQUEST = RpcError(11050, "bad_request", "invalid json")
TOO_MANY_REQUESTS = RpcError(10028, "too_many_requests")


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `id` is None when the client gave none."""

    id: int | str | None
    method: str
    params: Mapping[str, Any]


def parse_request(text: str | bytes) -> Request:
    """Return the request in a frame; raises RpcError 11050 for text that is not JSON, -32600 for another shape."""
    try:
        message = json.loads(text)
    except (ValueError, UnicodeDecodeError):
        raise BAD_REQUEST from None
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        raise RpcError(-32600, "Invalid Request")
    params = message.get("params") or {}
    if not isinstance(params, dict):
        raise invalid_params("params", "must be an object")
    return Request(message.get("id"), message["method"], params)


def text_param(params: Mapping[str, Any], name: str, allowed: tuple[str, ...] | None = None) -> str:
    """Return a required text parameter; raises RpcError -32602 when it is missing or not one of `allowed`."""
    value = params.get(name)
    if not isinstance(value, str):
        raise invalid_params(name, "value required" if value is None else "must be a string")
    if allowed is not None and value not in allowed:
        raise invalid_params(name, f"value is not one of {', '.join(allowed)}")
    return value


def channel_list(params: Mapping[str, Any]) -> list[str]:
    """Return the `channels` parameter; raises RpcError -32602 when it is not a list of texts."""
    channels = params.get("channels")
    if not isinstance(channels, list) or not all(isinstance(name, str) for name in channels):
        raise invalid_params("channels", "must be a list of strings")
    return channels


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel that exists: `topic` says what it carries, `option` or `scope` (currency, index name) of what.

    Topics: ticker, book, quote, trades (of one option); trades_all, state, creation (scope: currency or "any");
    markprice, index, volatility (scope: index name); platform (scope "").
    """

    name: str
    topic: str
    option: Option | None = None
    scope: str = ""


def parse_channel(name: str, market: VenueMarket) -> Channel | None:
    """Return the channel of that name, or None when the venue has none (it then says nothing about it).

    Raises RpcError 13778 for a raw interval, which needs a login.
    """
    parts = name.split(".")
    topic = parts[0]
    if topic in ("ticker", "book", "trades") and len(parts) >= 3 and parts[-1] == RAW:
        raise raw_not_available()
    match parts:
        case ["ticker" | "book" | "trades", symbol, interval] if interval in INTERVALS and symbol in market.by_symbol:
            return Channel(name, topic, market.by_symbol[symbol])
        case ["quote", symbol] if symbol in market.by_symbol:
            return Channel(name, topic, market.by_symbol[symbol])
        case ["trades", "option", currency, interval] if interval in INTERVALS and _currency(currency, market):
            return Channel(name, "trades_all", scope=currency)
        case ["instrument", "state" | "creation" as what, kind, currency] if kind in STATE_KINDS and _currency(
            currency, market
        ):
            return Channel(name, what if kind != "future" else "never", scope=currency)
        case ["markprice", "options", index] if _index(index, market):
            return Channel(name, "markprice", scope=index)
        case ["deribit_price_index", index] if _index(index, market):
            return Channel(name, "index", scope=index)
        case ["deribit_volatility_index", index] if _index(index, market):
            return Channel(name, "volatility", scope=index)
        case ["platform_state"]:
            return Channel(name, "platform")
    return None


def _currency(currency: str, market: VenueMarket) -> bool:
    return currency == "any" or currency in market.underlyings


def _index(index: str, market: VenueMarket) -> bool:
    return any(surface.profile.index_name == index for surface in market.surfaces.values())
