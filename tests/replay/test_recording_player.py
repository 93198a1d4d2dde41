"""A recording as a market: it waits for an engine, and a viewer can pause it, seek in it and change its speed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from live_run import MARKET, LiveRun

from volsurface.engine.client import LiveClient
from volsurface.engine.feed import run_feed
from volsurface.errors import SettingsError, TransportError
from volsurface.io.places import FEED_SOCKET
from volsurface.io.playback import Controls
from volsurface.io.recording_reader import Recording
from volsurface.io.transport.puller import FeedPuller
from volsurface.io.transport.unix import UnixChannel
from volsurface.io.transport.wire import CONTROL, encode_map
from volsurface.settings import Settings
from volsurface.surface.instants import to_iso

LONG_S = 30.0


class Viewer:
    """A played recording, a consumer of it, and a page's handle."""

    def __init__(self, run_folder: Path) -> None:
        self.channel = UnixChannel(run_folder / FEED_SOCKET, LONG_S)
        self.puller, self.client = FeedPuller(self.channel), LiveClient(run_folder)
        self.texts: list[str] = []

    async def until(self, condition: Callable[[dict], bool]) -> dict:
        """Pull until the playback's state fulfils `condition`; return it."""
        async with asyncio.timeout(LONG_S):
            while True:
                try:
                    state = await self.client.playback()
                    self.texts += (await self.puller.pull()).texts.values()
                except TransportError:
                    await asyncio.sleep(0.02)
                    continue
                if condition(state):
                    return state

    async def engine_is_there(self) -> None:
        await self.channel.request(CONTROL, encode_map({"command": "engine"}))


@contextlib.asynccontextmanager
async def playing(folder: Path, run_folder: Path, speed: float) -> AsyncIterator[Viewer]:
    run_folder.mkdir(mode=0o700)
    stop = asyncio.Event()
    settings = Settings({"market": {**MARKET, "source": "replay", "speed": speed}})
    task = asyncio.create_task(run_feed(settings, run_folder, stop, recording=folder))
    viewer = Viewer(run_folder)
    try:
        yield viewer
    finally:
        stop.set()
        await asyncio.wait_for(task, LONG_S)
        await viewer.client.close()
        await viewer.puller.close()


async def test_it_waits_for_an_engine_then_plays_to_the_end(live: LiveRun, tmp_path: Path) -> None:
    async with playing(live.folder, tmp_path / "run", 20.0) as viewer:
        state = await viewer.until(lambda state: True)
        for _ in range(3):  # beats, while kernels compile
            state = await viewer.until(lambda state: True)
        assert state["waiting"]
        assert state["position_ns"] == state["first_ns"]
        assert not len(viewer.puller.directory)
        await viewer.engine_is_there()
        await viewer.until(lambda state: len(viewer.puller.directory) > 500)
        state = await viewer.until(lambda state: state["ended"])
        assert state["position_ns"] == state["last_ns"]
        assert any("the recording ends" in text for text in viewer.texts)


async def test_pause_seek_and_speed(live: LiveRun, tmp_path: Path) -> None:
    async with playing(live.folder, tmp_path / "run", 1.0) as viewer:
        await viewer.until(lambda state: True)
        await viewer.engine_is_there()
        await viewer.client.playback(paused=True)
        held = await viewer.until(lambda state: state["paused"])
        await viewer.puller.pull()
        assert (await viewer.client.playback())["position_ns"] == held["position_ns"]
        middle = (held["first_ns"] + held["last_ns"]) // 2
        await viewer.client.playback(seek=to_iso(middle))
        state = await viewer.until(lambda state: not state["seeking"])
        assert state["position_ns"] == middle == viewer.puller.feed_time_ns
        rows, epoch = viewer.puller.cursor, viewer.puller.epoch
        assert rows > 1000
        await viewer.client.playback(seek=held["first_ns"] + 10**8)  # back: everything is played anew
        await viewer.until(lambda state: not state["seeking"])
        assert viewer.puller.epoch != epoch
        assert viewer.puller.cursor < rows
        await viewer.client.playback(seek=middle)
        await viewer.until(lambda state: not state["seeking"])
        assert viewer.puller.cursor == rows, "the same place is the same rows"
        await viewer.client.playback(paused=False, speed=1000.0)
        await viewer.until(lambda state: state["ended"])
        await viewer.client.playback(seek=middle)  # the end is not the end
        await viewer.until(lambda state: state["ended"])


async def test_what_cannot_be_done_is_refused(live: LiveRun, tmp_path: Path) -> None:
    async with playing(live.folder, tmp_path / "run", 1.0) as viewer:
        await viewer.until(lambda state: True)
        for wanted, words in (
            ({"speed": 0.0}, "0.1 to 1e\\+06"),
            ({"speed": "fast"}, "found 'fast'"),
            ({"paused": 1}, "true or false"),
            ({"seek": "yesterday"}, "is not a time; write it like"),
            ({"seek": "2020-01-01T00:00:00Z"}, "is not in the recording"),
            ({"sped": 2.0}, "did you mean 'speed'"),
        ):
            with pytest.raises(SettingsError, match=words):
                await viewer.client.playback(**wanted)


def test_a_seek_that_is_refused_changes_nothing_else() -> None:
    controls = Controls(1.0, 10, 20, 10)
    with pytest.raises(SettingsError):
        controls.take({"speed": 5.0, "seek": 30})
    assert (controls.speed, controls.seek_ns) == (1.0, None)


def test_the_span_of_a_recording(live: LiveRun) -> None:
    first_ns, last_ns = Recording(live.folder).span_ns()
    assert 1 < (last_ns - first_ns) / 1e9 < 60
