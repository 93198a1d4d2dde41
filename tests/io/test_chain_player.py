"""A played recording is a market: instruments come and go, quotes change, the clock stands at the snapshot, the end is said."""

import asyncio
import math

import numpy as np
import pytest

from volsurface.clock import NS_PER_S, SteppedClock
from volsurface.errors import ChainFileError
from volsurface.io import chain_player
from volsurface.io.chain_player import ChainPlayer, read_market
from volsurface.market.chain import Chain
from volsurface.market.instrument import COIN, STABLE
from volsurface.market.quote import (
    CLOSED,
    EVENT_KINDS,
    FORWARD_FUTURE,
    FORWARD_INDEX,
    FORWARD_NONE,
    SNAPSHOT_ROW,
    forward_source,
)
from volsurface.market.row_table import RowTable

START_NS = 1_750_000_000 * NS_PER_S
HOUR_NS = 3600 * NS_PER_S
NEAR_NS, FAR_NS = START_NS + 7 * HOUR_NS, START_NS + 100 * HOUR_NS


def chain(hours: float, strikes: list[float], bid: float = 0.1, underlying: str = "BTC", late_s: int = 0) -> Chain:
    """A chain of two expiries: the even strikes expire first."""
    size = len(strikes)
    time_ns = START_NS + round(hours * HOUR_NS) + late_s * NS_PER_S
    near = [strike % 2 == 0 for strike in strikes]
    return Chain(
        underlying=underlying,
        time_ns=time_ns,
        venue=np.array(["deribit"] * size, object),
        symbol=np.array([f"{underlying}-{strike:g}" for strike in strikes], object),
        expiry_ns=np.where(near, NEAR_NS, FAR_NS),
        strike=np.array(strikes),
        right=np.full(size, -1, np.int8),
        inverse=np.array(near),
        bid=np.full(size, bid),
        ask=np.full(size, bid + 0.1),
        mark=np.full(size, bid + 0.05),
        bid_size=np.full(size, 1.0),
        ask_size=np.full(size, 2.0),
        open_interest=np.full(size, 3.0),
        mark_iv=np.full(size, 0.5),
        forward=np.where(near, 60_000.0, math.nan),
        forward_source=np.where(near, FORWARD_FUTURE, FORWARD_NONE).astype(np.uint8),
        index=np.full(size, 59_000.0),
        quote_time_ns=np.full(size, time_ns - 5),
        iid=np.arange(size, dtype=np.int32),
    )


def player(chains: list[Chain], speed: float = 1e9) -> tuple[ChainPlayer, RowTable, SteppedClock]:
    table, clock = RowTable(3), SteppedClock(0)
    return ChainPlayer(chains, table, clock, speed), table, clock


async def play_to_the_end(play: ChainPlayer) -> None:
    """Play with an engine there; at the end it waits for a seek until it is stopped."""
    stop = asyncio.Event()
    play.controls.release()
    running = asyncio.create_task(play.run(stop))
    while not play.controls.ended:
        await asyncio.sleep(0.001)
    stop.set()
    await running


def events(table: RowTable) -> list[tuple[str, str]]:
    page = table.reply(100_000, table.epoch, 0, 0, 0)
    return [(EVENT_KINDS[e["kind"]], page.texts.get(int(e["seq"]), "")) for e in page.events]


def test_a_snapshot_becomes_instruments_rows_and_forwards():
    play, table, clock = player([chain(0, [2.0, 3.0])])
    play.show([chain(0, [2.0, 3.0])])
    assert clock.now_ns() == START_NS
    near, far = table.directory
    assert (near.symbol, near.strike, near.right, near.expiry_ns, near.settlement) == ("BTC-2", 2.0, -1, NEAR_NS, COIN)
    assert (far.settlement, far.underlying, far.venue) == (STABLE, "BTC", "deribit")
    row = table.rows[0]
    assert (row["bid"], row["ask"], row["mark"], row["iv_mark"], row["fwd"]) == (
        0.1,
        0.2,
        pytest.approx(0.15),
        0.5,
        60_000,
    )
    assert (row["bid_sz"], row["ask_sz"], row["oi"], row["index"]) == (1.0, 2.0, 3.0, 59_000.0)
    assert (row["ts_venue_ns"], row["ts_recv_ns"]) == (START_NS - 5, START_NS - 5)
    assert row["flags"] & SNAPSHOT_ROW
    assert forward_source(table.rows["flags"]).tolist() == [FORWARD_FUTURE, FORWARD_NONE]
    forwards = table.reply(10, 0, 0, 0, 0).forwards
    assert forwards[["kind", "expiry_ns", "value"]].tolist() == [
        (FORWARD_INDEX, 0, 59_000.0),
        (FORWARD_FUTURE, NEAR_NS, 60_000.0),
    ]
    (venue,) = table.venues
    assert (venue.venue, venue.state, venue.messages, venue.listed) == ("deribit", "live", 2, 2)
    assert events(table) == [("listed", "BTC: 2 options")]


def test_instruments_come_go_and_expire():
    play, table, _ = player([chain(0, [2.0, 3.0, 5.0])])
    play.show([chain(0, [2.0, 3.0, 5.0])])
    play.show([chain(1, [2.0, 5.0, 7.0], bid=0.3)])
    assert [instrument.strike for instrument in table.directory] == [2.0, 3.0, 5.0, 7.0]
    assert table.rows["bid"].tolist() == pytest.approx([0.3, math.nan, 0.3, 0.3], nan_ok=True)
    assert not table.rows["flags"][1] & CLOSED  # not quoted is not expired
    play.show([chain(7, [2.0, 5.0], bid=0.4)])  # the file still names the option that expires this instant
    assert (table.rows["flags"] & CLOSED).astype(bool).tolist() == [True, False, False, False]
    assert math.isnan(table.rows["bid"][0])
    assert table.venues[0].listed == 3
    assert events(table) == [("listed", "BTC: 3 options"), ("listed", "BTC: 1 options")]


def test_an_unquoted_instrument_is_written_once():
    play, table, _ = player([chain(0, [3.0, 5.0])])
    for hours in (0, 1, 2):
        play.show([chain(hours, [3.0, 5.0] if hours == 0 else [3.0])])
    version = table.rows["version"][1]
    play.show([chain(3, [3.0])])
    assert table.rows["version"][1] == version


async def test_the_recording_is_played_to_its_end(monkeypatch):
    monkeypatch.setattr(chain_player, "MAX_WAIT_S", 0.01)
    play, table, clock = player([chain(hours, [2.0, 3.0], bid=0.1 + hours / 10) for hours in range(5)], speed=3600)
    await play_to_the_end(play)
    assert table.rows["bid"].tolist() == pytest.approx([0.5, 0.5])
    assert clock.now_ns() == START_NS + 4 * HOUR_NS
    assert table.venues[0].state == "down"
    assert events(table)[-1] == ("disconnect", "the recording ends at 2025-06-15 19:06:40Z")


async def test_between_two_snapshots_time_passes_but_not_beyond_the_next():
    play, _, clock = player([chain(0, [3.0]), chain(0.02 / 3600, [3.0]), chain(1, [3.0])], speed=0.5)
    seen = []
    clock.set, real = lambda now_ns: (seen.append(now_ns), real(now_ns)), clock.set
    stop = asyncio.Event()
    play.controls.release()
    running = asyncio.create_task(play.run(stop))
    while clock.now_ns() <= START_NS + 2 * HOUR_NS // 100 // 3600:
        await asyncio.sleep(0)
    stop.set()
    await running
    assert seen == sorted(seen)
    assert any(START_NS < now_ns < START_NS + 0.02 * NS_PER_S for now_ns in seen)
    assert max(seen) < START_NS + HOUR_NS  # quotes of one hour are not valued in the next


async def test_the_first_snapshot_stays_until_an_engine_is_there(monkeypatch):
    monkeypatch.setattr(chain_player, "MAX_WAIT_S", 0.0)
    play, table, clock = player([chain(0, [3.0]), chain(1, [3.0], bid=0.4), chain(2, [3.0], bid=0.5)])
    stop = asyncio.Event()
    running = asyncio.create_task(play.run(stop))
    for _ in range(20):
        await asyncio.sleep(0)
    assert clock.now_ns() == START_NS
    assert table.rows["bid"].tolist() == [0.1]
    play.controls.release()
    while not play.controls.ended:
        await asyncio.sleep(0.001)
    assert table.rows["bid"].tolist() == [0.5]
    play.controls.take({"paused": True, "seek": START_NS + HOUR_NS})
    while clock.now_ns() != START_NS + HOUR_NS:
        await asyncio.sleep(0.001)
    assert table.rows["bid"].tolist() == [0.4]
    assert not play.controls.ended
    stop.set()
    await running


async def test_stop_ends_it_before_its_end():
    play, table, _ = player([chain(0, [3.0]), chain(1, [3.0])], speed=0.1)
    stop = asyncio.Event()
    running = asyncio.create_task(play.run(stop))
    await asyncio.sleep(0)
    stop.set()
    await running
    assert table.venues[0].state == "live"
    assert len(events(table)) == 1


async def test_coins_recorded_one_after_the_other_are_one_snapshot(monkeypatch):
    monkeypatch.setattr(chain_player, "MAX_WAIT_S", 0.0)
    recorded = [
        chain(0, [3.0]),
        chain(0, [3.0], underlying="ETH", late_s=110),
        chain(6, [3.0]),
        chain(6, [3.0], underlying="ETH", late_s=110),
    ]
    play, table, clock = player(recorded)
    shown = []
    monkeypatch.setattr(play, "show", lambda chains: shown.append([c.underlying for c in chains]))
    await play_to_the_end(play)
    assert shown == [["BTC", "ETH"], ["BTC", "ETH"]]
    ChainPlayer.show(play, recorded[:2])
    assert clock.now_ns() == START_NS + 110 * NS_PER_S
    assert table.rows["ts_recv_ns"].tolist() == [clock.now_ns() - 5] * 2  # both arrived now; older in it stays older
    assert table.rows["ts_venue_ns"].tolist() == [START_NS - 5, START_NS + 110 * NS_PER_S - 5]


def test_nothing_to_play_is_refused():
    with pytest.raises(ChainFileError, match="no chain to play"):
        player([])


def test_files_are_read_in_time_order(monkeypatch):
    held = {"b.csv": [chain(0, [3.0]), chain(2, [3.0])], "a.csv": [chain(1, [3.0])]}
    monkeypatch.setattr(chain_player, "read_chains", lambda path: held[path.name])
    assert [c.time_ns for c in read_market(["a.csv", "b.csv"])] == [START_NS + hours * HOUR_NS for hours in (0, 1, 2)]


@pytest.mark.recorded
def test_a_recorded_file_is_shown_as_it_was_recorded(recorded):
    chains = read_market(sorted((recorded / "market" / "deribit_chain_6h").glob("*.parquet"))[:1])
    play, table, clock = player(chains)
    play.show(chains[:2])
    assert [shown.underlying for shown in chains[:2]] == ["BTC", "ETH"]
    for shown in chains[:2]:
        alive = shown.take(shown.expiry_ns > clock.now_ns())
        iids = [table.directory.iid(venue, symbol) for venue, symbol in zip(alive.venue, alive.symbol)]
        rows = table.rows[iids]
        for column, name in (("bid", "bid"), ("ask", "ask"), ("mark_iv", "iv_mark"), ("forward", "fwd")):
            assert np.array_equal(rows[name], getattr(alive, column), equal_nan=True), name
        assert {table.directory[iid].underlying for iid in iids} == {shown.underlying}
    assert table.venues[0].listed == len(table.directory) > 1000
