"""A published surface as one message: the surface, the quotes it was fitted to, and when; replaced whole, never split."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from volsurface.errors import TransportError
from volsurface.surface.quoted import COLUMNS, QuotedVols
from volsurface.surface.surface import Surface


@dataclass(frozen=True, slots=True, eq=False)
class Publication:
    """One publication of one underlying's surface.

    surface_id: counts publications of this underlying since the engine started.
    market_time_ns: the market's time the surface is valued at; published_ns: our clock when it was published.
    newest_quote_ns: receive time of the newest quote in it; oldest_tick_ns: receive time of the oldest change it is the
    first to show (published_ns - oldest_tick_ns is the tick-to-surface latency).
    changed: bit i set: smile i differs from the publication before. spot: the index, NaN when unknown.
    model_words, model_gain: of a mixture, where `fit.model` asks for one: what is shown and why; the share of the used quotes
    that it has inside bid and ask, minus SVI's (None: SVI is shown).
    """

    underlying: str
    surface_id: int
    market_time_ns: int
    published_ns: int
    newest_quote_ns: int
    oldest_tick_ns: int
    changed: int
    spot: float
    settings_version: int
    surface: Surface
    quotes: QuotedVols
    model_words: str = ""
    model_gain: float | None = None

    def encode(self) -> bytes:
        """Return the message; floats travel as float64, bit for bit."""
        quotes = self.quotes
        return msgspec.msgpack.encode(
            {
                "underlying": self.underlying,
                "surface_id": self.surface_id,
                "market_time_ns": self.market_time_ns,
                "published_ns": self.published_ns,
                "newest_quote_ns": self.newest_quote_ns,
                "oldest_tick_ns": self.oldest_tick_ns,
                "changed": self.changed,
                "spot": self.spot,
                "settings_version": self.settings_version,
                "model_words": self.model_words,
                "model_gain": self.model_gain,
                "surface": self.surface.to_dict(),
                "venues": list(quotes.venues),
                "columns": {
                    name: np.ascontiguousarray(getattr(quotes, name), dtype).tobytes()
                    for name, dtype in COLUMNS.items()
                },
            }
        )

    @staticmethod
    def decode(message: bytes) -> "Publication":
        """Return the publication in `message`; raises TransportError when it is not one."""
        try:
            fields: Mapping[str, Any] = msgspec.msgpack.decode(message)
            columns = {name: np.frombuffer(fields["columns"][name], dtype) for name, dtype in COLUMNS.items()}
            return Publication(
                surface=Surface.from_dict(fields["surface"]),
                quotes=QuotedVols(tuple(fields["venues"]), **columns),
                **{name: fields[name] for name in _PLAIN},
            )
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise TransportError(f"not a published surface: {error!r}") from error


_PLAIN = (
    "underlying surface_id market_time_ns published_ns newest_quote_ns oldest_tick_ns changed spot settings_version "
    "model_words model_gain"
).split()


class NewestPublications(Mapping[str, Publication]):
    """The newest publication by underlying, decoded when somebody looks: of twenty a second a page draws five."""

    def __init__(self) -> None:
        self._messages: dict[str, bytes] = {}
        self._decoded: dict[str, Publication] = {}

    def put(self, underlying: str, message: bytes) -> None:
        """Replace the publication of one underlying."""
        self._messages[underlying] = message
        self._decoded.pop(underlying, None)

    def drop(self, underlying: str) -> None:
        """Forget one underlying, if it is known."""
        self._messages.pop(underlying, None)
        self._decoded.pop(underlying, None)

    def __getitem__(self, underlying: str) -> Publication:
        publication = self._decoded.get(underlying)
        if publication is None:
            publication = self._decoded[underlying] = Publication.decode(self._messages[underlying])
        return publication

    def __iter__(self) -> Iterator[str]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)
