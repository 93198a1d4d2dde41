"""Across expiries: the ATM term structure, and the 25-delta risk reversal and butterfly."""

from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.models import FixedTicker
from panel.viewable import Viewer

from volsurface.dashboard import card
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.comparison import Comparison
from volsurface.dashboard.figures import Figure, empty
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.palette import Palette
from volsurface.dashboard.picture import Picture

DAY_TICKS = [1, 2, 7, 14, 30, 60, 90, 180, 365, 730]
COLUMNS = ("days", "atm", "rr25", "bf25")


class TermFigure:
    """One figure of lines with marks against days on a logarithmic axis."""

    def __init__(self, lines: dict[str, str], ylabel: str, zero: bool = False) -> None:
        self.lines = lines
        no = np.empty(0)
        elements: dict[str, Any] = {"zero": hv.HLine(0).opts(line_width=1)} if zero else {}
        for column, marker in lines.items():
            elements[column] = hv.Curve((no, no), "days", column).opts(line_width=2)
            elements[f"{column} marks"] = hv.Points((no, no), ["days", column]).opts(size=6, marker=marker)
        drawn = [name for name in elements if name != "zero"]
        for column in lines:
            elements[f"{column} then"] = hv.Curve((no, no), "days", column).opts(line_width=1.5, line_dash="dashed")
        self.figure = Figure(elements, xlabel="days to expiry, log scale", ylabel=ylabel, logx=True, show_grid=True)
        self.figure.share_source("term", drawn, {**empty(*COLUMNS), "expiry": []})
        self.figure.share_source("then", [f"{column} then" for column in lines], empty(*COLUMNS))
        ticker = FixedTicker(ticks=DAY_TICKS)
        self.figure.state.xaxis[0].ticker = ticker
        self.figure.state.xgrid[0].ticker = ticker
        self.figure.state.xaxis[0].major_label_overrides = {tick: str(tick) for tick in DAY_TICKS}
        for column in lines:
            tips = [("", "@expiry"), ("days", "@days{0.0}"), (column, f"@{column}{{0.00}} %")]
            self.figure.hover(f"{column} marks", tips)

    def paint(self, palette: Palette, colours: dict[str, str]) -> None:
        self.figure.paint(palette)
        for column, colour in colours.items():
            self.figure.glyph(column, line_color=colour)
            self.figure.glyph(f"{column} then", line_color=palette.warn if len(colours) == 1 else colour)
            self.figure.glyph(f"{column} marks", fill_color=colour, line_color=colour)
        if "zero" in self.figure.marks:
            self.figure.marks["zero"].update(line_color=palette.muted)

    def draw(self, columns: dict[str, Any], then: dict[str, Any]) -> None:
        self.figure.replace("term", columns)
        if len(then["days"]) or len(self.figure.sources["then"].data["days"]):
            self.figure.replace("then", then)
        days = np.asarray(columns["days"], float)
        days = days[days > 0]
        if days.size:
            # On a logarithmic axis the margin is a factor.
            self.figure.x_range.padding = 0.0
            self.figure.x_range.follow(float(days.min()) / 1.25, float(days.max()) * 1.25)
        values = np.concatenate([np.asarray(of[column], float) for column in self.lines for of in (columns, then)])
        values = values[np.isfinite(values)]
        if values.size:
            self.figure.y_range.follow(float(values.min()), float(values.max()))


def earlier_term(picture: Picture, comparison: Comparison) -> dict[str, Any]:
    """Return the same columns of the surface compared with, each expiry where it stands today; empty without one."""
    pairs = [(day, comparison.smile(smile.expiry_ns)) for day, smile in zip(picture.days, picture.smiles)]
    rows = [
        (day, 100 * then.atm_vol, 100 * then.risk_reversal(0.25), 100 * then.butterfly(0.25))
        for day, then in pairs
        if then is not None
    ]
    values = np.array(rows, dtype="f4").reshape(-1, len(COLUMNS))
    return {name: values[:, i] for i, name in enumerate(COLUMNS)}


class TermView(Viewer):
    """ATM vol against days."""

    def __init__(
        self, hub: SurfaceHub, choices: Choices | None = None, comparison: Comparison | None = None, **params: Any
    ) -> None:
        super().__init__(**params)
        self.hub = hub
        self.choices = choices or Choices()
        self.comparison = comparison or Comparison(hub, self.choices)
        self._drawn: Any = None
        self.term = TermFigure({"atm": "circle"}, "ATM vol, %")
        self.card = card.Card(
            "ATM TERM STRUCTURE", pn.pane.Bokeh(self.term.figure.state, sizing_mode="stretch_both", margin=0)
        )
        self.paint(self.choices.palette)

    def paint(self, palette: Palette) -> None:
        """Take a theme's colours."""
        self.term.paint(palette, {"atm": palette.fit})

    def reset(self) -> None:
        """Show the data whole again after a zoom."""
        self._drawn = None
        self.term.figure.release()
        self.apply()

    def apply(self) -> None:
        """Draw what is new; does nothing when nothing is."""
        picture = self.hub.picture(self.choices.underlying)
        self.comparison.follow()
        key = (picture, self.comparison.version)
        if picture is not None and key != self._drawn:
            self._drawn = key
            self.term.draw(picture.term, earlier_term(picture, self.comparison))

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        return self.card.panel


class SkewView(Viewer):
    """25-delta risk reversal and butterfly against days."""

    def __init__(
        self, hub: SurfaceHub, choices: Choices | None = None, comparison: Comparison | None = None, **params: Any
    ) -> None:
        super().__init__(**params)
        self.hub = hub
        self.choices = choices or Choices()
        self.comparison = comparison or Comparison(hub, self.choices)
        self._drawn: Any = None
        self.term = TermFigure({"rr25": "circle", "bf25": "square"}, "vol points", zero=True)
        self.card = card.Card(
            "SKEW / CONVEXITY",
            pn.pane.Bokeh(self.term.figure.state, sizing_mode="stretch_both", margin=0),
            key='<b style="color:var(--vs-bid)">● 25Δ RR</b><b style="color:var(--vs-ask)">■ 25Δ BF</b>',
            short_key=True,
        )
        self.paint(self.choices.palette)

    def paint(self, palette: Palette) -> None:
        """Take a theme's colours."""
        self.term.paint(palette, {"rr25": palette.bid, "bf25": palette.ask})

    def reset(self) -> None:
        """Show the data whole again after a zoom."""
        self._drawn = None
        self.term.figure.release()
        self.apply()

    def apply(self) -> None:
        """Draw what is new; does nothing when nothing is."""
        picture = self.hub.picture(self.choices.underlying)
        self.comparison.follow()
        key = (picture, self.comparison.version)
        if picture is not None and key != self._drawn:
            self._drawn = key
            self.term.draw(picture.term, earlier_term(picture, self.comparison))

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        return self.card.panel
