"""The shapes of Deribit's JSON-RPC 2.0 frames, as typed structs that msgspec decodes in about a microsecond.

Only fields that are used are declared; msgspec skips the others without building them. Numbers may be written in any
JSON form (9600, 9600.0, 6.4e4) and may be null where the type says so. Times are milliseconds since 1970 UTC, implied
vols are percent in `ticker` and `trades` and fractions in `markprice.options`. A time or sequence number outside its
bounds would not fit the fixed-size row, so the frame is refused here.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

# What the decoders below raise for a frame that cannot be understood.
MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

MAX_MILLISECONDS = 9_000_000_000_000  # in the year 2255; as nanoseconds it still fits 64 bits
Milliseconds = Annotated[int, Meta(ge=0, le=MAX_MILLISECONDS)]
ChangeId = Annotated[int, Meta(ge=0, lt=1 << 62)]
Level = tuple[str, float, float]  # action "new", "change" or "delete"; price; amount (0 deletes)


class Ticker(Struct, gc=False):
    """Data of `ticker.<instrument>.<interval>`; 0 and null both mean that there is none."""

    timestamp: Milliseconds
    underlying_price: float | None = None
    underlying_index: str = ""
    index_price: float | None = None
    best_bid_price: float | None = None
    best_bid_amount: float | None = None
    best_ask_price: float | None = None
    best_ask_amount: float | None = None
    bid_iv: float | None = None
    ask_iv: float | None = None
    mark_iv: float | None = None
    mark_price: float | None = None
    open_interest: float | None = None


class BookChange(Struct, gc=False):
    """Data of `book.<instrument>.<interval>`: the whole book ("snapshot", or no type in 2019) or what changed in it."""

    timestamp: Milliseconds
    change_id: ChangeId
    bids: list[Level]
    asks: list[Level]
    type: str = ""
    prev_change_id: ChangeId | None = None


class Quote(Struct, gc=False):
    """Data of `quote.<instrument>`: best bid and ask."""

    timestamp: Milliseconds
    best_bid_price: float | None = None
    best_bid_amount: float | None = None
    best_ask_price: float | None = None
    best_ask_amount: float | None = None


class Trade(Struct, gc=False):
    """One entry of `trades.<instrument>.<interval>`; `direction` is the aggressor's side, `iv` percent."""

    timestamp: Milliseconds
    price: float
    amount: float
    direction: str
    iv: float | None = None


class Mark(Struct, gc=False):
    """One entry of `markprice.options.<index>`; `iv` is a fraction here."""

    instrument_name: str
    timestamp: Milliseconds
    mark_price: float | None = None
    iv: float | None = None


class Index(Struct, gc=False):
    """Data of `deribit_price_index.<index>`."""

    timestamp: Milliseconds
    price: float | None = None


class InstrumentState(Struct, gc=False):
    """Data of `instrument.state.<kind>.<currency>`."""

    timestamp: Milliseconds
    state: str
    instrument_name: str


class TickStep(Struct):
    """One step of a tick rule: from `above_price` on, prices move by `tick_size`."""

    above_price: float
    tick_size: float


class InstrumentEntry(Struct):
    """One entry of `public/get_instruments` or `instrument.creation`; what 2021 or other kinds do not send has a default."""

    instrument_name: str
    kind: str
    base_currency: str = ""
    quote_currency: str = ""
    expiration_timestamp: int = 0  # a perpetual's is in the year 3000, beyond what nanoseconds can count
    strike: float | None = None
    option_type: str = ""
    instrument_type: str = ""
    price_index: str = ""
    is_active: bool = True
    state: str = "open"
    contract_size: float = 1.0
    tick_size: float = 0.0
    tick_size_steps: list[TickStep] = []


class RpcError(Struct):
    """The error of a refused call; `data` may be an object, a string or null."""

    code: int
    message: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")


class EnvelopeParams(Struct):
    """Params of any notification."""

    channel: str = ""
    type: str = ""


class Envelope(Struct):
    """Any frame: a response has `id`, a notification has `method`."""

    id: int | str | None = None
    method: str = ""
    params: EnvelopeParams | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    error: RpcError | None = None


def _notification_decoder(data: object) -> msgspec.json.Decoder:
    """Return a decoder of whole notification frames whose `params.data` has the given type."""
    params = msgspec.defstruct("Params", [("data", data)], gc=False)
    return msgspec.json.Decoder(msgspec.defstruct("Notification", [("params", params)], gc=False))


decode_ticker = _notification_decoder(Ticker).decode
decode_book = _notification_decoder(BookChange).decode
decode_quote = _notification_decoder(Quote).decode
decode_trades = _notification_decoder(list[Trade]).decode
decode_marks = _notification_decoder(list[Mark]).decode
decode_index = _notification_decoder(Index).decode
decode_state = _notification_decoder(InstrumentState).decode
decode_creation = _notification_decoder(msgspec.Raw).decode
decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_entries = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode_entry = msgspec.json.Decoder(InstrumentEntry).decode
decode_channels = msgspec.json.Decoder(list[str]).decode
