"""What the feed's venue records say: each venue's state in plain values, and which venues are silent. Pure."""

import math
from typing import Any

import numpy as np

from volsurface.market.quote import VENUE_STATES

_DOWN = VENUE_STATES.index("down")


def silent_venues(venues: np.ndarray, now_ns: int, stale_ns: int) -> tuple[str, ...]:
    """Return the venues that deliver nothing: down, or without a message for `stale_ns`, while another one delivers.

    venues: records of market.quote.VENUE. Where none delivers nothing can be said of one against the others: the whole
    surface is then stale. A venue from which nothing ever came has no quotes to leave out either.
    """
    silent = (venues["state"] == _DOWN) | (now_ns - venues["last_receive_ns"] > stale_ns)
    if silent.all():
        return ()
    return tuple(sorted(name.decode() for name in venues["name"][silent]))


def venue_status(record: np.void, now_ns: int, connected: bool) -> dict[str, Any]:
    """Return one venue's state for a status strip, a table and the API.

    now_ns: the market's time. connected: whether the feed itself answers; without it every venue is down.
    delay_ms: our clock at receipt minus the venue's time in the message, median of the last second. clock_ms: how far our
    clock is ahead of the venue's: the delay's lower envelope less half a ping's way, so it also holds what the venue always
    waits before it sends; drift_ppm: its slope. lag_ms: the delay without that. coverage: share of listed options quoted.
    """
    received, venue_time = int(record["last_receive_ns"]), int(record["last_venue_ns"])
    delay, floor, trip = (float(record[name]) for name in ("delay_ms", "floor_ms", "round_trip_ms"))
    if math.isnan(delay) and received and venue_time:
        delay = (received - venue_time) / 1e6
    clock = floor - (0.5 * trip if trip == trip else 0.0)
    listed, quoted = int(record["listed"]), int(record["quoted"])
    return {
        "name": record["name"].decode(),
        "state": VENUE_STATES[record["state"]] if connected else "down",
        "last_receive_ns": received,
        "last_venue_ns": venue_time,
        "lag_ms": _known(max(0.0, delay - clock) if clock == clock else delay),
        "delay_ms": _known(delay),
        "clock_ms": _known(clock),
        "drift_ppm": _known(float(record["drift_ppm"])),
        "round_trip_ms": _known(trip),
        "age_s": max(0.0, (now_ns - received) / 1e9) if received else None,
        "messages": int(record["messages"]),
        "superseded": int(record["superseded"]),
        "messages_per_s": _known(float(record["messages_per_s"])) or 0.0,
        "rejected": int(record["rejected"]),
        "gaps": int(record["gaps"]),
        "reconnects": int(record["reconnects"]),
        "connections": int(record["connections"]),
        "connections_live": int(record["connections_live"]),
        "subscribed": int(record["subscribed"]),
        "listed": listed,
        "quoted": quoted,
        "coverage": quoted / listed if listed else None,
    }


def _known(value: float) -> float | None:
    return value if value == value else None
