"""OKX's side of a connection: JSON messages of the v5 public websocket in, sink calls and frames to send out.

The instruments of each family come over REST; then `opt-summary` brings vols and forwards of a whole family, and each
option's channels its quote, mark, open interest and book. New and expired options are told by `instruments`.

Limits: at most 480 subscribe and unsubscribe requests per hour and connection, and a request no longer than 64 KB. The
venue recommends fewer than 30 deep books per connection and sets no limit; a chain of a thousand books would need 34
connections, each of which had to read all of `opt-summary` again, so a connection here takes `BOOKS_PER_CONNECTION`.
"""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from volsurface.errors import unknown_name
from volsurface.market.instrument import Instrument
from volsurface.venues.channel_words import BOOK, MARKPRICE, QUOTE, TICKER, TRADES, checked_words
from volsurface.venues.codec import Sink
from volsurface.venues.normalised import NS_PER_S
from volsurface.venues.okx_messages import (
    Argument,
    Envelope,
    decode_entries,
    decode_envelope,
    decode_instrument,
    decode_rest,
    decode_statuses,
)
from volsurface.venues.okx_names import FAMILIES, VENUE, Family, instrument_from
from volsurface.venues.okx_streams import FamilyStream, IndexStream, OptionStream
from volsurface.venues.pacing import Pace
from volsurface.venues.rest_listed import RestListedCodec
from volsurface.venues.rest_listing import Page
from volsurface.venues.session_codec import MALFORMED, Route
from volsurface.venues.sharding import WHOLE, Capacity, connections_for
from volsurface.venues.subscriptions import SUBSCRIBE, UNSUBSCRIBE

URL = "wss://ws.okx.com:8443/ws/v5/public"
REST_URL = "https://openapi.okx.com"

OPTIONS_PER_UNDERLYING = 500  # 346 and 350 were listed in May 2022
BOOKS_PER_CONNECTION = 400
MAX_ARGUMENTS = 256  # per request, about 18 of the 64 KB it may have
# 480 requests per hour: half of them at once, the others evenly.
SUBSCRIBE_INTERVAL_NS, SUBSCRIBE_BURST = 15 * NS_PER_S, 240
MOVE_S = 5  # a connection that will be closed for an upgrade is left so soon after the notice

# A message about a channel begins like this; an answer begins with its id or event.
DATA_PREFIX = b'{"arg":{"channel":"'
KEY_AT = len(DATA_PREFIX)
INSTRUMENTS = 'instruments","instType":"OPTION'
STATUS = "status"
# What each word means for one option. The quote comes first, so that a chain is complete soon.
OPTION_CHANNELS = {
    TICKER: ("tickers", "mark-price", "open-interest"),
    MARKPRICE: ("mark-price",),
    BOOK: ("books",),
    QUOTE: ("bbo-tbt",),
    TRADES: (),
}

UPGRADE_NOTICE, NO_SUCH_CHANNEL = "64008", "60018"
# Too frequent, internal errors: the same request may succeed later. Then the same of REST: too many, unavailable, busy.
PASSING_ERRORS = frozenset(("60014", "63999", "64007"))
PASSING_REST_ERRORS = frozenset(("50001", "50004", "50011", "50013", "50026", "50061"))
_NO_SUCH = re.compile(r"channel:\s*([\w-]+),\s*\w+:\s*([\w-]+)")


def connections(n_instruments: int, channels: Sequence[str]) -> int:
    """Return how many connections carry the books of so many options; other channels need only one."""
    return connections_for(n_instruments, BOOKS_PER_CONNECTION) if BOOK in channels else 1


class OkxCodec(RestListedCodec[OptionStream]):
    """Options of the given underlyings on one OKX connection; see `venues.codec.Codec` for the contract.

    underlyings: "BTC" and "ETH" (settled in the coin), "SOL", or "BTC_UM" and "ETH_UM" for options settled in dollars.
    channels: any of ticker, book, quote, trades, markprice.
    """

    venue = VENUE
    per_call = MAX_ARGUMENTS
    capacity = Capacity(channels=1 << 30, letters=1 << 30)  # the venue names no limit
    ping_s, ping_always = 20, False  # the venue cuts what is silent for 30 s
    refresh_s = 3600  # `instruments` tells changes at once; this repairs what it may have missed

    def __init__(
        self,
        underlyings: Sequence[str],
        channels: Sequence[str],
        sink: Sink,
        *,
        rest_url: str = REST_URL,
        shard: tuple[int, int] = WHOLE,
    ) -> None:
        words = checked_words(VENUE, channels)
        asked = dict.fromkeys(name.upper() for name in underlyings)
        families = [FAMILIES[name] for name in asked if name in FAMILIES]
        complaints = [unknown_name("underlying", name, FAMILIES) for name in asked if name not in FAMILIES]
        self._families: dict[str, Family] = {family.name: family for family in families}
        # The first family of a coin speaks for its forwards.
        self._speakers: dict[str, Family] = {}
        for family in families:
            self._speakers.setdefault(family.coin, family)
        self._rest_url = rest_url.rstrip("/")
        self._kinds = tuple(dict.fromkeys(kind for word in words for kind in OPTION_CHANNELS[word]))
        super().__init__([family.name for family in families], sink, shard, complaints)
        self._due["move"] = self._move_due
        self._indices = {
            family.index_name: IndexStream(self.forward_of(family.coin, 0), self) for family in self._speakers.values()
        }
        self._family_stream = FamilyStream(self._streams, self)
        self._common.update(self._common_routes(words))

    def _common_routes(self, words: Sequence[str]) -> dict[str, Route]:
        routes: dict[str, Route] = {}
        for family in self._families.values():
            if TICKER in words or MARKPRICE in words:
                routes[f'opt-summary","instFamily":"{family.name}'] = self._family_stream.on_summary
            if TRADES in words:
                routes[f'option-trades","instType":"OPTION","instFamily":"{family.name}'] = self._family_stream.on_trade
        for name, index in self._indices.items():
            routes[f'index-tickers","instId":"{name}'] = index.on_index
        if self._families:
            routes[INSTRUMENTS] = self._on_instruments
        if self.shard[0] == 0:
            routes[STATUS] = self._on_status
        return routes

    # -- the venue's words --------------------------------------------------------------------------------------------

    def _listing_url(self, name: str, cursor: str) -> str:
        return f"{self._rest_url}/api/v5/public/instruments?instType=OPTION&instFamily={quote(name)}"

    def _read_listing(self, body: bytes) -> Page:
        answer = decode_rest(body)
        if answer.code != "0":
            return Page([], refusal=f"{answer.code} {answer.msg}", passing=answer.code in PASSING_REST_ERRORS)
        return Page(answer.data)

    def _instrument(self, raw: msgspec.Raw) -> Instrument | None:
        entry = decode_instrument(raw)
        family = self._families.get(entry.instFamily or entry.uly)
        if family is None or entry.instType != "OPTION" or entry.state != "live":
            return None
        return instrument_from(entry, family)

    def _is_in_listing(self, instrument: Instrument, name: str) -> bool:
        family = self._families[name]
        return instrument.underlying == family.coin and instrument.settlement == family.settlement

    def _make_stream(self, iid: int, instrument: Instrument) -> OptionStream:
        speaks = self._speakers[instrument.underlying].settlement == instrument.settlement
        forward = self.forward_of(instrument.underlying, instrument.expiry_ns) if speaks else None
        stream = OptionStream(iid, instrument, forward, self._indices[instrument.index_name], self, self.sink)
        routes: dict[str, Route] = {
            "tickers": stream.on_ticker,
            "mark-price": stream.on_mark,
            "open-interest": stream.on_open_interest,
            "books": stream.on_book,
            "bbo-tbt": stream.on_best,
        }
        channels = self._channels_of(instrument.symbol)
        stream.routes = {channel: routes[kind] for kind, channel in zip(self._kinds, channels, strict=True)}
        stream.book_channel = next((c for c in channels if c.startswith('books"')), "")
        return stream

    def _channels_of(self, symbol: str) -> Sequence[str]:
        return [f'{kind}","instId":"{symbol}' for kind in self._kinds]

    def _call_frame(self, call_id: int, operation: str, channels: Sequence[str]) -> bytes:
        # A channel is kept as the text its messages have after {"arg":{"channel":", which so is the key of its route.
        arguments = ",".join(f'{{"channel":"{channel}"}}' for channel in channels)
        return f'{{"id":"{call_id}","op":"{operation}","args":[{arguments}]}}'.encode()

    def _ping_frame(self) -> bytes:
        return b"ping"

    def _new_pace(self) -> Pace:
        return Pace(SUBSCRIBE_INTERVAL_NS, SUBSCRIBE_BURST)

    def _forget(self) -> None:
        super()._forget()
        for index in self._indices.values():
            index.reset()
        self._family_stream.reset()

    def readable(self, channel: str) -> str:
        """Return a channel as a person writes it: its name and what it is about."""
        return " ".join(channel.split('"')[::4])

    # -- frames -------------------------------------------------------------------------------------------------------

    def _take(self, frame: bytes, now_ns: int) -> None:
        """Take one frame. The channel's text is found without parsing; then one typed decoder reads the whole frame."""
        if frame[:KEY_AT] == DATA_PREFIX:
            route = self._routes.get(frame[KEY_AT : frame.find(b'"}', KEY_AT)])
            if route is not None:
                route(frame, now_ns)
                return
        self._receive_other(frame, now_ns)

    def _receive_other(self, frame: bytes, now_ns: int) -> None:
        if frame == b"pong":
            return
        envelope = decode_envelope(frame)
        call_id = int(envelope.id) if envelope.id.isdecimal() and len(envelope.id) < 16 else 0
        if envelope.event == "error":
            self._take_error(envelope, call_id, now_ns)
        elif envelope.event == "notice":
            text = f"{VENUE}: {envelope.code} {envelope.msg}"
            self._reports.event("notice", now_ns, "warning", text)
            if envelope.code == UPGRADE_NOTICE:
                self._timers.set(now_ns + (MOVE_S + self.shard[0]) * NS_PER_S, "move")
        elif envelope.arg is None:
            self.reject(frame, "neither an answer nor market data", now_ns)
        elif envelope.event in (SUBSCRIBE, UNSUBSCRIBE):
            channel = _channel(envelope.arg)
            self.take_confirmed(call_id or self._calls.waiting_for(channel) or 0, [channel], [], now_ns)
        elif not envelope.event:  # a channel we do not follow, or an argument written in another order
            route = self._routes.get(_channel(envelope.arg).encode())
            if route is None:
                self.reject(frame, f"unknown channel {self.readable(_channel(envelope.arg))[:60]}", now_ns)
            else:
                route(frame, now_ns)
        else:
            self.reject(frame, f"unknown event {envelope.event[:20]}", now_ns)

    def _take_error(self, envelope: Envelope, call_id: int, now_ns: int) -> None:
        """Make an error an event; one that names its channel refuses that alone, the others of the request go on."""
        named = _NO_SUCH.search(envelope.msg) if envelope.code == NO_SUCH_CHANNEL else None
        call = self._calls.get(call_id)
        if call is None or call.operation == SUBSCRIBE:  # what is to be left may be gone already
            text = f"{VENUE} refused a request: {envelope.code} {envelope.msg}"
            self._reports.event("reject_frame", now_ns, "error", text)
        if call is None:
            return
        refused = []
        if named is not None:
            kind, name = named.groups()
            refused = [c for c in call.waiting if c.startswith(f'{kind}"') and c.endswith(f'"{name}')]
        if refused:
            self.take_confirmed(call_id, [], refused, now_ns)
        else:
            self.take_refusal(call_id, envelope.code in PASSING_ERRORS, now_ns)

    def _move_due(self, _key: Any, _now_ns: int) -> None:
        self.hang_up = "moving before the announced service upgrade"

    def _on_instruments(self, frame: bytes, now_ns: int) -> None:
        """Take an `instruments` frame: all options first, then those whose state has changed."""
        new = []
        for raw in decode_entries(frame).data:
            try:
                instrument = self._instrument(raw)
                symbol = decode_instrument(raw).instId
            except (*MALFORMED, ValueError) as error:
                self.reject(bytes(raw), f"instruments: {error}", now_ns)
                continue
            stream = self._streams.get(symbol)
            if instrument is None:
                if stream is not None:
                    self.close(stream, now_ns)
            elif stream is None and instrument.expiry_ns > now_ns:
                new.append(instrument)
        before = len(self._streams)
        self.follow(new, now_ns)
        added = len(self._streams) - before
        if added > 0:
            self._reports.event("listed", now_ns, text=f"{VENUE}: {added} new options", value=added)
        self._go_on(now_ns)

    def _on_status(self, frame: bytes, now_ns: int) -> None:
        """Take a `status` frame: maintenance that is planned, under way or over."""
        for status in decode_statuses(frame).data:
            severity = "info" if status.state in ("completed", "canceled") else "warning"
            text = f"{VENUE}: maintenance {status.state}: {status.title} (service {status.serviceType})"
            self._reports.event("notice", now_ns, severity, text)


def _channel(argument: Argument) -> str:
    """Return the text by which a channel is kept."""
    parts = [argument.channel]
    for name in ("instType", "instFamily", "instId"):
        if value := getattr(argument, name):
            parts.append(f'{name}":"{value}')
    return '","'.join(parts)
