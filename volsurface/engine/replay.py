"""Runs a recording through the same codecs, row table, engine and historian in one process, as fast as wanted.

Which rows each step of the engine sees is an input like the frames: where a live engine recorded its steps they are
repeated, and each surface is compared with the one published live; else the steps are at multiples of the step time in
the recorded time. In both cases nothing depends on the speed, nor on the machine's clock.
"""

import asyncio
import hashlib
import math
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volsurface.clock import NS_PER_S, SteppedClock
from volsurface.engine.engine import Engine
from volsurface.engine.feed import FeedServer
from volsurface.engine.historian import Historian
from volsurface.engine.journal import Step
from volsurface.io.recording import ENGINE, PUBLISHED, SETTINGS, START, STEP, Entry
from volsurface.io.recording_reader import Recording, decoded
from volsurface.io.replay import FAR, FramePlayer, market_of
from volsurface.io.transport import wire
from volsurface.io.transport.inline import InlineChannel
from volsurface.settings import Settings
from volsurface.surface.instants import to_iso


@dataclass
class Outcome:
    """What a replay did.

    rows_digest: SHA-256 over the row table's digest at every second of recorded time and at the end; surfaces_digest:
    over all publications' in order. surfaces: published. recorded_steps: the steps were those of the live engine.
    rows_checked, rows_different: row table digests compared with the live feed's. surfaces_checked, surfaces_different:
    publications compared with the live engine's. steps_inexact: steps whose rows could not be made exactly again.
    sent, sent_otherwise: frames sent live, and those the codecs would not send again. market_s, wall_s, cpu_s: seconds
    recorded, taken, and of CPU. notes: what is damaged, lost or different, as sentences.
    """

    messages: int = 0
    steps: int = 0
    surfaces: int = 0
    rows_digest: str = ""
    surfaces_digest: str = ""
    recorded_steps: bool = False
    rows_checked: int = 0
    rows_different: int = 0
    surfaces_checked: int = 0
    surfaces_different: int = 0
    steps_inexact: int = 0
    sent: int = 0
    sent_otherwise: int = 0
    clock_jumps: int = 0
    market_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether everything that could be compared with the live run was equal."""
        return not (self.rows_different or self.surfaces_different or self.sent_otherwise or self.steps_inexact)


class _Published:
    """The journal of a replayed engine: what it has published, until it is compared."""

    def __init__(self) -> None:
        self.digests: deque[str] = deque()
        self.steps = 0

    def started(self, version: int, values: Mapping[str, Any]) -> None:
        """Nothing to keep."""

    def step(self, underlying: str, step: Step) -> None:
        """Count."""
        self.steps += 1

    def settings(self, version: int, values: Mapping[str, Any], who: str) -> None:
        """Nothing to keep."""

    def published(self, underlying: str, digest: str) -> None:
        """Keep what will be compared."""
        self.digests.append(f"{underlying} {digest}")


class Replay:
    """One run over a recording.

    settings: of an engine without recorded steps. speed: recorded seconds per second; infinite: as fast as it goes.
    fit: whether there is an engine at all; without one only codecs and rows are repeated. since_ns: frames before are played without fitting, and surfaces are then not compared. store: where to write the
    history of it; None: nowhere. progress: called with the recorded time reached, ten times a second of it or so.
    """

    def __init__(
        self, recording: Recording, settings: Settings, *, speed: float = math.inf, since_ns: int = 0,
        store: Path | None = None, fit: bool = True, progress: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        self._recording, self._settings, self._speed = recording, settings, speed
        self._since_ns, self._store, self._fit, self._progress = since_ns, store, fit, progress
        self._clock = SteppedClock(0)
        self._player = FramePlayer(recording, self._clock)
        self._server = FeedServer(self._player.table, self._clock)
        self._player.on_start = self._server.renew
        self._channel = InlineChannel(self._answer)
        self._published = _Published()
        self._engine: Engine | None = None
        self._historian: Historian | None = None
        self._rows, self._surfaces = hashlib.sha256(), hashlib.sha256()
        self._second_ns = self._player.time_ns
        self.outcome = Outcome(recorded_steps=fit and recording.has(ENGINE))

    async def _answer(self, kind: int, body: bytes) -> wire.Reply:
        """Answer as the feed does, but never hold: time stands still while somebody waits."""
        return self._server.page(body) if kind == wire.PULL else await self._server.handle(kind, body)

    async def _engine_answer(self, kind: int, body: bytes) -> bytes:
        assert self._engine is not None
        return await self._engine.handle(kind, body)

    async def run(self) -> Outcome:
        """Play everything and return what came of it; raises RecordingError for a recording that cannot be played."""
        began, cpu = time.perf_counter(), time.process_time()
        first_ns = self._player.time_ns
        with tempfile.TemporaryDirectory(prefix="vsreplay") as folder:
            self._run_folder = Path(folder)
            if self._since_ns:
                self._player.play_until(self._since_ns)
            self._pace_from = (time.perf_counter(), max(first_ns, self._since_ns))
            if self.outcome.recorded_steps:
                await self._recorded_steps()
            elif self._fit:
                await self._timed_steps()
            else:
                await self._rows_alone()
            self._player.play_until(FAR)
            await self._follow(last=True)
            await self._close()
        return self._finish(first_ns, time.perf_counter() - began, time.process_time() - cpu)

    # -- steps --------------------------------------------------------------------------------------------------------

    async def _timed_steps(self) -> None:
        """Step at every multiple of the step time, from the first frame to the last."""
        self._start_engine(self._from_header())
        assert self._engine is not None
        step_ns = self._settings.thresholds.step_ms * 1_000_000
        at_ns = (max(self._player.time_ns, self._since_ns) // step_ns + 1) * step_ns
        while not self._player.ended:
            await self._pace(at_ns)
            self._player.play_until(at_ns)
            self._clock.set(at_ns)
            await self._engine.pull_once()
            for underlying in self._engine.settings.market.underlyings:
                self._engine.step_once(underlying, at_ns)
            self._take_published()
            await self._follow()
            at_ns += step_ns
            if self._player.next_ns - at_ns > NS_PER_S and not self._player.ended:
                at_ns = self._player.next_ns // step_ns * step_ns  # nothing was recorded for a while

    async def _rows_alone(self) -> None:
        at_ns = self._player.time_ns
        while not self._player.ended:
            at_ns = max(at_ns + NS_PER_S, self._player.next_ns)
            await self._pace(at_ns)
            self._player.play_until(at_ns)
            self._clock.set(at_ns)
            await self._follow()

    def _from_header(self) -> dict[str, Any]:
        """Return the settings with the venues and coins of the recording."""
        values = self._settings.values()
        values["market"] |= market_of(self._player.header)
        return values

    async def _recorded_steps(self) -> None:
        for kind, payload in self._engine_inputs():
            if kind == START:
                self._start_engine(decoded(payload)["values"])
            elif kind == SETTINGS:
                change = decoded(payload)
                assert self._engine is not None
                self._engine.change_settings(change["values"], change["who"])
            elif kind == STEP:
                await self._one_step(*Step.decode(payload))
            elif kind == PUBLISHED and not self._since_ns:
                self._compare(payload.decode())
        self._take_published()

    def _engine_inputs(self) -> Iterator[tuple[int, bytes]]:
        entries: Iterator[Entry] = self._recording.records(ENGINE)
        for kind, _, _, payload in entries:
            if self._engine is not None or kind == START:
                yield kind, payload

    async def _one_step(self, underlying: str, step: Step) -> None:
        self._take_published()
        if step.now_ns < self._since_ns:
            return
        assert self._engine is not None
        await self._pace(step.now_ns)
        self.outcome.steps_inexact += not self._player.play_to(step.epoch, step.version, step.event_seq)
        self._clock.set(step.now_ns)
        await self._engine.pull_once()
        self._engine.step_once(underlying, step.now_ns, step.silent)
        await self._follow()

    def _start_engine(self, values: dict[str, Any]) -> None:
        self._engine = Engine(
            Settings(values), self._run_folder, "replay", self._clock, feed=self._channel, journal=self._published
        )
        self._engine.announce()

    # -- what came of it ----------------------------------------------------------------------------------------------

    def _compare(self, recorded: str) -> None:
        """Compare the oldest publication not compared yet with the recorded one."""
        self.outcome.surfaces_checked += 1
        found = self._published.digests.popleft() if self._published.digests else "nothing"
        self._count(found)
        if found != recorded:
            self.outcome.surfaces_different += 1
            if self.outcome.surfaces_different == 1:
                self.outcome.notes.append(f"published live: {recorded}; in the replay: {found}")

    def _take_published(self) -> None:
        """Count what was published and is not compared, because the recording does not say or says nothing."""
        while self._published.digests:
            self.outcome.surfaces_different += self.outcome.recorded_steps and not self._since_ns
            self._count(self._published.digests.popleft())

    def _count(self, digest: str) -> None:
        self.outcome.surfaces += digest != "nothing"
        self._surfaces.update(digest.encode() + b"\n")

    async def _follow(self, last: bool = False) -> None:
        """Once a second of recorded time: digest the rows, let the historian look, tell how far it is."""
        now_ns = self._clock.now_ns()
        if now_ns - self._second_ns < NS_PER_S and not last:
            return
        self._second_ns = now_ns
        self._rows.update(self._server.table.digest())
        if self._progress is not None:
            self._progress(now_ns)
        if self._store is not None and self._engine is not None:
            if self._historian is None:
                self._historian = Historian(
                    self._engine.settings, self._store, self._run_folder, "replay", self._recording.name,
                    clock=self._clock, feed=self._channel, engine=InlineChannel(self._engine_answer),
                )  # fmt: skip
            self._engine.publish_status()  # something new: the engine answers at once
            await self._historian.second()
            await self._historian.flush_if_due()

    async def _pace(self, time_ns: int) -> None:
        if math.isinf(self._speed):
            await asyncio.sleep(0)
            return
        began, from_ns = self._pace_from
        wait_s = (time_ns - from_ns) / NS_PER_S / self._speed - (time.perf_counter() - began)
        await asyncio.sleep(max(0.0, wait_s))

    async def _close(self) -> None:
        if self._historian is not None:
            stop = asyncio.Event()
            stop.set()
            await self._historian.run(stop)

    def _finish(self, first_ns: int, wall_s: float, cpu_s: float) -> Outcome:
        player, outcome = self._player, self.outcome
        outcome.messages, outcome.steps = player.messages, self._published.steps
        outcome.rows_digest, outcome.surfaces_digest = self._rows.hexdigest(), self._surfaces.hexdigest()
        outcome.rows_checked, outcome.rows_different = player.checked, player.different
        outcome.sent, outcome.sent_otherwise = player.sent, player.sent_otherwise
        outcome.clock_jumps = player.jumps
        outcome.market_s, outcome.wall_s, outcome.cpu_s = (player.time_ns - first_ns) / NS_PER_S, wall_s, cpu_s
        outcome.notes += [*self._recording.damage, *player.notes]
        if outcome.clock_jumps:
            outcome.notes.append(f"the recorded clock went back {outcome.clock_jumps} times; played as recorded")
        if self._since_ns:
            outcome.notes.append(
                f"fitted from {to_iso(self._since_ns)} on: surfaces are not compared with the live ones"
            )
        return outcome
