"""What was: the smiles at any stored time on axes that stand still, two times compared, metrics over time, and SQL."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
from panel.viewable import Viewer

from volsurface.dashboard import formatting
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.history_desk import Done, HistoryDesk, Question, desk
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.palette import Palette
from volsurface.dashboard.views.history_metric import MetricChart
from volsurface.dashboard.views.history_smiles import ChangeTable, SmilesThen
from volsurface.dashboard.views.sql_pane import SqlPane
from volsurface.errors import HistoryError
from volsurface.io.history.reader import History
from volsurface.surface.surface import Surface

SPAN_EVERY_S = 15.0  # how often it is looked whether there is more
LOOKBACK_S = 3600.0
GRID = """:host { display: grid !important; gap: 8px; min-height: 0;
  grid-template: minmax(0, 1.25fr) minmax(0, 1fr) / minmax(0, 1fr) minmax(0, 1fr); }
@media (max-width: 900px) { :host { grid-template: none / minmax(0, 1fr); grid-auto-rows: 340px; overflow-y: auto !important; } }"""
BAR = """.time { font: 600 13px/32px system-ui, "Segoe UI", Roboto, sans-serif; color: var(--vs-text); white-space: nowrap;
  font-variant-numeric: tabular-nums; } .muted { color: var(--vs-muted); font-weight: 400; } .warn { color: var(--vs-warn); }"""
Later = Callable[[Callable[[], None]], None]


class HistoryView(Viewer):
    """The history of the store the historian writes, or of `folder`.

    later: does an action when the page may be changed; outside a page it is done at once, on the event loop there is.
    """

    def __init__(
        self, hub: SurfaceHub, choices: Choices | None = None, later: Later = lambda action: action(),
        folder: Path | None = None, **params: Any,
    ) -> None:  # fmt: skip
        super().__init__(**params)
        self.hub = hub
        self.choices = choices or Choices()
        self._later = later
        self._folder = folder
        self._desk: HistoryDesk | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._span: tuple[int, int] | None = None  # first and last stored time, ns
        self._shown: tuple[str, str] = ("", "")  # store and underlying drawn
        self._expiry = ""
        self._span_due = 0.0
        self._moving = False
        self.follows = True  # the newest is shown until the slider is moved
        self.time_ns = 0
        self.marked: dict[str, tuple[int, Surface] | None] = {"A": None, "B": None}
        self.surface: Surface | None = None
        self._now_text = pn.pane.HTML("", stylesheets=[BAR], margin=(0, 4), width=330)
        self.slider = pmui.IntSlider(
            label="stored time", start=0, end=1, value=1, step=1, show_value=False, size="small", sizing_mode="stretch_width", margin=(4, 16),
            styles={"margin-top": "-10px"},
        )  # fmt: skip
        self.slider.param.watch(self._on_slider, "value")
        # No descriptions: a tooltip would become the name of its button.
        self.buttons = {
            name: pmui.Button(label=label, size="small", variant="outlined", margin=(2, 3), on_click=act)
            for name, label, act in (
                ("A", "Set A", lambda _: self.mark("A")),
                ("B", "Set B", lambda _: self.mark("B")),
                ("newest", "Newest", lambda _: self.newest()),
            )
        }
        self.smiles, self.change = SmilesThen(), ChangeTable()
        self.metric = MetricChart(self._ask)
        self.sql = SqlPane(self._run)
        self.cards = [self.smiles.card, self.change.card, self.metric.card, self.sql.card]
        self.paint(self.choices.palette)

    def paint(self, palette: Palette) -> None:
        """Take a theme's colours."""
        self.smiles.paint(palette)
        self.metric.paint(palette)

    def reset(self) -> None:
        """Show everything whole again after a zoom."""
        self.smiles.figure.release()
        self.smiles.frame()
        self.metric.reset()

    def apply(self) -> None:
        """Look for more history now and then, and draw another underlying when one is chosen."""
        store = self._store()
        if store is None:
            self._say("no historian is running; start without --no-history")
            return
        if self._desk is None or self._desk.store != store:
            self._desk = desk(store)
        if (str(store), self.choices.underlying) != self._shown:
            self._shown = (str(store), self.choices.underlying)
            self._span, self.surface, self.follows = None, None, True
            self.marked = {"A": None, "B": None}
            self._span_due = 0.0
        if self.choices.expiry != self._expiry:
            self._expiry = self.choices.expiry
            self._draw()
        now_s = self.hub.now_ns() / 1e9
        if self.choices.underlying and not 0 <= self._span_due - now_s <= SPAN_EVERY_S:
            self._span_due = now_s + SPAN_EVERY_S
            self._ask_span()
            self.metric.refresh(self.choices.underlying)

    def _store(self) -> Path | None:
        if self._folder is not None:
            return self._folder
        historian = self.hub.status.get("historian") or {}
        return Path(historian["folder"]) if historian.get("folder") else None

    # --- asking

    def _ask(self, name: object, question: Question, done: Done) -> None:
        """Ask the desk; `done` is called where the page may be changed."""
        if self._desk is None:
            return
        with contextlib.suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
        self._desk.ask((id(self), name), question, lambda answer: self._deliver(lambda: done(answer)))

    def _deliver(self, action: Callable[[], None]) -> None:
        """Do `action` on the page's loop; called in another thread."""
        if self._loop is None:
            self._later(action)
            return
        with contextlib.suppress(RuntimeError):  # the server has stopped
            self._loop.call_soon_threadsafe(self._later, action)

    def _ask_span(self) -> None:
        underlying = self.choices.underlying
        self._ask("span", lambda history: span(history, underlying), self._take_span)

    def _take_span(self, answer: Any) -> None:
        if isinstance(answer, HistoryError):
            self._say(str(answer))
            return
        if answer is None:
            self._say(f"nothing stored of {self.choices.underlying} yet: a flush comes every few seconds")
            return
        first, last, low, high = answer
        self._span = (first, last)
        self.smiles.hold(low, high)
        self._moving = True
        try:
            end = max(1, (last - first) // 10**9)
            self.slider.param.update(end=end, value=end if self.follows else min(self.slider.value, end))
        finally:
            self._moving = False
        if self.follows:
            self._show(last)
        elif self.surface is None:
            self._show(self.time_ns or last)

    def _show(self, time_ns: int) -> None:
        self.time_ns = time_ns
        self._write_time()
        underlying = self.choices.underlying
        self._ask("surface", lambda history: history.surface_at(time_ns, underlying, LOOKBACK_S), self._take_surface)

    def _take_surface(self, answer: Any) -> None:
        if isinstance(answer, HistoryError):
            self.smiles.card.say(str(answer))
            return
        self.surface = answer
        self.smiles.card.say("")
        self._draw()

    # --- what the user does

    def _on_slider(self, event: Any) -> None:
        if self._moving or self._span is None:
            return
        first, last = self._span
        self.follows = event.new >= self.slider.end
        time_ns = last if self.follows else first + int(event.new) * 10**9
        self._later(lambda: self._show(time_ns))

    def mark(self, name: str) -> None:
        """Keep the surface shown as A or B of the comparison."""
        if self.surface is not None:
            self.marked[name] = (self.surface.valuation_time_ns, self.surface)
            self._later(self._draw)

    def newest(self) -> None:
        """Show the newest surface and follow it."""
        self.follows = True
        self._later(self._ask_span)

    def _run(self, query: str) -> None:
        """Ask what was typed, in the desk's sandbox; other questions do not wait for it."""
        if self._desk is None:
            return
        with contextlib.suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
        self._desk.ask_sql(query, lambda answer: self._deliver(lambda: self.sql.show(answer)))

    # --- drawing

    def _draw(self) -> None:
        if self.surface is None:
            return
        a, b = self.marked["A"], self.marked["B"]
        row = next(
            (i for i, label in enumerate(self._labels(self.surface)) if label == self.choices.expiry),
            None,
        )
        self.smiles.draw(self.surface, row, a and a[1], b and b[1])
        # Without marks: from the oldest there is to compare with, A, to what is shown.
        self.change.draw(a and a[1], (b and b[1]) or self.surface, b is not None)
        self._write_time()

    @staticmethod
    def _labels(surface: Surface) -> list[str]:
        return formatting.expiry_labels([smile.expiry_ns for smile in surface.smiles])

    def _write_time(self) -> None:
        words = f"<span class='time'>{formatting.utc_time(self.time_ns)}"
        words += " <span class='muted'>newest</span>" if self.follows else ""
        self._put(words + "</span>")

    def _say(self, text: str) -> None:
        self._put(f"<span class='time warn' role='status'>{text}</span>")

    def _put(self, html: str) -> None:
        if html != self._now_text.object:
            self._now_text.object = html

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        bar = pn.Row(
            self._now_text, self.slider, *self.buttons.values(), sizing_mode="stretch_width", margin=0, height=38,
            styles={"flex": "none"},
        )  # fmt: skip
        grid = pn.Column(*(c.panel for c in self.cards), sizing_mode="stretch_both", margin=0, stylesheets=[GRID])
        return pn.Column(bar, grid, sizing_mode="stretch_both", margin=0, styles={"gap": "6px"})


def span(history: History, underlying: str) -> tuple[int, int, float, float] | None:
    """Return first and last time with a surface (ns), and the range of vols (fractions) that shows its smiles."""
    times = history.sql(
        "SELECT epoch_us(min(ts)) AS first, epoch_us(max(ts)) AS last FROM surfaces WHERE underlying = $1", underlying
    )
    [row] = times.rows()
    if np.ma.is_masked(row["first"]):
        return None
    # The wings beyond 10 delta are estimated from it: a little is added. One expiry about to end must not squeeze the rest.
    bounds = history.sql(
        """SELECT quantile_cont(atm_vol + least(0, bf10 - abs(rr10) / 2), 0.02) AS low,
        quantile_cont(atm_vol + greatest(0, bf10 + abs(rr10) / 2), 0.98) AS high
        FROM metrics WHERE underlying = $1 AND expiry IS NOT NULL""",
        underlying,
    )
    low, high = float(bounds["low"][0]), float(bounds["high"][0])
    return int(row["first"]) * 1000, int(row["last"]) * 1000, 0.92 * low, 1.15 * high
