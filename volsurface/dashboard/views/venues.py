"""The venues in numbers: what each delivers, how late, and what went wrong."""

from typing import Any

import panel as pn
from panel.viewable import Viewer

from volsurface.dashboard import card, formatting, tables
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.picture import Picture
from volsurface.dashboard.status_strip import venue_chip
from volsurface.surface.venue_comparison import VenueComparison

HEADS: list[str | tuple[str, str]] = [
    "venue",
    "state",
    (
        "lag",
        "How long a message takes, half a ping and what it waits; the difference of the clocks is estimated and taken off",
    ),
    ("clock", "Our clock minus the venue's: the lower envelope of the delays of ten minutes, less half a ping"),
    ("drift", "How fast that difference moves, parts per million; known after two minutes"),
    ("age", "Since the last message"),
    ("quoted", "Options with a bid or an ask, of those listed"),
    "messages/s",
    ("rejected", "Frames that could not be read"),
    ("gaps", "Books dropped and asked for again because an update was missing"),
    "reconnects",
    ("connections", "Live connections of those the venue's limits require"),
    ("channels", "Subscriptions: one or more per instrument"),
    ("in the fit", "Quotes that are points of the composite fit of the coin shown"),
    ("weight", "Mean weight of those quotes beside their spread: size, age, and trust in the venue"),
    ("spread", "Median of ask vol minus bid vol, bp"),
    ("residual", "Median of the venue's mid vol minus the composite's, bp"),
    ("basis", "The venue's forwards against the composite's, in units of 0.01 %, median of the expiries"),
    ("says", "Why quotes of the venue are not in the fit"),
]


class VenuesView(Viewer):
    """A row per venue, and the last events."""

    def __init__(self, hub: SurfaceHub, choices: Choices | None = None, **params: Any) -> None:
        super().__init__(**params)
        self.hub = hub
        self.choices = choices or Choices()
        self._table, self._residuals, self._events = tables.pane(), tables.pane(), tables.pane()
        self.residuals = card.Card("VENUE − COMPOSITE", self._residuals)
        self.card = card.Card("VENUES", self._table)
        self.events = card.Card("EVENTS", self._events)

    def apply(self) -> None:
        """Draw what is new."""
        venues = self.hub.status.get("venues", [])
        limit = float(self.hub.setting("thresholds", "stale_s", 10.0))
        picture = self.hub.picture(self.choices.underlying)
        compared = {} if picture is None else {venue.venue: venue for venue in picture.venues}
        rows = [_row(venue, limit, compared.get(venue["name"])) for venue in venues]
        tables.put(self._table, tables.table(HEADS, rows))
        if picture is not None:
            tables.put(self._residuals, _residuals(picture))
            self.residuals.title(
                f"VENUE − COMPOSITE · {self.choices.underlying}", "median of mid vol − fit, bp, by expiry"
            )
        kinds = [event for event in reversed(self.hub.events) if event["kind"] != "published"][:60]
        told = [_event(event) for event in kinds]
        html = (
            tables.table(["time (UTC)", "kind", "severity", "what"], told)
            if told
            else "<p>none since this page server started</p>"
        )
        tables.put(self._events, html)

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        top, middle, bottom = self.card.panel, self.residuals.panel, self.events.panel
        for part, share in ((top, 3), (middle, 3), (bottom, 4)):
            part.styles = {"flex": f"{share} 1 0", "min-height": "0"}
        return pn.Column(top, middle, bottom, sizing_mode="stretch_both", margin=0, styles={"gap": "8px"})


def _row(venue: dict[str, Any], stale_s: float, compared: VenueComparison | None) -> list[tables.Cell]:
    chip = venue_chip(venue, stale_s)
    return [
        venue["name"],
        (chip["value"], f"{chip['tone']}"),
        _number(venue["lag_ms"], "{:.0f} ms"),
        _number(venue["clock_ms"], "{:+.0f} ms"),
        _number(venue["drift_ppm"], "{:+.0f} ppm"),
        formatting.duration(venue["age_s"]),
        f"{venue['quoted']:,} of {venue['listed']:,}",
        formatting.rate(venue["messages_per_s"]),
        f"{venue['rejected']:,}",
        f"{venue['gaps']:,}",
        f"{venue['reconnects']:,}",
        f"{venue['connections_live']} of {venue['connections']}",
        f"{venue['subscribed']:,}",
        *_beside(compared),
    ]


def _beside(compared: VenueComparison | None) -> list[tables.Cell]:
    """The cells that say how a venue stands to the composite."""
    if compared is None:
        return [formatting.MISSING] * 6
    return [
        f"{compared.n_used:,}",
        _number(compared.weight, "{:.2f}"),
        _number(compared.spread_bp, "{:.0f} bp"),
        _number(compared.residual_bp, "{:+.1f} bp"),
        _number(compared.basis_bp, "{:+.2f} bp"),
        (compared.verdict, "text warn"),
    ]


def _residuals(picture: Picture) -> str:
    """The residuals as a table: a row per venue, a column per expiry."""
    rows = [[venue.venue, *(_number(bp, "{:+.1f}") for bp in venue.residuals_bp)] for venue in picture.venues]
    return tables.table(["venue", *picture.labels], rows)


def _number(value: float | None, form: str) -> str:
    return formatting.MISSING if value is None or value != value else form.format(value).replace("-", "−")


def _event(event: dict[str, Any]) -> list[tables.Cell]:
    tone = {"warning": "warn", "error": "bad"}.get(event["severity"], "text")
    text = event["text"] or ", ".join(f"{name} {value}" for name, value in (event.get("detail") or {}).items())
    return [formatting.clock_time(event["ts_ns"]), (event["kind"], "text"), (event["severity"], tone), (text, "text")]
