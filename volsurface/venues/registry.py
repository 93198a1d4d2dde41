"""The venues this program can talk to, by name."""

from collections.abc import Callable, Sequence

from volsurface.errors import VenueError, unknown_name
from volsurface.venues import deribit
from volsurface.venues.codec import Codec, Sink

_CODECS: dict[str, Callable[[Sequence[str], Sequence[str], Sink], Codec]] = {"deribit": deribit.DeribitCodec}
_URLS = {"deribit": deribit.URL}

VENUES = tuple(sorted(_CODECS))


def make_codec(venue: str, underlyings: Sequence[str], channels: Sequence[str], sink: Sink) -> Codec:
    """Return a codec for one connection to `venue` that writes into `sink`.

    underlyings: coins, "BTC"; channels: any of "ticker", "book", "quote", "trades", "markprice".
    Raises VenueError for a venue, underlying or channel that does not exist.
    """
    _check(venue)
    return _CODECS[venue](underlyings, channels, sink)


def default_url(venue: str) -> str:
    """Return the venue's public websocket address; raises VenueError for an unknown venue."""
    _check(venue)
    return _URLS[venue]


def _check(venue: str) -> None:
    if venue not in _CODECS:
        raise VenueError(unknown_name("venue", venue, VENUES))
