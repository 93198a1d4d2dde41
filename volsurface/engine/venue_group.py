"""The connections of one venue as one venue: their counts added up, and what is measured of them once a second."""

from collections.abc import Sequence

import numpy as np

from volsurface.io.connection import Connection
from volsurface.market.quote import CLOSED
from volsurface.market.row_table import RowTable, VenueHealth
from volsurface.market.venue_clock import VenueClock
from volsurface.venues.codec import Codec

_FROM_WORST = ("connecting", "listing", "subscribing", "live")


class VenueGroup:
    """One venue's record in every reply of the feed (`market.row_table.VenueCounts`).

    venue: its name. codecs: one per connection; none when the venue could not be started at all.
    """

    def __init__(self, venue: str, codecs: Sequence[Codec]) -> None:
        self.venue = venue
        self.codecs = codecs

    @property
    def state(self) -> str:
        """The worst state of the connections; "down" when all are, else one that is lost counts as connecting."""
        states = {codec.state for codec in self.codecs}
        if states <= {"down"}:
            return "down"
        if "down" in states:
            return "connecting"
        return next(state for state in _FROM_WORST if state in states)

    @property
    def messages(self) -> int:
        """Frames received."""
        return sum(codec.messages for codec in self.codecs)

    @property
    def superseded(self) -> int:
        """Frames never decoded because newer ones of their kind had come; only a patient codec has any."""
        return sum(getattr(codec, "superseded", 0) for codec in self.codecs)

    @property
    def rejected(self) -> int:
        """Frames or entries not understood."""
        return sum(codec.rejected for codec in self.codecs)

    @property
    def gaps(self) -> int:
        """Books dropped because a change was missing."""
        return sum(codec.gaps for codec in self.codecs)

    @property
    def reconnects(self) -> int:
        """Connections made again."""
        return sum(codec.reconnects for codec in self.codecs)

    @property
    def subscribed(self) -> int:
        """Channels confirmed."""
        return sum(codec.subscribed for codec in self.codecs)

    @property
    def listed(self) -> int:
        """Instruments followed."""
        return sum(codec.listed for codec in self.codecs)

    @property
    def last_receive_ns(self) -> int:
        """When the last frame came; 0 before the first."""
        return max((codec.last_receive_ns for codec in self.codecs), default=0)

    @property
    def last_venue_ns(self) -> int:
        """The newest venue time seen."""
        return max((codec.last_venue_ns for codec in self.codecs), default=0)


class VenueWatch:
    """Measures the health of a table's venues: rates, coverage, delays and clocks."""

    def __init__(self, table: RowTable, connections: Sequence[Connection]) -> None:
        self._table = table
        self._connections = connections
        self._clocks = {venue.venue: VenueClock() for venue in table.venues}
        self._venue_of = np.empty(0, np.int64)  # by instrument id, place in table.venues
        self._counted = self._counts()
        self._seen_ns = 0

    def measure(self, now_ns: int, elapsed_s: float) -> None:
        """Renew `table.health`; elapsed_s have passed since the last call."""
        rows = self._rows_by_venue()
        received_ns, told_ns = rows["ts_recv_ns"], rows["ts_venue_ns"]
        quoted = ((rows["bid"] > 0.0) | (rows["ask"] > 0.0)) & (rows["flags"] & CLOSED == 0)
        # Rows without a venue's time are those of listings; those without a price may be of lost books.
        fresh = quoted & (received_ns > self._seen_ns) & (told_ns > 0)
        counts = self._counts()
        for place, venue in enumerate(self._table.venues):
            health = self._table.health[venue.venue]
            health.messages_per_s = max(0, counts[venue.venue] - self._counted[venue.venue]) / elapsed_s
            mine = self._venue_of == place
            health.quoted = int((quoted & mine).sum())
            clock, chosen = self._clocks[venue.venue], fresh & mine
            health.delay_ms = clock.note(received_ns[chosen], told_ns[chosen])
            health.floor_ms, health.drift_ppm = clock.envelope(now_ns)
            self._count_connections(venue.venue, health)
        self._counted = counts
        self._seen_ns = max(self._seen_ns, int(received_ns.max(initial=0)))

    def _count_connections(self, venue: str, health: VenueHealth) -> None:
        mine = [connection for connection in self._connections if connection.codec.venue == venue]
        if mine:
            health.connections = len(mine)
            health.connections_live = sum(connection.codec.state == "live" for connection in mine)
            trips = np.array([connection.round_trip_s for connection in mine])
            health.round_trip_ms = 1e3 * float(np.nanmin(trips)) if np.isfinite(trips).any() else float("nan")

    def _rows_by_venue(self) -> np.ndarray:
        rows, known = self._table.rows, self._venue_of.size
        if rows.size > known:
            places = {venue.venue: place for place, venue in enumerate(self._table.venues)}
            fresh = [places.get(self._table.directory[iid].venue, -1) for iid in range(known, rows.size)]
            self._venue_of = np.append(self._venue_of, np.array(fresh, np.int64))
        return rows

    def _counts(self) -> dict[str, int]:
        return {venue.venue: venue.messages for venue in self._table.venues}
