"""One metric of the surface over time, over the bands in which it was most of the time."""

from collections.abc import Callable
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui
from bokeh.models import DatetimeTicker, DatetimeTickFormatter, HoverTool

from volsurface.dashboard import card
from volsurface.dashboard.figures import Figure, empty
from volsurface.dashboard.palette import Palette
from volsurface.errors import HistoryError
from volsurface.io.history.reader import History
from volsurface.io.history.table import Table

NAMES = {
    "ATM vol": "atm_vol", "25Δ risk reversal": "rr25", "25Δ butterfly": "bf25", "10Δ risk reversal": "rr10",
    "10Δ butterfly": "bf10", "skew": "skew", "curvature": "curvature",
}  # fmt: skip
TENORS = {"7 days": 7.0, "14 days": 14.0, "30 days": 30.0, "60 days": 60.0, "90 days": 90.0, "180 days": 180.0}
HOURS = {"1 hour": 1.0, "6 hours": 6.0, "1 day": 24.0, "7 days": 168.0, "30 days": 720.0}
POINTS = 600
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BOX = ("x0", "y0", "x1", "y1")
Ask = Callable[[object, Callable[[History], Any], Callable[[Any], None]], None]


class MetricChart:
    """A constant tenor's metric; the outer band holds 90 % of the window's values, the inner half of them."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._underlying = ""
        no = np.empty(0)
        box = (no, no, no, no)
        self.figure = Figure(
            {
                "outer": hv.Rectangles(box, list(BOX)).opts(alpha=0.13, line_width=0),
                "inner": hv.Rectangles(box, list(BOX)).opts(alpha=0.2, line_width=0),
                "median": hv.Curve((no, no), "x", "y").opts(line_width=1, line_dash="dotted"),
                "value": hv.Curve((no, no), "x", "y").opts(line_width=2),
            },
            xlabel="",
            ylabel="",
            show_grid=True,
        )
        for name in ("outer", "inner"):
            self.figure.share_source(name, (name,), empty("left", "bottom", "right", "top"))
        for name in ("median", "value"):
            self.figure.share_source(name, (name,), empty("x", "y"))
        axis, grid = self.figure.state.xaxis[0], self.figure.state.xgrid[0]
        axis.formatter = DatetimeTickFormatter(
            seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M", hours="%H:%M", days="%d %b"
        )
        axis.ticker = grid.ticker = DatetimeTicker(desired_num_ticks=6)
        self.figure.x_range.padding = 0.0
        tips = [("", "@x{%F %T} UTC"), ("", "@y{0.00}")]
        hover = HoverTool(renderers=[self.figure.renderers["value"]], tooltips=tips, mode="vline")
        hover.formatters = {"@x": "datetime"}
        self.figure.state.add_tools(hover)
        choice = {"size": "small", "margin": (0, 3), "width": 150}
        self.name = pmui.Select(label="Metric", options=list(NAMES), value="ATM vol", **choice)
        self.tenor = pmui.Select(label="Tenor", options=list(TENORS), value="30 days", **choice | {"width": 100})
        self.window = pmui.Select(label="Window", options=list(HOURS), value="1 hour", **choice | {"width": 100})
        for widget in (self.name, self.tenor, self.window):
            widget.param.watch(lambda _: self._again(), "value")
        self._pane = pn.pane.Bokeh(self.figure.state, sizing_mode="stretch_both", margin=0, visible=False)
        self.card = card.Card(
            "METRIC",
            pn.Column(
                pn.Row(self.name, self.tenor, self.window, margin=(2, 6), height=46, styles={"flex": "none"}),
                self._pane,
                sizing_mode="stretch_both",
                margin=0,
            ),
            key='<b class="muted">bands: 5–95 % and 25–75 % of the window</b>',
            short_key=True,
        )

    def paint(self, palette: Palette) -> None:
        """Take a theme's colours."""
        self.figure.paint(palette)
        for name in ("outer", "inner"):
            self.figure.glyph(name, fill_color=palette.accent)
        self.figure.glyph("median", line_color=palette.muted)
        self.figure.glyph("value", line_color=palette.fit)

    def reset(self) -> None:
        """Show the window whole again after a zoom."""
        self.figure.release()
        self._again()

    def _again(self) -> None:
        self.figure.release()
        self.refresh(self._underlying)

    def refresh(self, underlying: str) -> None:
        """Ask for the window again."""
        self._underlying = underlying
        if not underlying:
            return
        name, tenor, hours = NAMES[self.name.value], TENORS[self.tenor.value], HOURS[self.window.value]
        facts = f"{underlying} {self.name.value}, {self.tenor.value}"
        self._ask(
            "metric",
            lambda history: window(history, name, underlying, tenor, hours),
            lambda table: self._take(table, facts),
        )

    def _take(self, answer: Any, facts: str) -> None:
        if isinstance(answer, HistoryError):
            self.card.say(str(answer))
            return
        values = np.asarray(answer["value"], float)
        times = np.asarray(answer["ts"]).astype("datetime64[us]").astype("i8") / 1e3  # ms, as Bokeh's time axes count
        good = np.isfinite(values)
        values, times = 100 * values[good], times[good]
        self.card.say("" if values.size else "nothing stored of this tenor in the window")
        self.card.title("METRIC", f"{facts}, vol points" if values.size else facts)
        if values.size:
            self._draw(times, values)
            self._pane.visible = True  # no axes before there is something on them

    def _draw(self, times: np.ndarray, values: np.ndarray) -> None:
        low, lower, median, upper, high = np.quantile(values, QUANTILES)
        first, last = float(times[0]), float(max(times[-1], times[0] + 1.0))
        for name, bottom, top in (("outer", low, high), ("inner", lower, upper)):
            box = {"left": [first], "bottom": [float(bottom)], "right": [last], "top": [float(top)]}
            self.figure.replace(name, box)
        self.figure.replace("median", {"x": [first, last], "y": [float(median)] * 2})
        self.figure.replace("value", {"x": times, "y": values.astype("f4")})
        if not self.figure.x_range.is_users:
            self.figure.x_range.show(first, last)
        self.figure.y_range.follow(float(values.min()), float(values.max()))


def window(history: History, name: str, underlying: str, tenor: float, hours: float) -> Table:
    """Return at most POINTS values of the last hours stored."""
    query = "SELECT epoch_us(min(ts)) AS first, epoch_us(max(ts)) AS last FROM metrics WHERE underlying = $1"
    [row] = history.sql(query, underlying).rows()
    if np.ma.is_masked(row["last"]):
        return Table({"ts": np.empty(0, "datetime64[us]"), "value": np.empty(0)})
    until = int(row["last"]) * 1000
    since = max(int(row["first"]) * 1000, until - round(hours * 3600e9))
    bucket_s = max(1.0, (until - since) / 1e9 / POINTS)
    return history.metric(name, underlying, tenor=tenor, since=since, until=until, bucket_s=bucket_s)
