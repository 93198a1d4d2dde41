"""Plays a recording as a market that a viewer can pause, speed up and seek in; and what all such players share."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from volsurface.clock import NS_PER_S, SteppedClock
from volsurface.errors import SettingsError, unknown_name
from volsurface.io.recording_reader import Recording
from volsurface.io.replay import FramePlayer
from volsurface.market.row_table import RowTable
from volsurface.surface.instants import from_iso, to_iso

SPEEDS = (0.1, 1e6)  # market seconds per second
TICK_S = 0.05  # how often the market's clock moves between two frames
RECORDS_PER_TURN = 256  # then pulls are answered
SKIPPED_NS = 60 * NS_PER_S  # a longer time without a record is not waited for


@dataclass
class Controls:
    """What a viewer asks of a played market, and where it is.

    first_ns, last_ns: of the recording. position_ns: the market's time. waiting: nothing moves until an engine is there,
    so that the first surfaces are not missed while kernels compile. seek_ns: where to go next, or None.
    """

    speed: float
    first_ns: int = 0
    last_ns: int = 0
    position_ns: int = 0
    paused: bool = False
    waiting: bool = True
    ended: bool = False
    seek_ns: int | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def release(self) -> None:
        """An engine is there."""
        if self.waiting:
            self.waiting = False
            self._changed.set()

    def take(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Take {"paused"}, {"speed"} and {"seek"} (ISO text or nanoseconds), any of them; return `state`.

        Raises SettingsError for what cannot be done; nothing is taken then.
        """
        wanted = {name: value for name, value in request.items() if name != "command"}
        for name in wanted:
            if name not in ("paused", "speed", "seek"):
                raise SettingsError(unknown_name("playback request", name, ("paused", "speed", "seek")))
        paused, speed, seek_ns = wanted.get("paused", self.paused), wanted.get("speed", self.speed), self.seek_ns
        if not isinstance(paused, bool):
            raise SettingsError(f"paused is true or false, found {paused!r}")
        told = isinstance(speed, int | float) and not isinstance(speed, bool)
        if "speed" in wanted and not (told and SPEEDS[0] <= speed <= SPEEDS[1]):
            raise SettingsError(f"speed is {SPEEDS[0]:g} to {SPEEDS[1]:g} market seconds per second, found {speed!r}")
        if "seek" in wanted:
            seek_ns = self._place(wanted["seek"])
        self.paused, self.speed, self.seek_ns = paused, float(speed), seek_ns
        if wanted:
            self._changed.set()
        return self.state()

    def _place(self, place: Any) -> int:
        try:
            time_ns = from_iso(place) if isinstance(place, str) else int(place)
        except (ValueError, TypeError):
            raise SettingsError(f"{place!r} is not a time; write it like {to_iso(self.first_ns)}") from None
        if not self.first_ns <= time_ns <= self.last_ns:
            raise SettingsError(
                f"{to_iso(time_ns)} is not in the recording: {to_iso(self.first_ns)} to {to_iso(self.last_ns)}"
            )
        return time_ns

    def state(self) -> dict[str, Any]:
        """Return what a page shows: plain values."""
        names = ("speed", "first_ns", "last_ns", "position_ns", "paused", "waiting", "ended")
        return {name: getattr(self, name) for name in names} | {"seeking": self.seek_ns is not None}

    @property
    def still(self) -> bool:
        """Whether time stands still."""
        return self.paused or self.waiting or self.ended

    async def pause(self, seconds: float, stop: asyncio.Event) -> bool:
        """Return after `seconds`, or at once when a viewer asks for something or `stop` is set; True: go on as before."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._changed, stop)]
        try:
            done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        changed = self._changed.is_set()
        self._changed.clear()
        return not done and not changed


class RecordingPlayer:
    """A recording of raw frames as a market: `run` plays it at the controls' speed.

    clock: the market's. on_table: called with each new row table: for each run of the recorded feed, and after a seek
    back, which plays the recording from its beginning to the place as fast as it can.
    """

    def __init__(self, recording: Recording, clock: SteppedClock, speed: float) -> None:
        first_ns, last_ns = recording.span_ns()
        self.controls = Controls(speed, first_ns, last_ns, first_ns)
        self.on_table: Callable[[RowTable], None] | None = None
        self._recording, self._clock = recording, clock
        self._player = self._new_player()

    @property
    def table(self) -> RowTable:
        """The row table being written."""
        return self._player.table

    def _new_player(self) -> FramePlayer:
        # Another epoch each time: consumers then forget what they knew.
        player = FramePlayer(self._recording, self._clock, epoch=lambda: secrets.randbits(63) | 1)
        player.on_start = self._tell
        return player

    def _tell(self, table: RowTable) -> None:
        if self.on_table is not None:
            self.on_table(table)

    async def run(self, stop: asyncio.Event) -> None:
        """Play until `stop`; at the end of the recording say so and wait for a seek."""
        controls, loop = self.controls, asyncio.get_running_loop()
        at_ns, since, speed = self._player.time_ns, loop.time(), controls.speed
        while not stop.is_set():
            if controls.seek_ns is not None:
                await self._seek(controls.seek_ns, stop)
                controls.seek_ns, controls.ended = None, False
                at_ns, since = controls.position_ns, loop.time()
            if controls.still:
                await controls.pause(1.0, stop)
                at_ns, since = controls.position_ns, loop.time()
                continue
            if controls.speed != speed:
                at_ns, since, speed = controls.position_ns, loop.time(), controls.speed
            target_ns = at_ns + round((loop.time() - since) * speed * NS_PER_S)
            if self._player.next_ns - target_ns > SKIPPED_NS and not self._player.ended:
                at_ns = target_ns = self._player.next_ns
                since = loop.time()
            played = self._player.play_until(target_ns, RECORDS_PER_TURN)
            self._show_time(max(self._player.time_ns, min(target_ns, self._player.next_ns, controls.last_ns)))
            if self._player.ended:
                controls.ended = True
                self._say_end()
            elif played == RECORDS_PER_TURN:
                await asyncio.sleep(0)
            else:
                wait_s = (self._player.next_ns - target_ns) / NS_PER_S / speed
                await controls.pause(min(max(wait_s, 0.001), TICK_S), stop)

    async def _seek(self, time_ns: int, stop: asyncio.Event) -> None:
        if time_ns < self._player.time_ns:
            self._player = self._new_player()
            self._tell(self.table)
        while self._player.next_ns <= time_ns and not stop.is_set():
            self._player.play_until(time_ns, RECORDS_PER_TURN)
            self._show_time(self._player.time_ns)
            await asyncio.sleep(0)
        self._show_time(time_ns)

    def _show_time(self, time_ns: int) -> None:
        self._clock.set(time_ns)
        self.controls.position_ns = time_ns

    def _say_end(self) -> None:
        table = self.table
        table.event("disconnect", self._clock.now_ns(), text=f"the recording ends at {to_iso(self._player.time_ns)}")
        for text in (*self._recording.damage, *self._player.notes):
            table.event("recording_gap", self._clock.now_ns(), "warning", text=text)
