"""Shows one's own fits in the page's views: a hub whose surfaces come from a notebook instead of an engine.

hub = own_hub(vs.fit_chain(chain))
SmileView(hub, Choices(underlying="BTC", dark=False))
show(hub, vs.fit_chain(chain, settings))      # every view of the hub takes the new one at its `apply`
"""

from typing import Any

from volsurface.dashboard.hub import SurfaceHub
from volsurface.engine.client import Publication
from volsurface.errors import ServiceError
from volsurface.settings import Settings
from volsurface.surface.quoted import QuotedVols
from volsurface.surface.surface import Surface


class OwnFits:
    """Stands where a page's handle on the engine stands."""

    def __init__(self) -> None:
        self.surfaces: dict[str, Publication] = {}
        self.previews: dict[str, Publication] = {}
        self.status: dict[str, Any] = {"source": "replay", "venues": []}
        self.settings = Settings().values()
        self.settings_version = 1
        self.events: list[dict[str, Any]] = []
        self.connected, self.error = True, ""

    async def poll(self) -> bool:
        """Nothing comes by itself."""
        return False

    async def change_settings(self, values: dict[str, dict[str, Any]], who: str) -> int:
        """Refuse: there is no engine; fit again instead."""
        raise ServiceError("these surfaces were fitted here: fit again with other settings, and show that")


def own_hub(surface: Surface, quotes: QuotedVols, spot: float = float("nan")) -> SurfaceHub:
    """Return a hub that shows a surface with its quotes (`ChainFit.surface`, `ChainFit.quotes`)."""
    hub = SurfaceHub(OwnFits(), lambda: surface.valuation_time_ns)
    show(hub, surface, quotes, spot)
    return hub


def show(hub: SurfaceHub, surface: Surface, quotes: QuotedVols, spot: float = float("nan")) -> None:
    """Put another surface in the place of the one of its underlying."""
    now_ns = surface.valuation_time_ns
    before = hub.client.surfaces.get(surface.underlying)
    hub.client.surfaces[surface.underlying] = Publication(
        underlying=surface.underlying, surface_id=before.surface_id + 1 if before else 1, market_time_ns=now_ns,
        published_ns=now_ns, newest_quote_ns=now_ns, oldest_tick_ns=now_ns, changed=0, spot=spot, settings_version=1,
        surface=surface, quotes=quotes,
    )  # fmt: skip
    hub.take()
