"""The shapes of Derive's JSON-RPC frames, as typed structs that msgspec decodes.

Numbers come as text ("3.46"), times as numbers; the decoders take either. IVs are fractions, "0" where there is none;
amounts are coins. Times are milliseconds since 1970 UTC, but for an option's expiry, which is in seconds.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

MAX_MILLISECONDS = 9_000_000_000_000  # in the year 2255; as nanoseconds it still fits 64 bits
Milliseconds = Annotated[int, Meta(ge=0, le=MAX_MILLISECONDS)]
Level = tuple[float, float]  # price, amount in coins


class Pricing(Struct, gc=False):
    """`option_pricing` of a ticker: IVs of bid, ask and mark, and the forward."""

    bi: float | None = None
    ai: float | None = None
    i: float | None = None
    f: float | None = None


class Stats(Struct, gc=False):
    """`stats` of a ticker; only the open interest is used."""

    oi: float | None = None


class Ticker(Struct, gc=False):
    """`instrument_ticker` of `ticker_slim`: best bid `b` and ask `a` with amounts, index, mark, time."""

    t: Milliseconds
    b: float | None = None
    B: float | None = None
    a: float | None = None
    A: float | None = None
    index: float | None = field(name="I", default=None)
    M: float | None = None
    option_pricing: Pricing | None = None
    stats: Stats | None = None


class SlimTicker(Struct, gc=False):
    """Data of `ticker_slim.<instrument>.<interval>`."""

    instrument_ticker: Ticker


class BookWindow(Struct, gc=False):
    """Data of `orderbook.<instrument>.<group>.<depth>`: the whole window, best price first."""

    timestamp: Milliseconds
    bids: list[Level]
    asks: list[Level]
    publish_id: Annotated[int, Meta(ge=-1, lt=1 << 62)] = -1


class Trade(Struct, gc=False):
    """One entry of `trades.option.<currency>`; `direction` is the aggressor's side."""

    instrument_name: str
    timestamp: Milliseconds
    trade_price: float
    trade_amount: float
    direction: str


class SpotPrice(Struct, gc=False):
    """One currency's entry of a spot feed."""

    price: float | None = None


class SpotFeed(Struct, gc=False):
    """Data of `spot_feed.<currency>`: the index."""

    timestamp: Milliseconds
    feeds: dict[str, SpotPrice]


class OptionDetails(Struct):
    """`option_details` of a listing entry; `expiry` in seconds."""

    expiry: int
    strike: float
    option_type: str
    index: str = ""


class InstrumentEntry(Struct):
    """One entry of `public/get_instruments`."""

    instrument_name: str
    instrument_type: str
    base_currency: str = ""
    is_active: bool = True
    tick_size: float | None = None
    option_details: OptionDetails | None = None


class CurrencyEntry(Struct):
    """One entry of `public/get_all_currencies`."""

    currency: str
    instrument_types: list[str] = []


class SubscribeResult(Struct):
    """Result of `subscribe`: "ok" or a reason for each channel asked for, and all that are held now."""

    status: dict[str, str] = {}
    current_subscriptions: list[str] | None = None


class RpcError(Struct):
    """The error of a refused call; `data` may be an object, a string or null."""

    code: int
    message: str = ""
    data: msgspec.Raw = field(default_factory=msgspec.Raw)


class EnvelopeParams(Struct):
    """Params of any notification."""

    channel: str = ""


class Envelope(Struct):
    """Any frame: a response has `id`, a notification has `method`."""

    id: int | str | None = None
    method: str = ""
    params: EnvelopeParams | None = None
    result: msgspec.Raw = field(default_factory=msgspec.Raw)
    error: RpcError | None = None


def _notification_decoder(data: object) -> msgspec.json.Decoder:
    """Return a decoder of whole notification frames whose `params.data` has the given type."""
    params = msgspec.defstruct("Params", [("data", data)], gc=False)
    return msgspec.json.Decoder(msgspec.defstruct("Notification", [("params", params)], gc=False), strict=False)


decode_ticker = _notification_decoder(SlimTicker).decode
decode_book = _notification_decoder(BookWindow).decode
decode_trades = _notification_decoder(list[Trade]).decode
decode_raw_trades = _notification_decoder(list[msgspec.Raw]).decode
decode_trade = msgspec.json.Decoder(Trade, strict=False).decode
decode_spot = _notification_decoder(SpotFeed).decode
decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_entries = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode_entry = msgspec.json.Decoder(InstrumentEntry, strict=False).decode
decode_currencies = msgspec.json.Decoder(list[CurrencyEntry]).decode
decode_subscribed = msgspec.json.Decoder(SubscribeResult).decode
