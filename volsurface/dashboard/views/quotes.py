"""Every quote in words: a table to sort and filter, the text behind the plots, and its download as CSV or Parquet."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
from bokeh.models.widgets.tables import NumberFormatter
from pandas import DataFrame
from panel.viewable import Viewer

from volsurface.dashboard import card, formatting
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.picture import Picture
from volsurface.io.quote_files import FORMATS, Rows, encode_rows, file_name, origin, quote_rows

PAGE_ROWS = 20
ALL = "all"
FILTERS = {"expiry": "Expiry", "venue": "Venue", "reason": "Used, or reason why not"}
# Column of the table: (title, column of the rows, factor, places). Vols in %, residuals in bp.
NUMBERS = {
    "strike": ("strike", 1.0, 2),
    "bid vol %": ("bid_vol", 100.0, 2),
    "ask vol %": ("ask_vol", 100.0, 2),
    "mid vol %": ("mid_vol", 100.0, 2),
    "fit %": ("fit_vol", 100.0, 2),
    "mid − fit bp": ("residual_bp", 1.0, 1),
    "age s": ("age_s", 1.0, 1),
    "bid": ("bid", 1.0, 6),
    "ask": ("ask", 1.0, 6),
    "bid size": ("bid_size", 1.0, 3),
    "ask size": ("ask_size", 1.0, 3),
}
STYLE = """
.tabulator { background: var(--vs-panel) !important; border: 0 !important; font: 13px/1.3 system-ui, "Segoe UI", Roboto, sans-serif !important; }
.tabulator .tabulator-header, .tabulator .tabulator-header .tabulator-col, .tabulator .tabulator-footer,
.tabulator .tabulator-footer .tabulator-page { background: var(--vs-panel) !important; color: var(--vs-muted) !important;
  border-color: var(--vs-line) !important; font-size: 13px; }
.tabulator .tabulator-footer .tabulator-page.active { color: var(--vs-accent) !important; font-weight: 700; }
.tabulator .tabulator-tableholder, .tabulator .tabulator-tableholder .tabulator-table, .tabulator-row, .tabulator-row.tabulator-row-even {
  background: var(--vs-panel) !important; color: var(--vs-text) !important; }
.tabulator-row { min-height: 26px !important; border-color: var(--vs-grid) !important; }
.tabulator-row .tabulator-cell { border: 0 !important; padding: 4px 7px !important; height: 26px !important; font-size: 13px;
  font-variant-numeric: tabular-nums; }
.tabulator .tabulator-header .tabulator-col .tabulator-col-content { padding: 4px 7px !important; }
.tabulator-row:hover, .tabulator-row:hover .tabulator-cell { background: var(--vs-raised) !important; }
"""
Later = Callable[[Callable[[], None]], None]


class QuotesView(Viewer):
    """Quotes of the newest surface; a page of the table at a time travels to the browser."""

    def __init__(
        self, hub: SurfaceHub, choices: Choices | None = None, later: Later = lambda action: action(), **params: Any
    ) -> None:
        super().__init__(**params)
        self.hub = hub
        self.choices = choices or Choices()
        self._later = later
        self._drawn: Picture | None = None
        self.filters = {
            name: pmui.Select(
                label=label,
                options=[ALL],
                value=ALL,
                size="small",
                width=210 if name == "reason" else 150,
                margin=(6, 4),
            )
            for name, label in FILTERS.items()
        }
        for widget in self.filters.values():
            widget.param.watch(lambda _: self._later(self._refill), "value")
        self.downloads = {
            kind: pmui.FileDownload(
                callback=lambda kind=kind: self._file(kind), filename=f"quotes.{kind}",
                label="Download CSV" if kind == "csv" else "Download Parquet", size="small", margin=(10, 4), width=190,
            )
            for kind in FORMATS
        }  # fmt: skip
        self.table = pn.widgets.Tabulator(
            DataFrame(), pagination="remote", page_size=PAGE_ROWS, show_index=False, disabled=True, selectable=False,
            layout="fit_data_stretch", theme="simple", stylesheets=[STYLE], sizing_mode="stretch_both", margin=(0, 10),
            formatters={title: NumberFormatter(format=_format(places), nan_format=formatting.MISSING)
                for title, (_, _, places) in NUMBERS.items()},
            text_align={name: "right" for name in NUMBERS},
        )  # fmt: skip
        bar = pn.Row(
            *self.filters.values(), *self.downloads.values(), margin=0, styles={"flex": "none", "flex-wrap": "wrap"}
        )
        self.card = card.Card("QUOTES", pn.Column(bar, self.table, sizing_mode="stretch_both", margin=0))

    def apply(self) -> None:
        """Show the quotes of a new surface."""
        picture = self.hub.picture(self.choices.underlying)
        if picture is None:
            self.card.say("waiting for a surface")
        elif picture is not self._drawn:
            self._drawn = picture
            self.card.say("")
            self._offer(picture)
            self._refill()

    def _offer(self, picture: Picture) -> None:
        """Offer to filter by what there is; a filter that finds nothing any more is let go."""
        rows = quote_rows(picture.publication)
        found = {
            "expiry": list(picture.labels),
            "venue": sorted(set(rows["venue"])),
            "reason": sorted(set(rows["reason"]), key=lambda reason: (reason != "used", reason)),
        }
        for name, widget in self.filters.items():
            options = [ALL, *found[name]]
            if options != widget.options:
                widget.param.update(options=options, value=widget.value if widget.value in options else ALL)

    def _chosen(self, picture: Picture) -> Rows:
        """Return the rows that pass the filters."""
        rows = quote_rows(picture.publication)
        keep = np.ones(len(rows["strike"]), bool)
        row = picture.row(self.filters["expiry"].value)
        if row is not None:
            keep &= picture.publication.quotes.expiry_ns == picture.smiles[row].expiry_ns
        for name in ("venue", "reason"):
            if self.filters[name].value != ALL:
                keep &= rows[name] == self.filters[name].value
        return {name: column[keep] for name, column in rows.items()}

    def _refill(self) -> None:
        if self._drawn is None:
            return
        rows = self._chosen(self._drawn)
        self.table.value = as_frame(rows, self._drawn)
        publication = self._drawn.publication
        self.card.title(
            f"QUOTES · {publication.underlying}",
            f"{len(rows['strike']):,} of {len(publication.quotes):,}, {formatting.utc_time(publication.market_time_ns)}",
        )

    def _file(self, kind: str) -> io.BytesIO:
        picture = self._drawn
        if picture is None:
            return io.BytesIO()
        about = origin(picture.publication, self.hub.source)
        self.downloads[kind].filename = file_name(about, kind)
        return io.BytesIO(encode_rows(self._chosen(picture), about, kind))

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        return self.card.panel


def _format(places: int) -> str:
    return "0,0" + "." * bool(places) + "0" * places


def as_frame(rows: Rows, picture: Picture) -> DataFrame:
    """Return the rows as the table shows them: rounded, vols in %, the expiry by its label, the age in seconds."""
    labels = {smile.expiry_ns // 1000: label for smile, label in zip(picture.smiles, picture.labels)}
    expiry = [labels.get(int(time), str(time)[:10]) for time in rows["expiry"].astype("int64")]
    age_s = picture.publication.market_time_ns / 1e9 - rows["quote_time"].astype("int64") / 1e6
    rows = {**rows, "age_s": age_s}
    numbers = {title: np.round(factor * rows[name], places) for title, (name, factor, places) in NUMBERS.items()}
    reasons = [reason.replace("_", " ") for reason in rows["reason"]]
    words = {"expiry": expiry, "right": rows["right"], "venue": rows["venue"], "used, or why not": reasons}
    return DataFrame({**words, **numbers})
