"""Several connections are one venue, and its health is measured over all of them."""

import math
from types import SimpleNamespace

import pytest

from volsurface.engine.venue_watch import VenueWatch
from volsurface.market.instrument import COIN, Instrument
from volsurface.market.row_table import RowTable
from volsurface.venues.venue_group import VenueGroup

S, MS = 1_000_000_000, 1_000_000
NAN = math.nan


def codec(state, **counts):
    fields = "messages rejected gaps reconnects subscribed listed last_receive_ns last_venue_ns".split()
    return SimpleNamespace(venue="binance", state=state, **(dict.fromkeys(fields, 0) | counts))


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([], "down"),
        (["down", "down"], "down"),
        (["live", "down"], "connecting"),
        (["live", "subscribing", "live"], "subscribing"),
        (["listing", "subscribing"], "listing"),
        (["live", "live"], "live"),
    ],
)
def test_the_state_of_a_venue_is_its_worst_connection(states, state):
    assert VenueGroup("binance", [codec(s) for s in states]).state == state


def test_counts_are_added_and_times_are_the_newest():
    group = VenueGroup("binance", [codec("live", messages=3, gaps=1, listed=5, last_receive_ns=7),
                                   codec("live", messages=4, gaps=2, listed=6, last_receive_ns=5)])  # fmt: skip
    assert (group.messages, group.gaps, group.listed, group.last_receive_ns) == (7, 3, 11, 7)


def quote(table, iid, bid, received_ns, delay_ms):
    table.ticker(iid, 0, received_ns - delay_ms * MS, received_ns, -1, bid, NAN, 1, NAN, *[NAN] * 7)


def test_health_is_measured_by_venue():
    table = RowTable(1)
    table.listed(
        [Instrument(v, f"{v}{i}", "BTC", 9 * S, 1.0, 1, COIN) for v in ("binance", "okx") for i in range(3)], 1
    )
    codecs = [codec("live"), codec("subscribing")]
    table.watch(VenueGroup("binance", codecs))
    table.watch(SimpleNamespace(venue="okx", messages=0))
    connections = [
        SimpleNamespace(codec=codecs[0], round_trip_s=0.004),
        SimpleNamespace(codec=codecs[1], round_trip_s=NAN),
    ]
    watch = VenueWatch(table, connections)
    for iid, delay_ms in ((0, 30), (1, 10), (2, 20)):
        quote(table, iid, 0.1, 100 * S + iid, delay_ms)
    quote(table, 3, 0.1, 100 * S, 500)
    codecs[0].messages, codecs[1].messages = 30, 10
    watch.measure(101 * S, 2.0)
    binance, okx = table.health["binance"], table.health["okx"]
    assert (binance.messages_per_s, binance.quoted, binance.connections, binance.connections_live) == (20.0, 3, 2, 1)
    assert (binance.delay_ms, binance.floor_ms, binance.round_trip_ms) == (20.0, 10.0, 4.0)
    assert (okx.delay_ms, okx.quoted) == (500.0, 1)

    table.listed([Instrument("okx", "new", "BTC", 9 * S, 1.0, 1, COIN)], 1)
    quote(table, 6, 0.1, 102 * S, 40)
    table.closed(3, 102 * S)
    watch.measure(103 * S, 1.0)
    assert (okx.delay_ms, okx.floor_ms, okx.quoted) == (40.0, 40.0, 1)
    assert math.isnan(binance.delay_ms), "nothing new has come"
    assert (binance.floor_ms, binance.messages_per_s, binance.quoted) == (10.0, 0.0, 3)
