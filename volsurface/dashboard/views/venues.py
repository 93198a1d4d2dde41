"""The venues in numbers: what each delivers, how late, and what went wrong."""

from typing import Any

import panel as pn
from panel.viewable import Viewer

from volsurface.dashboard import card, formatting, tables
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.picture import Picture
from volsurface.dashboard.status_strip import venue_chip

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
]
BESIDE: list[str | tuple[str, str]] = [
    "venue",
    ("in the fit", "Quotes that are points of the composite fit"),
    ("weight", "Mean weight of those quotes beside their spread: size, age, and trust in the venue"),
    ("spread", "Median of ask vol minus bid vol, bp"),
    ("basis", "The venue's forwards against the composite's, in units of 0.01 %, median of the expiries"),
    ("says", "Why quotes of the venue are not in the fit"),
    ("residual", "Median of the venue's mid vol minus the composite's, bp, over all expiries; then by expiry"),
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
        tables.put(self._table, tables.table(HEADS, [_row(venue, limit) for venue in venues]))
        picture = self.hub.picture(self.choices.underlying)
        if picture is not None:
            tables.put(self._residuals, _beside(picture, [venue["name"] for venue in venues]))
            facts = "median of the venue's mid vol − fit, bp, by expiry"
            self.residuals.title(f"VENUE − COMPOSITE · {self.choices.underlying}", facts)
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


def _row(venue: dict[str, Any], stale_s: float) -> list[tables.Cell]:
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
    ]


def _beside(picture: Picture, order: list[str]) -> str:
    """How each venue stands to the composite as a table, in the order of the table above it."""
    venues = sorted(picture.venues, key=lambda v: order.index(v.venue) if v.venue in order else len(order))
    rows: list[list[tables.Cell]] = [
        [
            venue.venue,
            f"{venue.n_used:,}",
            _number(venue.weight, "{:.2f}"),
            _number(venue.spread_bp, "{:.0f} bp"),
            _number(venue.basis_bp, "{:+.2f} bp"),
            (venue.verdict, "text warn"),
            _number(venue.residual_bp, "{:+.1f} bp"),
            *(_number(bp, "{:+.1f}") for bp in venue.residuals_bp),
        ]
        for venue in venues
    ]
    return tables.table([*BESIDE, *picture.short_labels], rows)


def _number(value: float | None, form: str) -> str:
    return formatting.MISSING if value is None or value != value else form.format(value).replace("-", "−")


def _event(event: dict[str, Any]) -> list[tables.Cell]:
    tone = {"warning": "warn", "error": "bad"}.get(event["severity"], "text")
    text = event["text"] or ", ".join(f"{name} {value}" for name, value in (event.get("detail") or {}).items())
    return [formatting.clock_time(event["ts_ns"]), (event["kind"], "text"), (event["severity"], tone), (text, "text")]
