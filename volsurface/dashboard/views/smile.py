"""The smile of one expiry: quotes, fit and rejected quotes; beneath, how far each mid is from the fit, in bp."""

from html import escape
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.models import BasicTicker, CategoricalColorMapper
from panel.viewable import Viewer

from volsurface.dashboard import card
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.comparison import Comparison
from volsurface.dashboard.figures import Figure, empty
from volsurface.dashboard.formatting import basis_points, signed_percent
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.palette import Palette
from volsurface.dashboard.picture import Columns, Picture
from volsurface.surface.smile import MIXTURE

QUOTES = ("x", "bid", "ask", "mid", "model", "residual", "strike", "age")
AXIS_LABELS = {
    "standardised": "standardised log-moneyness  ln(K/F) / (σ√T)",
    "log-moneyness": "log-moneyness  ln(K/F)",
    "delta": "Black delta: put below 50, 100 − call above",
    "strike": "strike, USD",
}
KEY = (
    '<b style="color:var(--vs-bid)">▲ bid</b><b style="color:var(--vs-ask)">▼ ask</b><b>● mid</b>'
    '<b style="color:var(--vs-fit)">━ fit</b><b class="muted">× unused</b>'
)
SHAPES = '<b>▲ bid ▼ ask</b><b style="color:var(--vs-fit)">━ fit</b><b class="muted">× unused</b>'
TOOLTIPS = [
    ("strike", "@strike{0,0.[00]} @right"),
    ("bid / ask vol", "@bid{0.00} / @ask{0.00} %"),
    ("mid / fit", "@mid{0.00} / @model{0.00} %"),
    ("mid − fit", "@residual{0.0} bp"),
    ("venue, age", "@venue, @age{0.0} s"),
]


class SmileView(Viewer):
    """Quotes and fit of the chosen expiry, patched in place."""

    def __init__(
        self, hub: SurfaceHub, choices: Choices | None = None, comparison: Comparison | None = None, **params: Any
    ) -> None:
        super().__init__(**params)
        self.hub = hub
        self.choices = choices or Choices()
        self.comparison = comparison or Comparison(hub, self.choices)
        self._drawn: tuple[Any, ...] = ()
        self._framed: tuple[Any, ...] = ()
        self._venues: tuple[str, ...] = ()
        self._palette = self.choices.palette
        self.top = self._build_top()
        self.bottom = self._build_bottom()
        self.bottom.state.x_range = self.top.state.x_range
        self.card = card.Card(
            "SMILE",
            pn.Column(
                pn.pane.Bokeh(self.top.state, sizing_mode="stretch_both", margin=0),
                pn.pane.Bokeh(self.bottom.state, sizing_mode="stretch_both", margin=0, styles={"flex": "0 0 28%"}),
                sizing_mode="stretch_both",
                margin=0,
            ),
            key=KEY,
        )
        self.paint(self.choices.palette)

    def _build_top(self) -> Figure:
        no = np.empty(0)
        figure = Figure(
            {
                "violations": hv.Rectangles((no, no, no, no), ["x0", "y0", "x1", "y1"]).opts(alpha=0.22, line_width=0),
                "spread": hv.Segments((no, no, no, no), ["x", "bid", "x1", "ask"]).opts(alpha=0.45, line_width=1),
                "rejected": hv.Points((no, no), ["x", "y"]).opts(marker="x", size=7, alpha=0.9),
                "bid": hv.Points((no, no), ["x", "bid"]).opts(marker="triangle", size=6),
                "ask": hv.Points((no, no), ["x", "ask"]).opts(marker="inverted_triangle", size=6),
                "mid": hv.Points((no, no), ["x", "mid"]).opts(marker="circle", size=3),
                "then": hv.Curve((no, no), "x", "then").opts(line_width=1.5, line_dash="dashed"),
                "fit": hv.Curve((no, no), "x", "fit").opts(line_width=2),
            },
            xlabel="",
            ylabel="implied vol, %",
            xaxis="bottom",
            show_grid=True,
        )
        figure.renderers["spread"].glyph.x1 = "x"
        figure.share_source("quotes", ("spread", "bid", "ask", "mid"), _no_quotes())
        figure.share_source("rejected", ("rejected",), {**empty("x", "y", "strike"), "reason": [], "venue": []})
        figure.share_source("fit", ("fit",), empty("x", "fit"))
        figure.share_source("then", ("then",), empty("x", "then"))
        figure.share_source("violations", ("violations",), empty("left", "bottom", "right", "top"))
        figure.hover("mid", TOOLTIPS, mode="vline")
        figure.hover(
            "rejected",
            [("strike", "@strike{0,0.[00]}"), ("not used", "@reason"), ("vol", "@y{0.00} %"), ("venue", "@venue")],
        )
        return figure

    def _build_bottom(self) -> Figure:
        no = np.empty(0)
        figure = Figure(
            {
                "zero": hv.HLine(0).opts(line_width=1),
                "bars": hv.Segments((no, no, no, no), ["x", "base", "x1", "residual"]).opts(line_width=3),
            },
            xlabel=AXIS_LABELS["standardised"],
            ylabel="mid − fit, bp",
            show_grid=True,
        )
        bars = figure.renderers["bars"].glyph
        bars.update(x1="x", y0=0.0)
        # The same source as the quotes above: a residual can then not belong to another fit than the points.
        figure.renderers["bars"].data_source = self.top.sources["quotes"]
        figure.state.yaxis[0].ticker = BasicTicker(desired_num_ticks=4)
        figure.hover("bars", TOOLTIPS, mode="vline")
        return figure

    def paint(self, palette: Palette) -> None:
        """Take a theme's colours."""
        self.top.paint(palette)
        self.bottom.paint(palette)
        self.top.state.xaxis[0].update(major_label_text_font_size="0px", axis_label=None)
        self._palette = palette
        self._colour()
        self.top.glyph("spread", line_color=palette.muted)
        self.top.glyph("rejected", line_color=palette.muted)
        self.top.glyph("then", line_color=palette.warn)
        self.top.glyph("fit", line_color=palette.fit)
        self.top.glyph("violations", fill_color=palette.bad)
        self.bottom.marks["zero"].update(line_color=palette.line)

    def _colour(self) -> None:
        """Colour quotes by side where one venue quotes, by venue where several do."""
        palette, venues = self._palette, self._venues
        if len(venues) > 1:
            mapper = CategoricalColorMapper(factors=list(venues), palette=[palette.venue(name) for name in venues])
            by_venue = {"field": "venue", "transform": mapper}
            sides: dict[str, Any] = dict.fromkeys(("bid", "ask", "mid"), by_venue)
            names = "".join(f'<b style="color:{palette.venue(name)}">{escape(name)}</b>' for name in venues)
            self.card.key(names + SHAPES)
            self.bottom.glyph("bars", line_color=by_venue)
        else:
            sides = {"bid": palette.bid, "ask": palette.ask, "mid": palette.mid}
            self.card.key(KEY)
            self.bottom.glyph("bars", line_color=palette.fit)
        for name, colour in sides.items():
            self.top.glyph(name, fill_color=colour, line_color=colour)

    def reset(self) -> None:
        """Show the data whole again after a zoom."""
        self._drawn = self._framed = ()
        self.bottom.release()
        self.apply()

    def apply(self) -> None:
        """Draw what is new; does nothing when nothing is."""
        picture = self.hub.picture(self.choices.underlying)
        row = None if picture is None else self.choices.row(picture)
        if picture is None or row is None:
            self.card.say("waiting for a smile")
            return
        self.comparison.follow()
        key = (picture.publication, row, self.choices.x_axis, self.comparison.version)
        if key == self._drawn:
            return
        self._drawn = key
        venues = tuple(sorted(picture.publication.quotes.venues))
        if venues != self._venues:
            self._venues = venues
            self._colour()
        columns = picture.smile_columns(row, self.choices.x_axis)
        then = self.comparison.smile(picture.smiles[row].expiry_ns)
        earlier = empty("x", "then") if then is None else picture.earlier_smile(row, then, self.choices.x_axis)
        self._frame(picture, row, columns.x_range, _with(columns.y_range, np.asarray(earlier["then"])))
        self.top.replace("quotes", columns.quotes)
        self.top.replace("rejected", columns.rejected)
        self.top.replace("fit", columns.fit)
        if len(earlier["x"]) or len(self.top.sources["then"].data["x"]):
            self.top.replace("then", earlier)
        self.top.glyph("fit", line_dash="dashed" if picture.surface.state == "uncertified" else "solid")
        self._shade(columns.violations)
        self._follow_residuals(np.asarray(columns.quotes["residual"]))
        self._title(picture, row)

    def _frame(self, picture: Picture, row: int, x: tuple[float, float], y: tuple[float, float]) -> None:
        framed = (picture.publication.underlying, picture.labels[row], self.choices.x_axis)
        if framed != self._framed:
            self._framed = framed
            self.top.x_range.show(*x)
            self.top.y_range.show(*y)
            self.bottom.state.xaxis[0].axis_label = AXIS_LABELS[self.choices.x_axis]
        else:
            self.top.x_range.follow(*x)
            self.top.y_range.follow(*y)

    def _shade(self, violations: Columns) -> None:
        x0 = np.asarray(violations["x0"])
        shown = self.top.sources["violations"].data
        if x0.size or len(shown["left"]):
            # Far beyond any vol, so that the shade fills the frame whatever the zoom.
            low, high = np.full(x0.size, -1e4, "f4"), np.full(x0.size, 1e4, "f4")
            self.top.replace("violations", {"left": x0, "right": violations["x1"], "bottom": low, "top": high})

    def _follow_residuals(self, residual: np.ndarray) -> None:
        finite = residual[np.isfinite(residual)]
        reach = max(5.0, float(np.abs(finite).max()) if finite.size else 0.0)
        self.bottom.y_range.follow(-reach, reach)

    def _title(self, picture: Picture, row: int) -> None:
        smile = picture.smiles[row]
        facts = [
            f"RMSE {basis_points(smile.rmse_bp)} bp",
            f"{100 * smile.inside_spread:.0f} % inside",
        ]
        if smile.model == MIXTURE:
            facts.append("mixture")
        change = self.comparison.change_words(picture, row)
        if change:
            facts.append(f"┅ {change}")
        self.card.title(f"SMILE · {picture.publication.underlying} {picture.labels[row]}", " · ".join(facts))
        self.card.alarm(describe_violations(picture, row))
        self.card.say("fit failed, no smile for this expiry" if smile.state == "failed" else self.comparison.words)

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        return self.card.panel


def describe_violations(picture: Picture, row: int) -> str:
    """Name the arbitrage an expiry takes part in, with its interval of log-moneyness; empty without any."""
    found = []
    butterfly = picture.butterfly(row)
    if butterfly is not None and butterfly.verdict == "violated":
        found.append(f"butterfly arbitrage{_interval(butterfly.interval)}")
    for early, late, verdict in picture.calendar(row):
        if verdict.verdict == "violated":
            pair = f"{picture.labels[early]}/{picture.labels[late]}"
            found.append(f"calendar arbitrage {pair}{_interval(verdict.interval)}")
    return "; ".join(found)


def _interval(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return ""
    ends = ["−∞" if end == -np.inf else "∞" if end == np.inf else signed_percent(end / 100) for end in interval]
    return f" at k {ends[0]} to {ends[1]}"


def _with(shown: tuple[float, float], values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (min(shown[0], float(finite.min())), max(shown[1], float(finite.max()))) if finite.size else shown


def _no_quotes() -> dict[str, Any]:
    return {**empty(*QUOTES), "right": [], "venue": []}
