"""The venues this program can talk to, by name: their codecs, their addresses, and how many connections they need."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from volsurface.errors import VenueError, unknown_name
from volsurface.venues import binance, bybit, deribit, derive, okx
from volsurface.venues.codec import Codec, Sink
from volsurface.venues.sharding import WHOLE


class _CodecMaker(Protocol):
    def __call__(
        self, underlyings: Sequence[str], channels: Sequence[str], sink: Sink, *, rest_url: str, shard: tuple[int, int]
    ) -> Codec: ...


@dataclass(frozen=True, slots=True)
class Venue:
    """What a codec's module says of its venue.

    url, rest_url: the venue's own addresses. connections: how many its documented limits require for so many
    instruments and these channels. options_per_underlying: size of a typical listing, rounded up, for that.
    path: what follows the websocket address on connection i of n, where the venue serves its streams under several.
    """

    codec: _CodecMaker
    url: str
    rest_url: str
    connections: Callable[[int, Sequence[str]], int]
    options_per_underlying: int
    path: Callable[[tuple[int, int]], str] = lambda shard: ""


# Listing sizes: deribit lists 700 to 900 BTC options on 11 expiries (20 May 2026).
_VENUES = {
    binance.VENUE: Venue(
        binance.BinanceCodec,
        binance.URL,
        binance.REST_URL,
        binance.connections,
        binance.OPTIONS_PER_UNDERLYING,
        binance.path,
    ),
    bybit.VENUE: Venue(bybit.BybitCodec, bybit.URL, bybit.REST_URL, bybit.connections, bybit.OPTIONS_PER_UNDERLYING),
    derive.VENUE: Venue(
        derive.DeriveCodec, derive.URL, derive.REST_URL, derive.connections, derive.OPTIONS_PER_UNDERLYING
    ),
    deribit.VENUE: Venue(deribit.DeribitCodec, deribit.URL, deribit.REST_URL, deribit.connections, 1000),
    okx.VENUE: Venue(okx.OkxCodec, okx.URL, okx.REST_URL, okx.connections, okx.OPTIONS_PER_UNDERLYING),
}

VENUES = tuple(sorted(_VENUES))


def make_codec(
    venue: str,
    underlyings: Sequence[str],
    channels: Sequence[str],
    sink: Sink,
    rest_url: str | None = None,
    shard: tuple[int, int] = WHOLE,
) -> Codec:
    """Return a codec for one connection to `venue` that writes into `sink`.

    underlyings: coins, "BTC"; channels: any of "ticker", "book", "quote", "trades", "markprice".
    rest_url: used instead of the venue's own. shard: (i, n), this is connection i of n.
    Raises VenueError for a venue, underlying or channel that does not exist.
    """
    entry = _entry(venue)
    return entry.codec(underlyings, channels, sink, rest_url=rest_url or entry.rest_url, shard=shard)


def default_url(venue: str) -> str:
    """Return the venue's public websocket address; raises VenueError for an unknown venue."""
    return _entry(venue).url


def shard_url(venue: str, url: str, shard: tuple[int, int]) -> str:
    """Return where connection i of n (`shard`) goes at a websocket address; VenueError for an unknown venue."""
    return url.rstrip("/") + path if (path := _entry(venue).path(shard)) else url


def default_rest_url(venue: str) -> str:
    """Return the venue's public REST address; raises VenueError for an unknown venue."""
    return _entry(venue).rest_url


def connections_needed(venue: str, n_underlyings: int, channels: Sequence[str]) -> int:
    """Return how many connections the venue's limits require for so many coins; VenueError for an unknown venue."""
    entry = _entry(venue)
    return entry.connections(n_underlyings * entry.options_per_underlying, channels)


def _entry(venue: str) -> Venue:
    if venue not in _VENUES:
        raise VenueError(unknown_name("venue", venue, VENUES))
    return _VENUES[venue]
