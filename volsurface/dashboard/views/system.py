"""The machine room: the engine's work and what it skipped, the historian, and what the pages cost."""

from typing import Any

import panel as pn
from panel.viewable import Viewer

from volsurface.dashboard import card, formatting, tables
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.frame_loop import FrameLoop
from volsurface.dashboard.hub import SurfaceHub

SERVE_COMMAND = "panel serve app.py --address 127.0.0.1 --warm --plugins volsurface.api.routes"
GRID = """:host { display: grid !important; gap: 8px; min-height: 0; grid-template: minmax(0, 1fr) minmax(0, 1fr) / minmax(0, 1fr) minmax(0, 1fr); }
@media (max-width: 900px) { :host { grid-template: none / minmax(0, 1fr); grid-auto-rows: 340px; overflow-y: auto !important; } }"""
ROUTES_MISSING = (
    "<p class='warn'>The routes /healthz and /metrics are missing: this server was started without their plugin. "
    f"Start it with <code>volsurface serve</code> or <code>{SERVE_COMMAND}</code></p>"
)


class SystemView(Viewer):
    """Tables of the engine and of this page server."""

    def __init__(
        self,
        hub: SurfaceHub,
        choices: Choices | None = None,
        loop: FrameLoop | None = None,
        has_routes: bool = True,
        facts: dict[str, str] | None = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self.hub = hub
        self.loop = loop
        self.has_routes = has_routes
        self.facts = facts or {}
        self._engine, self._ledger, self._history, self._page = (tables.pane() for _ in range(4))
        self.cards = [
            card.Card("ENGINE", self._engine),
            card.Card("WORK DONE AND SKIPPED", self._ledger),
            card.Card("HISTORIAN", self._history),
            card.Card("THIS PAGE SERVER", self._page),
        ]

    def apply(self) -> None:
        """Draw what is new."""
        status = self.hub.status
        tables.put(self._engine, tables.table(["quantity", "value"], engine_rows(status)))
        ledger = status.get("ledger") or {}
        rows = [
            [stage, f"{c['offered']:,}", f"{c['skipped']:,}", f"{c['done']:,}", _share(c["skipped"], c["offered"])]
            for stage, c in ledger.items()
        ]
        heads: list[str | tuple[str, str]] = [
            "stage",
            "offered",
            "skipped",
            "done",
            ("skipped %", "Work whose result nobody would have seen"),
        ]
        tables.put(self._ledger, tables.table(heads, rows))
        tables.put(self._history, tables.table(["quantity", "value"], historian_rows(status.get("historian"))))
        page = tables.table(["quantity", "value"], self._page_rows())
        tables.put(self._page, page + ("" if self.has_routes else ROUTES_MISSING))

    def _page_rows(self) -> list[list[tables.Cell]]:
        rows: list[list[tables.Cell]] = [[name, value] for name, value in self.facts.items()]
        rows.append(["engine", "answers" if self.hub.connected else f"away: {self.hub.client.error}"])
        if self.loop is not None:
            rows += [
                ["open pages, watched", f"{self.loop.pages}, {self.loop.watched}"],
                ["CPU of one page's update", f"{self.loop.page_ms:.1f} ms"],
                ["loop stall, now / worst", f"{self.loop.stall_ms:.0f} / {self.loop.worst_stall_ms:.0f} ms"],
            ]
        return rows

    def __panel__(self) -> pn.viewable.Viewable:
        self.apply()
        return pn.Column(*(c.panel for c in self.cards), sizing_mode="stretch_both", margin=0, stylesheets=[GRID])


def engine_rows(status: dict[str, Any]) -> list[list[tables.Cell]]:
    """Return what the engine says of itself, as rows of name and value."""
    kernels, latency = status.get("kernels") or {}, status.get("latency_ms") or {}
    compiling = kernels.get("done", 0) < kernels.get("total", 0)
    return [
        ["run", str(status.get("run", formatting.MISSING))],
        ["source", str(status.get("source", formatting.MISSING))],
        ["market time", formatting.utc_time(status.get("market_time_ns"))],
        ["instruments", formatting.rate(status.get("instruments"))],
        ["rows in the last pull", formatting.rate(status.get("backlog"))],
        ["steps", formatting.rate(status.get("steps"))],
        ["step", f"{formatting.basis_points(status.get('step_ms'))} ms"],
        ["fits", formatting.rate(status.get("fits"))],
        ["fit", f"{formatting.basis_points(status.get('fit_ms'))} ms"],
        ["surfaces published", formatting.rate(status.get("published"))],
        ["tick to surface, p50 / p99", f"{_ms(latency.get('p50'))} / {_ms(latency.get('p99'))}"],
        ["kernels", f"compiling {kernels['done']} / {kernels['total']}" if compiling else "ready"],
        ["events lost", formatting.rate(status.get("dropped_events"))],
    ]


def historian_rows(historian: dict[str, Any] | None) -> list[list[tables.Cell]]:
    """Return what the historian says of itself; names of other services' facts are left out."""
    if historian is None:
        return [["historian", ("not running, or history is off", "warn")]]
    known = ("pid", "run", "source", "folder")
    return [
        [name.removesuffix("_ns").replace("_", " "), _plain(name, value)]
        for name, value in historian.items()
        if name not in known
    ]


def _plain(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if name.endswith("_ns") and isinstance(value, int):
        return formatting.utc_time(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _ms(value: float | None) -> str:
    return f"{value:.0f} ms" if formatting.is_number(value) else formatting.MISSING


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else formatting.MISSING
