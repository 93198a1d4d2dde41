"""Figures that HoloViews builds once and whose columns are then replaced: the one place that reaches into its plots.

A DynamicMap would rebuild each element in Python, about 10 ms each; replacing a column costs a tenth. The price is that the
view owns the axis ranges (HoloViews fixes them when it builds) and that column names are a promise, so they are checked.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import holoviews as hv
import holoviews.plotting.bokeh
import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, NoOverlap, Range1d
from bokeh.models.renderers import GlyphRenderer
from bokeh.plotting import figure as BokehFigure
from bokeh.themes import Theme

from volsurface.dashboard.palette import Palette

FONT = 'system-ui, "Segoe UI", Roboto, sans-serif'
TEXT_SIZE = "12px"
_FIELDS = ("x", "y", "x0", "y0", "x1", "y1", "top", "bottom", "left", "right", "image", "dw", "dh", "width")
# pmui restyles every figure in the browser, except models that the document's theme names: those keep what `paint` says.
OWN_THEME = Theme(
    json={
        "attrs": {
            name: {} for name in ("Axis", "Legend", "ColorBar", "BaseColorBar", "Title", "Grid", "Plot", "Figure")
        }
    }
)


class Figure:
    """A HoloViews overlay as a Bokeh figure with named renderers."""

    def __init__(self, elements: Mapping[str, hv.Element], **options: Any) -> None:
        """Build `elements` (name -> element) into one figure; `options` are HoloViews overlay options."""
        overlay = hv.Overlay(list(elements.values())).opts(
            responsive=True, toolbar=None, show_legend=False, framewise=False, axiswise=True, **options
        )
        plot = hv.renderer("bokeh").get_plot(overlay)
        # We keep the figure and let the plot go. It has hooked into the page's document, and would take its hook out while
        # Panel walks over the hooks of a session that ends, which breaks the rest of that clean-up.
        plot.document = None
        self.state: BokehFigure = plot.state
        handles = {name: sub.handles for name, sub in zip(elements, plot.subplots.values(), strict=True)}
        self.renderers: dict[str, GlyphRenderer] = {
            name: handle["glyph_renderer"] for name, handle in handles.items() if "glyph_renderer" in handle
        }
        for renderer in self.renderers.values():
            # Nothing is selected or muted here; glyphs for it would read columns of their own.
            renderer.update(selection_glyph=None, nonselection_glyph=None, hover_glyph=None, muted_glyph=None)
        # Lines across the frame have no data source.
        self.marks: dict[str, Any] = {name: h["glyph"] for name, h in handles.items() if name not in self.renderers}
        self.sources: dict[str, ColumnDataSource] = {}
        self.x_range, self.y_range = FollowedRange(), FollowedRange()
        self.state.x_range, self.state.y_range = self.x_range.model, self.y_range.model
        # A browser allows few WebGL contexts; these figures draw in a millisecond without one.
        self.state.update(min_border=4, min_border_right=14, output_backend="canvas")
        self.state.toolbar.active_scroll = next(
            (tool for tool in self.state.tools if type(tool).__name__ == "WheelZoomTool"), None
        )

    def share_source(self, name: str, renderers: Iterable[str], columns: Mapping[str, Any]) -> None:
        """Let several renderers read one source, so that one update carries them all together.

        Raises LookupError when a glyph reads a column that is not in `columns`: HoloViews has then named it differently.
        """
        source = ColumnDataSource(dict(columns))
        for renderer_name in renderers:
            renderer = self.renderers[renderer_name]
            for field in _FIELDS:
                column = _field(getattr(renderer.glyph, field, None))
                if column is not None and column not in source.data:
                    raise LookupError(
                        f"HoloViews reads column {column!r} for {renderer_name}.{field}; there are {sorted(source.data)}"
                    )
            renderer.data_source = source
            renderer.view.update(filter=renderer.view.filter)
        self.sources[name] = source

    def replace(self, name: str, columns: Mapping[str, Any]) -> None:
        """Put new columns on the screen, all at once: lengths may change, names may not."""
        source = self.sources[name]
        if source.data.keys() != columns.keys():
            raise LookupError(f"{name} has columns {sorted(source.data)}, was given {sorted(columns)}")
        source.data = dict(columns)

    def release(self) -> None:
        """Forget a zoom of either axis."""
        self.x_range.release()
        self.y_range.release()

    def glyph(self, name: str, **properties: Any) -> None:
        """Set properties of a renderer's glyph."""
        self.renderers[name].glyph.update(**properties)

    def paint(self, palette: Palette) -> None:
        """Give the frame, axes and grid a theme's colours."""
        state = self.state
        state.update(
            background_fill_color=palette.panel,
            border_fill_color=palette.panel,
            outline_line_color=None,
        )
        for axis in (*state.xaxis, *state.yaxis):
            axis.update(
                axis_line_color=palette.line,
                major_tick_line_color=palette.line,
                minor_tick_line_color=None,
                major_label_text_color=palette.muted,
                major_label_text_font=FONT,
                major_label_text_font_size=TEXT_SIZE,
                axis_label_text_color=palette.muted,
                axis_label_text_font=FONT,
                axis_label_text_font_size=TEXT_SIZE,
                axis_label_text_font_style="normal",
                axis_label_standoff=4,
                major_label_policy=NoOverlap(min_distance=2),
                major_tick_in=0,
                major_tick_out=4,
            )
        for grid in (*state.xgrid, *state.ygrid):
            grid.update(grid_line_color=palette.grid, grid_line_alpha=1.0)

    def hover(
        self, name: str, tooltips: list[tuple[str, str]], mode: Literal["mouse", "hline", "vline"] = "mouse"
    ) -> None:
        """Show these values when the pointer is over a renderer."""
        self.state.add_tools(HoverTool(renderers=[self.renderers[name]], tooltips=tooltips, mode=mode))


class FollowedRange:
    """An axis range that widens in steps with its data and leaves a user's zoom alone.

    The browser writes a zoom into the model; a range that is not what was set last is the user's, until a double click
    (Bokeh's reset) puts back what was set.
    """

    def __init__(self, padding: float = 0.06) -> None:
        self.model = Range1d(start=0.0, end=1.0, reset_start=0.0, reset_end=1.0)
        self.padding = padding
        self._set: tuple[float, float] | None = None

    @property
    def is_users(self) -> bool:
        """Tell whether the user has zoomed or panned."""
        shown: Any = (self.model.start, self.model.end)
        return self._set is not None and not all(
            math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip(shown, self._set)
        )

    def show(self, low: float, high: float) -> None:
        """Show low to high now, whatever was there: another expiry or another axis."""
        if not (math.isfinite(low) and math.isfinite(high)):
            return
        margin = self.padding * (high - low or abs(high) or 1.0)
        self._put(low - margin, high + margin)

    def follow(self, low: float, high: float) -> None:
        """Keep low to high in sight; changes only in steps, so that the axis does not move at every frame."""
        if not (math.isfinite(low) and math.isfinite(high)) or self.is_users:
            return
        if self._set is None:
            self.show(low, high)
            return
        start, end = self._set
        outside = low < start or high > end
        loose = high - low < 0.55 * (end - start) and high > low
        if outside or loose:
            self.show(low, high)

    def release(self) -> None:
        """Forget a zoom: the next data are shown whole."""
        self._set = None

    def _put(self, start: float, end: float) -> None:
        self._set = (float(start), float(end))
        self.model.update(start=self._set[0], end=self._set[1], reset_start=self._set[0], reset_end=self._set[1])


def empty(*names: str) -> dict[str, np.ndarray]:
    """Return empty float32 columns of these names."""
    return {name: np.empty(0, dtype="f4") for name in names}


def _field(value: Any) -> str | None:
    """Return the column a glyph property reads, or None when it is a constant."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return value.get("field")
    return getattr(value, "field", None)
