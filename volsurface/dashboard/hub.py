"""The newest state of the engine as this process's pages see it: one reader per process, whoever is watching.

`version` grows by one at each change, so a page knows in one comparison that it has nothing to do. What is drawn is derived
once per publication, when the first page asks for it.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from volsurface.dashboard.picture import Picture
from volsurface.errors import VolSurfaceError
from volsurface.io.publication import Publication
from volsurface.surface.surface import Surface

log = logging.getLogger(__name__)

RETRY_S = 0.3
PLAYBACK_EVERY_S = 0.5
LEAST_PAUSE_S = 0.02
HOUR_NS = 3_600_000_000_000
MOMENT_EVERY_NS = 5_000_000_000


class Client(Protocol):
    """What the hub reads from; `engine.client.LiveClient`, or a script in tests."""

    @property
    def surfaces(self) -> Mapping[str, Publication]: ...
    @property
    def previews(self) -> Mapping[str, Publication]: ...

    status: dict[str, Any]
    settings: dict[str, dict[str, Any]]
    settings_version: int
    events: list[dict[str, Any]]
    connected: bool
    error: str

    async def poll(self) -> bool: ...
    async def change_settings(self, values: dict[str, dict[str, Any]], who: str) -> int: ...
    async def candidate(self, underlying: str, fit: dict[str, Any]) -> tuple[Surface, Surface]: ...
    async def playback(self, **wanted: Any) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Moment:
    """The 30-day numbers of one underlying at one time, as fractions."""

    time_ns: int
    atm: float
    rr25: float
    bf25: float


class SurfaceHub:
    """Keeps the newest publication, status and settings; belongs to one event loop.

    playback: of a market that is played: where it is and how fast (`LiveClient.playback`); else empty.
    """

    def __init__(self, client: Client, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.client = client
        self.now_ns = now_ns
        self.version = 0
        self.events: deque[dict[str, Any]] = deque(maxlen=200)
        self.contact_ns = 0
        self.playback: dict[str, Any] = {}
        self._playback_due = 0.0
        self._pictures: dict[str, Picture] = {}
        self._moments: dict[str, deque[Moment]] = {}
        self._was_connected = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start reading, once; needs the running event loop."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        """Read for ever. A reader that fails is logged and tried again: pages show that the engine is away."""
        while True:
            try:
                if await self.client.poll() or self.client.connected != self._was_connected:
                    self.take()
            except Exception:
                log.exception("reading from the engine failed")
                await asyncio.sleep(RETRY_S)
            if self.client.connected:
                self.contact_ns = self.now_ns()
            if self.source == "replay" and time.monotonic() >= self._playback_due:
                self._playback_due = time.monotonic() + PLAYBACK_EVERY_S
                await self._ask_playback()
            await asyncio.sleep(LEAST_PAUSE_S if self.client.connected else RETRY_S)

    async def _ask_playback(self) -> None:
        try:
            playback = await self.client.playback()
        except VolSurfaceError:
            return  # the feed is away: the strip says so
        if playback != self.playback:
            self.playback = playback
            self.version += 1

    def take(self) -> None:
        """Note that the client has something new."""
        self.version += 1
        self._was_connected = self.client.connected
        newest = self.events[-1]["seq"] if self.events else 0
        self.events.extend(event for event in self.client.events if event["seq"] > newest)
        for underlying in self.client.surfaces:
            moments = self._moments.get(underlying)
            if not moments or not 0 <= self.now_ns() - moments[-1].time_ns < MOMENT_EVERY_NS:  # a look decodes it
                self._remember(underlying, self.client.surfaces[underlying])

    def _remember(self, underlying: str, publication: Publication) -> None:
        moments = self._moments.setdefault(underlying, deque(maxlen=HOUR_NS // MOMENT_EVERY_NS))
        now = publication.published_ns
        if not publication.surface.smiles or (moments and now - moments[-1].time_ns < MOMENT_EVERY_NS):
            return
        tenor = publication.surface.constant_tenor(30)
        moments.append(Moment(now, tenor.atm_vol, tenor.rr25, tenor.bf25))

    @property
    def underlyings(self) -> list[str]:
        """Coins in the order of the settings, then others by name."""
        wanted = self.client.settings.get("market", {}).get("underlyings", [])
        found = self.client.surfaces.keys() | self.client.previews.keys()
        return sorted(found, key=lambda u: (wanted.index(u) if u in wanted else len(wanted), u))

    @property
    def status(self) -> dict[str, Any]:
        return self.client.status

    @property
    def connected(self) -> bool:
        return self.client.connected

    @property
    def source(self) -> str:
        """Return "simulated", "live" or "replay"; "simulated" until the engine says otherwise, never "live" by default."""
        return str(self.status.get("source") or "simulated")

    def setting(self, section: str, name: str, default: Any) -> Any:
        """Return a setting in force, or `default` before any has arrived."""
        return self.client.settings.get(section, {}).get(name, default)

    def picture(self, underlying: str) -> Picture | None:
        """Return the newest picture of an underlying, of its preview before there is a surface; None without a smile."""
        publication = self.client.surfaces.get(underlying) or self.client.previews.get(underlying)
        if publication is None or not publication.surface.smiles:
            return None
        picture = self._pictures.get(underlying)
        if picture is None or picture.publication is not publication:
            picture = self._pictures[underlying] = Picture(publication)
        return picture

    def hour_ago(self, underlying: str) -> Moment | None:
        """Return the oldest moment kept within the last hour."""
        moments = self._moments.get(underlying)
        if not moments:
            return None
        return next((m for m in moments if m.time_ns >= moments[-1].time_ns - HOUR_NS), None)

    def age_s(self, underlying: str) -> float:
        """Return how long ago the newest surface was published, in seconds; NaN without one."""
        publication = self.client.surfaces.get(underlying)
        return math.nan if publication is None else max(0.0, (self.now_ns() - publication.published_ns) / 1e9)

    def stale_s(self, underlying: str) -> float | None:
        """Return the age of a surface that no longer follows its market, or None while it does.

        A quiet market publishes nothing and is not stale: what counts is that the engine answers and a venue speaks.
        """
        limit = float(self.setting("thresholds", "stale_s", 10.0))
        age = self.age_s(underlying)
        publication = self.client.surfaces.get(underlying)
        if publication is None or not age > limit:
            return None
        ages = [v["age_s"] for v in self.status.get("venues", []) if v["state"] == "live" and v["age_s"] is not None]
        follows = self.connected and any(venue_age <= limit for venue_age in ages)
        return None if follows and publication.surface.state != "stale" else age

    def not_certified_yet(self, underlying: str) -> str:
        """Return in words that what is shown is a preview, and what it waits for; empty when it is a surface, or nothing."""
        if underlying in self.client.surfaces or underlying not in self.client.previews:
            return ""
        return f"not certified yet · {self.waiting_for()}"

    def waiting_for(self) -> str:
        """Return what a page without a surface waits for, in words."""
        if not self.connected:
            return f"waiting for the engine ({self.client.error or 'no answer yet'})"
        kernels = self.status.get("kernels") or {}
        if kernels.get("total") and kernels.get("done", 0) < kernels["total"]:
            return (
                f"compiling kernels {kernels['done']}/{kernels['total']} ({kernels.get('name', '')}), once per machine"
            )
        if self.status.get("feed_error"):
            return f"waiting for the feed ({self.status['feed_error']})"
        venues = self.status.get("venues") or []
        if not venues:
            return "waiting for the venues to answer"
        words = ", ".join(
            f"{v['name']} {v['subscribed']} channels of {v['listed']} instruments"
            if v["listed"]
            else f"{v['name']} {v['state']}"
            for v in venues
        )
        return f"waiting for the first surface: {words}"
