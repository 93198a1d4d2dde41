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


LEDGER_HEADS: list[str | tuple[str, str]] = [
    "stage",
    "offered",
    ("coalesced", "Replaced by something newer before anybody looked"),
    ("skipped", "Work whose result nobody would have seen"),
    "done",
    ("not done %", "Coalesced or skipped"),
    ("CPU, s", "Processor time since the start"),
]
AUDIT_HEADS: list[str | tuple[str, str]] = [
    ("skipped work, done exactly", "A share of the skipped work is done afterwards, to see what was missed"),
    "audited",
    "worst, bp",
    "threshold, bp",
    "beyond",
]


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
        work = tables.table(LEDGER_HEADS, ledger_rows(status)) + tables.table(AUDIT_HEADS, audit_rows(status))
        tables.put(self._ledger, work)
        tables.put(self._history, tables.table(["quantity", "value"], historian_rows(status.get("historian"))))
        page = tables.table(["quantity", "value"], self._page_rows())
        processes = tables.table(["process", "CPU, % of a core", "memory, MB"], process_rows(status))
        tables.put(self._page, page + processes + ("" if self.has_routes else ROUTES_MISSING))

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
        ["rows in the last pull, largest", f"{status.get('backlog', 0):,} / {status.get('largest_backlog', 0):,}"],
        ["steps", formatting.rate(status.get("steps"))],
        ["step", f"{formatting.basis_points(status.get('step_ms'))} ms"],
        ["fits", formatting.rate(status.get("fits"))],
        ["fit", f"{formatting.basis_points(status.get('fit_ms'))} ms"],
        ["surfaces published", formatting.rate(status.get("published"))],
        ["tick to surface, p50 / p99", f"{_ms(latency.get('p50'))} / {_ms(latency.get('p99'))}"],
        ["tick to row, p50 / p99", f"{_ms(latency.get('row_p50'))} / {_ms(latency.get('row_p99'))}"],
        ["kernels", f"compiling {kernels['done']} / {kernels['total']}" if compiling else "ready"],
        ["events lost", formatting.rate(status.get("dropped_events"))],
    ]


def ledger_rows(status: dict[str, Any]) -> list[list[tables.Cell]]:
    """Return a row per stage of the engine's ledger."""
    return [
        [
            stage,
            *(f"{counts.get(name, 0):,.0f}" for name in ("offered", "coalesced", "skipped", "done")),
            _share(counts["offered"] - counts["done"], counts["offered"]),
            f"{counts.get('cpu_ms', 0.0) / 1e3:,.1f}",
        ]
        for stage, counts in (status.get("ledger") or {}).items()
    ]


def audit_rows(status: dict[str, Any]) -> list[list[tables.Cell]]:
    """Return a row per kind of skipped work: the worst difference found, beside its threshold, red when beyond it."""
    rows: list[list[tables.Cell]] = []
    for kind, audit in (status.get("audits") or {}).items():
        worst, beyond = f"{audit['worst_bp']:.3f}", f"{audit['breaches']:,.0f}"
        mark = "bad" if audit["breaches"] else "good"
        threshold = f"{audit['threshold_bp']:g}" if audit["audited"] else formatting.MISSING
        rows.append([kind, f"{audit['audited']:,.0f}", (worst, mark), threshold, (beyond, mark)])
    return rows


def process_rows(status: dict[str, Any]) -> list[list[tables.Cell]]:
    """Return a row per process of this server."""
    return [
        [name, f"{reading['cpu_percent']:.1f}", f"{reading['rss_mb']:,.0f}"]
        for name, reading in (status.get("processes") or {}).items()
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


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else formatting.MISSING
