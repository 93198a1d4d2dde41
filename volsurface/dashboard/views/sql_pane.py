"""A box for one SELECT over the history, and its answer as a table."""

from collections.abc import Callable
from html import escape
from typing import Any

import panel as pn
import panel_material_ui as pmui

from volsurface.dashboard import card, tables
from volsurface.io.history.sandbox import ROWS, SECONDS, Answer

EXAMPLE = "SELECT kind, severity, count(*) AS n, max(ts) AS last\nFROM events GROUP BY ALL ORDER BY n DESC"
STYLE = """pre { margin: 6px 10px; white-space: pre-wrap; font: 12px/1.5 ui-monospace, "DejaVu Sans Mono", monospace;
  color: var(--vs-bad, #c00); }"""
HINT = (
    f"<p>One SELECT over this store; its tables: SHOW TABLES. At most {SECONDS:g} s and {ROWS:,} rows; nothing can be "
    "written.</p>"
)


class SqlPane:
    """Query, button and answer; `run` takes the text and later has `show` called."""

    def __init__(self, run: Callable[[str], None]) -> None:
        self._run = run
        self.query = pmui.TextAreaInput(
            value=EXAMPLE, rows=3, max_length=20_000, sizing_mode="stretch_width", margin=(4, 8), size="small",
            label="SQL",
        )  # fmt: skip
        self.button = pmui.Button(label="Run", size="small", margin=(12, 8), width=70, on_click=self._on_run)
        self.answer = pn.pane.HTML(HINT, sizing_mode="stretch_both", margin=0, stylesheets=[tables.STYLE, STYLE])
        self.card = card.Card(
            "SQL",
            pn.Column(
                pn.Row(self.query, self.button, sizing_mode="stretch_width", margin=0, styles={"flex": "none"}),
                self.answer,
                sizing_mode="stretch_both",
                margin=0,
            ),
        )

    def _on_run(self, _event: Any) -> None:
        self.button.disabled = True
        self.card.title("SQL", "running")
        self._run(self.query.value)

    def show(self, answer: Answer) -> None:
        """Show an answer, or why there is none."""
        self.button.disabled = False
        if answer.error:
            self.card.title("SQL")
            self.answer.object = f"<pre role='alert'>{escape(answer.error)}</pre>"
            return
        more = f"the first {len(answer.rows):,} rows of more" if answer.more else f"{len(answer.rows):,} rows"
        self.card.title("SQL", f"{more}, {1000 * answer.seconds:.0f} ms")
        rows = [[_cell(value) for value in row] for row in answer.rows]
        tables.put(self.answer, tables.table(answer.columns, rows) if answer.columns else HINT)


def _cell(value: Any) -> tables.Cell:
    if value is None:
        return ("–", "muted")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return (str(value), "text")
    return f"{value:.10g}" if isinstance(value, float) else str(value)
