"""Which channels a user may ask Deribit for, and how many of them one call may name."""

from collections.abc import Iterable

from volsurface.venues.channel_words import BOOK_OR_QUOTE, MARKPRICE, TICKER, checked_words
from volsurface.venues.deribit_names import VENUE

MAX_CHANNELS = 500  # per call, as Deribit recommends

# What a user may ask for, with the form of the channel's name; `markprice` is one channel per index.
OPTION_CHANNELS = {
    "ticker": "ticker.{name}.{interval}",
    "book": "book.{name}.{interval}",
    "quote": "quote.{name}",
    "trades": "trades.{name}.{interval}",
}
EXCLUSIVE = (
    BOOK_OR_QUOTE,
    (TICKER, MARKPRICE, "both give the mark, and the second would erase what the first brings"),
)


def checked_channels(channels: Iterable[str]) -> tuple[str, ...]:
    """Return the channels, each once; raises VenueError for one that is unknown or excludes another."""
    return checked_words(VENUE, channels, EXCLUSIVE)
