"""One page: the shell at once, the panels when the browser has it, each tab at its first opening."""

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmui
from panel.viewable import Viewable

from volsurface.dashboard import card, formatting
from volsurface.dashboard.choice_bar import ChoiceBar
from volsurface.dashboard.choices import TABS, Choices
from volsurface.dashboard.comparison import Comparison
from volsurface.dashboard.frame_loop import Counts, FrameLoop
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.page_script import PageScript
from volsurface.dashboard.palette import DARK, LIGHT, Palette, css_variables
from volsurface.dashboard.picture import X_AXES, Picture
from volsurface.dashboard.presets import Presets
from volsurface.dashboard.sidebar import Sidebar
from volsurface.dashboard.status_strip import PageState, StatusStrip
from volsurface.dashboard.views.fit import FitView
from volsurface.dashboard.views.history import HistoryView
from volsurface.dashboard.views.map import MapView
from volsurface.dashboard.views.quotes import QuotesView
from volsurface.dashboard.views.smile import SmileView
from volsurface.dashboard.views.surface import SurfaceView
from volsurface.dashboard.views.system import SystemView
from volsurface.dashboard.views.term import SkewView, TermView
from volsurface.dashboard.views.venues import VenuesView

TITLE = "volsurface"
KEYS = "1234567890-="  # the n-th expiry, nearest first
SLOW_TAB_S = 1.0  # tables need not move faster than one reads
TICK_S = 0.2  # ages on the strip move this often when nothing else does
SIDEBAR_FROM_PX = 1400  # narrower windows start with the sidebar closed: the pictures need the room
MARKS = {"failed": "✕", "stale": "◐", "fallback": "◆", "uncertified": "◌"}
GRID = """
:host { display: grid !important; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 8px;
  grid-template-rows: minmax(0, 1.5fr) minmax(0, 1fr); min-height: 0; }
@media (max-width: 900px) {
  :host { grid-template-columns: minmax(0, 1fr); grid-template-rows: none; grid-auto-rows: 360px; overflow-y: auto !important; }
}
"""
MAIN = ":host { gap: 6px; padding: 6px 10px 10px; box-sizing: border-box; min-height: 0; }"
NOTE = (
    "Simulated market, invented on this machine. For real venues: `volsurface serve --venues deribit` "
    "or `panel serve app.py --args --venues deribit`"
)


def head_style(dark: bool) -> str:
    """Return the style of the document: its background before any script has run, so that nothing flashes."""
    first, second = (DARK, LIGHT) if dark else (LIGHT, DARK)
    return (
        f":root {{ {css_variables(first)} color-scheme: {first.name}; }}\n"
        f':root[data-vs="{second.name}"] {{ {css_variables(second)} color-scheme: {second.name}; }}\n'
        "html, body { background: var(--vs-background) !important; }\n"
        "#loader { background: var(--vs-background) !important; }\n"
        ".spinner { border-color: var(--vs-grid) !important; border-top-color: var(--vs-accent) !important; }\n"
    )


def theme_config() -> dict[str, Any]:
    """Return the Material themes with our colours and the machine's own fonts."""

    def of(colours: Palette) -> dict[str, Any]:
        return {
            "palette": {
                "primary": {"main": colours.accent, "contrastText": colours.on_accent},
                "background": {"default": colours.background, "paper": colours.background},
                "text": {"primary": colours.text, "secondary": colours.muted},
                "divider": colours.line,
            },
            "chart_style": "classic",
            "typography": {"fontFamily": 'system-ui, "Segoe UI", Roboto, sans-serif', "fontSize": 13},
            "components": {
                "MuiToolbar": {"styleOverrides": {"root": {"minHeight": "46px !important", "margin": "0 !important"}}},
                "MuiAppBar": {
                    "styleOverrides": {
                        "root": {
                            "backgroundColor": f"{colours.panel} !important",
                            "backgroundImage": "none !important",
                            "color": f"{colours.text} !important",
                            "boxShadow": "none",
                            "borderBottom": f"1px solid {colours.line}",
                            "& .title": {"color": f"{colours.text} !important", "fontSize": "22px !important"},
                        }
                    }
                },
            },
        }

    return {"dark": of(DARK), "light": of(LIGHT)}


class DashboardPage:
    """One browser session's page over the process's hub."""

    def __init__(
        self,
        hub: SurfaceHub,
        loop: FrameLoop,
        choices: Choices,
        *,
        who: str = "page",
        has_routes: bool = True,
        facts: dict[str, str] | None = None,
        on_link: Callable[[Choices], None] = lambda choices: None,
        complaints: Sequence[str] = (),
    ) -> None:
        self.on_link = on_link
        self.hub = hub
        self.loop = loop
        self.choices = choices
        self.counts = Counts()
        self.comparison = Comparison(hub, choices)
        self.visible, self.reduced_motion = True, False
        self._system: dict[str, Any] = {"loop": loop, "has_routes": has_routes, "facts": facts}
        self._views: dict[str, list[Any]] = {}
        self._tab_drawn: dict[str, float] = {}
        self._key: tuple[Any, ...] = ()
        self._drawn_s = -math.inf
        self._frozen_at_ns, self._frozen_version = 0, 0
        self._stale_words = ""
        self._width_px = 0
        # Said once the browser has the page: a change that arrives while it builds it is lost.
        self._unsaid = list(complaints)
        self._build_shell(who)
        self._todo: list[Callable[[], None]] = []
        choices.param.watch(self._on_choice, [name for name in choices.param if name != "name"])

    # --- building

    def _build_shell(self, who: str) -> None:
        choices = self.choices
        self.strip = StatusStrip(
            on_click=lambda cell: self.later(lambda: self._on_strip(cell)), sizing_mode="stretch_width", margin=0
        )
        self.script = PageScript(
            on_key=lambda key: self.later(lambda: self._on_key(key)),
            on_browser=self._on_browser,
            dark=choices.dark,
            sizing_mode="stretch_width",
            margin=0,
        )
        self.coins = ChoiceBar(label="Underlying", margin=(7, 16))
        self.coins.param.watch(lambda event: choices.param.update(underlying=event.new), "value")
        self.tabs = ChoiceBar(
            items=[[tab, tab, "", ""] for tab in TABS],
            value=choices.tab,
            look="tabs",
            label="Page",
            margin=(0, 0, 0, 16),
        )
        self.tabs.param.watch(lambda event: choices.param.update(tab=event.new), "value")
        self.expiries = ChoiceBar(label="Expiry", margin=0, sizing_mode="stretch_width", height=32)
        self.expiries.param.watch(self._on_expiry, "value")
        self.waiting = pn.pane.HTML(
            "", sizing_mode="stretch_both", margin=0, stylesheets=[card.STYLE, ".wait { padding: 15vh 10px; text-align: center; "
            "font: 15px/1.6 system-ui, sans-serif; color: var(--vs-muted); }"],
        )  # fmt: skip
        folder = (self._system["facts"] or {}).get("data folder")
        presets = Presets(Path(folder) / "presets") if folder else None
        self.sidebar = Sidebar(self.hub, choices, self.notify, self.later, who, presets)
        self.bodies = {
            tab: pn.Column(
                sizing_mode="stretch_both", margin=0, visible=False, stylesheets=[":host{gap:8px;min-height:0}"]
            )
            for tab in TABS
        }
        main = pn.Column(
            self.script, self.strip, self.expiries, self.waiting, *self.bodies.values(),
            sizing_mode="stretch_both", margin=0, stylesheets=[MAIN],
        )  # fmt: skip
        self.shell = pmui.Page(
            title=TITLE,
            header=[self.tabs, self.coins],
            sidebar=[self.sidebar.panel],
            sidebar_width=268,
            main=[main],
            dark_theme=choices.dark,
            theme_config=theme_config(),
            busy_indicator=None,
            raw_css=[head_style(choices.dark)],
        )
        self.shell.param.watch(lambda event: choices.param.update(dark=event.new), "dark_theme")
        self._wait()

    def builders(self, tab: str) -> list[Callable[[], Viewable]]:
        """Return what builds a tab, panel by panel, so that a joining page stalls the others for one panel at a time."""
        views = self._views.setdefault(tab, [])

        def build(kind: Any, span: int = 0, **more: Any) -> Callable[[], Viewable]:
            def make() -> Viewable:
                view = kind(self.hub, self.choices, **more)
                views.append(view)
                panel = view.__panel__()
                if span:
                    panel.styles = {"grid-column": f"span {span}"}
                return panel

            return make

        if tab == "Live":
            return [
                build(SmileView, 3, comparison=self.comparison),
                build(SurfaceView, 3),
                build(MapView, 2),
                build(TermView, 2, comparison=self.comparison),
                build(SkewView, 2, comparison=self.comparison),
            ]  # fmt: skip
        if tab == "Fit & arbitrage":
            return [build(FitView)]
        if tab == "Venues":
            return [build(VenuesView)]
        if tab == "Quotes":
            return [build(QuotesView, later=self.later)]
        if tab == "History":
            return [build(HistoryView, later=self.later)]
        return [build(SystemView, **self._system)]

    def open_tab(self, tab: str) -> None:
        """Build a tab if it is not there yet, and show it."""
        if tab not in self._views:
            self.fill(tab, [build() for build in self.builders(tab)])
        for name, body in self.bodies.items():
            body.visible = name == tab

    def fill(self, tab: str, panels: list[Viewable]) -> None:
        """Put a tab's panels in their place."""
        body = self.bodies[tab]
        if tab == "Live":
            body.objects = [pn.Column(*panels, sizing_mode="stretch_both", margin=0, stylesheets=[GRID])]
        else:
            body.objects = panels

    # --- what the frame loop calls

    def later(self, action: Callable[[], None]) -> None:
        """Do `action` in this page's next visit, which is made at once.

        Whatever a user does arrives while Bokeh holds its own locks on the document or none at all; the visit is the one place
        where changing models is always right.
        """
        self._todo.append(action)
        self.loop.wake()

    def wants_frame(self, now_s: float) -> bool:
        """Tell whether anything this page shows would change."""
        if self._todo:
            return True
        if not self.visible:
            return False
        if self.reduced_motion and now_s - self._drawn_s < 1.0:
            return False
        key = (self.hub.version, self.choices.frozen)
        return key != self._key or now_s - self._drawn_s >= TICK_S

    def apply(self, now_s: float) -> None:
        """Bring strip, buttons and the visible tab up to date."""
        todo, self._todo = self._todo, []
        for action in todo:
            action()
        self._key, self._drawn_s = (self.hub.version, self.choices.frozen), now_s
        self._choose_underlying()
        picture = self.hub.picture(self.choices.underlying)
        self._check_expiry(picture)
        self._draw_strip()
        self.sidebar.follow()
        if self._unsaid and self._width_px:
            self.notify("error", " ".join(self._unsaid))
            self._unsaid = []
        if 0 < self._width_px < SIDEBAR_FROM_PX:
            # Only now: a change that arrives while the browser still builds the page is lost.
            self.shell.sidebar_open, self._width_px = False, SIDEBAR_FROM_PX
        if self.choices.frozen:
            return
        self._wait()
        self._draw_buttons(picture)
        tab = self.choices.tab
        if tab == "Live" or now_s - self._tab_drawn.get(tab, -math.inf) >= SLOW_TAB_S:
            self._tab_drawn[tab] = now_s
            for view in self._views.get(tab, ()):
                view.apply()
        self._draw_states(picture)

    def _draw_strip(self) -> None:
        state = PageState(self.counts)
        if self.choices.frozen:
            state = PageState(self.counts, self._frozen_at_ns, self.hub.version - self._frozen_version)
        self.strip.draw(self.hub, self.choices, state)

    def _choose_underlying(self) -> None:
        names = self.hub.underlyings
        if names and self.choices.underlying not in names:
            if self.choices.underlying:
                self._unsaid.append(
                    f"There is no surface of {self.choices.underlying}; shown is {names[0]} of {', '.join(names)}."
                )
            self.choices.underlying = names[0]
        items = [[name, name, "", ""] for name in names]
        if items != self.coins.items:
            self.coins.items = items
        if self.coins.value != self.choices.underlying:
            self.coins.value = self.choices.underlying
        live = self.hub.source == "live"
        note = "" if live or self.hub.source == "replay" or not self.hub.status else NOTE
        if note != self.script.note:
            self.script.param.update(note_id="simulated-1", note=note)

    def _check_expiry(self, picture: Picture | None) -> None:
        """Let go of an expiry that does not exist: mistyped in a link, of another coin, or over."""
        if picture is not None and self.choices.expiry and picture.row(self.choices.expiry) is None:
            self._unsaid.append(
                f"{picture.publication.underlying} has no expiry {self.choices.expiry}; shown is the one nearest to 30 days."
            )
            self.choices.expiry = ""

    def _draw_buttons(self, picture: Picture | None) -> None:
        if picture is None:
            return
        items = []
        for row, (label, smile) in enumerate(zip(picture.labels, picture.smiles)):
            mark = MARKS.get(smile.state, "") or ("⚠" if picture.violated(row) else "")
            key = f", key {KEYS[row]}" if row < len(KEYS) else ""
            state = "arbitrage found" if mark == "⚠" else smile.state
            # Whole days: a title that changes with every frame would send every button again.
            items.append(
                [label, picture.short_labels[row], mark, f"{label}, {picture.days[row]:.0f} days, {state}{key}"]
            )
        if items != self.expiries.items:
            self.expiries.items = items
        chosen = self.choices.row(picture)
        value = "" if chosen is None else picture.labels[chosen]
        if value != self.expiries.value:
            self.expiries.value = value

    def _draw_states(self, picture: Picture | None) -> None:
        stale = self.hub.stale_s(self.choices.underlying)
        words = "" if stale is None else f"stale {formatting.duration(stale)}"
        preview = self.hub.not_certified_yet(self.choices.underlying)
        for view in (*self._views.get("Live", ()), *self._views.get("Fit & arbitrage", ())):
            view.card.stale(words or preview)
        if bool(words) != bool(self._stale_words) and picture is not None:
            name = self.choices.underlying
            self.script.announcement = f"{name} surface is {words}" if words else f"{name} surface is up to date"
        self._stale_words = words

    def _wait(self) -> None:
        """Show what is waited for while there is no surface, and the panels when there is one."""
        has_surface = self.hub.picture(self.choices.underlying) is not None
        needs_surface = self.choices.tab in ("Live", "Fit & arbitrage", "Quotes")
        words = "" if has_surface or not needs_surface else self.hub.waiting_for()
        html = f"<div class='wait' role='status'>{escape(words)}</div>" if words else ""
        if html != self.waiting.object:
            self.waiting.object = html
        if self.waiting.visible != bool(words):
            self.waiting.visible = bool(words)
        self.expiries.visible = (needs_surface or self.choices.tab == "History") and not words
        ready = "" if words or self.choices.tab not in self._views else self.choices.tab
        for tab, body in self.bodies.items():
            if body.visible != (tab == ready):
                body.visible = tab == ready

    # --- what the user does

    def _on_choice(self, *events: Any) -> None:
        names = {event.name for event in events}
        self.later(lambda: self._take_choices(names))

    def _take_choices(self, names: set[str]) -> None:
        choices = self.choices
        if "tab" in names:
            self.tabs.value = choices.tab
            self.open_tab(choices.tab)
            self._tab_drawn.pop(choices.tab, None)
        if "frozen" in names:
            self._frozen_at_ns, self._frozen_version = self.hub.now_ns(), self.hub.version
            self.script.frozen = choices.frozen
        if "dark" in names:
            self._paint()
        self.on_link(choices)

    def _on_expiry(self, event: Any) -> None:
        picture = self.hub.picture(self.choices.underlying)
        if (
            picture is not None
            and event.new in picture.labels
            and picture.labels[self.choices.row(picture) or 0] != event.new
        ):
            self.choices.expiry = event.new

    def _paint(self) -> None:
        self.script.dark = self.choices.dark
        if self.shell.dark_theme != self.choices.dark:
            self.shell.dark_theme = self.choices.dark
        for views in self._views.values():
            for view in views:
                if hasattr(view, "paint"):
                    view.paint(self.choices.palette)

    def _on_browser(self, visible: bool, reduced_motion: bool, width: int) -> None:
        self.visible, self.reduced_motion = visible, reduced_motion
        if self._width_px == 0:
            self._width_px = width

    def _on_strip(self, cell: str) -> None:
        """Go to the next expiry with arbitrage."""
        picture = self.hub.picture(self.choices.underlying)
        if cell != "arbitrage" or picture is None:
            return
        rows = [row for row in range(len(picture.labels)) if picture.violated(row)]
        here = self.choices.row(picture) or 0
        if rows:
            self.choices.expiry = picture.labels[next((row for row in rows if row > here), rows[0])]

    def _on_key(self, key: str) -> None:
        picture = self.hub.picture(self.choices.underlying)
        if key == " ":
            self.choices.frozen = not self.choices.frozen
        elif key == "x":
            self.choices.x_axis = X_AXES[(X_AXES.index(self.choices.x_axis) + 1) % len(X_AXES)]
        elif key in "sv":
            self.choices.height = "total variance" if key == "s" else "vol"
        elif key in "cm":
            name = "colour" if key == "c" else "map"
            options = list(self.choices.param[name].objects)
            following = options[(options.index(getattr(self.choices, name)) + 1) % len(options)]
            self.choices.param.update(**{name: following})
        elif key == "p":
            self.comparison.pin()
        elif key == "r":
            for view in self._views.get("Live", ()):
                if hasattr(view, "reset"):
                    view.reset()
        elif picture is not None and picture.labels:
            here = self.choices.row(picture) or 0
            row = {"[": here - 1, "]": here + 1}.get(key, KEYS.find(key))
            if 0 <= row < len(picture.labels):
                self.choices.expiry = picture.labels[row]

    def notify(self, kind: str, sentence: str) -> None:
        """Show a sentence for a while."""
        number = self.script.toast[0] + 1 if self.script.toast else 1
        self.script.toast = [number, kind, sentence]
