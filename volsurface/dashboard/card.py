"""The frame around a panel: title, key of the marks, and the words for what is wrong with the data in it."""

from html import escape

import panel as pn

STYLE = """
:host { --gap: 10px; }
.head { display: flex; align-items: baseline; gap: var(--gap); height: 26px; line-height: 26px; padding: 0 10px;
  overflow: hidden; white-space: nowrap; font: 600 12px/26px system-ui, "Segoe UI", Roboto, sans-serif;
  color: var(--vs-text, inherit); font-variant-numeric: tabular-nums; }
.name { letter-spacing: .06em; }
.facts { color: var(--vs-muted, inherit); font-weight: 400; overflow: hidden; text-overflow: ellipsis; flex: 1 1 0; min-width: 0; }
.key { margin-left: auto; display: flex; gap: 9px; font-weight: 400; flex: none; }
.key b { font-weight: 500; } .muted { color: var(--vs-muted, inherit); }
.head { container-type: inline-size; }
@container (max-width: 540px) { .key b:nth-child(n+4) { display: none; } }
@container (max-width: 430px) { .key:not(.short) { display: none; } }
.alarm { color: var(--vs-bad, #c00); flex: 0 1 auto; overflow: hidden; text-overflow: ellipsis; }
.words { color: var(--vs-warn, #850); flex: 0 1 auto; }
"""
FRAME = """
:host { border: 1px solid var(--vs-line, #8884); border-radius: 8px; background: var(--vs-panel, transparent); overflow: hidden; }
:host(.stale) .bk-panel-models-layout-Column, :host(.stale) { --vs-dim: 0.4; }
"""


class Card:
    """A titled frame; its head is sent only when its words have changed."""

    def __init__(
        self, name: str, body: pn.viewable.Viewable, key: str = "", short_key: bool = False, **layout: object
    ) -> None:
        self._name, self._facts, self._key = name, "", key
        self._key_class = "key short" if short_key else "key"
        self._alarm, self._words, self._stale = "", "", ""
        self._head = pn.pane.HTML(
            self._html(), margin=0, sizing_mode="stretch_width", height=26, stylesheets=[STYLE], styles={"flex": "none"}
        )
        self.body = body
        self.panel = pn.Column(
            self._head, body, **{"sizing_mode": "stretch_both", "margin": 0, "stylesheets": [FRAME], **layout}
        )

    def title(self, name: str, facts: str = "") -> None:
        """Set the title and the facts beside it."""
        self._name, self._facts = name, facts
        self._send()

    def key(self, html: str) -> None:
        """Set the key of the marks, as HTML."""
        self._key = html
        self._send()

    def alarm(self, text: str) -> None:
        """Set what is wrong with the fit, named; empty when nothing is."""
        self._alarm = text
        self._send()

    def say(self, text: str) -> None:
        """Set what is missing or waited for, in words."""
        self._words = text
        self._send()

    def stale(self, text: str) -> None:
        """Dim the data and say how old they are; empty when they are fresh."""
        if bool(text) != bool(self._stale):
            self.body.styles = (
                {**self.body.styles, "opacity": "0.4"}
                if text
                else {name: value for name, value in self.body.styles.items() if name != "opacity"}
            )
        self._stale = text
        self._send()

    def _html(self) -> str:
        parts = [f'<span class="name">{escape(self._name)}</span>']
        parts += [f'<span class="words">{escape(text)}</span>' for text in (self._stale, self._words) if text]
        parts += [f'<span class="alarm" title="{escape(self._alarm)}">⚠ {escape(self._alarm)}</span>'] * bool(
            self._alarm
        )
        parts.append(f'<span class="facts" title="{escape(self._facts)}">{escape(self._facts)}</span>')
        parts += [f'<span class="{self._key_class}">{self._key}</span>'] * bool(self._key)
        return f'<div class="head">{"".join(parts)}</div>'

    def _send(self) -> None:
        html = self._html()
        if html != self._head.object:
            self._head.object = html
