"""What the simulated Deribit answers to each method; everything here is synchronous and does no I/O of its own."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from volsurface.simulator import deribit_frames as frames
from volsurface.simulator.deribit_limits import Credits, Heartbeat, Limits
from volsurface.simulator.deribit_requests import (
    VERSION,
    Channel,
    Request,
    channel_list,
    invalid_params,
    method_not_found,
    not_found,
    parse_channel,
    text_param,
    unauthorized,
)
from volsurface.simulator.listing import expiry_label
from volsurface.simulator.market import Option, VenueMarket

INSTRUMENT_KINDS = ("option", "future", "spot", "option_combo", "future_combo")
DEFAULT_DEPTH = 5
NS_PER_MS = 1_000_000


class Client(Protocol):
    """What the methods need of the session that calls them."""

    limits: Limits
    calls: Credits
    subscribes: Credits
    listings: Credits
    heartbeat: Heartbeat | None
    channels: dict[str, Channel]
    leave_out: bool

    def subscribe(self, channel: Channel) -> bool:
        """Follow a channel; False when it was followed already."""

    def unsubscribe(self, name: str) -> bool:
        """Follow a channel no longer; False when it was not followed."""


class Methods:
    """The methods of one venue, by name."""

    def __init__(self, market: VenueMarket, encoder: frames.Encoder) -> None:
        self._market, self._encoder = market, encoder
        self._methods: dict[str, Callable[[Client, Mapping[str, Any], int], str]] = {
            "public/test": self._test,
            "public/hello": self._test,
            "public/get_time": lambda session, params, now_ns: str(now_ns // NS_PER_MS),
            "public/status": lambda session, params, now_ns: '{"locked":"false"}',
            "public/set_heartbeat": self._set_heartbeat,
            "public/disable_heartbeat": self._disable_heartbeat,
            "public/get_instruments": self._instruments,
            "public/get_instrument": lambda session, params, now_ns: self._encoder.instrument(self._option(params)),
            "public/get_expirations": self._expirations,
            "public/get_book_summary_by_currency": self._book_summaries,
            "public/get_index_price": self._index_price,
            "public/ticker": lambda session, params, now_ns: self._ticker(self._option(params), now_ns),
            "public/get_order_book": self._order_book,
            "public/subscribe": self._subscribe,
            "public/unsubscribe": self._unsubscribe,
            "public/unsubscribe_all": self._unsubscribe_all,
        }
        self._first: list[Channel] = []

    def call(self, session: Client, request: Request, now_ns: int) -> tuple[str, list[Channel]]:
        """Return the `result` of a request as JSON text and the channels whose first message follows it.

        Raises RpcError; 10028 when the client has spent its credits, and the caller then ends the session.
        """
        method = self._methods.get(request.method)
        limits = session.limits
        if request.method in ("public/subscribe", "public/unsubscribe"):
            session.subscribes.spend(limits.subscribe_cost, now_ns)
        elif request.method == "public/get_instruments":
            session.listings.spend(limits.listing_cost, now_ns)
        else:
            session.calls.spend(limits.call_cost, now_ns)
        if request.method.startswith("private/"):
            raise unauthorized()
        if method is None:
            raise method_not_found()
        self._first = []
        return method(session, request.params, now_ns), self._first

    def _option(self, params: Mapping[str, Any]) -> Option:
        symbol = text_param(params, "instrument_name")
        option = self._market.by_symbol.get(symbol)
        if option is None:
            raise not_found(symbol)
        return option

    def _currencies(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        currency = text_param(params, "currency")
        if currency == "any":
            return self._market.underlyings
        if currency in self._market.underlyings:
            return (currency,)
        if currency in ("BTC", "ETH", "USDC", "USDT", "EURR"):
            return ()
        raise invalid_params("currency", "value is not a known currency")

    def _options(self, params: Mapping[str, Any]) -> list[Option]:
        currencies = self._currencies(params)
        if "kind" in params and text_param(params, "kind", INSTRUMENT_KINDS) != "option":
            return []
        return [option for option in self._market.options if option.underlying in currencies]

    # ---- session ----

    def _test(self, session: Client, params: Mapping[str, Any], now_ns: int) -> str:
        if session.heartbeat is not None:
            session.heartbeat.unanswered_since_ns = None
        return json.dumps({"version": VERSION})

    def _set_heartbeat(self, session: Client, params: Mapping[str, Any], now_ns: int) -> str:
        interval = params.get("interval")
        if isinstance(interval, bool) or not isinstance(interval, int | float):
            raise invalid_params("interval", "must be a number")
        if interval < session.limits.heartbeat_min_s:
            raise invalid_params("interval", f"must be at least {session.limits.heartbeat_min_s:g}")
        session.heartbeat = Heartbeat.started(float(interval), now_ns)
        return '"ok"'

    def _disable_heartbeat(self, session: Client, params: Mapping[str, Any], now_ns: int) -> str:
        session.heartbeat = None
        return '"ok"'

    def _subscribe(self, session: Client, params: Mapping[str, Any], now_ns: int) -> str:
        parsed = [parse_channel(name, self._market) for name in channel_list(params)]
        channels = [channel for channel in parsed if channel is not None]
        options = [channel for channel in channels if channel.option is not None]
        if session.leave_out and options:
            session.leave_out = False
            channels.remove(options[len(options) // 2])
        self._first = [channel for channel in channels if session.subscribe(channel)]
        # The venue acknowledges in an order of its own: captured answers are sorted backwards.
        return json.dumps(sorted({channel.name for channel in channels}, reverse=True), separators=(",", ":"))

    def _unsubscribe(self, session: Client, params: Mapping[str, Any], now_ns: int) -> str:
        removed = [name for name in channel_list(params) if session.unsubscribe(name)]
        return json.dumps(sorted(removed, reverse=True), separators=(",", ":"))

    def _unsubscribe_all(self, session: Client, params: Mapping[str, Any], now_ns: int) -> str:
        for name in list(session.channels):
            session.unsubscribe(name)
        return '"ok"'

    # ---- market ----

    def _instruments(self, session: Client, params: Mapping[str, Any], now_ns: int) -> str:
        if params.get("expired"):
            return "[]"
        return f"[{','.join([self._encoder.instrument(option) for option in self._options(params)])}]"

    def _expirations(self, session: Client, params: Mapping[str, Any], now_ns: int) -> str:
        currencies = self._currencies(params)
        kind = text_param(params, "kind", (*INSTRUMENT_KINDS, "any"))
        labels = {
            name: [expiry_label(expiry.expiry_ns) for expiry in self._market.expiries[name]] for name in currencies
        }
        if kind not in ("option", "any"):
            labels = {name: [] for name in currencies}
        if params["currency"] == "any":
            return json.dumps({"option": list(dict.fromkeys(label for each in labels.values() for label in each))})
        return json.dumps({name.lower(): {"option": each} for name, each in labels.items()})

    def _book_summaries(self, session: Client, params: Mapping[str, Any], now_ns: int) -> str:
        options = self._options(params)
        if not options:
            return "[]"
        return self._encoder.book_summaries(options, self._market.tickers(options), now_ns // NS_PER_MS)

    def _index_price(self, session: Client, params: Mapping[str, Any], now_ns: int) -> str:
        wanted = text_param(params, "index_name")
        for name, surface in self._market.surfaces.items():
            if surface.profile.index_name == wanted:
                price = round(self._market.smiles[name].spot, 2)
                return json.dumps({"index_price": price, "estimated_delivery_price": price})
        raise invalid_params("index_name", "value is not a known index")

    def _ticker(self, option: Option, now_ns: int) -> str:
        return self._encoder.tickers([option], self._market.tickers([option]), now_ns // NS_PER_MS)[0]

    def _order_book(self, session: Client, params: Mapping[str, Any], now_ns: int) -> str:
        option = self._option(params)
        depth = params.get("depth", DEFAULT_DEPTH)
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise invalid_params("depth", "must be a positive integer")
        ticker = self._ticker(option, now_ns)
        return f"{ticker[:-1]},{self._encoder.depth(option, depth)}}}"
