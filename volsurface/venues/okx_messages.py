"""The shapes of OKX's v5 messages, as typed structs; nearly every number is text, and "" where there is none.

Times are milliseconds since 1970 UTC, implied vols fractions, sizes and open interest contracts. In batches an entry
that cannot be read must not lose the others: `decode_summaries` takes all at once, and the codec falls back to
`decode_entries` with `decode_summary` one by one.
"""

import msgspec
from msgspec import Struct

from volsurface.venues.text_numbers import Level, Milliseconds, Number, Sequence


class Summary(Struct, gc=False):
    """One entry of `opt-summary`; `fwdPx` is the forward of the expiry."""

    instId: str
    ts: Milliseconds
    markVol: Number = None
    bidVol: Number = None
    askVol: Number = None
    fwdPx: Number = None


class Ticker(Struct, gc=False):
    """One entry of `tickers`."""

    ts: Milliseconds
    bidPx: Number = None
    bidSz: Number = None
    askPx: Number = None
    askSz: Number = None


class Mark(Struct, gc=False):
    """One entry of `mark-price`."""

    ts: Milliseconds
    markPx: Number = None


class OpenInterest(Struct, gc=False):
    """One entry of `open-interest`, in contracts."""

    ts: Milliseconds
    oi: Number = None


class Index(Struct, gc=False):
    """One entry of `index-tickers`."""

    ts: Milliseconds
    idxPx: Number = None


class BookData(Struct, gc=False):
    """One entry of `books` or `bbo-tbt`; before 2022 there were no sequence numbers. The checksum is always 0 now."""

    bids: list[Level]
    asks: list[Level]
    ts: Milliseconds
    seqId: Sequence | None = None
    prevSeqId: Sequence | None = None


class BookMessage(Struct, gc=False):
    """A frame of `books` ("snapshot" or "update") or `bbo-tbt` (no action)."""

    data: list[BookData]
    action: str = ""


class Trade(Struct, gc=False):
    """One entry of `option-trades`; `side` is the taker's, `fillVol` a fraction, `sz` contracts."""

    instId: str
    ts: Milliseconds
    px: Number
    sz: Number
    side: str
    tradeId: str = ""
    fillVol: Number = None


class ServiceStatus(Struct):
    """One entry of `status`: planned and present maintenance."""

    state: str
    title: str = ""
    serviceType: str = ""


class InstrumentEntry(Struct):
    """One entry of the listing, over REST or in `instruments`."""

    instId: str
    instType: str = "OPTION"
    instFamily: str = ""
    uly: str = ""
    ctVal: Number = None
    ctMult: Number = None
    ctValCcy: str = ""
    expTime: Number = None
    stk: Number = None
    optType: str = ""
    settleCcy: str = ""
    state: str = "live"
    tickSz: Number = None


class RestAnswer(Struct):
    """Any REST answer; a code other than "0" is an error."""

    code: str
    msg: str = ""
    data: list[msgspec.Raw] = []


class Argument(Struct):
    """What a message is about."""

    channel: str = ""
    instId: str = ""
    instFamily: str = ""
    instType: str = ""


class Envelope(Struct):
    """Any message: market data has `arg` and `data`, an answer `event`."""

    arg: Argument | None = None
    event: str = ""
    id: str = ""
    code: str = ""
    msg: str = ""


class _Entries(Struct, gc=False):
    data: list[msgspec.Raw]


def _data_decoder(entry: object) -> msgspec.json.Decoder:
    """Return a decoder of whole frames whose `data` is a list of the given type."""
    return msgspec.json.Decoder(msgspec.defstruct("Frame", [("data", list[entry])], gc=False), strict=False)  # type: ignore[valid-type]


decode_summaries = _data_decoder(Summary).decode
decode_summary = msgspec.json.Decoder(Summary, strict=False).decode
decode_tickers = _data_decoder(Ticker).decode
decode_marks = _data_decoder(Mark).decode
decode_open_interests = _data_decoder(OpenInterest).decode
decode_indices = _data_decoder(Index).decode
decode_book = msgspec.json.Decoder(BookMessage, strict=False).decode
decode_trade = msgspec.json.Decoder(Trade, strict=False).decode
decode_statuses = _data_decoder(ServiceStatus).decode
decode_entries = msgspec.json.Decoder(_Entries).decode
decode_instrument = msgspec.json.Decoder(InstrumentEntry, strict=False).decode
decode_rest = msgspec.json.Decoder(RestAnswer).decode
decode_envelope = msgspec.json.Decoder(Envelope).decode
