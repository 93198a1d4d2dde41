"""The surface, as a canvas to turn and as a map: expiry against standardised log-moneyness."""

from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.models import BasicTicker, FixedTicker, LinearColorMapper
from bokeh.models.annotations import ColorBar
from panel.viewable import Viewer

from volsurface.dashboard import card
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.figures import FONT, TEXT_SIZE, Figure
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.palette import VIRIDIS, Palette
from volsurface.dashboard.picture import Z_GRID, Z_RANGE, Picture
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
            "grid": palette.line, "muted": palette.muted, "text": palette.text, "accent": palette.accent, "rib": palette.rib
        }  # fmt: skip

    def apply(self) -> None:
        """Draw what is new; does nothing when nothing is."""
        picture = self.hub.picture(self.choices.underlying)
        if picture is None:
            self.card.say("waiting for a surface")
            return
        row = self.choices.row(picture)
        key = (picture.publication, row, self.choices.height)
        if key == self._drawn:
            return
        self._drawn = key
        self.card.say("")
        self.card.title(f"SURFACE · {picture.publication.underlying}", f"{len(picture.smiles)} expiries")
        variance = self.choices.height == "total variance"
        self.canvas.param.update(
            frame=encode_frame(
                picture.variance_grid if variance else picture.vol_grid,
                -1 if row is None else row,
                Z_RANGE,
                picture.vol_grid if variance else None,
            ),
            labels=picture.short_labels,
            height_title=HEIGHT_TITLES[self.choices.height],
        )

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        return self.card.panel


class SurfaceMapView(Viewer):
    """The same vols as a heat map: one row per expiry, nearest at the bottom."""

    def __init__(self, hub: SurfaceHub, choices: Choices | None = None, **params: Any) -> None:
        super().__init__(**params)
        self.hub = hub
        self.choices = choices or Choices()
        self._drawn: Any = None
        self._labels: list[str] = []
        self._colours = (0.0, 1.0)
        self.figure = self._build()
        self.card = card.Card("VOL MAP, %", pn.pane.Bokeh(self.figure.state, sizing_mode="stretch_both", margin=0))
        self.paint(self.choices.palette)

    def _build(self) -> Figure:
        self.mapper = LinearColorMapper(palette=VIRIDIS, low=0.0, high=1.0, nan_color="rgba(0,0,0,0)")
        bounds = (Z_RANGE[0], -0.5, Z_RANGE[1], 1.5)
        image = hv.Image(np.zeros((2, Z_GRID.size)), ["z", "row"], "vol", bounds=bounds)
        figure = Figure(
            {"map": image.opts(cmap="viridis")},
            xlabel="standardised log-moneyness, σ",
            ylabel="",
        )
        figure.renderers["map"].glyph.color_mapper = self.mapper
        figure.share_source("map", ("map",), self._columns(np.zeros((2, Z_GRID.size), "f4")))
        self.bar = ColorBar(
            color_mapper=self.mapper, width=10, padding=4, ticker=BasicTicker(desired_num_ticks=4),
            background_fill_alpha=0.0, bar_line_color=None, major_tick_line_color=None,
        )  # fmt: skip
        figure.state.add_layout(self.bar, "right")
        figure.hover("map", [("z", "$x{0.00} σ"), ("vol", "@image{0.00} %")])
        figure.x_range.padding = figure.y_range.padding = 0.0
        figure.x_range.show(*Z_RANGE)
        figure.state.xaxis[0].ticker = FixedTicker(ticks=[-2, -1, 0, 1, 2])
        return figure

    @staticmethod
    def _columns(grid: np.ndarray) -> dict[str, Any]:
        rows = grid.shape[0]
        return {"image": [grid], "x": [Z_RANGE[0]], "y": [-0.5], "dw": [Z_RANGE[1] - Z_RANGE[0]], "dh": [float(rows)]}

    def paint(self, palette: Palette) -> None:
        """Take a theme's colours."""
        self.figure.paint(palette)
        self.bar.update(
            major_label_text_color=palette.muted, major_label_text_font=FONT,
            major_label_text_font_size=TEXT_SIZE,
        )  # fmt: skip

    def reset(self) -> None:
        """Show the whole map again after a zoom."""
        self._drawn, self._labels = None, []
        self.figure.x_range.show(*Z_RANGE)
        self.apply()

    def apply(self) -> None:
        """Draw what is new; does nothing when nothing is."""
        picture = self.hub.picture(self.choices.underlying)
        if picture is None or picture is self._drawn:
            return
        self._drawn = picture
        self.figure.replace("map", self._columns(picture.vol_grid))
        self._scale(picture.vol_grid)
        if picture.labels != self._labels:
            self._label(picture)

    def _scale(self, grid: np.ndarray) -> None:
        finite = grid[np.isfinite(grid)]
        if not finite.size:
            return
        low, high = float(finite.min()), float(finite.max())
        shown_low, shown_high = self._colours
        # In steps, as the axes: a colour that changes at every frame says nothing.
        if low < shown_low or high > shown_high or high - low < 0.7 * (shown_high - shown_low):
            margin = 0.05 * (high - low or 1.0)
            self._colours = (low - margin, high + margin)
            self.mapper.update(low=self._colours[0], high=self._colours[1])

    def _label(self, picture: Picture) -> None:
        self._labels = list(picture.labels)
        axis = self.figure.state.yaxis[0]
        axis.ticker = FixedTicker(ticks=list(range(len(self._labels))))
        axis.major_label_overrides = {row: label for row, label in enumerate(picture.short_labels)}
        self.figure.y_range.show(-0.5, len(self._labels) - 0.5)

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        return self.card.panel
