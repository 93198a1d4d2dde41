"""Every simulated venue, on the plain receiver and on the fast lane: its recording makes the same rows again."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from volsurface.clock import SteppedClock
from volsurface.engine.feed import run_feed
from volsurface.io.recording import ANSWERED, FEED, RECEIVED
from volsurface.io.recording_reader import Recording
from volsurface.io.replay import FAR, FramePlayer
from volsurface.settings import Settings
from volsurface.simulator.main import run_simulator

VENUES = ["bybit", "deribit", "okx"]


async def recorded_market(folder: Path, fast_lane: bool) -> None:
    """Record all venues until each has said something of weight."""
    end, urls = asyncio.Event(), dict[str, str]()
    simulator = asyncio.create_task(
        run_simulator(rate=2000, seed=2, underlyings=["BTC"], venues=VENUES, ready=urls.update, stop=end)
    )
    while not urls:
        assert not simulator.done()
        await asyncio.sleep(0.02)
    market = {"source": "simulated", "venues": VENUES, "underlyings": ["BTC"], "fast_lane": fast_lane}
    with tempfile.TemporaryDirectory(prefix="vs") as sockets:
        stop = asyncio.Event()
        feed = asyncio.create_task(run_feed(Settings({"market": market}), Path(sockets), stop, urls, record=folder))
        async with asyncio.timeout(60):
            while not said_enough(folder):
                assert not feed.done()
                await asyncio.sleep(0.3)
        stop.set()
        await feed
    end.set()
    await simulator


def said_enough(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    recording = Recording(folder)
    header = FramePlayer(recording, SteppedClock(0)).header
    venues = [connection["codec"]["venue"] for connection in header["connections"]]
    frames = Counter(venues[number] for kind, number, _, _ in recording.records(FEED) if kind == RECEIVED)
    return all(frames[venue] > 150 for venue in VENUES)


@pytest.mark.parametrize("fast_lane", [False, True], ids=["plain", "fast lane"])
async def test_the_rows_of_every_venue_come_again(fast_lane: bool, tmp_path: Path) -> None:
    await recorded_market(tmp_path / "recording", fast_lane)
    recording = Recording(tmp_path / "recording")
    player = FramePlayer(recording, SteppedClock(0))
    player.play_until(FAR)
    assert player.checked >= 1
    assert player.different == player.sent_otherwise == player.errors == 0
    assert player.sent > len(VENUES)
    assert not recording.damage
    assert not player.notes
    assert {venue.venue: venue.listed > 50 for venue in player.table.venues} == dict.fromkeys(VENUES, True)
    kinds = Counter(kind for kind, _, _, _ in recording.records(FEED))
    assert kinds[ANSWERED] >= 2, "OKX and Bybit list over HTTP"
