"""A live run with everything in it that makes a replay hard, recorded."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from volsurface.clock import SystemClock
from volsurface.engine.engine import Engine
from volsurface.engine.feed import run_feed
from volsurface.engine.journal import RecordedJournal, Step
from volsurface.io.recording import ENGINE, Recorder
from volsurface.io.transport.wire import CONTROL, decode_map, encode_map
from volsurface.settings import Settings
from volsurface.simulator.main import run_simulator

MARKET = {"source": "simulated", "venues": ["deribit"], "underlyings": ["BTC"]}
LONG_S = 60.0


@dataclass
class LiveRun:
    """What the live engine published, in order, and where its recording is."""

    folder: Path
    published: list[tuple[str, str]] = field(default_factory=list)


class _Watched(RecordedJournal):
    """The recorded journal, which this test's own list is filled beside."""

    def __init__(self, live: LiveRun, recorder: Recorder, clock: SystemClock) -> None:
        super().__init__(recorder, clock, "run")
        self._live = live
        self.steps = 0

    def step(self, underlying: str, step: Step) -> None:
        super().step(underlying, step)
        self.steps += 1

    def published(self, underlying: str, digest: str) -> None:
        super().published(underlying, digest)
        self._live.published.append((underlying, digest))


async def _wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_S):
        while not condition():
            await asyncio.sleep(0.02)


async def record_live(live: LiveRun) -> None:
    """Simulated venue with faults, a feed that dies once, an engine whose fit settings are changed in between."""
    with tempfile.TemporaryDirectory(prefix="vs") as sockets:
        end, urls, clock = asyncio.Event(), dict[str, str](), SystemClock()
        faults = {"gap": 3.0, "garbage": 1.0, "drop": 0.2}
        simulator = asyncio.create_task(
            run_simulator(rate=1500, seed=3, underlyings=["BTC"], faults=faults, ready=urls.update, stop=end)
        )
        await _wait_until(lambda: bool(urls))
        settings = Settings({"market": MARKET})
        settings.version = 1
        journal = _Watched(live, Recorder(live.folder, ENGINE, clock.now_ns()), clock)
        engine = Engine(settings, Path(sockets), "run", clock, journal=journal)
        engine_task = asyncio.create_task(engine.run(end))

        async def feed_until(condition: Callable[[], bool]) -> None:
            stop = asyncio.Event()
            task = asyncio.create_task(run_feed(settings, Path(sockets), stop, urls, record=live.folder))
            await _wait_until(lambda: task.done() or condition())
            stop.set()
            await task

        await feed_until(lambda: len(live.published) > 30)
        steps = journal.steps
        await _wait_until(lambda: journal.steps > steps + 1)  # it goes on without a feed
        changed = await engine.handle(CONTROL, encode_map({"settings": {"fit": {"robust": False}}, "who": "test"}))
        assert decode_map(changed) == {"version": 2}
        before = len(live.published)
        await feed_until(lambda: len(live.published) > before + 25)
        end.set()
        await asyncio.gather(simulator, engine_task)
        journal.close()
