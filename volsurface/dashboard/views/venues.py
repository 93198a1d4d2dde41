"""The venues in numbers: what each delivers, how late, and what went wrong."""

from typing import Any

import panel as pn
from panel.viewable import Viewer

from volsurface.dashboard import card, formatting, tables
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.status_strip import venue_chip

HEADS: list[str | tuple[str, str]] = [
    "venue",
    "state",
    ("lag", "Our clock at the last message minus the venue's time in it"),
    ("age", "Since the last message"),
    "messages/s",
    "messages",
    ("rejected", "Frames that could not be read"),
    ("gaps", "Books dropped and asked for again because an update was missing"),
    "reconnects",
    ("channels", "Subscriptions: one or more per instrument"),
    ("instruments", "Options listed that are followed"),
    "last message",
]


class VenuesView(Viewer):
    """A row per venue, and the last events."""

    def __init__(self, hub: SurfaceHub, choices: Choices | None = None, **params: Any) -> None:
        super().__init__(**params)
        self.hub = hub
        self._table, self._events = tables.pane(), tables.pane()
        self.card = card.Card("VENUES", self._table)
        self.events = card.Card("EVENTS", self._events)

    def apply(self) -> None:
        """Draw what is new."""
        venues = self.hub.status.get("venues", [])
        limit = float(self.hub.setting("thresholds", "stale_s", 10.0))
        tables.put(self._table, tables.table(HEADS, [_row(venue, limit) for venue in venues]))
        kinds = [event for event in reversed(self.hub.events) if event["kind"] != "published"][:60]
        rows = [_event(event) for event in kinds]
        html = (
            tables.table(["time (UTC)", "kind", "severity", "what"], rows)
            if rows
            else "<p>none since this page server started</p>"
        )
        tables.put(self._events, html)

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        top, bottom = self.card.panel, self.events.panel
        top.styles, bottom.styles = {"flex": "2 1 0", "min-height": "0"}, {"flex": "3 1 0", "min-height": "0"}
        return pn.Column(top, bottom, sizing_mode="stretch_both", margin=0, styles={"gap": "8px"})


def _row(venue: dict[str, Any], stale_s: float) -> list[tables.Cell]:
    chip = venue_chip(venue, stale_s)
    lag = venue["lag_ms"]
    return [
        venue["name"],
        (chip["value"], f"{chip['tone']}"),
        formatting.MISSING if lag is None else f"{lag:.0f} ms",
        formatting.duration(venue["age_s"]),
        formatting.rate(venue["messages_per_s"]),
        f"{venue['messages']:,}",
        f"{venue['rejected']:,}",
        f"{venue['gaps']:,}",
        f"{venue['reconnects']:,}",
        f"{venue['subscribed']:,}",
        f"{venue['listed']:,}",
        formatting.utc_time(venue["last_receive_ns"]),
    ]


def _event(event: dict[str, Any]) -> list[tables.Cell]:
    tone = {"warning": "warn", "error": "bad"}.get(event["severity"], "text")
    text = event["text"] or ", ".join(f"{name} {value}" for name, value in (event.get("detail") or {}).items())
    return [formatting.clock_time(event["ts_ns"]), (event["kind"], "text"), (event["severity"], tone), (text, "text")]
