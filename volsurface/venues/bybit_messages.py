"""The shapes of Bybit's v5 option messages, as typed structs; prices, sizes and vols are text, "0" where there is none.

Times are milliseconds since 1970 UTC, implied vols fractions, sizes and open interest coins.
"""

import msgspec
from msgspec import Struct

from volsurface.venues.text_numbers import Level, Milliseconds, Number, Sequence


class TickerData(Struct, gc=False):
    """Data of `tickers.<symbol>`; `underlyingPrice` is the forward of the expiry, or the index where there is none."""

    bidPrice: Number = None
    bidSize: Number = None
    bidIv: Number = None
    askPrice: Number = None
    askSize: Number = None
    askIv: Number = None
    markPrice: Number = None
    markPriceIv: Number = None
    indexPrice: Number = None
    underlyingPrice: Number = None
    openInterest: Number = None


class TickerMessage(Struct, gc=False):
    """A frame of `tickers`, always the whole of it."""

    ts: Milliseconds
    data: TickerData


class BookData(Struct, gc=False):
    """Data of `orderbook.<depth>.<symbol>`; `u` counts the changes of one book."""

    b: list[Level]
    a: list[Level]
    u: Sequence


class BookMessage(Struct, gc=False):
    """A frame of `orderbook`; type "snapshot" or "delta"."""

    ts: Milliseconds
    type: str
    data: BookData


class Trade(Struct, gc=False):
    """One entry of `publicTrade.<coin>`; `S` is the taker's side, `iv` the trade's vol (not before 2024)."""

    T: Milliseconds
    s: str
    S: str
    p: Number
    v: Number
    i: str = ""
    iv: Number = None


class TradeMessage(Struct, gc=False):
    """A frame of `publicTrade`; undecoded, so that a bad entry is refused alone."""

    data: list[msgspec.Raw]


class PriceFilter(Struct):
    """The tick rule of a listing entry."""

    tickSize: Number = None


class InstrumentEntry(Struct):
    """One entry of the listing; the strike is in the symbol alone."""

    symbol: str
    status: str = ""
    baseCoin: str = ""
    settleCoin: str = ""
    optionsType: str = ""
    deliveryTime: Number = None
    priceFilter: PriceFilter | None = None


class ListingResult(Struct):
    """One page of the listing, whose entries are under "list"; the cursor is empty or null on the last one."""

    nextPageCursor: str | None = None
    entries: list[msgspec.Raw] = msgspec.field(name="list", default_factory=list)


class RestAnswer(Struct):
    """Any REST answer; a code other than 0 is an error, and the result then empty."""

    retCode: int
    retMsg: str = ""
    result: msgspec.Raw = msgspec.Raw(b"{}")


class Topics(Struct):
    """What the option endpoint says to a subscribe or unsubscribe request."""

    successTopics: list[str] | None = None
    failTopics: list[str] | None = None


class Envelope(Struct):
    """Any message: market data has a topic, answers have `op`, or on the option endpoint the type COMMAND_RESP."""

    topic: str = ""
    op: str = ""
    type: str = ""
    req_id: str | None = None
    success: bool | None = None
    ret_msg: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


decode_ticker = msgspec.json.Decoder(TickerMessage, strict=False).decode
decode_book = msgspec.json.Decoder(BookMessage, strict=False).decode
decode_trades = msgspec.json.Decoder(TradeMessage).decode
decode_trade = msgspec.json.Decoder(Trade, strict=False).decode
decode_instrument = msgspec.json.Decoder(InstrumentEntry, strict=False).decode
decode_rest = msgspec.json.Decoder(RestAnswer).decode
decode_listing = msgspec.json.Decoder(ListingResult).decode
decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_topics = msgspec.json.Decoder(Topics).decode
