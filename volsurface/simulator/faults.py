"""Faults a venue or a network has, on demand or at random rates: what the other side must survive."""

import random
from collections.abc import Collection, Mapping

from volsurface.errors import SettingsError, unknown_name
from volsurface.simulator.deribit_session import Heartbeat, Session
from volsurface.simulator.market import VenueMarket
from volsurface.simulator.publisher import Publisher

GAP, DROP, SILENCE, STORM, GARBAGE = KINDS = ("gap", "drop", "silence", "storm", "garbage")
GARBAGE_FRAMES = (
    b'{"jsonrpc":"2.0","method":"subscription","params":{"chan',
    b"<html><body>502 Bad Gateway</body></html>",
    b"[]",
)
LENGTH_S = 2.0  # of a silence or a storm that was not given one


class Faults:
    """Injects faults; `rates` are events per second per kind, 0 when not named.

    gap: the next change of one book is lost. drop: every connection is cut without a close frame. silence: nothing is
    published or asked for a while. storm: heartbeat requests every 20 ms for a while. garbage: frames that are no messages.
    """

    def __init__(
        self,
        market: VenueMarket,
        publisher: Publisher,
        sessions: Collection[Session],
        rates: Mapping[str, float],
        seed: int,
    ) -> None:
        for kind in rates:
            if kind not in KINDS:
                raise SettingsError(unknown_name("fault", kind, KINDS))
        self.counts = dict.fromkeys(KINDS, 0)
        self._market, self._publisher, self._sessions = market, publisher, sessions
        self._rates = dict(rates)
        self._random = random.Random(seed)
        self._silent_until = float("-inf")

    def silent(self, now: float) -> bool:
        """Return whether the venue is silent at `now` (seconds, monotonic)."""
        return now < self._silent_until

    def draw(self, now: float, elapsed: float) -> None:
        """Inject what the rates bring in the `elapsed` seconds before `now`."""
        for kind, rate in self._rates.items():
            if self._random.random() < rate * elapsed:
                self.inject(kind, now)

    def inject(self, kind: str, now: float, seconds: float = LENGTH_S, symbol: str | None = None) -> None:
        """Inject one fault now; `symbol` chooses the book of a gap, else any that somebody follows."""
        self.counts[kind] += 1
        if kind == GAP:
            self._lose_change(symbol)
        elif kind == SILENCE:
            self._silent_until = now + seconds
        else:
            for session in list(self._sessions):
                if kind == DROP:
                    session.abort()
                elif kind == GARBAGE:
                    for frame in GARBAGE_FRAMES:
                        session.send(frame)
                elif kind == STORM:
                    heartbeat = session.heartbeat or Heartbeat.started(1.0, now)
                    heartbeat.next_at, heartbeat.storm_until = now, now + seconds
                    session.heartbeat = heartbeat

    def _lose_change(self, symbol: str | None) -> None:
        followed = [option for option in self._market.options if self._publisher.has_book_audience(option)]
        if symbol is not None:
            followed = [option for option in followed if option.symbol == symbol]
        if followed:
            self._publisher.lost_changes.add(self._random.choice(followed))
