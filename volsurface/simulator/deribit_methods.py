"""What the simulated Deribit answers to each method; everything here is synchronous and does no I/O of its own."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from volsurface.clock import Clock
from volsurface.simulator import deribit_frames as frames
from volsurface.simulator.deribit_protocol import (
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
from volsurface.simulator.deribit_session import Heartbeat, Session
from volsurface.simulator.faults import KINDS, LENGTH_S, Faults
from volsurface.simulator.listing import expiry_label
from volsurface.simulator.market import Option, VenueMarket
from volsurface.simulator.publisher import Publisher

INSTRUMENT_KINDS = ("option", "future", "spot", "option_combo", "future_combo")
DEFAULT_DEPTH = 5


class Methods:
    """The methods of one venue, by name."""

    def __init__(
        self, market: VenueMarket, encoder: frames.Encoder, publisher: Publisher, faults: Faults, clock: Clock
    ):
        self._market, self._encoder, self._publisher, self._faults = market, encoder, publisher, faults
        self._clock = clock
        self._started_ns = clock.now_ns()
        self._methods: dict[str, Callable[[Session, Mapping[str, Any], float], str]] = {
            "public/test": self._test,
            "public/hello": self._test,
            "public/get_time": lambda session, params, now: str(self._now_ms()),
            "public/status": lambda session, params, now: '{"locked":"false"}',
            "public/set_heartbeat": self._set_heartbeat,
            "public/disable_heartbeat": self._disable_heartbeat,
            "public/get_instruments": self._instruments,
            "public/get_instrument": lambda session, params, now: self._encoder.instrument(self._option(params)),
            "public/get_expirations": self._expirations,
            "public/get_book_summary_by_currency": self._book_summaries,
            "public/get_index_price": self._index_price,
            "public/ticker": lambda session, params, now: self._ticker(self._option(params)),
            "public/get_order_book": self._order_book,
            "public/subscribe": self._subscribe,
            "public/unsubscribe": self._unsubscribe,
            "public/unsubscribe_all": self._unsubscribe_all,
            "public/volsurface_simulator": self._simulator,
            "public/volsurface_truth": self._truth,
            "public/volsurface_fault": self._fault,
        }
        self._first: list[Channel] = []

    def call(self, session: Session, request: Request, now: float) -> str:
        """Return the `result` of a request as JSON text; raises RpcError. `now` is seconds, monotonic.

        Raises error 10028 when the client has spent its credits; the caller then ends the session.
        """
        method = self._methods.get(request.method)
        limits = session.limits
        if request.method in ("public/subscribe", "public/unsubscribe"):
            session.subscribes.spend(limits.subscribe_cost, now)
        elif request.method == "public/get_instruments":
            session.listings.spend(limits.listing_cost, now)
        else:
            session.calls.spend(limits.call_cost, now)
        if request.method.startswith("private/"):
            raise unauthorized()
        if method is None:
            raise method_not_found()
        return method(session, request.params, now)

    def follow_up(self, session: Session) -> None:
        """Send what the last call makes the venue send after its answer: first messages of new channels."""
        channels, self._first = self._first, []
        if channels:
            self._publisher.send_first(session, channels, self._now_ms())

    def _now_ms(self) -> int:
        return self._clock.now_ns() // 1_000_000

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

    def _test(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        if session.heartbeat is not None:
            session.heartbeat.unanswered_since = None
        return json.dumps({"version": VERSION})

    def _set_heartbeat(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        interval = params.get("interval")
        if isinstance(interval, bool) or not isinstance(interval, int | float):
            raise invalid_params("interval", "must be a number")
        if interval < session.limits.heartbeat_min_s:
            raise invalid_params("interval", f"must be at least {session.limits.heartbeat_min_s:g}")
        session.heartbeat = Heartbeat.started(float(interval), now)
        return '"ok"'

    def _disable_heartbeat(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        session.heartbeat = None
        return '"ok"'

    def _subscribe(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        parsed = [parse_channel(name, self._market) for name in channel_list(params)]
        channels = [channel for channel in parsed if channel is not None]
        self._first = [channel for channel in channels if channel.name not in session.channels]
        for channel in channels:
            self._publisher.subscribe(session, channel)
        # The venue acknowledges in an order of its own: captured answers are sorted backwards.
        return json.dumps(sorted({channel.name for channel in channels}, reverse=True), separators=(",", ":"))

    def _unsubscribe(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        removed = [name for name in channel_list(params) if self._publisher.unsubscribe(session, name)]
        return json.dumps(sorted(removed, reverse=True), separators=(",", ":"))

    def _unsubscribe_all(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        for name in list(session.channels):
            self._publisher.unsubscribe(session, name)
        return '"ok"'

    # ---- market ----

    def _instruments(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        if params.get("expired"):
            return "[]"
        return f"[{','.join([self._encoder.instrument(option) for option in self._options(params)])}]"

    def _expirations(self, session: Session, params: Mapping[str, Any], now: float) -> str:
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

    def _book_summaries(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        options = self._options(params)
        if not options:
            return "[]"
        self._publisher.settle(options)
        return self._encoder.book_summaries(options, self._market.tickers(options), self._now_ms())

    def _index_price(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        wanted = text_param(params, "index_name")
        for name, surface in self._market.surfaces.items():
            if surface.profile.index_name == wanted:
                price = round(self._market.smiles[name].spot, 2)
                return json.dumps({"index_price": price, "estimated_delivery_price": price})
        raise invalid_params("index_name", "value is not a known index")

    def _ticker(self, option: Option) -> str:
        return self._publisher.ticker_texts([option], self._now_ms())[0]

    def _order_book(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        option = self._option(params)
        depth = params.get("depth", DEFAULT_DEPTH)
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise invalid_params("depth", "must be a positive integer")
        ticker = self._ticker(option)
        return f"{ticker[:-1]},{self._encoder.depth(option, depth)}}}"

    # ---- only here ----

    def _simulator(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        return json.dumps(
            {
                "simulator": True,
                "seed": self._market.seed,
                "started": self._started_ns,
                "underlyings": self._market.underlyings,
                "rate": self._publisher.rate,
                "published": self._publisher.published,
                "faults": self._faults.counts,
            }
        )

    def _truth(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        currencies = self._currencies(params) if "currency" in params else self._market.underlyings
        surfaces = {name: frames.truth(self._market.smiles[name]) for name in currencies}
        symbols = params.get("instruments", [])
        if not isinstance(symbols, list):
            raise invalid_params("instruments", "must be a list of instrument names")
        options = [self._option({"instrument_name": symbol}) for symbol in symbols]
        return json.dumps(
            {"surfaces": surfaces, "vols": {option.symbol: self._market.true_vol(option) for option in options}}
        )

    def _fault(self, session: Session, params: Mapping[str, Any], now: float) -> str:
        kind = text_param(params, "kind", KINDS)
        seconds = params.get("seconds", LENGTH_S)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise invalid_params("seconds", "must be a number")
        symbol = text_param(params, "instrument_name") if "instrument_name" in params else None
        self._faults.inject(kind, now, float(seconds), symbol)
        return '"ok"'
