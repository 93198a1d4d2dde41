"""One asyncio task that brings every open page of this process up to date, a few times a second.

Not Panel's periodic callback, one timer per page: that wrapper toggles the busy indicator twice a tick, which with a Material
page walks every model of every page (64 ms an update instead of 4). A page is skipped when no browser is connected, it is
hidden or frozen, nothing it shows has changed, or its browser is behind: the newest frame wins and nothing queues.
"""

import asyncio
import logging
import time
import weakref
from dataclasses import dataclass
from typing import Any, Protocol

import panel as pn
from bokeh.document import Document
from panel.io.state import set_curdoc

from volsurface.dashboard.bokeh_connections import has_unsent_bytes, is_watched, limit_send_buffer
from volsurface.dashboard.hub import SurfaceHub

log = logging.getLogger(__name__)

LEAST_FPS = 0.5
BUSY_SHARE = 0.5  # a pass may take this share of the period; beyond it the period is stretched


class Page(Protocol):
    """What the loop draws."""

    def wants_frame(self, now_s: float) -> bool:
        """Tell whether the page would change; `now_s` is the loop's clock."""
        ...

    def apply(self, now_s: float) -> None:
        """Bring the page up to date; called on the loop's thread with the page's document current."""
        ...


@dataclass(slots=True)
class Counts:
    """Frames of one page: drawn, and skipped because its browser was behind."""

    shown: int = 0
    skipped: int = 0


class FrameLoop:
    """Visits every open page up to `frames_per_s` times a second; belongs to one event loop."""

    def __init__(self, hub: SurfaceHub) -> None:
        self.hub = hub
        self.counts: dict[Document, Counts] = {}
        self.page_ms = 0.0  # smoothed CPU time of one page's update
        self.stall_ms = (
            0.0  # longest lateness of the loop in the last pass's sleep: what a join or an update cost others
        )
        self.worst_stall_ms = 0.0
        self.beat_ns = 0
        self._pages: dict[Document, Page] = {}
        self._wake = asyncio.Event()
        _loops.add(self)
        self._task: asyncio.Task[None] | None = None

    def add(self, document: Document, page: Page) -> Counts:
        """Start feeding a page; call when it has loaded. A page that is gone is dropped by itself."""
        self._pages[document] = page
        counts = self.counts[document] = Counts()
        limit_send_buffer(document)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        return counts

    def drop(self, document: Document) -> None:
        """Stop feeding a page."""
        self._pages.pop(document, None)
        self.counts.pop(document, None)

    @property
    def pages(self) -> int:
        """Number of pages held."""
        return len(self._pages)

    @property
    def watched(self) -> int:
        """Number of pages with a browser connected."""
        return sum(map(is_watched, self._pages))

    async def _run(self) -> None:
        while True:
            start = time.perf_counter()
            await self.visit_all()
            spent = time.perf_counter() - start
            period = 1 / max(LEAST_FPS, float(self.hub.setting("display", "frames_per_s", 5.0)))
            rest = max(period - spent, spent * (1 / BUSY_SHARE - 1) if spent > BUSY_SHARE * period else 0.0, 0.001)
            await self._rest(rest)

    async def _rest(self, rest: float) -> None:
        """Sleep until the next pass is due or a user has done something."""
        slept = time.perf_counter()
        try:
            await asyncio.wait_for(self._wake.wait(), rest)
            self._wake.clear()
        except TimeoutError:
            self.stall_ms = max(0.0, (time.perf_counter() - slept - rest) * 1e3)
            self.worst_stall_ms = max(0.999 * self.worst_stall_ms, self.stall_ms)

    def wake(self) -> None:
        """Make the next pass now: a key or a click must not wait for the next frame."""
        self._wake.set()

    async def visit_all(self) -> None:
        """Visit every page once; other sockets and joining pages run between two pages."""
        for document, page in list(self._pages.items()):
            if document in self._pages:
                self._visit(document, page)
            await asyncio.sleep(0)
        self.beat_ns = time.time_ns()

    def _visit(self, document: Document, page: Page) -> None:
        if document.session_context is None:
            self.drop(document)
            return
        if not is_watched(document):
            return  # tab closed or link lost: the document lives on until its session expires
        try:
            now_s = time.monotonic()
            if not page.wants_frame(now_s):
                return
            if has_unsent_bytes(document):
                self.counts[document].skipped += 1
                return
            start = time.thread_time()
            # unlocked() collects the changes and sends them together, without waiting for the socket.
            with set_curdoc(document), pn.io.unlocked():
                page.apply(now_s)
            self.counts[document].shown += 1
            self.page_ms += 0.1 * ((time.thread_time() - start) * 1e3 - self.page_ms)
        except Exception:  # one broken page must not stop the others
            log.exception("a page failed and is no longer drawn")
            self.drop(document)


_loops: weakref.WeakSet[FrameLoop] = weakref.WeakSet()


def readings() -> dict[str, float]:
    """Return what the routes beside the page report of this process; times are seconds since 1970 UTC, 0 for never.

    Empty before the first page has been asked for.
    """
    loop = next(iter(_loops), None)
    if loop is None:
        return {}
    return {
        "frame_beat_s": loop.beat_ns / 1e9,
        "engine_contact_s": loop.hub.contact_ns / 1e9,
        "pages": float(loop.pages),
        "pages_watched": float(loop.watched),
        "page_update_ms": loop.page_ms,
        "loop_stall_ms": loop.stall_ms,
    }


def current_hub() -> SurfaceHub | None:
    """Return what this process's pages read from; None before the first page has been asked for."""
    loop = next(iter(_loops), None)
    return None if loop is None else loop.hub


def engine_status() -> dict[str, Any]:
    """Return what the engine last said of itself to this process; empty before the first page has been asked for."""
    loop = next(iter(_loops), None)
    return loop.hub.status if loop is not None else {}
