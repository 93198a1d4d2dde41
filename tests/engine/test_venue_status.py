"""Venue records in words and numbers, and who is silent."""

import numpy as np
import pytest

from volsurface.engine.venue_status import silent_venues, venue_status
from volsurface.market.quote import VENUE, VENUE_STATES

S, MS = 1_000_000_000, 1_000_000
NOW = 1_790_000_000 * S
NAN = np.nan


def records(**venues: tuple[str, float]) -> np.ndarray:
    """Records by name: (state, seconds since the last message)."""
    out = np.zeros(len(venues), VENUE)
    for at, (name, (state, age_s)) in enumerate(venues.items()):
        out[at]["name"], out[at]["state"] = name.encode(), VENUE_STATES.index(state)
        out[at]["last_receive_ns"] = NOW - int(age_s * S)
        for field in ("delay_ms", "floor_ms", "drift_ppm", "round_trip_ms", "messages_per_s"):
            out[at][field] = NAN
    return out


@pytest.mark.parametrize(
    ("venues", "silent"),
    [
        ({"okx": ("live", 1), "bybit": ("live", 2)}, ()),
        ({"okx": ("live", 1), "bybit": ("down", 1)}, ("bybit",)),
        ({"okx": ("live", 1), "bybit": ("live", 11), "a": ("down", 1)}, ("a", "bybit")),
        ({"okx": ("live", 1), "bybit": ("connecting", 2)}, ()),
        ({"okx": ("down", 1), "bybit": ("live", 11)}, ()),
        ({"okx": ("down", 1)}, ()),
        ({}, ()),
    ],
)
def test_a_venue_is_silent_only_against_one_that_is_not(venues, silent):
    assert silent_venues(records(**venues), NOW, 10 * S) == silent


def test_lag_is_what_a_message_waited_beyond_the_difference_of_the_clocks():
    (record,) = records(okx=("live", 1))
    record["delay_ms"], record["floor_ms"], record["round_trip_ms"], record["drift_ppm"] = -250.0, -280.0, 10.0, 3.0
    record["listed"], record["quoted"], record["messages_per_s"] = 400, 300, 12.0
    status = venue_status(record, NOW, True)
    assert (status["lag_ms"], status["clock_ms"], status["delay_ms"], status["drift_ppm"]) == (
        35.0,
        -285.0,
        -250.0,
        3.0,
    )
    assert (status["coverage"], status["messages_per_s"], status["age_s"], status["state"]) == (0.75, 12.0, 1.0, "live")
    assert venue_status(record, NOW, False)["state"] == "down"


def test_before_anything_is_known_nothing_is_claimed():
    (record,) = records(okx=("connecting", 0))
    record["last_receive_ns"] = 0
    status = venue_status(record, NOW, True)
    assert all(status[name] is None for name in ("lag_ms", "clock_ms", "drift_ppm", "age_s", "coverage", "delay_ms"))
    record["last_receive_ns"], record["last_venue_ns"] = NOW, NOW - 40 * MS
    assert venue_status(record, NOW, True)["lag_ms"] == 40.0, "the newest message, until delays are measured"
