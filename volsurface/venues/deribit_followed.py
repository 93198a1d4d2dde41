"""The options followed on one Deribit connection: which are listed, what each of their channels leads to, when they end.

Changes of the listing are kept here; what has to be sent for them goes into the `Subscriptions`, and the codec sends it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from volsurface.market.instrument import Instrument
from volsurface.venues.channel_words import MARKPRICE
from volsurface.venues.codec import Sink
from volsurface.venues.deribit_channels import MAX_CHANNELS, OPTION_CHANNELS
from volsurface.venues.deribit_messages import MALFORMED, InstrumentEntry, InstrumentState, decode_entry
from volsurface.venues.deribit_names import (
    CLOSED_STATES,
    LINEAR_SUFFIX,
    VENUE,
    Family,
    entry_settlement,
    instrument_from,
)
from volsurface.venues.deribit_streams import IndexStream, MarkStream, OptionStream, Session
from volsurface.venues.normalised import LatestForward
from volsurface.venues.sharding import WHOLE, in_shard
from volsurface.venues.subscriptions import Subscriptions

Route = Callable[[bytes, int], None]


@dataclass(frozen=True, slots=True)
class Listing:
    """What a currency's listing turned out to hold: options followed in it, entries not understood, and why the last."""

    options: int
    unread: int
    reason: str


class FollowedOptions:
    """The streams of all followed options by symbol, and the route of each channel.

    listing_routes: what takes `instrument.<key>` frames, by "state" and "creation".
    shard: which options are followed; the first shard alone follows the indices and tells the forwards.
    routes: what takes a frame, by channel name as bytes.
    currencies: those whose listings hold the followed options, in the order asked.
    """

    def __init__(
        self,
        families: Sequence[Family],
        channels: Sequence[str],
        interval: str,
        session: Session,
        sink: Sink,
        listing_routes: Mapping[str, Route],
        shard: tuple[int, int] = WHOLE,
    ) -> None:
        self.interval = interval
        self.streams: dict[str, OptionStream] = {}
        self.routes: dict[bytes, Route] = {}
        self.currencies = tuple(dict.fromkeys(f.currency for f in families))
        self.subscriptions = Subscriptions(MAX_CHANNELS)
        self._families = families
        self._family_of = {(f.base, f.settlement): f for f in families}
        # The first family of a coin speaks for its index and forwards: linear and inverse ones differ a little.
        self._speaker: dict[str, Family] = {}
        for family in families:
            self._speaker.setdefault(family.base, family)
        self._forwards: dict[tuple[str, int], LatestForward] = {}
        self._expiries: Counter[int] = Counter()  # followed options per expiry
        self._channels = channels
        self._shard = shard
        self._session = session
        self._sink = sink
        self._common: dict[str, Route] = self._common_routes(listing_routes)
        self.routes.update((channel.encode(), route) for channel, route in self._common.items())

    # -- listings -----------------------------------------------------------------------------------------------------

    def take_listing(self, currency: str, entries: Iterable[msgspec.Raw], now_ns: int) -> Listing:
        """Compare a currency's listing with what is known: follow the new options, close those that are gone."""
        present: dict[str, None] = {}
        new: list[Instrument] = []
        unread, reason = 0, ""
        for raw in entries:
            try:
                instrument = self._wanted(decode_entry(raw))
            except (*MALFORMED, ValueError) as error:
                unread, reason = unread + 1, f"{error}: {bytes(raw)[:80].decode(errors='replace')}"
                continue
            if instrument is not None:
                present[instrument.symbol] = None
                new.append(instrument)
        if present and not unread:  # an empty or damaged listing says nothing about what is gone
            for symbol, stream in list(self.streams.items()):
                if symbol not in present and self._currency_of(stream.instrument) == currency:
                    self.close(stream, now_ns)
        self._follow(new, now_ns)
        return Listing(len(present), unread, reason)

    def take_entry(self, raw: msgspec.Raw, now_ns: int) -> Instrument | None:
        """Follow one newly created option; None when it is none of ours. Raises what `MALFORMED` names, or ValueError."""
        instrument = self._wanted(decode_entry(raw))
        if instrument is None or instrument.symbol in self.streams:
            return None
        self._follow([instrument], now_ns)
        return instrument

    def take_state(self, change: InstrumentState, now_ns: int) -> str | None:
        """Close an option that will not trade again; return the currency to list again when we do not know the name."""
        stream = self.streams.get(change.instrument_name)
        if change.state in CLOSED_STATES:
            if stream is not None:
                self.close(stream, now_ns)
            return None
        if stream is not None or not in_shard(change.instrument_name, self._shard):
            return None
        prefix = change.instrument_name.partition("-")[0]
        for family in self._families:
            if prefix == (family.base if family.currency == family.base else family.base + LINEAR_SUFFIX):
                return family.currency
        return None

    def _wanted(self, entry: InstrumentEntry) -> Instrument | None:
        if entry.kind != "option" or not entry.is_active or entry.state in CLOSED_STATES:
            return None
        if not in_shard(entry.instrument_name, self._shard):
            return None
        family = self._family_of.get((entry.base_currency, entry_settlement(entry)))
        return None if family is None else instrument_from(entry, family.index_name)

    def _currency_of(self, instrument: Instrument) -> str:
        return self._family_of[instrument.underlying, instrument.settlement].currency

    def _follow(self, instruments: Iterable[Instrument], now_ns: int) -> None:
        """Start the streams of those not followed yet, nearest expiry first."""
        new = [i for i in {i.symbol: i for i in instruments}.values() if i.symbol not in self.streams]
        if not new:
            return
        new.sort(key=lambda i: (i.expiry_ns, i.underlying, i.settlement, i.strike, i.right))
        added = []
        for iid, instrument in zip(self._sink.listed(new, now_ns), new, strict=True):
            stream = OptionStream(iid, instrument, self._forward_of(instrument), self._session, self._sink)
            self.streams[instrument.symbol] = stream
            self._add_routes(stream)
            self._expiries[instrument.expiry_ns] += 1
            added.append(stream)
        self._want(added)

    def _forward_of(self, instrument: Instrument) -> LatestForward | None:
        if self._shard[0] or self._speaker[instrument.underlying].settlement != instrument.settlement:
            return None
        return self._forward(instrument.underlying, instrument.expiry_ns)

    def _forward(self, underlying: str, expiry_ns: int) -> LatestForward:
        return self._forwards.setdefault(
            (underlying, expiry_ns), LatestForward(VENUE, underlying, expiry_ns, self._sink)
        )

    def close(self, stream: OptionStream, now_ns: int) -> None:
        """Stop following an option; frames that are still under way for it are passed over."""
        del self.streams[stream.instrument.symbol]
        expiry_ns = stream.instrument.expiry_ns
        self._expiries[expiry_ns] -= 1
        if not self._expiries[expiry_ns]:
            del self._expiries[expiry_ns]
        for _, channel in self._channels_of(stream):
            self.subscriptions.leave(channel)
            self.routes[channel.encode()] = _pass_over
        stream.drop_book(now_ns)
        self._sink.closed(stream.iid, now_ns)

    def expire(self, expiry_ns: int, now_ns: int) -> None:
        """Close all options that expired at `expiry_ns` or before."""
        for stream in [s for s in self.streams.values() if s.instrument.expiry_ns <= expiry_ns]:
            self.close(stream, now_ns)
        for key in [key for key in self._forwards if 0 < key[1] <= expiry_ns]:
            del self._forwards[key]

    def next_expiry_ns(self) -> int | None:
        """Return the nearest expiry of a followed option, or None when none is followed."""
        return min(self._expiries, default=None)

    # -- channels -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new connection: nothing is subscribed, everything known is wanted, every forward is news."""
        self.subscriptions.reset()
        for forward in self._forwards.values():
            forward.forget()
        for channel in self._common:
            self.subscriptions.want(channel)
        self._want(self.streams.values())

    @property
    def has_books(self) -> bool:
        """True when the options' books are kept, and not only their best prices."""
        return "book" in self._channels

    def change_interval(self, interval: str) -> None:
        """Ask for all channels again at another interval."""
        self.interval = interval
        self.routes.clear()
        self.routes.update((channel.encode(), route) for channel, route in self._common.items())
        for stream in self.streams.values():
            self._add_routes(stream)
        self.start()

    def book_channel(self, stream: OptionStream) -> str:
        """Return the name of an option's book channel."""
        return OPTION_CHANNELS["book"].format(name=stream.instrument.symbol, interval=self.interval)

    def _channels_of(self, stream: OptionStream) -> list[tuple[str, str]]:
        """Return (kind, channel) of each channel of an option."""
        name = stream.instrument.symbol
        return [
            (kind, form.format(name=name, interval=self.interval))
            for kind, form in OPTION_CHANNELS.items()
            if kind in self._channels
        ]

    def _add_routes(self, stream: OptionStream) -> None:
        routes = {
            "ticker": stream.on_ticker,
            "book": stream.on_book,
            "quote": stream.on_quote,
            "trades": stream.on_trades,
        }
        for kind, channel in self._channels_of(stream):
            self.routes[channel.encode()] = routes[kind]

    def _want(self, streams: Iterable[OptionStream]) -> None:
        """Want the channels of options, one kind after the other: the first calls bring a whole chain of tickers."""
        for channels in zip(*(self._channels_of(stream) for stream in streams), strict=True):
            for _, channel in channels:
                self.subscriptions.want(channel)

    def _common_routes(self, listing_routes: Mapping[str, Route]) -> dict[str, Route]:
        """Return the route of each channel that does not belong to one option."""
        routes: dict[str, Route] = {}
        for family in self._speaker.values() if not self._shard[0] else ():
            index = IndexStream(self._forward(family.base, 0), self._session, self._sink)
            routes[f"deribit_price_index.{family.index_name}"] = index.on_index
        if MARKPRICE in self._channels:
            marks = MarkStream(self.streams, self._session)
            for family in self._families:
                routes[f"markprice.options.{family.index_name}"] = marks.on_marks
        for currency in self.currencies:
            for kind, route in listing_routes.items():
                routes[f"instrument.{kind}.option.{currency}"] = route
        return routes


def _pass_over(_frame: bytes, _now_ns: int) -> None:
    """Take a late frame of an option that is not followed any more."""
