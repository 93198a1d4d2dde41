"""The surface as a canvas to turn: expiry against standardised log-moneyness."""

from typing import Any

import panel as pn
from panel.viewable import Viewer

from volsurface.dashboard import card
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.palette import Palette
from volsurface.dashboard.picture import Z_RANGE
from volsurface.dashboard.quote_grid import COLOURS, colour_grid
from volsurface.dashboard.surface3d import SurfaceCanvas, encode_frame

HEIGHT_TITLES = {"vol": "vol %", "total variance": "total variance σ²T"}


class SurfaceView(Viewer):
    """The surface in three dimensions; a click on a line chooses its expiry."""

    def __init__(self, hub: SurfaceHub, choices: Choices | None = None, **params: Any) -> None:
        super().__init__(**params)
        self.hub = hub
        self.choices = choices or Choices()
        self._drawn: tuple[Any, ...] = ()
        self.canvas = SurfaceCanvas(sizing_mode="stretch_both", margin=0)
        self.canvas.param.watch(self._pick, "picked")
        self.card = card.Card(
            "SURFACE", self.canvas, key='<b class="muted">drag or arrows turn, wheel zooms, 0 resets</b>'
        )
        self.paint(self.choices.palette)

    def _pick(self, _event: Any) -> None:
        picture = self.hub.picture(self.choices.underlying)
        if picture is not None and self.canvas.picked_row < len(picture.labels):
            self.choices.expiry = picture.labels[self.canvas.picked_row]

    def paint(self, palette: Palette) -> None:
        """Take a theme's colours."""
        self.canvas.colours = {
            "grid": palette.line, "muted": palette.muted, "text": palette.text, "accent": palette.accent, "rib": palette.rib,
            "diverging": [palette.bid, palette.raised, palette.ask],
        }  # fmt: skip

    def apply(self) -> None:
        """Draw what is new; does nothing when nothing is."""
        picture = self.hub.picture(self.choices.underlying)
        if picture is None:
            self.card.say("waiting for a surface")
            return
        row = self.choices.row(picture)
        key = (picture.publication, row, self.choices.height, self.choices.colour)
        if key == self._drawn:
            return
        self._drawn = key
        self.card.say("")
        self.card.title(f"SURFACE · {picture.publication.underlying}", f"{len(picture.smiles)} expiries")
        variance, colour = self.choices.height == "total variance", self.choices.colour
        self.canvas.param.update(
            frame=encode_frame(
                picture.variance_grid if variance else picture.vol_grid,
                -1 if row is None else row,
                Z_RANGE,
                colour_grid(picture, colour) if variance or colour != "vol" else None,
                diverging=colour == "residual",
            ),
            labels=picture.short_labels,
            height_title=HEIGHT_TITLES[self.choices.height],
            colour_title=COLOURS[colour],
        )

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        return self.card.panel
