"""One surface to many viewers: each frame is made once, and every socket gets the same bytes.

Nothing queues. A viewer whose socket is still busy is passed over, and has the newest snapshot when it reads again: the
snapshot too is made once for all who need it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from volsurface.dashboard.hub import SurfaceHub
from volsurface.io.surface_frames import FrameWriter

log = logging.getLogger(__name__)

LEAST_FPS = 0.5
AT_ONCE = 50  # viewers written to before others of the loop have their turn


class Viewer(Protocol):
    """One reader of a stream."""

    underlying: str
    form: str
    seq: int  # of the frame it has; 0: it needs a snapshot

    def is_busy(self) -> bool:
        """Tell whether the frame before is still being written."""
        ...

    def send(self, frame: bytes) -> None:
        """Write a frame, without waiting."""
        ...


class Broadcast:
    """The streams of one process; belongs to its event loop. The task lives while there is a viewer."""

    def __init__(self, hub: Callable[[], SurfaceHub | None]) -> None:
        self._hub = hub
        self.viewers: set[Viewer] = set()
        self.sent = 0
        self.passed_over = 0
        self._writers: dict[str, FrameWriter] = {}
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    @property
    def encoded(self) -> int:
        """Return how many frames have been made."""
        return sum(writer.encoded for writer in self._writers.values())

    def add(self, viewer: Viewer) -> None:
        """Start feeding a viewer; its first frame is a snapshot."""
        self.viewers.add(viewer)
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def drop(self, viewer: Viewer) -> None:
        """Stop feeding a viewer."""
        self.viewers.discard(viewer)

    async def _run(self) -> None:
        while self.viewers:
            fps, start, cpu = 5.0, time.perf_counter(), time.thread_time()
            try:
                hub = self._hub()
                if hub is not None:
                    await self.send_newest(hub)
                    fps = max(LEAST_FPS, float(hub.setting("display", "frames_per_s", 5.0)))
            except Exception:  # a surface that cannot be sent must not end the streams of the others
                log.exception("a pass of the broadcast failed")
            spent = time.perf_counter() - start
            # At most half of the loop's time: with more viewers than that there are fewer frames.
            await self._rest(max(1 / fps - spent, time.thread_time() - cpu, 0.001))

    async def _rest(self, seconds: float) -> None:
        """Sleep until the next pass is due; somebody new is waited for a moment only, so that a crowd shares one pass."""
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
            await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        self._wake.clear()

    async def send_newest(self, hub: SurfaceHub) -> None:
        """Bring every viewer that can take it to the newest publication."""
        for underlying in {viewer.underlying for viewer in self.viewers}:
            publication = hub.client.surfaces.get(underlying)
            if publication is not None:
                self._writers.setdefault(underlying, FrameWriter(underlying)).update(publication)
        for number, viewer in enumerate(list(self.viewers), 1):
            self._visit(viewer)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _visit(self, viewer: Viewer) -> None:
        writer = self._writers.get(viewer.underlying)
        if writer is None or viewer.seq == writer.seq or viewer not in self.viewers:
            return
        if viewer.is_busy():
            self.passed_over += 1
            return
        follows = viewer.seq > 0 and viewer.seq == writer.seq - 1
        viewer.send(writer.patch(viewer.form) if follows else writer.snapshot(viewer.form))
        viewer.seq = writer.seq
        self.sent += 1
