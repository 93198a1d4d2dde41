"""The shapes of Binance's frames and REST answers for options, as typed structs that msgspec decodes.

Numbers come as text ("1249.61"), times and update numbers as numbers; the decoders take either. Field names are the
venue's one-letter names. Times are milliseconds since 1970 UTC. IVs are fractions, "-1.0" where there is none; a price
or size of zero is none. A time or update number outside its bounds would not fit the fixed-size row, so it is refused.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

MAX_MILLISECONDS = 9_000_000_000_000  # in the year 2255; as nanoseconds it still fits 64 bits
Milliseconds = Annotated[int, Meta(ge=0, le=MAX_MILLISECONDS)]
UpdateId = Annotated[int, Meta(ge=0, lt=1 << 62)]
Level = tuple[float, float]  # price; size in contracts, 0 deletes


class Mark(Struct, gc=False):
    """One entry of `<underlying>@optionMarkPrice`: mark, index, best bid and ask with sizes, IVs."""

    s: str
    E: Milliseconds
    mp: float | None = None
    i: float | None = None
    bo: float | None = None
    ao: float | None = None
    bq: float | None = None
    aq: float | None = None
    b: float | None = None
    a: float | None = None
    vo: float | None = None


class BookTicker(Struct, gc=False):
    """Data of `<symbol>@bookTicker`."""

    u: UpdateId
    ts_ms: Milliseconds = field(name="T")
    b: float | None = None
    B: float | None = None
    a: float | None = None
    A: float | None = None


class DepthChange(Struct, gc=False):
    """Data of `<symbol>@depth@<speed>`: every change of this book with a number above `pu`, up to `u`."""

    ts_ms: Milliseconds = field(name="T")
    U: UpdateId
    u: UpdateId
    pu: Annotated[int, Meta(ge=-1, lt=1 << 62)]
    b: list[Level]
    a: list[Level]


class Trade(Struct, gc=False):
    """Data of `<underlying>@optionTrade`; `m` is true when the buyer was there first, so that the aggressor sold."""

    s: str
    ts_ms: Milliseconds = field(name="T")
    p: float
    q: float
    m: bool = False


class Index(Struct, gc=False):
    """One entry of `!index@arr`; `s` is the underlying, "BTCUSDT"."""

    E: Milliseconds
    s: str
    p: float | None = None


class OpenInterest(Struct, gc=False):
    """One entry of `<underlying>@optionOpenInterest@<YYMMDD>`; `o` in contracts."""

    E: Milliseconds
    s: str
    o: float | None = None


class Contract(Struct):
    """One entry of `optionContracts`: an underlying that has options."""

    baseAsset: str
    underlying: str = ""


class Filter(Struct):
    """One entry of a symbol's `filters`; `PRICE_FILTER` has the tick."""

    filterType: str = ""
    tickSize: float | None = None


class SymbolEntry(Struct):
    """One entry of `optionSymbols`."""

    symbol: str
    side: str
    strikePrice: float
    expiryDate: int
    unit: float = 1.0
    underlying: str = ""
    quoteAsset: str = "USDT"
    status: str = "TRADING"
    filters: list[Filter] = []


class ExchangeInfo(Struct):
    """Answer of `GET /eapi/v1/exchangeInfo`; the symbols are decoded one by one, so that a bad one is alone."""

    optionSymbols: list[msgspec.Raw]
    optionContracts: list[msgspec.Raw] = []


class Depth(Struct, gc=False):
    """Answer of `GET /eapi/v1/depth`: the book as of update number `lastUpdateId`."""

    lastUpdateId: UpdateId
    bids: list[Level]
    asks: list[Level]
    ts_ms: Milliseconds = field(name="T", default=0)


class Refusal(Struct):
    """The error of a refused call or request."""

    code: int
    msg: str = ""


class Envelope(Struct):
    """Any frame: market data has `stream`, an answer has `id` and `result`, or an error with or without `id`."""

    stream: str = ""
    data: msgspec.Raw = field(default_factory=msgspec.Raw)
    id: int | str | None = None
    result: Any = None
    code: int | None = None
    msg: str = ""
    error: Refusal | None = None


def _frame_decoder(data: object) -> msgspec.json.Decoder:
    """Return a decoder of whole combined-stream frames whose `data` has the given type."""
    return msgspec.json.Decoder(msgspec.defstruct("Frame", [("data", data)], gc=False), strict=False)


decode_marks = _frame_decoder(list[Mark]).decode
decode_data = _frame_decoder(msgspec.Raw).decode
decode_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode_book_ticker = _frame_decoder(BookTicker).decode
decode_depth_change = _frame_decoder(DepthChange).decode
decode_trade = _frame_decoder(Trade).decode
decode_indices = _frame_decoder(list[Index]).decode
decode_open_interest = _frame_decoder(list[OpenInterest]).decode
decode_mark = msgspec.json.Decoder(Mark, strict=False).decode
decode_index = msgspec.json.Decoder(Index, strict=False).decode
decode_one_open_interest = msgspec.json.Decoder(OpenInterest, strict=False).decode
decode_exchange_info = msgspec.json.Decoder(ExchangeInfo, strict=False).decode
decode_contract = msgspec.json.Decoder(Contract, strict=False).decode
decode_symbol = msgspec.json.Decoder(SymbolEntry, strict=False).decode
decode_depth = msgspec.json.Decoder(Depth, strict=False).decode
decode_refusal = msgspec.json.Decoder(Refusal, strict=False).decode
decode_envelope = msgspec.json.Decoder(Envelope).decode
