"""What the browser does by itself, and what it tells the server: keys pressed, whether the page can be seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import param
from panel.custom import JSComponent

STYLE = """
:host { width: 100%; }
.note { display: flex; align-items: center; gap: 14px; padding: 6px 12px; margin: 0 0 6px; border-radius: 8px;
  background: var(--vs-raised); color: var(--vs-text); border-left: 4px solid var(--vs-warn);
  font: 13px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
.note span { flex: 1; } .note span span { flex: none; }
.note code { font: 600 12px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; background: var(--vs-background);
  border: 1px solid var(--vs-line); border-radius: 4px; padding: 1px 5px; user-select: all; white-space: nowrap; }
.note button { all: unset; cursor: pointer; padding: 3px 12px; border-radius: 5px; background: var(--vs-accent); color: var(--vs-on-accent);
  font-weight: 600; white-space: nowrap; }
.note button:focus-visible { outline: 2px solid var(--vs-text); outline-offset: 2px; }
"""


class PageScript(JSComponent):
    """Keys, lost server, frozen frame, first-visit note, announcements and theme of one page."""

    dark = param.Boolean(default=True, doc="Theme that style sheets follow.")
    frozen = param.Boolean(default=False, doc="Draws the frame around a frozen page.")
    announcement = param.String(default="", doc="Sentence for screen readers, spoken at most every 10 s.")
    toast = param.List(
        default=[], doc="Number, kind ('error' or 'info') and sentence of the newest message to the user."
    )
    note = param.String(default="", doc="First-visit note; text between backticks is a command.")
    note_id = param.String(default="", doc="What dismissing remembers: another note shows again.")

    _esm = Path(__file__).with_name("page.js")
    _stylesheets = [STYLE]  # noqa: RUF012

    def __init__(
        self,
        on_key: Callable[[str], None] | None = None,
        on_browser: Callable[[bool, bool, int], None] | None = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self._on_key = on_key
        self._on_browser = on_browser

    def _handle_msg(self, data: Any) -> None:
        if not isinstance(data, dict):
            return
        if data.get("type") == "key" and isinstance(data.get("key"), str) and self._on_key is not None:
            self._on_key(data["key"])
        elif data.get("type") == "browser" and self._on_browser is not None:
            width = data.get("width")
            self._on_browser(
                bool(data.get("visible")), bool(data.get("reduced_motion")), width if isinstance(width, int) else 0
            )
