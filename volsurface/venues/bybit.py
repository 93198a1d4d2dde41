"""Bybit's side of an option connection: JSON messages of the v5 websocket in, sink calls and frames to send out.

The instruments of each coin come over REST, page by page, and are read again now and then: no channel tells of new
ones. There is no channel for a whole chain either: each option has its ticker and its book, each coin its trades.
Maintenance is told on another endpoint of the venue, which this connection does not have.
"""

import re
from collections.abc import Iterable, Sequence
from typing import ClassVar
from urllib.parse import quote

import msgspec

from volsurface.errors import unknown_name
from volsurface.market.instrument import Instrument
from volsurface.venues.bybit_messages import (
    Envelope,
    decode_envelope,
    decode_instrument,
    decode_listing,
    decode_rest,
    decode_topics,
)
from volsurface.venues.bybit_names import COINS, TRADING, USDT, VENUE, instrument_from, settle_coin
from volsurface.venues.bybit_streams import OptionStream, TradeStream
from volsurface.venues.channel_words import BOOK, TICKER, TRADES, checked_words, unserved
from volsurface.venues.codec import Sink
from volsurface.venues.pacing import Pace
from volsurface.venues.rest_listed import RestListedCodec
from volsurface.venues.rest_listing import Page
from volsurface.venues.session_codec import Route
from volsurface.venues.sharding import WHOLE, Capacity, connections_for, in_shard
from volsurface.venues.subscriptions import SUBSCRIBE, UNSUBSCRIBE

URL = "wss://stream.bybit.com/v5/public/option"
REST_URL = "https://api.bybit.com"

OPTIONS_PER_UNDERLYING = 800  # more than 500 BTC options in 2023, when only USDC settled them
MAX_TOPICS, MAX_LETTERS = 2000, 21_000  # per connection
TOPICS_PER_CALL = 20  # no limit is documented for options; clients that work send so many
SUBSCRIBE_INTERVAL_NS, SUBSCRIBE_BURST = 50_000_000, 10
PAGE_SIZE = 1000

OPTION_TOPICS = {TICKER: "tickers.{symbol}", BOOK: "orderbook.25.{symbol}"}
TOPIC_MARK = b'"topic":"'
LETTERS_OF_A_SYMBOL = len("BTC-25DEC26-100000-C-USDT")
PASSING_REST_ERRORS = frozenset((10006, 10016, 10018, 10429))  # too many visits, internal error, too frequent
_PASSING = re.compile(r"too (many|frequent)|frequen|10006|10429|20003", re.IGNORECASE)


def connections(n_instruments: int, channels: Sequence[str]) -> int:
    """Return how many connections carry so many options; the letters of their topics are the narrower limit."""
    forms = [form for word, form in OPTION_TOPICS.items() if word in channels]
    letters = sum(len(form) - len("{symbol}") + LETTERS_OF_A_SYMBOL + 3 for form in forms)
    by_topics = connections_for(n_instruments * len(forms), MAX_TOPICS)
    return max(by_topics, connections_for(n_instruments * letters, MAX_LETTERS))


class BybitCodec(RestListedCodec[OptionStream]):
    """Options of the given coins on one Bybit connection; see `venues.codec.Codec` for the contract.

    underlyings: coins; options settled in USDC and those settled in USDT are both followed.
    channels: ticker, book and trades are served; the venue has none for quotes or marks alone.
    """

    venue = VENUE
    per_call = TOPICS_PER_CALL
    capacity = Capacity(MAX_TOPICS, MAX_LETTERS)
    ping_s, ping_always = 20, True
    refresh_s = 300  # nothing tells of new options
    blocked_s: ClassVar[dict[int, int]] = {403: 600}  # too many requests: the venue asks for ten minutes without any

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
        coins = [name for name in asked if name.isascii() and name.isalnum()]
        complaints = [unknown_name("underlying", name, COINS) for name in asked if name not in coins]
        complaints += filter(None, [unserved(words, (*OPTION_TOPICS, TRADES))])
        self._rest_url = rest_url.rstrip("/")
        self._forms = [form for word, form in OPTION_TOPICS.items() if word in words]
        self._tellers: dict[tuple[str, int], str] = {}  # whose options tell a forward: those settled in this coin
        super().__init__(coins, sink, shard, complaints)
        if TRADES in words:
            self._common.update((f"publicTrade.{coin}", self._trades_route()) for coin in coins)

    def _trades_route(self) -> Route:
        return TradeStream(self._streams, self, self.sink).on_trades

    # -- the venue's words --------------------------------------------------------------------------------------------

    def _listing_url(self, name: str, cursor: str) -> str:
        # The venue sends its cursor encoded already.
        query = f"category=option&baseCoin={quote(name)}&limit={PAGE_SIZE}&cursor={quote(cursor, safe='%')}"
        return f"{self._rest_url}/v5/market/instruments-info?{query}"

    def _read_listing(self, body: bytes) -> Page:
        answer = decode_rest(body)
        if answer.retCode != 0:
            reason = f"{answer.retCode} {answer.retMsg}"
            return Page([], refusal=reason, passing=answer.retCode in PASSING_REST_ERRORS)
        page = decode_listing(answer.result)
        return Page(page.entries, page.nextPageCursor or "")

    def _listed_names(self) -> str:
        return f"; known there: {', '.join(COINS)}"

    def _instrument(self, raw: msgspec.Raw) -> Instrument | None:
        entry = decode_instrument(raw)
        if entry.status != TRADING or entry.baseCoin not in self._listings:
            return None
        return instrument_from(entry)

    def _is_in_listing(self, instrument: Instrument, name: str) -> bool:
        return instrument.underlying == name

    def follow(self, instruments: Iterable[Instrument], now_ns: int) -> None:
        """Follow those of this shard that are new; where both kinds of an expiry are listed, USDT tells the forward."""
        new = list(instruments)
        for instrument in new:
            key, settle = (instrument.underlying, instrument.expiry_ns), settle_coin(instrument.symbol)
            if in_shard(instrument.symbol, self.shard) and (settle == USDT or key not in self._tellers):
                self._tellers[key] = settle
        super().follow(new, now_ns)

    def _make_stream(self, iid: int, instrument: Instrument) -> OptionStream:
        coin, expiry_ns, symbol = instrument.underlying, instrument.expiry_ns, instrument.symbol
        tells = self._tellers.get((coin, expiry_ns)) == settle_coin(symbol)
        forward, index = (self.forward_of(coin, expiry_ns), self.forward_of(coin, 0)) if tells else (None, None)
        stream = OptionStream(iid, instrument, forward, index, self, self.sink)
        routes: dict[str, Route] = {OPTION_TOPICS[TICKER]: stream.on_ticker, OPTION_TOPICS[BOOK]: stream.on_book}
        stream.routes = {form.format(symbol=symbol): routes[form] for form in self._forms}
        if OPTION_TOPICS[BOOK] in self._forms:
            stream.book_channel = OPTION_TOPICS[BOOK].format(symbol=symbol)
        return stream

    def _channels_of(self, symbol: str) -> Sequence[str]:
        return [form.format(symbol=symbol) for form in self._forms]

    def _call_frame(self, call_id: int, operation: str, channels: Sequence[str]) -> bytes:
        return msgspec.json.encode({"req_id": str(call_id), "op": operation, "args": channels})

    def _ping_frame(self) -> bytes:
        return b'{"req_id":"ping","op":"ping"}'

    def _new_pace(self) -> Pace:
        return Pace(SUBSCRIBE_INTERVAL_NS, SUBSCRIBE_BURST)

    # -- frames -------------------------------------------------------------------------------------------------------

    def _take(self, frame: bytes, now_ns: int) -> None:
        """Take one frame. The topic is found without parsing; then one typed decoder reads the whole frame."""
        start = frame.find(TOPIC_MARK) + 9
        if start > 8:
            route = self._routes.get(frame[start : frame.find(b'"', start)])
            if route is not None:
                route(frame, now_ns)
                return
        self._receive_other(frame, now_ns)

    def _receive_other(self, frame: bytes, now_ns: int) -> None:
        envelope = decode_envelope(frame)
        if envelope.op == "pong" or envelope.ret_msg == "pong":
            return
        if envelope.topic:  # one we do not follow, or JSON with spaces in it
            route = self._routes.get(envelope.topic.encode())
            if route is None:
                self.reject(frame, f"unknown topic {envelope.topic[:60]}", now_ns)
            else:
                route(frame, now_ns)
        elif envelope.type == "COMMAND_RESP":
            self._take_topics(envelope, now_ns)
        elif envelope.op in (SUBSCRIBE, UNSUBSCRIBE):
            self._take_result(envelope, now_ns)
        elif envelope.op != "ping":
            self.reject(frame, "neither an answer nor market data", now_ns)

    def _take_topics(self, envelope: Envelope, now_ns: int) -> None:
        """Take an answer of the option endpoint: it names the topics and not the request, but comes in order."""
        topics = decode_topics(envelope.data)
        granted, refused = topics.successTopics or [], topics.failTopics or []
        if envelope.success is False or refused:
            text = f"{VENUE} refused {len(refused)} topics: {envelope.ret_msg or ''} {' '.join(refused[:3])}"
            self._reports.event("reject_frame", now_ns, "error", text)
        asked_about = (self._calls.waiting_for(topic) for topic in (*granted, *refused))
        call_id = next((found for found in asked_about if found is not None), None)
        if call_id is not None:
            self.take_confirmed(call_id, granted, refused, now_ns)

    def _take_result(self, envelope: Envelope, now_ns: int) -> None:
        """Take an answer in the shape of the venue's other endpoints: it is about the whole request."""
        name = envelope.req_id or ""
        call_id = int(name) if name.isdecimal() and len(name) < 16 else 0
        call = self._calls.get(call_id)
        if call is None:
            return
        if envelope.success:
            self.take_confirmed(call_id, list(call.waiting), [], now_ns)
            return
        words = envelope.ret_msg or ""
        self._reports.event("reject_frame", now_ns, "error", f"{VENUE} refused a request: {words}")
        named = [topic for topic in call.waiting if topic in words]
        if not named:
            self.take_refusal(call_id, _PASSING.search(words) is not None, now_ns)
        elif "already" in words.lower():
            self.take_confirmed(call_id, named, [], now_ns)
            self._calls.repeat(call_id)
        else:  # one bad topic refuses the request: ask for the others again
            self.take_confirmed(call_id, [], named, now_ns)
            self._calls.repeat(call_id)
        self._go_on(now_ns)
