"""What is measured of each venue once a second: rates, coverage, delays and clocks."""

from collections.abc import Sequence

import numpy as np

from volsurface.io.connection import Connection
from volsurface.market.quote import CLOSED
from volsurface.market.row_table import RowTable, VenueHealth
from volsurface.market.venue_clock import VenueClock


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
