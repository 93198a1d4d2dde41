"""A row of buttons of which one is pressed: a leaf component for tabs, coins and expiries."""

from pathlib import Path
from typing import Any

import param
from panel.custom import JSComponent

STYLE = """
:host { min-width: 0; }
.bar { display: flex; gap: 0; overflow-x: auto; overflow-y: hidden; scrollbar-width: none; max-width: 100%; }
button { all: unset; box-sizing: border-box; cursor: pointer; white-space: nowrap; flex: none; height: 30px; line-height: 28px;
  padding: 0 11px; font: 500 13px/28px system-ui, "Segoe UI", Roboto, sans-serif; color: var(--vs-muted, inherit);
  font-variant-numeric: tabular-nums; }
button:hover { color: var(--vs-text, inherit); background: var(--vs-raised, #8882); }
button:focus-visible { outline: 2px solid var(--vs-accent, #08f); outline-offset: -2px; }
.mark { margin-left: 5px; color: var(--vs-warn, #b80); font-weight: 700; }
.buttons button { border: 1px solid var(--vs-line, #8886); border-right-width: 0; }
.buttons button:first-child { border-radius: 6px 0 0 6px; }
.buttons button:last-child { border-radius: 0 6px 6px 0; border-right-width: 1px; }
.buttons button:only-child { border-radius: 6px; }
.buttons button.on { background: var(--vs-accent, #08f); color: var(--vs-on-accent, #fff); border-color: var(--vs-accent, #08f); }
.buttons button.on .mark { color: inherit; }
.tabs button { border-bottom: 2px solid transparent; height: 44px; line-height: 44px; padding: 0 12px; font-size: 14px; }
.tabs button.on { color: var(--vs-accent, #08f); border-bottom-color: var(--vs-accent, #08f); }
"""


class ChoiceBar(JSComponent):
    """Buttons of which one is pressed."""

    items = param.List(default=[], doc="One list per button: value, label, mark ('' for none), title ('' for none).")
    value = param.String(default="", doc="Value of the pressed button; empty for none.")
    look: Any = param.Selector(default="buttons", objects=["buttons", "tabs"], doc="How it looks, and its role.")
    label = param.String(default="", doc="What is chosen here, for screen readers.")

    _esm = Path(__file__).with_name("choice_bar.js")
    _stylesheets = [STYLE]  # noqa: RUF012
