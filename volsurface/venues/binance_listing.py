"""The Binance options followed on one connection: which are listed, which streams they want, what each stream leads to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from volsurface.market.instrument import Instrument
from volsurface.venues.binance_messages import ExchangeInfo, decode_contract, decode_symbol
from volsurface.venues.binance_names import TRADING, VENUE, base_of, expiry_label, instrument_from
from volsurface.venues.binance_streams import IndexStream, OptionStream, Session, UnderlyingStream
from volsurface.venues.channel_words import BOOK, MARKPRICE, QUOTE, TICKER, TRADES
from volsurface.venues.codec import Sink
from volsurface.venues.following import Following
from volsurface.venues.normalised import LatestForward
from volsurface.venues.session_codec import MALFORMED, Route, pass_over
from volsurface.venues.sharding import in_shard
from volsurface.venues.subscriptions import Subscriptions

MAX_STREAMS = 200  # per connection, documented
PER_CALL = 100  # a frame of a few kilobytes

INDICES = "!index@arr"
MARKS, DEPTH, QUOTES = "{}@optionMarkPrice", "{}@depth@100ms", "{}@bookTicker"


@dataclass(frozen=True, slots=True)
class Part:
    """What one connection carries.

    market: marks, indices and open interest of all options.
    public: which of n equal shares (i, n) of the books, quotes and trades; None for none of them.
    """

    market: bool
    public: tuple[int, int] | None

    @property
    def path(self) -> str:
        """The path of the venue's address that serves it all."""
        if self.market and self.public:
            return "/stream"
        return "/market/stream" if self.market else "/public/stream"


def part_of(shard: tuple[int, int]) -> Part:
    """Return what connection i of n carries: the first one the marks, the others shares of the rest."""
    i, n = shard
    if n == 1:
        return Part(True, (0, 1))
    return Part(True, None) if i == 0 else Part(False, (i - 1, n - 1))


@dataclass(frozen=True, slots=True)
class Listing:
    """What `exchangeInfo` turned out to hold.

    options: ours. unread, reason: entries not understood, and why the last. coins: those that have options.
    """

    options: int
    unread: int
    reason: str
    coins: tuple[str, ...]


class BinanceOptions:
    """The streams of all followed options by symbol, and the route of each stream by its name as bytes.

    depth_streams: options by the stream of their book. refused: streams not to ask for now.
    overflow: streams that do not fit on the connection.
    """

    def __init__(
        self,
        coins: Sequence[str],
        channels: Sequence[str],
        part: Part,
        session: Session,
        sink: Sink,
    ) -> None:
        self.following: Following[OptionStream] = Following(sink, self._make)
        self.streams = self.following.streams
        self.routes: dict[bytes, Route] = {}
        self.subscriptions = Subscriptions(PER_CALL)
        self.underlyings: dict[str, UnderlyingStream] = {}  # by the venue's name, "BTCUSDT"
        self.depth_streams: dict[str, OptionStream] = {}
        self.refused: dict[str, None] = {}
        self.overflow = 0
        self._coins = coins
        self._channels = channels
        self._part = part
        self._session = session
        self._sink = sink
        self._common: dict[str, Route] = {}
        if part.market:
            self._common[INDICES] = IndexStream(self.underlyings, session).on_indices

    def take_listing(self, info: ExchangeInfo, now_ns: int) -> Listing:
        """Compare the listing with what is known: follow new options, close those that are gone."""
        present: dict[str, Instrument] = {}
        coins: dict[str, None] = {}
        unread, reason = 0, ""
        for raw in info.optionContracts:
            try:
                coins[decode_contract(raw).baseAsset] = None
            except MALFORMED as error:
                unread, reason = unread + 1, f"{error}: {bytes(raw)[:80].decode(errors='replace')}"
        for raw in info.optionSymbols:
            try:
                entry = decode_symbol(raw)
                coins[base_of(entry.symbol)] = None
                if entry.status == TRADING and self._is_ours(entry.symbol):
                    present[entry.symbol] = instrument_from(entry)
            except (*MALFORMED, ValueError) as error:
                unread, reason = unread + 1, f"{error}: {bytes(raw)[:80].decode(errors='replace')}"
        if present and not unread:  # an empty or damaged listing says nothing about what is gone
            self.following.close_absent(present, self._coins, now_ns)
        self.following.follow(present.values(), now_ns)
        self.fit()
        return Listing(len(present), unread, reason, tuple(coins))

    def _is_ours(self, symbol: str) -> bool:
        if base_of(symbol) not in self._coins:
            return False
        return self._part.market or (self._part.public is not None and in_shard(symbol, self._part.public))

    def _make(self, iid: int, instrument: Instrument) -> OptionStream:
        name = instrument.index_name
        if name not in self.underlyings:
            index = LatestForward(VENUE, instrument.underlying, 0, self._sink) if self._part.market else None
            self.underlyings[name] = UnderlyingStream(name, index, self.streams, self._session)
        return OptionStream(iid, instrument, self._session, self._sink)

    def expire(self, expiry_ns: int, now_ns: int) -> None:
        """Close all options that expired at `expiry_ns` or before."""
        self.following.expire(expiry_ns, now_ns)
        self.fit()

    # -- streams ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new connection: nothing is subscribed, everything known is wanted, every index is news."""
        self.subscriptions.reset()
        self.refused.clear()
        for underlying in self.underlyings.values():
            underlying.start()
        self.fit()

    def fit(self) -> None:
        """Want the streams of what is followed, as many as one connection may have, and leave the others.

        What a whole chain comes from goes first, then the nearest expiries.
        """
        wanted = dict(self._wanted_streams())
        self.overflow = max(0, len(wanted) - MAX_STREAMS)
        fitting = dict(list(wanted.items())[:MAX_STREAMS])
        for route in [name for name in self.routes if name.decode() not in fitting]:
            self.subscriptions.leave(route.decode())
            self.routes[route] = pass_over
        for name, take in fitting.items():
            self.routes[name.encode()] = take
            if name not in self.refused:
                self.subscriptions.want(name)

    def _wanted_streams(self) -> Iterable[tuple[str, Route]]:
        yield from self._common.items()
        if self._part.market and (TICKER in self._channels or MARKPRICE in self._channels):
            expiries = dict.fromkeys(
                (s.instrument.index_name, expiry_label(symbol)) for symbol, s in self.streams.items()
            )
            for name, underlying in self.underlyings.items():
                yield MARKS.format(name.lower()), underlying.on_marks
            for name, date in sorted(expiries):
                yield f"{name.lower()}@optionOpenInterest@{date}", self.underlyings[name].on_open_interest
        if self._part.public is None:
            return
        if TRADES in self._channels:
            for name, underlying in self.underlyings.items():
                yield f"{name.lower()}@optionTrade", underlying.on_trade
        self.depth_streams.clear()
        for stream in sorted(self.streams.values(), key=lambda s: (s.instrument.expiry_ns, s.iid)):
            if BOOK in self._channels:
                name = self.depth_stream(stream)
                self.depth_streams[name] = stream
                yield name, stream.on_depth
            if QUOTE in self._channels:
                yield QUOTES.format(stream.instrument.symbol.lower()), stream.on_quote

    def confirmed(self, names: Sequence[str], now_ns: int) -> None:
        """The venue has acknowledged these streams: their marks count as late from now on."""
        for name, underlying in self.mark_streams():
            if name in names:
                underlying.last_marks_ns = now_ns

    def mark_streams(self) -> list[tuple[str, UnderlyingStream]]:
        """Return the wanted streams of marks by name."""
        names = ((MARKS.format(name.lower()), underlying) for name, underlying in self.underlyings.items())
        return [(name, underlying) for name, underlying in names if name.encode() in self.routes]

    def depth_stream(self, stream: OptionStream) -> str:
        """Return the name of the stream of an option's book."""
        return DEPTH.format(stream.instrument.symbol.lower())
