"""The words by which a user asks for channels, the same for every venue, and which of them a venue can serve."""

from collections.abc import Collection, Iterable

from volsurface.errors import VenueError, unknown_name

TICKER, BOOK, QUOTE, TRADES, MARKPRICE = WORDS = ("ticker", "book", "quote", "trades", "markprice")
BOOK_OR_QUOTE = (BOOK, QUOTE, "both give the best bid and ask, and neither is always the newer one")


def checked_words(
    venue: str, channels: Iterable[str], exclusive: Iterable[tuple[str, str, str]] = (BOOK_OR_QUOTE,)
) -> tuple[str, ...]:
    """Return the words, each once; raises VenueError for one that is unknown or excludes another (one, other, why)."""
    asked = tuple(dict.fromkeys(channels))
    for name in asked:
        if name not in WORDS:
            raise VenueError(f"{venue}: {unknown_name('channel', name, WORDS)}")
    for one, other, why in exclusive:
        if one in asked and other in asked:
            raise VenueError(f"{venue}: ask for {one!r} or {other!r}, not for both: {why}")
    if not asked:
        raise VenueError(f"{venue}: no channel asked for. Allowed: {', '.join(sorted(WORDS))}")
    return asked


def unserved(asked: Iterable[str], served: Collection[str]) -> str:
    """Return the sentence for words that a venue has no channel for; empty when it has all of them."""
    missing = [word for word in asked if word not in served]
    return f"no channel for {', '.join(missing)}; it has: {', '.join(served)}" if missing else ""
