"""Plain tables as HTML: the text behind the pictures, and what a page shows at most once a second."""

from collections.abc import Sequence
from html import escape

import panel as pn

STYLE = """
:host { overflow: auto; }
table { border-collapse: collapse; font: 13px/1.3 system-ui, "Segoe UI", Roboto, sans-serif; color: var(--vs-text, inherit);
  font-variant-numeric: tabular-nums; margin: 0 10px 10px; }
th { position: sticky; top: 0; background: var(--vs-panel, inherit); color: var(--vs-muted, inherit); font-weight: 600; text-align: right;
  padding: 5px 7px; border-bottom: 1px solid var(--vs-line, #8886); white-space: nowrap; }
td { text-align: right; padding: 4px 7px; border-bottom: 1px solid var(--vs-grid, #8883); white-space: nowrap; }
th:first-child, td:first-child, .text { text-align: left; }
tr:hover td { background: var(--vs-raised, #8881); }
.good { color: var(--vs-good, inherit); } .warn { color: var(--vs-warn, inherit); } .bad { color: var(--vs-bad, inherit); }
p { margin: 4px 10px 10px; font: 13px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: var(--vs-text, inherit); }
code { font: 600 12px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; user-select: all; }
"""
Cell = str | tuple[str, str]


def table(heads: Sequence[str | tuple[str, str]], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table; a head may be (text, title), a cell (text, class): "good", "warn", "bad" or "text"."""
    head = "".join(
        f"<th scope='col'>{escape(h)}</th>"
        if isinstance(h, str)
        else f"<th scope='col' title='{escape(h[1])}'>{escape(h[0])}</th>"
        for h in heads
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: Cell) -> str:
    return f"<td>{escape(cell)}</td>" if isinstance(cell, str) else f"<td class='{cell[1]}'>{escape(cell[0])}</td>"


def pane() -> pn.pane.HTML:
    """Return an empty pane for tables."""
    return pn.pane.HTML("", sizing_mode="stretch_both", margin=0, stylesheets=[STYLE])


def put(into: pn.pane.HTML, html: str) -> None:
    """Show `html` if it is new."""
    if into.object != html:
        into.object = html
