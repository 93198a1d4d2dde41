"""The map of expiry against strike: how rich or cheap the quotes are beside the fit, or the vols themselves."""

from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.events import Event, Tap
from bokeh.models import BasicTicker, FixedTicker, HoverTool, LinearColorMapper
from bokeh.models.annotations import ColorBar
from panel.viewable import Viewer

from volsurface.dashboard import card
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.figures import FONT, TEXT_SIZE, Figure, empty
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.palette import VIRIDIS, Palette, diverging
from volsurface.dashboard.picture import Z_RANGE, Picture
from volsurface.dashboard.quote_grid import BUCKET_WIDTH, BUCKETS, MEASURES, cells

TITLES = {
    "bp": "RICH / CHEAP, bp",
    "spreads": "RICH / CHEAP, spreads",
    "money": "RICH / CHEAP, USD",
    "vol": "VOL MAP, %",
}
PLACES = {"bp": "0.0", "spreads": "0.00", "money": "0,0", "vol": "0.00"}
LEAST = {"bp": 5.0, "spreads": 0.1, "money": 1.0}  # a scale narrower than this would paint noise
KEY = '<b style="color:var(--vs-ask)">+ rich</b><b style="color:var(--vs-bid)">− cheap</b>'
STALE_KEY = '<b class="muted">▨ stale</b>'
CORNERS = ("left", "bottom", "right", "top")


class MapView(Viewer):
    """One row per expiry, nearest at the bottom; a click chooses the expiry."""

    def __init__(self, hub: SurfaceHub, choices: Choices | None = None, **params: Any) -> None:
        super().__init__(**params)
        self.hub = hub
        self.choices = choices or Choices()
        self._drawn: tuple[Any, ...] = ()
        self._measure = ""
        self._labels: list[str] = []
        self._colours: tuple[float, float] | None = None
        self._stale: tuple[int, ...] = ()
        self._chosen: int | None = None
        self.figure = self._build()
        self.card = card.Card(
            TITLES["bp"],
            pn.pane.Bokeh(self.figure.state, sizing_mode="stretch_both", margin=0),
            key=KEY,
            short_key=True,
        )
        self.paint(self.choices.palette)

    def _build(self) -> Figure:
        self.mapper = LinearColorMapper(palette=VIRIDIS, low=0.0, high=1.0, nan_color="rgba(0,0,0,0)")
        bounds, no = (Z_RANGE[0], -0.5, Z_RANGE[1], 1.5), np.empty(0)
        nothing = np.zeros((2, BUCKETS), "f4")
        image = hv.Image(nothing, ["z", "row"], "value", bounds=bounds)
        figure = Figure(
            {
                "map": image.opts(cmap="viridis"),
                "stale": hv.Rectangles((no, no, no, no), ["x0", "y0", "x1", "y1"]).opts(line_width=0),
                "chosen": hv.Rectangles((no, no, no, no), ["x0", "y0", "x1", "y1"]).opts(line_width=2),
            },
            xlabel="standardised log-moneyness, σ",
            ylabel="",
        )
        figure.renderers["map"].glyph.color_mapper = self.mapper
        figure.share_source("map", ("map",), self._columns(nothing, nothing, nothing, nothing))
        for name in ("stale", "chosen"):
            figure.share_source(name, (name,), empty(*CORNERS))
            figure.glyph(name, fill_alpha=0.0)
        figure.glyph("stale", hatch_pattern="right_diagonal_line", hatch_scale=8.0, hatch_weight=1.2)
        self.bar = ColorBar(
            color_mapper=self.mapper, width=10, padding=4, ticker=BasicTicker(desired_num_ticks=4),
            background_fill_alpha=0.0, bar_line_color=None, major_tick_line_color=None,
        )  # fmt: skip
        figure.state.add_layout(self.bar, "right")
        figure.hover("map", [])
        figure.state.on_event(Tap, self._on_tap)
        figure.x_range.padding = figure.y_range.padding = 0.0
        figure.x_range.show(*Z_RANGE)
        figure.state.xaxis[0].ticker = FixedTicker(ticks=[-2, -1, 0, 1, 2])
        return figure

    @staticmethod
    def _columns(value: np.ndarray, count: np.ndarray, through: np.ndarray, age: np.ndarray) -> dict[str, Any]:
        return {
            "image": [value], "count": [count], "through": [through], "age": [age],
            "x": [Z_RANGE[0]], "y": [-0.5], "dw": [Z_RANGE[1] - Z_RANGE[0]], "dh": [float(value.shape[0])],
        }  # fmt: skip

    def paint(self, palette: Palette) -> None:
        """Take a theme's colours."""
        self.figure.paint(palette)
        self.figure.glyph("stale", hatch_color=palette.muted)
        self.figure.glyph("chosen", line_color=palette.accent)
        self.mapper.palette = VIRIDIS if self.choices.map == "vol" else diverging(palette)
        self.bar.update(
            major_label_text_color=palette.muted, major_label_text_font=FONT,
            major_label_text_font_size=TEXT_SIZE,
        )  # fmt: skip

    def reset(self) -> None:
        """Show the whole map again after a zoom."""
        self._drawn, self._labels, self._colours = (), [], None
        self.figure.x_range.show(*Z_RANGE)
        self.apply()

    def _on_tap(self, event: Event) -> None:
        picture = self.hub.picture(self.choices.underlying)
        if picture is None or not isinstance(event, Tap) or event.y is None:
            return
        row = round(event.y)
        if 0 <= row < len(picture.labels):
            self.choices.expiry = picture.labels[row]

    def apply(self) -> None:
        """Draw what is new; does nothing when nothing is."""
        picture = self.hub.picture(self.choices.underlying)
        if picture is None:
            return
        row = self.choices.row(picture)
        if row != self._chosen or picture.labels != self._labels:
            self._choose(row)
        if (picture, self.choices.map) == self._drawn:
            return
        self._drawn = (picture, self.choices.map)
        if self.choices.map != self._measure:
            self._take_measure()
        if picture.labels != self._labels:
            self._label(picture)
        if self.choices.map == "vol":
            value = picture.vol_grid
            self._hatch(np.zeros((len(picture.smiles), BUCKETS), bool))
            none = np.zeros((1, 1), "f4")
            self.figure.replace("map", self._columns(value, none, none, none))
            self.card.title(TITLES["vol"])
        else:
            made = cells(picture, self.choices.map)
            value = made.value
            limit_s = float(self.hub.setting("fit", "stale_after_s", 60.0))
            self._hatch(made.age_s > limit_s)
            self.figure.replace("map", self._columns(value, made.count, made.through, made.age_s))
            n = int((made.through != 0).sum())
            self.card.title(TITLES[self.choices.map], f"{n} through" if n else "")
        self.card.key("" if self.choices.map == "vol" else KEY + STALE_KEY * bool(self._stale))
        self._scale(value)

    def _take_measure(self) -> None:
        self._measure, self._colours = self.choices.map, None
        vol = self._measure == "vol"
        self.mapper.palette = VIRIDIS if vol else diverging(self.choices.palette)
        value = ("vol" if vol else MEASURES[self._measure], f"@image{{{PLACES[self._measure]}}}")
        more = [
            ("quotes", "@count{0}"),
            ("best quote through the fit", "@through{+0.0} bp"),
            ("newest quote", "@age{0.0} s old"),
        ]
        tool = next(tool for tool in self.figure.state.tools if isinstance(tool, HoverTool))
        tool.tooltips = [("z", "$x{0.00} σ"), value, *(more if not vol else [])]

    def _scale(self, grid: np.ndarray) -> None:
        """Follow the values in steps, as the axes do: a colour that changes at every frame says nothing."""
        finite = grid[np.isfinite(grid)]
        if not finite.size:
            return
        if self._measure == "vol":
            low, high = float(finite.min()), float(finite.max())
            margin = 0.05 * (high - low or 1.0)
        else:
            # Symmetric, so that no colour means no residual; the few outermost may saturate.
            high = max(LEAST[self._measure], float(np.quantile(np.abs(finite), 0.98)))
            low, margin = -high, 0.1 * high
        if self._colours is not None:
            shown_low, shown_high = self._colours
            if low >= shown_low and high <= shown_high and high - low >= 0.6 * (shown_high - shown_low):
                return
        self._colours = (low - margin, high + margin)
        self.mapper.update(low=self._colours[0], high=self._colours[1])

    def _hatch(self, stale: np.ndarray) -> None:
        where = tuple(np.flatnonzero(stale).tolist())
        if where == self._stale:
            return
        self._stale = where
        row, column = np.divmod(np.array(where, int), BUCKETS)
        left = Z_RANGE[0] + column * BUCKET_WIDTH
        corners = (left, row - 0.5, left + BUCKET_WIDTH, row + 0.5)
        self.figure.replace("stale", {name: np.asarray(at, "f4") for name, at in zip(CORNERS, corners)})

    def _choose(self, row: int | None) -> None:
        self._chosen = row
        corners = [] if row is None else [Z_RANGE[0], row - 0.5, Z_RANGE[1], row + 0.5]
        self.figure.replace(
            "chosen", {n: np.asarray(corners[i : i + 1], "f4") for i, n in enumerate(CORNERS)}
        )  # fmt: skip

    def _label(self, picture: Picture) -> None:
        self._labels = list(picture.labels)
        axis = self.figure.state.yaxis[0]
        axis.ticker = FixedTicker(ticks=list(range(len(self._labels))))
        axis.major_label_overrides = {row: label for row, label in enumerate(picture.short_labels)}
        self.figure.y_range.show(-0.5, len(self._labels) - 0.5)

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        return self.card.panel
