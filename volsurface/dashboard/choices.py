"""What one page shows, as its user chose it: the page's own state, shared by its panels and kept in the URL."""

from typing import Any

import numpy as np
import param

from volsurface.dashboard.palette import Palette, palette
from volsurface.dashboard.picture import X_AXES, Picture
from volsurface.dashboard.quote_grid import COLOURS, MEASURES
from volsurface.settings import DisplaySettings

USUAL_DAYS = 30.0
# What a link says of a page: choice and its name in the URL.
LINKED = {
    "underlying": "underlying", "expiry": "expiry", "x_axis": "x", "tab": "tab", "height": "height", "colour": "colour", "map": "map",
    "compare": "compare",
}  # fmt: skip
TABS = ("Live", "Fit & arbitrage", "Venues", "Quotes", "History", "System")


class Choices(param.Parameterized):
    """The state of one page; a link with these in its query opens the same view."""

    underlying = param.String(default="", doc="Coin shown; empty until the first surface names one.")
    expiry = param.String(default="", doc="Label of the expiry chosen, '26DEC25'; empty: the one nearest to 30 days.")
    x_axis: Any = param.Selector(default="standardised", objects=list(X_AXES), doc=DisplaySettings.param.x_axis.doc)
    height: Any = param.Selector(
        default="vol", objects=["vol", "total variance"], doc=DisplaySettings.param.surface_height.doc
    )
    colour: Any = param.Selector(
        default="vol",
        objects=list(COLOURS),
        doc="What the surface is coloured by; quotes are drawn straight between strikes.",
    )
    map: Any = param.Selector(
        default="bp",
        objects=[*MEASURES, "vol"],
        doc="What the map shows: mid minus fit in bp of vol, in spreads or in USD (times vega and size), or the vols.",
    )
    compare: Any = param.Selector(
        default="nothing",
        objects=["nothing", "1 h ago", "24 h ago", "7 d ago", "pinned"],
        doc="What smile, term structure and skew are compared with: a stored surface, or the one shown when it was pinned.",
    )
    tab: Any = param.Selector(default="Live", objects=list(TABS), doc="Tab shown.")
    frozen = param.Boolean(default=False, doc="The picture stands still while the market goes on.")
    dark = param.Boolean(default=True, doc="Dark theme.")

    @property
    def palette(self) -> Palette:
        return palette(self.dark)

    def row(self, picture: Picture) -> int | None:
        """Return the row of the expiry to show: the chosen one, else the one nearest to 30 days."""
        if not picture.labels:
            return None
        chosen = picture.row(self.expiry) if self.expiry else None
        return int(np.argmin(np.abs(picture.days - USUAL_DAYS))) if chosen is None else chosen

    def link(self) -> dict[str, Any]:
        """Return what belongs in the URL."""
        return {query: getattr(self, name) for name, query in LINKED.items()}
