"""Shows one's own fits in the page's views: a hub whose surfaces come from a notebook instead of an engine.

mine = OwnFits()
mine.show(fit.surface, fit.quotes)
view = SmileView(mine.hub, Choices(underlying="BTC", dark=False))
view.apply()                                      # again after each `show`
"""

from typing import Any

from volsurface.dashboard.hub import SurfaceHub
from volsurface.errors import ServiceError
from volsurface.io.publication import Publication
from volsurface.settings import Settings
from volsurface.surface.quoted import QuotedVols
from volsurface.surface.surface import Surface


class OwnFits:
    """Stands where a page's handle on the engine stands; `hub` is what views are made with."""

    def __init__(self) -> None:
        self.surfaces: dict[str, Publication] = {}
        self.previews: dict[str, Publication] = {}
        self.status: dict[str, Any] = {"source": "replay", "venues": []}
        self.settings = Settings().values()
        self.settings_version = 1
        self.events: list[dict[str, Any]] = []
        self.connected, self.error = True, ""
        self._now_ns = 0
        self.hub = SurfaceHub(self, lambda: self._now_ns)

    def show(self, surface: Surface, quotes: QuotedVols, spot: float = float("nan")) -> None:
        """Put a surface with its quotes (`ChainFit.surface`, `ChainFit.quotes`) in the place of its underlying's."""
        self._now_ns = now_ns = surface.valuation_time_ns
        before = self.surfaces.get(surface.underlying)
        self.surfaces[surface.underlying] = Publication(
            underlying=surface.underlying, surface_id=before.surface_id + 1 if before else 1, market_time_ns=now_ns,
            published_ns=now_ns, newest_quote_ns=now_ns, oldest_tick_ns=now_ns, changed=0, spot=spot, settings_version=1,
            surface=surface, quotes=quotes,
        )  # fmt: skip
        self.hub.take()

    async def poll(self) -> bool:
        """Nothing comes by itself."""
        return False

    async def candidate(self, underlying: str, fit: dict[str, Any]) -> tuple[Surface, Surface]:
        """Refuse: there is no engine."""
        raise ServiceError("these surfaces were fitted here: fit again with other settings, and show that")

    async def playback(self, **wanted: Any) -> dict[str, Any]:
        """Refuse: nothing is played."""
        raise ServiceError("these surfaces were fitted here: there is nothing to play")

    async def change_settings(self, values: dict[str, dict[str, Any]], who: str) -> int:
        """Refuse: there is no engine."""
        raise ServiceError("these surfaces were fitted here: fit again with other settings, and show that")
