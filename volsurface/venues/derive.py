"""Derive's side of a connection as a state machine: JSON-RPC frames in, sink calls and frames to send out.

    connecting --connected--> listing --instruments--> subscribing --all answered--> live
    any        --disconnected--> down --connected--> listing, or subscribing when options are known from before

Books come as whole windows and at least once a second, so there are no gaps, and a book that is silent for some seconds
has lost its subscription: it is dropped and subscribed to again. Every answer to `subscribe` tells all channels that are
held, which shows what was dropped in between.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from volsurface.errors import unknown_name
from volsurface.market.instrument import Instrument
from volsurface.venues.calling_codec import Call, CallingCodec
from volsurface.venues.channel_words import BOOK, QUOTE, TRADES, checked_words
from volsurface.venues.codec import HttpRequest, Sink
from volsurface.venues.derive_messages import (
    RpcError,
    decode_currencies,
    decode_entries,
    decode_entry,
    decode_envelope,
    decode_subscribed,
)
from volsurface.venues.derive_names import VENUE, instrument_from
from volsurface.venues.derive_streams import CurrencyStream, OptionStream
from volsurface.venues.following import Following
from volsurface.venues.normalised import NS_PER_S, LatestForward
from volsurface.venues.pacing import Pace
from volsurface.venues.session_codec import MALFORMED, Route, pass_over
from volsurface.venues.sharding import WHOLE, in_shard
from volsurface.venues.subscriptions import SUBSCRIBE, UNSUBSCRIBE, Subscriptions

URL = "wss://api.lyra.finance/ws"
REST_URL = "https://api.lyra.finance"  # not asked: the websocket lists too
OPTIONS_PER_UNDERLYING = 600  # no listing of the venue was at hand
PER_CALL = 100  # channels; no limit is documented
DEPTH = 20  # levels a side

BOOK_SILENCE_S = 5  # an unchanged book is sent every second
BOOKS_EVERY_S = 1  # how often silent books are looked for
RELIST_S, RELIST_EVERY_S = 30, 300  # listings are read again after an expiry; new options are told nowhere
REFUSED_S = 60  # what was refused is asked for again

# Documented: 5 calls a second, bursts of five times that.
CALL_INTERVAL_NS, CALL_BURST = 250_000_000, 10

# Parse error, invalid request, unknown method, invalid params, invalid channels: the same call will never succeed.
LASTING_ERRORS = frozenset((-32700, -32600, -32601, -32602, 13000))

GET_INSTRUMENTS, GET_CURRENCIES = "public/get_instruments", "public/get_all_currencies"
OK = "ok"


def connections(_n_instruments: int, _channels: Sequence[str]) -> int:
    """Return 1: no limit of channels per connection is documented."""
    return 1


class DeriveCodec(CallingCodec):
    """Options of the given coins on one Derive connection; see `venues.codec.Codec` for the contract.

    underlyings: coins, "BTC"; one without options is an event when its listing has come.
    channels: any of book, trades, and ticker, markprice, quote, which are one channel here; quote makes it faster.
    rest_url: not used. shard: (i, n), this is connection i of n.
    """

    venue = VENUE
    channel_mark = b'"channel":"'

    def __init__(
        self,
        underlyings: Sequence[str],
        channels: Sequence[str],
        sink: Sink,
        *,
        rest_url: str = REST_URL,
        shard: tuple[int, int] = WHOLE,
    ) -> None:
        super().__init__(underlyings, sink)
        words = checked_words(VENUE, channels)
        self._has_books = BOOK in words
        self._ticker_ms = 100 if QUOTE in words else 1000 if set(words) - {BOOK, TRADES} else 0
        self._has_trades = TRADES in words
        self._shard = shard
        self._following: Following[OptionStream] = Following(sink, self._make)
        self._streams = self._following.streams
        self._book_streams: dict[str, OptionStream] = {}
        self._subscriptions = Subscriptions(PER_CALL)
        self._refused: dict[str, None] = {}
        self._forwards: dict[tuple[str, int], LatestForward] = {}
        self._currencies = {
            coin: CurrencyStream(self._forward(coin, 0), coin, self._streams, self, sink) for coin in self._coins
        }
        self._due |= {
            "refused": self._refused_due,
            "books": self._books_due,
            "relist": self._relist_due,
        }
        self._pace = Pace(CALL_INTERVAL_NS, CALL_BURST)
        self._to_call: dict[tuple[str, str], dict[str, Any]] = {}  # params of calls that wait, by method and coin
        self._unlisted = dict.fromkeys(self._coins)  # coins whose options were never told
        self._unknown: dict[str, None] = {}  # coins that have none
        self._setbacks = 0  # refusals in a row; each doubles the pause
        self._relist_ns = 0  # when the listings will be read again

    # -- the connection -----------------------------------------------------------------------------------------------

    def _start(self, now_ns: int) -> None:
        """Want indices, listings, and the channels of options known from before."""
        self._to_call.clear()
        self._refused.clear()
        self._subscriptions.reset()
        for forward in self._forwards.values():
            forward.forget()
        self._want()
        self._list_all(now_ns)
        if self._has_books:
            self._timers.set(now_ns + BOOKS_EVERY_S * NS_PER_S, "books")
        self.state = "listing" if self._unlisted else "subscribing"

    def requests_to_make(self) -> list[HttpRequest]:
        """Return nothing: Derive lists over the websocket."""
        return []

    def answered(self, tag: str, status: int, body: bytes, now_ns: int) -> None:
        """Take an answer to a request, of which there are none."""

    # -- answers --------------------------------------------------------------------------------------------------------

    def _receive_other(self, frame: bytes, now_ns: int) -> None:
        envelope = decode_envelope(frame)
        if envelope.params is not None and envelope.params.channel:  # one we do not follow, or JSON with spaces in it
            route = self._routes.get(envelope.params.channel.encode())
            if route is None:
                self.reject(frame, f"unknown channel {envelope.params.channel[:60]}", now_ns)
            else:
                route(frame, now_ns)
        elif envelope.error is not None:
            self._take_error(self._forget_call(envelope.id), envelope.error, now_ns)
        elif isinstance(envelope.id, int) and envelope.id in self._calls:
            self._take_result(self._calls[envelope.id], envelope.result, now_ns)
            self._forget_call(envelope.id)  # only now: an answer that cannot be read counts as missing
            self._go_on(now_ns)
        else:
            self.reject(frame, "an answer to nothing that was asked", now_ns)

    def _take_result(self, call: Call, result: msgspec.Raw, now_ns: int) -> None:
        if call.method == SUBSCRIBE:
            self._take_subscribed(call.params["channels"], result, now_ns)
        elif call.method == GET_INSTRUMENTS:
            self._take_listing(call.params["currency"], decode_entries(result), now_ns)
        elif call.method == GET_CURRENCIES:
            allowed = [entry.currency for entry in decode_currencies(result) if "option" in entry.instrument_types]
            for coin in self._unknown:
                text = f"{VENUE}: {unknown_name('underlying', coin, allowed)}"
                self._reports.event("listed", now_ns, "warning", text)
            self._unknown.clear()
        self._setbacks = 0

    def _take_subscribed(self, asked: Sequence[str], result: msgspec.Raw, now_ns: int) -> None:
        answer = decode_subscribed(result)
        refused = self._subscriptions.answered(asked, [name for name in asked if answer.status.get(name) == OK])
        if refused:
            why = answer.status.get(refused[0], "not in the answer")
            self._reports.names("dropped", refused, f"channels not confirmed ({why[:60]})", now_ns)
            self._give_up(refused, now_ns)
        for name in asked:
            stream = self._book_streams.get(name)
            if stream is not None and name in self._subscriptions.confirmed:
                stream.book_ns = now_ns  # its silence counts from now on
        if answer.current_subscriptions is not None:
            held = frozenset(answer.current_subscriptions)
            missing = [name for name in self._subscriptions.confirmed if name not in held]
            self._reports.names("dropped", missing, "channels confirmed and then dropped", now_ns)
            for name in missing:
                self._renew(name, now_ns)

    def _take_listing(self, coin: str, entries: Sequence[msgspec.Raw], now_ns: int) -> None:
        present: dict[str, Instrument] = {}
        unread, reason = 0, ""
        for raw in entries:
            try:
                entry = decode_entry(raw)
                if entry.instrument_type == "option" and entry.is_active and entry.base_currency == coin:
                    instrument = instrument_from(entry)
                    if in_shard(instrument.symbol, self._shard):
                        present[instrument.symbol] = instrument
            except (*MALFORMED, ValueError) as error:
                unread, reason = unread + 1, f"{error}: {bytes(raw)[:80].decode(errors='replace')}"
        self._unlisted.pop(coin, None)
        if present and not unread:  # an empty or damaged listing says nothing about what is gone
            self._following.close_absent(present, (coin,), now_ns)
        self._following.follow(present.values(), now_ns)
        self._want()
        if unread:
            self.rejected += unread
            text = f"{VENUE} {coin}: {unread} listing entries not understood: {reason}"
            self._reports.event("reject_frame", now_ns, "warning", text, value=unread)
        severity = "info" if present else "warning"
        self._reports.event("listed", now_ns, severity, f"{VENUE} {coin}: {len(present)} options", value=len(present))
        if not entries:
            self._ask_currencies(coin)

    def _take_error(self, call: Call | None, error: RpcError, now_ns: int) -> None:
        """Make an error an event, and decide by its code whether to ask again soon, later or with a pause."""
        what = call.method if call else "a frame"
        data = bytes(error.data).decode(errors="replace")
        text = f"{VENUE} refused {what}: {error.code} {error.message} {data}"
        self._reports.event("reject_frame", now_ns, "error", text)
        if call is None:
            return
        if error.code not in LASTING_ERRORS:  # too many calls, or something of the venue's own
            until_ns = now_ns + min(60, 1 << self._setbacks) * NS_PER_S
            self._setbacks = min(self._setbacks + 1, 6)
            self._pace.penalise(until_ns)
            self._ask_again(call)
        elif call.method == SUBSCRIBE:
            self._give_up(self._subscriptions.give_up(call.params["channels"]), now_ns)
        elif call.method == GET_INSTRUMENTS:
            self._unlisted.pop(call.params["currency"], None)
            self._ask_currencies(call.params["currency"])
        self._go_on(now_ns)

    def _give_up(self, channels: Sequence[str], now_ns: int) -> None:
        """Do not ask for these channels again for a while."""
        self._refused.update(dict.fromkeys(channels))
        self._timers.set(now_ns + REFUSED_S * NS_PER_S, "refused")

    def _ask_currencies(self, coin: str) -> None:
        """Ask which coins have options, since this one has none: to be named in the event."""
        if self._connections == 1 and self._shard[0] == 0:
            self._unknown[coin] = None
            self._to_call[GET_CURRENCIES, ""] = {}

    # -- calls, their pace, and what is due -----------------------------------------------------------------------------

    def _ask_again(self, call: Call) -> None:
        """Repeat a call that failed; a failed unsubscribe is repaired by the watch over silent books instead."""
        if call.method == SUBSCRIBE:
            self._subscriptions.ask_again(call.params["channels"])
        elif call.method != UNSUBSCRIBE:
            self._to_call[call.method, call.params.get("currency", "")] = call.params

    def _list_all(self, now_ns: int) -> None:
        for coin in self._coins:
            params = {"currency": coin, "instrument_type": "option", "expired": False}
            self._to_call[GET_INSTRUMENTS, coin] = params
        self._relist_ns = now_ns + RELIST_EVERY_S * NS_PER_S
        self._timers.set(self._relist_ns, "relist")

    def _go_on(self, now_ns: int) -> None:
        """Send the waiting calls that the pace allows, set timers for the rest, and bring state and counts up to date."""
        subscriptions = self._subscriptions
        while self._to_call or subscriptions.waiting:
            if (ready_ns := self._pace.ready_ns()) > now_ns:
                self._timers.set(ready_ns, "pace")
                break
            self._pace.spend(now_ns)
            if self._to_call:
                (method, coin), params = next(iter(self._to_call.items()))
                del self._to_call[method, coin]
                self._call(method, params, now_ns)
            else:
                operation, channels = subscriptions.next_call()
                self._call(operation, {"channels": channels}, now_ns)
        self.listed = len(self._streams)
        self.subscribed = len(subscriptions.confirmed)
        self._watch_expiry()
        if self.state in ("listing", "subscribing") and not self._unlisted:
            self.state = "live" if subscriptions.complete else "subscribing"

    def _refused_due(self, _key: Any, now_ns: int) -> None:
        self._refused.clear()
        self._want()

    def _books_due(self, _key: Any, now_ns: int) -> None:
        """Drop books that have been silent for too long, and subscribe to them again, more and more rarely."""
        for name in list(self._subscriptions.confirmed):
            stream = self._book_streams.get(name)
            if stream is not None and now_ns - stream.book_ns > (BOOK_SILENCE_S << min(stream.renewals, 5)) * NS_PER_S:
                stream.renewals += 1
                self.gaps += 1
                symbol = stream.instrument.symbol
                self._reports.event(
                    "gap", now_ns, "warning", f"{symbol}: no book for {BOOK_SILENCE_S} s", iid=stream.iid
                )
                self._renew(name, now_ns)
        self._timers.set(now_ns + BOOKS_EVERY_S * NS_PER_S, "books")

    def _renew(self, name: str, now_ns: int) -> None:
        self._subscriptions.renew(name)
        stream = self._book_streams.get(name)
        self._reports.event("resubscribe", now_ns, text=name, iid=-1 if stream is None else stream.iid)
        if stream is not None:
            stream.drop_book(now_ns)

    def _expire(self, until_ns: int, now_ns: int) -> None:
        self._following.expire(until_ns, now_ns)
        for key in [key for key in self._forwards if 0 < key[1] <= until_ns]:
            del self._forwards[key]
        self._want()
        due_ns = now_ns + RELIST_S * NS_PER_S  # what is listed in place of the expired
        if due_ns < self._relist_ns:
            self._relist_ns = due_ns
            self._timers.set(due_ns, "relist")

    def _relist_due(self, _key: Any, now_ns: int) -> None:
        self._list_all(now_ns)

    # -- channels -------------------------------------------------------------------------------------------------------

    def _make(self, iid: int, instrument: Instrument) -> OptionStream:
        forward = self._forward(instrument.underlying, instrument.expiry_ns)
        return OptionStream(iid, instrument, forward, self, self.sink)

    def _forward(self, coin: str, expiry_ns: int) -> LatestForward:
        return self._forwards.setdefault((coin, expiry_ns), LatestForward(VENUE, coin, expiry_ns, self.sink))

    def _want(self) -> None:
        """Want the channels of what is followed, whole kinds one after the other, and leave the others."""
        wanted = dict(self._wanted_channels())
        for name in [name for name in self._routes if name.decode() not in wanted]:
            self._subscriptions.leave(name.decode())
            self._routes[name] = pass_over
        for text, route in wanted.items():
            self._routes[text.encode()] = route
            if text not in self._refused:
                self._subscriptions.want(text)

    def _wanted_channels(self) -> list[tuple[str, Route]]:
        wanted: list[tuple[str, Route]] = []
        if self._shard[0] == 0:
            wanted += [(f"spot_feed.{coin}", currency.on_spot) for coin, currency in self._currencies.items()]
        if self._has_trades:
            wanted += [(f"trades.option.{coin}", currency.on_trades) for coin, currency in self._currencies.items()]
        streams = sorted(self._streams.items(), key=lambda item: (item[1].instrument.expiry_ns, item[1].iid))
        if self._ticker_ms:
            wanted += [(f"ticker_slim.{symbol}.{self._ticker_ms}", stream.on_ticker) for symbol, stream in streams]
        self._book_streams.clear()
        if self._has_books:
            self._book_streams.update((f"orderbook.{symbol}.1.{DEPTH}", stream) for symbol, stream in streams)
            wanted += [(name, stream.on_book) for name, stream in self._book_streams.items()]
        return wanted
